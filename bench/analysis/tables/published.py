"""Figures of papers beside ours (:mod:`gcbench.bench.analysis.published`), a table for each table of a paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from gcbench.bench.analysis.published import (
    QUANTITIES,
    Compared,
    Published,
    compare,
    count,
    published,
    question,
    quotes,
)
from gcbench.bench.analysis.tables.columns import for_programs, show
from gcbench.bench.metrics import columns
from gcbench.bench.tabular import Column, Table

_SHOWN = (
    Column("method", "method", key=True, data=False),
    Column("quantity", "quantity", data=False),
    Column("published", "published", "number", data=False),
    Column("ours", "ours", "number", data=False),
    Column("ratio", "ratio", "number", data=False),
    Column("verdict", "verdict", data=False),
    Column("of", "ours is of", data=False),
)
_SEE = "←"  # the values are beside the names of the quantities
_DATA = (
    *("source", "place", "dataset", "models", "id", "method", "setting", "machine", "quantity", "published"),
    *("against", "order", "ours", "ours_column", "ratio", "verdict", "of", "page", "command"),
)


def beside_published(summaries: Iterable[pd.DataFrame], figures: Sequence[Published] | None = None) -> list[Table]:
    """All figures of the papers beside ours, with the ratio and a verdict; made for people and for programs.

    Figures of one method that were not run for one reason share a line for people.

    Parameters
    ----------
    summaries : iterable of DataFrame
        From :func:`gcbench.bench.analysis.mean_curves.means_by_meshes`.
    figures : sequence of Published, optional
        By default those of ``results/published.csv``.
    """
    return published_tables(compare(summaries, published() if figures is None else figures))


def published_tables(found: Sequence[Compared]) -> list[Table]:
    """The tables of :func:`beside_published`, of figures that are compared already."""
    groups: dict[tuple[str, str, str], list[Compared]] = {}
    for one in found:
        groups.setdefault((one.figure.source, one.figure.place, one.figure.dataset), []).append(one)
    return [table for group in groups.values() for table in _tables(group)]


def _tables(group: Sequence[Compared]) -> list[Table]:
    first = group[0].figure
    meshes = f" ({first.models} meshes)" if first.models and first.models > 1 else ""
    title = f"{first.source}, {first.place}: {first.dataset}{meshes}"
    kinds = ", ".join(f"{kind} {number}" for kind, number in count(group).items() if number)
    note = f"{'1 figure' if len(group) == 1 else f'{len(group)} figures'}: {kinds}; ratio: ours / published"
    data = [_for_programs(one) for one in group]
    return [Table.of_rows(title, _SHOWN, _lines(group), notes=(note,)), Table.of_rows(title, for_programs(_DATA), data)]


def _lines(group: Sequence[Compared]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    not_run: dict[tuple[str, str], dict[str, Any]] = {}
    for one in group:
        line = _line(one)
        first = not_run.setdefault((one.figure.id, one.verdict), line) if one.ours is None else line
        if first is line:
            lines.append(line)
            continue
        if first["published"] != _SEE:
            first["quantity"] += f" {first['published']}"
            first["published"] = _SEE
        first["quantity"] += f"; {line['quantity']} {line['published']}"
    return lines


def _line(one: Compared) -> dict[str, Any]:
    figure, ours = one.figure, one.ours
    value = _text(figure.quantity, figure.value)
    if figure.value is None:
        than = QUANTITIES[figure.quantity].than if figure.quantity in QUANTITIES else None
        value = f"{figure.order} {f'{than:g}' if than is not None else _name_of(figure)}"
    quantity = label(figure.quantity)
    if ours is not None and ours.column != figure.quantity:
        quantity += f" | ours: {label(ours.column)}"
    return {
        "method": f"{figure.method} {figure.setting}".strip() + (f", {figure.machine}" if figure.machine else ""),
        "quantity": quantity,
        "published": value,
        "ours": None if ours is None else _text(ours.column, ours.value),
        "ratio": None if one.ratio is None else f"{one.ratio:.3g}",
        "verdict": one.verdict,
        "of": "" if ours is None else ours.of,
    }


def _name_of(figure: Published) -> str:
    """The name of what a figure without a number is compared with."""
    other = next((f for f in published() if f.id == figure.against), None)
    return figure.against if other is None else f"{other.method} {other.setting}".strip()


def label(name: str) -> str:
    """What people read for a quantity."""
    return QUANTITIES[name].label if name in QUANTITIES else columns()[name].label


def _text(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in QUANTITIES:
        return significant(value, QUANTITIES[name].digits)
    return show(columns()[name], value)


def significant(value: float, digits: int) -> str:
    """A number with so many significant digits, and never with an exponent."""
    if value == 0:
        return "0"
    after = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{after}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _for_programs(one: Compared) -> dict[str, Any]:
    figure, ours = one.figure, one.ours
    quote = None
    if ours is not None and (name := question(figure).quote) and quotes()[name].page in ours.of:
        quote = quotes()[name]
    return {
        **{n: getattr(figure, n) for n in ("source", "place", "dataset", "models", "id", "method", "setting")},
        **{n: getattr(figure, n) for n in ("machine", "quantity", "against", "order")},
        "published": figure.value,
        "ours": None if ours is None else ours.value,
        "ours_column": None if ours is None else ours.column,
        "ratio": one.ratio,
        "verdict": one.verdict,
        "of": None if ours is None else ours.of,
        "page": None if quote is None else quote.page,
        "command": None if quote is None else quote.command,
    }
