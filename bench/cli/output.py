"""Prints tables: on a terminal in its width and with its colours, elsewhere plain and with each row on one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from gcbench.bench.tabular import Format, render

if TYPE_CHECKING:
    from gcbench.bench.tabular import Table


def print_tables(tables: Sequence[Table], format_: Format = "text") -> None:
    """Print tables to standard output."""
    if format_ == "text" and sys.stdout.isatty():
        from rich.console import Console

        from gcbench.bench.tabular.terminal import print_to

        print_to(Console(), tables)
        return
    for piece in render(tables, format_):
        typer.echo(piece, nl=False)
