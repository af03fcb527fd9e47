"""Humans: one body in six poses, like frames of a motion capture. ``sculpt`` makes the meshes.

Source of the segment lengths: R. Drillis, R. Contini, "Body segment parameters", 1966, at a stature of 1.75 m. The
girths are chosen here, for a volume of about 67 litres.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from gcbench.datasets.minis.sculpt import Faces, Loft, Vertices, both_sides, ellipsoid, sculpt
from gcbench.datasets.minis.skeleton import Bone, Pose, pose_bones, symmetric

STATURE_M = 1.75
FACES = 20_000  # as a frame of AMA has
_VOXEL_M = 0.0075

BONES = symmetric(
    (
        Bone("pelvis", "", (0.0, 0.95, 0.0)),
        Bone("spine", "pelvis", (0.0, 0.10, -0.01)),
        Bone("chest", "spine", (0.0, 0.16, 0.0)),
        Bone("neck", "chest", (0.0, 0.27, -0.02)),
        Bone("head", "neck", (0.0, 0.095, 0.015)),
        Bone("clavicle.L", "chest", (0.03, 0.215, 0.01)),
        Bone("upperarm.L", "clavicle.L", (0.155, 0.0, -0.025)),
        Bone("forearm.L", "upperarm.L", (0.0, -0.30, 0.0)),
        Bone("hand.L", "forearm.L", (0.0, -0.25, 0.0)),
        Bone("fingers.L", "hand.L", (0.0, -0.09, 0.0)),
        Bone("thigh.L", "pelvis", (0.09, -0.03, 0.0)),
        Bone("shank.L", "thigh.L", (0.0, -0.43, 0.0)),
        Bone("foot.L", "shank.L", (0.0, -0.42, 0.0)),
        Bone("toes.L", "foot.L", (0.0, -0.047, 0.115)),
    )
)

_UP = (0.0, 1.0, 0.0)

_TRUNK = (
    Loft(
        "pelvis",
        (0.0, -0.09, 0.0),
        (0.0, 0.13, 0.0),
        ((0.0, 0.125, 0.075), (0.3, 0.165, 0.098), (0.6, 0.155, 0.096), (1.0, 0.134, 0.09)),
        caps=(0.04, 0.06),
    ),
    ellipsoid("pelvis", (0.072, -0.045, -0.05), (0.086, 0.092, 0.072), tilt=-10, blend=0.035),
    Loft(
        "spine",
        (0.0, -0.05, 0.008),
        (0.0, 0.20, 0.002),
        ((0.0, 0.140, 0.092), (0.45, 0.130, 0.090), (1.0, 0.140, 0.098)),
        caps=(0.05, 0.06),
        blend=0.03,
    ),
    Loft(
        "chest",
        (0.0, -0.03, 0.0),
        (0.0, 0.21, -0.012),
        ((0.0, 0.134, 0.097), (0.4, 0.150, 0.108), (0.65, 0.162, 0.110), (0.88, 0.16, 0.092), (1.0, 0.135, 0.075)),
        caps=(0.08, 0.05),
        blend=0.04,
    ),
    ellipsoid("chest", (0.072, 0.125, 0.062), (0.085, 0.065, 0.045), tilt=-12, blend=0.03),
    Loft(
        "chest",
        (0.125, 0.13, -0.04),
        (0.09, -0.06, -0.045),
        ((0.0, 0.042, 0.05), (0.5, 0.045, 0.05), (1.0, 0.03, 0.035)),
        blend=0.04,
    ),
    ellipsoid("chest", (0.078, 0.125, -0.072), (0.066, 0.085, 0.034), tilt=12, blend=0.03),
    ellipsoid("chest", (0.038, 0.0, 0.088), (0.03, 0.10, 0.016), tilt=-4, blend=0.03),
    Loft(
        "chest", (0.02, 0.262, -0.030), (0.165, 0.222, -0.022), ((0.0, 0.042, 0.048), (1.0, 0.040, 0.040)), blend=0.035
    ),
    Loft(
        "clavicle.L",
        (-0.015, 0.005, 0.035),
        (0.125, 0.022, 0.0),
        ((0.0, 0.014, 0.014), (1.0, 0.014, 0.014)),
        blend=0.03,
    ),
    Loft(
        "neck",
        (0.0, -0.05, -0.004),
        (0.0, 0.115, 0.008),
        ((0.0, 0.066, 0.07), (0.5, 0.057, 0.06), (1.0, 0.055, 0.064)),
        blend=0.03,
    ),
)

_HEAD = (
    ellipsoid("head", (0.0, 0.083, -0.008), (0.076, 0.093, 0.098)),
    Loft(
        "head",
        (0.0, 0.075, 0.042),
        (0.0, -0.03, 0.055),
        ((0.0, 0.066, 0.05), (0.55, 0.060, 0.046), (1.0, 0.041, 0.040)),
    ),
    Loft("head", (0.05, 0.03, 0.0), (0.018, -0.034, 0.07), ((0.0, 0.018, 0.02), (1.0, 0.018, 0.018))),
    ellipsoid("head", (0.0, -0.037, 0.084), (0.021, 0.018, 0.017), blend=0.015),
    ellipsoid("head", (0.024, 0.068, 0.08), (0.030, 0.011, 0.014), blend=0.012),
    ellipsoid("head", (0.040, 0.014, 0.060), (0.026, 0.034, 0.024), tilt=10, blend=0.03),
    ellipsoid("head", (0.033, 0.048, 0.103), (0.018, 0.010, 0.015), blend=0.012, carve=True),
    ellipsoid("head", (0.032, 0.048, 0.077), (0.0125, 0.011, 0.0125), blend=0.004),
    Loft("head", (0.0, 0.055, 0.088), (0.0, 0.022, 0.108), ((0.0, 0.008, 0.010), (1.0, 0.011, 0.011)), blend=0.014),
    ellipsoid("head", (0.011, 0.017, 0.098), (0.009, 0.009, 0.012), blend=0.008),
    ellipsoid("head", (0.0, 0.008, 0.088), (0.02, 0.022, 0.012), blend=0.010),
    ellipsoid("head", (0.0, -0.004, 0.0955), (0.022, 0.006, 0.009), blend=0.004),
    ellipsoid("head", (0.0, -0.015, 0.0925), (0.019, 0.007, 0.009), blend=0.004),
    ellipsoid("head", (0.076, 0.045, -0.008), (0.012, 0.032, 0.02), tilt=-12, blend=0.006),
)

_ARM = (
    ellipsoid("upperarm.L", (0.004, -0.025, 0.0), (0.054, 0.082, 0.06), blend=0.04),
    Loft(
        "upperarm.L",
        (0.0, -0.02, 0.0),
        (0.0, -0.30, 0.0),
        ((0.0, 0.044, 0.05), (0.5, 0.042, 0.044), (1.0, 0.036, 0.039)),
    ),
    ellipsoid("upperarm.L", (0.0, -0.165, 0.018), (0.036, 0.085, 0.032)),
    ellipsoid("upperarm.L", (0.006, -0.13, -0.02), (0.036, 0.095, 0.031)),
    Loft(
        "forearm.L",
        (0.0, 0.0, 0.0),
        (0.0, -0.25, 0.0),
        ((0.0, 0.036, 0.038), (0.22, 0.041, 0.045), (0.55, 0.033, 0.038), (0.88, 0.022, 0.030), (1.0, 0.021, 0.029)),
        blend=0.012,
    ),
    Loft(
        "hand.L",
        (0.0, 0.005, 0.0),
        (0.0, -0.082, 0.0),
        ((0.0, 0.019, 0.027), (0.4, 0.018, 0.039), (1.0, 0.015, 0.043)),
        caps=(0.02, 0.028),
        blend=0.012,
    ),
    Loft(
        "hand.L",
        (-0.004, -0.015, 0.022),
        (-0.012, -0.055, 0.056),
        ((0.0, 0.016, 0.018), (1.0, 0.012, 0.013)),
        blend=0.015,
    ),
    Loft(
        "hand.L",
        (-0.012, -0.055, 0.056),
        (-0.014, -0.085, 0.074),
        ((0.0, 0.012, 0.013), (1.0, 0.009, 0.009)),
        blend=0.006,
    ),
    *(
        Loft(
            "fingers.L",
            (0.0, 0.012, base),
            (-0.004, -length, tip),
            ((0.0, 0.0095, 0.0085), (1.0, 0.0075, 0.0070)),
            blend=0.005,
        )
        for base, tip, length in (
            (0.031, 0.056, 0.068),
            (0.0105, 0.019, 0.080),
            (-0.0105, -0.019, 0.075),
            (-0.031, -0.054, 0.056),
        )
    ),
)

_LEG = (
    Loft(
        "thigh.L",
        (0.0, 0.0, 0.0),
        (0.0, -0.43, 0.0),
        (
            (0.0, 0.083, 0.088),
            (0.2, 0.088, 0.093, 0.002, 0.002),
            (0.45, 0.077, 0.084, 0.004, 0.006),
            (0.75, 0.059, 0.064, 0.0, 0.004),
            (1.0, 0.050, 0.055),
        ),
        blend=0.025,
    ),
    ellipsoid("thigh.L", (0.025, -0.22, 0.03), (0.05, 0.16, 0.052)),
    Loft(
        "shank.L",
        (0.0, 0.0, 0.0),
        (0.0, -0.41, -0.004),
        (
            (0.0, 0.049, 0.053),
            (0.15, 0.049, 0.051, 0.0, -0.002),
            (0.35, 0.053, 0.054, 0.0, -0.010),
            (0.6, 0.042, 0.044, 0.0, -0.008),
            (0.85, 0.031, 0.036, 0.0, -0.002),
            (1.0, 0.032, 0.038),
        ),
        blend=0.012,
    ),
    ellipsoid("shank.L", (0.0, 0.015, 0.03), (0.034, 0.042, 0.028)),
    ellipsoid("shank.L", (0.018, -0.125, -0.033), (0.033, 0.095, 0.034)),
    ellipsoid("shank.L", (-0.018, -0.135, -0.033), (0.033, 0.10, 0.034)),
    ellipsoid("foot.L", (0.0, 0.006, 0.0), (0.038, 0.018, 0.022), blend=0.015),
    Loft(
        "foot.L",
        (0.0, -0.035, -0.038),
        (0.002, -0.042, 0.11),
        ((0.0, 0.033, 0.033), (0.45, 0.033, 0.032), (1.0, 0.045, 0.026)),
        front=_UP,
        caps=(0.03, 0.03),
        blend=0.012,
    ),
    Loft(
        "foot.L",
        (0.0, 0.01, 0.005),
        (-0.006, -0.03, 0.105),
        ((0.0, 0.032, 0.03), (0.5, 0.032, 0.03), (1.0, 0.034, 0.02)),
        front=_UP,
    ),
    Loft(
        "toes.L",
        (0.0, 0.002, -0.005),
        (-0.006, -0.007, 0.05),
        ((0.0, 0.045, 0.024), (0.6, 0.043, 0.018), (1.0, 0.034, 0.013)),
        front=_UP,
        caps=(0.02, 0.022),
        blend=0.015,
    ),
)

BODY = both_sides(_TRUNK + _HEAD + _ARM + _LEG)

# Degrees about x (negative flexes hip, elbow and spine forward, positive flexes the knee), y (twist),
# z (away from the body).
POSES: Mapping[str, Pose] = MappingProxyType(
    {
        "stand": {
            "clavicle.L": (0, 0, -3), "clavicle.R": (0, 0, -3),
            "upperarm.L": (6, 0, 22), "upperarm.R": (6, 0, 22),
            "forearm.L": (-18, 0, 0), "forearm.R": (-18, 0, 0), "fingers.L": (0, 0, -12), "fingers.R": (0, 0, -12),
            "thigh.L": (0, 12, 8), "thigh.R": (0, 12, 8), "foot.L": (0, 0, -7), "foot.R": (0, 0, -7),
        },
        "walk": {
            "pelvis": (-2, -8, 0), "spine": (-2, 6, 0), "chest": (2, 10, 0), "head": (2, -8, 0),
            "upperarm.L": (28, 0, 15), "upperarm.R": (-26, 0, 15),
            "forearm.L": (-20, 0, 0), "forearm.R": (-42, 0, 0), "fingers.L": (0, 0, -20), "fingers.R": (0, 0, -20),
            "thigh.L": (-32, 4, 4), "shank.L": (12, 0, 0), "foot.L": (-14, 0, 0),
            "thigh.R": (20, 4, 4), "shank.R": (26, 0, 0), "foot.R": (16, 0, 0), "toes.R": (-32, 0, 0),
        },
        "reach": {
            "pelvis": (6, -14, 0), "spine": (8, -8, 4), "chest": (6, -12, 6), "neck": (-6, 8, 0), "head": (-22, 12, 0),
            "clavicle.R": (0, 0, 22), "upperarm.R": (-138, 26, 14), "forearm.R": (-12, 0, 0), "fingers.R": (0, 0, -8),
            "upperarm.L": (26, 0, 34), "forearm.L": (-34, 0, 0), "fingers.L": (0, 0, -24),
            "thigh.L": (-30, 6, 6), "shank.L": (26, 0, 0), "foot.L": (-4, 0, 0),
            "thigh.R": (8, 8, 9), "shank.R": (10, 0, 0), "foot.R": (26, 0, 0), "toes.R": (-34, 0, 0),
        },
        "crane-kick": {
            "pelvis": (-8, 0, 4), "spine": (2, 0, -4), "chest": (4, 0, -4), "head": (2, 0, 2),
            "clavicle.L": (0, 0, 16), "clavicle.R": (0, 0, 16),
            "upperarm.L": (-4, 0, 104), "upperarm.R": (-4, 0, 104),
            "forearm.L": (-26, 0, 22), "forearm.R": (-26, 0, 22),
            "hand.L": (0, 0, -62), "hand.R": (0, 0, -62), "fingers.L": (0, 0, -24), "fingers.R": (0, 0, -24),
            "thigh.L": (8, 6, 3), "shank.L": (16, 0, 0), "foot.L": (-14, 0, 0),
            "thigh.R": (-96, 4, 4), "shank.R": (96, 0, 0), "foot.R": (34, 0, 0), "toes.R": (10, 0, 0),
        },
        "samba": {
            "pelvis": (0, 18, 12), "spine": (-2, -10, -14), "chest": (-4, -14, -8), "neck": (0, 8, 8),
            "head": (4, 14, 6),
            "clavicle.L": (0, 0, 8), "upperarm.L": (-34, 0, 62), "forearm.L": (-84, 0, 0), "hand.L": (-10, 0, -16),
            "clavicle.R": (0, 0, 4), "upperarm.R": (24, 0, 52), "forearm.R": (-66, 0, 0), "hand.R": (0, 0, 26),
            "fingers.L": (0, 0, -16), "fingers.R": (0, 0, -10),
            "thigh.L": (-46, 14, 10), "shank.L": (62, 0, 0), "foot.L": (30, 0, 0), "toes.L": (-24, 0, 0),
            "thigh.R": (2, 6, 16), "shank.R": (8, 0, 0), "foot.R": (-10, 0, -6),
        },
        "squat": {
            "pelvis": (22, 0, 0), "spine": (14, 0, 0), "chest": (8, 0, 0), "neck": (-10, 0, 0), "head": (-24, 0, 0),
            "upperarm.L": (-128, 9, 4), "upperarm.R": (-128, 9, 4),
            "forearm.L": (-8, 0, 0), "forearm.R": (-8, 0, 0), "fingers.L": (0, 0, -6), "fingers.R": (0, 0, -6),
            "thigh.L": (-112, 24, 16), "thigh.R": (-112, 24, 16),
            "shank.L": (112, 0, 0), "shank.R": (112, 0, 0), "foot.L": (-24, 0, 0), "foot.R": (-24, 0, 0),
        },
    }
)  # fmt: skip


def make(pose: str) -> tuple[Vertices, Faces]:
    """Mesh the body in a pose: closed, one component, genus 0, in metres."""
    return sculpt(BODY, pose_bones(BONES, POSES[pose]), voxel=_VOXEL_M, faces=FACES)


MESHES: Mapping[str, Callable[[], tuple[Vertices, Faces]]] = MappingProxyType(
    {f"human/{pose}": partial(make, pose) for pose in POSES}
)
