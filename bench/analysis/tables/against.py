"""BD-rates of some codecs against all others, for the author of a codec."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from gcbench.bench.analysis.mean_curves import MeanCurves, Pairs
from gcbench.bench.analysis.tables.columns import blocks
from gcbench.bench.metrics import Column as Metric
from gcbench.bench.tabular import Column, Table


def against(rows: pd.DataFrame, metric: Metric, codecs: Collection[str]) -> list[Table]:
    """BD-rates from the mean curves (:class:`MeanCurves`): a row for each other codec, a column for each of ours.

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
        means = MeanCurves(records[records[metric.name].notna() | (records["status"] != "ok")])
        pairs = means.bd_rates(metric.name)
        ours = [codec for codec in pairs.codecs if codec in codecs]
        others = [codec for codec in pairs.codecs if codec not in codecs]
        if not (ours and others):
            continue
        values: dict[str, Any] = {"against": others}
        values |= {codec: [_cell(pairs, codec, other) for other in others] for codec in ours}
        notes = (
            f"mean curves over {pairs.most} meshes, pchip: −50 is half the bytes of the codec of the row at equal "
            "quality",
            *filter(None, [pairs.note]),
            *means.common.notes,
        )
        columns = [Column("against", "against", key=True), *(Column(codec, codec) for codec in ours)]
        tables.append(Table(f"BD-rate % in {metric.label}, {where}", columns, values, notes))
    return tables


def _cell(pairs: Pairs, codec: str, other: str) -> str:
    rate = pairs.of[codec, other].rate
    return str(rate.refusal) if rate.percent is None else f"{rate.percent:+.1f}{pairs.mark(codec, other)}"
