"""Says which rows of a table cannot be told apart from the best row of their size, by a paired test over meshes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcbench.bench.analysis.frame import BLOCK, GROUP
from gcbench.bench.metrics import Column

LEVEL = 0.05  # of the family of all comparisons in one column of a block
SAME_SIZE = 1.05  # a stream that is up to 5 % larger still counts as no larger
WHOLE = 0.9  # share of the meshes that a row must have to be compared
NOTE = (
    "not worse than the best row of at most its size + 5 %, as far as these meshes can tell "
    "(paired Wilcoxon signed-rank test over meshes, Holm, 5 %)"
)
_EXACT = 50  # meshes
_CHUNK = 64  # comparisons at a time

Floats = NDArray[np.float64]


def not_different(rows: pd.DataFrame, summary: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Find the values that are worse than the best value of their size, but not by more than chance explains.

    *The best of its size.* Rows of a rate-distortion table have different sizes, and the largest stream usually has the
    best value; that says nothing about codecs. So a row is compared with the row that has the best mean among all rows
    of its block that need no more bytes (mean size at most 5 % larger). Example: ``draco q12`` with 25 kB is compared
    with the best of all rows up to 26 kB. A row that is itself the best is never marked. An unmarked row is therefore
    the best of its size, or worse than the best for real. Rows that lack more than 10 % of the meshes take no part:
    their means are over other meshes.

    *The test.* One-sided Wilcoxon signed-rank test of the differences on the meshes that both rows have (seeds of a
    mesh are averaged): does the row tend to be worse? The signed-rank test needs no normal distribution, one mesh
    with a huge error does not decide it, and its probabilities are fine enough for a correction over many comparisons,
    which those of a bootstrap with thousands of resamples are not. Meshes with equal values are left out. Exact up to
    50 meshes, else by the normal approximation. If a row is worse in the mean but better on most meshes, the row is
    not worse by this test, and is marked.

    *The correction.* Holm's, over all comparisons in one column of a block, at 5 %.

    If there are so few meshes that no difference could be significant (2⁻ⁿ times the number of comparisons is above
    5 %: under 5 meshes for one comparison, under 10 for fifty), nothing is marked: the mark would say nothing.

    Parameters
    ----------
    rows : DataFrame
        The records behind ``summary``.
    summary : DataFrame
        From :func:`gcbench.bench.analysis.frame.summarise`.
    columns : sequence of Column
        Columns to compare. Columns in which neither lower nor higher is better have no marks.

    Returns
    -------
    DataFrame of bool
        The index of ``summary``; one column for each name of ``columns``. True is a mark.

    Source: F. Wilcoxon, Biometrics Bulletin 1, 1945; S. Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    names = [column.name for column in columns]
    marks = np.zeros((len(summary), len(names)), bool)
    tested = [c for c in columns if c.better is not None and c.name in summary and c.name in rows]
    ok = rows[(rows["status"] == "ok") & ~rows["timing"].astype(bool)]
    if not tested or ok.empty or summary.empty:
        return pd.DataFrame(marks, summary.index, names)
    row = pd.MultiIndex.from_frame(summary[GROUP].astype(str)).get_indexer(
        pd.MultiIndex.from_frame(ok[GROUP].astype(str))
    )
    ok, row = ok[row >= 0], row[row >= 0]
    for places in summary.groupby(BLOCK, sort=False).indices.values():
        inside = np.isin(row, places)
        of_block, (mesh, meshes) = ok[inside], pd.factorize(ok["mesh"][inside])
        place = np.searchsorted(places, row[inside])
        sizes = summary["kilobytes"].to_numpy(float)[places]
        for column in tested:
            sign = 1.0 if column.better == "lower" else -1.0
            values = _by_mesh(place, len(places), mesh, len(meshes), sign * of_block[column.name].to_numpy(float))
            means = sign * summary[column.name].to_numpy(float)[places]
            marks[places, names.index(column.name)] = _not_worse(values, means, sizes)
    return pd.DataFrame(marks, summary.index, names)


def _by_mesh(row: NDArray[np.intp], rows: int, mesh: NDArray[np.intp], meshes: int, values: Floats) -> Floats:
    """Mean over seeds, (rows, meshes); NaN where there is no value."""
    known = ~np.isnan(values)
    cell = row[known] * meshes + mesh[known]
    counts = np.bincount(cell, minlength=rows * meshes)
    with np.errstate(invalid="ignore"):
        means = np.bincount(cell, weights=values[known], minlength=rows * meshes) / np.where(counts, counts, np.nan)
    return means.reshape(rows, meshes)


def _not_worse(values: Floats, means: Floats, sizes: Floats) -> NDArray[np.bool_]:
    """Which of R rows are not worse than the best of their size; low values are good."""
    marks = np.zeros(len(means), bool)
    meshes = (~np.isnan(values)).sum(axis=1)
    best = _best_of_size(np.where(meshes >= WHOLE * meshes.max(), means, np.nan), sizes)
    compared = np.flatnonzero((best >= 0) & (best != np.arange(len(means))))
    if not len(compared):
        return marks
    shared, worse = np.empty(len(compared), int), np.empty(len(compared))
    for start in range(0, len(compared), _CHUNK):
        mine = compared[start : start + _CHUNK]
        with np.errstate(invalid="ignore"):  # inf − inf
            differences = values[mine] - values[best[mine]]
        shared[start : start + _CHUNK] = (~np.isnan(differences)).sum(axis=1)
        worse[start : start + _CHUNK] = _probabilities(differences)
    testable = 0.5**shared * len(compared) <= LEVEL
    marks[compared] = testable & ~_holm(worse)
    return marks


def _best_of_size(means: Floats, sizes: Floats) -> NDArray[np.intp]:
    """For each row the row with the best mean that needs no more bytes, of equal ones the smallest; −1 if unknown."""
    known = np.flatnonzero(np.isfinite(sizes) & ~np.isnan(means))
    order = known[np.argsort(sizes[known], kind="stable")]
    best = np.full(len(means), -1)
    for row in known:
        affordable = order[: np.searchsorted(sizes[order], SAME_SIZE * sizes[row], side="right")]
        best[row] = affordable[np.argmin(means[affordable])]
    return best


def _probabilities(differences: Floats) -> Floats:
    """One-sided p of the hypothesis that differences (K, meshes) are not positive; 1 where all are 0 or unknown.

    SciPy's ``wilcoxon`` computes the same; importing ``scipy.stats`` takes a second, and its ranks take six times as
    long as these.
    """
    size = np.abs(np.where(np.isnan(differences), 0.0, differences))
    order = np.argsort(size, axis=1)
    size, positive = np.take_along_axis(size, order, 1), np.take_along_axis(differences > 0, order, 1)
    step = size[:, 1:] != size[:, :-1]
    place, edge = np.arange(size.shape[1]), np.ones((len(size), 1), bool)
    first = np.maximum.accumulate(np.where(np.hstack([edge, step]), place, 0), axis=1)  # of the equal ones
    last = np.minimum.accumulate(np.where(np.hstack([step, edge]), place, len(place))[:, ::-1], axis=1)[:, ::-1]
    zeros = (size == 0).sum(axis=1, keepdims=True)
    ranks = np.where(size == 0, 0, first + last + 2 - 2 * zeros)  # doubled: ranks of equal ones are halves
    statistic = np.where(positive, ranks, 0).sum(axis=1)
    if len(place) <= _EXACT:
        return np.array([_exact(of_row[of_row > 0], int(w)) for of_row, w in zip(ranks, statistic, strict=True)])
    n = len(place) - zeros[:, 0].astype(float)
    equal = np.where(size == 0, 0, (last - first + 1) ** 2 - 1).sum(axis=1)  # Σ t³ − t over groups of t equal ones
    variance = n * (n + 1) * (2 * n + 1) / 24 - equal / 48
    z = (statistic / 2 - n * (n + 1) / 4) / np.sqrt(np.where(n > 0, variance, 1.0))
    return np.where(n > 0, [math.erfc(of_row / math.sqrt(2)) / 2 for of_row in z], 1.0)


def _exact(ranks: NDArray[np.intp], statistic: int) -> float:
    """Probability that the ranks whose sign is positive sum to at least ``statistic``, if each sign is a coin."""
    ways = np.zeros(int(ranks.sum()) + 1)  # of signs, by sum
    ways[0] = 1
    for rank in ranks:
        ways[rank:] += ways[:-rank].copy()
    return float(ways[statistic:].sum() / 2.0 ** len(ranks))


def _holm(p: Floats) -> NDArray[np.bool_]:
    """Which hypotheses are rejected."""
    order = np.argsort(p, kind="stable")
    small = p[order] * np.arange(len(p), 0, -1) <= LEVEL
    rejected = np.zeros(len(p), bool)
    rejected[order] = np.logical_and.accumulate(small)
    return rejected
