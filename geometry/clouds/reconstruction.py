"""A surface through points: oriented normals, an interpolated distance, then removal of parts beside the points.

Lengths are in units of the spacing of the points, so that all codecs and rates share the same constants.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gcbench.geometry.clouds.implicit import implicit_surface
from gcbench.geometry.clouds.normals import oriented_normals, spacing
from gcbench.geometry.surface import area_vectors

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from gcbench.geometry.clouds.neighbours import Columns

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Triangles = tuple[Floats, Ints]

_FEWEST_POINTS = 16  # least number of points for a surface
# Radius of the search for points around a surface vertex, in spacings. The surface is cut where the points' offset
# (`overhang`) reaches its value at the edge of a half-plane.
_BESIDE_RADIUS = 3.0
_EDGE = 32 / (35 * math.pi)
# Points of no surface, such as a dense cluster with a few far points, would take hours without these bounds.
_MOST_STEPS = 1 << 13  # spacings along the longest side of the points; voxels of 12 bits have half as many
_CROWD = 512.0  # mean number of points in a point's neighbourhood from which points are thinned; surfaces have 30
_MOST_CUBES = 1 << 16
_WIDEST_GAP = 1.2  # in spacings, to the next point along the surface; wider gaps are bridges between edges


class Watch(Protocol):
    """Receiver of a reconstruction's progress, such as the context of a codec."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Count the time of a ``with`` block as a stage of this name."""

    def check_deadline(self) -> None:
        """Raise if there is no time left."""


def reconstruct(points: NDArray[np.float64], watch: Watch) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Reconstruct the surface on which points lie densely.

    Closed surfaces stay closed, and open surfaces stay open. Points that define no surface, such as fewer than 16
    points or a line, become little cubes.

    Parameters
    ----------
    points : (N, 3) float64
        N ≥ 1, finite. Duplicates count once.
    watch : Watch
        Receives the times of the stages ``normals`` and ``surface``.

    Returns
    -------
    vertices : (V, 3) float64
        In the units of the points.
    faces : (F, 3) int64
        F ≥ 1; counterclockwise seen from outside if the surface has an outside.
    """
    from gcbench.geometry.clouds.neighbours import columns

    with watch.stage("normals"):
        points = _distinct(points)
        step = max(spacing(points), float(np.ptp(points, axis=0).max()) / _MOST_STEPS)
        if _crowding(points, _BESIDE_RADIUS * step) > _CROWD:
            points = _thinned(points, step / 2)
        if len(points) < _FEWEST_POINTS or _breadth(points) < step:
            return _cubes(points, step)
        origin = points.min(axis=0)
        cloud, _ = columns(points - origin, 3 * step)
        normals = oriented_normals(cloud, step)
    watch.check_deadline()
    with watch.stage("surface"):
        vertices, faces = _cut(*implicit_surface(cloud.points, normals, step), cloud, step)
        if not len(faces):
            return _cubes(points, step)
        return vertices + origin, faces


def _distinct(points: Floats) -> Floats:
    """Points sorted by x, then y, then z, each once."""
    ordered: Floats = points[np.lexsort(points.T[::-1])]
    new = np.ones(len(points), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.ascontiguousarray(ordered[new])


def _cells(points: Floats, side: float) -> Ints:
    """Key of the cell of a grid that each point is in, (N,), for at most 2^20 cells along a side."""
    x, y, z = ((points - points.min(axis=0)) / side).astype(np.int64).T
    return np.asarray((x << 42) | (y << 21) | z, np.int64)


def _crowding(points: Floats, side: float) -> float:
    """Mean number of points in the cell of a point."""
    _, count = np.unique(_cells(points, side), return_counts=True)
    return float(np.square(count.astype(np.float64)).sum() / len(points))


def _thinned(points: Floats, side: float) -> Floats:
    """The first point in each cell of a grid, in the order of the points."""
    _, first = np.unique(_cells(points, side), return_index=True)
    return np.ascontiguousarray(points[np.sort(first)])


def _breadth(points: Floats) -> float:
    """Standard deviation of points along the second of their principal axes; 0 for a line."""
    return math.sqrt(max(float(np.linalg.eigvalsh(np.cov(points.T))[1]), 0.0))


def _cut(vertices: Floats, faces: Ints, cloud: Columns, step: float) -> Triangles:
    """Cut off patches beside the points, except patches that end nowhere and have points near every vertex."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from gcbench.geometry.clouds.neighbours import overhang

    if not len(faces):
        return vertices, faces
    offset, gap = np.empty(len(vertices)), np.empty(len(vertices))
    radius = _BESIDE_RADIUS * step
    overhang(cloud, vertices, _vertex_normals(vertices, faces), radius, offset, gap)
    beside = np.maximum(offset - _EDGE, (gap - _WIDEST_GAP * step) / radius)
    # Edges with both ends beside the points form patches. A patch is cut if one of its vertices is on the border of the
    # mesh or has no point nearby.
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[(beside[edges] > 0).all(axis=1)]
    links = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    count, patch = connected_components(links, directed=False)
    far = np.zeros(count, bool)
    far[patch[(offset == 1) | _on_border(faces, len(vertices))]] = True
    return _clip(vertices, faces, np.where(far[patch], beside, np.minimum(beside, 0.0)))


