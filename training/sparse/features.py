"""Codes the quantised latent features as published, with one table for each channel; tables ship with the weights.

Coding uses integers only and no network: rounding differences between machines cannot corrupt a decoded feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.entropy.budget import check_budget
from gcbench.entropy.range_coder import RangeCoder, RangeSink, categorical
from gcbench.entropy.tables import frequencies
from gcbench.entropy.voxel_features import FIRST, LARGEST, LAST

if TYPE_CHECKING:
    from gcbench.training.sparse.bottleneck import FactorizedBottleneck

ESCAPE = LAST - FIRST + 1  # the symbol of every feature that is not in FIRST … LAST
_TOTAL = 1 << 16
_OFFSET = 1 << 15  # added to an escaped feature, so that its two bytes are not negative

Tables = NDArray[np.uint16]


def frequency_tables(bottleneck: FactorizedBottleneck) -> Tables:
    """The tables of the distributions of an entropy model."""
    return tables_of(np.diff(bottleneck.cdf(FIRST, LAST).numpy(), axis=1).clip(0))


def tables_of(mass: NDArray[np.floating]) -> Tables:
    """Turn probabilities into frequencies out of 2^16, the form in files of weights.

    Parameters
    ----------
    mass : (C, 256) float
        Probabilities of the features −128 … 127; the escape has the rest.

    Returns
    -------
    (C, 257) uint16
        Frequencies of the features −128 … 127, and of the escape; each row adds up to 2^16.
    """
    shares = np.zeros((len(mass), ESCAPE + 1), np.int64)
    shares[:, :ESCAPE] = np.rint(mass * _TOTAL)
    shares[:, ESCAPE] = np.maximum(_TOTAL - shares[:, :ESCAPE].sum(1), 1)
    likeliest = shares[:, :ESCAPE].argmax(1)
    shares[np.arange(len(mass)), likeliest] -= shares.sum(1) - _TOTAL
    return checked(shares.astype(np.uint16))


def checked(tables: Tables) -> Tables:
    """Return the tables if they are valid.

    Raises
    ------
    ValueError
        The shape is wrong, a row does not add up to 2^16, or an escape has the frequency 0.
    """
    if tables.ndim != 2 or tables.shape[1] != ESCAPE + 1 or tables.dtype != np.uint16:
        raise ValueError(f"an array of {tables.dtype}, {tables.shape} is not a set of frequency tables")
    if (tables.sum(1, dtype=np.int64) != _TOTAL).any() or not tables[:, ESCAPE].all():
        raise ValueError("the frequencies of a table do not add up")
    return tables


def encode_features(features: NDArray[np.integer], tables: Tables) -> bytes:
    """Code quantised features, channel by channel, then the escaped features as two bytes each.

    Parameters
    ----------
    features : (M, C) int
        Within ±32767.
    tables : (C, 257) uint16
        See `frequency_tables`.

    Raises
    ------
    ValueError
        A feature is out of range, or the shapes do not fit.
    """
    values = np.asarray(features, np.int64)
    if values.ndim != 2 or values.shape[1] != len(tables):
        raise ValueError(f"features of shape {values.shape} do not fit {len(tables)} tables")
    if np.abs(values).max(initial=0) > LARGEST:
        raise ValueError(f"a feature is not within ±{LARGEST}")
    symbols = np.where((values < FIRST) | (values > LAST), ESCAPE, values - FIRST)
    sink = RangeSink()
    for channel, table in zip(symbols.T, _coding_tables(tables), strict=True):
        sink.put(channel, categorical(table))
    escaped = values[symbols == ESCAPE] + _OFFSET
    sink.put_bytes(*(escaped >> 8), *(escaped & 255))
    return RangeCoder().finish(sink)


def decode_features(stream: bytes, count: int, tables: Tables) -> NDArray[np.int32]:
    """Decode quantised features.

    Returns
    -------
    (count, C) int32

    Raises
    ------
    BitstreamError
        The stream is short, or continues after the last feature.
    """
    # A feature takes at least 2^-15.5 bits, because a probability is at most 1 - 2^-16.
    check_budget("features", count * len(tables), (len(stream) + 8) << 19)
    coder = RangeCoder()
    source = coder.source(stream)
    symbols = np.stack([source.get(count, categorical(table)) for table in _coding_tables(tables)], axis=1)
    values = symbols + FIRST
    escapes = symbols == ESCAPE
    high, low = np.array(source.get_bytes(2 * int(escapes.sum())), np.int32).reshape(2, -1)
    values[escapes] = (high << 8 | low) - _OFFSET
    coder.check_exhausted(source)
    return values


def _coding_tables(tables: Tables) -> NDArray[np.int64]:
    """Frequencies out of 2^24 for the range coder; a frequency of 0 becomes 1."""
    return frequencies(tables.astype(np.int64))
