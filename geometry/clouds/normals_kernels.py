"""Compiled loops of `normals`: signs of normals, from the empty regions around points and from neighbouring points.

This module imports numba, so other modules import it inside functions. No loop starts threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gcbench.geometry.clouds.neighbours import Columns, first_at

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Signs = NDArray[np.int8]

_STEPS = 8  # steps of a quarter of a cell: after two cells, a side counts as blocked
_LEVELS = 64  # quantisation levels of 1 - |cos| between neighbours' normals
_NONE = -1
_STEEPEST = 0.64  # squared sine of the way to a neighbour over the plane: what is steeper leads to another sheet


@njit(nogil=True, cache=True)
def look(cloud: Columns, normals: Floats, chosen: Ints, label: NDArray[np.int32], cell: float, seen: Ints) -> None:
    """Find the empty region that each chosen point sees along its normal, and against its normal.

    Parameters
    ----------
    cloud : Columns
        The points.
    normals : (N, 3) float64
        Their unit normals.
    chosen : (M,) int64
        Indices of the chosen points.
    label : (n, n, n) int32
        Region of each cell, 0 for a cell with a point; one cell of margin all around the points.
    cell : float
        Side of a cell.
    seen : (M, 2) int64
        Out: the first region along and against the normal within two cells; 0 where there is none.
    """
    n = label.shape[0]
    for k in range(len(chosen)):
        i = chosen[k]
        for way in range(2):
            seen[k, way] = 0
            step = (0.25 - 0.5 * way) * cell
            for turn in range(1, _STEPS + 1):
                x = int((cloud.points[i, 0] + turn * step * normals[i, 0]) / cell + 1.0)
                y = int((cloud.points[i, 1] + turn * step * normals[i, 1]) / cell + 1.0)
                z = int((cloud.points[i, 2] + turn * step * normals[i, 2]) / cell + 1.0)
                if not (0 <= x < n and 0 <= y < n and 0 <= z < n):
                    seen[k, way] = label[0, 0, 0]
                    break
                if label[x, y, z]:
                    seen[k, way] = label[x, y, z]
                    break


class _Queue(NamedTuple):
    """Points without a sign next to points with a sign, in linked lists by the angle of the normals, newest first."""

    head: Ints  # by level
    after: Ints
    before: Ints
    level: Signs  # of each point, _LEVELS where it is in no list


@njit(nogil=True, cache=True)
def _unlink(queue: _Queue, i: int) -> None:
    after, before = queue.after[i], queue.before[i]
    if before == _NONE:
        queue.head[queue.level[i]] = after
    else:
        queue.after[before] = after
    if after != _NONE:
        queue.before[after] = before
    queue.level[i] = _LEVELS


@njit(nogil=True, cache=True)
def _link(queue: _Queue, i: int, level: int) -> None:
    head = queue.head[level]
    queue.after[i], queue.before[i] = head, _NONE
    if head != _NONE:
        queue.before[head] = i
    queue.head[level] = i
    queue.level[i] = level


@njit(nogil=True, cache=True)
def _spread(cloud: Columns, normals: Floats, radius: float, i: int, known: Signs, sign: Signs, queue: _Queue) -> None:
    """Offer the sign of point `i` to its neighbours without a sign, or their signs to a point `i` without one."""
    points, starts, cell = cloud.points, cloud.starts, cloud.cell
    reach = int(np.ceil(radius / cell))
    px, py, pz = points[i, 0], points[i, 1], points[i, 2]
    cx, cy = int(px / cell), int(py / cell)
    for kx in range(max(cx - reach, 0), min(cx + reach + 1, cloud.nx)):
        for ky in range(max(cy - reach, 0), min(cy + reach + 1, cloud.ny)):
            column = kx * cloud.ny + ky
            end = starts[column + 1]
            j = first_at(points, starts[column], end, pz - radius)
            while j < end and points[j, 2] <= pz + radius:
                dx, dy, dz = points[j, 0] - px, points[j, 1] - py, points[j, 2] - pz
                squared = dx * dx + dy * dy + dz * dz
                rise = dx * normals[i, 0] + dy * normals[i, 1] + dz * normals[i, 2]
                if known[i] != known[j] and squared <= radius * radius and rise * rise <= _STEEPEST * squared:
                    cosine = (
                        normals[i, 0] * normals[j, 0] + normals[i, 1] * normals[j, 1] + normals[i, 2] * normals[j, 2]
                    )
                    source, target = (i, j) if known[i] else (j, i)
                    level = min(int((1.0 - abs(cosine)) * _LEVELS), _LEVELS - 1)
                    if level < queue.level[target]:
                        if queue.level[target] < _LEVELS:
                            _unlink(queue, target)
                        _link(queue, target, level)
                        sign[target] = sign[source] if cosine > 0 else -sign[source]
                j += 1


@njit(nogil=True, cache=True)
def grow(cloud: Columns, normals: Floats, radius: float, sign: Signs) -> None:
    """Spread signs from points with a sign to the others, smallest angles between normals first.

    This is Prim's algorithm for a minimum spanning forest. If no sign reaches a set of points, one of them gets +1.

    Source: Hoppe et al., SIGGRAPH 1992, section 3.3.

    Parameters
    ----------
    cloud : Columns
        The points.
    normals : (N, 3) float64
        Their unit normals.
    radius : float
        Largest distance of neighbours.
    sign : (N,) int8
        In: 1, -1, or 0 where unknown. Out: 1 or -1.
    """
    n = len(sign)
    queue = _Queue(
        np.full(_LEVELS, _NONE, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.full(n, _LEVELS, np.int8),
    )
    known = np.abs(sign)
    for i in range(n):
        if not known[i]:
            _spread(cloud, normals, radius, i, known, sign, queue)
    start = 0
    while True:
        level = 0
        while level < _LEVELS and queue.head[level] == _NONE:
            level += 1
        if level < _LEVELS:
            i = queue.head[level]
            _unlink(queue, i)
        else:
            while start < n and known[start]:
                start += 1
            if start == n:
                return
            i = start
            sign[i] = 1
        known[i] = 1
        _spread(cloud, normals, radius, i, known, sign, queue)


@njit(nogil=True, cache=True)
def agree(cloud: Columns, normals: Floats, radius: float, sign: Signs, out: Signs) -> None:
    """Set each sign to the majority around it, weighted by nearness and squared cosine of the normals."""
    points, starts, cell = cloud.points, cloud.starts, cloud.cell
    reach = int(np.ceil(radius / cell))
    inverse = 1.0 / (radius * radius)
    for i in range(len(points)):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        cx, cy = int(px / cell), int(py / cell)
        total = 0.0
        for kx in range(max(cx - reach, 0), min(cx + reach + 1, cloud.nx)):
            for ky in range(max(cy - reach, 0), min(cy + reach + 1, cloud.ny)):
                column = kx * cloud.ny + ky
                end = starts[column + 1]
                j = first_at(points, starts[column], end, pz - radius)
                while j < end:
                    dx, dy, dz = points[j, 0] - px, points[j, 1] - py, points[j, 2] - pz
                    if dz > radius:
                        break
                    t = 1.0 - (dx * dx + dy * dy + dz * dz) * inverse
                    if t > 0.0:
                        cosine = (
                            normals[i, 0] * normals[j, 0]
                            + normals[i, 1] * normals[j, 1]
                            + normals[i, 2] * normals[j, 2]
                        )
                        total += t * cosine * abs(cosine) * sign[j]
                    j += 1
        out[i] = 1 if total >= 0 else -1
