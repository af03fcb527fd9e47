"""Compiled loops of `implicit`: a signed distance splatted from oriented points onto sparse bricks, and its surface.

A brick is a cube of 8³ nodes of a grid; only bricks near points exist. This module imports numba, so other modules
import it inside functions. No loop starts threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

SIDE = 8  # nodes along a side of a brick
_NODES = SIDE**3

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Singles = NDArray[np.float32]
Bricks = NDArray[np.int32]


@njit(nogil=True, cache=True)
def find_bricks(points: Floats, radius: float, bricks: Bricks) -> int:
    """Number the bricks with a node within a cube of half side `radius` around a point; returns how many there are.

    Parameters
    ----------
    points : (N, 3) float64
        In units of the grid; coordinates are at least `radius`.
    radius : float
    bricks : (X, Y, Z) int32
        In: -1 everywhere. Out: the number of each brick.
    """
    count = 0
    for i in range(len(points)):
        x0, x1 = int(points[i, 0] - radius) // SIDE, int(points[i, 0] + radius) // SIDE
        y0, y1 = int(points[i, 1] - radius) // SIDE, int(points[i, 1] + radius) // SIDE
        z0, z1 = int(points[i, 2] - radius) // SIDE, int(points[i, 2] + radius) // SIDE
        for x in range(x0, x1 + 1):
            for y in range(y0, y1 + 1):
                for z in range(z0, z1 + 1):
                    if bricks[x, y, z] < 0:
                        bricks[x, y, z] = count
                        count += 1
    return count


@njit(nogil=True, cache=True)
def merge(
    points: Floats,
    normals: Floats,
    bricks: Bricks,
    seen: NDArray[np.int32],
    centres: Floats,
    means: Floats,
    counts: Floats,
) -> int:
    """Merge the points whose nearest node is the same; returns how many there are then.

    Parameters
    ----------
    points, normals : (N, 3) float64
        In units of the grid; every nearest node is in a brick.
    bricks : (X, Y, Z) int32
    seen : (nodes,) int32
        In: -1 everywhere. Out: the merged point of each node.
    centres, means : (N, 3) float64
        Out, as many as are returned: means of points and of normals. A mean of normals may be shorter than 1.
    counts : (N,) float64
        Out: how many points became one.
    """
    count = 0
    for i in range(len(points)):
        node = _node(bricks, int(points[i, 0] + 0.5), int(points[i, 1] + 0.5), int(points[i, 2] + 0.5))
        at = seen[node]
        if at < 0:
            at = seen[node] = count
            count += 1
            centres[at] = means[at] = 0.0
            counts[at] = 0.0
        counts[at] += 1.0
        for axis in range(3):
            centres[at, axis] += points[i, axis]
            means[at, axis] += normals[i, axis]
    for at in range(count):
        for axis in range(3):
            centres[at, axis] /= counts[at]
            means[at, axis] /= counts[at]
    return count


@njit(nogil=True, cache=True)
def splat(
    points: Floats,
    normals: Floats,
    counts: Floats,
    radius: float,
    bricks: Bricks,
    active: NDArray[np.bool_],
    sums: Singles,
) -> None:
    """Add weighted sums over points to the active nodes around the points.

    The weight at distance d is c (1 - d² / radius²)⁴.

    Parameters
    ----------
    points, normals : (N, 3) float64
        In units of the grid.
    counts : (N,) float64
        Factor c of each point.
    radius : float
    bricks : (X, Y, Z) int32
    active : (nodes,) bool
        Nodes that are summed at; where no brick is, nothing is active.
    sums : (nodes, 8) float32
        In and out. For each node at x and each point p with weight w and normal n: w, w n · (x - p), w (x - p), w n.
    """
    inverse = 1.0 / (radius * radius)
    for i in range(len(points)):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        for x in range(int(np.ceil(px - radius)), int(px + radius) + 1):
            dx = x - px
            for y in range(int(np.ceil(py - radius)), int(py + radius) + 1):
                dy = y - py
                left = radius * radius - dx * dx - dy * dy
                if left <= 0.0:
                    continue
                reach = np.sqrt(left)
                along = nx * dx + ny * dy
                for z in range(int(np.ceil(pz - reach)), int(pz + reach) + 1):
                    node = _node(bricks, x, y, z)
                    if node < 0 or not active[node]:
                        continue
                    dz = z - pz
                    t = max(0.0, 1.0 - (dx * dx + dy * dy + dz * dz) * inverse)
                    w = counts[i] * t * t * t * t
                    sums[node, 0] += w
                    sums[node, 1] += w * (along + nz * dz)
                    sums[node, 2] += w * dx
                    sums[node, 3] += w * dy
                    sums[node, 4] += w * dz
                    sums[node, 5] += w * nx
                    sums[node, 6] += w * ny
                    sums[node, 7] += w * nz


@njit(nogil=True, cache=True)
def _height(sums: Singles, node: int) -> tuple[float, float]:
    """Signed distance at a node, and the length of the mean normal: 1 if all normals are the same.

    The distance is the mean of (n + m) · (x - p) / 2, where m is the unit mean of the normals n. For points p on a
    sphere, it is 0 on this sphere. With n alone, convex surfaces would move outwards, with m alone inwards.
    """
    w = sums[node, 0]
    nx, ny, nz = sums[node, 5], sums[node, 6], sums[node, 7]
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    total = sums[node, 1]
    if length > 1e-3 * w:
        total = 0.5 * (total + (nx * sums[node, 2] + ny * sums[node, 3] + nz * sums[node, 4]) / length)
    return total / w, length / w


@njit(nogil=True, cache=True)
def heights(sums: Singles, least: float, known: NDArray[np.bool_], height: Singles) -> None:
    """Signed distance at each node whose weight is over `least`.

    Parameters
    ----------
    sums : (nodes, 8) float32
        As made by `splat`.
    least : float
    known : (nodes,) bool
        Out: whether the weight is over `least`.
    height : (nodes,) float32
        Out: 0 where nothing is known.
    """
    for i in range(len(sums)):
        known[i] = sums[i, 0] > least
        height[i] = _height(sums, i)[0] if known[i] else 0.0


@njit(nogil=True, cache=True)
def smooth(
    sums: Singles, active: NDArray[np.bool_], bent: float, flat: float, near: float, far: float, height: Singles
) -> None:
    """Put the distances of a wider splat in place of those of a narrow one, at active nodes where the surface is flat.

    Parameters
    ----------
    sums : (nodes, 8) float32
        As made by `splat`, wider.
    active : (nodes,) bool
        Nodes that both splats reached.
    bent, flat : float
        Nothing changes where the mean normal is shorter than `bent`; from `flat` on, it is flat.
    near, far : float
        Nothing changes where the distances differ by more than `far`; up to `near`, the difference is noise.
    height : (nodes,) float32
        In and out.
    """
    for i in range(len(sums)):
        if not active[i]:
            continue
        wide, length = _height(sums, i)
        change = wide - height[i]
        height[i] += _step((length - bent) / (flat - bent)) * _step((far - abs(change)) / (far - near)) * change


@njit(nogil=True, cache=True)
def _step(x: float) -> float:
    """0 below 0, 1 above 1, smooth between."""
    x = min(1.0, max(0.0, x))
    return x * x * (3.0 - 2.0 * x)


@njit(nogil=True, cache=True)
def _node(bricks: Bricks, x: int, y: int, z: int) -> int:
    """Place of a node in the arrays; negative if its brick does not exist."""
    brick = bricks[x // SIDE, y // SIDE, z // SIDE]
    return int(brick) * _NODES + ((x % SIDE) * SIDE + y % SIDE) * SIDE + z % SIDE


@njit(nogil=True, cache=True)
def place_vertices(
    places: Ints, bricks: Bricks, known: NDArray[np.bool_], height: Singles, number: NDArray[np.int32], vertices: Floats
) -> int:
    """Number and place the vertices of the surface: where the height changes its sign along an edge of the grid.

    Called twice: with empty `vertices` it counts.

    Parameters
    ----------
    places : (bricks, 3) int64
        Place of each brick, in bricks.
    bricks : (X, Y, Z) int32
    known : (nodes,) bool
        Nodes whose height is known.
    height : (nodes,) float32
    number : (nodes, 3) int32
        Out: the vertex on the edge from a node along each axis, or -1.
    vertices : (V, 3) float64
        Out.
    """
    count = 0
    shift = np.zeros(3, np.int64)
    for b in range(len(places)):
        for local in range(_NODES):
            node = b * _NODES + local
            for axis in range(3):
                number[node, axis] = -1
            if not known[node]:
                continue
            x = places[b, 0] * SIDE + local // (SIDE * SIDE)
            y = places[b, 1] * SIDE + local // SIDE % SIDE
            z = places[b, 2] * SIDE + local % SIDE
            for axis in range(3):
                shift[:] = 0
                shift[axis] = 1
                other = _node(bricks, x + shift[0], y + shift[1], z + shift[2])
                if other < 0 or not known[other] or (height[node] < 0.0) == (height[other] < 0.0):
                    continue
                if len(vertices):
                    part = np.float64(height[node]) / (np.float64(height[node]) - np.float64(height[other]))
                    vertices[count, 0] = x + shift[0] * part
                    vertices[count, 1] = y + shift[1] * part
                    vertices[count, 2] = z + shift[2] * part
                number[node, axis] = count
                count += 1
    return count


@njit(nogil=True, cache=True)
def place_faces(
    places: Ints,
    bricks: Bricks,
    known: NDArray[np.bool_],
    height: Singles,
    number: NDArray[np.int32],
    starts: Ints,
    counts: Ints,
    corners: Ints,
    axes: Ints,
    faces: Ints,
) -> int:
    """Write the triangles of all cells whose eight nodes are known; returns their number.

    Called twice: with empty `faces` it counts. `starts`, `counts`, `corners` and `axes` are those of
    :class:`~gcbench.geometry.marching_cubes_tables.TriangleTable`; other arrays are as for `place_vertices`.
    """
    count = 0
    node = np.empty(8, np.int64)
    for b in range(len(places)):
        for local in range(_NODES):
            if not known[b * _NODES + local]:
                continue
            x = places[b, 0] * SIDE + local // (SIDE * SIDE)
            y = places[b, 1] * SIDE + local // SIDE % SIDE
            z = places[b, 2] * SIDE + local % SIDE
            pattern = 0
            complete = True
            for corner in range(8):
                at = _node(bricks, x + (corner & 1), y + (corner >> 1 & 1), z + (corner >> 2))
                if at < 0 or not known[at]:
                    complete = False
                    break
                node[corner] = at
                if height[at] < 0.0:
                    pattern |= 1 << corner
            if not complete:
                continue
            for t in range(starts[pattern], starts[pattern] + counts[pattern]):
                if len(faces):
                    for k in range(3):
                        faces[count, k] = number[node[corners[t, k]], axes[t, k]]
                count += 1
    return count
