"""Bits per frame and per second of each sequence, for the datasets whose meshes are frames of motions."""

from __future__ import annotations

import pandas as pd

from gcbench.bench.analysis.tables.columns import CODEC, OF_BLOCK, PER_FRAME, RATE, blocks, number
from gcbench.bench.tabular import Column, Table

_COLUMNS = (
    CODEC,
    RATE,
    Column("sequence", "sequence", key=True),
    Column("frames", "frames", "integer"),
    Column("first", "first", "integer"),
    Column("last", "last", "integer"),
    PER_FRAME,
    number("fps", "fps", "g"),
    number("kilobits_per_second", "kbit/s", ".1f"),
)
_NOTE = "kbit/s: where the dataset says frames per second and no frame between first and last is missing"


def sequences(rows: pd.DataFrame) -> list[Table]:
    """One table for each dataset, split, effort and device that has frames: a row for each codec, rate and sequence.

    Parameters
    ----------
    rows : DataFrame
        From :func:`gcbench.bench.analysis.frame.frame`. Codings that succeeded count, without those of timing passes.
    """
    if "sequence" not in rows:
        return []
    counted = rows[rows["sequence"].notna() & (rows["status"] == "ok") & ~rows["timing"].astype(bool)]
    return [_table(title, part) for title, part in blocks(counted)]


def _table(title: str, part: pd.DataFrame) -> Table:
    data = []
    by = ["codec", "rate_index", "rate", "sequence"]
    for (codec, _, rate, sequence), of in part.groupby(by, sort=True, observed=True):
        frames = of["frame"].astype(int)
        known = set(of["fps"].astype(float).dropna())
        first, last, count = int(frames.min()), int(frames.max()), frames.nunique()
        fps = known.pop() if len(known) == 1 else None
        per_frame = 0.008 * float(of["stream_bytes"].astype(float).mean())
        whole = last - first + 1 == count
        data.append(
            {
                **{name.name: str(part[name.name].iloc[0]) for name in OF_BLOCK},
                **{"codec": str(codec), "rate": str(rate), "sequence": str(sequence)},
                **{"frames": count, "first": first, "last": last, "kilobits_per_frame": per_frame, "fps": fps},
                "kilobits_per_second": per_frame * fps if fps is not None and whole else None,
            }
        )
    return Table.of_rows(title, (*OF_BLOCK, *_COLUMNS), data, notes=(_NOTE,))
