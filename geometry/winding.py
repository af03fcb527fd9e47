"""Coherent orientation of the faces of any mesh, and winding numbers, which tell inside from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import igl
import numpy as np

from gcbench.errors import BadMesh
from gcbench.geometry.surface import area_vectors, by_position

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

    from gcbench.geometry.surface import Floats, Ints

INSIDE = 0.5  # winding numbers above it are inside: halfway between 0 and 1, best where holes blur them


def merged_triangles(mesh: trimesh.Trimesh) -> tuple[Floats, Ints]:
    """Vertices (V, 3) float64, merged by position, and faces (F, 3) int64 of a mesh, checked.

    Raises
    ------
    BadMesh
        No faces, or a face with a coordinate that is not finite.
    """
    if len(mesh.faces) == 0:
        raise BadMesh("the mesh has no faces")
    vertices, faces = by_position(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64))
    if not np.isfinite(vertices).all():
        raise BadMesh("a coordinate of the mesh is not finite")
    return vertices, faces


def orient(faces: Ints, vertices: Floats) -> Ints:
    """Orient faces coherently across edges of exactly two faces; a patch keeps the orientation of most of its area.

    Parameters
    ----------
    faces : (F, 3) int64
        Indices of vertices merged by position.
    vertices : (V, 3) float64
        Positions.

    Returns
    -------
    (F, 3) int64
        The same faces, some of them reversed.
    """
    balance, count = _edge_balance(faces, len(vertices))
    if not (balance[count == 2] != 0).any():  # the usual mesh is coherent already
        return faces
    oriented, patch = igl.bfs_orient(faces)
    # bfs_orient keeps the orientation of a patch's first face, which may be one of the few wrong faces.
    kept = (oriented == faces).all(axis=1)
    area = np.linalg.norm(area_vectors(vertices[faces]), axis=1)
    wrong = np.bincount(patch, weights=np.where(kept, -area, area)) > 0
    return np.ascontiguousarray(np.where(wrong[patch, None], oriented[:, ::-1], oriented))


def is_closed(faces: Ints, vertex_count: int) -> bool:
    """Whether the winding number is an integer everywhere: the boundaries of the faces cancel."""
    balance, _ = _edge_balance(faces, vertex_count)
    return not balance.any()


def _edge_balance(faces: Ints, vertex_count: int) -> tuple[Floats, Ints]:
    """For every edge: the difference between the numbers of faces in its two directions, and the number of faces."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = np.minimum(start, end) * vertex_count + np.maximum(start, end)
    _, edge, count = np.unique(edges, return_inverse=True, return_counts=True)
    balance = np.bincount(edge, weights=np.sign(end - start))
    return np.asarray(balance, np.float64), np.asarray(count, np.int64)


def winding_number(vertices: Floats, faces: Ints, points: Floats) -> Floats:
    """Generalised winding number of coherently oriented faces around points (n, 3), of either orientation: (n,) >= 0.

    Source: Barill et al. (2018), order 2, accuracy 2.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    return np.abs(np.asarray(igl.fast_winding_number(vertices, faces, points), dtype=np.float64))


def inside(vertices: Floats, faces: Ints, points: Floats) -> NDArray[np.bool_]:
    """Which points (n, 3) are inside of coherently oriented faces: (n,) bool."""
    return winding_number(vertices, faces, points) > INSIDE
