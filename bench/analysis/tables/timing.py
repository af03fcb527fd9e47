"""Times and memory of a run; and the stages that times consist of."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from gcbench.bench.analysis.frame import machine, summarise
from gcbench.bench.analysis.tables.columns import CODEC, OF_BLOCK, RATE, blocks, for_programs, number, values_of
from gcbench.bench.analysis.tables.notes import machine_notes
from gcbench.bench.tabular import Column, Table

_SHOWN = (
    number("encode_ms", "encode ms"),
    number("encode_stage_coding_ms", "of it coding"),  # the rest is conversion
    number("decode_ms", "decode ms"),
    number("decode_stage_coding_ms", "of it coding"),
    number("encode_added_mib", "encode +MiB"),
    number("decode_added_mib", "decode +MiB"),
    number("encode_gpu_mib", "encode GPU MiB"),
    number("decode_gpu_mib", "decode GPU MiB"),
)
_CALLS = tuple(f"{call}_calls_{end}" for call in ("encode", "decode") for end in ("least", "most"))
_HOW = (
    Column("encode_calls", "encode calls", "number", data=False),
    Column("decode_calls", "decode calls", "number", data=False),
    *(Column(name, kind="integer") for name in _CALLS),
    Column("timed", "how", show=lambda timed: "pinned" if timed else "single"),
    *for_programs(["machine"]),
)
_NOTES = (
    "pinned: median of so many pinned calls (bench run --timing), long calls are not repeated; "
    "single: one call, beside others",
    "+MiB: peak of the call above what its process held before, libraries and weights included",
)


def timing(rows: pd.DataFrame) -> list[Table]:
    """Times and added memory of encoding and decoding. The time of a set codec is divided by the size of the set.

    There is one table for the timing passes of each kind of machine. The last table has the rows without a timing pass:
    their times are of single calls of the quality pass.

    Parameters
    ----------
    rows : DataFrame
        Records.
    """
    passes = rows["timing"].astype(bool)
    kinds = machine(rows)
    tables = []
    of_passes = sorted(set(kinds[passes]))
    for kind in of_passes:
        summary = summarise(rows[~passes | (kinds == kind)])
        tables += _timing(summary[summary["timed"].astype(bool)], kind)
    summary = summarise(rows)
    tables += _timing(summary[~summary["timed"].astype(bool)], "single shots" if of_passes else "")
    return tables


def _timing(summary: pd.DataFrame, which: str) -> list[Table]:
    shown = [c for c in _SHOWN if c.name in summary and (not _is_optional(c.name) or summary[c.name].notna().any())]
    tables = []
    for where, part in blocks(summary[summary["encode_ms"].notna()]):
        title = f"time and memory, {where}" + (f", {which}" if which else "")
        values: dict[str, Any] = values_of(part)
        values |= {f"{call}_calls": _calls(part, call) for call in ("encode", "decode")}
        columns = [*OF_BLOCK, CODEC, RATE, *shown, *_HOW]
        tables.append(Table(title, columns, values, (*_NOTES, *machine_notes(part))))
    return tables


def _is_optional(name: str) -> bool:
    return "stage" in name or "gpu" in name


def _calls(part: pd.DataFrame, call: str) -> list[str | None]:
    """Number of calls behind a median; ``1–5`` if meshes differ."""
    pairs = zip(part[f"{call}_calls_least"], part[f"{call}_calls_most"], strict=True)
    return [
        None if math.isnan(least) else f"{least:.0f}" if least == most else f"{least:.0f}–{most:.0f}"
        for least, most in pairs
    ]


def stages(summary: pd.DataFrame) -> list[Table]:
    """Time of each stage of encoding and decoding, for codecs that report stages."""
    told = [c for c in map(str, summary) if "code_stage_" in c and summary[c].notna().any()]
    tables = []
    for where, part in blocks(summary[summary[told].notna().any(axis=1)]):
        values: dict[str, Any] = values_of(part)
        columns: list[Column] = []
        for call in ("encode", "decode"):
            names = [c for c in told if c.startswith(call)]
            rest = f"{call}_stage_rest_ms"
            values[rest] = part[f"{call}_ms"] - part[names].sum(axis=1)
            columns += [number(c, c.replace("_stage_", " ").removesuffix("_ms")) for c in (*names, rest)]
        note = "ms for one mesh; rest: outside of the stages that the codec tells apart"
        tables.append(Table(f"where the time goes, {where}", [*OF_BLOCK, CODEC, RATE, *columns], values, (note,)))
    return tables
