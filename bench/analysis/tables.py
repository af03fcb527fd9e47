"""The other tables of a run: datasets, times, Bjøntegaard deltas, resolutions, and published figures beside ours.

The rate-distortion table, which has a row for each codec and rate, is in ``table.py``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pandas as pd

from gcbench.bench.analysis.coverage import common
from gcbench.bench.analysis.frame import summarise
from gcbench.bench.analysis.rate_distortion import BDRate, bd_matrix, per_mesh
from gcbench.bench.analysis.text import Format, block, csv_lines, json_rows
from gcbench.bench.metrics import METRICS

BLOCK = ["dataset", "split", "effort", "device"]
_HEADINGS_WIDTH = 90  # of a terminal of 120 columns, what is left beside the names of the rows


@dataclass(frozen=True)
class Table:
    """A table for people and for programs.

    Parameters
    ----------
    title : str
        What it is of.
    heading : tuple of str
        Of the columns.
    rows : list of list of str
        Cells as people read them.
    data : list of dict
        The same rows at full precision.
    notes : tuple of str
        What has to be known to read it.
    """

    title: str
    heading: tuple[str, ...]
    rows: list[list[str]]
    data: list[dict[str, Any]]
    notes: tuple[str, ...] = ()


def render(tables: Sequence[Table], format_: Format) -> str:
    """Write tables one after the other; in CSV and JSON their rows follow each other."""
    if format_ in {"csv", "json"}:
        data = [row for table in tables for row in table.data]
        if format_ == "json":
            return json_rows(data)
        columns = list(dict.fromkeys(name for row in data for name in row))
        return csv_lines([columns, *([row.get(name) for name in columns] for row in data)])
    blocks = [block(t.title, [t.heading, *t.rows], t.notes, format_) for t in tables if t.rows]
    return "\n".join(blocks) or "nothing to show\n"


def datasets(rows: pd.DataFrame) -> list[Table]:
    """Say what was compressed: the paper's Table 1, from the meshes of the run."""
    cells, data = [], []
    for (dataset, split), part in rows.groupby(["dataset", "split"], sort=True):
        bad = part.loc[part["status"] == "bad-input", "mesh"].nunique()
        known = part[part["obj_bytes"].notna()].drop_duplicates("mesh")
        facts = part.dropna(subset=["in_faces"]).drop_duplicates("mesh") if "in_faces" in part else part.iloc[:0]
        row = {
            "dataset": str(dataset),
            "split": str(split),
            "meshes": part["mesh"].nunique(),
            "bad_input": bad,
            "obj_megabytes": float(known["obj_bytes"].sum() / 1e6),
            "mean_vertices": float(facts["in_vertices"].mean()) if len(facts) else None,
            "mean_faces": float(facts["in_faces"].mean()) if len(facts) else None,
            "watertight": int(facts["in_watertight"].sum()) if len(facts) else None,
        }
        data.append(row)
        cells.append(
            [
                *(str(dataset), str(split), str(row["meshes"]), str(bad), f"{row['obj_megabytes']:.2f}"),
                *(_or_dash(row[name], "{:.0f}") for name in ("mean_vertices", "mean_faces", "watertight")),
            ]
        )
    heading = ("dataset", "split", "meshes", "bad input", "OBJ MB", "vertices", "faces", "watertight")
    return [Table("datasets", heading, cells, data, ("OBJ MB: normalised, six decimals; vertices, faces: mean",))]


