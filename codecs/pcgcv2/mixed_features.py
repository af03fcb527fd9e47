"""Coding of the quantised latent features with their surroundings: neighbours, other channels, occupied places.

The entropy model of PCGCv2 has one distribution for each channel; this coder starts from its tables and learns what
else says something about a feature. It is no part of the published codec. Knows integers only, so that every machine
decodes the same. Imports numba, so it is itself imported where it is used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gcbench.codecs.pcgcv2.features import ESCAPE, FIRST, LARGEST, Tables, check_length, checked_features
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
from gcbench.entropy.mixing import FREQUENCY_BUCKETS, Mixer, code_bit, logits_of, new_mixer
from gcbench.errors import BitstreamError

# A feature is coded as: is it 0; if not, is it positive; then, is its magnitude 1, is it 2, ... 15; then in 16 bits.
_UNARY = 15
_DECISIONS = 2 + 2 * _UNARY  # magnitudes of positive and of negative features apart
_CLIP = 10  # of features in contexts
_LEVELS = 2 * _CLIP + 2  # clipped features, and none
_CONTEXTS = 8
_FIRST_WEIGHT = 9830  # 0.15, for each context
_TABLE_WEIGHT = 19661  # 0.3, for what the tables say


def encode_mixed_features(features: NDArray[np.integer], coordinates: NDArray[np.integer], tables: Tables) -> bytes:
    """Code quantised features.

    Parameters
    ----------
    features : (M, C) int
        Within ±32767.
    coordinates : (M, 3) int
        Of the features: distinct, in [0, 2^20), sorted by x, then y, then z.
    tables : (C, 257) uint16
        See ``features.frequency_tables``.

    Raises
    ------
    ValueError
        A feature is out of range, or the shapes do not fit.
    """
    symbols = checked_features(features, tables)
    if coordinates.shape != (len(symbols), 3):
        raise ValueError(f"coordinates of shape {coordinates.shape} do not fit {len(symbols)} features")
    job = _new_job(symbols.copy(), coordinates, tables, np.zeros(1 << 12, np.uint8))
    state = start_encoder()
    return bytes(finish(state, _code(job, state, False)).tobytes())


def decode_mixed_features(stream: bytes, coordinates: NDArray[np.integer], tables: Tables) -> NDArray[np.int32]:
    """Decode quantised features.

    Returns
    -------
    (M, C) int32

    Raises
    ------
    BitstreamError
        The stream is short, or goes on after the last feature.
    """
    check_length(len(coordinates) * len(tables), stream)
    data = np.frombuffer(stream, np.uint8).copy()
    job = _new_job(np.zeros((len(coordinates), len(tables)), np.int64), coordinates, tables, data)
    state = start_decoder(data)
    _code(job, state, True)
    if not ends_here(state, data):
        raise BitstreamError("the features do not end where they should")
    return job.features.astype(np.int32)


class _Job(NamedTuple):
    """What is coded, and what it is coded with."""

    features: Ints  # (M, C) filled in when decoding
    neighbours: NDArray[np.int32]  # (M, 27) rows, z fastest; -1 where there is none
    prior: Ints  # (C, 32) logits
    mixer: Mixer
    contexts: Ints  # (8,) of the feature at hand
    data: Bytes


def _new_job(features: Ints, coordinates: NDArray[np.integer], tables: Tables, data: Bytes) -> _Job:
    neighbours = _neighbours(_keys(coordinates))
    return _Job(features, neighbours, _prior(tables), _new_mixer(features), np.zeros(_CONTEXTS, np.int64), data)


def _keys(coordinates: NDArray[np.integer]) -> Ints:
    """Number places so that neighbours along z, y and x are 1, 2^21 and 2^42 apart, with a margin around the cube."""
    x, y, z = (np.asarray(coordinates, np.int64) + 1).T
    return np.ascontiguousarray(x << 42 | y << 21 | z)


def _new_mixer(features: Ints) -> Mixer:
    rows, channels = features.shape
    first = np.full((channels * _DECISIONS, _CONTEXTS + 1, FREQUENCY_BUCKETS), _FIRST_WEIGHT, np.int64)
    second = np.full((27, _CONTEXTS + 1, FREQUENCY_BUCKETS), _FIRST_WEIGHT, np.int64)
    first[:, _CONTEXTS], second[:, _CONTEXTS] = _TABLE_WEIGHT, _TABLE_WEIGHT
    return new_mixer(1 << min(max(rows.bit_length() + 3, 10), 20), first, second, given=1)


def _prior(tables: Tables) -> Ints:
    """What the tables say of each decision: (C, 32) logits of "yes"."""
    shares = tables[:, :ESCAPE].astype(np.int64)
    zero = -FIRST
    positive, negative = shares[:, zero + 1 :], shares[:, :zero][:, ::-1]
    prior = np.zeros((len(tables), _DECISIONS), np.int64)
    prior[:, 0] = logits_of(shares[:, zero], shares.sum(1))
    prior[:, 1] = logits_of(positive.sum(1), positive.sum(1) + negative.sum(1))
    for magnitude in range(1, _UNARY + 1):
        for side, of in enumerate((negative, positive)):
            prior[:, 2 * magnitude + side] = logits_of(of[:, magnitude - 1], of[:, magnitude - 1 :].sum(1))
    return prior


@njit(nogil=True, cache=True)
def _neighbours(keys: Ints) -> NDArray[np.int32]:
    """Rows of the 27 places around each row, z fastest; -1 where there is none."""
    rows = np.full((len(keys), 27), -1, np.int32)
    for i in range(27):
        step = ((i // 9 - 1) << 42) + ((i // 3 % 3 - 1) << 21) + i % 3 - 1
        at = 0
        for row in range(len(keys)):
            while at < len(keys) and keys[at] < keys[row] + step:
                at += 1
            if at < len(keys) and keys[at] == keys[row] + step:
                rows[row, i] = at
    return rows


@njit(nogil=True, cache=True)
def _code(job: _Job, state: Ints, decoding: bool) -> Bytes:
    """Code features row by row; when decoding, fill them in, and break off at the end of the data.

    Returns the data: when encoding, a longer array may have taken their place.
    """
    for row in range(len(job.features)):
        if decoding and overrun(state, job.data):
            break
        if not decoding:
            longer = roomy(job.data, state, job.features.shape[1] * (_UNARY + 4))
            job = _Job(job.features, job.neighbours, job.prior, job.mixer, job.contexts, longer)
        occupied = 0
        for i in range(27):
            occupied |= int(job.neighbours[row, i] >= 0) << i
        job.mixer.choice[1] = _ones(occupied) - 1
        for channel in range(job.features.shape[1]):
            _look(job, row, channel, occupied)
            job.features[row, channel] = _code_feature(job, state, job.features[row, channel], channel, decoding)
    return job.data


@njit(nogil=True, cache=True)
def _code_feature(job: _Job, state: Ints, feature: int, channel: int, decoding: bool) -> int:
    """Code one feature, decision by decision; returns it."""
    first = channel * _DECISIONS
    if _decide(job, state, int(feature == 0), first, decoding):
        return 0
    positive = _decide(job, state, int(feature > 0), first + 1, decoding)
    magnitude = abs(feature)
    for guess in range(1, _UNARY + 1):
        if _decide(job, state, int(magnitude == guess), first + 2 * guess + positive, decoding):
            return guess if positive else -guess
    rest = 0
    for shift in (8, 0):
        byte = peek(state) >> 8 if decoding else (magnitude >> shift) & 255
        if decoding:
            consume(state, job.data, byte << 8, (byte + 1) << 8)
        else:
            encode(state, job.data, byte << 8, (byte + 1) << 8)
        rest |= byte << shift
    rest = min(rest, LARGEST)
    return rest if positive else -rest


@njit(nogil=True, cache=True)
def _decide(job: _Job, state: Ints, bit: int, which: int, decoding: bool) -> int:
    """Code one decision; `which` is that of its channel."""
    mixer = job.mixer
    for i in range(_CONTEXTS):
        mixer.slots[i] = (job.contexts[i] << 12) + which
    mixer.logits[_CONTEXTS] = job.prior[which // _DECISIONS, which % _DECISIONS]
    mixer.choice[0] = which
    return int(code_bit(mixer, state, job.data, bit, decoding))


@njit(nogil=True, cache=True)
def _look(job: _Job, row: int, channel: int, occupied: int) -> None:
    """Describe what surrounds a feature in eight ways.

    The eight: the same channel one step back along x, y and z; the 26 places around; all channels before it; the nine
    places in the plane of the row and one each across; the six places at its faces with the two channels before it;
    and the channel before it with the same channel one step back along x, along y, along z.
    """
    features, near, contexts = job.features, job.neighbours[row], job.contexts
    back_x = _clipped(features, near[4], channel)
    back_y = _clipped(features, near[10], channel)
    back_z = _clipped(features, near[12], channel)
    before = _clipped(features, row, channel - 1)
    all_before = 0
    for other in range(channel):
        all_before = all_before * _LEVELS + _clipped(features, row, other)
    faces = 0
    for i in (4, 10, 12, 14, 16, 22):
        faces = 2 * faces + (occupied >> i & 1)
    contexts[0] = (back_x * _LEVELS + back_y) * _LEVELS + back_z
    contexts[1] = occupied
    contexts[2] = all_before
    contexts[3] = (occupied >> 9 & 511) | (occupied >> 4 & 1) << 9 | (occupied >> 22 & 1) << 10
    contexts[4] = (faces * _LEVELS + before) * _LEVELS + _clipped(features, row, channel - 2)
    contexts[5] = back_x * _LEVELS + before
    contexts[6] = back_y * _LEVELS + before
    contexts[7] = back_z * _LEVELS + before


@njit(nogil=True, cache=True)
def _clipped(features: Ints, row: int, channel: int) -> int:
    """Feature within ±10 as a number from 1 on; 0 where there is none."""
    if row < 0 or channel < 0:
        return 0
    return int(min(max(features[row, channel], -_CLIP), _CLIP)) + _CLIP + 1


@njit(nogil=True, cache=True)
def _ones(bits: int) -> int:
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count