def _on_border(faces: Ints, vertex_count: int) -> NDArray[np.bool_]:
    """Which vertices are on an edge of only one face."""
    edges = np.sort(np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]]), axis=1)
    _, first, count = np.unique(edges @ [vertex_count, 1], return_index=True, return_counts=True)
    on = np.zeros(vertex_count, bool)
    on[edges[first[count == 1]]] = True
    return on


def _vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    doubled = area_vectors(vertices[faces])
    normals = np.empty((len(vertices), 3))
    for axis in range(3):
        normals[:, axis] = np.bincount(faces.ravel(), np.repeat(doubled[:, axis], 3), len(vertices))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(length > 0, length, 1.0)


def _clip(vertices: Floats, faces: Ints, level: Floats) -> Triangles:
    """Keep the part of a mesh where `level`, linear on faces, is not positive."""
    out = level > 0
    if not out.any():
        return vertices, faces
    outside = out[faces].sum(axis=1)
    kept = [faces[outside == 0]]
    new_vertices = [vertices]
    # Rotate the corners of each cut face so that the odd corner is first; then the cut crosses edges (0, 1) and (0, 2).
    cut = faces[(outside == 1) | (outside == 2)]
    if len(cut):
        odd = np.where((outside[(outside == 1) | (outside == 2)] == 1)[:, None], out[cut], ~out[cut]).argmax(axis=1)
        cut = np.take_along_axis(cut, (odd[:, None] + np.arange(3)) % 3, axis=1)
        ends = np.concatenate([cut[:, [0, 1]], cut[:, [0, 2]]])
        unique, index = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
        a, b = level[unique[:, 0]], level[unique[:, 1]]
        t = (a / (a - b))[:, None]
        new_vertices.append((1 - t) * vertices[unique[:, 0]] + t * vertices[unique[:, 1]])
        first, second = np.reshape(index, (2, -1)) + len(vertices)
        tip = ~out[cut[:, 0]]  # the odd corner stays; otherwise the other two stay
        kept.append(np.stack([cut[tip, 0], first[tip], second[tip]], axis=1))
        stays = ~tip
        kept.append(np.stack([first[stays], cut[stays, 1], cut[stays, 2]], axis=1))
        kept.append(np.stack([first[stays], cut[stays, 2], second[stays]], axis=1))
    result = np.concatenate(kept)
    used, index = np.unique(result, return_inverse=True)
    return np.concatenate(new_vertices)[used], index.reshape(-1, 3).astype(np.int64)


def _cubes(points: Floats, side: float) -> Triangles:
    """A cube around each point; of very many points, larger cubes around some of them."""
    while len(points) > _MOST_CUBES:
        side *= 2
        points = _thinned(points, side)
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(8, 3) - 0.5
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    vertices = (points[:, None] + side * corners).reshape(-1, 3)
    return vertices, (faces + 8 * np.arange(len(points))[:, None, None]).reshape(-1, 3)
