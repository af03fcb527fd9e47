"""Prints lines and tables: without characters that a terminal obeys, whatever names and messages hold.

On a terminal, tables have its width and its colours; elsewhere they are plain, with each row on one line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gcbench import plain_text
from gcbench.bench.tabular import Format, render

if TYPE_CHECKING:
    from gcbench.bench.tabular import Table


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text to standard output, or to standard error; commands print by this function only."""
    stream = sys.stderr if err else sys.stdout
    stream.write(plain_text.visible(str(text), keep="\n\t") + ("\n" if nl else ""))
    stream.flush()


def print_tables(tables: Sequence[Table], format_: Format = "text") -> None:
    """Print tables to standard output."""
    if format_ == "text" and sys.stdout.isatty():
        from rich.console import Console

        from gcbench.bench.tabular.terminal import print_to

        print_to(Console(), tables)
        return
    exact = format_ in {"csv", "json"} and not sys.stdout.isatty()
    for piece in render(tables, format_):
        if exact:
            sys.stdout.write(piece)
        else:
            say(piece, nl=False)
    sys.stdout.flush()
