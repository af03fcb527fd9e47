"""Frequency tables of symbols: int64, each frequency at least 1, with sum 2^24; the same on every machine.

The functions use integers and correctly rounded float64 arithmetic (+ - * / and square roots) but no mathematical
library, because libraries round differently on different machines.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRECISION = 24  # bits: every table sums to 2^24, like constriction's categorical models
_WEIGHT_BITS = 26  # the largest that cannot overflow: 2^26 · 2^12 levels folded into one, times 2^24, is below 2^63

SHAPES = (3, 4, 5, 6, 7, 8, 10, 12, 16)  # quarters of β: 4 is Laplace, 8 is Gauss, 16 is almost uniform
STEPS_PER_OCTAVE = 4  # of the scale; a quarter of an octave off costs less than 0.01 bits a symbol
SCALES = 64  # s = 2^((k - 16) / 4) levels, k < 64: from 1/16 of a level to almost 2^12 levels
SCALE_OF_ONE = 16
LOCATION_STEPS = 8  # to a level
_ROOTS_OF_TWO = (1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429)  # 2^(i/4), to the last bit
_EIGHTHS_OF_TWO = (65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194)  # 2^(16 + i/8), rounded
_TAYLOR_TERMS = 16
_LN_2 = 0.6931471805599453


def frequencies(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scale weights to integers of at least 1 that sum to 2^24 along the last axis.

    Parameters
    ----------
    weights : ndarray of int64
        (..., levels), not negative, below 2^39, not all 0.

    Returns
    -------
    (..., levels) int64
    """
    levels = weights.shape[-1]
    spread = 2**PRECISION - levels
    table: NDArray[np.int64] = weights * spread // weights.sum(axis=-1, keepdims=True)
    rest = spread - table.sum(axis=-1, keepdims=True)
    largest = weights.argmax(axis=-1)[..., None]  # the first of equals
    np.put_along_axis(table, largest, np.take_along_axis(table, largest, -1) + rest, -1)
    return table + 1


def _exp_of_minus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """e^-x for x ≥ 0 by additions, multiplications and divisions alone: the same bits on every machine."""
    octaves = np.floor(np.minimum(x, 100.0) / _LN_2)
    u = np.minimum(x, 100.0) - octaves * _LN_2
    series = np.ones_like(u)
    for k in range(_TAYLOR_TERMS, 0, -1):
        series = 1.0 - series * u / k
    return np.ldexp(series, -octaves.astype(np.int64))


@lru_cache(maxsize=4096)
def bell_frequencies(levels: int, location: int, shape: int, scale: int) -> NDArray[np.int64]:
    """Table of exp(-(|q - μ| / s)^β); the first and the last level include the tails beyond them.

    Parameters
    ----------
    levels : int
        Symbols in the alphabet.
    location : int
        μ in eighths of a level.
    shape : int
        β in quarters.
    scale : int
        k, for s = 2^((k - 16) / 4) levels.

    Returns
    -------
    frequencies : (levels,) int64
        Each at least 1, sum 2^24. Read only.
    """
    distance = np.abs(np.arange(-levels, 2 * levels) * LOCATION_STEPS - location) / LOCATION_STEPS
    octave, step = divmod(scale - SCALE_OF_ONE, STEPS_PER_OCTAVE)
    root = np.sqrt(np.sqrt(distance / np.ldexp(_ROOTS_OF_TWO[step], octave)))
    power = root
    for _ in range(shape - 1):
        power = power * root
    weights = np.floor(np.ldexp(_exp_of_minus(power), _WEIGHT_BITS)).astype(np.int64)
    folded = weights[levels : 2 * levels].copy()
    folded[0] += weights[:levels].sum()
    folded[-1] += weights[2 * levels :].sum()
    # At small scales, all weights can be 0; the level nearest to μ gets one more, so that the sum is positive.
    folded[min((location + LOCATION_STEPS // 2) // LOCATION_STEPS, levels - 1)] += 1
    table = frequencies(folded)
    table.setflags(write=False)
    return table


def histogram_frequencies(codes: NDArray[np.int64], first: int, levels: int) -> NDArray[np.int64]:
    """Table of counts that are given in eighths of an octave.

    Parameters
    ----------
    codes : (n,) int64
        0 where a level does not occur, otherwise 1 + 8 log2(count), rounded; not all 0.
    first : int
        Level of the first code; levels before it and behind the last do not occur.
    """
    eighths = np.maximum(codes - 1, 0)
    below_largest = eighths.max() // 8 - eighths // 8
    weights = np.zeros(levels, np.int64)
    mantissas = np.array(_EIGHTHS_OF_TWO, np.int64)[eighths % 8] << (_WEIGHT_BITS - 17)
    weights[first : first + len(codes)] = np.where(codes > 0, mantissas >> np.minimum(below_largest, 62), 0)
    return frequencies(weights)
