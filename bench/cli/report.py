"""``bench report``: a run as one HTML file, to look at and to hand on."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from gcbench.bench.cli.show import opened


def report_command(
    run: Annotated[
        str | None, typer.Argument(help="Name or folder of a run. Default: the last one.", metavar="[RUN]")
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file. Default: RUN/report.html.")] = None,
    max_mb: Annotated[
        float, typer.Option("--max-mb", min=0.5, help="Largest size of the file, 10⁶ bytes; meshes fill what is left.")
    ] = 15.0,
    meshes: Annotated[bool, typer.Option("--meshes/--no-meshes", help="Without meshes: no 3-D view.")] = True,
    data: Annotated[
        Path | None,
        typer.Option(help="Data root. Default: the environment variable BENCH_DATA, else the user's data folder."),
    ] = None,
) -> None:
    """Write a run as one HTML file: curves, every coding, meshes in 3-D, times, failures, provenance.

    The file opens from disk and needs no network. For the 3-D views, kept streams are decoded again and shown with the
    input meshes, which must still be where the run found them; what cannot be shown is listed with the reason.

    [bold]Examples[/bold]

        bench report                                     the last run → RUN/report.html
        bench report ama-all-standard --out ama.html --max-mb 30
        bench report --no-meshes                         a few hundred kB, at once
    """
    from gcbench.bench import report

    store = opened(run)
    with _progress() as progress:
        built = report.build(
            store, out or store.path / "report.html", max_mb=max_mb, meshes=meshes, data=data, progress=progress
        )
    typer.echo(f"{built.path}: {built.size_bytes / 1e6:.1f} MB in {built.wall_s:.0f} s")
    if meshes:
        typer.echo(f"3-D views: {built.shown} of {built.codings} codings")
        for reason, codings in sorted(built.refused.items(), key=lambda item: -item[1])[:5]:
            typer.echo(f"  {codings} without: {reason}")
    if built.size_bytes > max_mb * 1e6:
        typer.echo(f"over --max-mb {max_mb:g}: the records alone take that much", err=True)
    typer.echo(f"next: open {shlex.quote(str(built.path))} in a browser")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """One bar on a terminal; nothing where there is none."""
    from rich.console import Console
    from rich.markup import escape  # else necgs[k=64] loses its brackets
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[what]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bars:
        task = bars.add_task("decoding", total=None, what="")
        yield lambda done, total, what: bars.update(task, completed=done, total=total, what=escape(what))
