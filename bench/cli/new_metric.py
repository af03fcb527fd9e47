"""``bench new-metric NAME``: a plugin package with a metric suite that works, to start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def new_metric_command(
    name: Annotated[str, typer.Argument(help="Of suite and package: lower-case words joined by hyphens.")],
    *,
    folder: Annotated[Path, typer.Option(help="Where the folder NAME is made.")] = Path(),
) -> None:
    """Write a small package with a metric suite that works: it installs, passes `bench check --suite`, has a test.

    The suite is an example: how far the vertices of the decoded mesh are from the original. Put your own in its place.

    [bold]Examples[/bold]

        bench new-metric my-metric
        bench new-metric my-metric --folder ~/src
    """
    from gcbench.bench.scaffold import new_metric

    written = new_metric(name, folder)
    home = written[0].parent
    typer.echo(f"{home}: {', '.join(path.name for path in written)}")
    typer.echo(f"next: pip install -e {shlex.quote(str(home))}")
    typer.echo(f"      bench check --suite {name}")
    typer.echo(f"      bench run --dataset mixed --codec draco --measure surface,{name}; bench table")
