"""Tables as values, and their forms: terminal, Markdown, LaTeX, HTML for people; CSV and JSON for programs.

Here is no content: analysis, audit and the command line make tables, and no renderer knows what a table is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from gcbench.bench.tabular import csv, html, json, latex, markdown, terminal
from gcbench.bench.tabular.table import Column, Kind, Table

Format = Literal["text", "markdown", "latex", "html", "csv", "json"]
FORMATS: tuple[Format, ...] = ("text", "markdown", "latex", "html", "csv", "json")
_FOR_PEOPLE = {"text": terminal, "markdown": markdown, "latex": latex, "html": html}

__all__ = ["FORMATS", "Column", "Format", "Kind", "Table", "render"]


def render(tables: Sequence[Table], format_: Format = "text") -> Iterator[str]:
    """Write tables one after the other, in pieces of text that can be printed as they come.

    Parameters
    ----------
    tables : sequence of Table
        CSV and JSON hold the rows of all tables as one table. The other forms leave out tables without a labelled
        column, and begin the next table after an empty line.
    format_ : {"text", "markdown", "latex", "html", "csv", "json"}
        ``text`` is as wide as the tables are, without colours; for a terminal there is
        :func:`gcbench.bench.tabular.terminal.render_to_fit`.
    """
    if format_ == "csv":
        yield from csv.render(tables)
    elif format_ == "json":
        yield from json.render(tables)
    else:
        shown = [table for table in tables if table.for_people]
        for place, table in enumerate(shown):
            yield ("\n" if place else "") + _FOR_PEOPLE[format_].render(table)
        if not shown:
            yield "nothing to show\n"
