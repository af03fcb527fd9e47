"""``bench merge``: copy the results of several runs, or of several machines, into one run."""

from __future__ import annotations

from typing import Annotated

import typer

from gcbench.bench.cli.output import say
from gcbench.bench.cli.runs import run_path


def merge_command(
    runs: Annotated[list[str], typer.Argument(help="Names or folders of runs.", metavar="RUN...")],
    *,
    out: Annotated[
        str, typer.Option("--out", "-o", help="Name or folder of the run to copy into; made if it does not exist.")
    ],
) -> None:
    """Copy codings, streams and measurements of several runs into one run.

    [bold]Examples[/bold]

        bench merge machine-a/run machine-b/run --out ./both
        bench merge monday tuesday -o week

    A coding that the target already has is not copied. Two codings are the
    same if codec, version, rate, effort, seed, device and meshes are the
    same, and in timing passes the kind of machine. If only the version
    differs, the coding of the later argument counts.
    """
    from gcbench.bench.store.mesh_names import join_names
    from gcbench.bench.store.run import Run
    from gcbench.errors import StoreError

    sources = [Run(run_path(run)) for run in runs]
    for source in sources:
        if not source.exists:
            raise StoreError(f"there is no run in {source.path}")
    with Run(run_path(out)).writing() as target:
        others = [source for source in sources if source.path.resolve() != target.path.resolve()]
        join_names(target, others)
        for source in others:
            adopted = target.adopt(source)
            there = sum(1 for _ in source.codings()) - adopted
            say(f"{source.path}: {adopted} codings copied, {there} were there already")
        say(f"{sum(1 for _ in target.codings())} codings \u2192 {target.path}")