def timing(summary: pd.DataFrame) -> list[Table]:
    """Say what coding takes: times, of a set codec its share for one mesh, and the memory it adds."""
    headings = {
        "encode_ms": "encode ms",
        "encode_stage_coding_ms": "of it coding",  # the rest is conversion
        "decode_ms": "decode ms",
        "decode_stage_coding_ms": "of it coding",
        "encode_added_mib": "encode +MiB",
        "decode_added_mib": "decode +MiB",
    }
    columns = [name for name in headings if name in summary and ("stage" not in name or summary[name].notna().any())]
    heading = ("codec", "rate", *(headings[name] for name in columns), "how")
    tables = []
    for where, part in _blocks(summary[summary["encode_ms"].notna()]):
        cells = [
            [str(r["codec"]), str(r["rate"]), *(_or_dash(r[c], "{:.1f}") for c in columns), _how(bool(r["timed"]))]
            for r in part.to_dict("records")
        ]
        data = part[[*BLOCK, "codec", "rate", *columns, "timed"]].to_dict("records")
        notes = (
            "pinned: median of repeated, pinned calls (bench run --timing); single: one call, beside others",
            "+MiB: peak of the call above what its process held before, libraries and weights included",
        )
        tables.append(Table(f"time and memory, {where}", heading, cells, [_named(r) for r in data], notes))
    return tables


def stages(summary: pd.DataFrame) -> list[Table]:
    """Say where the time of a call goes, for codecs that tell: the conversion to points and back apart from coding."""
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


def bd(rows: pd.DataFrame, metric: str) -> list[Table]:
    """BD-rate of every codec against every other: of the mean curves, and the mean over meshes with its interval.

    Means are over the meshes that codecs have in common.

    Parameters
    ----------
    rows : DataFrame
        Records.
    metric : str
        A name of METRICS.
    """
    tables = []
    quality = rows[~rows["timing"]]
    for where, records in _blocks(quality if metric in rows else rows.iloc[:0]):
        measured = records[(records["status"] == "ok") & records[metric].notna()]
        shared = common(records)
        part = summarise(shared.rows[shared.rows["codec"].isin(measured["codec"])])
        matrix = bd_matrix(part, metric, sorted(set(shared.aside["codec"]) & set(measured["codec"])))
        if len(matrix) < 2:
            continue
        key = dict(zip(BLOCK, records.iloc[0][BLOCK], strict=True))
        data = [
            {**key, "metric": metric, **_delta(measured, matrix.loc[test, anchor], str(test), str(anchor), metric)}
            for test in matrix.index
            for anchor in matrix.columns
            if test != anchor
        ]
        title = f"BD-rate % in {METRICS[metric].label}, {where}"
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
    """Lay out a matrix; of many codecs, columns are headed by numbers, so that it fits on a page."""
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


def resolution(summary: pd.DataFrame) -> list[Table]:
    """Compare resolutions of volumes: the paper's Table 3, for rates whose label names one (``k64w32``)."""
    found = summary.assign(k=summary["rate"].astype(str).str.extract(r"^k(\d+)", expand=False))
    found = found[found["k"].notna() & (found["ok"] > 0)]
    names = ("ratio", "cd", "nc", "f1_0005", "f1_001", "cd_p2s")
    heading = ("codec", "rate", "K", "ratio", *(METRICS[n].label for n in names[1:]), "encode s/mesh", "decode ms")
    tables = []
    for where, part in _blocks(found.assign(k=found["k"].astype(int))):
        ordered = part.sort_values(["k", "ratio"], ascending=[True, False])
        cells = [
            [
                *(str(r["codec"]), str(r["rate"]), str(r["k"]), f"{r['ratio']:.1f}"),
                *(_or_dash(r[n] * METRICS[n].scale, "{:.3f}") for n in names[1:]),
                *(f"{r['encode_ms'] / 1000:.1f}", f"{r['decode_ms']:.1f}"),
            ]
            for r in ordered.to_dict("records")
        ]
        data = ordered[[*BLOCK, "codec", "rate", "k", *names, "encode_ms", "decode_ms"]].to_dict("records")
        tables.append(Table(f"resolutions, {where}", heading, cells, [_named(r) for r in data]))
    return tables


