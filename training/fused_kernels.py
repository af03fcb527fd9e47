"""Compiled loops under `fused`: 64 points at a time go through all layers of a perceptron of rectifiers, and back.

A layer of 32 has so little arithmetic for each number that it reads that a product of whole layers waits for memory;
of 64 points, all activations stay in the second cache. Knows arrays only, and where `fused` says that things lie in
them; nothing here is checked. Imports numba, so it is itself imported where it is used. No loop here starts threads:
every one releases the GIL and works on the range it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

# Sixteen accumulators of 16 lanes: eight rows by two vectors. They fit the registers of AVX-512, hide the latency of
# its multiply-add, and reach 240 of 250 GFLOPS for 32 × 32 on one Zen 5 core; 12 and 16 rows are slower.
LANES = 16
ROWS = 8
PANEL = 2 * LANES  # columns of weights that lie together, so that a block of a product reads them in order
TILE = 64  # points

# Columns of the table that says where things lie in a scratch, in floats. One row for each layer: its fans; the
# distance of the rows of its input, and where it lies; its weights in panels, the same transposed, its bias; the
# gradients of both; and where its weights lie in the parameters, which the bias follows. The next row is the output's.
FAN_IN, FAN_OUT, STRIDE, INPUT, WEIGHTS, TRANSPOSED, BIAS, BY_WEIGHTS, BY_BIAS, PARAMETERS = range(10)
# The last row: a row of zeros, room for the gradient by the output of two layers, that by the network's input, where
# gradients of parameters begin and end, and the layer that is shown the network's input again, or -1.
ZEROS, DELTA, OTHER_DELTA, BY_INPUT, GRADIENTS, GRADIENTS_END, SKIP = range(7)

# What is asked for: outputs; gradients, given that by the outputs; or the mean absolute error and its gradients.
EVALUATE, DIFFERENTIATE, ABSOLUTE_ERROR = range(3)

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def _vector() -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), LANES)


def _load(builder: Any, place: Any) -> Any:
    return builder.load(builder.bitcast(place, _vector().as_pointer()), align=4)


def _store(builder: Any, vector: Any, place: Any) -> None:
    builder.store(vector, builder.bitcast(place, _vector().as_pointer()), align=4)


def _spread(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(_vector(), ir.Undefined)
    index = ir.IntType(32)
    first = builder.insert_element(undefined, scalar, index(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(index, LANES), [0] * LANES))


def _data(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
    return context.make_array(signature.args[0])(context, builder, arguments[0]).data


def _block_product(vectors: int) -> Any:
    """Make a product of ROWS rows and ``vectors`` vectors of columns, with its accumulators in registers.

    LLVM does not keep a block of an array in registers by itself, nor use vectors of 512 bits on every processor that
    has them, so the loop is written in its own language. All matrices are in one array; where one begins, and how far
    its rows and columns are apart, is in floats. C = max(floor, S + A B), where S may be C.
    """

    @intrinsic
    def product(
        typing_context: Any,
        s: Any,
        a: Any,
        a_row: Any,
        a_column: Any,
        b: Any,
        b_row: Any,
        start: Any,
        start_row: Any,
        c: Any,
        c_row: Any,
        depth: Any,
        floor: Any,
    ) -> Any:
        del typing_context, a, a_row, a_column, b, b_row, start, start_row, c, c_row, depth, floor
        return types.void(s, *[types.int64] * 10, types.float32), generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        data = _data(context, builder, signature, arguments)
        a, a_row, a_column, b, b_row, start, start_row, c, c_row, depth, floor = arguments[1:]
        integer, vector = ir.IntType(64), _vector()
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
        )

        def place(begin: Any, row: int, stride: Any, column: int = 0) -> Any:
            offset = builder.add(builder.mul(integer(row), stride), integer(column * LANES))
            return builder.gep(data, [builder.add(begin, offset)])

        block = [(row, column) for row in range(ROWS) for column in range(vectors)]
        begin = [_load(builder, place(start, row, start_row, column)) for row, column in block]
        before, head = builder.block, builder.append_basic_block("head")
        body, after = builder.append_basic_block("body"), builder.append_basic_block("after")
        builder.branch(head)

        builder.position_at_end(head)
        step, sums = builder.phi(integer), [builder.phi(vector) for _ in block]
        builder.cbranch(builder.icmp_signed("<", step, depth), body, after)

        builder.position_at_end(body)
        left, right = builder.add(a, builder.mul(step, a_column)), builder.add(b, builder.mul(step, b_row))
        columns = [_load(builder, place(right, 0, b_row, column)) for column in range(vectors)]
        rows = [_spread(builder, builder.load(place(left, row, a_row), align=4)) for row in range(ROWS)]
        step.add_incoming(integer(0), before)
        step.add_incoming(builder.add(step, integer(1)), body)
        for (row, column), total, first in zip(block, sums, begin, strict=True):
            total.add_incoming(first, before)
            total.add_incoming(builder.call(multiply_add, [rows[row], columns[column], total]), body)
        builder.branch(head)

        builder.position_at_end(after)
        least = _spread(builder, floor)
        for (row, column), total in zip(block, sums, strict=True):
            # An ordered comparison: NaN stays NaN, as torch's rectifier has it.
            kept = builder.select(builder.fcmp_ordered("<", total, least), least, total)
            _store(builder, kept, place(c, row, c_row, column))
        return context.get_dummy_value()

    return product


def _gate_and_add() -> Any:
    """Make a loop down LANES columns: set to 0 where the gate is not positive, and add what is left to a total."""

    @intrinsic
    def gate_and_add(typing_context: Any, s: Any, gate: Any, values: Any, row: Any, rows: Any, total: Any) -> Any:
        del typing_context, gate, values, row, rows, total
        return types.void(s, *[types.int64] * 5), generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        data = _data(context, builder, signature, arguments)
        gate, values, row, rows, total = arguments[1:]
        integer, vector = ir.IntType(64), _vector()
        zero = ir.Constant(vector, [0.0] * LANES)

        before, head = builder.block, builder.append_basic_block("head")
        body, after = builder.append_basic_block("body"), builder.append_basic_block("after")
        builder.branch(head)

        builder.position_at_end(head)
        step, sums = builder.phi(integer), [builder.phi(vector) for _ in range(ROWS)]
        builder.cbranch(builder.icmp_signed("<", step, rows), body, after)

        builder.position_at_end(body)
        step.add_incoming(integer(0), before)
        step.add_incoming(builder.add(step, integer(ROWS)), body)
        for index, part in enumerate(sums):
            offset = builder.mul(builder.add(step, integer(index)), row)
            place = builder.gep(data, [builder.add(values, offset)])
            opened = builder.fcmp_ordered(">", _load(builder, builder.gep(data, [builder.add(gate, offset)])), zero)
            kept = builder.select(opened, _load(builder, place), zero)
            _store(builder, kept, place)
            part.add_incoming(zero, before)
            part.add_incoming(builder.fadd(part, kept), body)
        builder.branch(head)

        builder.position_at_end(after)
        while len(sums) > 1:
            sums = [builder.fadd(low, high) for low, high in zip(sums[::2], sums[1::2], strict=True)]
        place = builder.gep(data, [total])
        _store(builder, builder.fadd(_load(builder, place), sums[0]), place)
        return context.get_dummy_value()

    return gate_and_add


_one_vector = _block_product(1)
_two_vectors = _block_product(2)
_gate = _gate_and_add()


@njit(nogil=True, cache=True)
def _product(
    s: Floats,
    a: int,
    a_row: int,
    a_column: int,
    b: int,
    b_row: int,
    b_panel: int,
    start: int,
    start_row: int,
    c: int,
    c_row: int,
    rows: int,
    columns: int,
    depth: int,
    floor: np.float32,
) -> None:
    """C = max(floor, S + A B), for rows and columns rounded up to whole blocks."""
    for left in range(0, columns, PANEL):
        for r in range(0, rows, ROWS):
            above, begin, into = a + r * a_row, start + r * start_row + left, c + r * c_row + left
            if columns - left > LANES:
                _two_vectors(s, above, a_row, a_column, b, b_row, begin, start_row, into, c_row, depth, floor)
            else:
                _one_vector(s, above, a_row, a_column, b, b_row, begin, start_row, into, c_row, depth, floor)
        b += b_panel


@njit(nogil=True, cache=True, error_model="numpy")
def _step(values: Floats, first: int, last: int, half: int) -> np.float32:
    """Quantiser's step for values [first, last): the largest is ``half`` steps."""
    peak = np.float32(np.finfo(np.float32).tiny)
    for i in range(first, last):
        peak = max(peak, abs(values[i]))
    step: np.float32 = np.float32(peak / np.float32(half))
    return step


