"""The meshes of the conformance checks: two closed ones that every codec must code, and hard ones.

Closed forms with at most a few thousand triangles; nothing is read, nothing is random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcbench.bench.run.arrays import MeshArrays

Floats = NDArray[np.float64]


def _arrays(vertices: ArrayLike, faces: ArrayLike) -> MeshArrays:
    return MeshArrays(
        np.asarray(vertices, np.float64).reshape(-1, 3),
        np.ascontiguousarray(np.asarray(faces).reshape(-1, 3), np.int64),
    )


def _normalised(vertices: Floats) -> Floats:
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    normalised: Floats = (vertices - (low + high) / 2) * (2 / (high - low).max())
    return normalised


def bumpy_sphere(subdivisions: int = 4) -> MeshArrays:
    """A sphere with smooth bumps: closed, genus 0; 20 · 4ⁿ faces."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions)
    x, y, z = (vertices := np.asarray(ball.vertices)).T
    radius = 1 + 0.15 * np.sin(4 * x) * np.cos(3 * y) + 0.1 * np.sin(5 * z + x)
    return _arrays(_normalised(vertices * radius[:, None]), ball.faces)


def lying_ring(around: int = 64, across: int = 24) -> MeshArrays:
    """A flat ring with a wave in it: closed, genus 1; 2 · around · across faces."""
    u, v = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    a, b = 2 * np.pi * u / around, 2 * np.pi * v / across
    radius = 1 + 0.25 * np.cos(b)
    vertices = np.stack([radius * np.cos(a), radius * np.sin(a), 0.25 * np.sin(b) + 0.05 * np.sin(5 * a)], axis=-1)

    def index(i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.int64]:
        return (i % around) * across + j % across

    lower, upper = (index(u, v), index(u + 1, v)), (index(u, v + 1), index(u + 1, v + 1))
    faces = np.stack(
        [np.stack([lower[0], lower[1], upper[1]], -1), np.stack([lower[0], upper[1], upper[0]], -1)], axis=2
    )
    return _arrays(_normalised(vertices.reshape(-1, 3)), faces)


def good_meshes() -> tuple[MeshArrays, MeshArrays]:
    """Two closed meshes that differ in shape, size and genus; normalised."""
    return bumpy_sphere(), lying_ring()


@dataclass(frozen=True)
class HardMesh:
    """A mesh that a codec may refuse, but that must not crash or hang it."""

    name: str  # the check is called ``mesh-<name>``
    what: str  # description
    make: Callable[[], MeshArrays]


def _empty() -> MeshArrays:
    return _arrays(np.empty((0, 3)), np.empty((0, 3), int))


def _points_only() -> MeshArrays:
    return _arrays(bumpy_sphere(1).vertices, np.empty((0, 3), int))


def _one_triangle() -> MeshArrays:
    return _arrays([[-1, -0.5, 0], [1, -0.5, 0], [0, 0.5, 0.25]], [[0, 1, 2]])


def _nan() -> MeshArrays:
    ball = bumpy_sphere(2)
    vertices = ball.vertices.copy()
    vertices[7, 1] = np.nan
    return _arrays(vertices, ball.faces)


def _infinite() -> MeshArrays:
    ball = bumpy_sphere(2)
    vertices = ball.vertices.copy()
    vertices[7, 1] = np.inf
    return _arrays(vertices, ball.faces)


def _huge() -> MeshArrays:
    ball = bumpy_sphere(2)
    return _arrays(ball.vertices * 1e30, ball.faces)


def _far_away() -> MeshArrays:
    ball = bumpy_sphere(2)
    return _arrays(ball.vertices + [1e6, -1e6, 1e6], ball.faces)


def _one_point() -> MeshArrays:
    return _arrays(np.full((4, 3), 0.25), [[0, 1, 2], [0, 2, 3]])


def _flat() -> MeshArrays:
    x, y = np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 20), indexing="ij")
    i, j = np.meshgrid(np.arange(19), np.arange(19), indexing="ij")
    a, b, c, d = 20 * i + j, 20 * (i + 1) + j, 20 * (i + 1) + j + 1, 20 * i + j + 1
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return _arrays(np.stack([x, y, np.zeros_like(x)], -1), faces)


def _open() -> MeshArrays:
    ball = bumpy_sphere(3)
    centres = ball.vertices[ball.faces].mean(axis=1)
    return _arrays(ball.vertices, ball.faces[centres[:, 2] < 0.2])


def _components() -> MeshArrays:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * 0.15
    sides = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 0.85, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    vertices = (grid[:, None] + corners).reshape(-1, 3)
    return _arrays(vertices, (4 * np.arange(len(grid))[:, None, None] + sides).reshape(-1, 3))


def _degenerate() -> MeshArrays:
    """Faces that name a vertex twice, faces on a line, the same face again, and vertices that no face uses."""
    ball = bumpy_sphere(3)
    n = len(ball.vertices)
    vertices = np.concatenate([ball.vertices, ball.vertices[:3], [[0, 0, 0], [0.5, 0.5, 0.5]]])
    extra = [[0, 0, 1], [5, 5, 5], [0, 1, n], [1, 2, n + 1], *ball.faces[:4], ball.faces[7][::-1]]
    return _arrays(vertices, np.concatenate([ball.faces, extra]))


def _non_manifold() -> MeshArrays:
    """Three sheets on one edge, two cones tip to tip, and two boxes that share an edge."""
    fins = np.array([[0, 0, -1], [0, 0, 1], [1, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0]])
    fin_faces = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    ring = [[np.cos(a), np.sin(a), 1.0] for a in 2 * np.pi * np.arange(6) / 6]
    cones = 0.3 * np.concatenate([[[0, 0, 0]], ring, [[x, y, -z] for x, y, z in ring]]) + [-0.7, 0, 0.6]
    cone_faces = [[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)] + [[0, 7 + (k + 1) % 6, 7 + k] for k in range(6)]
    return _arrays(np.concatenate([fins, cones]), np.concatenate([fin_faces, np.array(cone_faces) + len(fins)]))


HARD_MESHES = (
    HardMesh("empty", "no vertices and no faces", _empty),
    HardMesh("points", "vertices without faces", _points_only),
    HardMesh("one-triangle", "a single triangle", _one_triangle),
    HardMesh("nan", "one coordinate is NaN", _nan),
    HardMesh("infinite", "one coordinate is infinite", _infinite),
    HardMesh("huge", "coordinates of 1e30", _huge),
    HardMesh("far-away", "a mesh of size 2 at 1e6", _far_away),
    HardMesh("one-point", "all vertices in one place", _one_point),
    HardMesh("flat", "a plane grid", _flat),
    HardMesh("open", "a bowl with a rim", _open),
    HardMesh("components", "64 tetrahedra", _components),
    HardMesh("degenerate", "faces without area, repeated faces, unused vertices", _degenerate),
    HardMesh("non-manifold", "three faces on an edge, cones tip to tip", _non_manifold),
)
