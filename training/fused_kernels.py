"""Compiled loops of `fused` and of the optimiser: perceptrons of rectifiers forward and back, and a step of Adam.

A tile of points goes through all layers, and back, before the next tile: its activations stay in the processor's
cache. The products of a layer are BLAS's (``np.dot``). No loop starts threads or checks its arguments; each releases
the GIL and works on the range that it is given. Importing this module imports numba.

Activations are stored as (features, points). The input of every layer ends in a row of ones, so that the weights
(fan in, fan out) and the bias (1, fan out), which follows them in the parameters, are one matrix.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@njit(nogil=True, cache=True)
def _rows(widths: Ints, skip: int, layer: int) -> int:
    """Rows of a layer's matrix: the fan in, and one for the bias."""
    rows: int = widths[layer] + (widths[0] if layer == skip else 0) + 1
    return rows


@njit(nogil=True, cache=True)
def _room(widths: Ints, skip: int, tile: int) -> int:
    """Floats that a tile takes: the inputs of all layers, one after the other, and the outputs."""
    floats: int = widths[-1]
    for layer in range(len(widths) - 1):
        floats += _rows(widths, skip, layer)
    return floats * tile


@njit(nogil=True, cache=True)
def _forward(widths: Ints, skip: int, flat: Floats, points: Floats, begin: int, n: int, s: Floats) -> int:
    """Take points [begin, begin + n) through all layers; returns where the outputs begin in ``s``."""
    layers, at, row = len(widths) - 1, 0, 0
    for layer in range(layers):
        fan_in, fan_out = _rows(widths, skip, layer), widths[layer + 1]
        end = at + fan_in * n
        if layer in (0, skip):
            shown = end - (widths[0] + 1) * n
            for t in range(n):
                for f in range(widths[0]):
                    s[shown + f * n + t] = points[begin + t, f]
        s[end - n : end] = 1
        matrix, made = flat[row : row + fan_in * fan_out], s[end : end + fan_out * n]
        np.dot(matrix.reshape(fan_in, fan_out).T, s[at:end].reshape(fan_in, n), made.reshape(fan_out, n))
        if layer < layers - 1:
            for i in range(len(made)):
                value = made[i]
                made[i] = np.float32(0) if value < 0 else value  # NaN stays NaN, as torch has it
        at, row = end, row + fan_in * fan_out
    return at


@njit(
    "void(int64[::1], int64, float32[:, ::1], float32[:, :, ::1], float32[:, :, ::1], int64, int64, int64, int64)",
    nogil=True,
    cache=True,
)
def evaluate(
    widths: Ints,
    skip: int,
    parameters: Floats,
    inputs: Floats,
    outputs: Floats,
    tile: int,
    chunk: int,
    first: int,
    last: int,
) -> None:
    """Write ``outputs`` (B, P, O) of units [first, last), which are chunks of points, network by network."""
    count = outputs.shape[1]
    chunks = (count + chunk - 1) // chunk
    s = np.empty(_room(widths, skip, tile), np.float32)
    for unit in range(first, last):
        network, part = unit // chunks, unit % chunks
        end = min(count, (part + 1) * chunk)
        for begin in range(part * chunk, end, tile):
            n = min(tile, end - begin)
            at = _forward(widths, skip, parameters[network], inputs[network], begin, n, s)
            for o in range(widths[-1]):
                for t in range(n):
                    outputs[network, begin + t, o] = s[at + o * n + t]


@njit(nogil=True, cache=True)
def _slopes(made: Floats, given: Floats, weight: np.float32, clamp: np.float32, delta: Floats) -> float:
    """Put slopes by the outputs of a tile into ``delta``; returns the sum of the absolute errors if there are targets.

    An error away from 0 counts 0 where the target is at least ``clamp`` away from 0 on the same side.
    """
    total, n = 0.0, len(given)
    for o in range(given.shape[1]):
        for t in range(n):
            slope = given[t, o]
            if clamp >= 0:
                target, error = slope, made[o * n + t] - slope
                if abs(target) >= clamp and error * target > 0:
                    error = np.float32(0)
                total += abs(error)
                slope = weight if error > 0 else -weight if error < 0 else error * np.float32(0)  # NaN stays NaN
            delta[o * n + t] = slope
    return total


