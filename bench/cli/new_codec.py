"""``bench new-codec NAME``: a plugin package that works, to start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def new_codec_command(
    name: Annotated[str, typer.Argument(help="Of codec and package: lower-case words joined by hyphens.")],
    *,
    folder: Annotated[Path, typer.Option(help="Where the folder NAME is made.")] = Path(),
) -> None:
    """Write a small package with a codec that works: it installs, passes `bench check`, and has a test.

    The codec is an example: positions on a grid, differences, zlib. Put your own in its place.

    [bold]Examples[/bold]

        bench new-codec my-codec
        bench new-codec my-codec --folder ~/src
    """
    from gcbench.bench.scaffold import new_codec

    written = new_codec(name, folder)
    home = written[0].parent
    typer.echo(f"{home}: {', '.join(path.name for path in written)}")
    typer.echo(f"next: pip install -e {shlex.quote(str(home))}")
    typer.echo(f"      bench check {name}")
    typer.echo(f"      bench run --dataset mixed --codec draco,{name}; bench plot")
