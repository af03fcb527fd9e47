"""SSIM of two images at chosen pixels: the compiled loop under ``render``.

This module imports numba: import it where it is used. scikit-image has the same values, for the
whole image, in several times the time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

RADIUS = 3
"""Of a window: 7 pixels wide, all weighed alike. Source: the default of scikit-image's ``structural_similarity``."""

# For values from 0 to 1. Source: K₁ and K₂ of Wang et al. (2004), section III.B.
_C1, _C2 = 0.01**2, 0.03**2
_COUNT = (2 * RADIUS + 1) ** 2
_UNBIASED = _COUNT / (_COUNT - 1)


@njit(nogil=True, cache=True)
def sum_of_ssim(first: NDArray[np.float32], second: NDArray[np.float32], chosen: NDArray[np.bool_]) -> float:
    """Sum of SSIM over the chosen pixels and the channels of two images.

    The same two images give exactly 1 for every pixel and channel.

    Parameters
    ----------
    first, second : (C, H, W) float32
        From 0 to 1.
    chosen : (H, W) bool
        None within `RADIUS` of the border.

    Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity (2004), Eq. 13, with
    scikit-image's uniform windows and unbiased variances.
    """
    channels, height, width = first.shape
    # Arrays of their own, and all columns of a row before the next row: LLVM turns the innermost loop into SIMD.
    x_sum, y_sum = np.zeros(width), np.zeros(width)
    xx_sum, yy_sum, xy_sum = np.zeros(width), np.zeros(width), np.zeros(width)
    total = 0.0
    for row in range(RADIUS, height - RADIUS):
        line = np.flatnonzero(chosen[row])
        if line.size == 0:
            continue
        begin, end = line[0] - RADIUS, line[-1] + RADIUS + 1
        for channel in range(channels):
            for sums in (x_sum, y_sum, xx_sum, yy_sum, xy_sum):
                sums[begin:end] = 0.0
            for above in range(row - RADIUS, row + RADIUS + 1):
                for column in range(begin, end):
                    one, other = np.float64(first[channel, above, column]), np.float64(second[channel, above, column])
                    x_sum[column] += one
                    y_sum[column] += other
                    xx_sum[column] += one * one
                    yy_sum[column] += other * other
                    xy_sum[column] += one * other
            for centre in line:
                x = y = xx = yy = xy = 0.0
                for beside in range(centre - RADIUS, centre + RADIUS + 1):
                    x += x_sum[beside]
                    y += y_sum[beside]
                    xx += xx_sum[beside]
                    yy += yy_sum[beside]
                    xy += xy_sum[beside]
                x, y, xx, yy, xy = x / _COUNT, y / _COUNT, xx / _COUNT, yy / _COUNT, xy / _COUNT
                of_x, of_y, shared = _UNBIASED * (xx - x * x), _UNBIASED * (yy - y * y), _UNBIASED * (xy - x * y)
                total += ((2 * x * y + _C1) * (2 * shared + _C2)) / ((x * x + y * y + _C1) * (of_x + of_y + _C2))
    return total
