"""Edge collapses that simplify all poses of a mesh at once: the poses keep one connectivity.

The cost of a collapse is the sum of the quadric errors of all poses, and each pose has its own best place for the new
vertex. So a joint keeps its edges if it bends in any pose.

Source: M. Garland and P. S. Heckbert, "Surface simplification using quadric error metrics", SIGGRAPH 1997; the sum over
poses: A. Mohr and M. Gleicher, "Deformation sensitive decimation", 2003.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TO_MIDDLE = 1e-3  # how much the middle of the edge counts in the best place, which flat regions leave open
_SHORTNESS = 1e-6  # what the length of an edge adds to its cost, so that flat regions keep triangles of one size
_BORDER_WEIGHT = 10.0  # of the planes that keep a border in its place
_LEAST_COSINE = 0.2  # between the normals of a face before and after a collapse,
_TURNED_POSES = 10  # which one in so many poses may miss
_COEFFICIENTS = 10  # of a quadric: xx xy xz yy yz zz x y z 1


@dataclass(frozen=True, eq=False)
class Simplified:
    """Poses (S, N, 3) of a mesh with faces (F, 3)."""

    poses: Floats
    faces: Ints


def simplify(poses: Floats, faces: Ints, goals: Sequence[int]) -> list[Simplified]:
    """Collapse edges until so many vertices are left.

    Parameters
    ----------
    poses : (S, V, 3) float64
        Positions of the vertices in each pose.
    faces : (F, 3) int64
        Each vertex is used, and no face has a vertex twice.
    goals : sequence of int
        Numbers of vertices, descending.

    Returns
    -------
    list of Simplified
        One for each goal. If no collapse keeps the topology any more, the rest of the goals get what is left.
    """
    if not len(goals):
        return []
    positions = np.ascontiguousarray(poses.transpose(1, 0, 2))  # (V, S, 3)
    edges, borders = _edges(faces)
    mesh = _Mesh(
        positions.copy(),
        _quadrics(positions, faces, edges[borders]),
        faces.copy(),
        np.ones(len(positions), np.bool_),
        np.ones(len(faces), np.bool_),
        np.zeros(len(positions), np.int64),
        *_corners(faces, len(positions)),
        np.zeros(len(positions), np.int64),
    )
    found = _simplified(mesh, edges, np.array(goals, np.int64))
    return [Simplified(np.ascontiguousarray(each.transpose(1, 0, 2)), triangles) for each, triangles in found]


class _Mesh(NamedTuple):
    """A mesh between collapses.

    Corners 3 f + k of faces are in lists, one for each vertex: ``head`` and ``tail`` have the first and last, and
    ``following`` the one after each corner; -1 is none. Lists keep the corners of faces that are gone.
    """

    positions: Floats  # (V, S, 3)
    quadrics: Floats  # (V, S, 10)
    faces: Ints  # (F, 3)
    live: NDArray[np.bool_]  # (V,)
    alive: NDArray[np.bool_]  # (F,)
    versions: Ints  # (V,), counts the collapses into a vertex
    head: Ints
    tail: Ints
    following: Ints
    marks: Ints  # (V,), what searches have left there


def _edges(faces: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Edges (E, 2), and whether each is one of a border: not of exactly two faces."""
    every = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, counts = np.unique(every, axis=0, return_counts=True)
    return edges, counts != 2


def _corners(faces: Ints, vertices: int) -> tuple[Ints, Ints, Ints]:
    """Lists of the corners at each vertex: head, tail and following."""
    flat = faces.reshape(-1)
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(vertices))
    ends = np.searchsorted(flat[order], np.arange(vertices), side="right")
    following = np.full(len(flat), -1)
    same = flat[order][1:] == flat[order][:-1]
    following[order[:-1][same]] = order[1:][same]
    return order[starts], order[ends - 1], following


def _quadrics(positions: Floats, faces: Ints, borders: Ints) -> Floats:
    """The planes of the faces at each vertex in each pose, (V, S, 10), by area; with planes across the borders."""
    corners = positions[faces]  # (F, 3, S, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    quadrics = np.zeros((*positions.shape[:2], _COEFFICIENTS))
    of_faces = _planes(normals, corners[:, 0], 1 / 6)
    for k in range(3):
        np.add.at(quadrics, faces[:, k], of_faces)
    if len(borders):
        mean = np.zeros_like(positions)
        for k in range(3):
            np.add.at(mean, faces[:, k], normals)
        along = positions[borders[:, 1]] - positions[borders[:, 0]]
        up = mean[borders[:, 0]] + mean[borders[:, 1]]
        up /= np.linalg.norm(up, axis=-1, keepdims=True) + 1e-30
        across = _planes(np.cross(along, up) * np.linalg.norm(along, axis=-1, keepdims=True), positions[borders[:, 0]])
        for k in range(2):
            np.add.at(quadrics, borders[:, k], _BORDER_WEIGHT * across)
    return quadrics


