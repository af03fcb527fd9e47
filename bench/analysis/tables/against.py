"""BD-rates of some codecs against all others, for the author of a codec."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from gcbench.bench.analysis.coverage import common
from gcbench.bench.analysis.frame import summarise
from gcbench.bench.analysis.rate_distortion import BDRate, bd_matrix
from gcbench.bench.analysis.tables.columns import blocks
from gcbench.bench.metrics import Column as Metric
from gcbench.bench.tabular import Column, Table


def against(rows: pd.DataFrame, metric: Metric, codecs: Collection[str]) -> list[Table]:
    """BD-rates from the mean curves, over the meshes in common: a row for each other codec, a column for each of ours.

    Parameters
    ----------
    rows : DataFrame
        Records.
    metric : Column
        The quality. Records without a value in this column are left out.
    codecs : collection of str
        Ours.
    """
    tables = []
    quality = rows[~rows["timing"].astype(bool)]
    for where, records in blocks(quality if metric.name in rows else rows.iloc[:0]):
        shared = common(records[records[metric.name].notna() | (records["status"] != "ok")])
        part = summarise(shared.rows)
        matrix = bd_matrix(part, metric.name, sorted(set(shared.aside["codec"].astype(str))))
        ours = [str(codec) for codec in matrix.index if codec in codecs]
        others = [str(codec) for codec in matrix.index if codec not in codecs]
        if not (ours and others):
            continue
        values: dict[str, Any] = {"against": others}
        values |= {codec: [_cell(matrix.loc[codec, other]) for other in others] for codec in ours}
        meshes = shared.rows.loc[shared.rows["status"] == "ok", "mesh"].nunique()
        notes = (
            f"mean curves over {meshes} meshes, pchip: −50 is half the bytes of the codec of the row at equal quality",
            *shared.notes,
        )
        columns = [Column("against", "against", key=True), *(Column(codec, codec) for codec in ours)]
        tables.append(Table(f"BD-rate % in {metric.label}, {where}", columns, values, notes))
    return tables


def _cell(delta: object) -> str:
    if not isinstance(delta, BDRate):
        return "·"
    return str(delta.refusal) if delta.percent is None else f"{delta.percent:+.1f}"
