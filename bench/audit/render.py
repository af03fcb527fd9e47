"""Comparisons and verifications as tables, for a terminal and for a pull request; and as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gcbench.bench.audit.comparison import CellComparison, Comparison, Difference, Verdict
from gcbench.bench.audit.gate import TimingComparison
from gcbench.bench.metrics import columns, ranking
from gcbench.bench.tabular import Column, Table

if TYPE_CHECKING:
    from gcbench.bench.audit.consistency import Finding
    from gcbench.bench.audit.verify import Verification

SHOWN = 30  # cells or findings to list for each verdict; JSON has all
_ORDER: tuple[Verdict, ...] = ("worse", "not measured", "better")
_ALL: tuple[Verdict, ...] = (*_ORDER, "equal")
_CODEC = Column("codec", "codec", key=True)


def comparison_tables(
    title: str, comparison: Comparison, timing: Sequence[TimingComparison] = (), notes: Sequence[str] = ()
) -> list[Table]:
    """The verdict, a table of codecs, the cells that changed with what is worse first, changed means, changed times."""
    slower = sum(row.verdict == "worse" for row in timing)
    verdict = "worse" if slower else comparison.verdict
    said = headline(comparison) + (f"; {slower} times worse" if slower else "")
    tables = [Table(f"{title}: {verdict}", (), {}, (said,))]
    if comparison.cells:
        tables.append(_codecs(comparison))
    tables += [_cells(of, comparison.of(of)) for of in _ORDER if comparison.of(of)]
    tables += [*_means(comparison), *_times(timing)]
    return [*tables, *([Table("", (), {}, tuple(f"note: {note}" for note in notes))] if notes else [])]


def verification_tables(report: Verification) -> list[Table]:
    """What was checked, and what differs or could not be checked."""
    again = f"{report.recomputed} of {report.sampled} sampled records again (--seed {report.seed})"
    checked = {
        "streams": f"{report.streams_intact} of {report.streams} have their recorded SHA-256",
        "meshes": f"{report.meshes_intact} of {report.meshes} are on this machine with their recorded SHA-256",
        "measured": f"{again}; largest deviation {report.largest_deviation:.2g}",
    }
    title = f"{report.run}: {report.records} records of {report.codings} codings, {report.measurements} measurements"
    names = (Column("what", "checked", key=True), Column("result", "result"))
    tables = [Table(title, names, {"what": list(checked), "result": list(checked.values())})]
    installed = {**report.codecs, **report.suites}
    versions = (Column("what", "codec or metrics", key=True), Column("version", "installed version"))
    tables += [Table("", versions, {"what": list(installed), "version": list(installed.values())})] if installed else []
    tables += _findings("differs from the record", report.differs)
    return [*tables, *_findings("could not be checked", report.unchecked)]


def as_json(
    comparison: Comparison, timing: Sequence[TimingComparison] = (), notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Plain JSON values of everything."""
    return {
        "cells": [{**asdict(c), "cell": c.cell._asdict()} for c in comparison.cells],
        "means": [asdict(mean) for mean in comparison.means],
        "only_old": [cell._asdict() for cell in comparison.only_old],
        "only_new": [cell._asdict() for cell in comparison.only_new],
        "timing": [asdict(row) for row in timing],
        "notes": list(notes),
    }


def headline(comparison: Comparison) -> str:
    """Count the verdicts: ``40 cells: 3 worse, 1 better, 36 equal``."""
    counts = Counter(cell.verdict for cell in comparison.cells)
    parts = [f"{counts[verdict]} {verdict}" for verdict in _ALL if counts[verdict]]
    return f"{len(comparison.cells)} cells: {', '.join(parts) or 'nothing in common'}"


