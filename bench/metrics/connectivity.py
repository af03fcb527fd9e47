"""Counts that say what kind of surface a mesh is: components, Euler number, boundary, watertightness.

Vertices at the same position are one vertex: an STL file and an OBJ file of the same surface give the same counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gcbench.geometry.surface import by_position

if TYPE_CHECKING:
    import trimesh

    from gcbench.geometry.surface import Ints


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
    positions, faces = by_position(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64))
    if len(faces) == 0:
        return Connectivity(0, 0, 0, 0, 0, 0, watertight=False)
    a, b, c = faces.T
    degenerate = bool(((a == b) | (b == c) | (c == a)).any())
    vertex_count = len(positions)
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