@njit(
    "void(int64[::1], int64, float32[:, ::1], float32[:, :, ::1], float32[:, :, ::1], float32, float64[:, ::1],"
    " float32[:, :, ::1], float32[:, :, ::1], int64, int64, int64, int64)",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def differentiate(
    widths: Ints,
    skip: int,
    parameters: Floats,
    inputs: Floats,
    given: Floats,
    clamp: np.float32,
    errors: NDArray[np.float64],
    gradients: Floats,
    by_inputs: Floats,
    tile: int,
    chunk: int,
    first: int,
    last: int,
) -> None:
    """Add the gradients of units [first, last) to ``gradients`` (B, chunks, parameters) and ``by_inputs`` (B, P, F).

    If ``clamp`` is negative, ``given`` (B, P, O) are the slopes by the outputs. Else they are targets, gradients are
    those of the mean absolute error of a network, and absolute errors are added to ``errors`` (B, chunks).
    ``by_inputs`` may be empty.
    """
    count, outputs = given.shape[1:]
    chunks = errors.shape[1]
    layers, weight = len(widths) - 1, np.float32(1 / (count * outputs))
    s = np.empty(_room(widths, skip, tile), np.float32)
    delta, other = np.empty(widths.max() * tile, np.float32), np.empty(widths.max() * tile, np.float32)
    slopes, width = np.empty(parameters.shape[1], np.float32), widths[0]
    shown = np.empty(width * tile, np.float32)
    for unit in range(first, last):
        network, part = unit // chunks, unit % chunks
        flat, total = parameters[network], gradients[network, part]
        end = min(count, (part + 1) * chunk)
        for begin in range(part * chunk, end, tile):
            n = min(tile, end - begin)
            at = _forward(widths, skip, flat, inputs[network], begin, n, s)
            errors[network, part] += _slopes(s[at:], given[network, begin : begin + n], weight, clamp, delta)
            row = len(flat)
            for layer in range(layers - 1, -1, -1):
                fan_in, made, fan_out = _rows(widths, skip, layer), widths[layer], widths[layer + 1]
                at, row = at - fan_in * n, row - fan_in * fan_out
                by_outputs = delta[: fan_out * n].reshape(fan_out, n)
                slope = slopes[row : row + fan_in * fan_out].reshape(fan_in, fan_out)
                np.dot(s[at : at + fan_in * n].reshape(fan_in, n), by_outputs.T, slope)
                if by_inputs.size and layer in (0, skip):
                    below = row + (fan_in - 1) * fan_out
                    matrix = flat[below - width * fan_out : below].reshape(width, fan_out)
                    np.dot(matrix, by_outputs, shown[: width * n].reshape(width, n))
                    for t in range(n):
                        for f in range(width):
                            by_inputs[network, begin + t, f] += shown[f * n + t]
                if layer:
                    matrix = flat[row : row + made * fan_out].reshape(made, fan_out)
                    before, passed = other[: made * n], s[at : at + made * n]
                    np.dot(matrix, by_outputs, before.reshape(made, n))
                    for i in range(len(passed)):  # a rectifier's output is positive where it let its input pass
                        before[i] = before[i] if passed[i] > 0 else np.float32(0)
                    delta, other = other, delta
            for i in range(len(total)):
                total[i] += slopes[i]


@njit("void(float32[:, ::1], float32[::1])", nogil=True, cache=True, fastmath={"reassoc"})
def add_squares(values: Floats, totals: Floats) -> None:
    """Add the sum of the squares of each row of ``values`` (B, n) to ``totals`` (B,)."""
    for network in range(len(values)):
        total = np.float32(0)
        for i in range(values.shape[1]):
            total += values[network, i] * values[network, i]
        totals[network] += total


@njit(
    "void(float32[:, ::1], float32[:, ::1], float32[::1], float32[:, ::1], float32[:, ::1], float32[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def adam(values: Floats, gradients: Floats, factors: Floats, means: Floats, squares: Floats, constants: Floats) -> None:
    """Do a step of Adam for parameters (B, n), their gradients taken times ``factors`` (B,).

    ``constants`` are what the running averages of the gradient and of its square forget, the rate, what the root of
    the latter is multiplied with, and ε. The bias of the averages is in the rate and the multiplier.
    """
    forget, forget_square, rate, scale, epsilon = constants
    for network in range(len(values)):
        for i in range(values.shape[1]):
            gradient = gradients[network, i] * factors[network]
            mean = means[network, i] + forget * (gradient - means[network, i])
            square = squares[network, i] + forget_square * (gradient * gradient - squares[network, i])
            means[network, i] = mean
            squares[network, i] = square
            values[network, i] -= rate * mean / (np.sqrt(square) * scale + epsilon)