def _planes(normals: Floats, points: Floats, weight: float = 1.0) -> Floats:
    """Quadrics of planes, each by the length of its normal."""
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    n = normals / np.maximum(length, 1e-30)
    d = -(n * points).sum(-1, keepdims=True)
    x, y, z = n[..., :1], n[..., 1:2], n[..., 2:]
    terms = (x * x, x * y, x * z, y * y, y * z, z * z, x * d, y * d, z * d, d * d)
    planes: Floats = weight * length * np.concatenate(terms, -1)
    return planes


@numba.njit(cache=True)
def _best(one: Floats, other: Floats, a: Floats, b: Floats, place: Floats) -> float:
    """Put the best place for the vertex of a collapsed edge in ``place``; return its error in this pose."""
    xx, xy, xz, yy = one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]
    yz, zz, x1, y1 = one[4] + other[4], one[5] + other[5], one[6] + other[6], one[7] + other[7]
    z1, rest = one[8] + other[8], one[9] + other[9]
    mx, my, mz = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2
    trace = xx + yy + zz
    pull = _TO_MIDDLE * trace + 1e-18
    px, py, pz = xx + pull, yy + pull, zz + pull
    gx, gy, gz = xx * mx + xy * my + xz * mz + x1, xy * mx + yy * my + yz * mz + y1, xz * mx + yz * my + zz * mz + z1
    c00, c01, c02 = py * pz - yz * yz, xz * yz - xy * pz, xy * yz - xz * py
    c11, c12, c22 = px * pz - xz * xz, xy * xz - px * yz, px * py - xy * xy
    determinant = px * c00 + xy * c01 + xz * c02
    x = mx - (c00 * gx + c01 * gy + c02 * gz) / determinant
    y = my - (c01 * gx + c11 * gy + c12 * gz) / determinant
    z = mz - (c02 * gx + c12 * gy + c22 * gz) / determinant
    place[0], place[1], place[2] = x, y, z
    error = xx * x * x + yy * y * y + zz * z * z + 2 * (xy * x * y + xz * x * z + yz * y * z)
    error += 2 * (x1 * x + y1 * y + z1 * z) + rest
    length = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2
    cost: float = max(0.0, error) + _SHORTNESS * length * trace
    return cost


@numba.njit(cache=True)
def _simplified(mesh: _Mesh, edges: Ints, goals: Ints) -> list[tuple[Floats, Ints]]:
    """Positions (N, S, 3) and faces at each goal."""
    places = np.empty(mesh.positions.shape[1:])
    heap = [(_cost(mesh, edges[0, 0], edges[0, 1], places), edges[0, 0], edges[0, 1], 0, 0)]
    for e in range(1, len(edges)):
        a, b = edges[e]
        heappush(heap, (_cost(mesh, a, b, places), a, b, 0, 0))
    found = []
    count = len(mesh.positions)
    for goal in goals:
        while count > goal and len(heap) > 0:
            _, a, b, version_a, version_b = heappop(heap)
            current = mesh.versions[a] == version_a and mesh.versions[b] == version_b
            if current and mesh.live[a] and mesh.live[b] and _keeps_topology(mesh, a, b):
                _cost(mesh, a, b, places)
                if _keeps_sides(mesh, a, b, places) and _keeps_sides(mesh, b, a, places):
                    _merge(mesh, a, b, places)
                    count -= 1
                    _push_around(mesh, a, places, heap)
        number = np.cumsum(mesh.live) - 1
        faces = mesh.faces[mesh.alive]
        found.append((mesh.positions[mesh.live], number[faces.reshape(-1)].reshape(-1, 3)))
    return found


@numba.njit(cache=True)
def _cost(mesh: _Mesh, a: int, b: int, places: Floats) -> float:
    """The errors of all poses after a collapse to the best places, which are put in ``places``."""
    total = 0.0
    for s in range(len(places)):
        one, other = mesh.quadrics[a, s], mesh.quadrics[b, s]
        total += _best(one, other, mesh.positions[a, s], mesh.positions[b, s], places[s])
    return total


