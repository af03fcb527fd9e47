"""The data of a report as plain JSON values: means, records, coverage, provenance; everything but the meshes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gcbench.bench.analysis.frame import BLOCK, summarise
from gcbench.bench.analysis.mean_curves import MeanCurves, Pairs
from gcbench.bench.analysis.measured import LOGARITHMIC, inside_floor, lacking, measured, ranking_column
from gcbench.bench.analysis.tables.notes import how_timed, machine_notes
from gcbench.bench.metrics import Column
from gcbench.bench.report.carried import Carried, everything
from gcbench.bench.report.failures import failures
from gcbench.bench.report.pair import changes
from gcbench.bench.report.spread import QUANTILES, spread
from gcbench.bench.report.styles import DASHES, styles

_DIGITS = 6  # significant digits; the run has all of them
# Columns of the table of records; metrics follow.
_COLUMNS = (
    *("dataset", "split", "effort", "device", "seed", "timing", "mesh", "codec", "rate", "rate_index"),
    *("status", "stage", "error", "obj_bytes", "stream_bytes", "bits_per_vertex", "shared_bytes", "set_size"),
    *("encode_s", "decode_s", "encode_added_bytes", "decode_added_bytes", "vertices", "faces", "unmeasured"),
    *("run", "address"),  # of two runs
)
_COUNTS = ("meshes", "bad_input", "codings", "ok", "failed", "success", "timing_failed")  # of everything that ran


def content(
    name: str,
    rows: pd.DataFrame,
    sessions: Sequence[Mapping[str, Any]],
    *,
    leftovers: Sequence[str] = (),
    kept: Carried | None = None,
    both: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """The data of a report.

    Parameters
    ----------
    name : str
        Name of the run.
    rows : DataFrame
        Of :func:`gcbench.bench.analysis.frame.frame`.
    sessions : sequence of mapping
        Provenance.
    leftovers : sequence of str
        Lines on results of earlier codec versions, which are left out or mixed in.
    kept : Carried, optional
        The records that the page carries; default: all. Scenes and the page refer to them by their place among these.
    both : DataFrame, optional
        Of :func:`gcbench.bench.report.pair.pairs`, where the rows are of two runs.
    """
    present = measured(rows)
    ranking = ranking_column(rows)
    kept = kept or everything(rows)
    failed = ~rows["status"].isin(["ok", "bad-input"])
    return {
        "run": name,
        "ranking": None if ranking is None else ranking.name,
        # "least" is the smallest value on a logarithmic axis; None makes the axis linear.
        "metrics": [vars(column) | {"least": LOGARITHMIC.get(column.unit)} for column in present],
        "styles": _styles(rows),
        "blocks": _blocks(rows, present),
        "quantiles": QUANTILES,
        "records": _columnar(rows.iloc[kept.places], present),
        "whole": None if kept.everything else sorted(kept.whole),
        "totals": {
            "records": len(rows),
            "meshes": len(rows[["dataset", "mesh"]].drop_duplicates()),
            "failed": int(failed.sum()),
        },
        "failures": failures(rows),
        "unavailable": _unavailable(sessions),
        "leftovers": list(leftovers),
        "sessions": list(sessions),
        "changes": None if both is None else _plain_all(changes(rows, both, ranking, kept.place)),
    }


def _styles(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """How codecs are drawn. Of two runs, the dash says which; colour and marker belong to the codec."""
    if "run" not in rows:
        return {codec: style | {"address": codec, "run": 0} for codec, style in styles(rows["codec"].unique()).items()}
    of_address = styles(rows["address"].unique())
    names = rows[["codec", "address", "run"]].drop_duplicates().sort_values(["address", "run"])
    return {
        str(codec): of_address[address] | {"address": address, "run": int(run), "dash": DASHES[run]}
        for codec, address, run in names.itertuples(index=False)
    }


def _blocks(rows: pd.DataFrame, metrics: Sequence[Column]) -> list[dict[str, Any]]:
    """Points of curves: means over common meshes, and, marked "beside", rates that lack some of these meshes."""
    blocks = []
    for key, part in rows.groupby(BLOCK, sort=True):
        every, curves = summarise(part), MeanCurves(part)
        shared, means_of_shared = curves.common, curves.summary
        compared = {(row["codec"], row["rate"]): row for row in means_of_shared.to_dict("records")}
        meshes = shared.rows.loc[shared.rows["status"] == "ok", "mesh"].nunique()
        points = []
        for counted in every.to_dict("records"):
            row = compared.get((counted["codec"], counted["rate"]))
            means = counted if row is None else row | {name: counted[name] for name in _COUNTS}
            points.append({str(column): value for column, value in means.items() if column not in BLOCK})
            points[-1]["beside"] = row is None
        sampled = [column.name for column in metrics if column.floor is not None]
        noise = {name: inside_floor(pd.DataFrame(points), name).tolist() for name in sampled}
        for place, point in enumerate(points):
            inside = [name for name in sampled if noise[name][place]]
            points[place] = {name: _plain(value) for name, value in point.items()} | {"inside": inside}
        bd = _bd(curves, metrics)
        facts = {
            "meshes": meshes,
            "all_meshes": int(part.loc[part["status"] != "bad-input", "mesh"].nunique()),
            "spread": _plain_all(spread(part, metrics)),
            "coverage": [note.partition(": ")[2] for note in shared.notes],
            "unmeasured": [str(one) for one in lacking(part, [column for column in metrics if column.headline])],
            "timed": [how_timed(every), *machine_notes(every)],
        }
        blocks.append(dict(zip(BLOCK, key, strict=True)) | {"points": points, "bd": bd, **facts})
    return blocks


def _bd(curves: MeanCurves, metrics: Sequence[Column]) -> dict[str, Any]:
    """BD-rate matrices by metric, row against column: per cent, or the reason why there is no number."""
    matrices = {}
    part = curves.summary
    for column in metrics:
        if column.better is None or column.name not in part or not part[column.name].notna().any():
            continue
        measured = set(part.loc[part[column.name].notna(), "codec"]) | set(curves.common.aside["codec"])
        pairs = curves.bd_rates(column.name, measured)
        matrices[column.name] = {
            "codecs": list(pairs.codecs),
            "cells": [[_bd_cell(pairs, codec, anchor) for anchor in pairs.codecs] for codec in pairs.codecs],
            "fewer": pairs.note,
        }
    return matrices


def _bd_cell(pairs: Pairs, codec: str, anchor: str) -> dict[str, Any] | None:
    if codec == anchor:
        return None
    pair = pairs.of[codec, anchor]
    cell = pair.rate
    return {
        "percent": _plain(cell.percent),
        "akima": _plain(cell.akima_percent),
        "meshes": pair.meshes,
        "mark": pairs.mark(codec, anchor),
        "overlap": _plain(cell.overlap),
        "refusal": None if cell.refusal is None else str(cell.refusal),
        "dropped": list(cell.dropped),
    }


def _columnar(rows: pd.DataFrame, metrics: Sequence[Column]) -> dict[str, Any]:
    """Columns of values; text columns as indices into their distinct values. None is a missing value."""
    columns: dict[str, Any] = {}
    floors = [column.floor for column in metrics if column.floor is not None]
    for metric in metrics:
        if metric.floor is not None:
            columns[f"{metric.name}_inside"] = [bool(inside) for inside in inside_floor(rows, metric.name)]
    for name in (*_COLUMNS, *(metric.name for metric in metrics), *floors):
        if name not in rows:
            continue
        values = [_plain(value) for value in rows[name].tolist()]
        if any(isinstance(value, str) for value in values):
            different = sorted({value for value in values if value is not None})
            code = {value: index for index, value in enumerate(different)} | {None: None}
            columns[name] = {"values": different, "codes": [code[value] for value in values]}
        else:
            columns[name] = values
    return columns


def _unavailable(sessions: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Codecs that no invocation could run, with the last reason."""
    reasons: dict[str, str] = {}
    ran: set[str] = set()
    for session in sessions:
        reasons |= session.get("unavailable") or {}
        ran |= set(session.get("codecs") or {})
    return [{"codec": codec, "reason": reason} for codec, reason in sorted(reasons.items()) if codec not in ran]


def _plain_all(value: Any) -> Any:
    """JSON values of anything that is nested."""
    if isinstance(value, dict):
        return {name: _plain_all(one) for name, one in value.items()}
    return [_plain_all(one) for one in value] if isinstance(value, list) else _plain(value)


def _plain(value: Any) -> Any:
    """A JSON value: None for NaN, NA and infinities, floats to six significant digits."""
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        rounded = float(f"{value:.{_DIGITS}g}")
        return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded
    return None if value is pd.NA else value
