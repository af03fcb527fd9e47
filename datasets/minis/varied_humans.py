"""Random humans: proportions, clothes, hair and poses around the body of the minis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.minis import clothes, humans
from gcbench.datasets.minis.figures import Figure, blended, mirrored_pose, proportioned
from gcbench.datasets.minis.sculpt import Faces, Loft, Section, Vertices, surface
from gcbench.datasets.minis.skeleton import LEFT, RIGHT, Frame, Pose, Vector, pose_bones, vector

__all__ = ["Person", "random_person", "random_pose"]

CELLS = 128  # of the grid along the longest side of a figure; the arms of a person are 6 cells thick

# Bone → lowest and highest angle in degrees about x, y, z.
LIMITS: Mapping[str, tuple[Vector, Vector]] = MappingProxyType(
    {
        "pelvis": ((-15, -25, -12), (30, 25, 12)), "spine": ((-18, -20, -16), (32, 20, 16)),
        "chest": ((-12, -20, -12), (22, 20, 12)), "neck": ((-20, -25, -14), (25, 25, 14)),
        "head": ((-25, -35, -12), (22, 35, 12)), "clavicle": ((0, 0, -5), (0, 0, 24)),
        "upperarm": ((-150, -40, 4), (48, 40, 115)), "forearm": ((-135, -20, 0), (0, 20, 20)),
        "hand": ((-30, -10, -55), (30, 10, 45)), "fingers": ((0, 0, -75), (0, 0, 12)),
        "thigh": ((-112, -12, 0), (32, 30, 48)), "shank": ((0, 0, 0), (128, 0, 0)),
        "foot": ((-26, 0, -10), (36, 0, 8)), "toes": ((-36, 0, 0), (10, 0, 0)),
    }
)  # fmt: skip


@dataclass(frozen=True)
class _Skirt:
    """A skirt hangs from the waist around both legs, wherever a pose puts them.

    Lengths in metres; ``stiffness`` is 0 for a hem that hangs straight down and 1 for a hem that follows the legs.
    """

    length: float
    flare: float
    stiffness: float
    hollow: bool
    waves: tuple[Section, ...]


@dataclass(frozen=True)
class _Strand:
    """Hair that hangs from the back of the head; lengths in metres."""

    length: float
    width: float
    depth: float
    swing: Vector


@dataclass(frozen=True)
class Person:
    """A dressed body.

    Parameters
    ----------
    figure : Figure
        Body and clothes that move with bones.
    skirt, strand : optional
        What hangs down instead.
    """

    figure: Figure
    skirt: _Skirt | None = None
    strand: _Strand | None = None

    def mesh(self, pose: Pose, drift: float = 0.0) -> tuple[Vertices, Faces]:
        """Mesh the person in a pose: closed, y up.

        Parameters
        ----------
        pose : Pose
        drift : float
            How far folds have moved since the first frame of a sequence, in radians of their phase.
        """
        frames = pose_bones(self.figure.bones, pose)
        hanging = [*self._skirt(frames), *self._strand(frames)]
        lofts = [_drifted(loft, drift) for loft in (*hanging, *self.figure.flesh)]
        joints = np.array([frame.origin for frame in frames.values()])
        frames["world"] = Frame(np.eye(3), np.zeros(3))
        voxel = float((np.ptp(joints, axis=0).max() + 0.25) / CELLS)
        return surface(lofts, frames, voxel=voxel, smoothing=3)

    def _skirt(self, frames: Mapping[str, Frame]) -> list[Loft]:
        if self.skirt is None:
            return []
        skirt, up = self.skirt, np.array([0.0, 1.0, 0.0])
        legs = [np.array([frames[bone + side].origin for bone in ("thigh", "shank", "foot")]) for side in (LEFT, RIGHT)]
        waist = frames["pelvis"](np.array([[0.0, 0.10, 0.0]]))[0]
        along = [_along(leg, skirt.length - 0.12) for leg in legs]
        hanging = waist - skirt.length * (0.6 * up + 0.4 * frames["pelvis"].rotation[:, 1])
        axis = skirt.stiffness * (along[0] + along[1]) / 2 + (1 - skirt.stiffness) * hanging - waist
        axis /= np.linalg.norm(axis)
        # The hem does not reach below the feet.
        room = waist[1] - min(leg[:, 1].min() for leg in legs)
        length = float(np.clip(0.95 * room / max(-axis[1], 0.1), 0.2, skirt.length))
        side = frames["pelvis"].rotation[:, 0]
        front = np.cross(side, axis)
        front /= np.linalg.norm(front)
        # At the hem: half the distance between the legs, across and forth, and their thickness.
        wide, deep = (
            min(0.5 * abs(float((along[0] - along[1]) @ d)), 0.3) + 0.075 + skirt.flare for d in (side, front)
        )
        hips = min(0.5, 0.14 / length)
        start, end = (vector(waist + t * length * axis) for t in (0.0, 1.0))
        sections = ((0.0, 0.145, 0.105), (hips, 0.185, 0.135), (1.0, wide, deep))
        cloth = Loft(
            "world", start, end, sections, vector(front), vector(side), (0.02, 0.03), 0.02, waves=skirt.waves
        )  # fmt: skip
        if not skirt.hollow:
            return [cloth]
        top, wall = 0.6, 0.03
        at = [np.interp(top, [0.0, hips, 1.0], [row[i] for row in sections]) - wall for i in (1, 2)]
        inside = ((0.0, 0.7 * at[0], 0.7 * at[1]), (0.4, *at), (1.0, wide - wall, deep - wall))
        waves = [(*w[:4], w[4] + w[3] * top * length) for w in skirt.waves]
        top_point = vector(waist + top * length * axis)
        return [
            cloth,
            replace(cloth, start=top_point, sections=inside, caps=(0.02, 0.05), blend=0.01, carve=True, waves=waves),
        ]

    def _strand(self, frames: Mapping[str, Frame]) -> list[Loft]:
        if self.strand is None:
            return []
        strand = self.strand
        root, tip = frames["head"](np.array([[0.0, 0.10, -0.09], [0.0, 0.02, -0.14]]))
        end = tip + strand.length * (np.array([0.0, -1.0, 0.0]) + np.array(strand.swing))
        back = vector(-frames["head"].rotation[:, 2])
        bulge = ((0.0, 0.8, 0.8), (0.5, 1.0, 1.0), (1.0, 0.55, 0.6))
        sections = [(t, w * strand.width, d * strand.depth) for t, w, d in bulge]
        first = Loft("world", vector(root), vector(tip), (sections[0], (1.0, *sections[1][1:])), back, blend=0.03)
        return [first, Loft("world", vector(tip), vector(end), sections, back, blend=0.02)]


def random_person(rng: np.random.Generator) -> Person:
    """A body with random proportions in random clothes."""
    outfit = rng.choice(["trousers", "skirt", "tight", "coat"], p=[0.42, 0.26, 0.20, 0.12])
    loose = outfit in ("trousers", "coat")
    skirt = _random_skirt(rng, long=outfit == "coat") if outfit in ("skirt", "coat") else None
    lofts: list[Loft] = []
    if loose or rng.random() < 0.15:
        lofts += clothes.trousers(rng)
    if rng.random() < (0.8 if loose else 0.4):
        lofts += clothes.jacket(rng)
    if rng.random() < 0.8:
        lofts += clothes.shoes(rng)
    strand = None
    if rng.random() < 0.75:
        lofts += clothes.hair(rng)
        if rng.random() < 0.35:
            strand = _Strand(
                rng.uniform(0.08, 0.5),
                rng.uniform(0.025, 0.12),
                rng.uniform(0.02, 0.045),
                (rng.normal(0, 0.25), rng.uniform(0, 0.3), rng.normal(-0.1, 0.2)),
            )
    if rng.random() < 0.15:
        lofts += clothes.hat(rng)
    if rng.random() < 0.10:
        lofts += clothes.luggage(rng)
    if rng.random() < 0.45:
        lofts += clothes.hands(rng)
    dressed = Figure(humans.BONES, (*humans.BODY, *lofts))
    return Person(proportioned(dressed, _proportions(rng)), skirt, strand)


def random_pose(rng: np.random.Generator) -> dict[str, Vector]:
    """A pose within the limits of the joints: free, or one or two of the minis' poses, mirrored or not, varied."""
    free: dict[str, Vector] = {}
    for bone in humans.BONES:
        low, high = LIMITS[bone.name.partition(".")[0]]
        # Most joints are near the middle of their range, or near rest; few are at a limit.
        reach = rng.uniform(0, 1, 3) * rng.beta(1.2, 1.6, 3)
        angles = np.where(rng.random(3) < 0.5, np.array(low) * reach, np.array(high) * reach)
        free[bone.name] = vector(angles)
    if rng.random() < 0.35:
        return _limited(free)
    known = [humans.POSES[name] for name in rng.choice(list(humans.POSES), 2)]
    one, other = (mirrored_pose(pose) if rng.random() < 0.5 else pose for pose in known)
    part = rng.uniform(0, 1) if rng.random() < 0.6 else 0.0
    return _limited(blended([(one, 1 - part), (other, part), (free, rng.uniform(0.1, 0.5))]))


