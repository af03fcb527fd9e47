"""Canonical Huffman coding of integer tensors, one code for each tensor, as in the NeCGS paper (Sec. 3.2).

This coder serves for comparison; :mod:`gcbench.entropy.range_coder` takes fewer bytes. The most significant bit of a
byte comes first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from gcbench.entropy.coder import Coder, Model, Shape3
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.entropy.coder import Symbols

MAX_CODE_BITS = 32  # a longer codeword needs ten million symbols, with Fibonacci numbers as counts
_FIRST_PREDICTION = 8  # a model stores differences of code lengths: the first one is relative to this length
_LEVEL_BITS = 13  # levels are below 2^12 + 1
_CHUNK_BYTES = 2**16  # bytes of data whose code lengths are looked up at once: bounds the memory


def code_lengths(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths of an optimal prefix code, by the method of two queues; 0 for a weight of 0, or for a single symbol.

    Where a codeword would be longer than 32 bits, the function increases small weights.

    Parameters
    ----------
    weights : (levels,) int64
        Number of occurrences of each symbol.

    Source: Huffman 1952; two queues: van Leeuwen 1976.
    """
    present = np.flatnonzero(weights)
    order = present[np.argsort(weights[present], kind="stable")]
    leaves = deque((int(weights[symbol]), i) for i, symbol in enumerate(order))
    merged: deque[tuple[int, int]] = deque()
    count = len(order)
    parents = [0] * (2 * count - 1)

    def lightest() -> tuple[int, int]:
        return leaves.popleft() if not merged or (leaves and leaves[0][0] <= merged[0][0]) else merged.popleft()

    for node in range(count, 2 * count - 1):
        (first, a), (second, b) = lightest(), lightest()
        parents[a] = parents[b] = node
        merged.append((first + second, node))
    depths = [0] * (2 * count - 1)
    for node in range(2 * count - 3, -1, -1):
        depths[node] = depths[parents[node]] + 1
    lengths = np.zeros(len(weights), np.int64)
    lengths[order] = depths[:count]
    if lengths.max() > MAX_CODE_BITS:
        return code_lengths((weights + 1) // 2)
    return lengths


class BitSink:
    """A writer of codewords of up to 32 bits."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.uint8]] = []

    def put(self, codewords: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Write codewords, (n,), with `lengths` bits, (n,)."""
        for start in range(0, len(codewords), _CHUNK_BYTES):
            part = lengths[start : start + _CHUNK_BYTES]
            ends = np.cumsum(part)
            behind = np.repeat(ends, part) - 1 - np.arange(ends[-1])  # bits of the same codeword after this one
            bits = np.repeat(codewords[start : start + _CHUNK_BYTES], part) >> behind & 1
            self._parts.append(bits.astype(np.uint8))

    def put_value(self, value: int, bits: int) -> None:
        """Write one number in `bits` bits."""
        self.put(np.array([value]), np.array([bits]))

    def length(self) -> int:
        """Bits written."""
        return sum(len(part) for part in self._parts)

    def data(self) -> bytes:
        """The written bits, filled with zero bits to whole bytes."""
        return np.packbits(np.concatenate([np.zeros(0, np.uint8), *self._parts])).tobytes()


class BitSource:
    """A reader of bits."""

    def __init__(self, data: bytes) -> None:
        self._bytes = np.frombuffer(data, np.uint8)
        self._position = 0
        self._end = 8 * len(data)

    @property
    def left(self) -> int:
        """Bits not yet read."""
        return self._end - self._position

    def get_value(self, bits: int) -> int:
        """Read one number of `bits` bits."""
        if bits > self.left:
            raise BitstreamError("the Huffman-coded data is cut short")
        first, last = self._position // 8, (self._position + bits + 7) // 8
        window = int.from_bytes(self._bytes[first:last].tobytes(), "big")
        self._position += bits
        return window >> (8 * last - self._position) & ((1 << bits) - 1)

    def get_gamma(self) -> int:
        """Read a positive number in Elias's gamma code."""
        zeros = 0
        while not self.get_value(1):
            zeros += 1
            if zeros > MAX_CODE_BITS:
                raise BitstreamError("a Huffman table that cannot be")
        return 1 << zeros | self.get_value(zeros)

    def get_symbols(self, count: int, lengths: NDArray[np.int64]) -> NDArray[np.int16]:
        """Read symbols of a complete canonical code.

        The method first finds, for all bits at once, the length of a codeword that starts at this bit. A loop over the
        symbols then only adds lengths.
        """
        used = np.sort(lengths[lengths > 0])
        by_code = np.flatnonzero(lengths)[np.argsort(lengths[lengths > 0], kind="stable")].astype(np.int16)
        left_aligned = _canonical(used) << (MAX_CODE_BITS - used)
        symbols = np.zeros(count, np.int16)
        done = 0
        while done < count:
            base = self._position // 8
            windows = self._windows(base, min(base + _CHUNK_BYTES, len(self._bytes)))
            which = np.searchsorted(left_aligned, windows, side="right") - 1
            steps = used[which].tolist()
            starts: list[int] = []
            at, stop, wanted = self._position - 8 * base, len(steps), count - done
            while at < stop and len(starts) < wanted:
                starts.append(at)
                at += steps[at]
            self._position = 8 * base + at
            if not starts or self._position > self._end:
                raise BitstreamError("the Huffman-coded data is cut short")
            symbols[done : done + len(starts)] = by_code[which[starts]]
            done += len(starts)
        return symbols

    def _windows(self, first: int, last: int) -> NDArray[np.int64]:
        """For each bit of the bytes [first, last), the 32 bits from there, then zeros: (8 (last - first),)."""
        data = np.zeros(last - first + 4, np.int64)
        available = self._bytes[first : last + 4]
        data[: len(available)] = available
        size = last - first
        five = data[:size]
        for i in range(1, 5):
            five = five << 8 | data[i : size + i]
        shifts = np.arange(8, 0, -1)
        return (five[:, None] >> shifts & 0xFFFFFFFF).reshape(-1)


def _canonical(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codewords for lengths in ascending order: each is the previous codeword plus one, shifted to its length."""
    if len(ascending) == 0:
        return np.zeros(0, np.int64)
    # In units of the longest codeword, a codeword starts where those before it end.
    starts = np.concatenate([[0], np.cumsum(1 << (MAX_CODE_BITS - ascending))[:-1]])
    codewords: NDArray[np.int64] = starts >> (MAX_CODE_BITS - ascending)
    return codewords


@dataclass(frozen=True, eq=False)
class HuffmanModel(Model[BitSink, BitSource]):
    """A prefix code, defined by code lengths; the code of a tensor with one distinct symbol has no codewords.

    Parameters
    ----------
    dims : tuple of int
        (rows, columns, taps).
    first, last : int
        The first and the last symbol that occur.
    lengths : (levels,) int64
        Bits of each codeword; 0 where a symbol does not occur.
    """

    dims: Shape3
    first: int
    last: int
    lengths: NDArray[np.int64]

    def write(self, sink: BitSink) -> None:
        """Write first and last symbol; then, for each symbol between them, whether it occurs and its code length."""
        sink.put_value(self.first, _LEVEL_BITS)
        sink.put_value(self.last, _LEVEL_BITS)
        if self.first == self.last:
            return
        previous = _FIRST_PREDICTION
        for length in self.lengths[self.first : self.last + 1].tolist():
            sink.put_value(length > 0, 1)
            if length:
                step = length - previous
                positive = 2 * step if step > 0 else 1 - 2 * step
                sink.put_value(positive, 2 * positive.bit_length() - 1)  # Elias's gamma code
                previous = length

    def encode(self, symbols: Symbols, sink: BitSink) -> None:
        """Write the symbols in memory order."""
        if self.first < self.last:
            flat = symbols.reshape(-1)
            sink.put(self._codewords[flat], self.lengths[flat])

    def decode(self, source: BitSource) -> NDArray[np.int16]:
        """Read the symbols in memory order."""
        if self.first == self.last:
            return np.full(self.dims, self.first, np.int16)
        return source.get_symbols(prod(self.dims), self.lengths).reshape(self.dims)

    def cost_bits(self, symbols: Symbols) -> float:
        """Sum of the lengths of the symbols' codewords."""
        return float(self.lengths[symbols.reshape(-1)].sum())

    @cached_property
    def _codewords(self) -> NDArray[np.int64]:
        present = np.flatnonzero(self.lengths)
        order = present[np.argsort(self.lengths[present], kind="stable")]
        codewords = np.zeros_like(self.lengths)
        codewords[order] = _canonical(self.lengths[order])
        return codewords


class HuffmanCoder(Coder[BitSink, BitSource]):
    """One canonical Huffman code for each tensor."""

    def fit(self, symbols: Symbols, levels: int, *, open_set: bool = False) -> HuffmanModel:
        """Find an optimal code for the counts; for an open set, every symbol has a codeword."""
        counts = np.bincount(symbols.reshape(-1), minlength=levels)
        if open_set:
            counts = 2 * counts + 1  # Krichevsky and Trofimov: half an occurrence more of each
        present = np.flatnonzero(counts)
        dims = (symbols.shape[1], symbols.shape[2], symbols.shape[3])
        return HuffmanModel(dims, int(present[0]), int(present[-1]), code_lengths(counts))

    def read(self, source: BitSource, shape: Shape3, levels: int, *, open_set: bool = False) -> HuffmanModel:
        """Read a code; an incomplete code is an error."""
        first, last = source.get_value(_LEVEL_BITS), source.get_value(_LEVEL_BITS)
        if not first <= last < levels:
            raise BitstreamError(f"a Huffman table from level {first} to {last} of {levels}")
        lengths = np.zeros(levels, np.int64)
        if first == last and not open_set:
            return HuffmanModel(shape, first, last, lengths)
        previous = _FIRST_PREDICTION
        for symbol in range(first, last + 1):
            if source.get_value(1):
                positive = source.get_gamma()
                previous += positive // 2 if positive % 2 == 0 else -(positive // 2)
                if not 1 <= previous <= MAX_CODE_BITS:
                    raise BitstreamError(f"a Huffman codeword of {previous} bits")
                lengths[symbol] = previous
        if (1 << (MAX_CODE_BITS - lengths[lengths > 0])).sum() != 1 << MAX_CODE_BITS:
            raise BitstreamError("a Huffman table that is not a complete prefix code")
        if open_set and not lengths.all():
            raise BitstreamError("a Huffman table that lacks symbols which later tensors may have")
        return HuffmanModel(shape, first, last, lengths)

    def sink(self) -> BitSink:
        """An empty sink."""
        return BitSink()

    def source(self, data: bytes) -> BitSource:
        """A source of bits."""
        return BitSource(data)

    def finish(self, sink: BitSink) -> bytes:
        """The sink's bits, filled with zeros to whole bytes."""
        return sink.data()

    def length_bits(self, sink: BitSink) -> float:
        """Bits written."""
        return sink.length()

    def check_exhausted(self, source: BitSource) -> None:
        """Raise BitstreamError if the unread rest is more than zeros that fill the last byte."""
        if source.left > 7 or source.get_value(source.left):
            raise BitstreamError("the Huffman-coded data does not end where its symbols do")
