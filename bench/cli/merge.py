"""``bench merge``: put the results of several machines, or of several runs, into one run."""

from __future__ import annotations

from typing import Annotated

import typer

from gcbench.bench.cli.run import run_path


def merge_command(
    runs: Annotated[list[str], typer.Argument(help="Names or folders of runs.", metavar="RUN...")],
    *,
    into: Annotated[str, typer.Option(help="Name or folder of the run that takes them in; made if there is none.")],
) -> None:
    """Put the codings of runs, with their streams and measurements, into one run.

    A coding that is there already stays as it is: codings are the same when
    codec, version, rate, effort, seed, device and meshes are, and in timing
    passes the kind of machine. Where two runs have the same coding by
    different versions, that of the later argument counts.

    [bold]Examples[/bold]

        bench merge machine-a/run machine-b/run --into ./both
    """
    from gcbench.bench.store.run import Run
    from gcbench.errors import StoreError

    sources = [Run(run_path(run)) for run in runs]
    for source in sources:
        if not source.exists:
            raise StoreError(f"there is no run in {source.path}")
    with Run(run_path(into)).writing() as target:
        for source in sources:
            if source.path.resolve() == target.path.resolve():
                continue
            adopted = target.adopt(source)
            there = sum(1 for _ in source.codings()) - adopted
            typer.echo(f"{source.path}: {adopted} codings taken in, {there} were there")
        typer.echo(f"{sum(1 for _ in target.codings())} codings \u2192 {target.path}")
