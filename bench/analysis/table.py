"""The rate-distortion table: one row for each codec and rate, as text, Markdown, CSV or JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from gcbench.bench.analysis.frame import BLOCK, MACHINE
from gcbench.bench.analysis.measured import headlines, inside_floor, lacking, ranking_column, reasons_of
from gcbench.bench.analysis.text import Format, block, csv_lines, json_rows
from gcbench.bench.metrics import Column

_OF_A_PLACE = {"host", "slot", *MACHINE, "machine"}


@dataclass(frozen=True)
class Shown:
    """A column of the table: its name in the summary, its heading, and how a value is written."""

    name: str
    heading: str
    show: Callable[[float], str]


SIZES = (Shown("ratio", "ratio", lambda v: f"{v:.1f}"), Shown("kilobytes", "kB/mesh", lambda v: f"{v:.2f}"))
TIMES = (Shown("encode_ms", "enc ms", lambda v: f"{v:.1f}"), Shown("decode_ms", "dec ms", lambda v: f"{v:.1f}"))


def show(column: Column, value: float) -> str:
    """Write a value in the scale of the column's label; NaN is a dash."""
    return "–" if math.isnan(value) else f"{value * column.scale:.{column.digits}f}"


def shown(columns: Sequence[Column]) -> list[Shown]:
    """Columns of the table: sizes, the given columns of metric suites, times."""
    return [*SIZES, *(Shown(c.name, c.label, partial(show, c)) for c in columns), *TIMES]


def render(
    summary: pd.DataFrame,
    format_: Format = "text",
    *,
    timing: bool = True,
    columns: Sequence[Column] | None = None,
    rows: pd.DataFrame | None = None,
) -> str:
    """Write the summary as a table.

    Parameters
    ----------
    summary : DataFrame
        From :func:`gcbench.bench.analysis.frame.summarise`.
    format_ : {"text", "markdown", "latex", "csv", "json"}
        CSV and JSON hold every column of the summary at full precision; the other formats hold the columns that
        people compare. For CSV and JSON, ``summary`` may also be a frame of records.
    timing : bool
        Whether columns of times and memory are included. Without them the table is reproducible to the last byte.
    columns : sequence of Column, optional
        Columns of metric suites; by default the headlines that were measured.
    rows : DataFrame, optional
        The records behind the summary. Notes below the table then say which codings were not measured, and why.
    """
    if not timing:
        summary = summary[[column for column in summary if not _measures_time_or_memory(str(column))]]
    if format_ in {"csv", "json"}:
        summary = summary.drop(columns=[name for name in _OPTIONAL if name in summary and _is_empty(summary[name])])
        if format_ == "json":
            return json_rows(_plain(summary))
        return csv_lines([list(summary.columns), *(list(row.values()) for row in _plain(summary))])
    columns = headlines(summary) if columns is None else columns
    blocks = []
    for key, part in summary.groupby(BLOCK, sort=True):
        of_block = None if rows is None else rows[(rows[BLOCK] == list(key)).all(axis=1)]
        blocks.append(_block(block_title(*map(str, key)), part, of_block, columns, format_))
    return "\n".join(blocks) if blocks else "no records\n"


def block_title(dataset: str, split: str, effort: str, device: str) -> str:
    """Name the dataset, split, effort and device of one table."""
    return f"{dataset}, split {split}, effort {effort}" + ("" if device == "cpu" else f", on {device}")


#: Columns that CSV and JSON leave out where every value is empty.
_OPTIONAL = (*("unmeasured", "host", "slot", *MACHINE, "machine"), *("encode_gpu_bytes", "decode_gpu_bytes"),
             *("encode_gpu_mib", "decode_gpu_mib"))  # fmt: skip


def _is_empty(values: pd.Series[Any]) -> bool:
    return bool((values.isna() | (values == "")).all())


def _measures_time_or_memory(column: str) -> bool:
    of_time = {"measure_s", "timed", "timing_failed"}
    return column.startswith(("encode_", "decode_")) or column in of_time | _OF_A_PLACE


