"""BD-rates of single meshes between all pairs of codecs, their means and bootstrap intervals.

The rules are those of ``rate_distortion.py``, applied to the curves of all meshes at once: arrays have an axis for
meshes, and Python loops only over codecs and pairs of codecs. A test compares the numbers with those of
:func:`gcbench.bench.analysis.rate_distortion.bd_rate`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcbench.bench.analysis.interpolation import Cubics, Floats, interpolate
from gcbench.bench.analysis.measured import inside_floor
from gcbench.bench.analysis.rate_distortion import MIN_OVERLAP, MIN_POINTS, on_front, oriented, overlap

_RESAMPLES = 2000
_PAIRS, _DRAWS = 64, 250  # of one product of matrices in the bootstrap: 20 MB for 10 000 meshes


@dataclass(frozen=True)
class PerMesh:
    """BD-rates of single meshes, averaged.

    Parameters
    ----------
    percent, low, high : float or None
        Mean, and its 95 % bootstrap interval over meshes. All are None if no mesh has a BD-rate; the interval is also
        None if only one mesh has.
    meshes, refused : int
        Numbers of meshes with and without a BD-rate.
    wins : float or None
        Share of the meshes with a BD-rate whose BD-rate is negative.
    akima_percent : float or None
        Mean by Akima interpolation instead of pchip.
    """

    percent: float | None
    low: float | None
    high: float | None
    meshes: int
    refused: int
    wins: float | None
    akima_percent: float | None = None


@dataclass(frozen=True)
class _Curves:
    """The curves of one codec, one for each of M meshes: whether there are records; which curves are usable; ends."""

    there: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    first: Floats
    last: Floats
    pchip: Cubics
    akima: Cubics


def per_mesh_all(rows: pd.DataFrame, metric: str, *, seed: int = 0) -> dict[tuple[str, str], PerMesh]:
    """BD-rate of each mesh by itself, its mean and bootstrap interval, for all ordered pairs of codecs.

    One matrix of resampled meshes serves all pairs. A resample of a pair consists of those of the drawn meshes that
    have a BD-rate.

    Parameters
    ----------
    rows : DataFrame
        Records (:func:`gcbench.bench.analysis.frame.frame`) of one dataset, split, effort and device.
    metric : str
        A column of a suite.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``(test, anchor)`` → :class:`PerMesh`; a negative percentage says that ``test`` saves bytes.
    """
    good = rows[(rows["status"] == "ok") & ~rows["timing"].astype(bool)]
    mesh, meshes = pd.factorize(good["mesh"], sort=True)
    of = _curves(good, mesh, len(meshes), metric)
    deltas: dict[tuple[str, str], tuple[Floats, Floats]] = {}
    for anchor, test in itertools.combinations(sorted(of), 2):
        pchip, akima = _differences(of[anchor], of[test])
        deltas[test, anchor] = _percent(pchip), _percent(akima)
        deltas[anchor, test] = _percent(-pchip), _percent(-akima)
    intervals = _bootstrap({pair: percent for pair, (percent, _) in deltas.items()}, len(meshes), seed)
    found = {}
    for (test, anchor), (percent, akima) in deltas.items():
        has = np.isfinite(percent)
        count, either = int(has.sum()), int((of[anchor].there | of[test].there).sum())
        if not count:
            found[test, anchor] = PerMesh(None, None, None, 0, either, None)
            continue
        low, high = intervals[test, anchor] if count > 1 else (None, None)
        wins = float((percent[has] < 0).mean())
        found[test, anchor] = PerMesh(
            float(percent[has].mean()), low, high, count, either - count, wins, float(akima[has].mean())
        )
    return found


def _curves(good: pd.DataFrame, mesh: NDArray[np.intp], meshes: int, metric: str) -> dict[str, _Curves]:
    codec, codecs = pd.factorize(good["codec"], sort=True)
    rate, quality = good["stream_bytes"].to_numpy(float), oriented(good[metric], metric)
    counted = np.isfinite(rate) & np.isfinite(quality) & (rate > 0) & ~inside_floor(good, metric).to_numpy(bool)
    of = {}
    for place, name in enumerate(map(str, codecs)):
        there = np.bincount(mesh[codec == place], minlength=meshes) > 0
        mine = (codec == place) & counted
        x, y = _fronts(mesh[mine], meshes, rate[mine], quality[mine])
        points = np.isfinite(x).sum(axis=1)
        usable = points >= MIN_POINTS
        x[~usable, :3], y[~usable, :3] = (0, 1, 2), 0  # any curve: no pair uses these rows
        x[~usable, 3:], y[~usable, 3:] = np.nan, np.nan
        last = x[np.arange(meshes), np.isfinite(x).sum(axis=1) - 1]
        of[name] = _Curves(there, usable, x[:, 0], last, interpolate(x, y, "pchip"), interpolate(x, y, "akima"))
    return of


def _fronts(mesh: NDArray[np.intp], meshes: int, rate: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """Qualities and log10 rates of the points on the Pareto front of each mesh: (meshes, P), filled with NaN."""
    order = np.lexsort((-quality, rate, mesh))
    mesh, rate, quality = mesh[order], rate[order], quality[order]
    front = on_front(_padded(mesh, meshes, quality))[mesh, _places(mesh, meshes)]
    return _padded(mesh[front], meshes, quality[front]), _padded(mesh[front], meshes, np.log10(rate[front]))


def _places(mesh: NDArray[np.intp], meshes: int) -> NDArray[np.intp]:
    """Count the entries of each mesh from 0; equal meshes are neighbours."""
    lengths = np.bincount(mesh, minlength=meshes)
    return np.arange(len(mesh)) - (np.cumsum(lengths) - lengths)[mesh]


def _padded(mesh: NDArray[np.intp], meshes: int, values: Floats) -> Floats:
    places = _places(mesh, meshes)
    padded = np.full((meshes, max(MIN_POINTS, places.max(initial=0) + 1)), np.nan)
    padded[mesh, places] = values
    return padded


def _differences(anchor: _Curves, test: _Curves) -> tuple[Floats, Floats]:
    """Mean difference of log10 rate on each mesh, by pchip and Akima; NaN where there is no BD-rate."""
    low, high = np.maximum(anchor.first, test.first), np.minimum(anchor.last, test.last)
    shared = overlap(low, high, anchor.last - anchor.first, test.last - test.first)
    rows = np.flatnonzero(anchor.usable & test.usable & (shared >= MIN_OVERLAP))
    low, high = low[rows], high[rows]
    found = []
    for of_anchor, of_test in ((anchor.pchip, test.pchip), (anchor.akima, test.akima)):
        difference = np.full(len(shared), np.nan)
        areas = of_test.integral(rows, low, high) - of_anchor.integral(rows, low, high)
        difference[rows] = areas / (high - low)
        found.append(difference)
    return found[0], found[1]


def _percent(difference: Floats) -> Floats:
    return 100 * (10**difference - 1)


def _bootstrap(
    percents: Mapping[tuple[str, str], Floats], meshes: int, seed: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """95 % intervals of means over meshes: a resample is a row of weights, so that means are products of matrices."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((_RESAMPLES, meshes), np.uint8)  # how often a mesh was drawn
    for resample in range(_RESAMPLES if percents else 0):
        weights[resample] = np.bincount(rng.integers(meshes, size=meshes), minlength=meshes)
    intervals = {}
    for start in range(0, len(percents), _PAIRS):
        pairs = list(percents)[start : start + _PAIRS]
        values = np.stack([percents[pair] for pair in pairs], axis=1)
        has = np.isfinite(values)
        values = np.where(has, values, 0.0)
        means = np.empty((_RESAMPLES, len(pairs)))
        for chunk in range(0, _RESAMPLES, _DRAWS):
            drawn = weights[chunk : chunk + _DRAWS].astype(float)
            counts = drawn @ has
            with np.errstate(invalid="ignore"):
                means[chunk : chunk + _DRAWS] = (drawn @ values) / np.where(counts > 0, counts, np.nan)
        for pair, of_pair in zip(pairs, means.T, strict=True):
            drawn_means = of_pair[np.isfinite(of_pair)]
            if len(drawn_means):
                low, high = np.percentile(drawn_means, [2.5, 97.5])
                intervals[pair] = float(low), float(high)
    return intervals
