"""The truncated signed distance of a mesh on a grid: exact distances in a narrow band, robust signs everywhere.

Knows a mesh and a grid; nothing of fitting, networks or streams.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import igl
import numpy as np
from numba import njit
from scipy import ndimage

from gcbench.errors import BadMesh

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

    from gcbench.geometry.grid import Grid

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

INSIDE = 0.5  # winding numbers above it are inside: halfway between 0 and 1, best where holes blur them
# Doubled area over squared longest edge under which a triangle's normal is mostly rounding error.
_NEEDLE = 1e-11
_SLACK = 1 + 1e-5  # distances are float32
_WITNESSES = 16  # vertices that vote on the side of a far region: of open meshes, winding numbers vary within it


def tsdf(mesh: trimesh.Trimesh, grid: Grid, threads: int = 1) -> NDArray[np.float32]:
    """Truncated signed distance of a mesh at the vertices of a grid.

    Distances are computed only where they are under the truncation; the values are those of the full distance
    field, clipped. The sign is that of the generalised winding number, so that open, self-intersecting and globally
    inverted meshes have an inside too.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        Inside [-1, 1]³; need not be closed, manifold or coherently oriented.
    grid : Grid
        Where to evaluate.
    threads : int
        Threads to use; they do not change any value. Those of libigl, once set in a process, stay as they are.

    Returns
    -------
    (K, K, K) float32
        Distance over truncation distance, in [-1, 1], negative inside; positive on the border.

    Raises
    ------
    BadMesh
        No faces, coordinates that are not finite, or outside [-1, 1]³.

    Source: Sec. 3.1; signs after Barill et al., Fast Winding Numbers for Soups and Clouds (2018).
    """
    os.environ.setdefault("IGL_NUM_THREADS", str(threads))  # libigl reads it once, and takes all cores without it
    vertices, faces = triangles(mesh)
    if np.abs(vertices).max() > 1 + grid.spacing / 4:
        raise BadMesh("the mesh reaches out of [-1, 1]³: normalise it first")
    distance = band_distance(vertices[faces], grid, threads)
    faces = orient(faces, vertices)
    # Around a closed mesh, the winding number changes only where the surface is. Around an open one it changes
    # everywhere, and is asked wherever the distance is.
    reach = grid.spacing / 2 * _SLACK if _is_closed(faces, len(vertices)) else grid.truncation
    inside = _inside(vertices, faces, grid, distance < min(reach, grid.truncation))
    values = (distance / grid.truncation).astype(np.float32)
    np.negative(values, out=values, where=inside)
    return values


def triangles(mesh: trimesh.Trimesh) -> tuple[Floats, Ints]:
    """Vertices (V, 3) float64, merged by position, and faces (F, 3) int64 of a mesh, checked.

    Raises
    ------
    BadMesh
        No faces, or a face with a coordinate that is not finite.
    """
    faces = np.asarray(mesh.faces, np.int64)
    if faces.size == 0:
        raise BadMesh("the mesh has no faces")
    # Adding 0.0 turns -0.0 into 0.0: rows are compared by their bytes.
    corners = np.ascontiguousarray(np.asarray(mesh.vertices, np.float64)[faces].reshape(-1, 3) + 0.0)
    if not np.isfinite(corners).all():
        raise BadMesh("a coordinate of the mesh is not finite")
    _, first, index = np.unique(corners.view([("", np.float64)] * 3).ravel(), return_index=True, return_inverse=True)
    return corners[first], np.ascontiguousarray(index.reshape(-1, 3), dtype=np.int64)


def orient(faces: Ints, vertices: Floats) -> Ints:
    """Orient faces coherently wherever two of them share an edge alone; the larger area of each patch decides.

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
    # bfs_orient takes the first face of a patch as right; it may be one of the few wrong ones.
    kept = (oriented == faces).all(axis=1)
    area = np.linalg.norm(_area_vectors(vertices[faces]), axis=1)
    wrong = np.bincount(patch, weights=np.where(kept, -area, area)) > 0
    return np.ascontiguousarray(np.where(wrong[patch, None], oriented[:, ::-1], oriented))


