"""Costs of codecs at the same quality, interpolated along their rate-distortion curves."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from gcbench.bench.analysis.rate_distortion import curves, oriented, unoriented

COSTS = ("kilobytes", "encode_ms", "decode_ms", "encode_added_mib", "decode_added_mib")


def at_quality(summary: pd.DataFrame, metric: str, value: float) -> pd.DataFrame:
    """Costs of every codec that reaches a quality.

    The logarithm of a cost is interpolated linearly in the quality, between neighbouring points of the Pareto front.
    Nothing is extrapolated: a codec that is better at all of its rates has the costs of its smallest rate, and a codec
    that is worse at all of its rates is left out.

    Parameters
    ----------
    summary : DataFrame
        Rows of one dataset, split, effort and device.
    metric : str
        A column of a suite.
    value : float
        Value of the metric.

    Returns
    -------
    DataFrame
        Index ``codec``, columns :data:`COSTS` and ``better``: whether the codec is better at its smallest rate.
    """
    target = float(oriented([value], metric)[0])
    rows = {}
    for codec, curve in curves(summary, metric).items():
        if not len(curve.rate) or target > curve.quality[-1]:
            continue
        part = summary[summary["codec"] == codec].drop_duplicates("kilobytes").set_index("kilobytes")
        on_front = part.loc[list(curve.rate)]
        rows[codec] = {
            cost: _interpolate(target, curve.quality, curve.rate if cost == "kilobytes" else on_front[cost].to_numpy())
            for cost in COSTS
        } | {"better": bool(target < curve.quality[0])}  # np.interp stays at the end of the curve
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*COSTS, "better"]).rename_axis("codec")


def common_quality(summary: pd.DataFrame, metric: str) -> float | None:
    """Value of the metric in the middle of the range that most curves span; None if no two curves overlap."""
    spans = [c.quality[[0, -1]] for c in curves(summary, metric).values() if len(c.quality) > 1]
    edges = sorted({float(edge) for span in spans for edge in span})
    best, middle = 1, None
    for low, high in itertools.pairwise(edges):
        spanning = sum(span[0] <= low and high <= span[1] for span in spans)
        if spanning > best:
            best, middle = spanning, (low + high) / 2
    return None if middle is None else unoriented(middle, metric)


def _interpolate(target: float, quality: np.ndarray, cost: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(np.exp(np.interp(target, quality, np.log(np.asarray(cost, float)))))