def _limited(pose: Pose) -> dict[str, Vector]:
    limits = {bone: LIMITS[bone.partition(".")[0]] for bone in pose}
    return {bone: vector(np.clip(angles, *limits[bone])) for bone, angles in pose.items()}


def _proportions(rng: np.random.Generator) -> dict[str, Vector]:
    """Factors for every bone: a build (slim to heavy, child to adult, drawn figures) and noise."""
    girth, legs, arms, head = np.exp(rng.normal(0, [0.10, 0.05, 0.05, 0.06]))
    belly = girth * np.exp(abs(rng.normal(0, 0.12)))
    hands, feet = np.exp(rng.normal(0.03, 0.08, 2))
    kind = rng.random()
    if kind < 0.12:  # a child
        head, legs, arms = head * rng.uniform(1.2, 1.5), legs * 0.9, arms * 0.92
    elif kind < 0.22:  # a drawn figure
        head, hands, feet = head * rng.uniform(0.8, 1.9), hands * rng.uniform(1, 1.9), feet * rng.uniform(1, 1.7)
        girth, legs, arms = girth * rng.uniform(0.75, 1.3), legs * rng.uniform(0.6, 1.2), arms * rng.uniform(0.8, 1.3)
    shoulders = np.exp(rng.normal(0, 0.06))

    def limb(length: float, thick: float) -> Vector:
        x, y, z = np.array([thick, length, thick]) * np.exp(rng.normal(0, 0.03, 3))
        return (float(x), float(y), float(z))

    return {
        "pelvis": limb(1.0, (girth + belly) / 2),
        "spine": limb(1.0, belly),
        "chest": limb(1.0, girth * shoulders),
        "neck": limb(float(np.exp(rng.normal(0, 0.1))), (1 + girth) / 2),
        "head": limb(head, head),
        "clavicle.L": limb(1.0, 1.0),
        "upperarm.L": limb(arms, girth),
        "forearm.L": limb(arms, girth),
        "hand.L": limb(hands, hands),
        "fingers.L": limb(hands, hands),
        "thigh.L": limb(legs, girth),
        "shank.L": limb(legs, girth),
        "foot.L": limb(feet, feet),
        "toes.L": limb(feet, feet),
    }


def _random_skirt(rng: np.random.Generator, *, long: bool) -> _Skirt:
    length = 0.32 + 0.65 * (rng.beta(1.2, 2.2) if not long else rng.random())
    flare = rng.uniform(0.0, 0.14) if not long else rng.uniform(0.02, 0.08)
    pleats = clothes.folds(rng, rng.uniform(0.003, 0.018) + 0.08 * flare, rng.uniform(2, 14), rng.uniform(20, 60))
    return _Skirt(length, flare, rng.uniform(0.3, 1.0), rng.random() < 0.4, pleats)


def _drifted(loft: Loft, drift: float) -> Loft:
    waves = tuple((*wave[:4], wave[4] + drift * (1 if i % 2 else -1)) for i, wave in enumerate(loft.waves))
    return replace(loft, waves=waves) if drift else loft


def _along(joints: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """The point of a chain of joints that lies so far along it from its first joint."""
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(steps)])
    return np.array([np.interp(np.clip(length, 0.0, at[-1]), at, joints[:, i]) for i in range(3)])
