"""A table as Markdown, in GitHub's dialect: a pipe table, which can be folded away."""

from __future__ import annotations

from gcbench.bench.tabular.table import Table

_ESCAPES = (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("@", "@\u200b"))


def render(table: Table) -> str:
    """Write a table with its title as heading, or as summary of the details that the reader can unfold."""
    title = [f"### {escape(table.title)}", ""] if table.title else []
    if table.details:
        opened = " open" if table.details == "open" else ""
        title = [f"<details{opened}><summary>{escape(table.title)}</summary>", ""]
    shown = table.shown()
    body = []
    if shown and len(table):
        body += [_row([s.column.label for s in shown]), _row(["---" if s.left else "--:" for s in shown], raw=True)]
        body += map(_row, table.cells)
    notes = [f"{'- ' if len(table.notes) > 1 else ''}{escape(note)}" for note in table.notes]
    end = ["", "</details>"] if table.details else []
    return "\n".join([*title, *body, *([""] if body and notes else []), *notes, *end]) + "\n"


def escape(text: str) -> str:
    """Text that stays text in Markdown, whatever characters names have; ``@`` mentions nobody."""
    flat = " ".join(text.split())
    for character, instead in _ESCAPES:
        flat = flat.replace(character, instead)
    return flat


def _row(cells: list[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cells if raw else map(escape, cells)) + " |"
