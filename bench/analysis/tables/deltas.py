"""Bjøntegaard deltas between all pairs of codecs: of the mean curves, and of each mesh by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from gcbench.bench.analysis.frame import BLOCK
from gcbench.bench.analysis.mean_curves import MeanCurves, Pairs
from gcbench.bench.analysis.per_mesh import PerMesh, per_mesh_all
from gcbench.bench.analysis.rate_distortion import BDRate
from gcbench.bench.analysis.tables.columns import blocks, for_programs
from gcbench.bench.metrics import Column as Metric
from gcbench.bench.tabular import Column, Table

_HEADINGS_WIDTH = 90  # of a terminal of 120 columns, what is left beside the names of the rows
_NAMES = (
    *(*BLOCK, "metric", "codec", "anchor", "bd_rate", "bd_rate_akima", "meshes", "overlap", "refusal", "dropped"),
    *("per_mesh", "per_mesh_low", "per_mesh_high", "per_mesh_meshes", "per_mesh_refused", "wins"),
)


def deltas(rows: pd.DataFrame, metric: Metric) -> list[Table]:
    """BD-rates: a matrix from the mean curves, and a list of the means of the meshes' BD-rates; both for programs too.

    Means are over the meshes that codecs have in common, or over fewer (:class:`MeanCurves`).

    Parameters
    ----------
    rows : DataFrame
        Records.
    metric : Column
        The quality. Records without a value in this column are left out.
    """
    tables = []
    name = metric.name
    quality = rows[~rows["timing"].astype(bool)]
    for where, records in blocks(quality if name in rows else rows.iloc[:0]):
        measured = records[(records["status"] == "ok") & records[name].notna()]
        means = MeanCurves(records)
        pairs = means.bd_rates(name, set(measured["codec"]))
        if len(pairs.codecs) < 2:
            continue
        key = dict(zip(BLOCK, records.iloc[0][BLOCK], strict=True))
        per_mesh = per_mesh_all(measured, name)
        data = [
            {**key, "metric": name, "meshes": pair.meshes, **_delta(pair.rate, per_mesh[names], *names)}
            for names, pair in pairs.of.items()
        ]
        title = f"BD-rate % in {metric.label}, {where}"
        tables += [_matrix_table(pairs, title, means.common.notes), *_per_mesh_table(data, f"per-mesh {title}")]
        tables.append(Table.of_rows(title, for_programs(_NAMES), data))
    return tables


def _delta(delta: BDRate, single: PerMesh, test: str, anchor: str) -> dict[str, Any]:
    return {
        "codec": test, "anchor": anchor,
        "bd_rate": delta.percent, "bd_rate_akima": delta.akima_percent, "overlap": delta.overlap,
        "refusal": delta.refusal and str(delta.refusal), "dropped": "; ".join(delta.dropped),
        "per_mesh": single.percent, "per_mesh_low": single.low, "per_mesh_high": single.high,
        "per_mesh_meshes": single.meshes, "per_mesh_refused": single.refused, "wins": single.wins,
    }  # fmt: skip


def _matrix_table(pairs: Pairs, title: str, coverage: Sequence[str]) -> Table:
    """A matrix for people. If there are many codecs, numbers head the columns, so that the table fits on a page."""
    names = pairs.codecs
    numbered = sum(len(name) + 2 for name in names) > _HEADINGS_WIDTH
    reasons: dict[str, str] = {}
    values: dict[str, list[Any]] = {
        "codec": list(names),
        "against": [str(place) if numbered else "" for place in range(1, len(names) + 1)],
    }
    rows = [[_cell(pairs, name, anchor, reasons) for anchor in names] for name in names]
    values |= {f"against {place}": list(cells) for place, cells in enumerate(zip(*rows, strict=True), start=1)}
    heads = [str(place) for place in range(1, len(names) + 1)] if numbered else names
    columns = [
        Column("codec", "codec", key=True, data=False),
        Column("against", "no." if numbered else "against", key=True, data=False),
        *(Column(f"against {place}", head, "number", data=False) for place, head in enumerate(heads, start=1)),
    ]
    notes = ["row against column, of the mean curves, pchip: −50 is half the bytes at equal quality"]
    notes += [*(f"{mark}: {reason}" for reason, mark in reasons.items()), *filter(None, [pairs.note]), *coverage]
    return Table(title, columns, values, tuple(notes))


def _cell(pairs: Pairs, codec: str, anchor: str, reasons: dict[str, str]) -> str:
    if codec == anchor:
        return "·"
    rate = pairs.of[codec, anchor].rate
    if rate.percent is not None:
        return _percent(rate.percent) + pairs.mark(codec, anchor)
    return reasons.setdefault(str(rate.refusal), f"({chr(ord('a') + len(reasons))})")


def _percent(value: float) -> str:
    """Write a percentage with three digits at most: more digits would be noise."""
    return f"{value:+.1f}" if abs(value) < 100 else f"{value:+.0f}"


_PER_MESH = (
    Column("codec", "codec", key=True, data=False),
    Column("anchor", "against", key=True, data=False),
    Column("per_mesh", "mean %", "number", _percent, data=False),
    Column("per_mesh_low", "95 % low", "number", _percent, data=False),
    Column("per_mesh_high", "high", "number", _percent, data=False),
    Column("per_mesh_meshes", "meshes", "integer", data=False),
    Column("per_mesh_refused", "without", "integer", data=False),
    Column("wins", "wins", "number", lambda share: f"{100 * share:.0f} %", data=False),
)


def _per_mesh_table(data: Sequence[dict[str, Any]], title: str) -> list[Table]:
    known = {(row["codec"], row["anchor"]): row for row in data if row["per_mesh"] is not None}
    shown = []
    for (codec, anchor), row in known.items():
        other = known.get((anchor, codec))
        if other is None or (row["per_mesh"], codec) <= (other["per_mesh"], anchor):
            shown.append(row)  # else the table has this pair the other way round
    notes = (
        "BD-rate of each mesh by itself; interval: bootstrap over meshes; wins: meshes with fewer bytes",
        "each pair once, the one that needs fewer bytes first; both ways: -f csv",
    )
    return [Table.of_rows(title, _PER_MESH, shown, notes=notes)] if shown else []
