"""Records as a pandas DataFrame, and its summary over meshes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any

import pandas as pd

from gcbench.bench.metrics import columns
from gcbench.bench.store.records import Record

#: A row of the summary: one codec at one rate on one split of one dataset, over the meshes and seeds.
GROUP = ["dataset", "split", "effort", "device", "codec", "rate"]
#: Rows with equal values in these columns are comparable: they are one block of a table, or one figure.
BLOCK = GROUP[:-2]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each record, nested values as columns (:meth:`Record.flat`), in the order given."""
    rows = [record.flat() for record in records]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=_columns())


def _columns() -> list[str]:
    """Columns that every frame has: the columns of a record without measurements."""
    required = {f.name: None for f in fields(Record) if f.default is MISSING and f.default_factory is MISSING}
    nothing: Any = Record  # values of no type: only the names count
    return list(nothing(**required).flat())


#: Columns that describe a kind of machine. Times of two kinds of machine are neither averaged nor compared.
MACHINE = ["cpu", "gpu", "threads"]


def machine(rows: pd.DataFrame) -> pd.Series[str]:
    """Name the kind of machine of each record, ``CPU model, 2 threads``; empty if unknown."""
    names = []
    for cpu, gpu, threads in rows[MACHINE].itertuples(index=False):
        parts = [part for part in (cpu, gpu) if isinstance(part, str) and part]
        parts += [f"{threads:.0f} thread{'' if threads == 1 else 's'}"] if parts else []
        names.append(", ".join(parts))
    return pd.Series(names, index=rows.index, dtype=object)


def summarise(rows: pd.DataFrame, *, penalise: bool = False) -> pd.DataFrame:
    """Aggregate over the meshes of each codec and rate, and count failures.

    Parameters
    ----------
    rows : DataFrame
        From :func:`frame`.
    penalise : bool
        Whether means of metrics count a failed coding as the worst value of the column, instead of leaving it out.

    Returns
    -------
    DataFrame
        One row for each :data:`GROUP`, sorted. A coding is one mesh with one seed in the quality pass. A group
        without a quality pass takes the codings of its timing pass, and has sizes and times but no metrics.

        - ``meshes``, ``bad_input``: numbers of distinct meshes, and of meshes that cannot be used;
        - ``codings``, ``ok``, ``failed``: numbers of codings; everything below is over the ``ok`` ones;
        - ``success``: ok / (ok + failed);
        - ``ratio``: Σ obj_bytes / Σ stream_bytes (DESIGN section 6), ``kilobytes``: mean stream size in 1000 bytes;
        - ``bits_per_vertex``: mean;
        - every column of a metric suite, and its floor: mean over the codings that have a value;
        - ``timed``: whether times and memory are from the timing pass, which must be ok for every mesh with an ok
          coding. Otherwise they are from the single calls of the quality pass;
        - ``timing_failed``: failures in the timing pass;
        - ``machine``: the kind of machine of the times. If timing passes ran on several kinds of machine, the kind with
          the most rows in the block counts. If single calls ran on several kinds, their names are joined by ``+``;
        - ``encode_ms``, ``decode_ms``: mean; the time of a set codec is divided by the size of the set;
        - ``encode_stage_NAME_ms``, ``decode_stage_NAME_ms``: the same for the stages that codecs report;
        - ``encode_added_mib``, ``decode_added_mib``: the largest memory that a call added to what its process
          held before (the libraries and weights of all codecs that the worker has run so far);
        - ``encode_gpu_mib``, ``decode_gpu_mib``: the largest GPU memory of a call, if known;
        - ``encode_calls_least``, ``encode_calls_most``, the same for ``decode``: smallest and largest number of
          calls behind a time (a median), over the meshes: long calls are not repeated.
    """
    if rows.empty:
        counts = ["meshes", "codings", "ok", "bad_input", "failed"]
        return pd.DataFrame(columns=[*GROUP, "rate_index", *counts, "ratio"])
    named = rows.assign(machine=machine(rows))
    usual = {block: _usual_machines(part) for block, part in named.groupby(BLOCK, sort=True)}
    summary = []
    for key, group in named.groupby(GROUP, sort=True):
        quality, timing = group[~group["timing"]], group[group["timing"]]
        codings = quality if len(quality) else timing
        of_one = _of_one_machine(codings, timing, usual[key[:-2]])
        codings = quality if len(quality) else of_one
        row = dict(zip(GROUP, key, strict=True)) | {"rate_index": group["rate_index"].iloc[-1]}
        row |= _quality(codings, penalise=penalise) | {"timing_failed": _failed(timing)}
        summary.append(row | _cost(codings, of_one))
    by_ladder = [*GROUP[:-1], "rate_index", "rate"]
    return pd.DataFrame(summary).sort_values(by_ladder, ignore_index=True)


