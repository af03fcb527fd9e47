"""Compiled loops of `winding`: columns of triangles along z, crossings of rays, and solid angles beside boundary edges.

Arrays are C-contiguous and finite: float64 coordinates, int64 indices. This module imports numba, so other modules
import it inside functions. No loop starts threads: each loop releases the GIL and works on its range.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Solid angles are computed for blocks of points: the innermost loops run over lanes with a fixed trip count, which LLVM
# turns into SIMD.
LANES = 16
# Rows of a block's scratch array, after x. One array and constant offsets, so that LLVM sees that rows do not overlap.
_Y, _Z, _REAL, _IMAGINARY, _TURNS, _SCALE = [row * LANES for row in range(1, 7)]
_BETWEEN_SCALINGS = 8  # products of as many complex numbers stay in range
_TINY = 1e-300
_SLACK = 1e-6  # of a cell: rounding does not hide a triangle from the cell of a point

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit(nogil=True, cache=True)
def extent_in_row(corners: Floats, t: int, low: float, high: float) -> tuple[float, float]:
    """Smallest and largest x of the part of triangle `t` with y in [low, high]; (inf, -inf) if there is none."""
    first, last = np.inf, -np.inf
    for i in range(3):
        ax, ay = corners[t, i, 0], corners[t, i, 1]
        bx, by = corners[t, (i + 1) % 3, 0], corners[t, (i + 1) % 3, 1]
        if low <= ay <= high:
            first, last = min(first, ax), max(last, ax)
        for level in (low, high):
            if (ay < level) != (by < level):
                x = ax + (bx - ax) * ((level - ay) / (by - ay))
                x = min(max(x, min(ax, bx)), max(ax, bx))
                first, last = min(first, x), max(last, x)
    return first, last


@njit(nogil=True, cache=True)
def cells_in_row(corners: Floats, t: int, row: int, grid: Floats, side: int) -> tuple[int, int]:
    """First and last cell of a row of the grid that the projection of triangle `t` touches; (0, -1) for none."""
    low, high = (row - _SLACK) / grid[3] + grid[1], (row + 1 + _SLACK) / grid[3] + grid[1]
    x0, x1 = extent_in_row(corners, t, low, high)
    if x0 > x1:
        return 0, -1
    first = max(0, int((x0 - grid[0]) * grid[2] - _SLACK))
    return row * side + first, row * side + min(side - 1, int((x1 - grid[0]) * grid[2] + _SLACK))


@njit(nogil=True, cache=True)
def rows_of(corners: Floats, t: int, grid: Floats, side: int) -> tuple[int, int]:
    """First and last row of the grid that the projection of triangle `t` touches."""
    low = min(corners[t, 0, 1], corners[t, 1, 1], corners[t, 2, 1])
    high = max(corners[t, 0, 1], corners[t, 1, 1], corners[t, 2, 1])
    first = max(0, int((low - grid[1]) * grid[3] - _SLACK))
    return first, min(side - 1, int((high - grid[1]) * grid[3] + _SLACK))


@njit(nogil=True, cache=True)
def count_members(corners: Floats, grid: Floats, side: int) -> int:
    """Number of pairs of a triangle and a cell that the triangle's projection onto the plane z = 0 touches.

    Parameters
    ----------
    corners : (F, 3, 3) float64
        Triangle, corner, coordinate.
    grid : (4,) float64
        x and y of the lower corner of a grid of side² cells, and cells in a unit of length along x and y.
    """
    total = 0
    for t in range(corners.shape[0]):
        row0, row1 = rows_of(corners, t, grid, side)
        for row in range(row0, row1 + 1):
            first, last = cells_in_row(corners, t, row, grid, side)
            total += last - first + 1
    return total


@njit(nogil=True, cache=True)
def fill_columns(corners: Floats, grid: Floats, side: int, start: Ints, members: Ints) -> None:
    """Sort the triangles into the cells that their projections touch.

    Parameters
    ----------
    corners, grid, side
        As for `count_members`.
    start : (side² + 1,) int64
        Out: cell i has ``members[start[i] : start[i + 1]]``.
    members : (n,) int64
        Out: triangles, cell by cell; n is the result of `count_members`.
    """
    start[:] = 0
    for t in range(corners.shape[0]):
        row0, row1 = rows_of(corners, t, grid, side)
        for row in range(row0, row1 + 1):
            first, last = cells_in_row(corners, t, row, grid, side)
            for cell in range(first, last + 1):
                start[cell] += 1
    total = 0
    for cell in range(start.size):
        total += start[cell]
        start[cell] = total
    for t in range(corners.shape[0] - 1, -1, -1):
        row0, row1 = rows_of(corners, t, grid, side)
        for row in range(row0, row1 + 1):
            first, last = cells_in_row(corners, t, row, grid, side)
            for cell in range(first, last + 1):
                start[cell] -= 1
                members[start[cell]] = t


@njit(nogil=True, cache=True)
def crosses_right(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> int:
    """1 or -1 if edge a → b crosses the ray from (x, y) along +x upwards or downwards, else 0.

    The result for b → a is exactly the opposite, whatever the rounding: the sum over a closed chain of edges is right.
    """
    if ay <= y < by:
        return 1 if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0.0 else 0
    if by <= y < ay:
        return -1 if (ax - bx) * (y - by) - (ay - by) * (x - bx) > 0.0 else 0
    return 0


@njit(nogil=True, cache=True)
def count_crossings(
    corners: Floats, grid: Floats, side: int, start: Ints, members: Ints, points: Floats, number: Floats
) -> None:
    """Count the faces whose back the ray from each point along +z meets, less those whose front it meets.

    Parameters
    ----------
    corners, grid, side, start, members
        The columns, as made by `fill_columns`.
    points : (n, 3) float64
    number : (n,) float64
        Out.
    """
    for q in range(points.shape[0]):
        x, y, z = points[q, 0], points[q, 1], points[q, 2]
        u, v = (x - grid[0]) * grid[2], (y - grid[1]) * grid[3]
        total = 0
        if 0.0 <= u < side and 0.0 <= v < side:
            cell = int(v) * side + int(u)
            for i in range(start[cell], start[cell + 1]):
                t = members[i]
                ax, ay, az = corners[t, 0]
                bx, by, bz = corners[t, 1]
                cx, cy, cz = corners[t, 2]
                if max(az, bz, cz) <= z:
                    continue
                around = (
                    crosses_right(ax, ay, bx, by, x, y)
                    + crosses_right(bx, by, cx, cy, x, y)
                    + crosses_right(cx, cy, ax, ay, x, y)
                )
                if around == 0:
                    continue
                if min(az, bz, cz) <= z:  # the plane decides
                    nx = (by - ay) * (cz - az) - (bz - az) * (cy - ay)
                    ny = (bz - az) * (cx - ax) - (bx - ax) * (cz - az)
                    nz = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
                    height = nx * (ax - x) + ny * (ay - y) + nz * (az - z)
                    if (height > 0.0) != (nz > 0.0):
                        continue
                total += around
        number[q] = total


@njit(nogil=True, cache=True)
def add_boundary(edges: Floats, scale: Floats, points: Floats, number: Floats) -> None:
    """Add the winding numbers of strips from boundary edges along -z to infinity.

    The tangent of half the solid angle of each strip is a quotient (van Oosterom and Strackee). The loop multiplies
    complex numbers of these arguments and counts turns, so that a point needs one arc tangent and not one for each
    edge.

    Parameters
    ----------
    edges : (B, 2, 3) float64
        Ends of the edges, in the direction of the edge in its face.
    scale : (n,) float64
        Of each point: at most 1 / its distance to the farthest end, squared.
    points : (n, 3) float64
    number : (n,) float64
        In and out.
    """
    count = points.shape[0]
    work = np.empty(7 * LANES)
    for begin in range(0, count, LANES):
        for i in range(LANES):
            q = min(begin + i, count - 1)
            for axis in range(3):
                work[axis * LANES + i] = points[q, axis]
            work[_REAL + i], work[_IMAGINARY + i], work[_TURNS + i], work[_SCALE + i] = 1.0, 0.0, 0.0, scale[q]
        for e in range(edges.shape[0]):
            ax, ay, az = edges[e, 0]
            bx, by, bz = edges[e, 1]
            for i in range(LANES):
                sx, sy, sz = ax - work[i], ay - work[_Y + i], az - work[_Z + i]
                tx, ty, tz = bx - work[i], by - work[_Y + i], bz - work[_Z + i]
                s = np.sqrt(sx * sx + sy * sy + sz * sz)
                t = np.sqrt(tx * tx + ty * ty + tz * tz)
                up = (sy * tx - sx * ty) * work[_SCALE + i]
                along = (s * t + sx * tx + sy * ty + sz * tz - tz * s - sz * t) * work[_SCALE + i]
                before, real = work[_IMAGINARY + i], work[_REAL + i]
                after = real * up + before * along
                work[_REAL + i] = real * along - before * up
                work[_IMAGINARY + i] = after
                over = 1.0 if before >= 0.0 and after < 0.0 and up > 0.0 else 0.0
                under = 1.0 if before < 0.0 and after >= 0.0 and up < 0.0 else 0.0
                work[_TURNS + i] += over - under
            if e % _BETWEEN_SCALINGS == 0:
                for i in range(LANES):
                    factor = 1.0 / (abs(work[_REAL + i]) + abs(work[_IMAGINARY + i]) + _TINY)
                    work[_REAL + i] *= factor
                    work[_IMAGINARY + i] *= factor
        for i in range(min(LANES, count - begin)):
            angle = np.arctan2(work[_IMAGINARY + i], work[_REAL + i])
            number[begin + i] += angle / (2.0 * np.pi) + work[_TURNS + i]
