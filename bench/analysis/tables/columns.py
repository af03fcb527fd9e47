"""Columns that several tables share: sizes, times, metrics with the labels of the registry; and blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from gcbench.bench.analysis.frame import BLOCK
from gcbench.bench.metrics import Column as Metric
from gcbench.bench.tabular import Column, Kind

CODEC, RATE = Column("codec", "codec", key=True), Column("rate", "rate", key=True)


def number(name: str, label: str, form: str = ".1f") -> Column:
    """A column of numbers that people read in a format such as ``.1f``."""
    return Column(name, label, "number", lambda value: format(value, form))


SIZES = (number("ratio", "ratio"), number("kilobytes", "kB/mesh", ".2f"))
PER_FRAME = number("kilobits_per_frame", "kbit/frame", ".1f")
TIMES = (number("encode_ms", "enc ms"), number("decode_ms", "dec ms"))


def show(column: Metric, value: float) -> str:
    """Write a value in the scale of the column's label."""
    return f"{value * column.scale:.{column.digits}f}"


def metric(column: Metric) -> Column:
    """A column of a metric suite, as the registry declares it."""
    return Column(column.name, column.label, "number", partial(show, column))


def compared(metrics: Sequence[Metric], present: Any, more_sizes: Sequence[Column] = ()) -> list[Column]:
    """Columns by which people compare codecs: sizes, the given metrics, times; those that are present."""
    return [column for column in (*SIZES, *more_sizes, *map(metric, metrics), *TIMES) if column.name in present]


def for_people(columns: Sequence[Column]) -> list[Column]:
    """The same columns, left out of CSV and JSON."""
    return [Column(c.name, c.label, c.kind, c.show, c.key, data=False) for c in columns]


def for_programs(names: Sequence[str], kinds: Mapping[str, Kind] | None = None) -> list[Column]:
    """Columns of CSV and JSON that people do not see."""
    return [Column(name, kind=(kinds or {}).get(name, "text")) for name in names]


#: Dataset, split, effort and device: the title says them to people.
OF_BLOCK = for_programs(BLOCK)


def values_of(frame: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """The columns of a frame by name."""
    return {str(name): frame[name] for name in frame}


def blocks(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows that can be compared, with a title: one dataset, split, effort and device at a time."""
    for key, part in rows.groupby(BLOCK, sort=True, observed=True):
        yield block_title(*map(str, key)), part


def block_title(dataset: str, split: str, effort: str, device: str) -> str:
    """Name the dataset, split, effort and device of one table."""
    return f"{dataset}, split {split}, effort {effort}" + ("" if device == "cpu" else f", on {device}")