@njit(nogil=True, cache=True, error_model="numpy")
def _quantised(value: np.float32, half: int, step: np.float32) -> np.float32:
    rounded: np.float32 = min(max(np.rint(value / step), np.float32(-half)), np.float32(half)) * step
    return rounded


@njit(nogil=True, cache=True)
def _pack(s: Floats, table: Ints, flat: Floats, half: int, transposed: bool) -> None:
    """Put one network's parameters into their panels, quantised if ``half``; ``transposed`` for the way back too."""
    for layer in range(len(table) - 2):
        fan_in, fan_out, begin = table[layer, FAN_IN], table[layer, FAN_OUT], table[layer, PARAMETERS]
        biases = begin + fan_in * fan_out
        step = _step(flat, begin, biases, half) if half else np.float32(1)
        for first in range(0, fan_out, PANEL):
            count = min(PANEL, fan_out - first)
            panel = table[layer, WEIGHTS] + first * fan_in
            for i in range(fan_in):
                for o in range(count):
                    value = flat[begin + i * fan_out + first + o]
                    s[panel + i * PANEL + o] = _quantised(value, half, step) if half else value
        if transposed:
            for o in range(fan_out):
                column = table[layer, WEIGHTS] + o // PANEL * PANEL * fan_in + o % PANEL
                for first in range(0, fan_in, PANEL):
                    row = table[layer, TRANSPOSED] + first * fan_out + o * PANEL
                    for i in range(min(PANEL, fan_in - first)):
                        s[row + i] = s[column + (first + i) * PANEL]
        step = _step(flat, biases, biases + fan_out, half) if half else np.float32(1)
        for o in range(fan_out):
            value = flat[biases + o]
            s[table[layer, BIAS] + o] = _quantised(value, half, step) if half else value


