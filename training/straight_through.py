"""Eq. 5 on tensors: the uniform quantiser, with gradients that pass it as if it were not there.

Knows no network and no stream; ``quantise.py`` has the same rule on arrays, and the two agree bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

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


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bits: int) -> Tensor:
        ctx.save_for_backward(inputs)
        return inputs.clamp(LOW, HIGH).sub_(LOW).div_(step(bits)).round_().mul_(step(bits)).add_(LOW)

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
