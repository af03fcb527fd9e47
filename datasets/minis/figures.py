"""Figures: a skeleton with flesh, whose proportions can be changed and which can be posed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.minis.sculpt import Loft
from gcbench.datasets.minis.skeleton import LEFT, RIGHT, Bone, Pose, Vector, vector

__all__ = ["Figure", "blended", "eased", "mirrored_pose", "proportioned", "scaled_loft"]


@dataclass(frozen=True)
class Figure:
    """A skeleton and the lofts on its bones, each in the frame of its bone."""

    bones: tuple[Bone, ...]
    flesh: tuple[Loft, ...]


def proportioned(figure: Figure, scales: Mapping[str, Vector]) -> Figure:
    """Stretch bones and their flesh along the axes of their frames.

    Parameters
    ----------
    figure : Figure
    scales : mapping of str to (3,) float
        Bone → factors along x, y and z. The factors of a left bone also apply to the right one; 1 by default. A bone's
        factors move the joints of its children, and do not change the children's own flesh.
    """

    def scale(bone: str) -> NDArray[np.float64]:
        left = bone.removesuffix(RIGHT) + LEFT if bone.endswith(RIGHT) else bone
        return np.array(scales.get(left, (1.0, 1.0, 1.0)))

    bones = tuple(replace(bone, offset=vector(np.array(bone.offset) * scale(bone.parent))) for bone in figure.bones)
    return Figure(bones, tuple(scaled_loft(loft, scale(loft.bone)) for loft in figure.flesh))


def scaled_loft(loft: Loft, scale: NDArray[np.float64]) -> Loft:
    """Stretch a loft along the axes of its frame; exact if the loft lies along one of them."""
    axis = np.subtract(loft.end, loft.start)
    axis /= np.linalg.norm(axis)
    front = np.array(loft.front) - (np.array(loft.front) @ axis) * axis
    front /= np.linalg.norm(front)
    wide, deep, long = (float(np.linalg.norm(scale * d)) for d in (np.cross(front, axis), front, axis))
    sections = [
        (t, w * wide, d * deep, sideways * wide, forward * deep)
        for t, w, d, sideways, forward in ((*section, 0.0, 0.0)[:5] for section in loft.sections)
    ]
    return replace(
        loft,
        start=vector(np.array(loft.start) * scale),
        end=vector(np.array(loft.end) * scale),
        sections=sections,
        caps=loft.caps and (loft.caps[0] * long, loft.caps[1] * long),
        blend=loft.blend * float(np.prod(scale) ** (1 / 3)),
    )


def eased(loft: Loft, ease: float) -> Loft:
    """Thicken a loft all around by ``ease``, like a garment that hangs loose."""
    sections = [(section[0], section[1] + ease, section[2] + ease, *section[3:]) for section in loft.sections]
    return replace(loft, sections=sections, caps=loft.caps and (loft.caps[0] + ease, loft.caps[1] + ease))


def blended(poses: Sequence[tuple[Pose, float]]) -> dict[str, Vector]:
    """Add poses with weights, angle by angle."""
    bones = {bone: None for pose, _ in poses for bone in pose}
    rest = (0.0, 0.0, 0.0)
    total = {bone: sum((w * np.array(pose.get(bone, rest)) for pose, w in poses), np.zeros(3)) for bone in bones}
    return {bone: vector(angles) for bone, angles in total.items()}


def mirrored_pose(pose: Pose) -> dict[str, Vector]:
    """The mirror image of a pose: left and right are exchanged, and bones of the midline turn the other way."""
    mirror: dict[str, Vector] = {}
    for bone, (x, y, z) in pose.items():
        if bone.endswith(LEFT):
            mirror[bone.removesuffix(LEFT) + RIGHT] = (x, y, z)
        elif bone.endswith(RIGHT):
            mirror[bone.removesuffix(RIGHT) + LEFT] = (x, y, z)
        else:
            mirror[bone] = (x, -y, -z)
    return mirror
