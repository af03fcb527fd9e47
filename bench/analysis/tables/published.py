"""Published figures, from ``results/published.csv``, beside figures of a run."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

import pandas as pd

from gcbench.bench.analysis.measured import measured
from gcbench.bench.analysis.tables.columns import CODEC, RATE, SIZES, for_people, for_programs, metric
from gcbench.bench.metrics import Column as Metric
from gcbench.bench.tabular import Column, Table
from gcbench.registry import split_address


@dataclass(frozen=True)
class Published:
    """Figures that a paper gives for one method in one setting.

    Parameters
    ----------
    source, table, dataset : str
        The paper, its table, and the meshes.
    method, setting : str
        Names in the paper.
    codec, beside_dataset, beside_rate : str
        Which rows of a run are comparable: the name of the codec, the name of the dataset, and a pattern of rate
        labels; an empty dataset or pattern matches all. If any row of a paper's table has a comparable row, the whole
        table is shown; a published row with a pattern of rates is shown only if the row itself has one.
    values : mapping of str to float
        Values by column name, in the unit of the column.
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
        """Whether a row of a summary is comparable with these figures."""
        return (
            split_address(str(row["codec"]), "codec")[0] == self.codec
            and self.beside_dataset in {"", row["dataset"]}
            and fnmatchcase(str(row["rate"]), self.beside_rate or "*")
        )


def published() -> list[Published]:
    """All published figures, in the order of the file."""
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
    """Published tables, each with the comparable rows of the run below it, for the columns that the run measured.

    Each is made twice: for people, and for programs, which get the relative differences too.

    Published figures are of other meshes and machines. The tables show the differences without a judgement.

    Parameters
    ----------
    summary : DataFrame
        From :func:`gcbench.bench.analysis.frame.summarise`.
    figures : sequence of Published, optional
        By default the figures in ``results/published.csv``.
    """
    groups: dict[tuple[str, str, str], list[Published]] = {}
    for one in published() if figures is None else figures:
        groups.setdefault((one.source, one.table, one.dataset), []).append(one)
    return [table for group in groups.values() for table in _tables(group, summary[summary["ok"] > 0])]


def _tables(group: Sequence[Published], summary: pd.DataFrame) -> list[Table]:
    columns = [column for column in measured(summary) if any(column.name in one.values for one in group)]
    ours = [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in summary.to_dict("records")]
    like = [row for row in ours if any(row[c.name] is not None and one.is_like(row) for one in group for c in columns)]
    if not like:
        return []
    shown = [one for one in group if not one.beside_rate or any(map(one.is_like, like))]
    sizes = [size for size in SIZES if any(size.name in one.values for one in shown)]
    first = group[0]
    lines: list[dict[str, Any]] = [
        {"codec": one.method, "rate": one.setting, "meshes": first.dataset, **one.values} for one in shown
    ]
    lines += [{**row, "meshes": f"ours: {row['dataset']}, {_meshes(row)}"} for row in like]
    data: list[dict[str, Any]] = [
        {"source": f"{one.source}, {one.table}", "dataset": one.dataset, "codec": one.method, "rate": one.setting}
        | dict(one.values)
        for one in shown
    ]
    data += [
        {"source": "ours", "beside": f"{one.method} {one.setting}".strip(), **row, **_deviation(row, one, columns)}
        for row in like
        for one in shown
        if one.is_like(row)
    ]
    title = f"published and ours: {first.source}, {first.table}, {first.dataset}"
    note = "published figures are of other meshes: ratios of set codecs grow with the set, sizes may be of bare weights"
    heading = [CODEC, RATE, Column("meshes", "meshes", key=True), *sizes, *map(metric, columns)]
    return [
        Table.of_rows(title, for_people(heading), lines, notes=(note,)),
        Table.of_rows(title, for_programs(list(dict.fromkeys(name for row in data for name in row))), data),
    ]


def _meshes(row: Mapping[str, Any]) -> str:
    return "1 mesh" if row["meshes"] == 1 else f"{row['meshes']} meshes"


def _deviation(row: Mapping[str, Any], of: Published, columns: Sequence[Metric]) -> dict[str, float]:
    """Relative differences of a row of the run from the published figures."""
    return {
        f"{c.name}_deviation": row[c.name] / of.values[c.name] - 1
        for c in columns
        if of.values.get(c.name) and row[c.name] is not None
    }
