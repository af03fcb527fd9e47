"""Rows of cells as text, Markdown, LaTeX, CSV and JSON.

Markdown and LaTeX are written here and not by pandas: pandas needs two more packages for them (Jinja2, tabulate), and
the alignment, the minus signs, the exponents and the mark ``~`` would still have to be written here.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Literal

Format = Literal["text", "markdown", "latex", "csv", "json"]
FORMATS: tuple[Format, ...] = ("text", "markdown", "latex", "csv", "json")


def block(
    title: str, rows: Sequence[Sequence[str]], notes: Sequence[str], format_: Format, *, right: bool = True
) -> str:
    """Lay out a table with its title and notes, as text, Markdown or LaTeX."""
    if format_ == "latex":
        lines = [f"% {title}", *latex(rows, right=right), *(f"% {note}" for note in notes)]
        return "\n".join(lines) + "\n"
    body = markdown(rows, right=right) if format_ == "markdown" else aligned(rows, right=right)
    heading = [f"### {title}" if format_ == "markdown" else title, ""] if title else []
    return "\n".join([*heading, *body, *([""] if notes else []), *notes]) + "\n"


def aligned(rows: Sequence[Sequence[str]], *, right: bool = True, left: int = 2) -> list[str]:
    """Pad columns to their width: the first ``left`` columns flush left, the others flush right.

    A mark ``~`` stands behind the number, in a column of its own, so that the digits stay aligned.
    """
    widths = [max(len(cell.rstrip("~")) for cell in column) for column in zip(*rows, strict=True)]
    marks = [any(cell.endswith("~") for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            bare, mark = cell.rstrip("~"), "~" if cell.endswith("~") else " " if marks[index] else ""
            cells.append((bare.rjust(width) if right and index >= left else bare.ljust(width)) + mark)
        lines.append("  ".join(cells).rstrip())
    rule = "  ".join("─" * (width + mark) for width, mark in zip(widths, marks, strict=True))
    return [lines[0], rule, *lines[1:]]


def markdown(rows: Sequence[Sequence[str]], *, right: bool = True) -> list[str]:
    """Lines of a pipe table."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    align = ["--:" if right and index > 1 else "---" for index in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in [head, align, *body]]


def csv_lines(rows: Sequence[Sequence[object]]) -> str:
    """Write CSV; a cell that is None is empty."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def json_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Write a list of objects."""
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"


def latex(rows: Sequence[Sequence[str]], *, right: bool = True) -> list[str]:
    """Lines of a ``tabular`` in the style of booktabs; the first two columns to the left."""
    head, *body = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in rows]
    align = "".join("r" if right and index > 1 else "l" for index in range(len(rows[0])))
    return [rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]


def _escaped(cell: str) -> str:
    """Escape LaTeX's special characters; write marks, minus signs and exponents in math mode."""
    if cell.startswith("-") and cell[1:2].isdigit():
        return f"$-${_escaped(cell[1:])}"
    table = {c: rf"\{c}" for c in "&%$#_{}"} | {
        "\\": r"\textbackslash{}", "~": r"$\sim$", "^": r"\textasciicircum{}",
        "×": r"$\times$", "⁻": "$^{-}$", "³": "$^{3}$", "–": "--",
    }  # fmt: skip
    return "".join(table.get(character, character) for character in cell).replace("$^{-}$$^{3}$", "$^{-3}$")
