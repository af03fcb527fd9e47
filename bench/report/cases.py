"""Which codings are worth showing in 3-D when not all fit. Knows records, nothing of meshes or HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gcbench.bench.metrics import Column, columns, ranking
from gcbench.bench.store.records import Record

Role = Literal["worst", "median", "best", "other"]
_ROUNDS: tuple[Role, ...] = ("worst", "median", "best", "other")


@dataclass(frozen=True)
class Case:
    """A coding to show.

    Parameters
    ----------
    row : int
        Its index in the records.
    role : {"worst", "median", "best", "other"}
        Which one it is among the meshes of its codec and rate, by the metric that ranks.
    """

    row: int
    role: Role


def in_order_of_interest(records: Sequence[Record]) -> list[Case]:
    """Every coding that can be shown, the ones to show first in front.

    First the worst mesh of every codec and rate, then the median, then the best, then the rest. In a round, rates come
    by rank, so that a budget that ends early has dropped the same rates of every codec.
    """
    name = ranking(metric for record in records for metric in record.metrics)
    column = None if name is None else columns()[name]
    groups: dict[tuple[object, ...], list[int]] = {}
    for row, record in enumerate(records):
        if record.status == "ok" and not record.timing and record.stream_sha256:
            key = (record.dataset, record.split, record.effort, record.device, record.codec, record.rate)
            groups.setdefault(key, []).append(row)
    ranked = [sorted(rows, key=lambda row: _badness(records[row], column)) for rows in groups.values()]
    found: list[tuple[int, int, int, Case]] = []  # the round, the turn in it, the rung; and the case
    for rows in ranked:
        for rank, row in enumerate(rows):
            role = _role(rank, len(rows))
            turn = rank if role == "other" else 0
            found.append((_ROUNDS.index(role), turn, records[row].rate_index, Case(row, role)))
    found.sort(key=lambda item: (item[:3], item[3].row))
    return [case for *_, case in found]


def _role(rank: int, count: int) -> Role:
    """Role of a rank from best to worst; of a single coding: the worst."""
    if rank == count - 1:
        return "worst"
    if rank == (count - 1) // 2 and count > 2:
        return "median"
    return "best" if rank == 0 else "other"


def _badness(record: Record, column: Column | None) -> float:
    """Value of the column, turned so that more is worse; what was not measured is worst."""
    value = math.nan if column is None else record.metrics.get(column.name, math.nan)
    if column is None or math.isnan(value):
        return math.inf
    return -value if column.better == "higher" else value
