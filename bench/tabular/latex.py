"""A table as LaTeX: a ``tabular`` in the style of booktabs, title and notes as comments."""

from __future__ import annotations

from gcbench.bench.tabular.table import Table

_ESCAPES = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"$\sim$", "^": r"\textasciicircum{}", "≈": r"$\approx$",
    "×": r"$\times$", "⁻": "$^{-}$", "³": "$^{3}$", "–": "--", "→": r"$\to$", "≤": r"$\le$", "≥": r"$\ge$",
    "−": "$-$", "·": r"$\cdot$",
}  # fmt: skip


def render(table: Table) -> str:
    """Write a table; it needs the package booktabs."""
    shown = table.shown()
    title = [f"% {' '.join(table.title.split())}"] if table.title else []
    body = []
    if shown and len(table):
        rows = [" & ".join(map(escape, row)) + r" \\" for row in [list(table.heading), *table.cells]]
        align = "".join("l" if s.left else "r" for s in shown)
        begin = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", rows[0], r"\midrule"]
        body = [*begin, *rows[1:], r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*title, *body, *(f"% {' '.join(note.split())}" for note in table.notes)]) + "\n"


def escape(cell: str) -> str:
    """Escape LaTeX's special characters; write marks, minus signs and exponents in math mode."""
    if cell.startswith("-") and cell[1:2].isdigit():
        return f"$-${escape(cell[1:])}"
    return "".join(_ESCAPES.get(character, character) for character in cell).replace("$^{-}$$^{3}$", "$^{-3}$")
