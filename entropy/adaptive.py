"""A compiled range coder: codes intervals of [0, 2^16] that its callers' models choose, in integer arithmetic.

All machines write the same bytes. This module imports numba, so other modules import it inside functions.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

PRECISION = 16  # an interval is [low, high) with 0 ≤ low < high ≤ 2^16
TAIL = 5  # bytes that a decoder reads ahead, and the most that end a stream
STEP_BYTES = 3  # the most bytes that one interval adds to a stream

# The coder's state is three numbers: the low end of its range (decoder: the code's distance from it), the width of the
# range in [2^32, 2^40], and the bytes written (read). Forty bits lose less than 2^-16 of an interval to rounding, and
# leave a product with a 16-bit frequency within 63 bits.
_WIDTH_BITS = 40
_LOW, _WIDTH, POSITION = 0, 1, 2
_FULL = 1 << _WIDTH_BITS
_RENORMALISE = 1 << (_WIDTH_BITS - 8)


@njit(nogil=True, cache=True)
def start_encoder() -> Ints:
    """Make the state of an encoder."""
    return np.array([0, _FULL, 0], np.int64)


@njit(nogil=True, cache=True)
def roomy(out: Bytes, state: Ints, steps: int) -> Bytes:
    """Return `out`, or a longer copy of `out` if its unused part may be too short for `steps` intervals."""
    needed = state[POSITION] + STEP_BYTES * steps + TAIL
    if needed <= len(out):
        return out
    longer = np.zeros(2 * needed, np.uint8)
    longer[: state[POSITION]] = out[: state[POSITION]]
    return longer


@njit(nogil=True, cache=True)
def encode(state: Ints, out: Bytes, low: int, high: int) -> None:
    """Code one interval; `out` must have room for the interval, see :func:`roomy`."""
    unit = state[_WIDTH] >> PRECISION
    state[_LOW] += unit * low
    state[_WIDTH] = unit * (high - low)
    while state[_WIDTH] < _RENORMALISE:
        _put(state, out)
        state[_WIDTH] <<= 8


@njit(nogil=True, cache=True)
def _put(state: Ints, out: Bytes) -> None:
    """Move the top byte of the low end to `out`, and add its carry to the previous bytes."""
    position = state[POSITION]
    if state[_LOW] >= _FULL:
        state[_LOW] -= _FULL
        before = position - 1
        while out[before] == 255:
            out[before] = 0
            before -= 1
        out[before] += 1
    out[position] = state[_LOW] >> (_WIDTH_BITS - 8)
    state[_LOW] = (state[_LOW] << 8) & (_FULL - 1)
    state[POSITION] = position + 1


@njit(nogil=True, cache=True)
def finish(state: Ints, out: Bytes) -> Bytes:
    """End a stream with the fewest bytes that identify the range; the decoder reads zeros after them."""
    end = state[_LOW] + state[_WIDTH]
    shift, value = _WIDTH_BITS, _rounded_up(state[_LOW], _WIDTH_BITS)
    while value >= end:
        shift -= 8
        value = _rounded_up(state[_LOW], shift)
    state[_LOW] = value
    length = state[POSITION] + (_WIDTH_BITS - shift) // 8
    _put(state, out)  # this call also adds the carry, even if the stream drops the byte
    while state[POSITION] < length:
        _put(state, out)
    return out[:length].copy()


@njit(nogil=True, cache=True)
def _rounded_up(value: int, bits: int) -> int:
    """Round up to a multiple of 2^bits."""
    return ((value + (1 << bits) - 1) >> bits) << bits


@njit(nogil=True, cache=True)
def start_decoder(data: Bytes) -> Ints:
    """Make the state of a decoder."""
    state = np.array([0, _FULL, 0], np.int64)
    for _ in range(TAIL):
        _take(state, data)
    return state


@njit(nogil=True, cache=True)
def _take(state: Ints, data: Bytes) -> None:
    position = state[POSITION]
    byte = np.int64(data[position]) if position < len(data) else np.int64(0)
    state[_LOW] = ((state[_LOW] << 8) | byte) & (_FULL - 1)  # a valid code is below the width: the mask keeps it
    state[POSITION] = position + 1


@njit(nogil=True, cache=True)
def peek(state: Ints) -> int:
    """Return which of the 2^16 units the code lies in; the next symbol is the one whose interval has this unit."""
    return int(min(state[_LOW] // (state[_WIDTH] >> PRECISION), (1 << PRECISION) - 1))


@njit(nogil=True, cache=True)
def consume(state: Ints, data: Bytes, low: int, high: int) -> None:
    """Remove the interval of the decoded symbol from the code."""
    unit = state[_WIDTH] >> PRECISION
    state[_LOW] -= unit * low
    state[_WIDTH] = unit * (high - low)
    while state[_WIDTH] < _RENORMALISE:
        _take(state, data)
        state[_WIDTH] <<= 8


@njit(nogil=True, cache=True)
def overrun(state: Ints, data: Bytes) -> bool:
    """Whether the decoder has read more bytes than a valid stream has: the stream is cut short or invalid."""
    return bool(state[POSITION] > len(data) + TAIL)


@njit(nogil=True, cache=True)
def ends_here(state: Ints, data: Bytes) -> bool:
    """Whether the number of bytes read fits a stream that ends after the last decoded symbol."""
    return bool(len(data) <= state[POSITION] <= len(data) + TAIL)
