"""``bench new codec NAME`` and ``bench new metric NAME``: write a plugin package that works, as a starting point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gcbench import plain_text
from gcbench.bench.cli.output import say

Name = Annotated[str, typer.Argument(help="Name of plugin and package: lower-case words joined by hyphens.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where to make the folder NAME.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Write a small package with a codec or a metric suite of your own, to start from.

    [bold]Examples[/bold]

        bench new codec my-codec
        bench new metric my-metric --out ~/src
    """,
)


@app.command("codec")
def codec_command(name: Name, *, out: Out = Path()) -> None:
    """Write a small package with a codec of your own, to start from.

    [bold]Examples[/bold]

        bench new codec my-codec
        bench new codec my-codec --out ~/src

    The package installs, passes `bench check`, and has a test. Its example codec puts positions on a grid and codes
    their differences with zlib; replace it by yours.
    """
    from gcbench.bench.scaffold import new_codec

    _written(new_codec(name, out))
    say(f"      bench check {name}")
    say(f"      bench run --dataset mixed --codec draco,{name}; bench plot")


@app.command("metric")
def metric_command(name: Name, *, out: Out = Path()) -> None:
    """Write a small package with a metric suite of your own, to start from.

    [bold]Examples[/bold]

        bench new metric my-metric
        bench new metric my-metric --out ~/src

    The package installs, passes `bench check --suite`, and has a test. Its example suite measures the distance from
    the vertices of the decoded mesh to the original; replace it by yours.
    """
    from gcbench.bench.scaffold import new_metric

    _written(new_metric(name, out))
    say(f"      bench check --suite {name}")
    say(f"      bench run --dataset mixed --codec draco --suite surface,{name}; bench table")


def _written(files: list[Path]) -> None:
    home = files[0].parent
    say(f"{home}: {', '.join(path.name for path in files)}")
    say(f"next: pip install -e {plain_text.shell_word(home)}")
