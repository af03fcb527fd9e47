"""The entropy model of latents that are coded as residuals to a prediction.

A latent is coded under a bell around its prediction, which is a fraction of a level. The scale of the bell depends on
the channel, on the place among the 4³, and on the *gap*: how far the two parents are apart at this channel and place
(one parent: how far it is from the mean of the set). Example: where both parents have the same latent, a mesh between
them has this latent too, almost always.

Sizes of residuals in other channels, or at places beside, tell nothing more of trained latents: measured on 84 AMA
frames, they save 0.3 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gcbench.entropy.range_coder import RangeSink, RangeSource, get_small, put_small
from gcbench.entropy.tables import (
    LOCATION_STEPS,
    PRECISION,
    SCALE_OF_ONE,
    SCALES,
    SHAPES,
    STEPS_PER_OCTAVE,
    bell_frequencies,
)
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

ONE = 16  # a weight of 1
_GAP_BOUNDS = (1, 2, 3, 5, 9, 17)  # of the classes of gaps, in levels
_GAPS = len(_GAP_BOUNDS) + 1
_FACTOR_MAX = 24  # steps; a scale differs from that of the model at most by 2^(±24/4)
_SWEEPS = 2
_DEVIATIONS = 2.0  # standard ones, of a sum of sizes


class Reference(NamedTuple):
    """What meshes refer to, each array (n, channels, places) or (channels, places).

    Parameters
    ----------
    latents : int64
        Mean of the parents, or of the set, in eighths of a level.
    gaps : int64
        Distance between two parents, or of a parent to the mean of the set, in levels; else 0.
    """

    latents: Ints
    gaps: Ints


@dataclass(frozen=True, eq=False)
class ResidualModel:
    """Bells around predictions, for latents of (channels, places) within ± zero.

    Parameters
    ----------
    zero : int
        The largest magnitude of a latent.
    weights : (channels,) int64
        How much of the reference there is in a prediction, in sixteenths; the rest is the mean of the set.
    shape : int
        β of all bells, in quarters.
    scale : int
        Index of the scale, of :func:`gcbench.entropy.tables.bell_frequencies`.
    channels, places, gaps : (n,) int64
        Steps to add to the index for each channel, place and class of gap.
    """

    zero: int
    weights: Ints
    shape: int
    scale: int
    channels: Ints
    places: Ints
    gaps: Ints

    def encode(self, latents: Ints, mean: Ints, reference: Reference, sink: RangeSink) -> None:
        """Write the latents of one mesh; the mean of the set is in eighths of a level."""
        whole, fraction = self._predict(mean, reference)
        symbols = (latents - whole + self.zero) % (2 * self.zero + 1)
        sink.put_each(symbols.reshape(-1), self._tables(self._scales(reference), fraction))

    def decode(self, mean: Ints, reference: Reference, source: RangeSource) -> Ints:
        """Read the latents of one mesh."""
        whole, fraction = self._predict(mean, reference)
        symbols = source.get_each(self._tables(self._scales(reference), fraction)).reshape(whole.shape)
        latents: Ints = (symbols + whole) % (2 * self.zero + 1) - self.zero
        return latents

    def bits(self, latents: Ints, mean: Ints, reference: Reference) -> NDArray[np.float64]:
        """Bits of meshes, (n,), up to rounding of the tables."""
        whole, fraction = self._predict(mean, reference)
        symbols = (latents - whole + self.zero) % (2 * self.zero + 1)
        each = _bit_tables(self.zero, self.shape)[self._scales(reference), fraction, symbols]
        bits: NDArray[np.float64] = each.sum(axis=(1, 2), dtype=np.float64)
        return bits

    def write(self, sink: RangeSink) -> None:
        """Write shape, scale, and the factors of each axis."""
        sink.put_bytes(SHAPES.index(self.shape), self.scale)
        put_small(sink, np.diff(self.weights, prepend=ONE), ONE)
        for factors in (self.channels, self.places, self.gaps):
            put_small(sink, factors, _FACTOR_MAX)

    @classmethod
    def read(cls, source: RangeSource, zero: int, channels: int, places: int) -> ResidualModel:
        """Read what :meth:`write` wrote."""
        shape, scale = source.get_bytes(2)
        weights = ONE + np.cumsum(get_small(source, channels, ONE))
        if shape >= len(SHAPES) or scale >= SCALES or weights.min() < 0 or weights.max() > ONE:
            raise BitstreamError("a model of residuals with parameters out of range")
        rows, taps, gaps = (get_small(source, count, _FACTOR_MAX) for count in (channels, places, _GAPS))
        return cls(zero, weights, SHAPES[shape], scale, rows, taps, gaps)

    def _predict(self, mean: Ints, reference: Reference) -> tuple[Ints, Ints]:
        """Predictions in levels, rounded down, and the eighths that are left."""
        return _predict(mean, reference, self.weights)

    def _scales(self, reference: Reference) -> Ints:
        """Index of the scale at each place."""
        steps = self.channels[:, None] + self.places + self.gaps[_gap_classes(reference)]
        scales: Ints = np.clip(self.scale + steps, 0, SCALES - 1)
        return scales

    def _tables(self, scales: Ints, fractions: Ints) -> Ints:
        """Frequencies for residuals with these scales and fractions: (symbols, levels)."""
        tables = _tables(self.zero, self.shape)
        rows = (scales * LOCATION_STEPS + fractions).reshape(-1)
        for row in np.unique(rows[tables[rows, 0] == 0]).tolist():
            scale, fraction = divmod(row, LOCATION_STEPS)
            tables[row] = bell_frequencies(2 * self.zero + 1, LOCATION_STEPS * self.zero + fraction, self.shape, scale)
        wanted: Ints = tables[rows]
        return wanted


def fit_model(zero: int, latents: Ints, mean: Ints, reference: Reference) -> ResidualModel:
    """Find the model of meshes with few bits.

    Parameters
    ----------
    zero : int
        The largest magnitude of a latent.
    latents : (n, channels, places) int64
    mean : (channels, places) int64
        Of the set, in eighths of a level.
    reference : Reference
        Of the n meshes.
    """
    weights = _weights(latents, mean, reference.latents)
    whole, fraction = _predict(mean, reference, weights)
    symbols = (latents - whole + zero) % (2 * zero + 1)
    sizes = np.abs(symbols - zero - (fraction >= LOCATION_STEPS // 2))
    middle = np.full_like(sizes, SCALES // 2)
    step = _shift(sizes, np.zeros_like(sizes), middle, fraction, count=1, most=SCALES // 2)
    scale = int(np.clip(SCALES // 2 + step[0], 0, SCALES - 1))
    classes = [*np.indices(sizes.shape)[1:], _gap_classes(reference)]
    factors = [np.zeros(n, np.int64) for n in (*sizes.shape[1:], _GAPS)]

    def scales() -> Ints:
        steps = sum((f[c] for f, c in zip(factors, classes, strict=True)), np.zeros_like(sizes))
        found: Ints = np.clip(scale + steps, 0, SCALES - 1)
        return found

    for _ in range(_SWEEPS):
        for factor, each in zip(factors, classes, strict=True):
            factor[:] = 0
            factor[:] = _shift(sizes, each, scales(), fraction, count=len(factor), most=_FACTOR_MAX)
    shape = _fit_shape(zero, scales(), fraction, symbols)
    return ResidualModel(zero, weights, shape, scale, factors[0], factors[1], factors[2])


def _predict(mean: Ints, reference: Reference, weights: Ints) -> tuple[Ints, Ints]:
    predicted = (ONE * mean + weights[:, None] * (reference.latents - mean) + ONE // 2) // ONE
    whole, fraction = np.divmod(predicted, LOCATION_STEPS)
    return whole, fraction


def _gap_classes(reference: Reference) -> Ints:
    classes: Ints = np.searchsorted(_GAP_BOUNDS, reference.gaps, side="right")
    return classes


def _weights(latents: Ints, mean: Ints, references: Ints) -> Ints:
    """Least squares for each channel, in sixteenths within [0, 1]; 1 where the references are the mean."""
    towards = (references - mean).astype(np.float64)
    length = (towards * towards).sum(axis=(0, 2))
    along = (towards * (LOCATION_STEPS * latents - mean)).sum(axis=(0, 2))
    best = np.where(length > 0, along / np.maximum(length, 1), 1)
    weights: Ints = np.clip(np.rint(ONE * best), 0, ONE).astype(np.int64)
    return weights


def _mean_sizes() -> NDArray[np.float64]:
    """Mean distance of integers to the one nearest to the prediction, under a Laplace bell: (SCALES, 8 fractions).

    With one step away from the prediction, chances fall by q = exp(-1/s), and the chances of the two integers beside it
    have the ratio r = exp(-|1 - 2 f| / s): the mean is (q + r) / ((1 - q)(1 + r)), two geometric series.
    """
    spread = np.exp2((np.arange(SCALES) - SCALE_OF_ONE) / STEPS_PER_OCTAVE)[:, None]
    fractions = np.arange(LOCATION_STEPS) / LOCATION_STEPS
    step, ratio = np.exp(-1 / spread), np.exp(-np.abs(1 - 2 * fractions) / spread)
    sizes: NDArray[np.float64] = (step + ratio) / ((1 - step) * (1 + ratio))
    return sizes


_MEAN_SIZE = _mean_sizes()


def _shift(sizes: Ints, classes: Ints, scales: Ints, fraction: Ints, *, count: int, most: int) -> Ints:
    """Steps to add to the scale of each class, so that the expected sum of sizes is the one that was seen.

    Parameters
    ----------
    sizes, classes, scales, fraction : (...) int64
        Size of residuals, class, scale now, eighths of the prediction.
    count : int
        How many classes there are.
    most : int
        The most steps in either direction.
    """
    steps = np.arange(-most, most + 1)
    total = np.bincount(classes.reshape(-1), sizes.reshape(-1), count)
    joint = (classes * SCALES + scales) * LOCATION_STEPS + fraction
    counts = np.bincount(joint.reshape(-1), minlength=count * SCALES * LOCATION_STEPS).reshape(count, -1)
    later = _MEAN_SIZE[np.clip(np.arange(SCALES)[:, None] + steps, 0, SCALES - 1)]  # (SCALES, steps, fractions)
    expected = counts @ later.transpose(0, 2, 1).reshape(-1, len(steps))
    # half a level more of each: the few residuals of a small class tell little
    away = np.abs(np.log((expected + 0.5) / (total + 0.5)[:, None])) + 1e-6 * np.abs(steps)
    chance = _DEVIATIONS / np.sqrt(total + 0.5)  # a smaller difference saves fewer bits than its step takes
    best: Ints = np.where(away[:, most] < chance, 0, steps[away.argmin(axis=1)])
    return best


def _fit_shape(zero: int, scales: Ints, fraction: Ints, symbols: Ints) -> int:
    """The shape with the fewest bits."""
    levels = 2 * zero + 1
    size = SCALES * LOCATION_STEPS * levels
    places = (scales * LOCATION_STEPS + fraction) * levels + symbols
    counts = np.bincount(places.reshape(-1), minlength=size)
    used = np.flatnonzero(counts)
    return min(SHAPES, key=lambda shape: counts[used] @ _bit_tables(zero, shape).reshape(-1)[used])


@lru_cache(maxsize=len(SHAPES))
def _tables(zero: int, shape: int) -> Ints:
    """Frequencies for each scale and fraction, (SCALES · 8, levels): a row is 0 until it is needed."""
    return np.zeros((SCALES * LOCATION_STEPS, 2 * zero + 1), np.int64)


@lru_cache(maxsize=2 * len(SHAPES))
def _bit_tables(zero: int, shape: int) -> NDArray[np.float32]:
    """Bits of a symbol by scale, fraction and symbol, (SCALES, 8, levels); in floating point, for choices alone.

    As of :func:`gcbench.entropy.tables.bell_frequencies`, which has no more than 26 bits for a weight: where the
    prediction is half a level off and the bell narrow, weights are 0, and one of the two nearest symbols takes all.
    """
    symbols = np.arange(2 * zero + 1)
    fractions = np.arange(LOCATION_STEPS) / LOCATION_STEPS
    away = np.abs(symbols - zero - fractions[:, None])
    spread = np.exp2((np.arange(SCALES) - SCALE_OF_ONE) / STEPS_PER_OCTAVE)
    weights = np.floor(2.0**26 * np.exp(-np.minimum((away / spread[:, None, None]) ** (shape / 4), 100)))
    weights[:, np.arange(LOCATION_STEPS), zero + (fractions >= 1 / 2)] += 1
    chances = weights / weights.sum(axis=-1, keepdims=True)
    bits: NDArray[np.float32] = -np.log2(chances + 2.0**-PRECISION).astype(np.float32)
    return bits
