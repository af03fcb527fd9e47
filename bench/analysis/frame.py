"""Records as a pandas DataFrame, and its summary over meshes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields

import pandas as pd

from gcbench.bench.metrics import METRICS
from gcbench.bench.store.records import Record

#: What a row of the summary is: one codec at one rate on one split of one dataset, over its meshes and seeds.
#: The part up to the codec is what makes rows comparable: a block of a table, a figure.
GROUP = ["dataset", "split", "effort", "device", "codec", "rate"]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each record, nested values as columns (:meth:`Record.flat`), in the order given."""
    rows = [record.flat() for record in records]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=_columns())


def _columns() -> list[str]:
    """Columns that every frame has: those of a record in which nothing was measured."""
    required = {f.name: None for f in fields(Record) if f.default is MISSING and f.default_factory is MISSING}
    return list(Record.from_json(required).flat())


#: What a failed coding counts as where failures are penalised: nothing of the surface was got right. A distance is
#: then half the longest side of the mesh.
WORST = {"length": 1.0, "fraction": 0.0, "cosine": 0.0, "dB": 0.0}


def summarise(rows: pd.DataFrame, *, penalise: bool = False) -> pd.DataFrame:
    """Aggregate over the meshes of each codec and rate, with failures in sight.

    Parameters
    ----------
    rows : DataFrame
        From :func:`frame`.
    penalise : bool
        Means of metrics count a failed coding as :data:`WORST`, instead of leaving it out.

    Returns
    -------
    DataFrame
        One row for each :data:`GROUP`, sorted. A coding is one mesh with one seed in the quality pass, or in the timing
        pass of a group that has no other: such a group has sizes and times, and no metrics.

        - ``meshes``, ``bad_input``: how many distinct meshes, and how many of them cannot be used;
        - ``codings``, ``ok``, ``failed``: how many codings; the rest is over the ``ok`` ones only;
        - ``success``: ok / (ok + failed);
        - ``ratio``: Σ obj_bytes / Σ stream_bytes (DESIGN section 6), ``kilobytes``: mean stream size in 1000 bytes;
        - ``bits_per_vertex``: mean;
        - every metric and its floor: mean over codings;
        - ``timed``: whether times and memory are from the timing pass, which must be ok for every mesh that has an
          ok coding; else they are from single shots of the quality pass;
        - ``timing_failed``: failures in the timing pass;
        - ``encode_ms``, ``decode_ms``: mean, of a set codec its share for one mesh;
        - ``encode_stage_NAME_ms``, ``decode_stage_NAME_ms``: the same of the parts that codecs told apart;
        - ``encode_added_mib``, ``decode_added_mib``: the most memory that a call added to what its process held before,
          which are the libraries and weights of every codec that the worker has served so far.
    """
    if rows.empty:
        counts = ["meshes", "codings", "ok", "bad_input", "failed"]
        return pd.DataFrame(columns=[*GROUP, "rate_index", *counts, "ratio"])
    summary = []
    for key, group in rows.groupby(GROUP, sort=True):
        quality, timing = group[~group["timing"]], group[group["timing"]]
        codings = quality if len(quality) else timing
        row = dict(zip(GROUP, key, strict=True)) | {"rate_index": group["rate_index"].iloc[-1]}
        summary.append(row | _quality(codings, penalise=penalise) | _cost(codings, timing))
    by_ladder = [*GROUP[:-1], "rate_index", "rate"]
    return pd.DataFrame(summary).sort_values(by_ladder, ignore_index=True)


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
    for metric in METRICS.values():
        for column in filter(None, (metric.name, metric.floor)):
            if column not in ok:
                continue
            counted = usable[column].fillna(WORST[metric.unit]) if penalise and column == metric.name else ok[column]
            row[column] = counted.mean()
    return row


def _cost(codings: pd.DataFrame, timing: pd.DataFrame) -> dict[str, object]:
    # Times are over the same meshes as everything else: a timing pass that lacks some would compare unlike with like.
    single, repeated = _ok(codings), _ok(timing)
    meshes = set(single["mesh"])
    timed = bool(meshes) and meshes <= set(repeated["mesh"])
    ok = repeated[repeated["mesh"].isin(meshes)] if timed else single
    share = ok["set_size"].where(ok["kind"] == "set", 1)
    cost: dict[str, object] = {"timed": timed, "timing_failed": _failed(timing)}
    for stage in ("encode", "decode"):
        cost[f"{stage}_ms"] = float((ok[f"{stage}_s"] / share).mean() * 1000)
        for part in _stage_columns(ok, stage):
            name = part.removesuffix("_s") + "_ms"
            cost[name] = float((ok[part].fillna(0.0) / share).mean() * 1000) if ok[part].notna().any() else float("nan")
        cost[f"{stage}_added_mib"] = float(ok[f"{stage}_added_bytes"].max() / 2**20)
    return cost


def _stage_columns(rows: pd.DataFrame, call: str) -> list[str]:
    return [column for column in map(str, rows) if column.startswith(f"{call}_stage_")]


def _ok(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "ok"]


def _failed(rows: pd.DataFrame) -> int:
    return int((~rows["status"].isin(["ok", "bad-input"])).sum())
