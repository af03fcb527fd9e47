"""``bench verify``: does a run hold. A thin layer over `gcbench.bench.audit.verify`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.measure import moved
from gcbench.bench.cli.options import Data
from gcbench.bench.cli.run import last_run, run_path

if TYPE_CHECKING:
    from gcbench.bench.audit.consistency import Finding
    from gcbench.bench.audit.verify import Verification

SHOWN = 20  # findings before the list is cut; --json has all


def verify_command(
    run: Annotated[
        str | None, typer.Argument(help="Name or folder of a run. Default: the last one.", metavar="[RUN]")
    ] = None,
    *,
    sample: Annotated[
        str,
        typer.Option(help="Records to decode and measure again: 1%, 20 or all. A percentage is 5 records at least."),
    ] = "1%",
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of the draw. Default: a random one, so that nobody knows what will be looked at."),
    ] = None,
    folder: Annotated[
        list[str] | None, typer.Option(help="DATASET=FOLDER: where a dataset that was a folder is now. Repeatable.")
    ] = None,
    data: Data = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Records at a time. Default: one for each core.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.001, help="Seconds to decode one mesh.")] = 3600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Check that a run holds: a reviewer's one command.

    For everything: streams are there with the bytes of their SHA-256,
    sizes add up to them, keys are the hash of what the lines say was coded
    and measured, values are complete and can be, the input meshes still
    have their hashes and sizes. For a random sample: the stream is decoded
    in a fresh process and measured again by every suite that measured it.

    Codecs that declare themselves deterministic must repeat their values
    within 1e-9, those with a network in floating point within 1 %. Seconds
    and memory cannot be repeated and are not looked at.

    [bold]Examples[/bold]

        bench verify                         the last run, 1 % of it
        bench verify ama-paper-standard --sample all -j 4
        bench verify theirs/run --data /data --folder shapes=my/shapes
        bench verify --seed 1234             the same draw again

    [bold]Exit codes[/bold]

        0 everything holds   1 something is not as recorded
        2 wrong usage
        3 something could not be checked: data, codec, suite or version missing
    """
    from gcbench.bench.audit.remeasure import Sample
    from gcbench.bench.audit.verify import verify
    from gcbench.bench.run.runner import default_threads
    from gcbench.bench.run.work import Limit
    from gcbench.bench.store.run import Run

    with _progress(quiet=as_json) as progress:
        report = verify(
            Run(run_path(run) if run else last_run()),
            sample=Sample.parse(sample),
            seed=seed,
            folders=moved(folder),
            data=data,
            jobs=jobs or default_threads(1),
            limit=Limit(deadline_s=deadline),
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps({**asdict(report), "exit_code": report.exit_code}, indent=1))
    else:
        for line in _lines(report):
            typer.echo(line)
    raise typer.Exit(report.exit_code)


def _lines(report: Verification) -> Iterator[str]:
    yield f"{report.run}: {report.records} records of {report.codings} codings, {report.measurements} measurements"
    yield f"  streams     {report.streams_intact} of {report.streams} are there with the bytes of their hash"
    yield f"  meshes      {report.meshes_intact} of {report.meshes} are here with the hash of their records"
    yield (
        f"  measured    {report.recomputed} of {report.sampled} drawn records again (--seed {report.seed}); "
        f"largest deviation {report.largest_deviation:.2g}"
    )
    yield f"  codecs      {', '.join(f'{name} {version}' for name, version in report.codecs.items()) or 'none'}"
    yield f"  metrics     {', '.join(f'{name} {version}' for name, version in report.suites.items()) or 'none'}"
    yield from _some("not as recorded", report.differs)
    yield from _some("could not be checked", report.unchecked)
    yield {0: "everything holds", 1: "the run does not hold", 3: "what could be checked holds"}[report.exit_code]


def _some(head: str, findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield f"{head}: {len(findings)}"
    yield from (f"  {finding}" for finding in findings[:SHOWN])
    if len(findings) > SHOWN:
        yield f"  and {len(findings) - SHOWN} more; all of them with --json"


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """One bar on stderr, which starts again for streams, meshes and measurements."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=quiet or not os.isatty(2)) as progress:
        task = progress.add_task("checking", total=None)

        def step(done: int, total: int, what: str) -> None:
            progress.update(task, completed=done, total=total, description=f"checking {escape(what)}")

        yield step
