"""What symbols will cost, as a function that training can differentiate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_LEAST_SCALE = 0.05


def laplace_bits(values: Tensor, scale: Tensor) -> Tensor:
    """Bits of each symbol under a Laplace distribution, for values that carry the noise of rounding.

    Parameters
    ----------
    values : Tensor
        Symbols, or symbols plus noise.
    scale : Tensor
        Mean absolute value, broadcast against ``values``.

    Returns
    -------
    Tensor
        -log2 of the mass in [value - ½, value + ½]. Source: Ballé et al., End-to-end optimized image compression, 2017.
    """
    rate = 1 / scale.clamp_min(_LEAST_SCALE)
    size = values.abs()
    half = rate / 2
    outside = size * rate - (half - math.log(2) + torch.log1p(-torch.exp(-rate)))
    inside = -torch.log1p(-torch.exp(-half) * torch.cosh(size.clamp_max(0.5) * rate))
    return torch.where(size < 0.5, inside, outside) / math.log(2)


def tensor_bits(symbols: Tensor) -> Tensor:
    """Bits of all symbols of a tensor, each row under a Laplace distribution with the row's mean absolute value.

    Parameters
    ----------
    symbols : (rows, ...) float32
        Symbols of weights, plus noise.

    Returns
    -------
    Tensor
        A scalar; the gradient includes that of the scales.
    """
    flat = symbols.reshape(len(symbols), -1)
    if symbols.device.type == "cpu":
        return _row_bits(flat)
    return laplace_bits(flat, flat.abs().mean(1, keepdim=True)).sum()


class _Rows(torch.autograd.Function):
    """Bits of rows, with the gradient computed in the same pass: ten times faster than a dozen passes of torch."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        bits, slope = _rows(flat.detach().contiguous().numpy())
        ctx.save_for_backward(torch.from_numpy(slope))
        return torch.tensor(bits, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return slope * gradients[0]


_row_bits: Callable[[Tensor], Tensor] = _Rows.apply


@numba.njit(cache=True)
def _rows(values: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """Sum of :func:`laplace_bits`, and its derivative by each value."""
    rows, columns = values.shape
    slope = np.empty_like(values)
    total = 0.0
    for r in range(rows):
        mean = 0.0
        for c in range(columns):
            mean += abs(values[r, c])
        scale = mean / columns
        rate = 1 / max(scale, _LEAST_SCALE)
        low = np.exp(-rate)
        root = np.exp(-rate / 2)
        base = rate / 2 - np.log(2.0) + np.log1p(-low)  # log of sinh(rate / 2)
        base_slope = 0.5 + low / (1 - low)  # its derivative by the rate
        by_rate = 0.0  # of the row's bits
        for c in range(columns):
            v = values[r, c]
            size = abs(v)
            if size >= 0.5:
                total += size * rate - base
                by_rate += size - base_slope
                slope[r, c] = rate if v > 0 else -rate
            else:
                up = np.exp(size * rate)
                even, odd = (up + 1 / up) / 2, (up - 1 / up) / 2
                mass = 1 - root * even
                total -= np.log(mass)
                by_rate += root * (size * odd - even / 2) / mass
                by_value = root * odd * rate / mass
                slope[r, c] = by_value if v > 0 else -by_value
        by_scale = -by_rate * rate * rate if scale > _LEAST_SCALE else 0.0
        for c in range(columns):
            slope[r, c] += np.sign(values[r, c]) * by_scale / columns
    factor = np.float32(1 / np.log(2.0))
    for r in range(rows):
        for c in range(columns):
            slope[r, c] *= factor
    return total / np.log(2.0), slope
