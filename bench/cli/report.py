"""``bench report``: write a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gcbench import plain_text
from gcbench.bench.cli.options import Data, RunArgument, With
from gcbench.bench.cli.output import say
from gcbench.bench.cli.progress import counter
from gcbench.bench.cli.runs import opened
from gcbench.errors import UsageError


def report_command(
    run: RunArgument = None,
    other: Annotated[str | None, typer.Argument(help="A second run, shown beside the first.", metavar="OTHER")] = None,
    *,
    others: With = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file. Default: RUN/report.html; of two runs RUN/report-OTHER.html."),
    ] = None,
    max_mb: Annotated[
        float, typer.Option("--max-mb", min=0.5, help="Size limit of the file, 10⁶ bytes; meshes fill the rest.")
    ] = 15.0,
    meshes: Annotated[bool, typer.Option("--meshes/--no-meshes", help="With or without 3-D views.")] = True,
    data: Data = None,
) -> None:
    """Write a run, or two side by side, as one HTML file: curves, meshes in 3-D, times, failures, provenance.

    [bold]Examples[/bold]

        bench report                                     the last run → RUN/report.html
        bench report ama-all-standard --out ama.html --max-mb 30
        bench report --no-meshes                         a few hundred kB, at once
        bench report old new                             what changed from old to new, with a wipe between meshes

        bench report my-run --with results/reference/ama40  its codecs among all others, on the same meshes

    The file opens from disk and needs no network. For the 3-D views, the stored streams are decoded and shown beside
    the original meshes, which must still be on this machine. Codings without a view are listed with the reason.
    A report can be made while the run is going on.
    """
    from gcbench.bench import report

    if other and others:
        raise UsageError("name a second run, or --with, not both")
    store, second = opened(run), opened(other) if other else None
    among = [opened(one) for one in others or ()]
    beside = [second] if second is not None else among
    name = "-".join(["report", *(one.name for one in beside)]) + ".html"
    with counter("decoding and packing") as progress:
        built = report.build(
            store,
            out or store.path / name,
            other=second,
            among=among,
            max_mb=max_mb,
            meshes=meshes,
            data=data,
            progress=progress,
        )
    say(f"{built.path}: {built.size_bytes / 1e6:.1f} MB in {built.wall_s:.0f} s")
    if meshes:
        say(f"3-D views: {built.shown} of {built.codings} codings")
        for reason, codings in sorted(built.refused.items(), key=lambda item: -item[1])[:5]:
            say(f"  {codings} without: {reason}")
    if built.size_bytes > max_mb * 1e6:
        say(f"over --max-mb {max_mb:g}: the records alone take that much", err=True)
    say(f"next: open {plain_text.shell_word(built.path)} in a browser")
