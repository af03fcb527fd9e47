"""The rate-distortion table: one row for each codec and rate, as text, Markdown, CSV or JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gcbench.bench.analysis.text import Format, block, csv_lines, json_rows
from gcbench.bench.metrics import METRICS


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
    format_ : {"text", "markdown", "latex", "csv", "json"}
        CSV and JSON hold every column of the summary at full precision; the others the ones people compare.
        In CSV and JSON the frame of records does as well as a summary.
    timing : bool
        Without timing, everything in the table is reproducible to the last byte: no column of times or memory.
    """
    if not timing:
        summary = summary[[column for column in summary if not _measures_time_or_memory(str(column))]]
    if format_ == "csv":
        return csv_lines([list(summary.columns), *(list(row.values()) for row in _plain(summary))])
    if format_ == "json":
        return json_rows(_plain(summary))
    blocks = []
    for (dataset, split, effort, device), part in summary.groupby(["dataset", "split", "effort", "device"], sort=True):
        where = "" if device == "cpu" else f", on {device}"
        blocks.append(_block(f"{dataset}, split {split}, effort {effort}{where}", part, format_))
    return "\n".join(blocks) if blocks else "no records\n"


def _measures_time_or_memory(column: str) -> bool:
    return column.startswith(("encode_", "decode_")) or column in {"measure_s", "timed", "timing_failed"}


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
        rows.append([*cells, f"{row['ok']}/{row['codings']}"])
    return block(title, rows, _notes(part, near), format_)


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
    if fewer := _fewer_meshes(part):
        notes.append(
            f"not on all of {part['meshes'].max()} meshes: {fewer}; over the same ones: bench table --means common"
        )
    if failed := int(part["failed"].sum()):
        notes.append(
            f"failed: {failed} of {part['codings'].sum()} codings (bench table --failures); means are over the rest"
        )
    if "timed" in part:
        notes.append(f"enc, dec ms: mean over meshes, {_how_timed(part)}")
        if failed := int(part["timing_failed"].sum()):
            notes.append(f"failed in the timing pass: {failed} (bench table --failures)")
    return notes


def _fewer_meshes(part: pd.DataFrame) -> str:
    """Name rates that were not run on every mesh: their means do not compare with the others."""
    said = []
    most = part["meshes"].max()
    for codec, of_codec in part.groupby("codec", sort=True):
        fewer = of_codec[of_codec["meshes"] < most]
        for count, rates in fewer.groupby("meshes", sort=True):
            names = ", ".join(map(str, rates["rate"])) if len(rates) < 3 else f"{len(rates)} rates"
            which = "" if len(rates) == len(of_codec) else f" {names}"
            said.append(f"{codec}{which} ({count})")
    return ", ".join(said)


def _how_timed(part: pd.DataFrame) -> str:
    timed = part.loc[part["encode_ms"].notna(), "timed"]
    if len(timed) and timed.all():
        return "median of repeated, pinned calls"
    where = f"in {int((~timed).sum())} of {len(timed)} rows single shots" if timed.any() else "single shots"
    return f"{where}; to quote them, bench run --timing"


def failures(rows: pd.DataFrame, format_: Format = "text") -> str:
    """List every record that is not ok, equal ones on one line.

    Parameters
    ----------
    rows : DataFrame
        From :func:`gcbench.bench.analysis.frame.frame`.
    format_ : {"text", "markdown", "latex", "csv", "json"}
        JSON is a list of objects, in which ``rates`` is a list; elsewhere it is the first and the last one.
    """
    columns = ["dataset", "mesh", "codec", "rates", "status", "stage", "error"]
    by = [column for column in columns if column != "rates"]
    found: list[dict[str, Any]] = []
    for key, group in rows[rows["status"] != "ok"].groupby(by, sort=True, dropna=False):
        rates = list(dict.fromkeys(group.sort_values("rate_index")["rate"]))
        known = dict(zip(by, (_or_none(value) for value in key), strict=True)) | {"rates": rates}
        found.append({column: known[column] for column in columns})
    if format_ == "json":
        return json_rows(found)
    lines = [columns]
    for failure in found:
        rates = failure["rates"]
        shown = rates[0] if len(rates) == 1 else f"{rates[0]}..{rates[-1]} ({len(rates)})"
        lines.append([str(value or "") for value in (failure | {"rates": shown}).values()])
    if format_ == "csv":
        return csv_lines(lines)
    if not found:
        return "no failures\n"
    return block("", lines, (), format_, right=False)


def _plain(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of plain values, of which ``repr`` gives every digit."""
    rows = summary.to_dict("records")
    return [{str(name): _or_none(value) for name, value in row.items()} for row in rows]


def _or_none(value: Any) -> Any:
    """None for what JSON lacks: NaN, NA and infinities."""
    return None if pd.isna(value) or value in (math.inf, -math.inf) else value
