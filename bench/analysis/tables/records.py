"""Every record of a run, for programs: one row for each mesh, codec, rate, seed and pass."""

from __future__ import annotations

from dataclasses import fields
from typing import get_type_hints

import pandas as pd

from gcbench.bench.analysis.tables.columns import for_programs, values_of
from gcbench.bench.analysis.tables.rate_distortion import filled, without_times
from gcbench.bench.metrics import columns
from gcbench.bench.store.records import Cost, RanOn, Record
from gcbench.bench.tabular import Kind, Table


def records(rows: pd.DataFrame, *, timing: bool = True) -> Table:
    """A table without labels: CSV and JSON have it, people do not.

    Parameters
    ----------
    rows : DataFrame
        From :func:`gcbench.bench.analysis.frame.frame`.
    timing : bool
        Whether columns of times, memory and machines are included.
    """
    known = rows if timing else without_times(rows)
    return Table("records", for_programs(filled(known), _kinds()), values_of(known))


def _kinds() -> dict[str, Kind]:
    """Which columns are whole numbers and which are flags.

    A frame holds whole numbers as floats if some are missing. ``stream_bytes`` is a fraction in a set only, where the
    meshes share bytes.
    """
    kinds: dict[str, Kind] = {"stream_bytes": "integer"}
    for of, prefixes in ((Record, [""]), (RanOn, [""]), (Cost, ["encode_", "decode_"])):
        types = get_type_hints(of)
        whole = [f.name for f in fields(of) if types[f.name] in {int, int | None}]
        kinds |= {prefix + name: "integer" for prefix in prefixes for name in whole}
    kinds |= {f"{call}_added_bytes": "integer" for call in ("encode", "decode")}
    of_unit: dict[str, Kind] = {"count": "integer", "flag": "flag"}
    return kinds | {name: of_unit[column.unit] for name, column in columns().items() if column.unit in of_unit}
