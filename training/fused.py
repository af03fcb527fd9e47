"""Perceptrons of rectifiers on the CPU: their outputs and their mean absolute error, with gradients for autograd.

The loops are in `fused_kernels`; this module lays out arrays and shares work among threads. Points are divided into
chunks by their number alone, and the gradients of chunks are added in order, so that the same numbers come out
however many threads there are. Importing this module imports numba.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gcbench.training import fused_kernels as kernels

_CHUNKS, _LEAST_CHUNK = 8, 256  # of a network; points
_TILES = (32, 256)  # points, at least and at most
_ONE_THREAD = 1 << 19  # multiplications of a product from which OpenBLAS starts threads of its own


def evaluate(inputs: Tensor, parameters: Tensor, widths: Sequence[int], skip: int | None = None) -> Tensor:
    """Evaluate B networks.

    Parameters
    ----------
    inputs : (B, P, F) float32
        Points of each network.
    parameters : (B, n) float32
        Of each network: weights (fan in, fan out) and bias, layer by layer.
    widths : sequence of int
        Of the input, every hidden layer, and the output.
    skip : int or None
        Hidden layer whose input has the network's input appended.

    Returns
    -------
    (B, P, outputs) float32
    """
    outputs = torch.empty(len(parameters), inputs.shape[1], widths[-1])
    flat, shown, told = (t.detach().contiguous().numpy() for t in (parameters, inputs, outputs))
    chunk, chunks = _chunks(inputs.shape[1])
    table, appended, tile = np.array(widths), -1 if skip is None else skip, _tile(widths, skip)
    _share(
        len(flat) * chunks,
        lambda first, last: kernels.evaluate(table, appended, flat, shown, told, tile, chunk, first, last),
    )
    return outputs


class Outputs(torch.autograd.Function):
    """The outputs that :func:`evaluate` finds, with gradients by inputs and parameters.

    Here and in :class:`AbsoluteError`, networks are evaluated with ``used`` (B, n), and the gradient is passed to
    ``parameters`` (B, n): the same, or what ``used`` was rounded from.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - torch knows no keyword-only arguments here
        ctx: Any, parameters: Tensor, used: Tensor, inputs: Tensor, widths: Sequence[int], skip: int | None
    ) -> Tensor:
        """Evaluate."""
        del parameters
        ctx.save_for_backward(used, inputs)
        ctx.shape = widths, skip
        return evaluate(inputs, used, widths, skip)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Compute activations again, which takes no longer than writing and reading them, and go back."""
        used, inputs = ctx.saved_tensors
        of_inputs = ctx.needs_input_grad[2]
        _, gradient, by_inputs = _differentiate(inputs, by_outputs[0], used, *ctx.shape, of_inputs=of_inputs)
        return gradient, None, by_inputs, None, None


class AbsoluteError(torch.autograd.Function):
    """Mean absolute error (B,) of B networks; the pass that finds it finds its gradients too.

    ``inputs``, ``widths`` and ``skip`` are as for :func:`evaluate`, ``targets`` (B, P, outputs). An error away from 0
    does not count where the target is at least ``clamp`` away from 0 on the same side.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - torch knows no keyword-only arguments here
        ctx: Any,
        parameters: Tensor,
        used: Tensor,
        inputs: Tensor,
        targets: Tensor,
        widths: Sequence[int],
        skip: int | None,
        clamp: float,
    ) -> Tensor:
        """Find error and gradients."""
        del parameters
        if targets.shape != (len(used), inputs.shape[1], widths[-1]):
            raise ValueError(f"targets of shape {tuple(targets.shape)} for inputs {tuple(inputs.shape)}")
        error, gradient, by_inputs = _differentiate(
            inputs, targets, used, widths, skip, of_inputs=ctx.needs_input_grad[2], clamp=clamp
        )
        ctx.save_for_backward(gradient, by_inputs)
        return error

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_error: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients that the pass has found."""
        gradient, by_inputs = ctx.saved_tensors
        factor = by_error[0][:, None]
        return gradient * factor, None, None if by_inputs is None else by_inputs * factor[:, None], *[None] * 4


def _differentiate(
    inputs: Tensor,
    given: Tensor,
    parameters: Tensor,
    widths: Sequence[int],
    skip: int | None,
    *,
    of_inputs: bool,
    clamp: float = -1.0,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Errors (B,), gradients (B, n) and, if wanted, gradients by the inputs of each network (B, P, F)."""
    flat, shown, told = (t.detach().contiguous().numpy() for t in (parameters, inputs, given))
    chunk, chunks = _chunks(inputs.shape[1])
    errors, gradients = np.zeros((len(flat), chunks)), np.zeros((len(flat), chunks, flat.shape[1]), np.float32)
    by_inputs = np.zeros((len(flat), *shown.shape[1:]) if of_inputs else (0, 0, 0), np.float32)
    table, appended = np.array(widths), -1 if skip is None else skip
    tile, bound = _tile(widths, skip), np.float32(clamp)
    _share(
        errors.size,
        lambda first, last: kernels.differentiate(
            table, appended, flat, shown, told, bound, errors, gradients, by_inputs, tile, chunk, first, last
        ),
    )
    error = (errors.sum(1) / max(1, told[0].size)).astype(np.float32)
    of_each = torch.from_numpy(by_inputs) if of_inputs else None
    return torch.from_numpy(error), torch.from_numpy(gradients.sum(1)), of_each


def _chunks(points: int) -> tuple[int, int]:
    """Points in a chunk, and how many chunks there are."""
    chunk = max(_LEAST_CHUNK, -(-points // _CHUNKS))
    return chunk, -(-points // chunk)


def _tile(widths: Sequence[int], skip: int | None) -> int:
    """Points of a tile; none if the networks are too wide."""
    fans = [(a + (widths[0] if layer == skip else 0) + 1) * b for layer, (a, b) in enumerate(pairwise(widths))]
    tile = (_ONE_THREAD - 1) // max(fans) // 16 * 16
    return min(_TILES[1], tile) if tile >= _TILES[0] else 0


def narrow(widths: Sequence[int], skip: int | None) -> bool:
    """Whether these loops are faster than torch's operators, which they are not for networks of some 128 and wider."""
    return _tile(widths, skip) > 0


# --- Threads ----------------------------------------------------------------------------------------------------------

_granted: ContextVar[int | None] = ContextVar("granted threads", default=None)


@contextmanager
def all_threads() -> Iterator[None]:
    """Leave torch's threads to these loops, and one to torch.

    Between two operators torch's own threads wait in a loop, on the cores that these would run on: on two cores,
    training 16 networks of 8 × 32 then takes as long as on one.
    """
    threads = torch.get_num_threads()
    granted = _granted.set(threads)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _granted.reset(granted)
        torch.set_num_threads(threads)


def _share(units: int, work: Callable[[int, int], None]) -> None:
    """Do ``work`` for units [first, last) of each of torch's threads; this one does its share too."""
    threads = max(1, min(_granted.get() or torch.get_num_threads(), units))
    bounds = [units * i // threads for i in range(threads + 1)]
    others = [_pool(os.getpid()).submit(work, first, last) for first, last in pairwise(bounds[1:])]
    work(bounds[0], bounds[1])
    for other in others:
        other.result()


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    del process
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="perceptrons")
