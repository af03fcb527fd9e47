"""Chooses codecs and rates: finds those within limits and, if there are none, the limit to relax."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from gcbench.bench.analysis.coverage import common
from gcbench.bench.analysis.frame import summarise
from gcbench.bench.analysis.measured import find, ranking_column
from gcbench.bench.metrics import columns
from gcbench.errors import UsageError

#: Columns that are not metrics, and their names for people: sizes, times and memory.
COSTS = {
    "kilobytes": "kB/mesh",
    "ratio": "ratio",
    "bits_per_vertex": "bits/vertex",
    "encode_ms": "encode ms",
    "decode_ms": "decode ms",
    "encode_added_mib": "encode +MiB",
    "decode_added_mib": "decode +MiB",
}
_LIMIT = re.compile(r"\s*(?P<column>[\w.-]+?)\s*(?P<sign><=|>=|≤|≥)\s*(?P<bound>\S+)\s*")


@dataclass(frozen=True)
class Requirement:
    """A bound on a column of the summary.

    Parameters
    ----------
    column : str
        Of :func:`gcbench.bench.analysis.frame.summarise`.
    bound : float
        In the unit of the column.
    at_least : bool
        Whether the bound is a lower bound.
    """

    column: str
    bound: float
    at_least: bool = False

    def met(self, values: pd.Series[float]) -> pd.Series[bool]:
        """Which values meet the bound; NaN does not."""
        return values >= self.bound if self.at_least else values <= self.bound

    def excess(self, values: pd.Series[float]) -> pd.Series[float]:
        """How far values miss the bound, as a fraction of the bound: 0 if they meet it, infinite for NaN."""
        missed = (self.bound - values) if self.at_least else (values - self.bound)
        return (missed.clip(lower=0) / max(abs(self.bound), 1e-12)).fillna(math.inf)

    def __str__(self) -> str:
        shown = COSTS.get(self.column) or columns()[self.column].label
        return f"{shown} {'≥' if self.at_least else '≤'} {self.shown(self.bound):g}"

    def shown(self, value: float) -> float:
        """The value in the scale of the column's label."""
        return value if self.column in COSTS else value * columns()[self.column].scale