def _usual_machines(block: pd.DataFrame) -> list[str]:
    """Kinds of machine of the timing passes of a block, the kind with the most codecs and rates first."""
    timing = block[block["timing"]]
    rates = timing.drop_duplicates(["codec", "rate", "machine"])["machine"].value_counts()
    return sorted(rates.index, key=lambda name: (-int(rates[name]), str(name)))


def _of_one_machine(codings: pd.DataFrame, timing: pd.DataFrame, usual: list[str]) -> pd.DataFrame:
    """Keep the timing pass of one kind of machine: the most usual kind that timed all meshes, else the most usual."""
    meshes = set(_ok(codings)["mesh"])
    kinds = [name for name in usual if (timing["machine"] == name).any()]
    whole = [name for name in kinds if meshes <= set(_ok(timing[timing["machine"] == name])["mesh"])]
    kept = next(iter(whole or kinds), None)
    return timing[timing["machine"] == kept]


def _quality(codings: pd.DataFrame, *, penalise: bool) -> dict[str, object]:
    ok = _ok(codings)
    row: dict[str, object] = {
        "meshes": codings["mesh"].nunique(),
        "codings": len(codings),
        "ok": len(ok),
        "bad_input": codings.loc[codings["status"] == "bad-input", "mesh"].nunique(),
        "failed": _failed(codings),
    }
    usable = codings[codings["status"] != "bad-input"]
    row["success"] = len(ok) / len(usable) if len(usable) else float("nan")
    row["ratio"] = ok["obj_bytes"].sum() / ok["stream_bytes"].sum() if len(ok) else float("nan")
    row["kilobytes"] = ok["stream_bytes"].mean() / 1000
    row["bits_per_vertex"] = ok["bits_per_vertex"].mean()
    failed = usable["status"] != "ok"
    for column in columns().values():
        if column.name in ok:
            counted = usable[column.name].astype(float).mask(failed)
            if penalise and column.worst is not None:
                counted = counted.mask(failed, column.worst)  # a coding that is ok but was not measured is no failure
            row[column.name] = counted.mean()
        if column.floor is not None and column.floor in ok:
            row[column.floor] = ok[column.floor].astype(float).mean()
    return row


def _cost(codings: pd.DataFrame, timing: pd.DataFrame) -> dict[str, object]:
    # Times are over the same meshes as everything else: a timing pass that lacks meshes is not used.
    single, repeated = _ok(codings), _ok(timing)
    meshes = set(single["mesh"])
    timed = bool(meshes) and meshes <= set(repeated["mesh"])
    ok = repeated[repeated["mesh"].isin(meshes)] if timed else single
    share = ok["set_size"].where(ok["kind"] == "set", 1)
    cost: dict[str, object] = {"timed": timed, "machine": " + ".join(sorted(set(ok["machine"]) - {""}))}
    for stage in ("encode", "decode"):
        cost[f"{stage}_ms"] = float((ok[f"{stage}_s"] / share).mean() * 1000)
        for part in _stage_columns(ok, stage):
            name = part.removesuffix("_s") + "_ms"
            cost[name] = float((ok[part].fillna(0.0) / share).mean() * 1000) if ok[part].notna().any() else float("nan")
        cost[f"{stage}_added_mib"] = float(ok[f"{stage}_added_bytes"].max() / 2**20)
        cost[f"{stage}_gpu_mib"] = float(ok[f"{stage}_gpu_bytes"].astype(float).max() / 2**20)
        calls = ok[f"{stage}_repeats"].astype(float)
        cost |= {f"{stage}_calls_least": calls.min(), f"{stage}_calls_most": calls.max()}
    return cost


def _stage_columns(rows: pd.DataFrame, call: str) -> list[str]:
    return [column for column in map(str, rows) if column.startswith(f"{call}_stage_")]


def _ok(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "ok"]


def _failed(rows: pd.DataFrame) -> int:
    return int((~rows["status"].isin(["ok", "bad-input"])).sum())
