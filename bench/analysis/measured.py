"""Which columns of the metric suites a run has, which of them are shown and rank codecs, and which codings lack values.

Columns come from the registry of suites: no name of a column stands in this module.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from gcbench.bench.metrics import SUITES, Column, columns, floors, ranking, suite_of
from gcbench.errors import UsageError

#: Units whose values are drawn and interpolated as logarithms, and the smallest value that is drawn: a lossless codec
#: would stretch the axis over decades. 10⁻⁵ is a quantisation to 17 bits.
LOGARITHMIC = {"length": 1e-5, "squared length": 1e-10}
_NEAR = 1.03
_STATUSES = "ok|bad-input|failed|timeout|out-of-memory|crashed"
_REASON = re.compile(rf"(?:^|; )(?P<suite>[\w.-]+): (?={_STATUSES}\b)")


def measured(rows: pd.DataFrame) -> list[Column]:
    """Columns of the registry that have a value in a frame or a summary, in the order of the registry."""
    return [column for name, column in columns().items() if name in rows and rows[name].notna().any()]


def headlines(rows: pd.DataFrame) -> list[Column]:
    """The measured columns that are shown by default."""
    return [column for column in measured(rows) if column.headline]


def ranking_column(rows: pd.DataFrame) -> Column | None:
    """The measured column that ranks codecs by default; None if no ranking column was measured."""
    name = ranking(column.name for column in measured(rows))
    return None if name is None else columns()[name]


def find(rows: pd.DataFrame, name: str, run: str = "RUN", others: Iterable[str] = ()) -> Column:
    """Look up a column by the name that a user gave.

    Parameters
    ----------
    rows : DataFrame
        Records or a summary.
    name : str
        Of the column.
    run : str
        What the run is called, for the message.
    others : iterable of str
        Names of other columns that could have been meant.

    Raises
    ------
    UsageError
        No suite has such a column, or this run has no value of it.
    """
    if name not in columns():
        if name in floors():
            raise UsageError(f"'{name}' is the noise floor of '{floors()[name].name}', and no column of its own")
        near = difflib.get_close_matches(name, [*columns(), *others], n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; see: bench list metrics"
        raise UsageError(f"unknown column '{name}'{hint}")
    if name not in rows or not rows[name].notna().any():
        suite = suite_of(name)
        raise UsageError(
            f"'{name}' was not measured in this run: it is of the suite '{suite}'; bench measure {run} --suite {suite}"
        )
    return columns()[name]


def chosen(rows: pd.DataFrame, names: Sequence[str], run: str = "RUN") -> list[Column]:
    """Columns to show: the headlines by default, those named, or both if the first name begins with ``+``.

    Raises
    ------
    UsageError
        As of :func:`find`.
    """
    shown = headlines(rows) if not names or names[0].startswith("+") else []
    return list(dict.fromkeys([*shown, *(find(rows, name.removeprefix("+"), run) for name in names)]))


def inside_floor(rows: pd.DataFrame, name: str) -> pd.Series[bool]:
    """Which values are so close to their noise floor that a difference between them means nothing.

    Close means: the error is at most 3 % above the error of the floor. The floor of a mean over some tens of meshes is
    known to about 1 %. On AMA frames, all codecs with at least 10 bits of quantisation are within 2 % of the floor,
    though their true errors differ by a factor of 16.
    """
    column = columns()[name]
    if column.floor is None or column.floor not in rows or name not in rows:
        return pd.Series(data=False, index=rows.index)
    value, noise = rows[name].astype(float), rows[column.floor].astype(float)
    if column.unit == "dB":  # of a squared error
        return value >= noise - 10 * math.log10(_NEAR)
    if column.better == "higher":  # shares, cosines: errors are the distances from 1
        value, noise = 1 - value, 1 - noise
    return value <= noise * _NEAR


@dataclass(frozen=True)
class Lacking:
    """How many codings that are ok lack the values of a suite.

    Parameters
    ----------
    suite : str
        Which suite.
    codings, of : int
        The number of codings without values, and the number of codings that are ok.
    reason : str
        The most common reason, ``status: text``, and for how many codings if not for all; empty if the suite was not
        requested.
    """

    suite: str
    codings: int
    of: int
    reason: str

    def __str__(self) -> str:
        why = self.reason or f"not measured, bench measure RUN --suite {self.suite}"
        return f"{self.codings} of {self.of} codings have no {self.suite}: {why}"


def lacking(rows: pd.DataFrame, shown: Iterable[Column]) -> list[Lacking]:
    """Find the suites, shown or tried, that lack values for some of the codings that are ok."""
    ok = rows[(rows["status"] == "ok") & ~rows["timing"]]
    reasons: dict[str, Counter[str]] = {}
    for text in ok["unmeasured"].dropna() if "unmeasured" in ok else ():
        for suite, why in reasons_of(text).items():
            reasons.setdefault(suite, Counter())[why] += 1
    found = []
    for suite in dict.fromkeys([*(suite_of(column.name) for column in shown), *sorted(reasons)]):
        names = [name for name, column in columns().items() if name in ok and suite_of(column.name) == suite]
        without = int((~ok[names].notna().any(axis=1)).sum()) if names else len(ok)
        known = reasons.get(suite, Counter()).most_common(1)
        if without and (known or SUITES.get(suite).takes == "mesh"):  # most codecs have no clouds
            found.append(Lacking(suite, without, len(ok), _reason(*known[0], without) if known else ""))
    return found


def _reason(text: str, count: int, without: int) -> str:
    """A reason, and how many of the codings without values have it: the others may not have been measured at all."""
    return text if count == without else f"{text} ({count} of them)"


def reasons_of(unmeasured: str) -> dict[str, str]:
    """Suite → reason, of the text ``volume: bad-input: no inside; points: timeout: 60 s``."""
    starts = list(_REASON.finditer(unmeasured))
    ends = [*(match.start() for match in starts[1:]), len(unmeasured)][: len(starts)]
    return {match["suite"]: unmeasured[match.end() : end] for match, end in zip(starts, ends, strict=True)}
