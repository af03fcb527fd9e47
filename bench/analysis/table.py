"""The rate-distortion table: one row for each codec and rate, as text, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from gcbench.bench.metrics import METRICS

Format = Literal["text", "markdown", "csv", "json"]
FORMATS: tuple[Format, ...] = ("text", "markdown", "csv", "json")


@dataclass(frozen=True)
class Column:
    """A column of the table: where its value is in the summary, and how people read it."""

    name: str
    heading: str
    show: Callable[[float], str]


def _metric(name: str, digits: int) -> Column:
    scale = METRICS[name].scale
    return Column(name, METRICS[name].label, lambda value: f"{value * scale:.{digits}f}")


COLUMNS = (
    Column("ratio", "ratio", lambda v: f"{v:.1f}"),
    Column("kilobytes", "kB/mesh", lambda v: f"{v:.2f}"),
    _metric("cd", 3),
    _metric("nc", 4),
    _metric("f1_0005", 4),
    _metric("f1_001", 4),
    _metric("cd_p2s", 3),
    Column("encode_ms", "enc ms", lambda v: f"{v:.1f}"),
    Column("decode_ms", "dec ms", lambda v: f"{v:.1f}"),
)


def inside_floor(summary: pd.DataFrame, metric: str) -> pd.Series[bool]:
    """Where a mean metric is so near its noise floor that differences in it say nothing.

    Near is: an error at most 3 % above the floor's. The floor of a mean over some tens of meshes is known to about 1 %,
    and on AMA frames every codec from 10 bits of quantisation on, sixteen-fold apart in true error, is within 2 %.
    """
    floor = METRICS[metric].floor
    if floor is None or floor not in summary or metric not in summary:
        return pd.Series(data=False, index=summary.index)
    value, noise = summary[metric], summary[floor]
    if METRICS[metric].better == "higher":  # NC and F1: errors are the distances from 1
        value, noise = 1 - value, 1 - noise
    return value <= noise * 1.03


def render(summary: pd.DataFrame, format_: Format = "text", *, timing: bool = True) -> str:
    """Write the summary as a table.

    Parameters
    ----------
    summary : DataFrame
        From :func:`gcbench.bench.analysis.frame.summarise`.
    format_ : {"text", "markdown", "csv", "json"}
        CSV and JSON hold every column of the summary at full precision; text and Markdown the ones people compare.
    timing : bool
        Without timing, everything in the table is reproducible to the last byte.
    """
    if not timing:
        hidden = ("encode_", "decode_")
        summary = summary[[c for c in summary if not str(c).startswith(hidden) and c != "timed"]]
    if format_ == "csv":
        return _csv(summary)
    if format_ == "json":
        return json.dumps(_json_rows(summary), indent=1) + "\n"
    blocks = []
    for (dataset, split, effort), part in summary.groupby(["dataset", "split", "effort"], sort=True):
        blocks.append(_block(f"{dataset}, split {split}, effort {effort}", part, format_))
    return "\n".join(blocks) if blocks else "no records\n"


def _block(title: str, part: pd.DataFrame, format_: Format) -> str:
    columns = [c for c in COLUMNS if c.name in part]
    rows = [["codec", "rate", *(c.heading for c in columns), "ok"]]
    near = {c.name: inside_floor(part, c.name) for c in columns if c.name in METRICS}
    for position, (_, row) in enumerate(part.iterrows()):
        cells = [str(row["codec"]), str(row["rate"])]
        for column in columns:
            value = float(row[column.name])
            mark = "~" if column.name in near and bool(near[column.name].iloc[position]) else ""
            cells.append("–" if math.isnan(value) else column.show(value) + mark)
        rows.append([*cells, f"{row['ok']}/{row['meshes']}"])
    lines = _markdown(rows) if format_ == "markdown" else _aligned(rows)
    heading = f"### {title}" if format_ == "markdown" else title
    return "\n".join([heading, "", *lines, "", *_notes(part, near)]) + "\n"


def _notes(part: pd.DataFrame, near: dict[str, pd.Series[bool]]) -> list[str]:
    notes = []
    floors = [
        f"{c.heading} {c.show(float(part[METRICS[c.name].floor].mean()))}"
        for c in COLUMNS
        if c.name in METRICS and METRICS[c.name].floor in part
    ]
    if floors:
        notes.append(f"noise floor: {', '.join(floors)}")
    if any(bool(flags.any()) for flags in near.values()):
        notes.append("~ at the noise floor of sampled points: such values do not rank codecs, p2s does")
    per_mesh = part.groupby("codec")[["meshes", "bad_input"]].max().max()
    if per_mesh["bad_input"]:
        notes.append(
            f"bad input: {per_mesh['bad_input']} of {per_mesh['meshes']} meshes cannot be used (bench table --failures)"
        )
    if failed := int(part["failed"].sum()):
        notes.append(
            f"failed: {failed} of {int(part['meshes'].sum())} codings (bench table --failures); means are over the rest"
        )
    if "timed" in part:
        timed = bool(part["timed"].all())
        how = "median of repeated, pinned calls" if timed else "single shots; to quote them, bench run --timing"
        notes.append(f"enc, dec ms: mean over meshes, {how}")
    return notes


def failures(rows: pd.DataFrame) -> str:
    """List every record that is not ok, equal ones on one line."""
    bad = rows[rows["status"] != "ok"]
    if bad.empty:
        return "no failures\n"
    lines = [["dataset", "mesh", "codec", "rates", "status", "stage", "error"]]
    columns = ["dataset", "mesh", "codec", "status", "stage", "error"]
    for key, group in bad.groupby(columns, sort=True, dropna=False):
        dataset, mesh, codec, status, stage, error = (str(k) for k in key)
        rates = list(dict.fromkeys(group.sort_values("rate_index")["rate"]))
        shown = rates[0] if len(rates) == 1 else f"{rates[0]}..{rates[-1]} ({len(rates)})"
        lines.append([dataset, mesh, codec, shown, status, stage, error])
    return "\n".join(_aligned(lines, right=False)) + "\n"


def _aligned(rows: Sequence[Sequence[str]], *, right: bool = True) -> list[str]:
    """Pad columns to their width; the first two to the left, numbers to the right with their marks hanging."""
    widths = [max(len(cell.rstrip("~")) for cell in column) for column in zip(*rows, strict=True)]
    marks = [any(cell.endswith("~") for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            bare, mark = cell.rstrip("~"), "~" if cell.endswith("~") else " " if marks[index] else ""
            cells.append((bare.rjust(width) if right and index > 1 else bare.ljust(width)) + mark)
        lines.append("  ".join(cells).rstrip())
    rule = "  ".join("─" * (width + mark) for width, mark in zip(widths, marks, strict=True))
    return [lines[0], rule, *lines[1:]]


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    align = ["---" if index < 2 else "--:" for index in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in [head, align, *body]]


def _csv(summary: pd.DataFrame) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(summary.columns)
    for row in _json_rows(summary):
        writer.writerow(["" if value is None else value for value in row.values()])
    return out.getvalue()


def _json_rows(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of plain values: no NaN and no infinity, which JSON does not have."""
    rows = json.loads(summary.to_json(orient="records", double_precision=15))
    return list(rows)