def _codecs(comparison: Comparison) -> Table:
    shown = ["bytes", *filter(None, [ranking(mean.name for mean in comparison.means)])]
    counts: dict[str, Counter[Verdict]] = {}
    for cell in comparison.cells:
        counts.setdefault(cell.cell.codec, Counter())[cell.verdict] += 1
    changes = {(mean.codec, mean.name): mean.change for mean in comparison.means}
    rows = [
        {"codec": codec, "cells": of.total(), "worse": of["worse"], "better": of["better"]}
        | {name: changes.get((codec, name)) for name in shown}
        for codec, of in counts.items()
    ]
    numbers = [Column(name, name, "integer") for name in ("cells", "worse", "better")]
    return Table.of_rows("", [_CODEC, *numbers, *(Column(n, _label(n), "number", _percent) for n in shown)], rows)


def _cells(verdict: Verdict, cells: Sequence[CellComparison]) -> Table:
    rows = [
        {"codec": c.cell.codec, "rate": c.cell.rate, "mesh": f"{c.cell.dataset}/{c.cell.mesh}", "what": _says(c)}
        for c in cells[:SHOWN]
    ]
    names = [_CODEC, Column("rate", "rate", key=True), Column("mesh", "mesh", key=True), Column("what", "what")]
    return Table.of_rows(
        f"{verdict}: {len(cells)}",
        names,
        rows,
        notes=_more(len(cells)),
        details="open" if verdict == "worse" else "closed",
    )


def _means(comparison: Comparison) -> Iterator[Table]:
    rows = [asdict(mean) for mean in comparison.means if mean.verdict != "equal"]
    names = [
        *(Column("verdict", "verdict", key=True), _CODEC, Column("name", "mean of", key=True)),
        *(Column("change", "change", "number", _percent), Column("cells", "cells", "integer")),
    ]
    if rows:
        yield Table.of_rows("means that changed", names, rows, details="open")


def _times(timing: Sequence[TimingComparison]) -> Iterator[Table]:
    rows = [asdict(row) for row in timing if row.verdict != "equal"]
    names = [
        *(Column("verdict", "verdict", key=True), Column("what", "what", key=True)),
        *(Column(name, name, "number", lambda ratio: f"{ratio:.2f}") for name in ("old", "new")),
    ]
    if rows:
        yield Table.of_rows(
            "times that changed, as multiples of those of the control codec", names, rows, details="open"
        )


def _findings(title: str, findings: Sequence[Finding]) -> Iterator[Table]:
    names = (Column("what", "what", key=True), Column("where", "where", key=True), Column("message", "message"))
    if findings:
        rows = [asdict(finding) for finding in findings[:SHOWN]]
        yield Table.of_rows(f"{title}: {len(findings)}", names, rows, notes=_more(len(findings)))


def _more(count: int) -> tuple[str, ...]:
    return (f"and {count - SHOWN} more; -f json prints all",) if count > SHOWN else ()


def _label(name: str) -> str:
    """Head of a column of relative changes: its label without the scale."""
    return name if name == "bytes" else columns()[name].label.partition(" ×")[0]


def _says(cell: CellComparison) -> str:
    return cell.note or "; ".join(_difference(d) for d in cell.differences)


def _difference(d: Difference) -> str:
    """``bytes 1204 → 1217 (+1.1 %)``: a positive sign means a larger value, not a worse one."""
    if d.name == "bytes":
        return f"bytes {d.old:g} → {d.new:g} ({_signed(d.new / d.old - 1) if d.old else 'from nothing'})"
    column = columns()[d.name]
    old, new = d.old * column.scale, d.new * column.scale
    label = column.label if column.scale != 1 else d.name
    change = f" ({_signed(d.new / d.old - 1)})" if column.unit == "length" and d.old else ""
    return f"{label} {old:.6g} → {new:.6g}{change}"


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.2g} %" if abs(fraction) < 0.1 else f"{100 * fraction:+.0f} %"


def _percent(change: float) -> str:
    """A mean change as text."""
    if change == 0:
        return "="
    return f"{abs(100 * change):.2g} % {'worse' if change > 0 else 'better'}"
