"""Order the codings of a run for the 3-D views of a report, most interesting first, since not all may fit."""

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
    """A coding to show."""

    row: int  # index in the records
    role: Role  # among the meshes of the codec and rate, by the ranking metric


def in_order_of_interest(records: Sequence[Record]) -> list[Case]:
    """Every coding that can be shown: the worst mesh of every codec and rate, the median, the best, then the rest.

    Within a round, rates come in the order of the ladder, so that a small budget drops the same rates of every codec.
    """
    name = ranking(metric for record in records for metric in record.metrics)
    column = None if name is None else columns()[name]
    groups: dict[tuple[object, ...], list[int]] = {}
    for row, record in enumerate(records):
        if record.status == "ok" and not record.timing and record.stream_sha256:
            key = (record.dataset, record.split, record.effort, record.device, record.codec, record.rate)
            groups.setdefault(key, []).append(row)
    ranked = [sorted(rows, key=lambda row: _badness(records[row], column)) for rows in groups.values()]
    found: list[tuple[int, int, int, Case]] = []  # round, turn in the round, rate_index; and the case
    for rows in ranked:
        for rank, row in enumerate(rows):
            role = _role(rank, len(rows))
            turn = rank if role == "other" else 0
            found.append((_ROUNDS.index(role), turn, records[row].rate_index, Case(row, role)))
    found.sort(key=lambda item: (item[:3], item[3].row))
    return [case for *_, case in found]


def _role(rank: int, count: int) -> Role:
    """Role of a rank, from best to worst; a single coding is the worst."""
    if rank == count - 1:
        return "worst"
    if rank == (count - 1) // 2 and count > 2:
        return "median"
    return "best" if rank == 0 else "other"


def _badness(record: Record, column: Column | None) -> float:
    """Value of the column with a sign such that more is worse; infinity if it was not measured."""
    value = math.nan if column is None else record.metrics.get(column.name, math.nan)
    if column is None or math.isnan(value):
        return math.inf
    return -value if column.better == "higher" else value
