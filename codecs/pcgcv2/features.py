"""Coding of the quantised latent features with integer tables, which ship with the weights.

Knows integers and, to make the tables once, the entropy model. Coding never evaluates a network: what two machines
round differently cannot bring encoder and decoder apart. Imports numba, so it is itself imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gcbench.entropy.adaptive import (
    Bytes,
    Ints,
    consume,
    encode,
    ends_here,
    finish,
    overrun,
    peek,
    roomy,
    start_decoder,
    start_encoder,
)
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from gcbench.codecs.pcgcv2.bottleneck import FactorizedBottleneck

FIRST, LAST = -128, 127  # features that the tables can hold; any other is escaped
ESCAPE = LAST - FIRST + 1
LARGEST = (1 << 15) - 1  # of an escaped feature's magnitude
_TOTAL = 1 << 16
_BYTE = _TOTAL >> 8  # the interval of one of 256 equally likely values

Tables = NDArray[np.uint16]


def frequency_tables(bottleneck: FactorizedBottleneck) -> Tables:
    """Turn the distributions of an entropy model into frequencies out of 2^16.

    A feature too rare for a share of 2^-17 has none, and is escaped; the escape has at least one.

    Returns
    -------
    (C, 257) uint16
        Of the features −128 … 127, and of the escape; each row adds up to 2^16.
    """
    mass = np.diff(bottleneck.cdf(FIRST, LAST).numpy(), axis=1).clip(0)
    frequencies = np.zeros((len(mass), ESCAPE + 1), np.int64)
    frequencies[:, :ESCAPE] = np.rint(mass * _TOTAL)
    frequencies[:, ESCAPE] = np.maximum(_TOTAL - frequencies[:, :ESCAPE].sum(1), 1)
    likeliest = frequencies[:, :ESCAPE].argmax(1)
    frequencies[np.arange(len(mass)), likeliest] -= frequencies.sum(1) - _TOTAL
    return checked(frequencies.astype(np.uint16))


def checked(tables: Tables) -> Tables:
    """Give tables back if they are tables.

    Raises
    ------
    ValueError
        A wrong shape, a row that does not add up to 2^16, or an escape without a share.
    """
    if tables.ndim != 2 or tables.shape[1] != ESCAPE + 1 or tables.dtype != np.uint16:
        raise ValueError(f"an array of {tables.dtype}, {tables.shape} is not a set of frequency tables")
    if (tables.sum(1, dtype=np.int64) != _TOTAL).any() or not tables[:, ESCAPE].all():
        raise ValueError("the frequencies of a table do not add up")
    return tables


def encode_features(features: NDArray[np.integer], tables: Tables) -> bytes:
    """Code quantised features.

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
    return bytes(_encode(checked_features(features, tables), _cumulative(tables)).tobytes())


def checked_features(features: NDArray[np.integer], tables: Tables) -> Ints:
    """Give features as a contiguous array if they can be coded.

    Raises
    ------
    ValueError
        A feature is out of range, or the shapes do not fit.
    """
    symbols = np.ascontiguousarray(features, np.int64)
    if symbols.ndim != 2 or symbols.shape[1] != len(tables):
        raise ValueError(f"features of shape {symbols.shape} do not fit {len(tables)} tables")
    if len(symbols) and np.abs(symbols).max() > LARGEST:
        raise ValueError(f"a feature is not within ±{LARGEST}")
    return symbols


def decode_features(stream: bytes, count: int, tables: Tables) -> NDArray[np.int32]:
    """Decode quantised features.

    Returns
    -------
    (count, C) int32

    Raises
    ------
    BitstreamError
        The stream is short, or goes on after the last feature.
    """
    check_length(count * len(tables), stream)
    data = np.frombuffer(stream, np.uint8).copy()
    features, ended = _decode(data, count, _cumulative(tables))
    if not ended:
        raise BitstreamError("the features do not end where they should")
    return features


def check_length(features: int, stream: bytes) -> None:
    """Refuse more features than a stream can hold, before memory is taken for them.

    The likeliest takes 2^-15.5 bits: its share is at most 65535 of 65536.

    Raises
    ------
    BitstreamError
        There are more.
    """
    if features > (len(stream) + 5) << 19:
        raise BitstreamError(f"{features} features are declared in {len(stream)} bytes")


def _cumulative(tables: Tables) -> Ints:
    """Make (C, 258) sums of what is before each symbol, and of all."""
    cumulative = np.zeros((len(tables), ESCAPE + 2), np.int64)
    np.cumsum(tables, axis=1, out=cumulative[:, 1:])
    return cumulative


@njit(nogil=True, cache=True)
def _encode(features: Ints, cumulative: Ints) -> Bytes:
    state, out = start_encoder(), np.zeros(1 << 12, np.uint8)
    for row in range(len(features)):
        out = roomy(out, state, 3 * features.shape[1])
        for channel in range(features.shape[1]):
            feature = features[row, channel]
            symbol = feature - FIRST if FIRST <= feature <= LAST else ESCAPE
            if cumulative[channel, symbol] == cumulative[channel, symbol + 1]:
                symbol = ESCAPE
            encode(state, out, cumulative[channel, symbol], cumulative[channel, symbol + 1])
            if symbol == ESCAPE:
                for byte in ((feature >> 8) & 255, feature & 255):
                    encode(state, out, byte * _BYTE, (byte + 1) * _BYTE)
    return finish(state, out)


@njit(nogil=True, cache=True)
def _decode(data: Bytes, count: int, cumulative: Ints) -> tuple[NDArray[np.int32], bool]:
    features = np.zeros((count, len(cumulative)), np.int32)
    state = start_decoder(data)
    for row in range(count):
        if overrun(state, data):
            return features, False
        for channel in range(len(cumulative)):
            table = cumulative[channel]
            symbol = np.searchsorted(table, peek(state), side="right") - 1
            consume(state, data, table[symbol], table[symbol + 1])
            if symbol < ESCAPE:
                features[row, channel] = symbol + FIRST
                continue
            high = peek(state) // _BYTE
            consume(state, data, high * _BYTE, (high + 1) * _BYTE)
            low = peek(state) // _BYTE
            consume(state, data, low * _BYTE, (low + 1) * _BYTE)
            features[row, channel] = (high << 8 | low) - ((high & 128) << 9)
    return features, ends_here(state, data)
