"""The other tables of a run: datasets, times, Bjøntegaard deltas and resolutions.

The rate-distortion table, with a row for each codec and rate, is in ``table.py``; published figures beside figures of
a run are in ``published.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gcbench.bench.analysis.coverage import common
from gcbench.bench.analysis.frame import BLOCK, machine, summarise
from gcbench.bench.analysis.rate_distortion import BDRate, bd_matrix, per_mesh
from gcbench.bench.analysis.table import block_title, machine_notes, show
from gcbench.bench.analysis.text import Format, block, csv_lines, json_rows
from gcbench.bench.metrics import Column

_HEADINGS_WIDTH = 90  # of a terminal of 120 columns, what is left beside the names of the rows


@dataclass(frozen=True)
class Table:
    """A table for people and for programs.

    Parameters
    ----------
    title : str
        What the table shows.
    heading : tuple of str
        Of the columns.
    rows : list of list of str
        Cells as people read them.
    data : list of dict
        The same rows at full precision.
    notes : tuple of str
        Lines below the table that a reader needs to understand it.
    """

    title: str
    heading: tuple[str, ...]
    rows: list[list[str]]
    data: list[dict[str, Any]]
    notes: tuple[str, ...] = ()


def render(tables: Sequence[Table], format_: Format) -> str:
    """Write tables one after the other; CSV and JSON hold the rows of all tables as one table."""
    if format_ in {"csv", "json"}:
        data = [row for table in tables for row in table.data]
        if format_ == "json":
            return json_rows(data)
        columns = list(dict.fromkeys(name for row in data for name in row))
        return csv_lines([columns, *([row.get(name) for name in columns] for row in data)])
    blocks = [block(t.title, [t.heading, *t.rows], t.notes, format_) for t in tables if t.rows]
    return "\n".join(blocks) or "nothing to show\n"


def datasets(rows: pd.DataFrame) -> list[Table]:
    """Describe the datasets of a run as the paper's Table 1 does: meshes, bytes, mean numbers of vertices and faces."""
    cells, data = [], []
    for (dataset, split), part in rows.groupby(["dataset", "split"], sort=True):
        bad = part.loc[part["status"] == "bad-input", "mesh"].nunique()
        known = part[part["obj_bytes"].notna()].drop_duplicates("mesh")
        row = {
            "dataset": str(dataset),
            "split": str(split),
            "meshes": part["mesh"].nunique(),
            "bad_input": bad,
            "obj_megabytes": float(known["obj_bytes"].sum() / 1e6),
            "mean_vertices": float(known["vertices"].astype(float).mean()) if len(known) else None,
            "mean_faces": float(known["faces"].astype(float).mean()) if len(known) else None,
        }
        data.append(row)
        cells.append(
            [
                *(str(dataset), str(split), str(row["meshes"]), str(bad), f"{row['obj_megabytes']:.2f}"),
                *(_or_dash(row[name], "{:.0f}") for name in ("mean_vertices", "mean_faces")),
            ]
        )
    heading = ("dataset", "split", "meshes", "bad input", "OBJ MB", "vertices", "faces")
    return [Table("datasets", heading, cells, data, ("OBJ MB: normalised, six decimals; vertices, faces: mean",))]


def timing(rows: pd.DataFrame) -> list[Table]:
    """Times and added memory of encoding and decoding. The time of a set codec is divided by the size of the set.

    There is one table for the timing passes of each kind of machine. The last table has the rows without a timing pass:
    their times are of single calls of the quality pass.

    Parameters
    ----------
    rows : DataFrame
        Records.
    """
    passes = rows["timing"]
    kinds = machine(rows)
    tables = []
    of_passes = sorted(set(kinds[passes]))
    for kind in of_passes:
        summary = summarise(rows[~passes | (kinds == kind)])
        tables += _timing(summary[summary["timed"]], kind)
    summary = summarise(rows)
    tables += _timing(summary[~summary["timed"].astype(bool)], "single shots" if of_passes else "")
    return tables


