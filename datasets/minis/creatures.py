"""Random creatures with a free body plan: fish, snakes, birds, lizards, insects and what never lived."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.minis import animal_parts as parts
from gcbench.datasets.minis.figures import Figure
from gcbench.datasets.minis.sculpt import Loft, both_sides, ellipsoid
from gcbench.datasets.minis.skeleton import LEFT, RIGHT, Bone, Vector, symmetric, vector
from gcbench.datasets.minis.varied_animals import FREEDOM, Animal

__all__ = ["random_creature"]

_UP = (0.0, 1.0, 0.0)
_THINNEST = 0.016  # metres; creatures are one or two metres long, and thinner limbs would fall apart on the grid


@dataclass
class _Chain:
    """Bones in a row, one after another, with a loft on each."""

    bones: list[Bone] = field(default_factory=list)
    flesh: list[Loft] = field(default_factory=list)
    freedom: dict[str, Vector] = field(default_factory=dict)

    def add(
        self,
        name: str,
        parent: str,
        offset: Vector,
        *,
        end: NDArray[np.float64],
        girths: tuple[float, float],
        flatness: float,
        freedom: Vector,
        blend: float = 0.5,
    ) -> tuple[str, Vector]:
        """Add a bone that ends at ``end``; girths are half-widths at both ends, and ``flatness`` is width over height.

        Returns the bone's name and its end, which the next bone starts at.
        """
        a, b = (max(girth, _THINNEST) for girth in girths)
        low = max(1 / flatness, 0.3)
        sections = ((0.0, a, a * low), (1.0, b, b * low))
        self.bones.append(Bone(name, parent, offset))
        # Fillets that are wide beside the limb would swell it at every joint.
        self.flesh.append(Loft(name, (0.0, 0.0, 0.0), vector(end), sections, front=_UP, blend=blend * min(a, b)))
        self.freedom[name] = freedom
        if name.endswith(LEFT):
            self.freedom[name.removesuffix(LEFT) + RIGHT] = freedom
        return name, vector(end)


def random_creature(rng: np.random.Generator) -> Animal:
    """A spine of some segments with a head, a tail, and any number of legs, wings or fins."""
    body = _Chain()
    count, length = int(rng.integers(2, 6)), rng.uniform(0.5, 1.1)
    wide, flatness = length * rng.uniform(0.08, 0.26), float(np.exp(rng.normal(0, 0.3)))
    profile = _profile(rng, count + 1)
    at = ("", (0.0, 0.0, 0.0))
    arch = rng.normal(0, 0.15)
    for i in range(count):
        end = length / count * np.array([0.0, arch * (1 - 2 * i / count), 1.0])
        girths = (wide * profile[i], wide * profile[i + 1])
        at = body.add(f"spine{i}", *at, end=end, girths=girths, flatness=flatness, freedom=(8.0, 10.0, 4.0))
    _front(rng, body, at, wide * min(1.0, 1 / flatness) * rng.uniform(0.4, 0.9))
    _back(rng, body, wide * profile[0], flatness, length)
    pairs = int(rng.choice([0, 1, 2, 2, 2, 3, 4]))
    flat = rng.random() < 0.25
    for i in range(pairs):
        spine = round(i * (count - 1) / max(pairs - 1, 1))
        _limb(rng, body, f"limb{i}", f"spine{spine}", wide * profile[spine], fin=flat)
    bones, flesh = symmetric(body.bones), both_sides(body.flesh)
    if rng.random() < 0.3:
        root = (0.6 * wide, 0.6 * wide / flatness, 0.0)
        more, wings = parts.wings(rng, length * rng.uniform(0.5, 1.1), f"spine{count // 2}", root)
        bones, flesh = (*bones, *more), (*flesh, *wings)
        body.freedom |= {bone: angles for bone, angles in FREEDOM.items() if bone[:4] in ("wing", "pini")}
    if rng.random() < 0.3:
        rough = parts.roughness(rng, 0.05 * wide, 4 * wide)
        flesh = tuple(loft if loft.waves else replace(loft, waves=rough) for loft in flesh)
    return Animal(Figure(bones, flesh), ({},), body.freedom)


def _profile(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Girths along a spine: thickest between its ends."""
    t = np.linspace(0, 1, count)
    noise = rng.normal(0, 0.1, count)
    return np.asarray(np.clip(0.5 + 0.5 * np.sin(np.pi * (0.1 + 0.75 * t)) + noise, 0.3, 1.2), dtype=np.float64)


