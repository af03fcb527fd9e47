"""Figures of papers beside those of a run. Which they are is data: ``results/published.csv``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

import pandas as pd

from gcbench.bench.analysis.measured import measured
from gcbench.bench.analysis.table import SIZES, show
from gcbench.bench.analysis.tables import Table
from gcbench.bench.metrics import Column
from gcbench.registry import split_address


@dataclass(frozen=True)
class Published:
    """What a paper says of one method in one setting.

    Parameters
    ----------
    source, table, dataset : str
        Where it stands, and of which meshes it is.
    method, setting : str
        In the paper's words.
    codec, beside_dataset, beside_rate : str
        Our rows that it may stand beside: a codec's name, a dataset's, a pattern of rate labels; of the last two, empty
        is any. A paper's table is shown whole where one row of it has such rows beside it; but one with a pattern of
        rates only beside its own.
    values : mapping of str to float
        By column, in the column's own unit.
    """

    source: str
    table: str
    dataset: str
    method: str
    setting: str
    codec: str
    beside_dataset: str
    beside_rate: str
    values: Mapping[str, float]

    def is_like(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of a summary is of such a codec, dataset and rate."""
        return (
            split_address(str(row["codec"]), "codec")[0] == self.codec
            and self.beside_dataset in {"", row["dataset"]}
            and fnmatchcase(str(row["rate"]), self.beside_rate or "*")
        )


def published() -> list[Published]:
    """Everything that is committed, in the order of the file."""
    text = (files("gcbench.results") / "published.csv").read_text(encoding="utf-8")
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for row in csv.DictReader(text.splitlines()):
        found.setdefault(tuple(row[name] for name in _KEY), {})[row["column"]] = float(row["value"])
    return [
        Published(source, table, dataset, method, setting, codec, beside_dataset, beside_rate, values)
        for (source, table, dataset, method, setting, codec, beside_dataset, beside_rate), values in found.items()
    ]


_KEY = ("source", "table", "dataset", "method", "setting", "codec", "beside_dataset", "beside_rate")


def beside_published(summary: pd.DataFrame, figures: Sequence[Published] | None = None) -> list[Table]:
    """Published tables with our rows of the same codecs below them, for columns that were measured.

    They are of other sets, on other machines. The difference is shown, not judged.

    Parameters
    ----------
    summary : DataFrame
        From :func:`gcbench.bench.analysis.frame.summarise`.
    figures : sequence of Published, optional
        Those of ``results/published.csv`` by default.
    """
    groups: dict[tuple[str, str, str], list[Published]] = {}
    for one in published() if figures is None else figures:
        groups.setdefault((one.source, one.table, one.dataset), []).append(one)
    tables = [_table(group, summary[summary["ok"] > 0]) for group in groups.values()]
    return [table for table in tables if table is not None]


def _table(group: Sequence[Published], summary: pd.DataFrame) -> Table | None:
    columns = [column for column in measured(summary) if any(column.name in one.values for one in group)]
    ours = [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in summary.to_dict("records")]
    like = [row for row in ours if any(row[c.name] is not None and one.is_like(row) for one in group for c in columns)]
    if not like:
        return None
    shown = [one for one in group if not one.beside_rate or any(map(one.is_like, like))]
    sizes = [size for size in SIZES if any(size.name in one.values for one in shown)]

    def cells(values: Mapping[str, Any]) -> list[str]:
        known = [values.get(size.name) for size in sizes]
        of_sizes = ["–" if value is None else size.show(value) for size, value in zip(sizes, known, strict=True)]
        return of_sizes + [_metric(column, values.get(column.name)) for column in columns]

    first = group[0]
    lines = [[one.method, one.setting, first.dataset, *cells(one.values)] for one in shown]
    data: list[dict[str, Any]] = [
        {"source": f"{one.source}, {one.table}", "dataset": one.dataset, "codec": one.method, "rate": one.setting}
        | dict(one.values)
        for one in shown
    ]
    for row in like:
        lines.append([str(row["codec"]), str(row["rate"]), f"ours: {row['dataset']}, {_meshes(row)}", *cells(row)])
        data += [
            {"source": "ours", "beside": f"{one.method} {one.setting}".strip(), **row, **_deviation(row, one, columns)}
            for one in shown
            if one.is_like(row)
        ]
    heading = ("codec", "rate", "meshes", *(size.heading for size in sizes), *(column.label for column in columns))
    note = "published figures are of other meshes: ratios of set codecs grow with the set, sizes may be of bare weights"
    return Table(f"published and ours: {first.source}, {first.table}, {first.dataset}", heading, lines, data, (note,))


def _metric(column: Column, value: float | None) -> str:
    return show(column, float("nan") if value is None else value)


def _meshes(row: Mapping[str, Any]) -> str:
    return "1 mesh" if row["meshes"] == 1 else f"{row['meshes']} meshes"


def _deviation(row: Mapping[str, Any], of: Published, columns: Sequence[Column]) -> dict[str, float]:
    """Relative differences of ours from the published figure."""
    return {
        f"{c.name}_deviation": row[c.name] / of.values[c.name] - 1
        for c in columns
        if of.values.get(c.name) and row[c.name] is not None
    }