def _timing(summary: pd.DataFrame, which: str) -> list[Table]:
    headings = {
        "encode_ms": "encode ms",
        "encode_stage_coding_ms": "of it coding",  # the rest is conversion
        "decode_ms": "decode ms",
        "decode_stage_coding_ms": "of it coding",
        "encode_added_mib": "encode +MiB",
        "decode_added_mib": "decode +MiB",
        "encode_gpu_mib": "encode GPU MiB",
        "decode_gpu_mib": "decode GPU MiB",
    }
    optional = [name for name in headings if "stage" in name or "gpu" in name]
    columns = [name for name in headings if name in summary and (name not in optional or summary[name].notna().any())]
    heading = ("codec", "rate", *(headings[name] for name in columns), "encode calls", "decode calls", "how")
    calls = [f"{call}_calls_{end}" for call in ("encode", "decode") for end in ("least", "most")]
    tables = []
    for where, part in _blocks(summary[summary["encode_ms"].notna()]):
        cells = [
            [
                *(str(r["codec"]), str(r["rate"]), *(_or_dash(r[c], "{:.1f}") for c in columns)),
                *(_calls(r, "encode"), _calls(r, "decode"), "pinned" if r["timed"] else "single"),
            ]
            for r in part.to_dict("records")
        ]
        data = part[[*BLOCK, "codec", "rate", *columns, *calls, "timed", "machine"]].to_dict("records")
        notes = (
            "pinned: median of so many pinned calls (bench run --timing), long calls are not repeated; "
            "single: one call, beside others",
            "+MiB: peak of the call above what its process held before, libraries and weights included",
            *machine_notes(part),
        )
        title = f"time and memory, {where}" + (f", {which}" if which else "")
        tables.append(Table(title, heading, cells, [_named(r) for r in data], notes))
    return tables


def _calls(row: dict[Any, Any], call: str) -> str:
    """Number of calls behind a median; ``1–5`` if meshes differ."""
    least, most = row[f"{call}_calls_least"], row[f"{call}_calls_most"]
    if pd.isna(least):
        return "–"
    return f"{least:.0f}" if least == most else f"{least:.0f}–{most:.0f}"


def stages(summary: pd.DataFrame) -> list[Table]:
    """Time of each stage of encoding and decoding, for codecs that report stages."""
    told = [c for c in map(str, summary) if "code_stage_" in c and summary[c].notna().any()]
    tables = []
    for where, part in _blocks(summary[summary[told].notna().any(axis=1)]):
        shown = part.copy()
        columns: list[str] = []
        for call in ("encode", "decode"):
            names = [c for c in told if c.startswith(call)]
            shown[f"{call}_stage_rest_ms"] = part[f"{call}_ms"] - part[names].sum(axis=1)
            columns += [*names, f"{call}_stage_rest_ms"]
        cells = [
            [str(r["codec"]), str(r["rate"]), *(_or_dash(r[c], "{:.1f}") for c in columns)]
            for r in shown.to_dict("records")
        ]
        data = shown[[*BLOCK, "codec", "rate", *columns]].to_dict("records")
        heading = [column.replace("_stage_", " ").removesuffix("_ms") for column in columns]
        note = "ms for one mesh; rest: outside of the stages that the codec tells apart"
        title = f"where the time goes, {where}"
        tables.append(Table(title, ("codec", "rate", *heading), cells, [_named(r) for r in data], (note,)))
    return tables


def bd(rows: pd.DataFrame, metric: Column) -> list[Table]:
    """BD-rates between all pairs of codecs: one table from the mean curves, one with the mean of the meshes' BD-rates.

    Means are over the meshes that codecs have in common.

    Parameters
    ----------
    rows : DataFrame
        Records.
    metric : Column
        The quality. Records without a value in this column are left out.
    """
    tables = []
    name = metric.name
    quality = rows[~rows["timing"]]
    for where, records in _blocks(quality if name in rows else rows.iloc[:0]):
        measured = records[(records["status"] == "ok") & records[name].notna()]
        shared = common(records)
        part = summarise(shared.rows[shared.rows["codec"].isin(measured["codec"])])
        elsewhere = {*shared.aside["codec"], *part.loc[part[name].isna(), "codec"]}  # or measured on other meshes
        matrix = bd_matrix(part, name, sorted(elsewhere & set(measured["codec"])))
        if len(matrix) < 2:
            continue
        key = dict(zip(BLOCK, records.iloc[0][BLOCK], strict=True))
        data = [
            {**key, "metric": name, **_delta(measured, matrix.loc[test, anchor], str(test), str(anchor), name)}
            for test in matrix.index
            for anchor in matrix.columns
            if test != anchor
        ]
        title = f"BD-rate % in {metric.label}, {where}"
        tables.append(_matrix_table(matrix, title, data, shared.notes))
        if lines := _per_mesh_lines(data):
            head = ("codec", "against", "mean %", "95 % low", "high", "meshes", "without", "wins")
            notes = (
                "BD-rate of each mesh by itself; interval: bootstrap over meshes; wins: meshes with fewer bytes",
                "each pair once, the one that needs fewer bytes first; both ways: -f csv",
            )
            tables.append(Table(f"per-mesh {title}", head, lines, [], notes))
    return tables


