"""Training data of PCGCv2: random synthetic shapes or given meshes, and voxel patches cut from them.

Equal seeds give equal shapes and patches. This module reads no dataset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Faces = NDArray[np.int64]
NamedMesh = tuple[str, NDArray[Any], NDArray[Any]]  # name, (V, 3) vertices of any scale, (F, 3) faces

BITS = (8.0, 10.0)
"""Resolutions of training patches: the longest side of a shape spans from 2^8 to 2^10 voxels."""

_SPLIT_EDGE = 48.0  # voxels; longer edges are halved, so that few samples fall outside the cube
_FINEST_SHARE = 0.5  # of the patches have the full resolution, at which codecs are measured


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


def _normalised(name: str, vertices: NDArray[Any], faces: NDArray[Any]) -> Shape:
    low, high = vertices.min(0), vertices.max(0)
    return Shape(name, (vertices - (low + high) / 2) * (2 / (high - low).max()), faces.astype(np.int64))


def _icosphere(subdivisions: int) -> tuple[Points, Faces]:
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions)
    return np.asarray(sphere.vertices), np.asarray(sphere.faces)


def _rotation(rng: np.random.Generator) -> Points:
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
        wave = vertices @ _rotation(rng)[0]
        radius += rng.uniform(0, 0.35) / frequency * np.sin(frequency * wave + rng.uniform(0, 2 * np.pi))
    return _normalised("blob", vertices * np.maximum(radius, 0.2)[:, None] * rng.uniform(0.4, 1, 3), faces)


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
    return _normalised("superquadric", np.stack([cos * x - sin * y, sin * x + cos * y, z], 1), faces)


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
    side = np.cross(tangent, _rotation(rng)[0])
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
    return _normalised("tube", vertices, faces)


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
        placed = np.concatenate([_rotation(rng), rng.uniform(-0.4, 0.4, (3, 1))], 1)
        return made.transform(placed)

    whole = part()
    for _ in range(int(rng.integers(1, 6))):
        whole = whole + part() if rng.random() < 0.6 else _unless_empty(whole - part(), whole)
    mesh = whole.to_mesh()
    return _normalised("solid", np.asarray(mesh.vert_properties)[:, :3].astype(np.float64), np.asarray(mesh.tri_verts))


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
    return _normalised("sheet", np.stack([u, v, height], -1).reshape(-1, 3), faces.reshape(-1, 3))


_MAKERS: tuple[tuple[Callable[[np.random.Generator], Shape], float], ...] = (
    (blob, 0.45),
    (tube, 0.2),
    (superquadric, 0.1),
    (solid, 0.15),
    (sheet, 0.1),
)


def made_up(count: int, seed: int) -> list[Shape]:
    """Make random shapes; equal seeds give equal shapes."""
    makers, shares = [m for m, _ in _MAKERS], [s for _, s in _MAKERS]
    rng = np.random.default_rng((seed, 0x5AFE))
    return [makers[kind](rng) for kind in rng.choice(len(makers), count, p=shares)]


def given(meshes: Iterable[NamedMesh]) -> list[Shape]:
    """Shapes of given meshes."""
    return [_normalised(name, vertices, faces) for name, vertices, faces in meshes]


def patch(shape: Shape, size: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Turn and scale a surface at random, and voxelise its part in a random cube of voxels.

    Samples are as dense as those of `gcbench.geometry.clouds.voxels.voxelise`.

    Parameters
    ----------
    size : int
        Side of the cube in voxels; the cube is centred near a random point of the surface.

    Returns
    -------
    (N, 3) int32
        Distinct, in [0, size), N ≥ 1.
    """
    from gcbench.geometry.clouds.voxels import SAMPLES_PER_SQUARE_VOXEL

    bits = BITS[1] if rng.random() < _FINEST_SHARE else rng.uniform(*BITS)
    corners = (shape.vertices @ _rotation(rng).T * 2.0 ** (bits - 1)).astype(np.float32)[shape.faces]
    centre = corners[rng.choice(len(corners), p=_shares(corners))].mean(0) + rng.uniform(-size / 4, size / 4, 3)
    corners += size / 2 - centre
    corners = _within(corners, size)
    while len(corners):
        longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
        if not (longest > _SPLIT_EDGE).any():
            break
        corners = np.concatenate(
            [corners[longest <= _SPLIT_EDGE], _within(_quartered(corners[longest > _SPLIT_EDGE]), size)]
        )
    if len(corners):
        area = _areas(corners).sum()
        samples = (
            _samples(corners, math.ceil(area * SAMPLES_PER_SQUARE_VOXEL), rng) + 1
        )  # after adding 1, truncation below equals floor
        voxels = samples.clip(0, size + 1).astype(np.int64) @ [(size + 2) ** 2, size + 2, 1]
        occupied = np.zeros((size + 2,) * 3, bool)
        occupied.reshape(-1)[voxels] = True
        inside = np.argwhere(occupied[1:-1, 1:-1, 1:-1])
        if len(inside):
            return inside.astype(np.int32)
    return patch(shape, size, rng)  # try again: the cube contains no surface


def _shares(corners: Points) -> Points:
    areas = _areas(corners).astype(np.float64)
    shares: Points = areas / areas.sum()
    return shares


def _areas(corners: Points) -> Points:
    doubled: Points = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return doubled / 2


def _samples(corners: Points, count: int, rng: np.random.Generator) -> Points:
    """Uniform samples of triangles, in the order of the triangles: (F, 3, 3) to (count, 3)."""
    areas = _areas(corners)
    # Each face gets samples in proportion to its area, rounded up or down at random.
    edges = np.floor(np.cumsum(areas) * (count / areas.sum()) + rng.random()).astype(np.int64).clip(max=count)
    edges[-1] = count
    face = np.repeat(np.arange(len(corners)), np.diff(edges, prepend=0))
    along, across = rng.random((2, count, 1), dtype=np.float32)
    outside = along + across > 1
    along, across = np.where(outside, 1 - along, along), np.where(outside, 1 - across, across)
    origin, first, second = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    sampled: Points = origin[face] + along * first[face] + across * second[face]
    return sampled


def _within(corners: Points, size: int) -> Points:
    """Triangles whose bounding boxes meet the cube [0, size]³."""
    met: Points = corners[((corners.max(1) > 0) & (corners.min(1) < size)).all(1)]
    return met


def _quartered(corners: Points) -> Points:
    """Split each triangle at the middles of its edges."""
    a, b, c = corners.transpose(1, 0, 2)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    quarters: Points = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]).transpose(0, 2, 1, 3)
    return quarters.reshape(-1, 3, 3)
