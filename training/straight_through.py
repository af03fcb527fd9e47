"""Quantisers of tensors, whose gradients pass as if they were not there: Eq. 5's, and one with a scale for each tensor.

``quantise.py`` has Eq. 5 on arrays, bit for bit the same, in a module of its own: torch takes seconds to import, and
whoever reads streams or settings does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gcbench.entropy.tensors import levels
from gcbench.training.quantise import HIGH, LOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def step(bits: int) -> float:
    """Distance of two levels: (b - a) / 2^N, a power of two, so that dequantising is exact in float32."""
    return (HIGH - LOW) / (1 << bits)


def symbols(values: Tensor, bits: int) -> Tensor:
    """Number of the nearest level, ties to even, int16 in [0, 2^N].

    Source: Eq. 5.
    """
    return ((values.detach().clamp(LOW, HIGH) - LOW) / step(bits)).round().to(torch.int16)


def values(symbols: Tensor, bits: int) -> Tensor:
    """The level of a symbol, float32."""
    return symbols.to(torch.float32) * step(bits) + LOW


def nearest(inputs: Tensor, bits: int) -> Tensor:
    """The level that is nearest to each value, clamped to [a, b]. Source: Eq. 5."""
    return inputs.clamp(LOW, HIGH).sub_(LOW).div_(step(bits)).round_().mul_(step(bits)).add_(LOW)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bits: int) -> Tensor:
        ctx.save_for_backward(inputs)
        return nearest(inputs, bits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (inputs,) = ctx.saved_tensors
        return gradients[0].masked_fill((inputs < LOW) | (inputs > HIGH), 0.0), None


_apply: Callable[[Tensor, int], Tensor] = _StraightThrough.apply


def quantise(inputs: Tensor, bits: int) -> Tensor:
    """Q of Eq. 5: clamped to [a, b] and rounded to the nearest of 2^N + 1 levels.

    The gradient is that of the clamp: 1 within [a, b], 0 outside.

    Source: Eq. 5 (Sec. B.1).
    """
    return _apply(inputs, bits)


def quantise_in_loop(tensor: Tensor, bits: int) -> Tensor:
    """Round each network's tensor to 2^N - 1 levels from its negative to its positive peak; one of them is 0.

    ``entropy.tensors`` codes weights with this quantiser.

    Parameters
    ----------
    tensor : (B, ...) float
        Tensors of B networks.
    bits : int
        N.
    """
    half = levels(bits) // 2
    with torch.no_grad():
        peak = tensor.abs().flatten(1).amax(1).clamp_min(torch.finfo(torch.float32).tiny)
        step = (peak / half).view(-1, *[1] * (tensor.dim() - 1))
        rounded = torch.round(tensor / step).clamp(-half, half) * step
    return tensor + (rounded - tensor).detach()
