"""Coding of the rounded features of an octree, level by level.

A level of few corners has one distribution a channel, in tables that are told; in a level of many, what is around a
corner says more than its table costs, and features are coded with mixed contexts. Knows integers only, so that every
machine decodes the same. Imports numba, so it is itself imported where it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gcbench.codecs.pcgcv2.features import ESCAPE, FIRST, Tables
from gcbench.codecs.pcgcv2.mixed_features import decode_mixed_features, encode_mixed_features
from gcbench.entropy.range_coder import SCALES, STEPS_PER_OCTAVE, RangeCoder, bell_frequencies
from gcbench.errors import BitstreamError

Symbols = NDArray[np.int64]

LARGEST = 2047  # of a feature's magnitude: what a table can hold
_MANY = 2000  # corners: on an AMA frame, contexts cost 11 % more for 1 859 of them, and 12 % less for 7 562
_LENGTH = struct.Struct("<I")
_PEAK = struct.Struct("<H")
_LAPLACE = 4  # the shape, in quarters


def encode_features(levels: Sequence[Symbols], corners: Sequence[NDArray[np.int32]]) -> bytes:
    """Code the features of all corners.

    Parameters
    ----------
    levels : sequence of (corners, C) int
        Features within ±LARGEST, coarsest level first.
    corners : sequence of (corners, 3) int32
        Where they are, sorted.
    """
    coder, sink, peaks, mixed = RangeCoder(), RangeCoder().sink(), [], []
    for symbols, places in zip(levels, corners, strict=True):
        if _is_large(places):
            scale = _scale(symbols)
            data = encode_mixed_features(symbols, places, _tables(scale, symbols.shape[1]))
            mixed.append(bytes([scale]) + _LENGTH.pack(len(data)) + data)
            continue
        peak = int(np.abs(symbols).max())
        peaks.append(_PEAK.pack(peak))
        if peak:
            tensor = (symbols.T + peak)[None, :, :, None]
            model = coder.fit(tensor, 2 * peak + 1)
            model.write(sink)
            model.encode(tensor[0], sink)
    words = coder.finish(sink)
    return b"".join([*peaks, _LENGTH.pack(len(words)), words, *mixed])


def decode_features(data: bytes, corners: Sequence[NDArray[np.int32]], channels: int) -> tuple[list[Symbols], bytes]:
    """Inverse of :func:`encode_features`; also what is left of the data.

    Raises
    ------
    BitstreamError
        Not features of these corners.
    """
    reader = _Reader(data)
    small = sum(not _is_large(places) for places in corners)
    peaks = [_PEAK.unpack(reader.take(_PEAK.size))[0] for _ in range(small)]
    if max(peaks, default=0) > LARGEST:
        raise BitstreamError("features beyond what a table can hold")
    coder = RangeCoder()
    source = coder.source(reader.block())
    levels = []
    for places in corners:
        if _is_large(places):
            (scale,) = reader.take(1)
            if scale >= SCALES:
                raise BitstreamError(f"features of scale {scale} of {SCALES}")
            symbols = decode_mixed_features(reader.block(), places, _tables(scale, channels)).astype(np.int64)
            if np.abs(symbols).max() > LARGEST:
                raise BitstreamError("a feature is out of range")
            levels.append(symbols)
            continue
        peak = peaks.pop(0)
        shape = (channels, len(places), 1)
        if not peak:
            levels.append(np.zeros((len(places), channels), np.int64))
            continue
        found = coder.read(source, shape, 2 * peak + 1).decode(source)
        levels.append(found[..., 0].T.astype(np.int64) - peak)
    coder.check_exhausted(source)
    return levels, reader.rest()


def _is_large(places: NDArray[np.int32]) -> bool:
    return len(places) >= _MANY


def _scale(symbols: Symbols) -> int:
    """Index of the scale of the Laplace distribution with the mean magnitude of the symbols."""
    return int(np.clip(np.rint(16 + STEPS_PER_OCTAVE * np.log2(np.abs(symbols).mean() + 1e-3)), 0, SCALES - 1))


def _tables(scale: int, channels: int) -> Tables:
    """What the mixture starts from: a Laplace distribution, the same for all channels; 2^16 in all."""
    table = bell_frequencies(ESCAPE, -8 * FIRST, _LAPLACE, scale) >> 8
    table = np.append(table, 1)
    table[-FIRST] += (1 << 16) - table.sum()
    return np.tile(table.astype(np.uint16), (channels, 1))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) < count:
            raise BitstreamError("the features end too early")
        self._at += count
        return part

    def block(self) -> bytes:
        return self.take(_LENGTH.unpack(self.take(_LENGTH.size))[0])

    def rest(self) -> bytes:
        return self._data[self._at :]
