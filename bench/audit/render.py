"""Show comparisons as text for a terminal, as Markdown for a pull request, and as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from gcbench.bench.audit.comparison import CellComparison, Comparison, Difference, Verdict
from gcbench.bench.audit.gate import TimingComparison
from gcbench.bench.metrics import columns, ranking

SHOWN = 30  # cells to list for each verdict; JSON has all
_ORDER: tuple[Verdict, ...] = ("worse", "not measured", "better")
_ALL: tuple[Verdict, ...] = (*_ORDER, "equal")


def text(comparison: Comparison, timing: Sequence[TimingComparison] = (), notes: Sequence[str] = ()) -> str:
    """Text for a terminal, with what is worse first."""
    return "\n".join(_text(comparison, timing, notes))


def markdown(
    title: str, comparison: Comparison, timing: Sequence[TimingComparison] = (), notes: Sequence[str] = ()
) -> str:
    """Markdown for a pull request: the verdict, a table of codecs, and a table of the cells that changed."""
    return "\n".join(_markdown(title, comparison, timing, notes)) + "\n"


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


def _text(comparison: Comparison, timing: Sequence[TimingComparison], notes: Sequence[str]) -> Iterator[str]:
    yield headline(comparison)
    for verdict in _ORDER:
        cells = comparison.of(verdict)
        if cells:
            yield f"{verdict}:"
        yield from (f"  {cell.cell}: {_says(cell)}" for cell in cells[:SHOWN])
        if len(cells) > SHOWN:
            yield f"  and {len(cells) - SHOWN} more"
    for mean in comparison.means:
        if mean.verdict != "equal":
            yield f"{mean.verdict} on the mean of {mean.cells} cells: {mean.codec} {mean.name} {_percent(mean.change)}"
    for row in timing:
        if row.verdict != "equal":
            yield f"{row.verdict} in time: {row.what}: {row.old:.2f} → {row.new:.2f} × the control"
    yield from (f"note: {note}" for note in notes)


def _markdown(
    title: str, comparison: Comparison, timing: Sequence[TimingComparison], notes: Sequence[str]
) -> Iterator[str]:
    slower = sum(row.verdict == "worse" for row in timing)
    yield f"### {_cell(title)}: {comparison.verdict if not slower else 'worse'}"
    yield ""
    yield headline(comparison) + (f"; {slower} times worse" if slower else "")
    yield ""
    if comparison.cells:
        shown = ["bytes", *filter(None, [ranking(mean.name for mean in comparison.means)])]
        heads = " | ".join(_label(name) for name in shown)
        yield f"| codec | cells | worse | better | {heads} |"
        yield "|---|---:|---:|---:|" + "---:|" * len(shown)
    for codec in dict.fromkeys(cell.cell.codec for cell in comparison.cells):
        counts = Counter(c.verdict for c in comparison.cells if c.cell.codec == codec)
        means = {m.name: _percent(m.change) for m in comparison.means if m.codec == codec}
        changes = " | ".join(means.get(name, "–") for name in shown)
        yield f"| {_cell(codec)} | {counts.total()} | {counts['worse']} | {counts['better']} | {changes} |"
    yield ""
    for verdict in _ORDER:
        cells = comparison.of(verdict)
        if not cells:
            continue
        yield f"<details{' open' if verdict == 'worse' else ''}><summary>{verdict}: {len(cells)}</summary>"
        yield ""
        yield "| codec | rate | mesh | what |"
        yield "|---|---|---|---|"
        for c in cells[:SHOWN]:
            mesh = _cell(f"{c.cell.dataset}/{c.cell.mesh}")
            yield f"| {_cell(c.cell.codec)} | {_cell(c.cell.rate)} | {mesh} | {_cell(_says(c))} |"
        if len(cells) > SHOWN:
            yield f"| | | | and {len(cells) - SHOWN} more |"
        yield ""
        yield "</details>"
        yield ""
    changed = [m for m in comparison.means if m.verdict != "equal"]
    for mean in changed:
        says = f"{mean.name} {_percent(mean.change)}, mean of {mean.cells} cells"
        yield f"- {mean.verdict}: {_cell(mean.codec)}: {says}"
    for row in timing:
        if row.verdict != "equal":
            yield f"- {row.verdict} in time: {_cell(row.what)}: {row.old:.2f} → {row.new:.2f} × the control"
    yield from (f"- {_cell(note)}" for note in notes)


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


def _cell(value: str) -> str:
    """Text for a cell of a Markdown table; names may have any characters."""
    flat = " ".join(value.split())
    for character, instead in (
        ("\\", "\\\\"),
        ("&", "&amp;"),
        ("<", "&lt;"),
        ("|", "\\|"),
        ("`", "\\`"),
        ("@", "@\u200b"),
    ):
        flat = flat.replace(character, instead)
    return flat
