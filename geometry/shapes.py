"""Random shapes to train networks on: blobs, limbs, superquadrics, solids, cloths. Equal seeds give equal shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Faces = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """A surface in [-1, 1]³.

    Parameters
    ----------
    name : str
        Name in reports.
    vertices : (V, 3) float64
        The longest side of the bounding box spans [-1, 1].
    faces : (F, 3) int64
        Vertex indices.
    """

    name: str
    vertices: Points
    faces: Faces


def normalised(name: str, vertices: NDArray[Any], faces: NDArray[Any]) -> Shape:
    """Centre and scale a surface so that the longest side of its bounding box spans [-1, 1]."""
    low, high = vertices.min(0), vertices.max(0)
    return Shape(name, (vertices - (low + high) / 2) * (2 / (high - low).max()), faces.astype(np.int64))


def _icosphere(subdivisions: int) -> tuple[Points, Faces]:
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions)
    return np.asarray(sphere.vertices), np.asarray(sphere.faces)


def rotation(rng: np.random.Generator) -> Points:
    """A uniformly random rotation matrix."""
    a, b, c, d = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
        ]
    )


def blob(rng: np.random.Generator) -> Shape:
    """A sphere deformed by random smooth waves, with folds, dents and bulges like those of bodies and clothes."""
    vertices, faces = _icosphere(int(rng.integers(4, 6)))
    radius = np.ones(len(vertices))
    for _ in range(int(rng.integers(4, 24))):
        frequency = rng.uniform(1, 14)
        wave = vertices @ rotation(rng)[0]
        radius += rng.uniform(0, 0.35) / frequency * np.sin(frequency * wave + rng.uniform(0, 2 * np.pi))
    return normalised("blob", vertices * np.maximum(radius, 0.2)[:, None] * rng.uniform(0.4, 1, 3), faces)


def superquadric(rng: np.random.Generator) -> Shape:
    """A superquadric (between box, cylinder, ellipsoid and octahedron), bent or twisted."""
    vertices, faces = _icosphere(int(rng.integers(3, 6)))
    p, q = np.exp(rng.uniform(np.log(0.8), np.log(8), 2))
    size = np.abs(vertices)
    ring = (size[:, 0] ** p + size[:, 1] ** p) ** (1 / p)
    vertices = vertices / ((ring**q + size[:, 2] ** q) ** (1 / q))[:, None] * rng.uniform(0.3, 1, 3)
    angle = rng.uniform(-1.5, 1.5) * vertices[:, 2]
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = vertices.T
    return normalised("superquadric", np.stack([cos * x - sin * y, sin * x + cos * y, z], 1), faces)


def tube(rng: np.random.Generator) -> Shape:
    """A tube like a limb: a round section of varying width, swept along a smooth random curve."""
    along, around = 120, 40
    t = np.linspace(0, 1, along)
    waves = np.arange(1, 4)
    phases, weights = rng.uniform(0, 2 * np.pi, (3, 3)), rng.normal(size=(3, 3)) / waves
    curve = np.stack(
        [(w * np.sin(np.pi * waves * t[:, None] + p)).sum(1) for w, p in zip(weights, phases, strict=True)], 1
    )
    curve[:, 2] += rng.uniform(0.5, 2) * t
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent, rotation(rng)[0])
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    up = np.cross(tangent, side)
    width = (
        rng.uniform(0.08, 0.35)
        * (1 + 0.5 * np.sin(rng.uniform(2, 9) * t + rng.uniform(0, 6)))
        * np.sqrt(np.clip(4 * t * (1 - t) * 4, 0, 1))
    )
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    flat = rng.uniform(0.5, 1)
    ring = np.cos(turn)[None, :, None] * side[:, None] + flat * np.sin(turn)[None, :, None] * up[:, None]
    vertices = (curve[:, None] + width[:, None, None] * ring).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(along - 1), np.arange(around), indexing="ij")
    a, b = i * around + j, i * around + (j + 1) % around
    faces = np.concatenate([np.stack([a, b, a + around], -1), np.stack([b, b + around, a + around], -1)]).reshape(-1, 3)
    return normalised("tube", vertices, faces)


def solid(rng: np.random.Generator) -> Shape:
    """A solid like a machined part: boxes, cylinders, cones, spheres and rings, added and subtracted."""
    import manifold3d

    def part() -> Any:
        size, kind = rng.uniform(0.25, 1, 3), rng.integers(5)
        segments = int(rng.integers(24, 128))
        if kind == 0:
            made = manifold3d.Manifold.cube(size.tolist(), True)
        elif kind == 1:
            made = manifold3d.Manifold.cylinder(2 * size[0], size[1] / 2, size[1] / 2, segments, True)
        elif kind == 2:
            made = manifold3d.Manifold.cylinder(2 * size[0], size[1] / 2, size[2] / 4, segments, True)
        elif kind == 3:
            made = manifold3d.Manifold.sphere(size[0] / 2, segments).scale((size / size.max()).tolist())
        else:
            turn = np.linspace(0, 2 * np.pi, segments // 2, endpoint=False)
            outline = np.stack([0.4 + 0.15 * size[0] * np.cos(turn), 0.15 * size[1] * np.sin(turn)], 1)
            made = manifold3d.Manifold.revolve(manifold3d.CrossSection([outline]), segments)
        placed = np.concatenate([rotation(rng), rng.uniform(-0.4, 0.4, (3, 1))], 1)
        return made.transform(placed)

    whole = part()
    for _ in range(int(rng.integers(1, 6))):
        whole = whole + part() if rng.random() < 0.6 else _unless_empty(whole - part(), whole)
    mesh = whole.to_mesh()
    return normalised("solid", np.asarray(mesh.vert_properties)[:, :3].astype(np.float64), np.asarray(mesh.tri_verts))


def _unless_empty(cut: Any, whole: Any) -> Any:
    return whole if cut.is_empty() else cut


def sheet(rng: np.random.Generator) -> Shape:
    """An open, wavy cloth."""
    side = 96
    u, v = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    height = np.zeros_like(u)
    for _ in range(int(rng.integers(2, 10))):
        frequency, direction = rng.uniform(1, 16), rng.uniform(0, 2 * np.pi)
        wave = frequency * (np.cos(direction) * u + np.sin(direction) * v) + rng.uniform(0, 2 * np.pi)
        height += rng.uniform(0, 0.5) / frequency * np.sin(wave)
    i, j = np.meshgrid(np.arange(side - 1), np.arange(side - 1), indexing="ij")
    a = i * side + j
    faces = np.concatenate([np.stack([a, a + 1, a + side], -1), np.stack([a + 1, a + side + 1, a + side], -1)])
    return normalised("sheet", np.stack([u, v, height], -1).reshape(-1, 3), faces.reshape(-1, 3))


MAKERS: tuple[tuple[Callable[[np.random.Generator], Shape], float], ...] = (
    (blob, 0.45),
    (tube, 0.2),
    (superquadric, 0.1),
    (solid, 0.15),
    (sheet, 0.1),
)


def made_up(count: int, seed: int) -> list[Shape]:
    """Make random shapes; equal seeds give equal shapes."""
    makers, shares = [m for m, _ in MAKERS], [s for _, s in MAKERS]
    rng = np.random.default_rng((seed, 0x5AFE))
    return [makers[kind](rng) for kind in rng.choice(len(makers), count, p=shares)]
