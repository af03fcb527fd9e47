"""Counts that say what kind of surface a mesh is: components, Euler number, boundary, watertightness.

Knows vertices and faces only. Vertices are told apart by position, so that an STL file and an OBJ file of the same
surface give the same counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import trimesh

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Connectivity:
    """Facts of one mesh, with vertices at the same position taken as one.

    Parameters
    ----------
    vertices : int
        Distinct positions that are used by a face.
    faces : int
        Triangles, those without area included.
    components : int
        Sets of faces joined over shared edges.
    euler : int
        Vertices − edges + faces; 2 − 2 g for a closed orientable surface of genus g in one piece.
    boundary_edges : int
        Edges with one face.
    nonmanifold_edges : int
        Edges with three faces or more.
    watertight : bool
        Every edge has exactly two faces, and no face uses a position twice.
    """

    vertices: int
    faces: int
    components: int
    euler: int
    boundary_edges: int
    nonmanifold_edges: int
    watertight: bool


def connectivity(mesh: trimesh.Trimesh) -> Connectivity:
    """Count what `Connectivity` holds.

    A mesh without faces has zero of everything and is not watertight. A face that uses a position twice still counts
    as a face with three edges; one of them goes from that position to itself.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        Any triangles: open, non-manifold, degenerate.
    """
    faces = _faces_by_position(np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64))
    if len(faces) == 0:
        return Connectivity(0, 0, 0, 0, 0, 0, watertight=False)
    a, b, c = faces.T
    degenerate = bool(((a == b) | (b == c) | (c == a)).any())
    vertex_count = int(faces.max()) + 1
    edge, face = _edges(faces, vertex_count)
    starts = np.flatnonzero(np.diff(edge, prepend=-1))
    faces_per_edge = np.diff(starts, append=len(edge))
    return Connectivity(
        vertices=vertex_count,
        faces=len(faces),
        components=_components(edge, face, len(faces)),
        euler=vertex_count - len(starts) + len(faces),
        boundary_edges=int(np.count_nonzero(faces_per_edge == 1)),
        nonmanifold_edges=int(np.count_nonzero(faces_per_edge > 2)),
        watertight=not degenerate and bool((faces_per_edge == 2).all()),
    )


def _faces_by_position(vertices: NDArray[np.float64], faces: Ints) -> Ints:
    """Renumber faces (F, 3) so that equal positions share a number 0..V-1 and every number is used."""
    if len(faces) == 0:
        return faces.reshape(-1, 3)
    used, inverse = np.unique(faces, return_inverse=True)
    positions = vertices[used] + 0.0  # −0.0 and 0.0 are the same place
    order = np.lexsort(positions.T)
    changed = np.any(positions[order][1:] != positions[order][:-1], axis=1)
    number = np.empty(len(used), dtype=np.int64)
    number[order] = np.concatenate([[0], np.cumsum(changed)])
    return number[inverse.reshape(-1)].reshape(-1, 3)


def _edges(faces: Ints, vertex_count: int) -> tuple[Ints, Ints]:
    """Number of every side of every face (3 F,), sorted, equal for the same two ends; and its face (3 F,)."""
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    face = np.repeat(np.arange(len(faces)), 3)
    number = ends.min(axis=1) * vertex_count + ends.max(axis=1)
    order = np.argsort(number, kind="stable")
    return number[order], face[order]


def _components(edge: Ints, face: Ints, face_count: int) -> int:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    same = edge[1:] == edge[:-1]
    joined = coo_array(
        (np.ones(int(same.sum()), dtype=bool), (face[:-1][same], face[1:][same])), shape=(face_count,) * 2
    )
    count, _ = connected_components(joined, directed=False)
    return int(count)
