"""Lines below a table, a figure or a page of the report: how times were measured, and on which machines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd


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
    for codec, of_codec in rows.groupby("codec", sort=True, observed=True):
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
        for name, rows in of.groupby("machine", sort=True, observed=True):
            who[str(name)] = sorted(set(rows["codec"].astype(str)))
        places = "; ".join(f"{name}: {', '.join(codecs)}" for name, codecs in who.items())
        apart = " (apart: bench table -k timing)" if timed else ""
        yield f"{what} of different kinds of machine, do not compare{apart}: {places}"
