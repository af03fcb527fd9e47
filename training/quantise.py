"""The quantiser of Eq. 5 between float32 values and integer symbols, on arrays.

``straight_through.py`` has the same on tensors. This module is light to import: no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LOW, HIGH = -1.0, 1.0  # the interval [a, b] of Eq. 5, for features, parameters and volumes


def quantise(values: ArrayLike, bits: int) -> NDArray[np.int16]:
    """Nearest level of each value, clamped to [LOW, HIGH]; halves go to the even level, as ``torch.round`` has it.

    Parameters
    ----------
    values : array_like of float
        Taken as float32, any shape.
    bits : int
        N of Eq. 5.

    Returns
    -------
    symbols : ndarray of int16
        In [0, 2^N], same shape.

    Raises
    ------
    ValueError
        A value is not a number.

    Source: NeCGS, Eq. 5.
    """
    single = np.asarray(values, dtype=np.float32)
    if np.isnan(single).any():
        raise ValueError("not a number cannot be quantised")
    clamped = np.clip(single, np.float32(LOW), np.float32(HIGH))
    # The step is a power of two: the division is exact, and the subtraction is the only rounding before rint.
    symbols: NDArray[np.int16] = np.rint((clamped - np.float32(LOW)) / _step(bits)).astype(np.int16)
    return symbols


def dequantise(symbols: NDArray[np.integer], bits: int) -> NDArray[np.float32]:
    """Value of each level, LOW + q · (HIGH - LOW) / 2^N: exact in float32.

    Parameters
    ----------
    symbols : ndarray of int
        In [0, 2^N], any shape.
    bits : int
        N of Eq. 5.

    Source: NeCGS, Eq. 5.
    """
    return np.asarray(symbols.astype(np.float32) * _step(bits) + np.float32(LOW), dtype=np.float32)


def _step(bits: int) -> np.float32:
    return np.float32((HIGH - LOW) / 2**bits)
