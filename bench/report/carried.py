"""Choose the records of a large run that its page carries; the page gets spreads (``spread.py``) of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gcbench.bench.analysis.frame import BLOCK
from gcbench.bench.report.cases import Case

#: Records that a page carries at most: about 2 MB of the file.
LIMIT = 10_000
_FAILED_PART = 4  # a quarter of the limit is for records that failed


@dataclass(frozen=True)
class Carried:
    """Which records a page carries.

    Parameters
    ----------
    places : (n,) int64
        Places in the frame, ascending.
    whole : frozenset of (dataset, split, effort, device, mesh)
        Meshes of which the page carries all records; empty if the page carries all records of the run.
    of : int
        Records of the run.
    """

    places: np.ndarray
    whole: frozenset[tuple[str, ...]]
    of: int

    @property
    def place(self) -> dict[int, int]:
        """Place in the frame → place among the records that the page carries."""
        return {int(row): index for index, row in enumerate(self.places)}

    @property
    def everything(self) -> bool:
        """Whether no record is left out."""
        return len(self.places) == self.of


def everything(rows: pd.DataFrame) -> Carried:
    """All records."""
    return Carried(np.arange(len(rows)), frozenset(), len(rows))


def carried(rows: pd.DataFrame, cases: Sequence[Case], limit: int = LIMIT) -> Carried:
    """Choose at most ``limit`` records.

    First come the worst, median and best mesh of every codec and rate, then failures (codecs and kinds of failure take
    turns), then all other records of the meshes of ``cases``, in this order, mesh by mesh.

    Parameters
    ----------
    rows : DataFrame
        All records.
    cases : sequence of Case
        In the order of interest.
    limit : int
        The most records.
    """
    if len(rows) <= limit:
        return everything(rows)
    kept = np.zeros(len(rows), bool)
    kept[[case.row for case in cases if not case.late][:limit]] = True
    failed = np.flatnonzero((rows["status"] != "ok").to_numpy() & ~kept)
    kinds = rows.iloc[failed].groupby([*BLOCK, "codec", "status", "stage"], sort=True, dropna=False)
    turn, kind = kinds.cumcount().to_numpy(), kinds.ngroup().to_numpy()
    room = min(limit - int(kept.sum()), limit // _FAILED_PART)
    kept[failed[np.lexsort((kind, turn))][:room]] = True

    number = rows.groupby([*BLOCK, "mesh"], sort=False, dropna=False).ngroup().to_numpy()
    by_mesh = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[by_mesh], np.arange(number.max() + 2))
    whole, left = [], limit - int(kept.sum())
    for mesh in dict.fromkeys(int(number[case.row]) for case in cases):
        of_mesh = by_mesh[starts[mesh] : starts[mesh + 1]]
        new = int((~kept[of_mesh]).sum())
        if new > left:
            break
        kept[of_mesh] = True
        left -= new
        whole.append(of_mesh[0])
    names = rows.iloc[whole][[*BLOCK, "mesh"]].astype(str)
    return Carried(np.flatnonzero(kept), frozenset(names.itertuples(index=False, name=None)), len(rows))
