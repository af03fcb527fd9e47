"""Skeletons: a tree of joints, and the positions of its bones after rotation of the joints.

Axes: +x the figure's left, +y up, +z forward; metres and degrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = tuple[float, float, float]
Pose: TypeAlias = Mapping[str, Vector]  # bone → (about x, about y, about z) in degrees

LEFT, RIGHT = ".L", ".R"


def vector(values: Sequence[float] | NDArray[np.float64]) -> Vector:
    """Three numbers as a tuple of floats."""
    x, y, z = (float(v) for v in values)
    return (x, y, z)


@dataclass(frozen=True)
class Bone:
    """One bone: its own frame is parallel to the world's when every joint is at rest.

    Parameters
    ----------
    name, parent : str
        ``parent`` is empty for the root, and comes before its children.
    offset : (3,) float
        Its joint in the parent's frame, in metres.
    """

    name: str
    parent: str
    offset: Vector


@dataclass(frozen=True)
class Frame:
    """A rigid motion from a bone's frame to the world: ``rotation @ x + origin``."""

    rotation: NDArray[np.float64]  # (3, 3)
    origin: NDArray[np.float64]  # (3,)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (n, 3) points from the bone's frame to the world."""
        return points @ self.rotation.T + self.origin


def mirrored(name: str) -> str:
    """``thigh.L`` → ``thigh.R``; a bone of the midline is its own mirror image."""
    return name.removesuffix(LEFT) + RIGHT if name.endswith(LEFT) else name


def symmetric(bones: Sequence[Bone]) -> tuple[Bone, ...]:
    """Add the right side to a skeleton that is given for the midline and the left side."""
    both = list(bones)
    for bone in bones:
        if bone.name.endswith(LEFT):
            x, y, z = bone.offset
            both.append(Bone(mirrored(bone.name), mirrored(bone.parent), (-x, y, z)))
    return tuple(both)


def rotation_matrix(degrees: Vector) -> NDArray[np.float64]:
    """Rotation about x, then z, then y: flexion acts first, so that abduction and twist carry the flexed limb.

    Returns
    -------
    rotation : (3, 3) float
    """
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return np.asarray(about_y @ about_z @ about_x, dtype=np.float64)


def pose_bones(bones: Sequence[Bone], pose: Pose) -> dict[str, Frame]:
    """Forward kinematics.

    The angles of a right-hand bone are those of its mirror image: the same numbers on both sides give a symmetric pose.

    Raises
    ------
    KeyError
        The pose names an unknown bone.
    """
    unknown = set(pose) - {bone.name for bone in bones}
    if unknown:
        raise KeyError(f"no such bone: {sorted(unknown)}")
    frames = {"": Frame(np.eye(3), np.zeros(3))}
    for bone in bones:
        x, y, z = pose.get(bone.name, (0.0, 0.0, 0.0))
        if bone.name.endswith(RIGHT):
            y, z = -y, -z
        parent = frames[bone.parent]
        origin = parent(np.array([bone.offset]))[0]
        frames[bone.name] = Frame(parent.rotation @ rotation_matrix((x, y, z)), origin)
    del frames[""]
    return frames
