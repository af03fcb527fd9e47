"""Records as a pandas DataFrame, and its summary over meshes."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from gcbench.bench.metrics import METRICS
from gcbench.bench.records import Record

#: What a row of the summary is: one codec at one rate on one split of one dataset, over its meshes and seeds.
GROUP = ["dataset", "split", "effort", "codec", "rate"]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each record, nested values as columns (:meth:`Record.flat`), in the order given."""
    return pd.DataFrame([record.flat() for record in records])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Aggregate over the meshes of each codec and rate, with failures in sight.

    Parameters
    ----------
    rows : DataFrame
        From :func:`frame`.

    Returns
    -------
    DataFrame
        One row for each :data:`GROUP`, sorted, with

        - ``meshes``, ``ok``, ``bad_input``, ``failed``: counts of records; the rest is over the ``ok`` ones only;
        - ``ratio``: Σ obj_bytes / Σ stream_bytes (DESIGN section 6), ``kilobytes``: mean stream size in 1000 bytes;
        - ``bits_per_vertex``: mean;
        - every metric and its floor: mean over meshes;
        - ``encode_ms``, ``decode_ms``: mean over meshes, of a set codec its share for one mesh; from the timing pass
          where there is one (``timed``), else single shots from the quality pass;
        - ``encode_peak_mib``, ``decode_peak_mib``: the largest.
    """
    if rows.empty:
        return pd.DataFrame(columns=[*GROUP, "rate_index", "meshes", "ok", "bad_input", "failed", "ratio"])
    quality, timing = rows[~rows["timing"]], rows[rows["timing"]]
    groups = dict(list((quality if len(quality) else timing).groupby(GROUP, sort=True)))
    timed = dict(list(timing.groupby(GROUP, sort=True)))
    summary = []
    for key, group in groups.items():
        row = dict(zip(GROUP, key, strict=True)) | {"rate_index": group["rate_index"].iloc[-1]} | _quality(group)
        pass_ = timed.get(key)
        row["timed"] = pass_ is not None
        row |= _cost(group if pass_ is None else pass_)
        summary.append(row)
    by_ladder = [*GROUP[:-1], "rate_index", "rate"]
    return pd.DataFrame(summary).sort_values(by_ladder, ignore_index=True)


def _quality(group: pd.DataFrame) -> dict[str, object]:
    ok = group[group["status"] == "ok"]
    row: dict[str, object] = {
        "meshes": len(group),
        "ok": len(ok),
        "bad_input": int((group["status"] == "bad-input").sum()),
    }
    row["failed"] = len(group) - len(ok) - int((group["status"] == "bad-input").sum())
    row["ratio"] = ok["obj_bytes"].sum() / ok["stream_bytes"].sum() if len(ok) else float("nan")
    row["kilobytes"] = ok["stream_bytes"].mean() / 1000
    row["bits_per_vertex"] = ok["bits_per_vertex"].mean()
    for metric in METRICS.values():
        for column in filter(None, (metric.name, metric.floor)):
            if column in ok:
                row[column] = ok[column].mean()
    return row


def _cost(group: pd.DataFrame) -> dict[str, float]:
    ok = group[group["status"] == "ok"]
    share = ok["set_size"].where(ok["kind"] == "set", 1)
    cost = {}
    for stage in ("encode", "decode"):
        cost[f"{stage}_ms"] = float((ok[f"{stage}_s"] / share).mean() * 1000)
        cost[f"{stage}_peak_mib"] = float(ok[f"{stage}_peak_rss_bytes"].max() / 2**20)
    return cost