def _edge_balance(faces: Ints, vertex_count: int) -> tuple[Floats, Ints]:
    """Of every edge: how many more faces pass it one way than the other, and how many faces it has."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = np.minimum(start, end) * vertex_count + np.maximum(start, end)
    _, edge, count = np.unique(edges, return_inverse=True, return_counts=True)
    balance = np.bincount(edge, weights=np.sign(end - start))
    return np.asarray(balance, np.float64), np.asarray(count, np.int64)


def _is_closed(faces: Ints, vertex_count: int) -> bool:
    """Whether the winding number is an integer everywhere: the boundaries of the faces cancel."""
    balance, _ = _edge_balance(faces, vertex_count)
    return not balance.any()


def winding_number(vertices: Floats, faces: Ints, points: Floats) -> Floats:
    """Generalised winding number of coherently oriented faces around points (n, 3), of either orientation: (n,) >= 0.

    Source: Barill et al. (2018), order 2, accuracy 2.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    return np.abs(np.asarray(igl.fast_winding_number(vertices, faces, points), dtype=np.float64))


def band_distance(corners: Floats, grid: Grid, threads: int = 1) -> NDArray[np.float32]:
    """Unsigned distance to triangles (F, 3, 3) at the vertices of a grid, clipped to the truncation: (K, K, K) float32.

    Every triangle visits each vertex within the truncation of it, so that none can be missed.
    """
    K = grid.resolution
    distance = np.full((K, K, K), grid.truncation, np.float32)
    corners = np.ascontiguousarray(corners, dtype=np.float64)

    def slab(first: int, last: int) -> None:
        _splat(corners, grid.origin, grid.spacing, grid.truncation, first, last, distance)

    if threads <= 1:
        slab(0, K)
    else:  # slabs, not triangles, are shared out: no vertex has two writers
        bounds = np.linspace(0, K, min(4 * threads, K) + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(slab, int(a), int(b)) for a, b in itertools.pairwise(bounds)]:
                done.result()
    return distance