def published(summary: pd.DataFrame) -> list[Table]:
    """Figures of papers beside those of the run, for the same codec, dataset and, where it has one, resolution.

    They are of other sets: published ones of 500 to 1000 meshes, on the machine named. The difference is shown, not
    judged.
    """
    names = {"cd_p2p_e3": ("cd", 1e-3), "nc": ("nc", 1.0), "f1_0005": ("f1_0005", 1.0), "f1_001": ("f1_001", 1.0)}
    cells, data = [], []
    for row in _published():
        targets = {ours: float(row[theirs]) * unit for theirs, (ours, unit) in names.items() if row[theirs]}
        base = summary["codec"].astype(str).str.partition("[")[0]
        like = summary[(base == row["codec"]) & (summary["dataset"] == row["dataset"].lower()) & (summary["ok"] > 0)]
        if row["setting"].startswith("K="):
            like = like[like["rate"].astype(str).str.startswith(f"k{row['setting'][2:]}w")]
        if not targets or like.empty:
            continue
        where = f"{row['source'].partition(' (')[0]}, {row['table']}"
        cells.append([row["codec"], where, row["dataset"], row["setting"], row["ratio"], *_shown(targets)])
        for ours in map(_named, like.to_dict("records")):
            address = f"{ours['codec']} {ours['rate']}"
            cells.append([address, "ours", f"{ours['meshes']} meshes", "", f"{ours['ratio']:.2f}", *_shown(ours)])
            deviation = {f"{n}_deviation": float(ours[n]) / target - 1 for n, target in targets.items() if ours.get(n)}
            data.append({**{k: row[k] for k in ("source", "table", "dataset", "setting")}, **ours, **deviation})
    heading = ("codec", "source", "dataset", "setting", "ratio", *(METRICS[n].label for n, _ in names.values()))
    note = "published sets have 500 to 1000 meshes, ours those that were run: ratios of set codecs grow with the set"
    return [Table("published figures and ours", heading, cells, data, (note,))]


def _published() -> list[dict[str, str]]:
    text = (files("gcbench.results") / "published.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _blocks(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (dataset, split, effort, device), part in summary.groupby(BLOCK, sort=True):
        yield f"{dataset}, split {split}, effort {effort}" + ("" if device == "cpu" else f", on {device}"), part


def _cell(delta: object, reasons: dict[str, str]) -> str:
    if not isinstance(delta, BDRate):
        return "·"
    if delta.percent is not None:
        return _percent(delta.percent)
    return reasons.setdefault(str(delta.refusal), f"({chr(ord('a') + len(reasons))})")


def _percent(value: float | None) -> str:
    """Three digits are more than is known."""
    return "–" if value is None else f"{value:+.1f}" if abs(value) < 100 else f"{value:+.0f}"


def _per_mesh_lines(data: Sequence[dict[str, Any]]) -> list[list[str]]:
    known = {(row["codec"], row["anchor"]): row for row in data if row["per_mesh"] is not None}
    lines = []
    for (codec, anchor), row in known.items():
        other = known.get((anchor, codec))
        if other is not None and (other["per_mesh"], anchor) < (row["per_mesh"], codec):
            continue  # said the other way round
        shown = [_percent(row[name]) for name in ("per_mesh", "per_mesh_low", "per_mesh_high")]
        counts = [str(row["per_mesh_meshes"]), str(row["per_mesh_refused"])]
        lines.append([codec, anchor, *shown, *counts, f"{100 * row['wins']:.0f} %"])
    return lines


def _shown(values: dict[str, Any]) -> list[str]:
    return [_or_dash(values.get(n), f"{{:.{d}f}}", METRICS[n].scale) for n, d in _DIGITS.items()]


_DIGITS = {"cd": 3, "nc": 3, "f1_0005": 3, "f1_001": 3}


def _or_dash(value: Any, shown: str, scale: float = 1.0) -> str:
    return "–" if value is None or pd.isna(value) else shown.format(value * scale)


def _how(timed: bool) -> str:
    return "pinned" if timed else "single"


def _named(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): None if pd.isna(value) else value for name, value in row.items()}
