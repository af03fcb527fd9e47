"""Compiled loops that place random samples on triangles. This module imports numba: import it inside functions."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit(nogil=True, cache=True)
def folded(u: float, v: float) -> tuple[float, float]:
    """Fold a uniform point of the unit square onto its lower triangle, u + v ≤ 1, where it is uniform too.

    Source: Turk, Graphics Gems (1990), p. 24, second method.
    """
    if u + v > 1.0:
        return 1.0 - u, 1.0 - v
    return u, v


@njit(nogil=True, cache=True)
def fold(uv: Floats) -> None:
    """Fold points (n, 2) of the unit square, in place."""
    for i in range(len(uv)):
        uv[i, 0], uv[i, 1] = folded(uv[i, 0], uv[i, 1])


@njit(nogil=True, cache=True)
def place_samples(corners: Floats, faces: Ints, uv: Floats, points: Floats) -> None:
    """Put sample ``i`` into triangle ``faces[i]`` of `corners` (F, 3, 3), uniformly, from `uv` (n, 2) in [0, 1)."""
    for i in range(faces.size):
        f = faces[i]
        u, v = folded(uv[i, 0], uv[i, 1])
        for k in range(3):
            a = corners[f, 0, k]
            points[i, k] = a + u * (corners[f, 1, k] - a) + v * (corners[f, 2, k] - a)
