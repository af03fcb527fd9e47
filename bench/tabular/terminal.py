"""A table as aligned text: as wide as it is for a pipe or a file, fitted to its width for a terminal.

rich knows widths of characters and what a terminal can show. Its tables are not used: they take 2 ms for a row, and
cannot put marks behind numbers whose digits are aligned.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gcbench.bench.tabular.table import Shown, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.text import Text

_GAP = "  "
_NARROW = 16  # text is not folded to less


def render(table: Table) -> str:
    """Write a table with every row on one line, without colours."""
    return _with_title_and_notes(table, [_lines(_measured(table))])


def render_to_fit(table: Table, width: int) -> str:
    """Write a table for a terminal that is ``width`` columns wide, without colours.

    Texts longer than their share are folded within their column. If the table is still too wide, it is cut into parts
    one below the other; each part has the key columns.
    """
    columns = _folded(_measured(table), width)
    notes = [line for note in table.notes for line in textwrap.wrap(note, width) or [""]]
    return _with_title_and_notes(replace(table, notes=tuple(notes)), [_lines(part) for part in _parts(columns, width)])


def styled(text: str) -> Text:
    """Text of :func:`render_to_fit`, with headings in bold and rules dimmed."""
    from rich.text import Text

    lines = text.split("\n")
    said = Text(text)
    start = 0
    for place, line in enumerate(lines):
        if place + 1 < len(lines) and lines[place + 1].startswith("─"):
            said.stylize("bold", start, start + len(line))
        if line.startswith("─"):
            said.stylize("dim", start, start + len(line))
        start += len(line) + 1
    return said


def print_to(console: Console, tables: Sequence[Table]) -> None:
    """Print tables to a terminal, in its width and with the colours that it has."""
    shown = [table for table in tables if table.for_people]
    for place, table in enumerate(shown):
        text = ("\n" if place else "") + render_to_fit(table, console.width)
        console.print(styled(text), end="", soft_wrap=True, highlight=False)
    if not shown:
        console.print("nothing to show")


@dataclass(frozen=True)
class _Laid:
    """A column with the width of its cells, and of its marks, in columns of the terminal."""

    shown: Shown
    width: int
    marks: int

    @property
    def whole(self) -> int:
        return self.width + self.marks

    def padded(self, text: str, mark: str = "") -> str:
        """Text and mark as wide as the column; a mark has a place of its own, so that digits stay aligned."""
        space = " " * (self.width - _width(text))
        return (text + space if self.shown.left else space + text) + mark.ljust(self.marks)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _measured(table: Table) -> list[_Laid]:
    laid = []
    for shown in table.shown():
        width = max(map(_width, [shown.column.label, *shown.cells]))
        laid.append(_Laid(shown, width, max(map(len, shown.marks), default=0)))
    return laid


def _with_title_and_notes(table: Table, parts: Sequence[list[str]]) -> str:
    blocks = [[table.title] if table.title else [], *(parts if len(table) else []), list(table.notes)]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _lines(columns: Sequence[_Laid]) -> list[str]:
    if not columns:
        return []
    heads = [column.padded(column.shown.column.label) for column in columns]
    rule = ["─" * column.whole for column in columns]
    lines = [_GAP.join(heads).rstrip(), _GAP.join(rule)]
    for place in range(len(columns[0].shown)):
        lines += _row(columns, place)
    return lines


def _row(columns: Sequence[_Laid], place: int) -> Iterator[str]:
    """One line; more if texts are folded."""
    wrapped = [_wrapped(column, column.shown.cells[place]) for column in columns]
    for line in range(max(map(len, wrapped))):
        cells = [
            column.padded(texts[line] if line < len(texts) else "", column.shown.marks[place] if not line else "")
            for column, texts in zip(columns, wrapped, strict=True)
        ]
        yield _GAP.join(cells).rstrip()


def _wrapped(column: _Laid, cell: str) -> list[str]:
    if _width(cell) <= column.width:
        return [cell]
    from rich.cells import chop_cells

    return [part for line in textwrap.wrap(cell, column.width) for part in chop_cells(line, column.width)]


def _folded(columns: Sequence[_Laid], width: int) -> list[_Laid]:
    """Narrow the widest columns of text, until the table fits or texts have become narrow."""
    found = list(columns)
    while (excess := _total(found) - width) > 0:
        texts = [place for place, column in enumerate(found) if column.shown.left]
        widest = max(texts, key=lambda place: found[place].width, default=None)
        if widest is None:
            break
        least = max(_NARROW, _width(found[widest].shown.column.label))
        others = [found[place].width for place in texts if place != widest]
        target = max(least, found[widest].width - excess, min(max(others, default=0), found[widest].width - 1))
        if target >= found[widest].width:
            break
        found[widest] = replace(found[widest], width=target)
    return found


def _parts(columns: Sequence[_Laid], width: int) -> list[list[_Laid]]:
    keys = [column for column in columns if column.shown.column.key]
    parts: list[list[_Laid]] = [[]]
    for column in columns:
        if parts[-1] and len(parts[-1]) > len(keys) and _total([*parts[-1], column]) > width:
            parts.append(list(keys))
        parts[-1].append(column)
    return parts


def _total(columns: Sequence[_Laid]) -> int:
    return sum(column.whole for column in columns) + len(_GAP) * (len(columns) - 1)
