"""Rate-distortion curves and the Bjøntegaard delta between two curves, or the reason why there is no reliable delta."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gcbench.bench.analysis.measured import LOGARITHMIC, inside_floor
from gcbench.bench.metrics import columns

MIN_POINTS = 4  # a cubic has four coefficients; with fewer points the number is the interpolation's, not the codec's
MIN_OVERLAP = 0.5  # of each curve's range of quality


class Refusal(StrEnum):
    """Why there is no BD-rate."""

    TOO_FEW_POINTS = "fewer than 4 points"
    SATURATED = "fewer than 4 points above the noise floor"
    NOT_MONOTONE = "fewer than 4 points on the Pareto front"
    NO_OVERLAP = "the qualities do not overlap"
    SMALL_OVERLAP = "the qualities overlap by less than half"
    OTHER_MESHES = "not coded for all of the meshes in common"


@dataclass(frozen=True)
class Curve:
    """The points of a codec on its Pareto front.

    Parameters
    ----------
    rate : (N,) float
        Bytes, bits or any other size; increasing.
    quality : (N,) float
        Quality, more is better: distances as −log10, other values unchanged or negated; increasing.
    dropped : tuple of str
        One line for each point that was left out, with the reason.
    refusal : Refusal or None
        Why there can be no BD-rate with this curve, whatever the other curve is.
    """

    rate: NDArray[np.float64]
    quality: NDArray[np.float64]
    dropped: tuple[str, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True)
class BDRate:
    """Average difference in rate at equal quality.

    Parameters
    ----------
    percent : float or None
        By monotone piecewise cubic interpolation (pchip): −50 is half the bytes. None if there is a refusal.
    akima_percent : float or None
        By Akima interpolation. If the two numbers differ much, the points are too far apart for either.
    overlap : float
        Length of the common range of quality, divided by the range of the longer curve; in [0, 1].
    refusal : Refusal or None
        Why there is no number.
    dropped : tuple of str
        Points of both curves that were left out.
    """

    percent: float | None
    akima_percent: float | None
    overlap: float
    refusal: Refusal | None = None
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(self.refusal) if self.percent is None else f"{self.percent:+.1f} %"


def curve(
    rate: ArrayLike,
    value: ArrayLike,
    metric: str,
    *,
    labels: Sequence[str] | None = None,
    at_floor: ArrayLike | None = None,
) -> Curve:
    """Make a curve of measured points.

    Points are left out, in this order, if they are not finite (a distance of 0 has no logarithm), are at the noise
    floor, or are beaten by another point in both size and quality. ``dropped`` names each of them.

    Parameters
    ----------
    rate, value : (N,) float
        Sizes, and values of the metric.
    metric : str
        A column of a suite.
    labels : sequence of str, optional
        Names of the points; by default their sizes.
    at_floor : (N,) bool, optional
        Which values are at the noise floor.
    """
    x, quality = np.asarray(rate, np.float64), oriented(value, metric)
    names = list(labels) if labels is not None else [f"{r:g}" for r in x]
    noise = np.zeros(len(x), bool) if at_floor is None else np.asarray(at_floor, bool)
    finite = np.isfinite(x) & np.isfinite(quality) & (x > 0)
    counted = finite & ~noise
    front = counted.copy()
    front[counted] = _pareto(x[counted], quality[counted])
    dropped = [f"{name}: not finite" for name, keep in zip(names, finite, strict=True) if not keep]
    dropped += [f"{name}: at the noise floor" for name, out in zip(names, finite & noise, strict=True) if out]
    dropped += [f"{name}: beaten" for name, out in zip(names, counted & ~front, strict=True) if out]
    refusal = None
    for mask, reason in (
        (finite, Refusal.TOO_FEW_POINTS),
        (counted, Refusal.SATURATED),
        (front, Refusal.NOT_MONOTONE),
    ):
        if mask.sum() < MIN_POINTS:
            refusal = reason
            break
    order = np.flatnonzero(front)[np.argsort(x[front], kind="stable")]
    return Curve(x[order], quality[order], tuple(dropped), refusal)


def oriented(value: ArrayLike, metric: str) -> NDArray[np.float64]:
    """Convert values of a metric so that more is better: distances become −log10, and NaN if they are not positive."""
    values, column = np.asarray(value, np.float64), columns()[metric]
    if column.better == "higher":
        return values.copy()
    if column.unit not in LOGARITHMIC:
        return -values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, -np.log10(values), np.nan)


def unoriented(quality: float, metric: str) -> float:
    """Inverse of :func:`oriented` for one value."""
    column = columns()[metric]
    if column.better == "higher":
        return quality
    return 10**-quality if column.unit in LOGARITHMIC else -quality


def bd_rate(anchor: Curve, test: Curve) -> BDRate:
    """Bjøntegaard delta rate of ``test`` against ``anchor``: negative saves bytes.

    Source: G. Bjøntegaard, VCEG-M33, 2001; pchip as in JVET common test conditions; computed by the package
    ``bjontegaard`` (Herglotz et al., "The Bjøntegaard Bible", 2022).
    """
    dropped = tuple(f"anchor {d}" for d in anchor.dropped) + tuple(f"test {d}" for d in test.dropped)
    if refusal := anchor.refusal or test.refusal:
        return BDRate(None, None, 0.0, refusal, dropped)
    low, high = max(anchor.quality[0], test.quality[0]), min(anchor.quality[-1], test.quality[-1])
    shared = float(overlap(low, high, np.ptp(anchor.quality), np.ptp(test.quality)))
    if shared < MIN_OVERLAP:
        return BDRate(None, None, shared, Refusal.SMALL_OVERLAP if shared else Refusal.NO_OVERLAP, dropped)
    return BDRate(_percent(anchor, test, "pchip"), _percent(anchor, test, "akima"), shared, None, dropped)


def curves(summary: pd.DataFrame, metric: str, size: str = "kilobytes") -> dict[str, Curve]:
    """One curve for each codec of a summary that holds one dataset, split, effort and device.

    Parameters
    ----------
    summary : DataFrame
        Rows of :func:`gcbench.bench.analysis.frame.summarise`.
    metric : str
        A column of a suite.
    size : str
        Column of the rate.
    """
    noise = inside_floor(summary, metric)
    return {
        str(codec): curve(
            part[size], part[metric], metric, labels=[str(r) for r in part["rate"]], at_floor=noise.loc[part.index]
        )
        for codec, part in summary.groupby("codec", sort=True)
    }


def bd_matrix(summary: pd.DataFrame, metric: str, absent: Iterable[str] = ()) -> pd.DataFrame:
    """BD-rate of the mean curves, codec × codec: row against column, so that a negative row saves bytes.

    Parameters
    ----------
    summary : DataFrame
        Rows of one dataset, split, effort and device: means over the same meshes.
    metric : str
        A column of a suite.
    absent : iterable of str
        Codecs with rates that are missing because they were not coded for all meshes in common. If too few points
        are left, this is the reason that is given.

    Returns
    -------
    DataFrame of BDRate
        Index and columns are codecs; the diagonal is None.
    """
    nothing = Curve(np.empty(0), np.empty(0), refusal=Refusal.OTHER_MESHES)
    of = curves(summary, metric)
    for codec in absent:
        if codec not in of or of[codec].refusal is Refusal.TOO_FEW_POINTS:
            of[codec] = nothing
    names = sorted(of)
    cells = {a: [_against(of[a], of[t]) if a != t else None for t in names] for a in names}
    return pd.DataFrame(cells, index=names, dtype=object)


def _against(anchor: Curve, test: Curve) -> BDRate:
    """BD-rate. If a codec was not coded for all meshes in common, this reason comes before all others."""
    if Refusal.OTHER_MESHES in {anchor.refusal, test.refusal}:
        return BDRate(None, None, 0.0, Refusal.OTHER_MESHES)
    return bd_rate(anchor, test)


def on_front(quality: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points are better than all points of their row before them.

    Parameters
    ----------
    quality : (..., P) float
        Rows of points by size, of equal sizes the best first. A row may end in NaN.
    """
    best = np.maximum.accumulate(quality, axis=-1)
    keep = np.isfinite(quality)
    keep[..., 1:] &= quality[..., 1:] > best[..., :-1]
    return keep


def overlap(low: ArrayLike, high: ArrayLike, one: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """Length of the common range, ``low`` to ``high``, divided by the longer of the lengths of two curves' ranges."""
    return np.asarray(np.maximum(0.0, np.subtract(high, low)) / np.maximum(one, other), np.float64)


def _pareto(rate: NDArray[np.float64], quality: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no other point beats or equals in size and quality; of equal points the first is kept."""
    order = np.lexsort((-quality, rate))
    keep = np.zeros(len(rate), bool)
    keep[order] = on_front(quality[order])
    return keep


def _percent(anchor: Curve, test: Curve, method: str) -> float:
    import bjontegaard

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about little overlap, which bd_rate has checked
        return float(
            bjontegaard.bd_rate(
                anchor.rate,
                anchor.quality,
                test.rate,
                test.quality,
                method=method,
                require_matching_points=False,
                min_overlap=0,
            )
        )
