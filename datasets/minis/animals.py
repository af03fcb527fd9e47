"""Four-legged animals in their gaits: a horse, a dog, a cat and a cow on one kind of skeleton.

Proportions and poses are here; ``sculpt`` makes the meshes. All measures are of the animal at rest: metres, +x its
left, +y up, +z forward, the ground at y = 0, the hip joints at z = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from gcbench.datasets.minis.sculpt import Faces, Loft, Section, Vertices, both_sides, ellipsoid, sculpt
from gcbench.datasets.minis.skeleton import LEFT, Bone, Pose, Vector, pose_bones, symmetric

FACES = 20_000

# Bone → parent; the left side stands for both.
_TREE = {
    "croup": "", "thorax": "croup", "neck": "thorax", "nape": "neck", "head": "nape", "tail": "croup",
    "midtail": "tail", "brush": "midtail",
    "thigh.L": "croup", "shank.L": "thigh.L", "metatarsus.L": "shank.L", "hindfoot.L": "metatarsus.L",
    "arm.L": "thorax", "forearm.L": "arm.L", "metacarpus.L": "forearm.L", "forefoot.L": "metacarpus.L",
}  # fmt: skip
_UP = (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Species:
    """Proportions of an animal.

    Parameters
    ----------
    joints : dict of str to (3,) float
        Where each bone of the tree begins.
    trunk : sequence of (z, y, half_width, half_height)
        Cross-sections of the trunk from the rump to the breast; y is the height of their centre.
    loin_z : float
        The trunk bends here: what lies behind belongs to the croup, what lies before to the thorax.
    neck : sequence of (half_width, half_height)
        At its base, in the middle and at the poll.
    head : sequence of (t, half_width, half_height, sideways, dorsal)
        From the poll (t = 0) to ``muzzle`` (t = 1).
    muzzle, tail_tip : (3,) float
    tail : sequence of (half_width, half_height)
        Where each of its three bones begins, and at the tip.
    hind, fore : sequence of (half_width, half_depth)
        Girths of the leg: root, second joint, below it, third joint, cannon, fetlock.
    foot : (half_width, half_depth, toe) float
        ``toe`` is how far forward the foot reaches; hooves reach little, paws far.
    muscles : sequence of Loft
        What this animal has besides, in rest coordinates: ears, horns, mane, haunches.
    voxel : float
    blend : float
        Fillet size of the trunk.
    """

    joints: Mapping[str, Vector]
    trunk: Sequence[Section]
    loin_z: float
    neck: Sequence[Section]
    head: Sequence[Section]
    muzzle: Vector
    tail: Sequence[Section]
    tail_tip: Vector
    hind: Sequence[Section]
    fore: Sequence[Section]
    foot: Section
    muscles: Sequence[Loft]
    voxel: float
    blend: float

    def bones(self) -> tuple[Bone, ...]:
        """Return the skeleton."""
        origin = {"": (0.0, 0.0, 0.0), **self.joints}
        return symmetric([Bone(name, parent, _minus(origin[name], origin[parent])) for name, parent in _TREE.items()])

    def flesh(self) -> tuple[Loft, ...]:
        """The lofts on the bones, each in the frame of its bone."""
        rest = (*self._trunk(), *self._front_end(), *self._tail(), *self._legs(), *self.muscles)
        local = [
            replace(f, start=_minus(f.start, self.joints[f.bone]), end=_minus(f.end, self.joints[f.bone])) for f in rest
        ]
        return both_sides(local)

    def _trunk(self) -> list[Loft]:
        reach = self.blend  # both halves go past the loin, so that the back stays full when it bends
        rear = [s for s in self.trunk if s[0] <= self.loin_z + reach]
        front = [s for s in self.trunk if s[0] >= self.loin_z - reach]
        lofts = []
        for bone, sections in (("croup", rear), ("thorax", front)):
            z0, z1 = sections[0][0], sections[-1][0]
            rows = [((z - z0) / (z1 - z0), width, height, 0.0, y) for z, y, width, height in sections]
            lofts.append(Loft(bone, (0.0, 0.0, z0), (0.0, 0.0, z1), rows, front=_UP, blend=self.blend))
        return lofts

    def _front_end(self) -> list[Loft]:
        base, middle, poll = (self.joints[name] for name in ("neck", "nape", "head"))
        dorsal = (0.0, 1.0, -0.5)
        (w0, h0), (w1, h1), (w2, h2) = self.neck
        small = self.blend / 3
        return [
            Loft("neck", base, middle, ((0.0, w0, h0), (1.0, w1, h1)), front=dorsal, blend=self.blend),
            Loft("nape", middle, poll, ((0.0, w1, h1), (1.0, w2, h2)), front=dorsal, blend=small),
            Loft("head", poll, self.muzzle, self.head, front=(0.0, 1.0, 0.5), blend=small),
        ]

    def _tail(self) -> list[Loft]:
        names = ("tail", "midtail", "brush")
        points = (*(self.joints[name] for name in names), self.tail_tip)
        return [
            Loft(
                name,
                points[i],
                points[i + 1],
                ((0.0, *self.tail[i]), (1.0, *self.tail[i + 1])),
                front=(0.0, 0.3, -1.0),
                blend=self.blend / (2 if i == 0 else 8),
            )
            for i, name in enumerate(names)
        ]

    def _legs(self) -> list[Loft]:
        lofts = []
        fine = self.blend / 5
        for names, girths in (
            (("thigh", "shank", "metatarsus", "hindfoot"), self.hind),
            (("arm", "forearm", "metacarpus", "forefoot"), self.fore),
        ):
            bones = [name + LEFT for name in names]
            a, b, c, d = (self.joints[bone] for bone in bones)
            root, knee, calf, hock, cannon, fetlock = girths
            lofts += [
                Loft(bones[0], a, b, ((0.0, *root), (1.0, *knee)), blend=self.blend),
                Loft(bones[1], b, c, ((0.0, *knee), (0.25, *calf), (0.75, *cannon), (1.0, *hock)), blend=2 * fine),
                Loft(bones[2], c, d, ((0.0, *hock), (0.25, *cannon), (0.75, *cannon), (1.0, *fetlock)), blend=fine),
                self._foot(bones[3], d),
            ]
        return lofts

    def _foot(self, bone: str, fetlock: Vector) -> Loft:
        x, y, z = fetlock
        width, depth, toe = self.foot
        sole = 0.45 * depth
        sections = ((0.0, 0.75 * width, 0.75 * depth), (0.5, 0.9 * width, 0.85 * depth), (1.0, width, depth))
        return Loft(bone, (x, y, z), (x, sole, z + toe), sections, caps=(0.6 * depth, sole), blend=self.blend / 6)


def _minus(a: Vector, b: Vector) -> Vector:
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


HORSE = Species(
    joints={
        "croup": (0.0, 1.25, 0.0), "thorax": (0.0, 1.25, 0.42), "neck": (0.0, 1.27, 1.00), "nape": (0.0, 1.56, 1.28),
        "head": (0.0, 1.80, 1.46), "tail": (0.0, 1.42, -0.25), "midtail": (0.0, 1.30, -0.36),
        "brush": (0.0, 0.98, -0.42),
        "thigh.L": (0.13, 1.16, -0.02), "shank.L": (0.15, 0.90, 0.12), "metatarsus.L": (0.13, 0.54, -0.17),
        "hindfoot.L": (0.13, 0.18, -0.14),
        "arm.L": (0.13, 1.06, 1.04), "forearm.L": (0.14, 0.87, 0.86), "metacarpus.L": (0.13, 0.46, 0.88),
        "forefoot.L": (0.13, 0.17, 0.88),
    },
    trunk=(
        (-0.22, 1.24, 0.12, 0.15), (-0.05, 1.25, 0.215, 0.24), (0.15, 1.255, 0.225, 0.235), (0.35, 1.225, 0.235, 0.245),
        (0.55, 1.20, 0.245, 0.275), (0.75, 1.20, 0.225, 0.31), (0.92, 1.19, 0.185, 0.31), (1.06, 1.16, 0.15, 0.21),
    ),
    loin_z=0.42,
    neck=((0.115, 0.24), (0.085, 0.155), (0.068, 0.105)),
    head=(
        (0.0, 0.068, 0.085, 0.0, -0.01), (0.2, 0.088, 0.125, 0.0, -0.035), (0.42, 0.078, 0.105, 0.0, -0.02),
        (0.7, 0.052, 0.068), (0.9, 0.052, 0.062), (1.0, 0.047, 0.055, 0.0, -0.008),
    ),
    muzzle=(0.0, 1.42, 1.83),
    tail=((0.045, 0.045), (0.052, 0.060), (0.062, 0.072), (0.028, 0.034)),
    tail_tip=(0.0, 0.62, -0.42),
    hind=((0.125, 0.23), (0.095, 0.12), (0.072, 0.098), (0.048, 0.066), (0.034, 0.042), (0.040, 0.046)),
    fore=((0.095, 0.14), (0.075, 0.095), (0.060, 0.075), (0.047, 0.050), (0.033, 0.037), (0.038, 0.043)),
    foot=(0.058, 0.066, 0.06),
    muscles=(
        ellipsoid("croup", (0.10, 1.28, -0.08), (0.125, 0.19, 0.19), blend=0.08),
        Loft(
            "croup", (0.0, 1.36, -0.20), (0.0, 1.40, 0.12), ((0.0, 0.07, 0.09), (1.0, 0.09, 0.09)), front=_UP,
            blend=0.08,
        ),
        Loft("thorax", (0.10, 1.42, 0.80), (0.135, 1.08, 1.00), ((0.0, 0.06, 0.12), (1.0, 0.075, 0.11)), blend=0.05),
        ellipsoid("thorax", (0.075, 1.06, 1.10), (0.085, 0.10, 0.08), blend=0.05),
        Loft(
            "thorax", (0.0, 1.46, 0.66), (0.0, 1.44, 0.92), ((0.0, 0.05, 0.07), (0.5, 0.06, 0.10), (1.0, 0.05, 0.09)),
            front=_UP, blend=0.06,
        ),
        Loft(
            "neck", (0.0, 1.46, 0.93), (0.0, 1.69, 1.20), ((0.0, 0.03, 0.06), (1.0, 0.028, 0.05)),
            front=(0.0, 1.0, -1.0), blend=0.03,
        ),
        Loft(
            "nape", (0.0, 1.69, 1.20), (0.0, 1.87, 1.40), ((0.0, 0.028, 0.05), (1.0, 0.026, 0.04)),
            front=(0.0, 1.0, -1.0), blend=0.03,
        ),
        Loft(
            "head", (0.0, 1.88, 1.42), (0.0, 1.80, 1.57), ((0.0, 0.03, 0.03), (1.0, 0.022, 0.02)), front=_UP,
            blend=0.03,
        ),
        Loft(
            "head", (0.05, 1.86, 1.45), (0.066, 2.00, 1.47),
            ((0.0, 0.028, 0.024), (0.45, 0.033, 0.022), (1.0, 0.014, 0.014)), blend=0.015,
        ),
        ellipsoid("head", (0.070, 1.705, 1.58), (0.022, 0.026, 0.032), blend=0.03),
        ellipsoid("head", (0.04, 1.445, 1.85), (0.022, 0.025, 0.022), blend=0.012),
        ellipsoid("head", (0.0, 1.375, 1.80), (0.036, 0.028, 0.035), blend=0.02),
    ),
    voxel=0.0145,
    blend=0.09,
)  # fmt: skip

DOG = Species(
    joints={
        "croup": (0.0, 0.47, 0.0), "thorax": (0.0, 0.47, 0.20), "neck": (0.0, 0.49, 0.45), "nape": (0.0, 0.59, 0.53),
        "head": (0.0, 0.675, 0.59), "tail": (0.0, 0.525, -0.10), "midtail": (0.0, 0.535, -0.21),
        "brush": (0.0, 0.56, -0.32),
        "thigh.L": (0.055, 0.44, -0.01), "shank.L": (0.064, 0.30, 0.075), "metatarsus.L": (0.058, 0.145, -0.075),
        "hindfoot.L": (0.058, 0.045, -0.055),
        "arm.L": (0.060, 0.40, 0.46), "forearm.L": (0.066, 0.30, 0.385), "metacarpus.L": (0.06, 0.105, 0.40),
        "forefoot.L": (0.06, 0.04, 0.41),
    },
    trunk=(
        (-0.09, 0.475, 0.050, 0.055), (0.0, 0.47, 0.080, 0.085), (0.10, 0.465, 0.078, 0.080),
        (0.20, 0.450, 0.085, 0.095),
        (0.32, 0.425, 0.100, 0.130), (0.42, 0.425, 0.092, 0.132), (0.49, 0.425, 0.065, 0.095),
    ),
    loin_z=0.20,
    neck=((0.062, 0.095), (0.053, 0.068), (0.050, 0.058)),
    head=(
        (0.0, 0.055, 0.050), (0.25, 0.063, 0.062, 0.0, -0.002), (0.48, 0.048, 0.050, 0.0, -0.010),
        (0.62, 0.034, 0.036, 0.0, -0.018), (0.9, 0.030, 0.031, 0.0, -0.012), (1.0, 0.025, 0.026, 0.0, -0.010),
    ),
    muzzle=(0.0, 0.605, 0.79),
    tail=((0.026, 0.028), (0.024, 0.027), (0.020, 0.024), (0.011, 0.012)),
    tail_tip=(0.0, 0.61, -0.44),
    hind=((0.050, 0.095), (0.042, 0.055), (0.032, 0.042), (0.021, 0.029), (0.018, 0.021), (0.021, 0.023)),
    fore=((0.042, 0.060), (0.035, 0.042), (0.029, 0.033), (0.022, 0.024), (0.019, 0.021), (0.021, 0.023)),
    foot=(0.030, 0.029, 0.040),
    muscles=(
        ellipsoid("croup", (0.045, 0.46, -0.03), (0.050, 0.080, 0.075), blend=0.03),
        Loft(
            "thorax", (0.050, 0.52, 0.37), (0.060, 0.40, 0.445), ((0.0, 0.030, 0.050), (1.0, 0.035, 0.048)),
            blend=0.03,
        ),
        ellipsoid("thorax", (0.0, 0.37, 0.485), (0.045, 0.055, 0.04), blend=0.03),
        Loft(
            "head", (0.054, 0.705, 0.61), (0.072, 0.615, 0.635),
            ((0.0, 0.010, 0.022), (0.6, 0.011, 0.034), (1.0, 0.008, 0.016)), blend=0.008,
        ),
        ellipsoid("head", (0.027, 0.676, 0.672), (0.017, 0.014, 0.019), blend=0.015),
        ellipsoid("head", (0.0, 0.608, 0.804), (0.016, 0.012, 0.012), blend=0.008),
        Loft(
            "head", (0.0, 0.605, 0.67), (0.0, 0.572, 0.765), ((0.0, 0.024, 0.018), (1.0, 0.018, 0.012)), front=_UP,
            blend=0.012,
        ),
    ),
    voxel=0.0062,
    blend=0.04,
)  # fmt: skip

CAT = Species(
    joints={
        "croup": (0.0, 0.225, 0.0), "thorax": (0.0, 0.225, 0.11), "neck": (0.0, 0.242, 0.228),
        "nape": (0.0, 0.275, 0.262),
        "head": (0.0, 0.308, 0.288), "tail": (0.0, 0.238, -0.05), "midtail": (0.0, 0.238, -0.14),
        "brush": (0.0, 0.245, -0.22),
        "thigh.L": (0.026, 0.208, -0.004), "shank.L": (0.031, 0.145, 0.042), "metatarsus.L": (0.028, 0.070, -0.035),
        "hindfoot.L": (0.028, 0.020, -0.022),
        "arm.L": (0.027, 0.195, 0.228), "forearm.L": (0.030, 0.145, 0.190), "metacarpus.L": (0.027, 0.050, 0.196),
        "forefoot.L": (0.027, 0.020, 0.202),
    },
    trunk=(
        (-0.045, 0.225, 0.027, 0.030), (0.0, 0.220, 0.040, 0.043), (0.06, 0.213, 0.042, 0.044),
        (0.11, 0.210, 0.044, 0.049),
        (0.17, 0.208, 0.046, 0.056), (0.215, 0.212, 0.041, 0.052), (0.245, 0.218, 0.030, 0.038),
    ),
    loin_z=0.11,
    neck=((0.032, 0.040), (0.029, 0.032), (0.028, 0.029)),
    head=(
        (0.0, 0.038, 0.037), (0.35, 0.046, 0.042), (0.7, 0.035, 0.031, 0.0, -0.003), (1.0, 0.022, 0.020, 0.0, -0.006),
    ),
    muzzle=(0.0, 0.294, 0.350),
    tail=((0.0130, 0.0130), (0.0120, 0.0120), (0.0112, 0.0112), (0.0095, 0.0095)),
    tail_tip=(0.0, 0.265, -0.295),
    hind=((0.024, 0.046), (0.021, 0.028), (0.016, 0.020), (0.0105, 0.0135), (0.0095, 0.0110), (0.011, 0.012)),
    fore=((0.020, 0.030), (0.017, 0.020), (0.0145, 0.016), (0.0115, 0.012), (0.010, 0.011), (0.011, 0.012)),
    foot=(0.0150, 0.0145, 0.018),
    muscles=(
        ellipsoid("croup", (0.022, 0.215, -0.012), (0.026, 0.042, 0.040), blend=0.015),
        Loft(
            "thorax", (0.026, 0.252, 0.190), (0.028, 0.195, 0.222), ((0.0, 0.014, 0.024), (1.0, 0.016, 0.023)),
            blend=0.015,
        ),
        Loft(
            "head", (0.023, 0.330, 0.296), (0.034, 0.366, 0.294),
            ((0.0, 0.015, 0.009), (0.5, 0.011, 0.0075), (1.0, 0.005, 0.005)), blend=0.005,
        ),
        ellipsoid("head", (0.022, 0.290, 0.322), (0.017, 0.014, 0.018), blend=0.012),
        ellipsoid("head", (0.016, 0.316, 0.331), (0.009, 0.007, 0.009), blend=0.005),
        ellipsoid("head", (0.009, 0.286, 0.356), (0.011, 0.008, 0.009), blend=0.005),
        ellipsoid("head", (0.0, 0.297, 0.365), (0.006, 0.005, 0.005), blend=0.005),
    ),
    voxel=0.0031,
    blend=0.022,
)  # fmt: skip

COW = Species(
    joints={
        "croup": (0.0, 1.12, 0.0), "thorax": (0.0, 1.10, 0.50), "neck": (0.0, 1.08, 1.10), "nape": (0.0, 1.18, 1.34),
        "head": (0.0, 1.27, 1.54), "tail": (0.0, 1.29, -0.26), "midtail": (0.0, 1.16, -0.36),
        "brush": (0.0, 0.80, -0.39),
        "thigh.L": (0.14, 1.02, -0.03), "shank.L": (0.17, 0.78, 0.10), "metatarsus.L": (0.15, 0.46, -0.16),
        "hindfoot.L": (0.15, 0.16, -0.13),
        "arm.L": (0.15, 0.86, 1.10), "forearm.L": (0.16, 0.68, 0.96), "metacarpus.L": (0.15, 0.36, 0.98),
        "forefoot.L": (0.15, 0.15, 0.98),
    },
    trunk=(
        (-0.25, 1.15, 0.16, 0.14), (0.0, 1.11, 0.245, 0.23), (0.25, 1.04, 0.265, 0.29), (0.50, 0.99, 0.285, 0.335),
        (0.75, 0.99, 0.275, 0.345), (0.95, 0.99, 0.225, 0.335), (1.12, 0.98, 0.165, 0.26),
    ),
    loin_z=0.50,
    neck=((0.125, 0.24), (0.10, 0.175), (0.085, 0.125)),
    head=(
        (0.0, 0.095, 0.095, 0.0, -0.01), (0.25, 0.110, 0.125, 0.0, -0.03), (0.6, 0.075, 0.09, 0.0, -0.01),
        (0.88, 0.074, 0.07), (1.0, 0.064, 0.058),
    ),
    muzzle=(0.0, 0.92, 1.86),
    tail=((0.045, 0.050), (0.032, 0.032), (0.029, 0.029), (0.032, 0.032)),
    tail_tip=(0.0, 0.50, -0.38),
    hind=((0.12, 0.22), (0.085, 0.12), (0.065, 0.09), (0.050, 0.066), (0.036, 0.043), (0.043, 0.048)),
    fore=((0.10, 0.14), (0.078, 0.095), (0.062, 0.075), (0.052, 0.055), (0.037, 0.040), (0.043, 0.047)),
    foot=(0.062, 0.064, 0.05),
    muscles=(
        ellipsoid("croup", (0.14, 1.24, 0.06), (0.10, 0.07, 0.11), tilt=-8, blend=0.09),
        Loft(
            "croup", (0.0, 1.20, -0.22), (0.0, 1.25, 0.10), ((0.0, 0.07, 0.10), (1.0, 0.10, 0.10)), front=_UP,
            blend=0.09,
        ),
        ellipsoid("croup", (0.05, 0.72, 0.03), (0.10, 0.11, 0.15), blend=0.05),
        Loft(
            "croup", (0.055, 0.66, 0.08), (0.058, 0.60, 0.085), ((0.0, 0.026, 0.026), (1.0, 0.022, 0.022)),
            blend=0.015,
        ),
        Loft("thorax", (0.11, 1.24, 0.86), (0.15, 0.90, 1.06), ((0.0, 0.06, 0.12), (1.0, 0.08, 0.11)), blend=0.06),
        ellipsoid("thorax", (0.0, 0.78, 1.17), (0.075, 0.14, 0.09), blend=0.06),
        Loft(
            "neck", (0.0, 0.86, 1.20), (0.0, 0.98, 1.42), ((0.0, 0.035, 0.08), (1.0, 0.03, 0.05)), front=_UP,
            blend=0.05,
        ),
        Loft(
            "head", (0.06, 1.35, 1.53), (0.185, 1.375, 1.50), ((0.0, 0.036, 0.036), (1.0, 0.032, 0.032)), front=_UP,
            blend=0.02,
        ),
        Loft(
            "head", (0.185, 1.375, 1.50), (0.245, 1.485, 1.53), ((0.0, 0.031, 0.031), (1.0, 0.019, 0.019)),
            blend=0.01,
        ),
        Loft(
            "head", (0.10, 1.27, 1.53), (0.25, 1.235, 1.49),
            ((0.0, 0.024, 0.03), (0.6, 0.024, 0.055), (1.0, 0.018, 0.022)), front=_UP, side=(0.0, 0.0, 1.0),
            blend=0.02,
        ),
        ellipsoid("head", (0.088, 1.20, 1.64), (0.028, 0.028, 0.034), blend=0.02),
        ellipsoid("head", (0.042, 0.945, 1.89), (0.034, 0.034, 0.028), blend=0.02),
        ellipsoid("brush", (0.0, 0.52, -0.38), (0.046, 0.13, 0.046), blend=0.02),
    ),
    voxel=0.0155,
    blend=0.09,
)  # fmt: skip

SPECIES: Mapping[str, Species] = MappingProxyType({"horse": HORSE, "dog": DOG, "cat": CAT, "cow": COW})

# Degrees about x (positive swings a leg back and lowers a raised neck), y (turns to the left), z (spreads the leg).
POSES: Mapping[str, Pose] = MappingProxyType(
    {
        "horse-walk": {
            "neck": (4, 0, 0), "nape": (4, 0, 0), "head": (4, 0, 0), "tail": (-4, 0, 2),
            "thigh.L": (-16, 0, 0), "shank.L": (10, 0, 0), "metatarsus.L": (-4, 0, 0), "hindfoot.L": (-6, 0, 0),
            "thigh.R": (16, 0, 0), "shank.R": (2, 0, 0), "metatarsus.R": (6, 0, 0), "hindfoot.R": (24, 0, 0),
            "arm.L": (12, 0, 0), "forearm.L": (8, 0, 0), "metacarpus.L": (2, 0, 0), "forefoot.L": (24, 0, 0),
            "arm.R": (-14, 0, 0), "forearm.R": (-22, 0, 0), "metacarpus.R": (44, 0, 0), "forefoot.R": (28, 0, 0),
        },
        "dog-trot": {
            "neck": (8, 0, 0), "head": (-4, 0, 0), "tail": (8, 4, 0), "midtail": (10, 5, 0), "brush": (10, 5, 0),
            "thigh.L": (-24, 0, 2), "shank.L": (12, 0, 0), "metatarsus.L": (-14, 0, 0), "hindfoot.L": (4, 0, 0),
            "thigh.R": (22, 0, 2), "shank.R": (-4, 0, 0), "metatarsus.R": (12, 0, 0), "hindfoot.R": (34, 0, 0),
            "arm.L": (16, 0, 2), "forearm.L": (14, 0, 0), "metacarpus.L": (10, 0, 0), "forefoot.L": (30, 0, 0),
            "arm.R": (-22, 0, 2), "forearm.R": (-24, 0, 0), "metacarpus.R": (34, 0, 0), "forefoot.R": (22, 0, 0),
        },
        "cat-stretch": {
            "croup": (12, 0, 0), "thorax": (20, 0, 0), "neck": (-38, 0, 0), "nape": (-18, 0, 0), "head": (16, 0, 0),
            "tail": (26, 6, 0), "midtail": (24, 10, 0), "brush": (22, 12, 0),
            "thigh.L": (-16, 0, 6), "shank.L": (-6, 0, 0), "metatarsus.L": (10, 0, 0), "hindfoot.L": (0, 0, 0),
            "thigh.R": (-14, 0, 6), "shank.R": (-10, 0, 0), "metatarsus.R": (12, 0, 0), "hindfoot.R": (0, 0, 0),
            "arm.L": (-84, 0, 8), "forearm.L": (-18, 0, 0), "metacarpus.L": (6, 0, 0), "forefoot.L": (28, 0, 0),
            "arm.R": (-78, 0, 8), "forearm.R": (-20, 0, 0), "metacarpus.R": (2, 0, 0), "forefoot.R": (28, 0, 0),
        },
        "cow-graze": {
            "thorax": (3, 0, 0), "neck": (46, 8, 0), "nape": (22, 8, 0), "head": (-24, 4, 0),
            "midtail": (-2, 0, 5), "brush": (0, 0, -8),
            "thigh.L": (-6, 0, 1), "shank.L": (2, 0, 0), "thigh.R": (10, 0, 1), "shank.R": (-2, 0, 0),
            "hindfoot.R": (-8, 0, 0),
            "arm.L": (14, 0, 1), "forearm.L": (2, 0, 0), "forefoot.L": (-12, 0, 0),
            "arm.R": (-16, 0, 1), "forearm.R": (-6, 0, 0), "metacarpus.R": (6, 0, 0), "forefoot.R": (12, 0, 0),
        },
        "horse-gallop-1": {
            "croup": (4, 0, 0), "thorax": (-6, 0, 0), "neck": (18, 0, 0), "nape": (6, 0, 0), "head": (-16, 0, 0),
            "tail": (40, 0, 0), "midtail": (22, 0, 0), "brush": (-6, 0, 4),
            "thigh.L": (-36, 0, 0), "shank.L": (4, 0, 0), "metatarsus.L": (-10, 0, 0), "hindfoot.L": (-14, 0, 0),
            "thigh.R": (-22, 0, 0), "shank.R": (2, 0, 0), "metatarsus.R": (-8, 0, 0), "hindfoot.R": (6, 0, 0),
            "arm.L": (-36, 0, 0), "forearm.L": (-34, 0, 0), "metacarpus.L": (6, 0, 0), "forefoot.L": (10, 0, 0),
            "arm.R": (-20, 0, 0), "forearm.R": (-44, 0, 0), "metacarpus.R": (64, 0, 0), "forefoot.R": (34, 0, 0),
        },
        "horse-gallop-2": {
            "croup": (-8, 0, 0), "thorax": (12, 0, 0), "neck": (6, 0, 0), "nape": (6, 0, 0), "head": (-10, 0, 0),
            "tail": (34, 0, 0), "midtail": (20, 0, 0), "brush": (-12, 0, -4),
            "thigh.L": (-28, 0, 0), "shank.L": (44, 0, 0), "metatarsus.L": (-34, 0, 0), "hindfoot.L": (20, 0, 0),
            "thigh.R": (-20, 0, 0), "shank.R": (40, 0, 0), "metatarsus.R": (-30, 0, 0), "hindfoot.R": (30, 0, 0),
            "arm.L": (2, 0, 3), "forearm.L": (0, 0, 0), "metacarpus.L": (44, 0, 0), "forefoot.L": (40, 0, 0),
            "arm.R": (6, 0, 3), "forearm.R": (-22, 0, 0), "metacarpus.R": (66, 0, 0), "forefoot.R": (44, 0, 0),
        },
    }
)  # fmt: skip


def make(pose: str) -> tuple[Vertices, Faces]:
    """Mesh an animal in a pose: closed, one component, genus 0, in metres."""
    species = SPECIES[pose.partition("-")[0]]
    frames = pose_bones(species.bones(), POSES[pose])
    return sculpt(species.flesh(), frames, voxel=species.voxel, faces=FACES)


MESHES: Mapping[str, Callable[[], tuple[Vertices, Faces]]] = MappingProxyType(
    {f"animal/{pose}": partial(make, pose) for pose in POSES}
)