def _delta(records: pd.DataFrame, delta: BDRate, test: str, anchor: str, metric: str) -> dict[str, Any]:
    single = per_mesh(records, anchor, test, metric)
    return {
        "codec": test, "anchor": anchor,
        "bd_rate": delta.percent, "bd_rate_akima": delta.akima_percent, "overlap": delta.overlap,
        "refusal": delta.refusal and str(delta.refusal), "dropped": "; ".join(delta.dropped),
        "per_mesh": single.percent, "per_mesh_low": single.low, "per_mesh_high": single.high,
        "per_mesh_meshes": single.meshes, "per_mesh_refused": single.refused, "wins": single.wins,
    }  # fmt: skip


def _matrix_table(matrix: pd.DataFrame, title: str, data: list[dict[str, Any]], coverage: Sequence[str]) -> Table:
    """Lay out a matrix. If there are many codecs, numbers head the columns, so that the table fits on a page."""
    names = [str(name) for name in matrix.index]
    numbered = sum(len(name) + 2 for name in names) > _HEADINGS_WIDTH
    reasons: dict[str, str] = {}
    cells = [
        [name, str(place) if numbered else "", *(_cell(delta, reasons) for delta in matrix.loc[name])]
        for place, name in enumerate(names, start=1)
    ]
    notes = ["row against column, of the mean curves, pchip: −50 is half the bytes at equal quality"]
    notes += [*(f"{mark}: {reason}" for reason, mark in reasons.items()), *coverage]
    heading = [str(place) for place in range(1, len(names) + 1)] if numbered else names
    return Table(title, ("codec", "no." if numbered else "against", *heading), cells, data, tuple(notes))


def resolution(summary: pd.DataFrame, columns: Sequence[Column]) -> list[Table]:
    """Compare resolutions of volumes, as the paper's Table 3 does, for rates whose label has one (``k64w32``: 64)."""
    found = summary.assign(k=summary["rate"].astype(str).str.extract(r"^k(\d+)", expand=False))
    found = found[found["k"].notna() & (found["ok"] > 0)]
    heading = ("codec", "rate", "K", "ratio", *(c.label for c in columns), "encode s/mesh", "decode ms")
    tables = []
    for where, part in _blocks(found.assign(k=found["k"].astype(int))):
        ordered = part.sort_values(["k", "ratio"], ascending=[True, False])
        cells = [
            [
                *(str(r["codec"]), str(r["rate"]), str(r["k"]), f"{r['ratio']:.1f}"),
                *(show(c, r[c.name]) for c in columns),
                *(_or_dash(r["encode_ms"] / 1000, "{:.1f}"), _or_dash(r["decode_ms"], "{:.1f}")),
            ]
            for r in ordered.to_dict("records")
        ]
        names = [*BLOCK, "codec", "rate", "k", "ratio", *(c.name for c in columns), "encode_ms", "decode_ms"]
        data = ordered[names].to_dict("records")
        tables.append(Table(f"resolutions, {where}", heading, cells, [_named(r) for r in data]))
    return tables


def _blocks(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (dataset, split, effort, device), part in summary.groupby(BLOCK, sort=True):
        yield block_title(str(dataset), str(split), str(effort), str(device)), part


def _cell(delta: object, reasons: dict[str, str]) -> str:
    if not isinstance(delta, BDRate):
        return "·"
    if delta.percent is not None:
        return _percent(delta.percent)
    return reasons.setdefault(str(delta.refusal), f"({chr(ord('a') + len(reasons))})")


def _percent(value: float | None) -> str:
    """Write a percentage with three digits at most: more digits would be noise."""
    return "–" if value is None else f"{value:+.1f}" if abs(value) < 100 else f"{value:+.0f}"


def _per_mesh_lines(data: Sequence[dict[str, Any]]) -> list[list[str]]:
    known = {(row["codec"], row["anchor"]): row for row in data if row["per_mesh"] is not None}
    lines = []
    for (codec, anchor), row in known.items():
        other = known.get((anchor, codec))
        if other is not None and (other["per_mesh"], anchor) < (row["per_mesh"], codec):
            continue  # the table has this pair the other way round
        shown = [_percent(row[name]) for name in ("per_mesh", "per_mesh_low", "per_mesh_high")]
        counts = [str(row["per_mesh_meshes"]), str(row["per_mesh_refused"])]
        lines.append([codec, anchor, *shown, *counts, f"{100 * row['wins']:.0f} %"])
    return lines


def _or_dash(value: Any, shown: str, scale: float = 1.0) -> str:
    return "–" if value is None or pd.isna(value) else shown.format(value * scale)


def _named(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): None if pd.isna(value) else value for name, value in row.items()}
