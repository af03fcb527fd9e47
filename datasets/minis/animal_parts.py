"""Random parts of animals: ears, horns, wings, manes, spikes, trunks, fur.

Sizes follow from the animal's: ``unit`` is the height of its hips and ``head`` the length of its head, in metres.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gcbench.datasets.minis import animals
from gcbench.datasets.minis.sculpt import Loft, Section, both_sides, ellipsoid
from gcbench.datasets.minis.skeleton import LEFT, Bone, Vector, symmetric, vector

__all__ = ["ears", "head_length", "horns", "mane", "roughness", "spikes", "trunk", "wings"]

_UP = (0.0, 1.0, 0.0)


def head_length(species: animals.Species) -> float:
    """From the poll to the muzzle, in metres."""
    return float(np.linalg.norm(np.subtract(species.muzzle, species.joints["head"])))


def ears(rng: np.random.Generator, head: float, root: Vector = (0.18, 0.15, 0.05)) -> list[Loft]:
    """A pair, upright, sideways or hanging; ``root`` is in lengths of the head."""
    long, wide, thin = head * rng.uniform((0.2, 0.08, 0.045), (0.9, 0.28, 0.10))
    tilt = rng.uniform(-0.3, 1.8)
    start = head * np.array(root)
    end = start + long * np.array([np.sin(tilt), np.cos(tilt), rng.uniform(-0.3, 0.2)])
    sections = ((0.0, 0.6 * wide, 1.2 * thin), (0.5, wide, thin), (1.0, rng.uniform(0.15, 0.9) * wide, 0.8 * thin))
    return list(both_sides([Loft("head", vector(start), vector(end), sections, blend=0.08 * head)]))


def horns(rng: np.random.Generator, head: float, root: Vector = (0.13, 0.2, 0.1)) -> list[Loft]:
    """A pair, straight or curved, some with branches."""
    at, thick = head * np.array(root), rng.uniform(0.06, 0.14) * head
    direction, turn = np.array([rng.uniform(0, 1), 1.0, rng.uniform(-0.8, 0.6)]), rng.normal(0, 0.3, 3)
    made, branched = [], rng.random() < 0.4
    for _ in range(int(rng.integers(1, 5))):
        direction = direction / np.linalg.norm(direction) + turn
        end = at + rng.uniform(0.15, 0.4) * head * direction / np.linalg.norm(direction)
        fine = max(0.7 * thick, 0.035 * head)
        made.append(Loft("head", vector(at), vector(end), ((0.0, thick, thick), (1.0, fine, fine)), blend=0.3 * fine))
        if branched:
            side = end + rng.uniform(0.15, 0.3) * head * np.array([rng.uniform(-0.5, 1), 0.7, rng.uniform(0, 1)])
            made.append(Loft("head", vector(end), vector(side), ((0.0, fine, fine),), blend=0.3 * fine))
        at, thick = end, fine
    return list(both_sides(made))


def wings(rng: np.random.Generator, unit: float, bone: str, at: Vector) -> tuple[list[Bone], list[Loft]]:
    """Wings of two flat segments, as of a bird, a bat or a dragon; the bones ``wing`` and ``pinion``."""
    inner, outer = unit * rng.uniform((0.4, 0.4), (0.9, 1.4))
    chord, thin = unit * rng.uniform((0.2, 0.025), (0.6, 0.05))
    up = rng.uniform(-0.2, 0.8)
    elbow = (inner * np.cos(up), inner * np.sin(up), rng.uniform(-0.2, 0.1) * unit)
    tip = (outer, rng.uniform(-0.3, 0.3) * outer, rng.uniform(-0.5, 0.1) * outer)
    joints = [Bone(f"wing{LEFT}", bone, at), Bone(f"pinion{LEFT}", f"wing{LEFT}", vector(elbow))]
    # The skeleton that gets the wings has the bone that they hang on.
    bones = [b for b in symmetric([Bone(bone, "", at), *joints]) if b.name != bone]
    waves, arm = roughness(rng, 0.3 * thin, unit), 1.6 * thin
    flesh = []
    for name, end, sections in (
        (joints[0].name, elbow, ((0.0, 0.4 * chord, 1.5 * thin), (1.0, chord, thin, -0.3 * chord))),
        (joints[1].name, tip, ((0.0, chord, thin, -0.3 * chord), (1.0, 0.3 * chord, 0.8 * thin, -0.2 * chord))),
    ):
        flat = Loft(
            name,
            (0.0, 0.0, 0.0),
            vector(end),
            sections,
            front=_UP,
            side=(0.0, 0.0, 1.0),
            blend=0.03 * unit,
            waves=waves,
        )
        flesh += [flat, replace(flat, sections=((0.0, arm, arm), (1.0, 0.7 * arm, 0.7 * arm)), waves=())]
    return bones, list(both_sides(flesh))


def mane(rng: np.random.Generator, head: float) -> list[Loft]:
    """Hair around the head and the neck, as of a lion."""
    thick = 0.5 * head * rng.uniform(0.8, 1.4)
    ball = ellipsoid("head", (0.0, -0.1 * head, -0.25 * head), (thick, 1.2 * thick, 0.8 * thick), blend=0.15 * head)
    return [replace(ball, waves=roughness(rng, 0.08 * head, 1.5 * head))]


def spikes(rng: np.random.Generator, species: animals.Species) -> list[Loft]:
    """Spikes along the back, as of a dragon or a dinosaur."""
    made, unit = [], species.joints["croup"][1]
    tall, thin = rng.uniform((0.06, 0.03), (0.3, 0.06)) * unit
    for z, y, _, height in (row[:4] for row in species.trunk):
        bone = "croup" if z < species.loin_z else "thorax"
        origin = species.joints[bone]
        base = (0.0, y + 0.9 * height - origin[1], z - origin[2])
        end = (0.0, base[1] + tall, base[2] - 0.4 * tall)
        made.append(Loft(bone, base, end, ((0.0, thin, 2 * thin), (1.0, 0.5 * thin, 0.5 * thin)), blend=0.2 * thin))
    return made


def trunk(rng: np.random.Generator, species: animals.Species) -> list[Loft]:
    """An elephant's trunk, bent once."""
    head = head_length(species)
    muzzle = np.subtract(species.muzzle, species.joints["head"])
    bend = muzzle + head * np.array([0.0, -rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.5)])
    tip = bend + head * rng.uniform((-0.3, -0.8, -0.5), (0.3, 0.2, 0.8))
    a, b, c = head * np.array([0.22, 0.15, 0.09])
    return [
        Loft("head", vector(muzzle), vector(bend), ((0.0, a, a), (1.0, b, b)), blend=0.1 * head),
        Loft("head", vector(bend), vector(tip), ((0.0, b, b), (1.0, c, c)), blend=0.03 * head),
    ]


def roughness(rng: np.random.Generator, amplitude: float, unit: float) -> tuple[Section, ...]:
    """Waves in any direction, as of fur or scales; the shortest are about a quarter of ``unit`` long."""
    count = int(rng.integers(2, 5))
    shares = rng.dirichlet(np.ones(count)) * amplitude * rng.uniform(0.2, 1)
    numbers = [(*rng.normal(0, rng.uniform(6, 18) / unit, 3), rng.uniform(0, 2 * np.pi)) for _ in range(count)]
    return tuple((float(a), *(float(v) for v in n)) for a, n in zip(shares, numbers, strict=True))