def _front(rng: np.random.Generator, body: _Chain, at: tuple[str, Vector], thick: float) -> None:
    """A neck of up to three bones, and a head."""
    rise, step = rng.uniform(-0.2, 1.2), rng.uniform(1.0, 2.5) * thick
    for i in range(int(rng.integers(0, 4))):
        end = step * np.array([0.0, rise, 0.6])
        at = body.add(
            f"neck{i}", *at, end=end, girths=(thick, 0.9 * thick), flatness=0.9, freedom=(16.0, 16.0, 6.0), blend=0.8
        )
    size = thick * rng.uniform(1.2, 2.0)
    snout, wide, deep = size * rng.uniform((0.3, 0.35, 0.3), (2.2, 0.7, 0.6))
    body.bones.append(Bone("head", *at))
    body.freedom["head"] = (15.0, 20.0, 8.0)
    upper = ((0.0, 0.7 * size, deep), (1.0, wide, 0.5 * deep))
    body.flesh += [
        ellipsoid("head", (0.0, 0.2 * size, 0.4 * size), (0.8 * size, 0.8 * size, 0.9 * size), blend=0.4 * size),
        Loft(
            "head", (0.0, 0.15 * size, 0.5 * size), (0.0, 0.05 * size, 0.9 * size + snout), upper, _UP, blend=0.2 * size
        ),
    ]
    if rng.random() < 0.4:  # an open mouth
        jaw = ((0.0, 0.6 * size, 0.5 * deep), (1.0, 0.8 * wide, 0.35 * deep))
        chin = (0.0, -rng.uniform(0.2, 0.8) * size, 0.8 * size + 0.8 * snout)
        body.flesh.append(Loft("head", (0.0, -0.1 * size, 0.5 * size), chin, jaw, _UP, blend=0.05 * size))
    if rng.random() < 0.7:
        eye = size * rng.uniform(0.15, 0.3)
        body.flesh.append(ellipsoid("head", (0.5 * size, 0.6 * size, 0.9 * size), (eye, eye, eye), blend=0.05 * size))
    if rng.random() < 0.5:
        body.flesh += parts.ears(rng, 2 * size, (0.2, 0.4, 0.15))[:1]
    if rng.random() < 0.3:
        body.flesh += [horn for horn in parts.horns(rng, 2 * size, (0.15, 0.4, 0.2)) if horn.start[0] > 0]


def _back(rng: np.random.Generator, body: _Chain, thick: float, flatness: float, length: float) -> None:
    """A tail of up to seven bones that grows backwards from the first spine bone, and perhaps a fluke."""
    at: tuple[str, Vector] = ("spine0", (0.0, 0.0, 0.0))
    count, step = int(rng.integers(0, 8)), length * rng.uniform(0.1, 0.25)
    taper = rng.uniform(0.6, 0.9)
    for i in range(count):
        end = step * np.array([0.0, rng.normal(-0.1, 0.15), -1.0])
        girths = (0.9 * thick, 0.9 * thick * taper)
        at = body.add(f"tail{i}", *at, end=end, girths=girths, flatness=flatness, freedom=(14.0, 18.0, 5.0), blend=0.3)
        thick *= taper
    if count and rng.random() < 0.4:  # a fluke, upright as of a fish or flat as of a whale
        size = length * rng.uniform(0.1, 0.3)
        sections = ((0.0, 0.3 * size, 0.03), (0.6, size, 0.025), (1.0, 0.9 * size, 0.022))
        front = (1.0, 0.0, 0.0) if rng.random() < 0.6 else _UP
        rear = vector(np.array(at[1]) - [0.0, 0.0, 0.7 * size])
        body.flesh.append(Loft(at[0], at[1], rear, sections, front, (0.0, 1.0, 0.1), blend=0.02))


def _limb(rng: np.random.Generator, body: _Chain, name: str, parent: str, thick: float, *, fin: bool) -> None:
    """A pair of fins, or of legs of two or three bones: below the body, or spread like a lizard's or an insect's."""
    spread = rng.uniform(0.0, 0.4) if rng.random() < 0.6 else rng.uniform(0.8, 2.0)
    at: tuple[str, Vector] = (parent, (0.75 * thick, -0.1 * thick, 0.0))
    long, girth = thick * rng.uniform(1.0, 2.5) + 0.05, thick * rng.uniform(0.3, 0.55)
    if fin:
        reach = vector(2 * long * np.array([1.0, rng.uniform(-0.6, 0.3), rng.uniform(-0.9, 0.2)]))
        chord = rng.uniform(0.3, 0.7) * long
        blade = ((0.0, 0.6 * chord, 0.03), (0.5, chord, 0.025), (1.0, 0.4 * chord, 0.02))
        bone = f"{name}a{LEFT}"
        body.bones.append(Bone(bone, *at))
        body.flesh.append(Loft(bone, (0.0, 0.0, 0.0), reach, blade, _UP, (0.0, 0.0, 1.0), blend=0.04))
        body.freedom |= dict.fromkeys((bone, f"{name}a{RIGHT}"), (10.0, 15.0, 20.0))
        return
    for i in range(int(rng.integers(2, 4))):
        down = rng.uniform(-0.5, 0.6) if i == 0 and spread > 0.8 else -1.0
        direction = np.array([spread if i == 0 else 0.1 * spread, down, rng.uniform(-0.5, 0.5)])
        end, fine = long * direction / np.linalg.norm(direction), girth * rng.uniform(0.5, 0.9)
        at = body.add(
            f"{name}{'abc'[i]}{LEFT}",
            *at,
            end=end,
            girths=(girth, fine),
            flatness=0.9,
            freedom=(15.0, 6.0, 8.0),
            blend=0.7,
        )
        girth, long = fine, long * rng.uniform(0.6, 1.1)
    toes, foot = int(rng.integers(1, 5)), rng.uniform(1.0, 2.0) * girth + 0.02
    girth = max(girth, _THINNEST)
    sections = ((0.0, girth, girth), (1.0, max(0.8 * girth, _THINNEST), max(0.6 * girth, _THINNEST)))
    for angle in np.linspace(-0.6, 0.6, toes) if toes > 1 else (0.0,):
        tip = vector(np.array(at[1]) + 2 * foot * np.array([np.sin(angle), -0.15, np.cos(angle)]))
        body.flesh.append(Loft(at[0], at[1], tip, sections, _UP, blend=0.01))