@njit(nogil=True, cache=True)
def _forward(s: Floats, table: Ints, points: Floats, begin: int, end: int) -> None:
    """Take a tile of points through all layers; where ``end`` comes before TILE points, the others are 0."""
    layers = len(table) - 2
    width = table[0, FAN_IN]
    for layer in range(layers):
        fan_in, stride, tile = table[layer, FAN_IN], table[layer, STRIDE], table[layer, INPUT]
        if layer in (0, table[layers + 1, SKIP]):
            column = tile + fan_in - width
            for t in range(TILE):
                for f in range(width):
                    s[column + t * stride + f] = points[begin + t, f] if begin + t < end else np.float32(0)
        floor = np.float32(0 if layer < layers - 1 else -np.inf)
        _product(
            s, tile, stride, 1, table[layer, WEIGHTS], PANEL, fan_in * PANEL, table[layer, BIAS], 0,
            table[layer + 1, INPUT], table[layer + 1, STRIDE], TILE, table[layer, FAN_OUT], fan_in, floor,
        )  # fmt: skip


@njit(nogil=True, cache=True)
def _read(s: Floats, tile: int, stride: int, rows: Floats, begin: int, end: int) -> None:
    """Copy a tile to rows [begin, end), at most."""
    for t in range(min(TILE, end - begin)):
        for i in range(rows.shape[1]):
            rows[begin + t, i] = s[tile + t * stride + i]


@njit(nogil=True, cache=True)
def _turn(s: Floats, table: Ints, given: Floats, begin: int, end: int, weight: np.float32, clamp: np.float32) -> float:
    """Put the gradient by a tile's outputs into DELTA.

    With a weight, what is given are targets, and the gradient is that of the weighted absolute errors, whose sum
    (without weight) is returned; errors beyond targets that are clamped do not count.
    """
    delta, tile, stride, total = table[-1, DELTA], table[-2, INPUT], table[-2, STRIDE], 0.0
    for i in range(TILE * stride):
        s[delta + i] = 0
    for t in range(min(TILE, end - begin)):
        for o in range(given.shape[1]):
            slope = given[begin + t, o]
            if weight:
                target = slope
                error = s[tile + t * stride + o] - target
                if abs(target) >= clamp and error * target > 0:
                    error = np.float32(0)
                total += abs(error)
                slope = weight if error > 0 else -weight if error < 0 else error * np.float32(0)  # NaN stays NaN
            s[delta + t * stride + o] = slope
            s[table[-3, BY_BIAS] + o] += slope
    return total


