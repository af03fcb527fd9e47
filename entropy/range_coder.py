"""Range coding of integer tensors with constriction, under tables that both sides know before the first symbol.

The model of a tensor is a generalised Gaussian with a scale that varies by row, column and tap, or a histogram: the
coder takes the model with fewer bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import constriction
import numpy as np

from gcbench.entropy.budget import check_budget
from gcbench.entropy.coder import Coder, Model, Shape3
from gcbench.entropy.tables import (
    LOCATION_STEPS,
    PRECISION,
    SCALE_OF_ONE,
    SCALES,
    SHAPES,
    STEPS_PER_OCTAVE,
    bell_frequencies,
    frequencies,
    histogram_frequencies,
)
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.entropy.coder import Symbols

_FACTOR_MAX = 16  # a row, column or tap has a scale at most 2^(±16/4) times the tensor's
_COUNT_CODE_MAX = 255
_BELL, _HISTOGRAM = 0, 1  # first byte of a model
# A likely symbol takes 2^-15 bits, so that a few bytes can hold any number of symbols. A source gives this many, which
# take half a second; the largest of our networks has a fifth of the free symbols.
_FREE_SYMBOLS, _SYMBOLS_PER_BYTE = 1 << 22, 1 << 10


# --- constriction ----------------------------------------------------------------------------------------------------

_FAMILY = constriction.stream.model.Categorical(perfect=False)  # of models with frequencies of their own


def categorical(table: NDArray[np.int64]) -> Any:
    """Make constriction's model with exactly these frequencies.

    Constriction scales weights to the sum 2^24 - levels and adds 1 to each; our weights have this sum: the scale is 1.
    """
    return constriction.stream.model.Categorical((table - 1).astype(np.float64), perfect=False)


@cache
def _byte_model() -> Any:
    return categorical(frequencies(np.ones(256, np.int64)))


class RangeSink:
    """A writer of symbols."""

    def __init__(self) -> None:
        self._encoder: Any = constriction.stream.queue.RangeEncoder()

    def put(self, symbols: Symbols, categorical: Any) -> None:
        """Write symbols under a model of :func:`categorical`."""
        self._encoder.encode(np.ascontiguousarray(symbols, np.int32), categorical)

    def put_each(self, symbols: Symbols, tables: NDArray[np.int64]) -> None:
        """Write n symbols, each under its own frequencies: a row of (n, levels)."""
        self._encoder.encode(np.ascontiguousarray(symbols, np.int32), _FAMILY, (tables - 1).astype(np.float64))

    def put_bytes(self, *values: int) -> None:
        """Write bytes."""
        self.put(np.array(values), _byte_model())

    def information_bits(self) -> float:
        """Information of the written symbols: whole words, and the narrowing of the range since the last word."""
        words, (_, width) = self._encoder.pos()
        return float(32 * words + 64 - np.log2(float(width)))

    def words(self) -> NDArray[np.uint32]:
        """The words written so far."""
        compressed: NDArray[np.uint32] = self._encoder.get_compressed()
        return compressed


class RangeSource:
    """A reader of symbols that also encodes the symbols again, to check the stream.

    A range decoder decodes any words and does not find their proper end. A comparison of the words from the second
    encoding with the given words finds all errors; encoding takes a fifth of the time of decoding.

    A source refuses to give more symbols than its bytes justify: 2^22 symbols, and 2^10 for each byte.
    """

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self._given_symbols, self._most_symbols = 0, _FREE_SYMBOLS + _SYMBOLS_PER_BYTE * words.nbytes
        self._decoder: Any = constriction.stream.queue.RangeDecoder(words)
        self._given = words
        self._again = RangeSink()

    def get(self, count: int, categorical: Any) -> NDArray[np.int32]:
        """Read symbols that were written under the same model."""
        self._take(count)
        try:
            symbols: NDArray[np.int32] = self._decoder.decode(categorical, count)
        except AssertionError as error:  # constriction's error for words that code no symbol
            raise BitstreamError("the range-coded data is corrupt") from error
        self._again.put(symbols, categorical)
        return symbols

    def get_each(self, tables: NDArray[np.int64]) -> NDArray[np.int32]:
        """Read symbols that were written by :meth:`RangeSink.put_each` under the same tables."""
        self._take(len(tables))
        try:
            symbols: NDArray[np.int32] = self._decoder.decode(_FAMILY, (tables - 1).astype(np.float64))
        except AssertionError as error:
            raise BitstreamError("the range-coded data is corrupt") from error
        self._again.put_each(symbols, tables)
        return symbols

    def get_bytes(self, count: int) -> list[int]:
        """Read bytes."""
        return [int(value) for value in self.get(count, _byte_model())]

    def _take(self, count: int) -> None:
        """Refuse to decode more symbols than the source may give."""
        self._given_symbols += count
        check_budget("symbols", self._given_symbols, self._most_symbols)

    def exhausted(self) -> bool:
        """Whether the given words are exactly the code of the symbols read so far."""
        return np.array_equal(self._given, self._again.words())


def put_small(sink: RangeSink, values: NDArray[np.int64], bound: int) -> None:
    """Write integers in [-bound, bound], mostly near 0, under the Laplace table with the fewest bits."""
    levels = 2 * bound + 1
    counts = np.bincount(values + bound, minlength=levels)
    tables = [bell_frequencies(levels, bound * LOCATION_STEPS, 4, scale) for scale in range(SCALES)]
    scale = int(np.argmax([counts @ np.log2(table) for table in tables]))
    sink.put_bytes(scale)
    sink.put(values + bound, categorical(tables[scale]))


def get_small(source: RangeSource, count: int, bound: int) -> NDArray[np.int64]:
    """Read integers that :func:`put_small` wrote."""
    (scale,) = source.get_bytes(1)
    if scale >= SCALES:
        raise BitstreamError(f"a model has scale {scale} of {SCALES}")
    table = bell_frequencies(2 * bound + 1, bound * LOCATION_STEPS, 4, scale)
    return source.get(count, categorical(table)).astype(np.int64) - bound


# --- Models ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BellModel(Model[RangeSink, RangeSource]):
    """Generalised Gaussians of one location and shape, with a scale that is a product over the axes.

    After training, the weights of one output channel (and, in late layers, of one input channel or one tap of the
    kernel) have similar magnitudes, which differ from the next channel's. A scale for each channel costs two or three
    bits and saves more than any better description of the histogram of the whole tensor.

    Parameters
    ----------
    dims : tuple of int
        (rows, columns, taps).
    levels, location, shape, scale : int
        Parameters of :func:`bell_frequencies`; the scale is the tensor's.
    factors : tuple of three (dims[i],) int64
        Steps to add to the scale for each row, column and tap.
    """

    dims: Shape3
    levels: int
    location: int
    shape: int
    scale: int
    factors: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

    def write(self, sink: RangeSink) -> None:
        """Write kind and axes with factors, location, shape, scale; then the factors of those axes."""
        used = [bool(factor.any()) for factor in self.factors]
        sink.put_bytes(
            _BELL + 2 * used[0] + 4 * used[1] + 8 * used[2],
            self.location % 256,
            self.location // 256,
            SHAPES.index(self.shape),
            self.scale,
        )
        for factor, is_used in zip(self.factors, used, strict=True):
            if is_used:
                put_small(sink, factor, _FACTOR_MAX)

    def encode(self, symbols: Symbols, sink: RangeSink) -> None:
        """Write the symbols sorted by scale; symbols of one scale keep their order in memory."""
        ordered = symbols.reshape(-1)[self._order]
        for start, stop, table in self._runs:
            sink.put(ordered[start:stop], categorical(table))

    def decode(self, source: RangeSource) -> NDArray[np.int16]:
        """Read the symbols sorted by scale and put each symbol in its place."""
        ordered = np.zeros(prod(self.dims), np.int16)
        for start, stop, table in self._runs:
            ordered[start:stop] = source.get(stop - start, categorical(table))
        symbols = np.zeros_like(ordered)
        symbols[self._order] = ordered
        return symbols.reshape(self.dims)

    def cost_bits(self, symbols: Symbols) -> float:
        """Information of the symbols under the tables of their places, in bits."""
        ordered = symbols.reshape(-1, prod(self.dims))[:, self._order]
        bits = 0.0
        for start, stop, table in self._runs:
            counts = np.bincount(ordered[:, start:stop].reshape(-1), minlength=self.levels)
            bits += float(counts @ (PRECISION - np.log2(table)))
        return bits

    @cached_property
    def _scales(self) -> NDArray[np.int8]:
        """Scale at each place, flat."""
        rows, columns, taps = self.factors
        total = self.scale + rows[:, None, None] + columns[:, None] + taps
        scales: NDArray[np.int8] = np.clip(total, 0, SCALES - 1).astype(np.int8).reshape(-1)
        return scales

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """Places sorted by scale; places of one scale keep their order in memory."""
        return np.argsort(self._scales, kind="stable")

    @cached_property
    def _runs(self) -> list[tuple[int, int, NDArray[np.int64]]]:
        """For each scale that occurs: its start and stop in the order, and its table."""
        counts = np.bincount(self._scales, minlength=SCALES)
        stops = np.cumsum(counts)
        runs = []
        for scale in np.flatnonzero(counts):
            table = bell_frequencies(self.levels, self.location, self.shape, int(scale))
            runs.append((int(stops[scale] - counts[scale]), int(stops[scale]), table))
        return runs


@dataclass(frozen=True, eq=False)
class HistogramModel(Model[RangeSink, RangeSource]):
    """One table for the whole tensor, stored level by level."""

    dims: Shape3
    levels: int
    first: int
    codes: NDArray[np.int64]

    def write(self, sink: RangeSink) -> None:
        """Write kind, first and last level; then each code as its difference from the previous code."""
        last = self.first + len(self.codes) - 1
        sink.put_bytes(_HISTOGRAM, self.first % 256, self.first // 256, last % 256, last // 256)
        put_small(sink, np.diff(self.codes, prepend=0), _COUNT_CODE_MAX)

    def encode(self, symbols: Symbols, sink: RangeSink) -> None:
        """Write the symbols in memory order."""
        sink.put(symbols.reshape(-1), self._model)

    def decode(self, source: RangeSource) -> NDArray[np.int16]:
        """Read the symbols in memory order."""
        return source.get(prod(self.dims), self._model).astype(np.int16).reshape(self.dims)

    def cost_bits(self, symbols: Symbols) -> float:
        """Information of the symbols under the table."""
        counts = np.bincount(symbols.reshape(-1), minlength=self.levels)
        return float(counts @ (PRECISION - np.log2(self._table)))

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        return histogram_frequencies(self.codes, self.first, self.levels)

    @cached_property
    def _model(self) -> Any:
        return categorical(self._table)


# --- Fitting ---------------------------------------------------------------------------------------------------------


def _fit_histogram(symbols: Symbols, levels: int) -> HistogramModel:
    counts = np.bincount(symbols.reshape(-1), minlength=levels)
    present = np.flatnonzero(counts)
    counts = counts[present[0] : present[-1] + 1]
    codes = np.where(counts > 0, 1 + np.rint(8 * np.log2(np.maximum(counts, 1))), 0).astype(np.int64)
    dims = (symbols.shape[1], symbols.shape[2], symbols.shape[3])
    return HistogramModel(dims, levels, int(present[0]), np.minimum(codes, _COUNT_CODE_MAX))


def _fit_bell(symbols: Symbols, levels: int, axes: tuple[int, ...]) -> BellModel:
    """Find the best shape, and scales by alternating maximum likelihood along the axes.

    At given other factors, the likelihood of a generalised Gaussian is greatest for s^β = β · mean |q - μ|^β along
    the axis (Nadarajah, A generalized normal distribution, 2005).
    """
    dims = (symbols.shape[1], symbols.shape[2], symbols.shape[3])
    location = int(np.rint(symbols.mean() * LOCATION_STEPS))
    distance = np.abs(np.arange(levels) - location / LOCATION_STEPS)
    distance = np.maximum(distance, 0.28)  # the root mean square distance within the level that has μ
    best: BellModel | None = None
    fewest = np.inf
    for shape in SHAPES:
        beta = shape / 4
        powers = (distance**beta).astype(np.float32)[symbols].mean(axis=0, dtype=np.float64)
        tensor_scale = round(_steps(powers.mean(), beta))
        factors = [np.zeros(size, np.int64) for size in dims]
        for axis in axes * 2 if len(axes) > 1 else axes:
            factors[axis][:] = 0
            others = factors[0][:, None, None] + factors[1][:, None] + factors[2]
            means = (powers * np.exp2(-beta / STEPS_PER_OCTAVE * others)).mean(tuple({0, 1, 2} - {axis}))
            steps = np.rint(_steps(means, beta)) - tensor_scale
            factors[axis] = np.clip(steps, -_FACTOR_MAX, _FACTOR_MAX).astype(np.int64)
        scale = int(np.clip(tensor_scale, 0, SCALES - 1))
        model = BellModel(dims, levels, location, shape, scale, (factors[0], factors[1], factors[2]))
        bits = model.cost_bits(symbols)
        if bits < fewest:
            best, fewest = model, bits
    assert best is not None
    return best


def _steps(mean_power: Any, beta: float) -> Any:
    """Index, not rounded, of the scale for a mean of |q - μ|^β."""
    return STEPS_PER_OCTAVE / beta * np.log2(beta * mean_power) + SCALE_OF_ONE


class RangeCoder(Coder[RangeSink, RangeSource]):
    """Range coding under the cheapest of a few models."""

    def fit(self, symbols: Symbols, levels: int, *, open_set: bool = False) -> Model[RangeSink, RangeSource]:
        """Find the cheapest model: a histogram, or a bell without factors, with factors by row, or on every axis."""
        del open_set  # no table has a zero
        long = [axis for axis in range(3) if symbols.shape[axis + 1] > 1]
        candidates: list[Model[RangeSink, RangeSource]] = [
            _fit_histogram(symbols, levels),
            _fit_bell(symbols, levels, ()),
            _fit_bell(symbols, levels, tuple(long[:1])),
        ]
        if len(long) > 1:
            candidates.append(_fit_bell(symbols, levels, tuple(long)))
        return min(candidates, key=lambda model: self.model_bits(model) + model.cost_bits(symbols))

    def read(
        self, source: RangeSource, shape: Shape3, levels: int, *, open_set: bool = False
    ) -> Model[RangeSink, RangeSource]:
        """Read a model of either kind."""
        del open_set
        (kind,) = source.get_bytes(1)
        if kind == _HISTOGRAM:
            low, high, last_low, last_high = source.get_bytes(4)
            first, last = low + 256 * high, last_low + 256 * last_high
            if not first <= last < levels:
                raise BitstreamError(f"a histogram from level {first} to {last} of {levels}")
            codes = np.cumsum(get_small(source, last - first + 1, _COUNT_CODE_MAX))
            if codes.min() < 0 or codes.max() > _COUNT_CODE_MAX or not codes.any():
                raise BitstreamError("a histogram that cannot be")
            return HistogramModel(shape, levels, first, codes)
        if kind > 14 or kind % 2:
            raise BitstreamError(f"an entropy model of unknown kind {kind}")
        low, high, shape_index, scale = source.get_bytes(4)
        location = low + 256 * high
        if location > (levels - 1) * LOCATION_STEPS or shape_index >= len(SHAPES) or scale >= SCALES:
            raise BitstreamError("an entropy model with parameters out of range")
        factors = [
            get_small(source, size, _FACTOR_MAX) if kind & 2 << axis else np.zeros(size, np.int64)
            for axis, size in enumerate(shape)
        ]
        return BellModel(shape, levels, location, SHAPES[shape_index], scale, (factors[0], factors[1], factors[2]))

    def sink(self) -> RangeSink:
        """An empty sink."""
        return RangeSink()

    def source(self, data: bytes) -> RangeSource:
        """A source of little-endian words."""
        if len(data) % 4:
            raise BitstreamError("range-coded data is not a whole number of words")
        return RangeSource(np.frombuffer(data, "<u4").astype(np.uint32))

    def finish(self, sink: RangeSink) -> bytes:
        """Little-endian words."""
        return sink.words().astype("<u4").tobytes()

    def length_bits(self, sink: RangeSink) -> float:
        """Information in the sink."""
        return sink.information_bits()

    def check_exhausted(self, source: RangeSource) -> None:
        """Raise BitstreamError if the source's words are not the code of the symbols read."""
        if not source.exhausted():
            raise BitstreamError("the range-coded data does not end where its symbols do")
