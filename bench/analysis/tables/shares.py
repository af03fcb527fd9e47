"""What share of the bytes of other codecs a codec needs, at the quality of each of its rates.

A BD-rate is one number for two curves, and there is none where the curves have little quality in common. This table
has a number for each rate, wherever the other codec reaches the quality.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from gcbench.bench.analysis.coverage import common
from gcbench.bench.analysis.equal_quality import at_quality
from gcbench.bench.analysis.frame import BLOCK, summarise
from gcbench.bench.analysis.tables.columns import CODEC, RATE, blocks, for_people, for_programs, metric
from gcbench.bench.analysis.tables.published import significant
from gcbench.bench.metrics import Column as Metric
from gcbench.bench.tabular import Column, Table

_NAMES = (*BLOCK, "metric", "codec", "rate", "kilobytes", "quality", "against", "against_kilobytes", "share", "bound")
_SIZE = Column("kilobytes", "kB/mesh", "number", partial(significant, digits=3))
_NOTE = (
    "%: bytes over those of the other codec at the same quality, interpolated between its rates; ≥: the other codec is "
    "better at its smallest rate; –: it is as good at no rate"
)


class _Share(NamedTuple):
    """The bytes of a coding and of another codec at the same quality."""

    kilobytes: float
    other: float
    bound: bool  # the other codec needs fewer bytes than `other`: it is better at its smallest rate

    @property
    def value(self) -> float:
        return self.kilobytes / self.other

    def __str__(self) -> str:
        return f"{'≥ ' if self.bound else ''}{100 * self.value:.0f}"


def shares(rows: pd.DataFrame, column: Metric, against: Collection[str] = ()) -> list[Table]:
    """A row for each codec and rate, over the meshes in common; a column for each codec that is compared with.

    Parameters
    ----------
    rows : DataFrame
        Records.
    column : Column
        The quality.
    against : collection of str
        Other codecs. If there are none, the one that needs the fewest bytes at the quality of each row.
    """
    tables = []
    quality = rows[~rows["timing"].astype(bool)]
    for where, records in blocks(quality if column.name in rows else rows.iloc[:0]):
        shared = common(records)
        summary = summarise(shared.rows)
        found = list(_rows(summary[summary[column.name].notna()], column.name))
        if not found:
            continue
        key = records.iloc[0][BLOCK]
        title = f"bytes at equal {column.label.partition(' ×')[0]}, {where}"
        people = [{**row, **_cells(of, against)} for row, of in found]
        heads = [Column(name, f"% of {name}", "number") for name in against] or [
            Column("best", "fewest of the others", key=True), Column("share", "%", "number")
        ]  # fmt: skip
        shown = for_people([CODEC, RATE, _SIZE, metric(column), *heads])
        tables.append(Table.of_rows(title, shown, people, notes=(_NOTE, *shared.notes)))
        data = [
            dict(zip(_NAMES, (*key, column.name, row["codec"], row["rate"], row["kilobytes"], row[column.name], name,
                              one.other, one.value, one.bound), strict=True))
            for row, of in found for name, one in of.items() if not against or name in against
        ]  # fmt: skip
        tables.append(Table.of_rows(title, for_programs(_NAMES), data))
    return tables


def _rows(summary: pd.DataFrame, name: str) -> Iterator[tuple[dict[str, Any], dict[str, _Share]]]:
    """Each row of a summary, and its shares by the names of the other codecs."""
    for row in summary[["codec", "rate", "kilobytes", name]].to_dict("records"):
        others = at_quality(summary[summary["codec"] != row["codec"]], name, row[name])
        of = {
            str(other): _Share(row["kilobytes"], float(at["kilobytes"]), bool(at["better"]))
            for other, at in others.iterrows()
        }
        yield {str(field): value for field, value in row.items()}, of


def _cells(of: dict[str, _Share], against: Collection[str]) -> dict[str, str]:
    if against:
        return {name: str(of[name]) for name in against if name in of}
    if not of:
        return {}
    best = min(of, key=lambda name: of[name].other)
    return {"best": best, "share": str(of[best])}
