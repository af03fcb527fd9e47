"""Resolutions of volumes side by side, as in the paper's Table 3."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gcbench.bench.analysis.tables.columns import (
    CODEC,
    OF_BLOCK,
    RATE,
    SIZES,
    blocks,
    metric,
    number,
    values_of,
)
from gcbench.bench.metrics import Column as Metric
from gcbench.bench.tabular import Column, Table


def resolution(summary: pd.DataFrame, columns: Sequence[Metric]) -> list[Table]:
    """One table for each dataset, of the rates whose label has a resolution (``k64w32``: 64).

    Parameters
    ----------
    summary : DataFrame
        From :func:`gcbench.bench.analysis.frame.summarise`.
    columns : sequence of Column
        Metrics to show.
    """
    found = summary.assign(k=summary["rate"].astype(str).str.extract(r"^k(\d+)", expand=False))
    found = found[found["k"].notna() & (found["ok"] > 0)]
    shown = (
        *(CODEC, RATE, Column("k", "K", "integer"), SIZES[0], *map(metric, columns)),
        Column("encode_ms", "encode s/mesh", "number", lambda value: f"{value / 1000:.1f}"),
        number("decode_ms", "decode ms"),
    )
    tables = []
    for where, part in blocks(found.assign(k=found["k"].astype(int))):
        ordered = part.sort_values(["k", "ratio"], ascending=[True, False])
        tables.append(Table(f"resolutions, {where}", [*OF_BLOCK, *shown], values_of(ordered)))
    return tables