def _inside(vertices: Floats, faces: Ints, grid: Grid, band: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which grid vertices are inside: one by one in the band, region by region outside it."""
    # No two neighbours outside the band, which is at least half a cell wide, can be on different sides: the surface
    # between them would be within half a cell of one of them.
    region, count = ndimage.label(~band)
    border = np.ones(band.shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    enclosed = np.ones(count + 1, bool)
    enclosed[0] = False
    enclosed[region[border]] = False  # the border is outside, and so is all that connects to it

    near = np.flatnonzero(band & ~border)
    deep = np.flatnonzero(enclosed[region])
    deep = deep[np.argsort(region.ravel()[deep], kind="stable")]
    labels, starts = np.unique(region.ravel()[deep], return_index=True)
    ends = np.append(starts[1:], len(deep))
    witnesses = deep[np.linspace(starts, ends - 1, _WITNESSES, axis=1).astype(np.int64)]

    queries = np.concatenate([near, witnesses.ravel()])
    points = grid.axis()[np.stack(np.unravel_index(queries, band.shape), axis=1)]
    wound = winding_number(vertices, faces, points)
    verdict = np.zeros(count + 1, bool)
    verdict[labels] = wound[len(near) :].reshape(witnesses.shape).mean(axis=1) > INSIDE
    inside: NDArray[np.bool_] = verdict[region]
    inside.ravel()[near] = wound[: len(near)] > INSIDE
    return inside


def _area_vectors(corners: Floats) -> Floats:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


@njit(nogil=True, cache=True)
def _splat(  # noqa: PLR0917 - numba knows no keyword-only arguments
    corners: Floats,
    origin: float,
    spacing: float,
    reach: float,
    first: int,
    last: int,
    distance: NDArray[np.float32],
) -> None:
    """Lower `distance` to that to each triangle, at its vertices within `reach` whose x index is in [first, last)."""
    K = distance.shape[0]
    low, high, index = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    normal, point = np.empty(3), np.empty(3)
    edge, side = np.empty((3, 3)), np.empty((3, 3))  # of corner i to corner i + 1, and its normal in the plane, inward
    for f in range(len(corners)):
        a = corners[f]
        for axis in range(3):
            lower = min(a[0, axis], a[1, axis], a[2, axis]) - reach
            upper = max(a[0, axis], a[1, axis], a[2, axis]) + reach
            low[axis] = max(0, int(np.floor((lower - origin) / spacing)))
            high[axis] = min(K, int(np.ceil((upper - origin) / spacing)) + 1)
        low[0], high[0] = max(low[0], first), min(high[0], last)
        if low[0] >= high[0]:
            continue
        flat = _frame(a, edge, normal, side)
        down = np.argmax(np.abs(normal))  # columns of vertices run along the axis that the normal is nearest to
        u, v = (down + 1) % 3, (down + 2) % 3
        # A ball around the triangle: most visits end with a look at it, once the first triangles are through.
        centre_u = (a[0, u] + a[1, u] + a[2, u]) / 3
        centre_v = (a[0, v] + a[1, v] + a[2, v]) / 3
        centre_w = (a[0, down] + a[1, down] + a[2, down]) / 3
        ball = (a[:, u] - centre_u) ** 2 + (a[:, v] - centre_v) ** 2 + (a[:, down] - centre_w) ** 2
        radius = np.sqrt(ball.max())
        for index_u in range(low[u], high[u]):
            point[u] = origin + spacing * index_u
            for index_v in range(low[v], high[v]):
                point[v] = origin + spacing * index_v
                begin, end = low[down], high[down]
                if flat:  # only the part of the column between the two planes at `reach`
                    slope = normal[down]
                    middle = a[0, down] - (normal[u] * (point[u] - a[0, u]) + normal[v] * (point[v] - a[0, v])) / slope
                    half = reach / abs(slope)
                    begin = max(begin, int(np.floor((middle - half - origin) / spacing)))
                    end = min(end, int(np.ceil((middle + half - origin) / spacing)) + 1)
                index[u], index[v] = index_u, index_v
                aside = (point[u] - centre_u) ** 2 + (point[v] - centre_v) ** 2
                for index_w in range(begin, end):
                    index[down] = index_w
                    point[down] = origin + spacing * index_w
                    best = distance[index[0], index[1], index[2]]
                    if aside + (point[down] - centre_w) ** 2 >= (best + radius) ** 2:
                        continue
                    squared = _squared_distance(point, a, edge, normal, side, flat, best * best)
                    if squared < best * best:
                        distance[index[0], index[1], index[2]] = np.sqrt(squared)


@njit(nogil=True, cache=True)
def _frame(corners: Floats, edge: Floats, normal: Floats, side: Floats) -> bool:
    """Fill in the edges and normals of a triangle; False if it is too thin for them to mean anything."""
    longest = 0.0
    for i in range(3):
        for axis in range(3):
            edge[i, axis] = corners[(i + 1) % 3, axis] - corners[i, axis]
        longest = max(longest, edge[i, 0] ** 2 + edge[i, 1] ** 2 + edge[i, 2] ** 2)
    _cross(edge[0], edge[1], normal)
    doubled_area = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    if doubled_area <= _NEEDLE * longest:
        return False
    normal /= doubled_area
    for i in range(3):
        _cross(normal, edge[i], side[i])
    return True


@njit(nogil=True, cache=True)
def _cross(a: Floats, b: Floats, out: Floats) -> None:
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]


@njit(nogil=True, cache=True)
def _squared_distance(  # noqa: PLR0917 - numba knows no keyword-only arguments
    point: Floats, corners: Floats, edge: Floats, normal: Floats, side: Floats, flat: bool, best: float
) -> float:
    """Squared distance of a point to a triangle, or anything not under `best` if it is not under `best`."""
    above = 0.0
    if flat:
        for axis in range(3):
            above += (point[axis] - corners[0, axis]) * normal[axis]
        if above * above >= best:
            return above * above
    nearest = np.inf
    for i in range(3):
        dx, dy, dz = point[0] - corners[i, 0], point[1] - corners[i, 1], point[2] - corners[i, 2]
        # Beside the triangle, the nearest point is on an edge that the point is on the outer side of.
        if flat and dx * side[i, 0] + dy * side[i, 1] + dz * side[i, 2] >= 0:
            continue
        length = edge[i, 0] ** 2 + edge[i, 1] ** 2 + edge[i, 2] ** 2
        along = dx * edge[i, 0] + dy * edge[i, 1] + dz * edge[i, 2]
        t = min(max(along / length, 0.0), 1.0) if length > 0 else 0.0
        dx, dy, dz = dx - t * edge[i, 0], dy - t * edge[i, 1], dz - t * edge[i, 2]
        nearest = min(nearest, dx * dx + dy * dy + dz * dz)
    return nearest if nearest < np.inf else above * above