def requirement_from(text: str, summary: pd.DataFrame, run: str = "RUN") -> Requirement:
    """Read a limit, ``NAME<=VALUE`` or ``NAME>=VALUE``: a column of a suite or of :data:`COSTS`, in its own unit.

    Parameters
    ----------
    text : str
        What the user wrote.
    summary : DataFrame
        The summary, in which the column must have a value.
    run : str
        Name of the run, for messages.

    Raises
    ------
    UsageError
        The text is not a limit, or its column is unknown or was not measured.
    """
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise UsageError(f"'{text}' is no limit; write NAME<=VALUE or NAME>=VALUE, in quotes")
    try:
        bound = float(match["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UsageError(f"'{match['bound']}' in '{text}' is no number")
    name = match["column"]
    if name not in COSTS:
        find(summary, name, run, others=COSTS)
    elif name not in summary or not summary[name].notna().any():
        raise UsageError(f"this run has no '{name}'")
    return Requirement(name, bound, at_least=match["sign"] in {">=", "≥"})


@dataclass(frozen=True)
class Relaxation:
    """One limit, moved just far enough that one codec and rate is within all limits.

    Parameters
    ----------
    limit : Requirement
        The limit that the user gave.
    bound : float
        The bound that would be enough.
    codec, rate : str
        The codec and rate that would then be within the limits.
    """

    limit: Requirement
    bound: float
    codec: str
    rate: str


@dataclass(frozen=True)
class Choice:
    """The codecs and rates within the limits, or how to get some.

    Parameters
    ----------
    within : DataFrame
        Rows of the summary within all limits, smallest first, with the column ``pareto``: whether no other of these
        rows is at least as good in size, quality and decoding time, and better in one.
    relaxations : tuple of Relaxation
        Only if nothing is within the limits: one for each limit whose change alone is enough, smallest change first.
    nearest : DataFrame
        Only if no change of a single limit is enough: the rows with the least sum of relative excess.
    excluded : int
        Rows that cannot be chosen because codings failed.
    elsewhere : int
        Rows that cannot be chosen because their means are over other meshes.
    beyond : tuple of (Requirement, float)
        Limits that no codec can meet, with the noise floor of their metric: the value of the original itself.
    """

    within: pd.DataFrame
    relaxations: tuple[Relaxation, ...] = ()
    nearest: pd.DataFrame | None = None
    excluded: int = 0
    elsewhere: int = 0
    beyond: tuple[tuple[Requirement, float], ...] = ()


def choose_from(rows: pd.DataFrame, limits: Sequence[Requirement]) -> Choice:
    """Find what is within the limits, by means over the same meshes.

    Parameters
    ----------
    rows : DataFrame
        Records of one dataset, split, effort and device.
    limits : sequence of Requirement
        All of which must hold.
    """
    every = summarise(rows)
    names = ["codec", "rate"]
    failed = pd.MultiIndex.from_frame(every.loc[(every["failed"] > 0) | (every["ok"] == 0), names])
    usable = rows[~pd.MultiIndex.from_frame(rows[names]).isin(failed)]
    if usable.empty:
        return Choice(every.iloc[:0].assign(pareto=False), excluded=len(failed))
    summary = summarise(common(usable).rows)
    return replace(
        choose(summary, limits),
        excluded=len(failed),
        elsewhere=len(every) - len(failed) - len(summary),
        beyond=tuple(_beyond_the_floor(summary, limits)),
    )


def _beyond_the_floor(summary: pd.DataFrame, limits: Sequence[Requirement]) -> Iterator[tuple[Requirement, float]]:
    for limit in limits:
        floor = None if limit.column in COSTS else columns()[limit.column].floor
        if floor is None or floor not in summary or summary.empty:
            continue
        best = float(summary[floor].mean())
        reached = pd.Series([best, *summary[limit.column]])  # a mean may lie a little beyond its floor
        if not limit.met(reached).any():
            yield limit, best


def choose(summary: pd.DataFrame, limits: Sequence[Requirement]) -> Choice:
    """Find what is within the limits.

    A rate at which any coding failed cannot be chosen: its means are over the rest.

    Parameters
    ----------
    summary : DataFrame
        Rows of one dataset, split, effort and device.
    limits : sequence of Requirement
        All of which must hold.
    """
    usable = summary[(summary["failed"] == 0) & (summary["ok"] > 0)]
    excluded = len(summary) - len(usable)
    met = pd.DataFrame({i: limit.met(usable[limit.column]) for i, limit in enumerate(limits)}, index=usable.index)
    within = usable[met.all(axis=1)] if limits else usable
    if len(within) or not len(usable):
        ranked = within.assign(pareto=_pareto(within)).sort_values("kilobytes", ignore_index=True)
        return Choice(ranked, excluded=excluded)
    relaxations = []
    for i, limit in enumerate(limits):
        others = usable[met.drop(columns=i).all(axis=1)]
        others = others[others[limit.column].notna()]
        if len(others):
            best = others.sort_values(limit.column, ascending=not limit.at_least, kind="stable").iloc[0]
            relaxations.append(Relaxation(limit, float(best[limit.column]), str(best["codec"]), str(best["rate"])))
    relaxations.sort(key=lambda r: abs(r.bound - r.limit.bound) / (abs(r.limit.bound) or 1))
    nearest = None
    if not relaxations:
        excess = sum((limit.excess(usable[limit.column]) for limit in limits), start=pd.Series(0.0, usable.index))
        nearest = usable.loc[excess.sort_values(kind="stable").index[:3]].reset_index(drop=True)
    return Choice(within.assign(pareto=False), tuple(relaxations), nearest, excluded)


def _pareto(rows: pd.DataFrame) -> list[bool]:
    """Whether no other row is at least as good in size, quality and decoding time, and better in one; for each row.

    Quality is the column that ranks codecs. NaN counts as worst.
    """
    ranking = ranking_column(rows)
    values = [rows[name].astype(float) for name in ("kilobytes", "decode_ms") if name in rows]
    if ranking is not None:
        quality = rows[ranking.name].astype(float)
        values.append(-quality if ranking.better == "higher" else quality)
    table = pd.concat(values, axis=1).fillna(math.inf).to_numpy()
    return [not ((table <= row).all(1) & (table < row).any(1)).any() for row in table]
