"""Compiled loops under `grid_sampling` and `mpeg_grid`: rays through triangles, rows that are equal, ties of distance.

Coordinates are integers, in int64 or in float64, and the bounds that keep every product of them
exact are named at each loop. No loop here starts threads: every one releases the GIL.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gcbench.geometry.nearest_kernels import (
    BEST,
    LANES,
    STACK,
    Floats,
    Ints,
    X,
    Y,
    Z,
    any_lane_reaches,
    box_gap,
    load_block,
)

# Rows of the block's scratch array, behind those of the coordinates and of BEST.
_SUM, _TIES = 4 * LANES, 5 * LANES


@njit(nogil=True, cache=True)
def hit_counts(corners: Ints, axes: Ints, step: int, counts: Ints) -> None:
    """Count the rays that hit each triangle, its border included.

    Parameters
    ----------
    corners : (F, 3, 3) int64
        Triangle, corner, coordinate; all within ±2^29, so that products of differences fit 62 bits.
    axes : (F,) int64
        Coordinate along which the rays of the triangle run: one along which the triangle does not look like a line.
    step : int
        Rays run through the multiples of this along the other two coordinates.
    counts : (F,) int64
        Out.
    """
    for f in range(axes.size):
        second, third = _others(axes[f])
        total = 0
        for i in range(_first(corners[f, :, second], step), _last(corners[f, :, second], step) + 1):
            low, high = _chord(corners[f, :, second], corners[f, :, third], i * step)
            total += max(0, high // step + (-low) // step + 1)
        counts[f] = total


@njit(nogil=True, cache=True)
def place_hits(corners: Ints, normals: Ints, axes: Ints, step: int, hits: Ints) -> None:
    """Compute where rays hit triangles: those that `hit_counts` counts, triangle by triangle.

    Parameters
    ----------
    corners, axes, step
        As in `hit_counts`.
    normals : (F, 3) int64
        Normals of any length; component ``axes[f]`` is not smaller in size than the other two.
    hits : (sum of counts, 3) int64
        Out: coordinates; the one along the ray is rounded to the nearest integer.
    """
    at = 0
    for f in range(axes.size):
        main = axes[f]
        second, third = _others(main)
        # Both are at most 1 in size and multiply at most 2^30: the height is exact to 2^-20 before it is rounded, so
        # triangles agree on it where they touch, unless it is half-way between integers.
        along_second = normals[f, second] / normals[f, main]
        along_third = normals[f, third] / normals[f, main]
        for i in range(_first(corners[f, :, second], step), _last(corners[f, :, second], step) + 1):
            low, high = _chord(corners[f, :, second], corners[f, :, third], i * step)
            lever = (i * step - corners[f, 0, second]) * along_second
            for j in range(-((-low) // step), high // step + 1):
                hits[at, main] = corners[f, 0, main] - round(
                    lever + (j * step - corners[f, 0, third]) * along_third,
                )
                hits[at, second] = i * step
                hits[at, third] = j * step
                at += 1


@njit(nogil=True, cache=True)
def number_equals(rows: Ints, tags: Ints, table: Ints, numbers: Ints, firsts: Ints) -> int:
    """Number distinct rows in the order of their first appearance, and say how many there are.

    Parameters
    ----------
    rows, tags : (n, 3) int64, (n,) int64
        Rows are equal if all four values are.
    table : (m,) int64
        Work space, all -1; m is a power of two and greater than n.
    numbers : (n,) int64
        Out: equal rows have the same number.
    firsts : (n,) int64
        Out: where each number appears first.
    """
    mask = np.uint64(table.size - 1)
    distinct = 0
    for i in range(tags.size):
        slot = _mixed(rows[i, 0], rows[i, 1], rows[i, 2], tags[i]) & mask
        while True:
            number = table[slot]
            if number < 0:
                table[slot] = distinct
                numbers[i] = distinct
                firsts[distinct] = i
                distinct += 1
                break
            j = firsts[number]
            if (
                rows[i, 0] == rows[j, 0]
                and rows[i, 1] == rows[j, 1]
                and rows[i, 2] == rows[j, 2]
                and tags[i] == tags[j]
            ):
                numbers[i] = number
                break
            slot = (slot + np.uint64(1)) & mask
    return distinct


@njit(nogil=True, cache=True)
def compare_with_ties(
    queries: Floats,
    points: Floats,
    normals: Floats,
    boxes: Floats,
    leaf: int,
    first_block: int,
    last_block: int,
    squared: Floats,
    to_plane: Floats,
) -> None:
    """Compare queries with *all* points that are nearest to them, not only with one of several.

    Queries come in blocks of `LANES`; blocks [first_block, last_block) are compared. A block walks through the tree
    together, as in `nearest_kernels.search`, but the distances are known. BEST is the next number above the squared
    distance: "nearer than BEST" means "at the distance".

    Parameters
    ----------
    queries : (q, 3) float64
        Integers, in an order that keeps neighbours together.
    points, normals : (n, 3) float64
        In tree order; integers, all points distinct.
    boxes, leaf
        The tree, as made by `nearest_kernels.build_tree`.
    squared : (q,) float64
        In: exact squared distance to the nearest point, computed as here; exact under 2^53.
    to_plane : (q,) float64
        Out: mean over the nearest points of the squared difference along their normals.
    """
    n, total = points.shape[0], queries.shape[0]
    work = np.empty(6 * LANES)
    block = np.empty(6)
    stack = np.empty((STACK, 3), np.int64)
    for b in range(first_block, last_block):
        begin, end = b * LANES, min((b + 1) * LANES, total)
        load_block(queries, begin, end, work, block)
        work[_SUM:] = 0.0
        farthest = 0.0
        for i in range(LANES):
            radius = squared[min(begin + i, end - 1)]
            work[BEST + i] = np.nextafter(radius, np.inf)
            farthest = max(farthest, radius)
        stack[0] = (0, 0, (n + leaf - 1) // leaf)
        depth = 1 if farthest > 0.0 else 0  # a query that lies on a point has only this point, and no distance
        while depth > 0:
            depth -= 1
            node, first, last = stack[depth]
            if box_gap(boxes, node, block) > farthest:
                continue
            if last - first > 1:
                middle = (first + last) // 2
                stack[depth] = (node + 1, first, middle)
                stack[depth + 1] = (node + 2 * (middle - first), middle, last)
                depth += 2
            elif any_lane_reaches(work, boxes, node):
                for j in range(first * leaf, min(last * leaf, n)):
                    _add_ties(work, points, normals, j)
        for i in range(end - begin):
            to_plane[begin + i] = work[_SUM + i] / max(1.0, work[_TIES + i])


@njit(nogil=True, cache=True)
def _add_ties(work: Floats, points: Floats, normals: Floats, j: int) -> None:
    """Add point `j` to the lanes that have no nearer one."""
    px, py, pz = points[j, 0], points[j, 1], points[j, 2]
    nx, ny, nz = normals[j, 0], normals[j, 1], normals[j, 2]
    for i in range(LANES):
        x, y, z = work[X + i] - px, work[Y + i] - py, work[Z + i] - pz
        along = x * nx + y * ny + z * nz
        tied = 1.0 if x * x + y * y + z * z < work[BEST + i] else 0.0
        work[_SUM + i] += tied * (along * along)
        work[_TIES + i] += tied


@njit(nogil=True, cache=True)
def _others(axis: int) -> tuple[int, int]:
    """The other two of three coordinates, in order."""
    return (1 if axis == 0 else 0), (1 if axis == 2 else 2)


@njit(nogil=True, cache=True)
def _first(values: Ints, step: int) -> int:
    """The smallest i with i · step not under all three values."""
    first: int = -((-min(values[0], values[1], values[2])) // step)
    return first


@njit(nogil=True, cache=True)
def _last(values: Ints, step: int) -> int:
    """The largest i with i · step not over all three values."""
    last: int = max(values[0], values[1], values[2]) // step
    return last


@njit(nogil=True, cache=True)
def _chord(u: Ints, v: Ints, at: int) -> tuple[int, int]:
    """First and last integer v in a triangle of the plane along the line u = `at`, exactly; first > last if none.

    The line crosses two edges or three; the chord reaches from the lowest crossing to the highest.
    """
    low, high = 2**62, -(2**62)
    for k in range(3):
        a, b = k, (k + 1) % 3
        if u[a] > u[b]:
            a, b = b, a
        if at < u[a] or at > u[b]:
            continue
        if u[a] == u[b]:
            low, high = min(low, v[a], v[b]), max(high, v[a], v[b])
        else:
            rise, run = (v[b] - v[a]) * (at - u[a]), u[b] - u[a]
            low, high = min(low, v[a] - (-rise) // run), max(high, v[a] + rise // run)
    return low, high


@njit(nogil=True, cache=True)
def _mixed(a: int, b: int, c: int, d: int) -> np.uint64:
    """Spread four integers over 64 bits: products of odd constants, high bits folded down after each."""
    h = np.uint64(0)
    for value in (a, b, c, d):
        h = (h ^ np.uint64(value)) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(29)
    return h
