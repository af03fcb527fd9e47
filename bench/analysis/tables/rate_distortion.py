"""The rate-distortion table: one row for each codec and rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from gcbench.bench.analysis.frame import BLOCK, MACHINE
from gcbench.bench.analysis.measured import headlines, inside_floor, lacking, ranking_column
from gcbench.bench.analysis.significance import NOTE, not_different
from gcbench.bench.analysis.tables.columns import (
    CODEC,
    PER_FRAME,
    RATE,
    blocks,
    compared,
    for_people,
    for_programs,
    show,
    values_of,
)
from gcbench.bench.analysis.tables.notes import how_timed, machine_notes
from gcbench.bench.metrics import Column as Metric
from gcbench.bench.tabular import Column, Kind, Table

#: Marks of values at the noise floor, and of values that may be as good as the best of their size.
AT_FLOOR, NOT_DIFFERENT = "~", "≈"
#: Columns that CSV and JSON leave out where every value is empty.
_OPTIONAL = (*("polygons", "dropped", "remarks", "sequence", "frame", "fps", "kilobits_per_frame"),
             *("unmeasured", "host", "slot", *MACHINE, "machine"), *("encode_gpu_bytes", "decode_gpu_bytes"),
             *("encode_gpu_mib", "decode_gpu_mib"))  # fmt: skip
_OF_A_PLACE = {"host", "slot", *MACHINE, "machine"}
_OF_TIME = {"measure_s", "timed", "timing_failed"}
_KINDS: dict[str, Kind] = {
    f"{call}_calls_{end}": "integer" for call in ("encode", "decode") for end in ("least", "most")
}


def rate_distortion(
    summary: pd.DataFrame,
    *,
    timing: bool = True,
    columns: Sequence[Metric] | None = None,
    rows: pd.DataFrame | None = None,
) -> list[Table]:
    """One table for each dataset, split, effort and device. Programs get every column of the summary.

    Parameters
    ----------
    summary : DataFrame
        From :func:`gcbench.bench.analysis.frame.summarise`.
    timing : bool
        Whether columns of times and memory are included. Without them the table is reproducible to the last byte.
    columns : sequence of Column, optional
        Columns of metric suites for people; by default the headlines that were measured.
    rows : DataFrame, optional
        The records behind the summary. Then values that do not differ from the best of their size are marked
        (:func:`gcbench.bench.analysis.significance.not_different`), and notes say which codings were not measured, and
        why.
    """
    known = summary if timing else without_times(summary)
    data = for_programs(filled(known), _KINDS)
    metrics = headlines(summary) if columns is None else columns
    tables = []
    for title, part in blocks(known):
        of_block = None if rows is None else rows[(rows[BLOCK] == part[BLOCK].iloc[0]).all(axis=1)]
        tables.append(_table(title, part, of_block, metrics, data))
    return tables


def without_times(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop the columns of times, memory and machines: what is left is the same for equal results."""
    return frame[[name for name in frame if not _measures_time_or_memory(str(name))]]


def filled(frame: pd.DataFrame) -> list[str]:
    """Names of the columns for programs: all but those of machines and GPUs that are empty."""
    return [str(name) for name in frame if name not in _OPTIONAL or not _is_empty(frame[name])]


def _is_empty(values: pd.Series[Any]) -> bool:
    return bool((values.isna() | (values == "")).all())


def _measures_time_or_memory(column: str) -> bool:
    return column.startswith(("encode_", "decode_")) or column in _OF_TIME | _OF_A_PLACE


def _table(
    title: str, part: pd.DataFrame, rows: pd.DataFrame | None, metrics: Sequence[Metric], data: Sequence[Column]
) -> Table:
    there = [c for c in metrics if c.name in part and part[c.name].notna().any()]
    marks = _marks(part, rows, there)
    ok = [f"{ok}/{codings}" for ok, codings in zip(part["ok"], part["codings"], strict=True)]
    frames = [PER_FRAME] if PER_FRAME.name in part and part[PER_FRAME.name].notna().any() else []
    shown = [CODEC, RATE, *compared(there, part, frames), Column("ok_of_codings", "ok", "number")]
    notes = list(_notes(part, there, {mark for of_column in marks.values() for mark in of_column}))
    if rows is not None:
        notes += map(str, lacking(rows, there))
    values: dict[str, Any] = {**values_of(part), "ok_of_codings": ok}
    return Table(title, [*for_people(shown), *data], values, tuple(notes), marks)


def _marks(part: pd.DataFrame, rows: pd.DataFrame | None, columns: Sequence[Metric]) -> dict[str, list[str]]:
    """Marks of the values of each column. A value at the noise floor says nothing, so the floor comes first."""
    unsure = None if rows is None else not_different(rows, part, columns)
    marks = {}
    for column in columns:
        mark = pd.Series("", index=part.index, dtype=object)
        if unsure is not None:
            mark = mark.mask(unsure[column.name], NOT_DIFFERENT)
        mark = mark.mask(inside_floor(part, column.name), AT_FLOOR)
        marks[column.name] = mark.where(part[column.name].notna(), "").tolist()
    return marks


def _notes(part: pd.DataFrame, columns: Sequence[Metric], marks: set[str]) -> Iterator[str]:
    floors = [f"{c.label} {_mean(c, part[c.floor])}" for c in columns if c.floor and c.floor in part]
    if floors:
        yield f"noise floor: {', '.join(floors)}"
    if AT_FLOOR in marks:
        ranking = ranking_column(part)
        instead = f", {ranking.label.partition(' ×')[0]} does" if ranking is not None and ranking.floor is None else ""
        yield f"{AT_FLOOR} at the noise floor of sampled points: such values do not rank codecs{instead}"
    if NOT_DIFFERENT in marks:
        yield f"{NOT_DIFFERENT} {NOTE}"
    meshes, bad = part.groupby("codec", observed=True)[["meshes", "bad_input"]].max().max()
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


def _mean(column: Metric, floor: pd.Series[float]) -> str:
    value = float(floor.mean())
    return "–" if math.isnan(value) else show(column, value)


def _fewer_meshes(part: pd.DataFrame) -> str:
    """Name the rates that did not run on every mesh; their means cannot be compared with the other means."""
    said = []
    most = part["meshes"].max()
    for codec, of_codec in part.groupby("codec", sort=True, observed=True):
        fewer = of_codec[of_codec["meshes"] < most]
        for count, rates in fewer.groupby("meshes", sort=True):
            names = ", ".join(map(str, rates["rate"])) if len(rates) < 3 else f"{len(rates)} rates"
            which = "" if len(rates) == len(of_codec) else f" {names}"
            said.append(f"{codec}{which} ({count})")
    return ", ".join(said)
