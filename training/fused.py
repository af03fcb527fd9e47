"""Perceptrons of rectifiers on the CPU as operators of torch, whose layers are fused: see `kernels`.

Lays out networks, shares work among threads, and gives gradients to autograd. The same numbers come out however many
threads there are: points are divided into chunks by their number alone, and the gradients of chunks are added in
order. Knows tensors. Imports numba, so it is itself imported where it is used.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from gcbench.training import fused_kernels as kernels
from gcbench.training.fused_kernels import LANES, PANEL, ROWS, TILE, Floats, Ints

_CHUNKS = 8
_LEAST_CHUNK = 256  # points; in smaller chunks, packing weights and adding up gradients would show
_CACHE_LINE = 64  # bytes


@dataclass(frozen=True)
class Shape:
    """What networks look like.

    Parameters
    ----------
    widths : tuple of int
        Of the input, every hidden layer, and the output.
    skip : int or None
        Hidden layer whose input has the network's input appended.
    half : int
        Largest symbol to which each weight matrix and each bias is quantised before use; 0 for none. Gradients pass
        as if nothing had happened.
    """

    widths: tuple[int, ...]
    skip: int | None = None
    half: int = 0


def perceptrons(inputs: Tensor, parameters: Tensor, shape: Shape) -> Tensor:
    """Evaluate B networks.

    Parameters
    ----------
    inputs : (B or 1, P, F) float32
        Points of each network, or for all.
    parameters : (B, n) float32
        Of each network: weights (fan in, fan out) and bias, layer by layer.
    shape : Shape
        Of every network.

    Returns
    -------
    (B, P, outputs) float32
        Differentiable once by inputs and parameters.

    Raises
    ------
    ValueError
        The tensors do not fit the shape.
    """
    _check(inputs, parameters, shape)
    if torch.is_grad_enabled() and (inputs.requires_grad or parameters.requires_grad):
        apply: Callable[[Tensor, Tensor, Shape], Tensor] = _Perceptrons.apply
        return apply(inputs, parameters, shape)
    return _evaluate(inputs, parameters, shape)


def absolute_error(
    inputs: Tensor, targets: Tensor, parameters: Tensor, shape: Shape, *, clamp: float = math.inf
) -> Tensor:
    """Mean absolute error of B networks, in one pass with its gradient.

    Parameters
    ----------
    inputs, parameters, shape
        As for :func:`perceptrons`.
    targets : (B, P, outputs) float32
        What networks should say; no gradient is passed to them.
    clamp : float
        Where a target is at least as far from 0, an error on the same side, away from 0, does not count.

    Returns
    -------
    (B,) float32
    """
    _check(inputs, parameters, shape)
    if targets.shape != (len(parameters), inputs.shape[1], shape.widths[-1]):
        raise ValueError(f"targets of shape {tuple(targets.shape)} for inputs {tuple(inputs.shape)}")
    apply: Callable[[Tensor, Tensor, Tensor, Shape, float], Tensor] = _AbsoluteError.apply
    return apply(inputs, targets, parameters, shape, clamp)


class _Perceptrons(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, parameters: Tensor, shape: Shape) -> Tensor:
        ctx.save_for_backward(inputs, parameters)
        ctx.shape = shape
        return _evaluate(inputs, parameters, shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_outputs: Tensor) -> tuple[Tensor | None, Tensor, None]:
        # Activations are computed again: that takes no longer than writing and reading them.
        inputs, parameters = ctx.saved_tensors
        _, gradient, by_inputs = _differentiate(
            kernels.DIFFERENTIATE, inputs, parameters, by_outputs, ctx.shape, of_inputs=ctx.needs_input_grad[0]
        )
        return _summed(by_inputs, inputs), gradient, None


class _AbsoluteError(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - torch knows no keyword-only arguments here
        ctx: Any, inputs: Tensor, targets: Tensor, parameters: Tensor, shape: Shape, clamp: float
    ) -> Tensor:
        error, gradient, by_inputs = _differentiate(
            kernels.ABSOLUTE_ERROR, inputs, parameters, targets, shape, of_inputs=ctx.needs_input_grad[0], clamp=clamp
        )
        ctx.save_for_backward(inputs, gradient, by_inputs)
        return error

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_error: Tensor) -> tuple[Tensor | None, None, Tensor, None, None]:
        inputs, gradient, by_inputs = ctx.saved_tensors
        scaled = None if by_inputs is None else by_inputs * by_error[:, None, None]
        return _summed(scaled, inputs), None, gradient * by_error[:, None], None, None


def _summed(by_inputs: Tensor | None, inputs: Tensor) -> Tensor | None:
    """Sum over the networks, if they share their inputs."""
    return by_inputs if by_inputs is None or len(inputs) == len(by_inputs) else by_inputs.sum(0, keepdim=True)


# --- Arrays -----------------------------------------------------------------------------------------------------------


def _check(inputs: Tensor, parameters: Tensor, shape: Shape) -> None:
    expected = _layout(shape.widths, shape.skip).parameters
    if parameters.dim() != 2 or parameters.shape[1] != expected:
        raise ValueError(f"parameters of shape {tuple(parameters.shape)}, not (networks, {expected})")
    if inputs.dim() != 3 or len(inputs) not in {1, len(parameters)} or inputs.shape[2] != shape.widths[0]:
        raise ValueError(f"inputs of shape {tuple(inputs.shape)} for {len(parameters)} networks of {shape.widths}")
    if any(t.dtype != torch.float32 or t.device.type != "cpu" for t in (inputs, parameters)):
        raise ValueError("inputs and parameters are float32 on the CPU")


def _evaluate(inputs: Tensor, parameters: Tensor, shape: Shape) -> Tensor:
    outputs = torch.empty(len(parameters), inputs.shape[1], shape.widths[-1])
    none = np.empty((0, 0, 0), np.float32)
    _run(kernels.EVALUATE, inputs, parameters, shape, outputs, errors=np.empty(0), totals=none, by_inputs=none)
    return outputs


def _differentiate(
    task: int,
    inputs: Tensor,
    parameters: Tensor,
    given: Tensor,
    shape: Shape,
    *,
    of_inputs: bool,
    clamp: float = math.inf,
) -> tuple[Tensor, Tensor, Tensor | None]:
    networks, points, _ = given.shape
    layout = _layout(shape.widths, shape.skip)
    chunks = _chunks(points)[1]
    gradients = layout.table[-1, kernels.GRADIENTS_END] - layout.table[-1, kernels.GRADIENTS]
    totals = np.empty((networks, chunks, int(gradients)), np.float32)
    errors = np.zeros(networks * chunks)
    by_inputs = torch.empty((networks, points, shape.widths[0]) if of_inputs else (0, 0, 0))
    _run(task, inputs, parameters, shape, given, errors=errors, totals=totals, by_inputs=by_inputs.numpy(), clamp=clamp)
    gradient = torch.empty(networks, layout.parameters)
    flat = gradient.numpy()
    _share(networks, lambda first, last: kernels.collect(layout.table, totals, flat, first, last))
    error = errors.reshape(networks, chunks).sum(1) / max(1, points * shape.widths[-1])
    return torch.from_numpy(error.astype(np.float32)), gradient, by_inputs if of_inputs else None


def _run(
    task: int,
    inputs: Tensor,
    parameters: Tensor,
    shape: Shape,
    outputs: Tensor,
    *,
    errors: NDArray[np.float64],
    totals: Floats,
    by_inputs: Floats,
    clamp: float = math.inf,
) -> None:
    layout = _layout(shape.widths, shape.skip)
    chunk, chunks = _chunks(outputs.shape[1])
    bound = np.float32(clamp)
    flat, shown, told = (t.detach().contiguous().numpy() for t in (parameters, inputs, outputs))

    def work(first: int, last: int) -> None:
        s = _scratch(layout)
        kernels.run(
            layout.table, s, flat, shape.half, shown, task, told, bound, errors, totals, by_inputs, chunk, first, last
        )

    _share(len(flat) * chunks, work)


def _chunks(points: int) -> tuple[int, int]:
    """Points in a chunk, and how many chunks there are."""
    chunk = max(_LEAST_CHUNK, _up(-(-points // _CHUNKS), TILE))
    return chunk, max(1, -(-points // chunk))


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


_own = threading.local()


def _scratch(layout: _Layout) -> Floats:
    """The calling thread's scratch; what is never written in it is 0."""
    held: tuple[_Layout, Floats] | None = getattr(_own, "held", None)
    if held is None or held[0] is not layout:
        room = np.zeros(layout.scratch + _CACHE_LINE // 4, np.float32)
        begin = -room.ctypes.data % _CACHE_LINE // 4
        held = _own.held = layout, room[begin : begin + layout.scratch]
    return held[1]


# --- Where things lie -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Layout:
    table: Ints  # (layers + 2, 10), see `kernels`
    scratch: int  # floats
    parameters: int  # of one network


@lru_cache(maxsize=64)
def _layout(widths: tuple[int, ...], skip: int | None) -> _Layout:
    """Lay out a thread's scratch for networks of a shape."""
    if skip is not None and not 0 < skip < len(widths) - 1:
        raise ValueError(f"layer {skip} is none that can be shown the input again")
    fans = [(a + (widths[0] if layer == skip else 0), b) for layer, (a, b) in enumerate(pairwise(widths))]
    strides = [_up(width, LANES) for width in (*[fan_in for fan_in, _ in fans], widths[-1])]
    table = np.zeros((len(fans) + 2, 10), np.int64)
    layers, extra = table[:-2], table[-1]
    end = flat = 0

    def take(count: int) -> int:
        nonlocal end
        begin, end = end, end + _up(count, LANES)
        return begin

    extra[kernels.SKIP] = -1 if skip is None else skip
    extra[kernels.ZEROS] = take(max(strides))
    for place in (kernels.DELTA, kernels.OTHER_DELTA):
        extra[place] = take(TILE * max(strides))
    extra[kernels.BY_INPUT] = take(TILE * widths[0])
    for row, stride in zip(table[:-1], strides, strict=True):
        row[kernels.STRIDE], row[kernels.INPUT] = stride, take(TILE * stride)
    for row, (fan_in, fan_out) in zip(layers, fans, strict=True):
        row[kernels.FAN_IN], row[kernels.FAN_OUT], row[kernels.PARAMETERS] = fan_in, fan_out, flat
        row[kernels.WEIGHTS] = take(fan_in * _up(fan_out, PANEL))
        row[kernels.TRANSPOSED] = take(fan_out * _up(fan_in, PANEL))
        row[kernels.BIAS] = take(fan_out)
        flat += (fan_in + 1) * fan_out
    extra[kernels.GRADIENTS] = end
    for row, (fan_in, fan_out) in zip(layers, fans, strict=True):
        row[kernels.BY_WEIGHTS] = take(_up(fan_in, ROWS) * _up(fan_out, LANES))
        row[kernels.BY_BIAS] = take(fan_out)
    extra[kernels.GRADIENTS_END] = end
    return _Layout(table, end, flat)


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
