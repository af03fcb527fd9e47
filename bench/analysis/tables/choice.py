"""Codecs and rates that meet constraints; or which constraint to relax, and what is nearest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

import pandas as pd

from gcbench.bench.analysis.choose import COSTS, Choice, Requirement
from gcbench.bench.analysis.measured import headlines
from gcbench.bench.analysis.tables.columns import CODEC, RATE, compared, for_people, for_programs, values_of
from gcbench.bench.analysis.tables.notes import machine_notes
from gcbench.bench.analysis.tables.rate_distortion import filled
from gcbench.bench.metrics import columns
from gcbench.bench.tabular import Column, Table

_PARETO = Column("pareto", "*", show=lambda best: "*" if best else "")


def choice(found: Choice, limits: Sequence[Requirement], where: str) -> Table:
    """The choices within the limits, for people and programs; if there are none, what to do, for people.

    Parameters
    ----------
    found : Choice
        What was chosen.
    limits : sequence of Requirement
        What was asked for, metrics of which are shown.
    where : str
        Dataset, split and effort.
    """
    title = f"{where}: {', '.join(map(str, limits)) or 'no constraint'}"
    rest = tuple(_left_out(found))
    if len(found.within):
        shown = [_PARETO, *_shown(found.within, limits)]
        best = "* no other choice is at least as small, as close to the original and as fast to decode"
        both = [*for_people(shown), *for_programs(filled(found.within))]
        return Table(title, both, values_of(found.within), (best, *machine_notes(found.within), *rest))
    if found.nearest is not None and len(limits) > 1:
        why = "nothing meets all constraints, and relaxing one is not enough; these are nearest"
        return Table(title, for_people(_shown(found.nearest, limits)), values_of(found.nearest), (why, *rest))
    relax = (f"{_moved(one.limit, one.bound)} would allow {one.codec} {one.rate}" for one in found.relaxations)
    return Table(title, (), {}, ("nothing meets all constraints", *relax, *rest))


def _shown(rows: pd.DataFrame, limits: Sequence[Requirement]) -> list[Column]:
    asked = [columns()[limit.column] for limit in limits if limit.column not in COSTS]
    return [CODEC, RATE, *compared(list(dict.fromkeys([*headlines(rows), *asked])), rows)]


def _left_out(found: Choice) -> Iterator[str]:
    for limit, floor in found.beyond:
        yield f"no codec can reach {limit}: two samplings of the original itself give {limit.shown(floor):.4g}"
    if found.excluded:
        yield f"left out: {_rates(found.excluded)} with failed codings (bench table --failures)"
    if found.elsewhere:
        yield f"left out: {_rates(found.elsewhere)} without all common meshes (bench table --means common)"


def _rates(count: int) -> str:
    return "1 rate" if count == 1 else f"{count} rates"


def _moved(limit: Requirement, bound: float) -> str:
    """A constraint with its bound rounded to the side that allows the value."""
    context = Context(prec=3, rounding=ROUND_FLOOR if limit.at_least else ROUND_CEILING)
    return str(replace(limit, bound=float(context.create_decimal(Decimal(bound)))))