def _block(
    title: str, part: pd.DataFrame, rows: pd.DataFrame | None, columns: Sequence[Column], format_: Format
) -> str:
    there = [c for c in columns if c.name in part and part[c.name].notna().any()]
    heads = [c for c in shown(there) if c.name in part]
    cells = [["codec", "rate", *(c.heading for c in heads), "ok"]]
    near = {c.name: inside_floor(part, c.name) for c in there}
    for position, (_, row) in enumerate(part.iterrows()):
        line = [str(row["codec"]), str(row["rate"])]
        for head in heads:
            value = float(row[head.name])
            mark = "~" if head.name in near and bool(near[head.name].iloc[position]) else ""
            line.append("–" if math.isnan(value) else head.show(value) + mark)
        cells.append([*line, f"{row['ok']}/{row['codings']}"])
    notes = list(_notes(part, there, any(bool(flags.any()) for flags in near.values())))
    if rows is not None:
        notes += map(str, lacking(rows, there))
    return block(title, cells, notes, format_)


def _notes(part: pd.DataFrame, columns: Sequence[Column], any_near: bool) -> Iterator[str]:
    floors = [f"{c.label} {show(c, float(part[c.floor].mean()))}" for c in columns if c.floor and c.floor in part]
    if floors:
        yield f"noise floor: {', '.join(floors)}"
    if any_near:
        ranking = ranking_column(part)
        instead = f", {ranking.label.partition(' ×')[0]} does" if ranking is not None and ranking.floor is None else ""
        yield f"~ at the noise floor of sampled points: such values do not rank codecs{instead}"
    meshes, bad = part.groupby("codec")[["meshes", "bad_input"]].max().max()
    if bad:
        yield f"bad input: {bad} of {meshes} meshes cannot be used (bench table --failures)"
    if fewer := _fewer_meshes(part):
        most = part["meshes"].max()
        yield f"not on all of {most} meshes: {fewer}; over the same ones: bench table --means common"
    if failed := int(part["failed"].sum()):
        yield f"failed: {failed} of {part['codings'].sum()} codings (bench table --failures); means are over the rest"
    if "timed" in part:
        if how := how_timed(part):
            yield f"enc, dec ms: mean over meshes, {how}"
        yield from machine_notes(part)
        if failed := int(part["timing_failed"].sum()):
            yield f"failed in the timing pass: {failed} (bench table --failures)"


def _fewer_meshes(part: pd.DataFrame) -> str:
    """Name the rates that did not run on every mesh; their means cannot be compared with the other means."""
    said = []
    most = part["meshes"].max()
    for codec, of_codec in part.groupby("codec", sort=True):
        fewer = of_codec[of_codec["meshes"] < most]
        for count, rates in fewer.groupby("meshes", sort=True):
            names = ", ".join(map(str, rates["rate"])) if len(rates) < 3 else f"{len(rates)} rates"
            which = "" if len(rates) == len(of_codec) else f" {names}"
            said.append(f"{codec}{which} ({count})")
    return ", ".join(said)


def how_timed(part: pd.DataFrame) -> str:
    """Say how the times of a block were measured: medians of how many calls, and which times are of single calls."""
    known = part[part["encode_ms"].notna()]
    timed, untimed = known[known["timed"]], known[~known["timed"]]
    said = []
    if len(timed):
        medians = [calls for calls in _most_calls(timed) if calls > 1]
        span = f"{min(medians)}" if len(set(medians)) == 1 else f"{min(medians)} to {max(medians)}" if medians else ""
        said += [f"median of {span} pinned calls"] if medians else []
        if long := _single_calls(timed):
            said.append(f"single pinned calls, too long to repeat: {long}")
    if len(untimed):
        where = f"in {len(untimed)} of {len(known)} rows single shots" if len(timed) else "single shots"
        said.append(f"{where}; to quote them, bench run --timing")
    return "; ".join(said)


