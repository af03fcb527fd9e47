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
    """Put the cells of runs, with their streams, into one run.

    A cell that is there already stays as it is: cells are the same when
    codec, version, rate, effort, seed, meshes and metrics are. Where two runs
    have the same coding by different versions, that of the later argument
    counts.

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
            typer.echo(
                f"{source.path}: {adopted} cells taken in, {sum(1 for _ in source.cells()) - adopted} were there"
            )
        typer.echo(f"{sum(1 for _ in target.cells())} cells \u2192 {target.path}")
