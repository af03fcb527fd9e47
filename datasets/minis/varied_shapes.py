"""Random shapes of no family: blobs, limbs, superquadrics, cloths, shells, clusters, branches, reliefs, statues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.minis.cad import box, cylinder, from_solid
from gcbench.datasets.minis.sculpt import Faces, Loft, Vertices, surface
from gcbench.datasets.minis.skeleton import Frame, vector
from gcbench.datasets.minis.varied_humans import random_person, random_pose
from gcbench.geometry import shapes

__all__ = ["as_solid", "random_shape"]

Mesh: TypeAlias = tuple[Vertices, Faces]
Maker: TypeAlias = Callable[[np.random.Generator], Mesh]


def random_shape(rng: np.random.Generator) -> Mesh:
    """A shape of a random kind, turned at random in most cases; all but self-intersecting tubes are solids."""
    makers, shares = zip(*_MAKERS, strict=True)
    vertices, faces = makers[int(rng.choice(len(makers), p=shares))](rng)
    return (vertices @ shapes.rotation(rng) if rng.random() < 0.7 else vertices), faces


def as_solid(vertices: Vertices, faces: NDArray[Any]) -> Any:
    """The solid inside a closed mesh."""
    from manifold3d import Manifold, Mesh64

    return Manifold(Mesh64(vert_properties=np.ascontiguousarray(vertices), tri_verts=faces.astype(np.uint64)))


def _plain(make: Callable[[np.random.Generator], shapes.Shape]) -> Maker:
    """A maker of `gcbench.geometry.shapes`, with vertices merged as at the ends of tubes."""

    def made(rng: np.random.Generator) -> Mesh:
        shape = make(rng)
        _, first, index = np.unique(np.round(shape.vertices, 9), axis=0, return_index=True, return_inverse=True)
        faces = index.reshape(-1)[shape.faces]
        return shape.vertices[first], faces[(faces != np.roll(faces, 1, 1)).all(1)].astype(np.int32)

    return made


def _slab(rng: np.random.Generator) -> Mesh:
    """A wavy cloth with a thickness."""
    cloth = shapes.sheet(rng)
    corners = cloth.vertices[cloth.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(cloth.vertices)
    for i in range(3):
        np.add.at(normals, cloth.faces[:, i], across)
    normals *= rng.uniform(0.02, 0.08) / np.linalg.norm(normals, axis=1, keepdims=True)
    count = len(cloth.vertices)
    edges = np.concatenate([cloth.faces[:, [0, 1]], cloth.faces[:, [1, 2]], cloth.faces[:, [2, 0]]])
    one_way = edges[:, 0] * count + edges[:, 1]
    rim = edges[~np.isin(one_way, edges[:, 1] * count + edges[:, 0])]
    a, b = rim.T
    sides = np.concatenate([np.stack([b, a, a + count], 1), np.stack([b, a + count, b + count], 1)])
    faces = np.concatenate([cloth.faces, cloth.faces[:, ::-1] + count, sides]).astype(np.int32)
    return np.concatenate([cloth.vertices + normals, cloth.vertices - normals]), faces


def _lump(rng: np.random.Generator) -> Any:
    shape = (shapes.blob if rng.random() < 0.6 else shapes.superquadric)(rng)
    return as_solid(shape.vertices, shape.faces)


def _cluster(rng: np.random.Generator) -> Mesh:
    """Lumps that grow out of one another; some are cut away."""
    whole = _lump(rng)
    for _ in range(int(rng.integers(1, 5))):
        size = rng.uniform(0.3, 0.9)
        part = _lump(rng).scale((size, size, size)).translate(vector(rng.uniform(-0.8, 0.8, 3)))
        cut = whole - part
        whole = cut if rng.random() < 0.25 and not cut.is_empty() else whole + part
    return from_solid(max(whole.decompose(), key=lambda piece: piece.volume()))


def _shell(rng: np.random.Generator) -> Mesh:
    """A lump with a thin wall, cut open by a plane: a bowl, a mask, a helmet."""
    lump, inside = _lump(rng), 1 - rng.uniform(0.06, 0.2)
    hollow = lump - lump.scale((inside, inside, inside))
    cut = hollow.trim_by_plane(vector(shapes.rotation(rng)[0]), float(rng.uniform(-0.5, 0.3)))
    return from_solid(hollow if cut.is_empty() else cut)


def _branches(rng: np.random.Generator) -> Mesh:
    """A tree or a coral."""
    lofts: list[Loft] = []

    def grow(at: NDArray[np.float64], direction: NDArray[np.float64], long: float, thick: float, depth: int) -> None:
        end = at + long * direction
        fine = max(0.75 * thick, 0.035)
        sections = ((0.0, max(thick, 0.035), max(thick, 0.035)), (1.0, fine, fine))
        # Any direction across the branch will do as its front.
        front = np.cross(direction, shapes.rotation(rng)[0])
        lofts.append(Loft("world", vector(at), vector(end), sections, vector(front), vector(front), blend=0.5 * fine))
        for _ in range(int(rng.integers(2, 4)) if depth else 0):
            turned = direction + rng.normal(0, 0.55, 3)
            grow(end, turned / np.linalg.norm(turned), long * rng.uniform(0.6, 0.95), fine, depth - 1)

    grow(np.zeros(3), np.array([0.0, 1.0, 0.0]), 0.7, rng.uniform(0.06, 0.22), int(rng.integers(2, 4)))
    ends = np.array([end for loft in lofts for end in (loft.start, loft.end)])
    voxel = float(np.ptp(ends, axis=0).max() + 0.2) / 128
    return surface(lofts, {"world": Frame(np.eye(3), np.zeros(3))}, voxel=voxel, smoothing=3)


def _relief(rng: np.random.Generator) -> Mesh:
    """A plate with a landscape on it."""
    height = shapes.sheet(rng).vertices
    side = int(np.sqrt(len(height)))
    count, base = side * side, float(height[:, 2].min()) - rng.uniform(0.05, 0.4)
    top = height * [1.0, 1.0, rng.uniform(0.5, 1.5)]
    top[:, 2] = np.maximum(top[:, 2], base + 0.03)
    i, j = np.meshgrid(np.arange(side - 1), np.arange(side - 1), indexing="ij")
    a = i * side + j
    up = np.concatenate([np.stack([a, a + side, a + 1], -1), np.stack([a + 1, a + side, a + side + 1], -1)]).reshape(
        -1, 3
    )
    ring = np.concatenate(
        [
            np.arange(side) * side,
            count - side + np.arange(1, side),
            (np.arange(side - 2, -1, -1) + 1) * side - 1,
            np.arange(side - 2, 0, -1),
        ]
    )
    after = np.roll(ring, -1)
    walls = np.concatenate(
        [np.stack([after, ring, ring + count], 1), np.stack([after, ring + count, after + count], 1)]
    )
    bottom = np.where([True, True, False], top, 0.0) + [0.0, 0.0, base]
    faces = np.concatenate([up, up[:, ::-1] + count, walls]).astype(np.int32)
    return np.concatenate([top, bottom]), faces


def _statue(rng: np.random.Generator) -> Mesh:
    """A human on a plinth, z up."""
    vertices, faces = random_person(rng).mesh(random_pose(rng))
    vertices = np.roll(vertices, 1, 1)
    wide, high = rng.uniform(0.2, 0.6), rng.uniform(0.05, 0.5)
    low = np.array([*((vertices.min(0) + vertices.max(0)) / 2)[:2], vertices[:, 2].min() - high + 0.04])
    if rng.random() < 0.6:
        plinth = cylinder(wide, high, int(rng.choice([6, 8, 64])), low)
    else:
        plinth = box((2 * wide, 2 * wide, high), low - [wide, wide, 0.0])
    return from_solid((as_solid(vertices, faces) + plinth).simplify(0.001))


_MAKERS: tuple[tuple[Maker, float], ...] = (
    (_plain(shapes.blob), 0.22),
    (_plain(shapes.tube), 0.12),
    (_plain(shapes.superquadric), 0.07),
    (_plain(shapes.solid), 0.11),
    (_slab, 0.06),
    (_cluster, 0.14),
    (_shell, 0.08),
    (_branches, 0.08),
    (_relief, 0.04),
    (_statue, 0.08),
)
