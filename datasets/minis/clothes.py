"""Random clothes, hair and luggage: lofts on the bones of the minis' human, for :mod:`varied_humans`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gcbench.datasets.minis import humans
from gcbench.datasets.minis.figures import eased
from gcbench.datasets.minis.sculpt import Loft, Section, both_sides, ellipsoid
from gcbench.datasets.minis.skeleton import vector

__all__ = ["folds", "hair", "hands", "hat", "jacket", "luggage", "shoes", "trousers"]

# The main loft of a limb or of a part of the trunk, by bone: clothes are thicker copies of these lofts.
_MAIN = {
    bone: next(
        loft
        for loft in humans.BODY
        if loft.bone == bone and len(loft.sections) > (1 if bone.startswith("upper") else 2)
    )
    for bone in ("pelvis", "spine", "chest", "upperarm.L", "forearm.L", "thigh.L", "shank.L", "foot.L", "toes.L")
}


def folds(rng: np.random.Generator, amplitude: float, along: float, across: float) -> tuple[Section, ...]:
    """Random waves of a loft.

    Parameters
    ----------
    amplitude : float
        Metres, of all waves together.
    along, across : float
        Highest frequency along the loft and around it, in radians per metre; wrinkles that run around a limb have a
        high frequency along it.
    """
    count = int(rng.integers(2, 6))
    shares = rng.dirichlet(np.full(count, 2.0)) * amplitude
    return tuple(
        (float(a), *(float(f) for f in rng.uniform(-across, across, 2)), float(rng.uniform(0.3, 1) * along), float(p))
        for a, p in zip(shares, rng.uniform(0, 2 * np.pi, count), strict=True)
    )


def _gathered(rng: np.random.Generator, bone: str, near: float, radius: float, amplitude: float) -> Loft:
    """Cloth that gathers around a limb, as at an ankle, a knee or an elbow, ``near`` metres below the joint."""
    half = rng.uniform(0.03, 0.08)
    return Loft(
        bone,
        (0.0, -near + half, 0.0),
        (0.0, -near - half, 0.0),
        ((0.0, 0.9 * radius, 0.9 * radius), (0.5, radius, 1.05 * radius), (1.0, 0.9 * radius, 0.95 * radius)),
        caps=(0.03, 0.02),
        blend=0.02,
        waves=folds(rng, amplitude, rng.uniform(60, 140), 60),
    )


def _sided(rng: np.random.Generator, lofts: Sequence[Loft]) -> list[Loft]:
    """Left lofts and their mirror images, with folds that differ."""
    mirrored = [
        replace(loft.mirror(), waves=[(*w[:4], float(p)) for w, p in zip(loft.waves, phases, strict=True)])
        for loft in lofts
        for phases in [rng.uniform(0, 2 * np.pi, len(loft.waves))]
    ]
    return [*lofts, *mirrored]


def trousers(rng: np.random.Generator) -> list[Loft]:
    """Tight, loose or flared; long or short."""
    ease, flare = rng.uniform(0.006, 0.035), rng.uniform(-0.005, 0.04) * (rng.random() < 0.6)
    amplitude, along = rng.uniform(0.2, 0.8) * (0.004 + 0.35 * ease), rng.uniform(15, 80)
    hem = rng.uniform(0.35, 1.0) if rng.random() < 0.3 else rng.uniform(0.93, 1.03)
    hips = replace(eased(_MAIN["pelvis"], 0.6 * ease), waves=folds(rng, amplitude / 2, 30, 30), caps=(0.05, 0.02))
    upper = replace(eased(_MAIN["thigh.L"], ease), waves=folds(rng, amplitude, along, 60), blend=0.05)
    # The cloth does not follow the calf, but falls from the knee to the hem.
    length, width = 0.40 * hem, 0.052 + ease
    lower = Loft(
        "shank.L",
        (0.0, 0.0, 0.0),
        (0.0, -length, 0.0),
        ((0.0, width, width), (0.5, width, width), (1.0, width + flare, width + 1.2 * flare)),
        caps=(width, 0.012),
        blend=0.03,
        waves=folds(rng, 1.3 * amplitude, along, 60),
    )
    leg = [upper, lower]
    if rng.random() < 0.6:
        leg.append(_gathered(rng, "shank.L", length - 0.04, width + flare + 0.004, 1.5 * amplitude))
    if rng.random() < 0.4:
        leg.append(_gathered(rng, "shank.L", rng.uniform(-0.03, 0.08), width + 0.004, 1.5 * amplitude))
    return [hips, *_sided(rng, leg)]


def jacket(rng: np.random.Generator) -> list[Loft]:
    """A shirt or a jacket, with or without sleeves and collar."""
    ease = rng.uniform(0.004, 0.035)
    amplitude, along = rng.uniform(0.2, 0.8) * (0.003 + 0.3 * ease), rng.uniform(10, 50)
    made = [
        replace(eased(_MAIN[bone], ease * share), waves=folds(rng, amplitude, along, 60), blend=0.05)
        for bone, share in (("spine", 1.0), ("chest", 0.6))
    ]
    hem, hips = rng.uniform(-0.02, 0.16), 0.165 + ease
    made.append(
        Loft(
            "pelvis",
            (0.0, 0.14, 0.0),
            (0.0, -hem, 0.0),
            ((0.0, hips - 0.03, 0.100 + ease), (1.0, hips, 0.112 + ease)),
            caps=(0.06, 0.015),
            blend=0.02,
            waves=folds(rng, amplitude, along, 60),
        )
    )
    if rng.random() < 0.85:
        made += _sided(rng, _sleeve(rng, ease, amplitude, long=rng.random() < 0.65))
    if rng.random() < 0.5:  # a collar
        thick, high = rng.uniform(0.066, 0.09), rng.uniform(0.02, 0.06)
        made.append(
            Loft("neck", (0.0, -0.03, -0.005), (0.0, high, 0.0), ((0.0, thick, thick),), caps=(0.02, 0.01), blend=0.01)
        )
    if rng.random() < 0.15:  # a hood
        made.append(ellipsoid("chest", (0.0, 0.25, -0.12), (0.13, 0.08, 0.06), tilt=20, blend=0.03))
    return made


def _sleeve(rng: np.random.Generator, ease: float, amplitude: float, *, long: bool) -> list[Loft]:
    along, end = rng.uniform(20, 90), rng.uniform(0.55, 0.98)
    parts = [("upperarm.L", 0.047, 1.0), ("forearm.L", 0.040, end)] if long else [("upperarm.L", 0.047, end)]
    made = []
    for bone, girth, length in parts:
        main, width = _MAIN[bone], girth + 0.8 * ease
        cuff = width * rng.uniform(0.75, 1.1)
        made.append(
            Loft(
                bone,
                main.start,
                (0.0, length * main.end[1], 0.0),
                ((0.0, width + 0.004, width + 0.006), (1.0, cuff, cuff)),
                caps=(width, 0.012),
                blend=0.02,
                waves=folds(rng, amplitude, along, 60),
            )
        )
    if long and rng.random() < 0.5:
        made.append(_gathered(rng, "forearm.L", rng.uniform(-0.02, 0.2), 0.042 + ease, 1.4 * amplitude))
    return made


def shoes(rng: np.random.Generator) -> list[Loft]:
    """Shoes, boots, heels."""
    ease, high = rng.uniform(0.004, 0.014), rng.uniform(-0.01, 0.05)
    made = [
        replace(eased(_MAIN["foot.L"], ease), blend=0.01),
        replace(eased(_MAIN["toes.L"], 0.8 * ease), blend=0.01),
        Loft("foot.L", (0, high, -0.005), (0, -0.03, -0.005), ((0.0, 0.042, 0.048),), caps=(0.01, 0.02), blend=0.01),
    ]
    if rng.random() < 0.15:  # a boot
        shaft = ((0.0, 0.062, 0.065), (1.0, 0.045, 0.052))
        top = -rng.uniform(0.1, 0.3)
        made.append(Loft("shank.L", (0.0, top, 0.0), (0.0, -0.41, 0.0), shaft, caps=(0.01, 0.02), blend=0.01))
    if rng.random() < 0.15:  # a heel
        heel = ((0.0, 0.025, 0.025), (1.0, 0.014, 0.014))
        made.append(Loft("foot.L", (0, -0.03, -0.04), (0, -rng.uniform(0.07, 0.11), -0.04), heel, blend=0.01))
    return list(both_sides(made))


def hands(rng: np.random.Generator) -> list[Loft]:
    """A fist or a glove around the fingers of both hands, as of coarse scans."""
    if rng.random() < 0.5:
        radii = vector(rng.uniform((0.022, 0.04, 0.036), (0.034, 0.055, 0.05)))
        return list(both_sides([ellipsoid("hand.L", (-0.008, -0.085, 0.005), radii)]))
    thick = rng.uniform(0.011, 0.02)
    wide = ((0.0, thick, 0.045), (0.6, thick, 0.048), (1.0, 0.8 * thick, 0.03))
    return list(both_sides([Loft("fingers.L", (0.0, 0.02, 0.0), (-0.004, -0.075, 0.0), wide, blend=0.02)]))


def hair(rng: np.random.Generator) -> list[Loft]:
    """Short, long, curly, in a bun, or a beard with it; strands that hang free are not here."""
    thick = rng.uniform(0.006, 0.03) if rng.random() < 0.85 else rng.uniform(0.04, 0.10)
    rough = folds(rng, rng.uniform(0, 0.4) * thick, 90, 90)
    crown = (0.076 + thick, 0.085 + thick / 2, 0.092 + thick)
    made = [replace(ellipsoid("head", (0.0, 0.10 + thick / 3, -0.025), crown), waves=rough, blend=0.01)]
    style = rng.random()
    if style < 0.25:  # a bun
        radius = rng.uniform(0.03, 0.06)
        at = (0.0, rng.uniform(0.05, 0.19), rng.uniform(-0.15, -0.11))
        made.append(ellipsoid("head", at, (radius, radius, radius)))
    elif style < 0.5:  # to the chin or the shoulders
        made.append(
            Loft(
                "head",
                (0.0, 0.08, -0.035),
                (0.0, rng.uniform(-0.16, -0.02), -0.06),
                ((0.0, 0.08 + thick, 0.08 + thick), (1.0, rng.uniform(0.08, 0.14), 0.06 + thick)),
                caps=(0.04, 0.015),
                blend=0.015,
                waves=rough,
            )
        )
    elif style < 0.58:  # a beard
        made.append(ellipsoid("head", (0.0, -0.04, 0.07), (0.05, rng.uniform(0.04, 0.1), 0.035)))
    return made


def hat(rng: np.random.Generator) -> list[Loft]:
    """A crown, mostly with a brim."""
    brim, tall = rng.uniform(0.11, 0.22), rng.uniform(0.05, 0.2)
    at = (0.0, 0.12, -0.01)
    crown = Loft("head", at, (0.0, 0.12 + tall, -0.01), ((0.0, 0.088, 0.108), (1.0, 0.075, 0.09)), caps=(0.01, 0.03))
    flat = Loft("head", at, (0.0, 0.135, -0.01), ((0.0, brim, brim),), caps=(0.012, 0.012), blend=0.01)
    return [crown, flat] if rng.random() < 0.7 else [crown]


def luggage(rng: np.random.Generator) -> list[Loft]:
    """A pack on the back, or a stick in a hand."""
    wide, high, deep = (float(size) for size in rng.uniform((0.1, 0.12, 0.05), (0.19, 0.26, 0.12)))
    if rng.random() < 0.6:
        return [ellipsoid("chest", (0.0, 0.05, -0.10 - deep), (wide, high, deep), blend=0.03)]
    thick, long = rng.uniform(0.012, 0.03), rng.uniform(0.1, 0.7)
    return [Loft("hand.L", (0.0, -0.06, -long / 2), (0.0, -0.06, long), ((0.0, thick, thick),), front=(0.0, 1.0, 0.0))]
