"""Order the codings of a run for the 3-D views of a report, most interesting first, since not all may fit.

Example: two codecs with the rates r0, r1, r2. The order is: worst, median and best mesh of both codecs at r1 (the
middle of the ladder), then at r0 and at r2 (its ends), then the second worst meshes. A budget that ends early has
shown every codec, with few rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import pandas as pd

from gcbench.bench.analysis.frame import BLOCK
from gcbench.bench.analysis.measured import ranking_column

Role = Literal["worst", "median", "best", "other"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Case:
    """A coding to show."""

    row: int  # place in the frame
    role: Role  # among the meshes of the codec and rate, by the ranking metric
    late: bool = False  # comes after all cases that are not late


def in_order_of_interest(rows: pd.DataFrame) -> list[Case]:
    """Every coding that can be shown: worst, median and best of every codec and rate, then the rest from the worst on.

    Codecs (and datasets) take turns. Rates come in the order of :func:`spread_out`, so that the first rates are far
    apart. A coding without a value of the ranking metric counts as the worst.

    Parameters
    ----------
    rows : DataFrame
        Of :func:`gcbench.bench.analysis.frame.frame`.
    """
    can = (rows["status"] == "ok") & ~rows["timing"].astype(bool) & rows["stream_sha256"].notna()
    place = np.flatnonzero(can.to_numpy())
    if not len(place):
        return []
    shown = rows.iloc[place]
    block = shown.groupby(BLOCK, sort=True).ngroup().to_numpy()
    codec = shown["codec"].astype(str).to_numpy()
    table = pd.DataFrame({"block": block, "codec": codec, "rate": shown["rate"].astype(str).to_numpy()})
    table["rate_index"] = shown["rate_index"].to_numpy()
    table["badness"] = _badness(rows).iloc[place].to_numpy()
    table["place"] = place
    table = table.sort_values(["block", "codec", "rate", "badness", "place"], ignore_index=True)
    of_rate = table.groupby(["block", "codec", "rate"], sort=False)
    rank, count = of_rate.cumcount().to_numpy(), of_rate["place"].transform("size").to_numpy()
    role = np.full(len(table), ROLES.index("other"))
    role[rank == 0] = ROLES.index("best")
    role[(rank == (count - 1) // 2) & (count > 2)] = ROLES.index("median")
    role[rank == count - 1] = ROLES.index("worst")
    other = role == ROLES.index("other")
    order = np.lexsort(
        (
            table["place"],
            table["codec"],
            table["block"],
            np.where(other, 0, role),
            _turn_of_rate(table),
            np.where(other, count - rank, 0),  # the second worst mesh of every rate before any third worst
        )
    )
    in_order = zip(table["place"].to_numpy()[order], role[order], other[order], strict=True)
    return [Case(int(row), ROLES[one], bool(late)) for row, one, late in in_order]


def spread_out(count: int) -> list[int]:
    """Order 0 ... count − 1 so that any beginning is spread out: the middle, both ends, then the middles of gaps.

    Example: 7 gives 3, 0, 6, 1, 4, 2, 5.
    """
    order = list(dict.fromkeys([(count - 1) // 2, 0, count - 1])) if count else []
    while len(order) < count:
        known = sorted(order)
        gap, low = max(((b - a, -a) for a, b in pairwise(known)))
        order.append(-low + gap // 2)
    return order


def _turn_of_rate(table: pd.DataFrame) -> np.ndarray:
    """For each row, the turn of its rate among the rates of its codec and block."""
    rates = table[["block", "codec", "rate", "rate_index"]].drop_duplicates(["block", "codec", "rate"])
    rates = rates.sort_values(["block", "codec", "rate_index", "rate"])
    turns = [
        turn
        for size in rates.groupby(["block", "codec"], sort=True).size()
        for turn in np.argsort(spread_out(size)).tolist()
    ]
    of_rate = pd.Series(turns, index=pd.MultiIndex.from_frame(rates[["block", "codec", "rate"]]))
    return of_rate.reindex(pd.MultiIndex.from_frame(table[["block", "codec", "rate"]])).to_numpy()


def _badness(rows: pd.DataFrame) -> pd.Series:
    """Value of the ranking metric with a sign such that more is worse; infinity if it was not measured."""
    column = ranking_column(rows)
    if column is None:
        return pd.Series(np.inf, index=rows.index)
    values = rows[column.name].astype(float)
    return (-values if column.better == "higher" else values).fillna(np.inf)
