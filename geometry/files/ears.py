"""Ear clipping of polygons in the plane, compiled.

Source: G. H. Meisters, "Polygons have ears", American Mathematical Monthly 82 (1975): every simple polygon of more than
three corners has two ears.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def clip_ears(flat: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut an anticlockwise polygon (n, 2) of the plane into (n - 2, 3) corners; into none if it crosses itself.

    An ear is a corner that turns left and whose closed triangle holds no other corner, so corners on a straight edge
    give no triangle without area. Where no ear is left, corners that do not turn at all are cut off.
    """
    count = len(flat)
    before, after = np.arange(-1, count - 1), np.arange(1, count + 1)
    before[0], after[count - 1] = count - 1, 0
    ears = np.empty((count - 2, 3), np.int64)
    none = np.empty((0, 3), np.int64)
    done = tried = at = 0
    while count > 3:
        if tried >= 2 * count:
            return none
        a, c = before[at], after[at]
        turn = _turn(flat, a, at, c)
        is_ear = turn > 0 or (turn == 0 and tried >= count)  # after a round without an ear, straight corners too
        if turn > 0:
            other = after[c]
            while other != a and is_ear:
                is_ear = not _holds(flat, a, at, c, other)
                other = after[other]
        if is_ear:
            ears[done] = a, at, c
            done += 1
            count -= 1
            after[a], before[c] = c, a
            tried = 0
            at = after[c]  # not c, which has just lost a neighbour: fans from one corner would be slivers
        else:
            tried += 1
            at = c
    ears[done] = before[at], at, after[at]
    return none if _turn(flat, before[at], at, after[at]) < 0 else ears


@njit(cache=True)
def _turn(flat: NDArray[np.float64], a: int, b: int, c: int) -> float:
    """Twice the area of a triangle, positive if it is anticlockwise."""
    return float(
        (flat[b, 0] - flat[a, 0]) * (flat[c, 1] - flat[b, 1]) - (flat[b, 1] - flat[a, 1]) * (flat[c, 0] - flat[b, 0])
    )


@njit(cache=True)
def _holds(flat: NDArray[np.float64], a: int, b: int, c: int, other: int) -> bool:
    """Whether a corner lies in a closed triangle, at another place than the triangle's corners."""
    for corner in (a, b, c):
        if flat[corner, 0] == flat[other, 0] and flat[corner, 1] == flat[other, 1]:
            return False
    return _turn(flat, a, b, other) >= 0 and _turn(flat, b, c, other) >= 0 and _turn(flat, c, a, other) >= 0
