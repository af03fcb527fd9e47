"""A triangle mesh as a surface: areas and normals, random samples, closest points."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.geometry.nearest import PointTree, TriangleTree, closest, nearest

if TYPE_CHECKING:
    import trimesh

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Beyond this, fourth powers of distances overflow; a normalised mesh lies in [-1, 1].
_LARGEST_COORDINATE = 1e30


class Surface:
    """Triangles that can be sampled and searched.

    Parameters
    ----------
    vertices : (V, 3) float64
        Positions, finite.
    faces : (F, 3) int64
        Vertex indices.

    Attributes
    ----------
    corners : (F, 3, 3) float64
        Triangle, corner, coordinate.
    areas : (F,) float64
        Areas of the triangles.
    normals : (F, 3) float64
        Unit normals by the right-hand rule; 0 where a triangle has no area.
    """

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        self.vertices = np.ascontiguousarray(vertices, dtype=np.float64)
        self.faces = np.ascontiguousarray(faces, dtype=np.int64)
        self.corners: Floats = self.vertices[self.faces]
        doubled = area_vectors(self.corners)
        self.areas: Floats = 0.5 * np.sqrt(np.einsum("ij,ij->i", doubled, doubled))
        self.normals: Floats = doubled / np.maximum(2 * self.areas, np.finfo(np.float64).tiny)[:, None]

    @classmethod
    def of(cls, mesh: trimesh.Trimesh) -> Surface:
        """Make the surface of a mesh for metrics, without triangles of no area and without unused vertices.

        A triangle without area has no normal and gets no sample.

        Raises
        ------
        ValueError
            The mesh has no faces, faces that point at no vertex, coordinates that are not finite or beyond 1e30,
            or no area. The message completes the sentence "the mesh ...".
        """
        surface = cls(*triangles(mesh))
        solid = surface.areas > 0
        if not solid.any():
            raise ValueError("has no area")
        faces = surface.faces[solid]
        used = np.zeros(len(surface.vertices), dtype=bool)
        used[faces] = True
        if solid.all() and used.all():
            return surface
        return cls(surface.vertices[used], (np.cumsum(used) - 1)[faces])

    @property
    def area(self) -> float:
        """Total area."""
        return float(self.areas.sum())

    @cached_property
    def tree(self) -> TriangleTree:
        """Search tree of the triangles."""
        return TriangleTree(self.corners)

    def distance(self, points: Floats, threads: int = 1) -> Floats:
        """Exact distance from (n, 3) points, n ≥ 1, to the surface: (n,)."""
        return nearest(PointTree(points), self.tree, threads)[0]

    def closest(self, points: Floats, threads: int = 1) -> tuple[Floats, Ints, Floats]:
        """Find the point of the surface that is closest to each of (n, 3) points.

        Returns
        -------
        feet : (n, 3) float64
            The closest points.
        faces : (n,) int64
            The triangles of the closest points.
        weights : (n, 3) float64
            Barycentric coordinates of the closest points.
        """
        faces, weights = closest(points, self.tree, threads)
        return np.einsum("nc,ncx->nx", weights, self.corners[faces]), faces, weights

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """Draw points uniformly and independently, for metrics, as papers do.

        The numbers of samples on faces are multinomial. The samples are sorted by face, so that neighbours in memory
        are neighbours in space.

        Returns
        -------
        points : (count, 3) float64
            Sorted by face.
        faces : (count,) int64
            The triangle of each point.

        Source: NeCGS paper, appendix C.1: random samples of the surface.
        """
        per_face = rng.multinomial(count, self.areas / self.area)
        return self._place(np.repeat(np.arange(len(per_face), dtype=np.int64), per_face), rng)

    def sample_stratified(self, count: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """Draw one point from each 1/count of the area, for fitting: less noise than :meth:`sample`; same results."""
        cumulated = np.cumsum(self.areas)
        level = (np.arange(count) + rng.random(count)) * (cumulated[-1] / count)
        return self._place(np.minimum(np.searchsorted(cumulated, level, side="right"), len(cumulated) - 1), rng)

    def _place(self, faces: Ints, rng: np.random.Generator) -> tuple[Floats, Ints]:
        from gcbench.geometry import surface_kernels

        points = np.empty((len(faces), 3))
        surface_kernels.place_samples(self.corners, faces, rng.random((len(faces), 2)), points)
        return points, faces


def area_vectors(corners: Floats) -> Floats:
    """Normals of triangles (F, 3, 3), by the right-hand rule, as long as twice the area: (F, 3)."""
    doubled: Floats = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return doubled


def uniform_barycentrics(count: int, rng: np.random.Generator) -> Floats:
    """Barycentric coordinates of points that are uniform in a triangle, (count, 3)."""
    from gcbench.geometry import surface_kernels

    uv = rng.random((count, 2))
    surface_kernels.fold(uv)
    return np.column_stack([1 - uv.sum(axis=1), uv])


def triangles(mesh: trimesh.Trimesh) -> tuple[Floats, Ints]:
    """Check a mesh and return its vertices (V, 3) and faces (F, 3).

    Raises
    ------
    ValueError
        The mesh has no faces, faces that point at no vertex, coordinates that are not finite or beyond 1e30.
        The message completes the sentence "the mesh ...".
    """
    vertices = np.asarray(mesh.vertices, dtype=np.float64).reshape(-1, 3)
    faces = np.asarray(mesh.faces, dtype=np.int64).reshape(-1, 3)
    if len(faces) == 0:
        raise ValueError("has no faces")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"has faces that point at vertices outside 0..{len(vertices) - 1}")
    bad = int(np.count_nonzero(~np.isfinite(vertices).all(axis=1)))
    if bad:
        raise ValueError(f"has {bad} of {len(vertices)} vertices with coordinates that are not finite")
    largest = float(np.abs(vertices).max())
    if largest > _LARGEST_COORDINATE:
        raise ValueError(f"has coordinates up to {largest:.3g}")
    return vertices, faces


def by_position(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Merge vertices (V, 3) at equal positions; returns the distinct used positions, and faces (F, 3) of them."""
    used, inverse = np.unique(faces, return_inverse=True)
    positions = vertices[used] + 0.0  # −0.0 and 0.0 are the same place
    order = np.lexsort(positions.T)
    first = np.ones(len(used), dtype=bool)
    first[1:] = (positions[order][1:] != positions[order][:-1]).any(axis=1)
    number = np.empty(len(used), dtype=np.int64)
    number[order] = np.cumsum(first) - 1
    return positions[order][first], number[inverse.reshape(-1, 3)]
