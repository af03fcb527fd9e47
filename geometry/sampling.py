"""The surface of a mesh as metrics see it, and uniform random samples on it.

Knows triangles and areas. A mesh that has no measurable surface is refused here, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import trimesh

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Beyond this, fourth powers of distances overflow; a normalised mesh lies in [-1, 1].
_LARGEST_COORDINATE = 1e30


@dataclass(frozen=True, eq=False)
class Surface:
    """The triangles of a mesh that have area.

    Triangles without area are left out: no sample falls on them and they have no normal.

    Parameters
    ----------
    corners : (F, 3, 3) float64
        Triangle, corner, coordinate.
    normals : (F, 3) float64
        Unit face normals, by the right-hand rule.
    areas : (F,) float64
        All positive.
    vertices : (V, 3) float64
        The vertices that these triangles use.
    """

    corners: Floats
    normals: Floats
    areas: Floats
    vertices: Floats

    @classmethod
    def of(cls, mesh: trimesh.Trimesh) -> Surface:
        """Take the surface of a mesh.

        Raises
        ------
        ValueError
            The mesh has no faces, faces that point at no vertex, coordinates that are not finite or beyond 1e30,
            or no area. The message completes the sentence "the mesh ...".
        """
        vertices, faces = triangles(mesh)
        corners = vertices[faces]
        doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        areas = 0.5 * np.sqrt(np.einsum("ij,ij->i", doubled, doubled))
        solid = areas > 0
        if not solid.any():
            raise ValueError("has no area")
        if not solid.all():
            faces, corners, doubled, areas = faces[solid], corners[solid], doubled[solid], areas[solid]
        used = np.zeros(len(vertices), dtype=bool)
        used[faces] = True
        return cls(corners, doubled / (2 * areas)[:, None], areas, vertices[used])

    @property
    def area(self) -> float:
        """Total area."""
        return float(self.areas.sum())


def triangles(mesh: trimesh.Trimesh) -> tuple[Floats, Ints]:
    """Take vertices (V, 3) and faces (F, 3) of a mesh, checked.

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


def sample(surface: Surface, count: int, seed: np.random.SeedSequence) -> tuple[Floats, Ints]:
    """Draw points uniformly and independently on a surface.

    Faces are drawn with probability proportional to area, as the paper does, not stratified: the number of samples per
    face is multinomial. Only the order is chosen: by face, so that neighbours in memory are neighbours in space.

    Parameters
    ----------
    surface : Surface
        What to sample.
    count : int
        Number of points N.
    seed : SeedSequence
        The same seed and surface give the same points.

    Returns
    -------
    points : (N, 3) float64
        Sorted by face.
    faces : (N,) int64
        The triangle of `surface` that each point lies on.

    Source: NeCGS paper, appendix C.1: random samples of the surface, N = 1e5.
    """
    from gcbench.geometry import kernels

    rng = np.random.default_rng(seed)
    per_face = rng.multinomial(count, surface.areas / surface.area)
    faces = np.repeat(np.arange(len(per_face), dtype=np.int64), per_face)
    points = np.empty((count, 3))
    kernels.place_samples(surface.corners, faces, rng.random((count, 2)), points)
    return points, faces