def _most_calls(rows: pd.DataFrame) -> list[int]:
    return [int(v) for call in ("encode", "decode") for v in rows[f"{call}_calls_most"] if not math.isnan(v)]


def _single_calls(rows: pd.DataFrame) -> str:
    """Name the rows with a call that was made once, e.g. ``necgs k64w32 (encode)``; no rates if all have one."""
    said = []
    for codec, of_codec in rows.groupby("codec", sort=True):
        by_which: dict[str, list[str]] = {}
        for row in of_codec.to_dict("records"):
            if (which := _which_single(row)) is not None:
                by_which.setdefault(which, []).append(str(row["rate"]))
        for which, rates in by_which.items():
            names = "" if 1 < len(rates) == len(of_codec) else f" {', '.join(rates)}"
            said.append(f"{codec}{names}{which}")
    return "; ".join(said)


def _which_single(row: dict[Any, Any]) -> str | None:
    """Which calls of a row were made once on some mesh, e.g. `` (encode, some meshes)``; None if no call was."""
    single = [call for call in ("encode", "decode") if row[f"{call}_calls_least"] == 1]
    if not single:
        return None
    some = any(row[f"{call}_calls_most"] > 1 for call in single)
    words = [*(single if len(single) == 1 else []), *(["some meshes"] if some else [])]
    return f" ({', '.join(words)})" if words else ""


def machine_notes(part: pd.DataFrame) -> Iterator[str]:
    """Warn if the times of a block were measured on different kinds of machine."""
    known = part[part["encode_ms"].notna() & (part["machine"] != "")]
    for timed, what in ((True, "timing passes"), (False, "single shots")):
        of = known[known["timed"] == timed]
        if of["machine"].nunique() < 2 and not of["machine"].str.contains(" + ", regex=False).any():
            continue
        who: dict[str, list[str]] = {}
        for name, rows in of.groupby("machine", sort=True):
            who[str(name)] = sorted(set(rows["codec"].astype(str)))
        places = "; ".join(f"{name}: {', '.join(codecs)}" for name, codecs in who.items())
        apart = " (apart: bench table -k timing)" if timed else ""
        yield f"{what} of different kinds of machine, do not compare{apart}: {places}"


def failures(rows: pd.DataFrame, format_: Format = "text") -> str:
    """List the records that failed or that a suite could not measure; records with the same failure share a line.

    Parameters
    ----------
    rows : DataFrame
        From :func:`gcbench.bench.analysis.frame.frame`.
    format_ : {"text", "markdown", "latex", "csv", "json"}
        In JSON, ``rates`` is a list; in the other formats it is the first and the last rate.
    """
    columns = ["dataset", "mesh", "codec", "rates", "status", "stage", "error"]
    by = [column for column in columns if column != "rates"]
    found: list[dict[str, Any]] = []
    for key, group in _failed(rows).groupby(by, sort=True, dropna=False):
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


def _failed(rows: pd.DataFrame) -> pd.DataFrame:
    """Records that are not ok; and records that are ok, once for each suite without values, as stage ``measure``."""
    failed = rows[rows["status"] != "ok"]
    if "unmeasured" not in rows:
        return failed
    without = rows[(rows["status"] == "ok") & rows["unmeasured"].notna()]
    parts = [failed]
    for place, text in without["unmeasured"].items():
        for suite, why in reasons_of(str(text)).items():
            status, _, error = why.partition(": ")
            parts.append(without.loc[[place]].assign(status=status, stage="measure", error=f"{suite}: {error}"))
    return pd.concat(parts) if len(parts) > 1 else failed


def _plain(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of Python values, whose ``repr`` has every digit."""
    rows = summary.to_dict("records")
    return [{str(name): _or_none(value) for name, value in row.items()} for row in rows]


def _or_none(value: Any) -> Any:
    """The value; None for NaN, NA and infinities, which JSON does not have."""
    return None if pd.isna(value) or value in (math.inf, -math.inf) else value
