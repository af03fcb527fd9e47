"""Network weights as bytes: quantised uniformly for each tensor, then range coded; or as floats, as papers count them.

The quantiser has a level at 0, so that pruned weights stay 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gcbench.entropy.container import Fields, Writer
from gcbench.entropy.range_coder import RangeCoder, RangeSink, RangeSource
from gcbench.errors import BitstreamError

Coding = Literal["range", "sparse", "float16", "float32"]

_LARGEST_STEP = 1e6
_GAP_LEVELS = 256  # gap codes; the last code stands for a run of zeros that no value follows
Arrays = list[NDArray[np.float32]]


def levels(bits: int) -> int:
    """Number of values of a symbol: an odd number, because the values are symmetric around 0."""
    return (1 << bits) - 1


def encode(tensors: Sequence[NDArray[np.float32]], coding: Coding, bits: int) -> bytes:
    """Code the tensors of one network.

    Parameters
    ----------
    tensors : sequence of (rows, columns) float32
        The decoder knows their order and shapes.
    coding : {"range", "sparse", "float16", "float32"}
        Quantised and range coded; the same, with gaps between the other values in place of zeros; plain floats.
    bits : int
        Bits of a quantised symbol, 2 to 12.
    """
    if coding in {"float16", "float32"}:
        return b"".join(np.ascontiguousarray(t, "<f2" if coding == "float16" else "<f4").tobytes() for t in tensors)
    coder, sink = RangeCoder(), RangeSink()
    scales: list[float] = []
    counts: list[int] = []
    for tensor in tensors:
        symbols, step = quantise(tensor, bits)
        scales.append(step)
        if coding == "range":
            _put(coder, sink, symbols.reshape(1, *_two(symbols.shape), 1) + levels(bits) // 2, levels(bits))
            continue
        gaps, values = _gaps(symbols.ravel())
        counts += [len(gaps), len(values)]
        for part, alphabet in ((gaps, _GAP_LEVELS), (values + levels(bits) // 2, levels(bits))):
            if len(part):
                _put(coder, sink, part.reshape(1, 1, -1, 1), alphabet)
    return Writer().floats(scales).number(*counts).raw(coder.finish(sink)).data()


def decode(data: bytes, shapes: Sequence[tuple[int, int]], coding: Coding, bits: int) -> Arrays:
    """Inverse of :func:`encode`; returns exactly the values of the encoder's quantiser.

    Raises
    ------
    BitstreamError
        The data are not the code of tensors of these shapes.
    """
    if coding in {"float16", "float32"}:
        return _floats(data, shapes, np.dtype("<f2" if coding == "float16" else "<f4"))
    fields = Fields(data)
    scales = fields.floats("scales of the weights", len(shapes)).tolist()
    if not all(0 <= scale <= _LARGEST_STEP for scale in scales):
        raise BitstreamError("a scale of the weights is not a number that training gives")
    counts = [
        (fields.number("number of gaps"), fields.number("number of weights"))
        for _ in range(len(shapes) if coding == "sparse" else 0)
    ]
    coder = RangeCoder()
    source = coder.source(fields.rest())
    tensors = []
    for index, (shape, step) in enumerate(zip(shapes, scales, strict=True)):
        if coding == "range":
            symbols = coder.read(source, (*shape, 1), levels(bits)).decode(source).astype(np.int64).reshape(shape)
            symbols = symbols - levels(bits) // 2
        else:
            symbols = _read_sparse(coder, source, counts[index], shape, bits)
        tensors.append(dequantise(symbols, step))
    coder.check_exhausted(source)
    return tensors


def quantised(tensors: Sequence[NDArray[np.float32]], coding: Coding, bits: int) -> Arrays:
    """The tensors that the decoder will return, computed without the bytes."""
    if coding == "float32":
        return [np.array(t, np.float32) for t in tensors]
    if coding == "float16":
        return [np.asarray(t, np.float16).astype(np.float32) for t in tensors]
    return [dequantise(*quantise(t, bits)) for t in tensors]


def quantise(tensor: NDArray[np.float32], bits: int) -> tuple[NDArray[np.int64], float]:
    """Symbols in [-half, half] of a tensor, half = levels // 2, and the step: a value is symbol times step."""
    half = levels(bits) // 2
    peak = float(np.abs(tensor).max(initial=0.0))
    step = np.float32(max(peak, float(np.finfo(np.float32).tiny)) / half)
    symbols = np.clip(np.rint(np.asarray(tensor, np.float64) / float(step)), -half, half).astype(np.int64)
    return symbols, float(step)


def dequantise(symbols: NDArray[np.integer], step: float) -> NDArray[np.float32]:
    """Inverse of :func:`quantise`."""
    return (symbols.astype(np.float32) * np.float32(step)).astype(np.float32)


def _put(coder: RangeCoder, sink: RangeSink, symbols: NDArray[np.int64], alphabet: int) -> None:
    model = coder.fit(symbols, alphabet)
    model.write(sink)
    model.encode(symbols[0], sink)


def _gaps(symbols: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of zeros before each non-zero value, in codes below 256, and the non-zero values."""
    places = np.flatnonzero(symbols)
    zeros = np.diff(places, prepend=-1) - 1
    long = zeros // (_GAP_LEVELS - 1)
    codes = np.full(int(long.sum()) + len(zeros), _GAP_LEVELS - 1, np.int64)
    codes[np.cumsum(long + 1) - 1] = zeros % (_GAP_LEVELS - 1)
    return codes, symbols[places]


def _read_sparse(
    coder: RangeCoder, source: RangeSource, numbers: tuple[int, int], shape: tuple[int, int], bits: int
) -> NDArray[np.int64]:
    gap_count, value_count = numbers
    size = prod(shape)
    most_gaps = value_count + size // (_GAP_LEVELS - 1) if value_count else 0
    if not value_count <= gap_count <= most_gaps or value_count > size:
        raise BitstreamError("the counts of sparse weights contradict each other")
    dense = np.zeros(size, np.int64)
    if not gap_count:
        return dense.reshape(shape)
    gaps = coder.read(source, (1, gap_count, 1), _GAP_LEVELS).decode(source).astype(np.int64).ravel()
    values = coder.read(source, (1, value_count, 1), levels(bits)).decode(source).astype(np.int64).ravel()
    ends = gaps < _GAP_LEVELS - 1
    places = np.cumsum(gaps + ends)[ends] - 1
    if ends.sum() != value_count or places[-1] >= size:
        raise BitstreamError("sparse weights that lie outside their tensor")
    dense[places] = values - levels(bits) // 2
    return dense.reshape(shape)


def _floats(data: bytes, shapes: Sequence[tuple[int, int]], kind: np.dtype[np.floating]) -> Arrays:
    sizes = [prod(shape) for shape in shapes]
    if len(data) != sum(sizes) * kind.itemsize:
        raise BitstreamError(f"{len(data)} bytes of weights, not {sum(sizes) * kind.itemsize}")
    flat = np.frombuffer(data, kind).astype(np.float32)
    if not np.isfinite(flat).all():
        raise BitstreamError("a weight is not finite")
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _two(shape: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = shape
    return rows, columns
