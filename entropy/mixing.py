"""Adaptive coding of bits: each context predicts a bit, and a mixer adds the contexts' logits with learned weights.

The arithmetic uses integers only (logits in 1/256 within ±8, weights in 1/65536, probabilities of 22 bits), so that all
machines get the same bytes. Callers compute the contexts. This module imports numba: import it inside functions.
"""

from __future__ import annotations

from decimal import Context, Decimal
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gcbench.entropy.adaptive import Bytes, Ints, consume, encode, peek

FREQUENCY_BUCKETS = 12
LOGIT_LIMIT = 2047
PROBABILITY_BITS = 22
_LEARNING_SHIFT = 13
_MET_LIMIT = 127
_SURE = 16  # the least probability of a bit, in units of 2^-16


class Mixer(NamedTuple):
    """The state of a mixer: learned probabilities and weights, and work arrays for the current bit.

    Each context has a table of slots; a slot has a probability and a count of its bits. For each bit, the caller
    chooses one set from the first weights and one from the second. In a set, each context's weight depends on the count
    of its slot. Each set gives a weighted sum of the contexts' logits and of `given` logits from the caller, and the
    mean of the two sums is the logit of the bit's probability.

    Source: M. Mahoney, "Adaptive weighing of context models for lossless data compression", TR CS-2005-16.
    """

    probabilities: NDArray[np.int32]  # (contexts, slots)
    met: NDArray[np.uint8]  # (contexts, slots)
    first_weights: Ints  # (sets, contexts + given, buckets)
    second_weights: Ints
    logistic: Ints
    logit: Ints
    slots: Ints  # (contexts,) In: the current bit's contexts. Out: their slots
    logits: Ints  # (contexts + given,) the caller sets the last `given`
    buckets: Ints  # (contexts + given,)
    choice: Ints  # (4,) indices of the two sets of weights, from the caller; then the two sums


def new_mixer(slots: int, first_weights: Ints, second_weights: Ints, given: int = 0) -> Mixer:
    """Make a mixer before its first bit.

    Parameters
    ----------
    slots : int
        Slots of each context's table, a power of two up to 2^24.
    first_weights, second_weights : (sets, contexts + given, 12) int64
        Initial weights; the mixer changes them in place.
    given : int
        Number of logits that the caller sets for each bit.
    """
    inputs = first_weights.shape[1]
    contexts = inputs - given
    return Mixer(
        np.full((contexts, slots), 1 << (PROBABILITY_BITS - 1), np.int32),
        np.zeros((contexts, slots), np.uint8),
        first_weights,
        second_weights,
        *_tables(),
        np.zeros(contexts, np.int64),
        np.zeros(inputs, np.int64),
        np.zeros(inputs, np.int64),
        np.zeros(4, np.int64),
    )


def logits_of(shares: Ints, totals: Ints) -> Ints:
    """Logits of the probabilities ``shares / totals``."""
    _, logit = _tables()
    return np.asarray(logit[(shares * 2 + 1) * 4096 // (totals * 2 + 2)], np.int64)


@lru_cache(maxsize=1)
def _tables() -> tuple[Ints, Ints]:
    """Tables of the logistic function (16 bits) and its inverse (12 bits), in Decimal: floats differ by machine."""
    exact = Context(prec=20)
    chances = [65536 / (1 + exact.exp(Decimal(-logit) / 256)) for logit in range(-LOGIT_LIMIT, LOGIT_LIMIT + 1)]
    odds = [exact.divide(Decimal(2 * i + 1), Decimal(2 * (4096 - i) - 1)) for i in range(4096)]
    logits = [max(-LOGIT_LIMIT, min(LOGIT_LIMIT, round(256 * exact.ln(ratio)))) for ratio in odds]
    return np.array([round(chance) for chance in chances], np.int64), np.array(logits, np.int64)


@njit(nogil=True, cache=True)
def code_bit(mixer: Mixer, state: Ints, data: Bytes, bit: int, decoding: bool) -> int:
    """Code or decode a bit, update the mixer with the bit, and return the bit.

    Before the call, the caller sets ``slots`` (contexts), ``choice[:2]`` (sets of weights) and the end of ``logits``.
    """
    first_weights, second_weights = mixer.first_weights[mixer.choice[0]], mixer.second_weights[mixer.choice[1]]
    _mix(mixer, first_weights, second_weights)
    first, second = mixer.choice[2] + LOGIT_LIMIT, mixer.choice[3] + LOGIT_LIMIT
    chance = int(mixer.logistic[(first + second) >> 1])
    chance = min(max(chance, _SURE), 65536 - _SURE)
    if decoding:
        bit = int(peek(state) < chance)
        consume(state, data, 0 if bit else chance, chance if bit else 65536)
    else:
        encode(state, data, 0 if bit else chance, chance if bit else 65536)
    _adjust(first_weights, mixer, (bit << 16) - mixer.logistic[first])
    _adjust(second_weights, mixer, (bit << 16) - mixer.logistic[second])
    _remember(mixer, bit)
    return bit


@njit(nogil=True, cache=True)
def _mix(mixer: Mixer, first_weights: Ints, second_weights: Ints) -> None:
    """Look up the contexts, and add their logits with both sets of weights."""
    first_sum, second_sum = 0, 0
    contexts = len(mixer.slots)
    for i in range(len(mixer.logits)):
        bucket = 0
        if i < contexts:
            slot = _hash(mixer.slots[i], i) & (mixer.met.shape[1] - 1)
            bucket = _bucket(mixer.met[i, slot])
            probability = mixer.probabilities[i, slot] >> (PROBABILITY_BITS - 12)
            mixer.slots[i], mixer.logits[i] = slot, mixer.logit[probability] if bucket else 0
        mixer.buckets[i] = bucket
        first_sum += int(first_weights[i, bucket] * mixer.logits[i])
        second_sum += int(second_weights[i, bucket] * mixer.logits[i])
    mixer.choice[2] = min(max(first_sum >> 16, -LOGIT_LIMIT), LOGIT_LIMIT)
    mixer.choice[3] = min(max(second_sum >> 16, -LOGIT_LIMIT), LOGIT_LIMIT)


@njit(nogil=True, cache=True)
def _adjust(weights: Ints, mixer: Mixer, error: int) -> None:
    """Move the used weights down the gradient of the code length."""
    for i in range(len(mixer.logits)):
        step = (mixer.logits[i] * error + (1 << (_LEARNING_SHIFT - 1))) >> _LEARNING_SHIFT
        weights[i, mixer.buckets[i]] += step


@njit(nogil=True, cache=True)
def _remember(mixer: Mixer, bit: int) -> None:
    """Move the probability in each context towards the bit: by 1/(n + 2) after n bits."""
    for i in range(len(mixer.slots)):
        slot = mixer.slots[i]
        times = int(mixer.met[i, slot])
        step = (bit << PROBABILITY_BITS) - bit - int(mixer.probabilities[i, slot])
        mixer.probabilities[i, slot] += step // (times + 2)
        if times < _MET_LIMIT:
            mixer.met[i, slot] = times + 1


@njit(nogil=True, cache=True)
def _hash(value: int, salt: int) -> int:
    """Spread a context over the slots. Source: Steele, Lea, Flood, OOPSLA 2014, Fig. 16 (a mixer's first half)."""
    z = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    return int(z >> np.uint64(40))


@njit(nogil=True, cache=True)
def _bucket(times: int) -> int:
    """Class of a slot's count, which selects the weight of its context."""
    if times < 8:
        return int(times)
    if times < 12:
        return 8
    if times < 20:
        return 9
    return 10 if times < 50 else 11
