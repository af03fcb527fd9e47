"""Coding of integer features at voxels, in contexts of neighbouring features, other channels and occupied voxels.

The adaptive coder codes the levels of features one after the other into one stream. All arithmetic is in integers, so
that all machines decode the same features. This module imports numba, so other modules import it inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
from gcbench.entropy.budget import check_budget
from gcbench.entropy.mixing import FREQUENCY_BUCKETS, Mixer, code_bit, logits_of, new_mixer
from gcbench.errors import BitstreamError

FIRST, LAST = -128, 127  # range of the features in a table
LARGEST = (1 << 15) - 1  # largest magnitude of a feature

# The decisions for a feature: is it 0; if not, is it positive; is the magnitude 1, 2, ... 15; if larger, the rest of
# the magnitude in Elias's gamma code, with one decision for each bit of the code's length.
_UNARY = 15
_GAMMA = 14  # the longest length: LARGEST - 15 is below 2^15
_LENGTHS = 2 + 2 * _UNARY  # positive and negative features have separate decisions for the magnitude
_DECISIONS = _LENGTHS + _GAMMA
_CLIP = 10  # largest magnitude of features in contexts
_LEVELS = 2 * _CLIP + 2  # clipped features, and "no feature"
_CONTEXTS = 8
_FIRST_WEIGHT = 9830  # 0.15, for each context
_TABLE_WEIGHT = 19661  # 0.3, for the logits from the tables


class Level(NamedTuple):
    """Coordinates of features, and prior frequencies of their values."""

    coordinates: NDArray[np.integer]  # (M, 3) distinct, in [0, 2^20), sorted by x, then y, then z
    tables: NDArray[np.integer]  # (C, 256) frequencies of the features -128 … 127 of each channel


def encode_features(features: Sequence[NDArray[np.integer]], levels: Sequence[Level]) -> bytes:
    """Code the features of one or more levels.

    Parameters
    ----------
    features : sequence of (M, C) int
        Within ±32767.
    levels : sequence of Level
        One for each array of features.

    Raises
    ------
    ValueError
        A feature is out of range, or the shapes do not fit.
    """
    state, data = start_encoder(), np.zeros(1 << 12, np.uint8)
    for values, level in zip(features, levels, strict=True):
        symbols = np.array(values, np.int64)
        if symbols.shape != (len(level.coordinates), len(level.tables)):
            raise ValueError(f"features of shape {symbols.shape} do not fit their places and tables")
        if np.abs(symbols).max(initial=0) > LARGEST:
            raise ValueError(f"a feature is not within ±{LARGEST}")
        data = _code(_new_job(symbols, level, data), state, False)
    return bytes(finish(state, data).tobytes())


def decode_features(stream: bytes, levels: Sequence[Level]) -> list[NDArray[np.int32]]:
    """Decode features: (M, C) of each level.

    Raises
    ------
    BitstreamError
        The stream is too short, or continues after the last feature.
    """
    data = np.frombuffer(stream, np.uint8).copy()
    # The likeliest decision takes 2^-11.5 bits, since no chance is below 16 of 2^16.
    check_budget("features", sum(len(c) * len(t) for c, t in levels), (len(stream) + 5) << 15)
    state, found = start_decoder(data), []
    for level in levels:
        job = _new_job(np.zeros((len(level.coordinates), len(level.tables)), np.int64), level, data)
        _code(job, state, True)
        found.append(job.features.astype(np.int32))
    if not ends_here(state, data):
        raise BitstreamError("the features do not end where they should")
    return found


class _Job(NamedTuple):
    """Features of a level, and the arrays and the mixer for coding them."""

    features: Ints  # (M, C) filled in when decoding
    neighbours: NDArray[np.int32]  # (M, 27) rows of neighbours, z fastest; -1 for none
    prior: Ints  # (C, decisions) logits
    mixer: Mixer
    contexts: Ints  # (8,) contexts of the current feature
    data: Bytes


def _new_job(features: Ints, level: Level, data: Bytes) -> _Job:
    neighbours = _neighbours(_keys(level.coordinates))
    return _Job(features, neighbours, _prior(level.tables), _new_mixer(features), np.zeros(_CONTEXTS, np.int64), data)


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


def _prior(tables: NDArray[np.integer]) -> Ints:
    """Logits of "yes" for each decision by the tables, (C, decisions); 0 for lengths of gamma codes."""
    shares, zero = tables.astype(np.int64), -FIRST
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
    """Rows of the 27 places around each row's place, z fastest; -1 for an empty place."""
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
    """Code features row by row, or fill them in when decoding; returns the data, or a longer array when encoding."""
    for row in range(len(job.features)):
        if decoding and overrun(state, job.data):
            break
        if not decoding:
            longer = roomy(job.data, state, job.features.shape[1] * (_UNARY + _GAMMA + 3))
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
    rest = magnitude - _UNARY  # 1 or more
    bits = 0
    while bits < _GAMMA and not _decide(job, state, int(rest < 2 << bits), first + _LENGTHS + bits, decoding):
        bits += 1
    shift = 16 - bits
    low = peek(state) >> shift if decoding else rest - (1 << bits)
    if decoding:
        consume(state, job.data, low << shift, (low + 1) << shift)
    else:
        encode(state, job.data, low << shift, (low + 1) << shift)
    magnitude = min(_UNARY + (1 << bits) + low, LARGEST)
    return magnitude if positive else -magnitude


@njit(nogil=True, cache=True)
def _decide(job: _Job, state: Ints, bit: int, which: int, decoding: bool) -> int:
    """Code decision number `which` of a channel."""
    mixer = job.mixer
    for i in range(_CONTEXTS):
        mixer.slots[i] = (job.contexts[i] << 12) + which
    mixer.logits[_CONTEXTS] = job.prior[which // _DECISIONS, which % _DECISIONS]
    mixer.choice[0] = which
    return int(code_bit(mixer, state, job.data, bit, decoding))


@njit(nogil=True, cache=True)
def _look(job: _Job, row: int, channel: int, occupied: int) -> None:
    """Compute the eight contexts of a feature.

    The contexts: the same channel one step back along x, y and z; the 26 places around; all previous channels; the nine
    places in the plane of the row and one each across; the six places at its faces with the two previous channels;
    and the previous channel with the same channel one step back along x, along y, along z.
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
    """Feature clipped to ±10 as a number from 1 on; 0 for no feature."""
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