@njit(nogil=True, cache=True)
def _backward(s: Floats, table: Ints, of_inputs: bool) -> None:
    """Add a tile's part to the gradients, given that by the outputs in DELTA; leave that by the inputs in BY_INPUT."""
    layers = len(table) - 2
    extra = table[layers + 1]
    width, none = table[0, FAN_IN], np.float32(-np.inf)
    delta, other = extra[DELTA], extra[OTHER_DELTA]
    if of_inputs:
        for i in range(TILE * width):
            s[extra[BY_INPUT] + i] = 0
    for layer in range(layers - 1, -1, -1):
        fan_in, fan_out = table[layer, FAN_IN], table[layer, FAN_OUT]
        tile, stride, across = table[layer, INPUT], table[layer, STRIDE], table[layer + 1, STRIDE]
        slope, slope_row = table[layer, BY_WEIGHTS], (fan_out + LANES - 1) // LANES * LANES
        _product(
            s, tile, 1, stride, delta, across, PANEL, slope, slope_row, slope, slope_row, fan_in, fan_out, TILE, none
        )
        made = fan_in - width if layer in (0, extra[SKIP]) else fan_in  # by the layer before
        wanted = fan_in if of_inputs else made
        _product(
            s, delta, across, 1, table[layer, TRANSPOSED], PANEL, fan_out * PANEL, extra[ZEROS], 0,
            other, stride, TILE, wanted, fan_out, none,
        )  # fmt: skip
        if made < wanted:
            for t in range(TILE):
                for f in range(width):
                    s[extra[BY_INPUT] + t * width + f] += s[other + t * stride + made + f]
        # A rectifier's output is positive where it let its input pass.
        for i in range(0, made, LANES):
            _gate(s, tile + i, other + i, stride, TILE, table[layer - 1, BY_BIAS] + i)
        delta, other = other, delta


@njit("void(int64[:, ::1], float32[:, :, ::1], float32[:, ::1], int64, int64)", nogil=True, cache=True)
def collect(table: Ints, totals: Floats, gradients: Floats, first: int, last: int) -> None:
    """Add up the gradients of the chunks of networks [first, last), in their order; order them as parameters are.

    ``totals`` (B, chunks, ...) are overwritten; ``gradients`` (B, parameters) are written.
    """
    for network in range(first, last):
        whole = totals[network, 0]
        for part in range(1, totals.shape[1]):
            for i in range(len(whole)):
                whole[i] += totals[network, part, i]
        for layer in range(len(table) - 2):
            fan_in, fan_out, begin = table[layer, FAN_IN], table[layer, FAN_OUT], table[layer, PARAMETERS]
            padded = (fan_out + LANES - 1) // LANES * LANES
            for i in range(fan_in + 1):  # the bias comes after the last row of weights
                row = table[layer, BY_WEIGHTS] + i * padded if i < fan_in else table[layer, BY_BIAS]
                for o in range(fan_out):
                    gradients[network, begin + i * fan_out + o] = whole[row - table[-1, GRADIENTS] + o]


@njit(
    "void(int64[:, ::1], float32[::1], float32[:, ::1], int64, float32[:, :, ::1], int64, float32[:, :, ::1],"
    " float32, float64[::1], float32[:, :, ::1], float32[:, :, ::1], int64, int64, int64)",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def run(
    table: Ints,
    s: Floats,
    parameters: Floats,
    half: int,
    inputs: Floats,
    task: int,
    outputs: Floats,
    clamp: np.float32,
    errors: NDArray[np.float64],
    totals: Floats,
    by_inputs: Floats,
    chunk: int,
    first: int,
    last: int,
) -> None:
    """Do a task for units [first, last), which are chunks of points, network by network.

    ``outputs`` (B, P, O) are written if the task is EVALUATE; else they are gradients or targets. ``errors`` has a
    number for each unit, ``totals`` (B, chunks, ...) its gradients; ``by_inputs`` is empty if it is not wanted.
    """
    count, of_inputs = outputs.shape[1], by_inputs.size > 0
    chunks = max(1, (count + chunk - 1) // chunk)
    weight = np.float32(1 / (count * outputs.shape[2]) if task == ABSOLUTE_ERROR else 0)
    packed = -1
    for unit in range(first, last):
        network, part = unit // chunks, unit % chunks
        if network != packed:
            _pack(s, table, parameters[network], half, task != EVALUATE)
            packed = network
        if task != EVALUATE:
            for i in range(table[-1, GRADIENTS], table[-1, GRADIENTS_END]):
                s[i] = 0
        end = min(count, (part + 1) * chunk)
        for begin in range(part * chunk, end, TILE):
            _forward(s, table, inputs[network % len(inputs)], begin, end)
            if task == EVALUATE:
                _read(s, table[-2, INPUT], table[-2, STRIDE], outputs[network], begin, end)
                continue
            errors[unit] += _turn(s, table, outputs[network], begin, end, weight, clamp)
            _backward(s, table, of_inputs)
            if of_inputs:
                _read(s, table[-1, BY_INPUT], table[0, FAN_IN], by_inputs[network], begin, end)
        if task != EVALUATE:
            for i in range(totals.shape[2]):
                totals[network, part, i] = s[table[-1, GRADIENTS] + i]


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