@numba.njit(cache=True)
def _mark(mesh: _Mesh, v: int, where: int, mark: int) -> int:
    """Mark the corners of the faces at a vertex that have the mark ``where``; -1 is any. Return how many there were."""
    marked = 0
    corner = mesh.head[v]
    while corner >= 0:
        if mesh.alive[corner // 3]:
            for k in range(3):
                u = mesh.faces[corner // 3, k]
                if u != v and mesh.marks[u] != mark and where in (-1, mesh.marks[u]):
                    mesh.marks[u] = mark
                    marked += 1
        corner = mesh.following[corner]
    return marked


@numba.njit(cache=True)
def _keeps_topology(mesh: _Mesh, a: int, b: int) -> bool:
    """Whether the ends of an edge have no common neighbour but those of the faces at the edge."""
    _mark(mesh, a, -1, 0)
    _mark(mesh, b, -1, 0)
    _mark(mesh, a, -1, 1)
    mesh.marks[b] = 0
    common = _mark(mesh, b, 1, 2)
    shared = 0
    corner = mesh.head[b]
    while corner >= 0:
        f = corner // 3
        shared += mesh.alive[f] and (mesh.faces[f, 0] == a or mesh.faces[f, 1] == a or mesh.faces[f, 2] == a)
        corner = mesh.following[corner]
    return common == shared and shared > 0


@numba.njit(cache=True)
def _keeps_sides(mesh: _Mesh, v: int, other: int, places: Floats) -> bool:
    """Whether the faces of a vertex that a collapse leaves keep their sides, in nearly all poses."""
    corner = mesh.head[v]
    while corner >= 0:
        f, k = corner // 3, corner % 3
        p, q = mesh.faces[f, (k + 1) % 3], mesh.faces[f, (k + 2) % 3]
        corner = mesh.following[corner]
        if not mesh.alive[f] or other in (p, q):
            continue
        turned = 0
        for s in range(len(places)):
            turned += _turns(mesh.positions[p, s], mesh.positions[q, s], mesh.positions[v, s], places[s])
        if turned * _TURNED_POSES > len(places):
            return False
    return True


@numba.njit(cache=True)
def _turns(p: Floats, q: Floats, before: Floats, after: Floats) -> bool:
    """Whether the face of p, q and a vertex turns when the vertex moves."""
    ux, uy, uz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    wx, wy, wz = before[0] - p[0], before[1] - p[1], before[2] - p[2]
    zx, zy, zz = after[0] - p[0], after[1] - p[1], after[2] - p[2]
    nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
    mx, my, mz = uy * zz - uz * zy, uz * zx - ux * zz, ux * zy - uy * zx
    lengths = (nx * nx + ny * ny + nz * nz) * (mx * mx + my * my + mz * mz)
    turns: bool = nx * mx + ny * my + nz * mz < _LEAST_COSINE * np.sqrt(lengths)
    return turns


@numba.njit(cache=True)
def _merge(mesh: _Mesh, a: int, b: int, places: Floats) -> None:
    """Collapse an edge: ``a`` goes to the places, ``b`` goes."""
    corner = mesh.head[b]
    while corner >= 0:
        f = corner // 3
        if mesh.faces[f, 0] == a or mesh.faces[f, 1] == a or mesh.faces[f, 2] == a:
            mesh.alive[f] = False
        mesh.faces[f, corner % 3] = a
        corner = mesh.following[corner]
    mesh.following[mesh.tail[a]] = mesh.head[b]
    mesh.tail[a] = mesh.tail[b]
    mesh.positions[a] = places
    mesh.quadrics[a] += mesh.quadrics[b]
    mesh.live[b] = False
    mesh.versions[a] += 1


@numba.njit(cache=True)
def _push_around(mesh: _Mesh, a: int, places: Floats, heap: list[tuple[float, int, int, int, int]]) -> None:
    """Put the edges of a vertex on the heap."""
    _mark(mesh, a, -1, 0)
    corner = mesh.head[a]
    while corner >= 0:
        if mesh.alive[corner // 3]:
            for k in range(3):
                v = mesh.faces[corner // 3, k]
                if v != a and mesh.marks[v] == 0:
                    mesh.marks[v] = 1
                    heappush(heap, (_cost(mesh, a, v, places), a, v, mesh.versions[a], mesh.versions[v]))
        corner = mesh.following[corner]
