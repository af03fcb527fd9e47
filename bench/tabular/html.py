"""A table as HTML: a ``table`` with caption and scoped headings, without styles or scripts."""

from __future__ import annotations

from html import escape

from gcbench.bench.tabular.table import Shown, Table


def render(table: Table) -> str:
    """Write a table, with its notes in a list below it. All text is escaped.

    Classes are ``number`` for cells that are flush right, ``mark`` for marks, and ``notes`` for the list of notes.
    """
    shown = table.shown()
    lines = []
    if shown and len(table):
        caption = [f"<caption>{escape(table.title)}</caption>"] if table.title and not table.details else []
        heads = "".join(f'<th scope="col"{_class(s)}>{escape(s.column.label)}</th>' for s in shown)
        rows = ["".join(_cell(s, place) for s in shown) for place in range(len(table))]
        lines += ["<table>", *caption, f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
        lines += [*(f"<tr>{row}</tr>" for row in rows), "</tbody>", "</table>"]
    elif table.title and not table.details:
        lines.append(f"<p>{escape(table.title)}</p>")
    if table.notes:
        lines += ['<ul class="notes">', *(f"<li>{escape(note)}</li>" for note in table.notes), "</ul>"]
    if table.details:
        opened = " open" if table.details == "open" else ""
        lines = [f"<details{opened}><summary>{escape(table.title)}</summary>", *lines, "</details>"]
    return "\n".join(lines) + "\n"


def _cell(shown: Shown, place: int) -> str:
    mark = f'<span class="mark">{escape(shown.marks[place])}</span>' if shown.marks[place] else ""
    text = escape(shown.cells[place]) + mark
    if shown.column.key:
        return f'<th scope="row"{_class(shown)}>{text}</th>'
    return f"<td{_class(shown)}>{text}</td>"


def _class(shown: Shown) -> str:
    return "" if shown.left else ' class="number"'
