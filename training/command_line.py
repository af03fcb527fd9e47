"""Run the command of a training, ``python -m gcbench.codecs.NAME.command``."""

from __future__ import annotations

import sys

import typer

from gcbench.errors import BenchError
from gcbench.interrupts import INTERRUPTED, handled


def run(app: typer.Typer) -> None:
    """Run a command line and exit. An error is one line; no import loses Ctrl-C."""
    try:
        with handled():
            app()
    except BenchError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
