"""Tables as values: columns with labels, and a value for each column and row.

A table serves people and programs. People see labels and rounded values, programs see names and full precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gcbench import plain_text

Kind = Literal["text", "number", "integer", "flag"]
CHUNK = 5000  # rows that are converted at a time: a frame of records may be larger than memory allows as objects


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    name : str
        Key of its values, and its name for programs.
    label : str
        Its heading for people. A column without a label is for programs only.
    kind : {"text", "number", "integer", "flag"}
        Text is flush left and is never followed by a mark; everything else is flush right. Programs get whole numbers
        of an ``integer`` column without a point (1234, not 1234.0), and a ``flag`` as true or false.
    show : callable
        Writes a value for people. Values that are missing are not passed: they are a dash, or empty in text.
    key : bool
        Whether the column says what the row is about, such as codec and rate. If a table is cut into parts that fit a
        terminal, each part has these columns.
    data : bool
        Whether programs get the column. ``False`` is for cells that repeat, or shorten, what other columns hold.
    """

    name: str
    label: str = ""
    kind: Kind = "text"
    show: Callable[[Any], str] = str
    key: bool = False
    data: bool = True


@dataclass(frozen=True)
class Shown:
    """A column as people read it: a text for each row, and a mark behind it, often empty."""

    column: Column
    cells: list[str]
    marks: list[str]

    @property
    def left(self) -> bool:
        """Whether the cells are flush left."""
        return self.column.kind == "text"

    def __len__(self) -> int:
        return len(self.cells)


@dataclass(frozen=True)
class Table:
    """A table for people and for programs.

    Parameters
    ----------
    title : str
        What the table shows; may be empty.
    columns : sequence of Column
        In order. Two columns may share a name: one for people, one for programs.
    values : mapping of str to sequence or Series
        For each name, a value for each row: a list, or a Series. A missing value is None, NaN or NA.
    notes : tuple of str
        Lines that a reader needs to understand the table.
    marks : mapping of str to sequence of str
        For some names, a mark for each row, such as ``~``, that stands behind the value; explained by a note.
    details : {"", "open", "closed"}
        Whether Markdown and HTML let the reader fold the table away, and whether it is open at first.
    """

    title: str
    columns: Sequence[Column]
    values: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    marks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    details: Literal["", "open", "closed"] = ""

    @classmethod
    def of_rows(cls, title: str, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], **more: Any) -> Table:
        """Make a table of rows; a name that a row does not have is a missing value."""
        rows = list(rows)
        return cls(title, columns, {c.name: [row.get(c.name) for row in rows] for c in columns}, **more)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.values[self.columns[0].name]) if self.columns else 0

    @property
    def for_people(self) -> bool:
        """Whether any column has a label, or there is nothing but text to be read."""
        return any(column.label for column in self.columns) or not self.columns

    @property
    def heading(self) -> tuple[str, ...]:
        """Labels of the columns that people see."""
        return tuple(column.label for column in self.columns if column.label)

    @property
    def cells(self) -> list[list[str]]:
        """Rows as people read them, marks included."""
        columns = [[cell + mark for cell, mark in zip(s.cells, s.marks, strict=True)] for s in self.shown()]
        return [list(row) for row in zip(*columns, strict=True)]

    def shown(self) -> list[Shown]:
        """The labelled columns as people read them: one line for each cell, without control characters."""
        nothing = [""] * len(self)
        found = []
        for column in self.columns:
            if column.label:
                values = plain(self.values[column.name], column.kind)
                missing = "" if column.kind == "text" else "–"
                cells = [missing if value is None else plain_text.line(column.show(value)) for value in values]
                found.append(Shown(column, cells, list(self.marks.get(column.name, nothing))))
        return found

    @property
    def names(self) -> list[str]:
        """Names of the columns that programs get."""
        return [column.name for column in self.columns if column.data]

    def chunk(self, start: int) -> list[tuple[Any, ...]]:
        """Up to :data:`CHUNK` rows for programs, as plain Python values; a missing value is None."""
        data = [column for column in self.columns if column.data]
        return list(zip(*(plain(self.values[c.name][start : start + CHUNK], c.kind) for c in data), strict=True))


def plain(values: Sequence[Any], kind: Kind = "text") -> list[Any]:
    """Python values of a list or Series: None for NaN, NA and infinities; ints and bools by kind."""
    listed = _of_series(values) if hasattr(values, "to_numpy") else [_or_none(value) for value in values]
    if kind == "integer":
        return [int(v) if isinstance(v, float) and v.is_integer() else v for v in listed]
    return [None if v is None else bool(v) for v in listed] if kind == "flag" else listed


def _of_series(series: Any) -> list[Any]:
    if series.dtype == object:
        return [_or_none(value) for value in series.tolist()]
    missing = series.isna().to_numpy()
    if series.dtype.kind == "f":
        missing = missing | (abs(series.to_numpy(float)) == math.inf)
    if not missing.any():
        return list(series.tolist())
    objects = series.astype(object).to_numpy(copy=True)
    objects[missing] = None
    return list(objects.tolist())


def _or_none(value: Any) -> Any:
    if hasattr(value, "item"):  # a scalar of NumPy
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if type(value).__name__ in {"NAType", "NaTType"} else value
