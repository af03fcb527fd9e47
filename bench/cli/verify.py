"""``bench verify``: check the results of a run with `gcbench.bench.audit.verify`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.options import Data, Moved, RunArgument, moved
from gcbench.bench.cli.progress import counter
from gcbench.bench.cli.runs import last_run, run_path

if TYPE_CHECKING:
    from gcbench.bench.audit.consistency import Finding
    from gcbench.bench.audit.verify import Verification

SHOWN = 20  # findings to print; --json has all


def verify_command(
    run: RunArgument = None,
    *,
    sample: Annotated[
        str,
        typer.Option(help="Records to decode and measure again: 1%, 20 or all. A percentage is at least 5 records."),
    ] = "1%",
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the sample. Default: random, so that nobody can predict the sample."),
    ] = None,
    folder: Moved = None,
    data: Data = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Records at a time. Default: one for each core.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.001, help="Seconds to decode one mesh.")] = 3600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Check the results of a run: for reviewers, and for runs of others.

    The command checks for all results that every stream has its SHA-256,
    that sizes add up to the stream, that keys are the hashes of what was
    coded and measured, that values are complete and possible, and that
    input meshes still have their hashes and sizes. A random sample of
    streams is decoded in a fresh process and measured again.

    Values of deterministic codecs must repeat within 1e-9, values of codecs
    with a floating-point network within 1 %. Time and memory are not
    checked, since they do not repeat.

    [bold]Examples[/bold]

        bench verify                         the last run, a sample of 1 %
        bench verify ama-paper-standard --sample all -j 4
        bench verify theirs/run --data /data --folder shapes=my/shapes
        bench verify --seed 1234             the same sample again

    [bold]Exit codes[/bold]

        0 all checks pass   1 a result differs from what was recorded
        2 wrong usage
        3 something could not be checked: data, codec, suite or version missing
    """
    from gcbench.bench.audit.remeasure import Sample
    from gcbench.bench.audit.verify import verify
    from gcbench.bench.run.runner import default_threads
    from gcbench.bench.run.work import TaskLimits
    from gcbench.bench.store.run import Run

    with counter("checking", quiet=as_json) as progress:
        report = verify(
            Run(run_path(run) if run else last_run()),
            sample=Sample.parse(sample),
            seed=seed,
            folders=moved(folder),
            data=data,
            jobs=jobs or default_threads(1),
            limit=TaskLimits(deadline_s=deadline),
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
    yield f"  streams     {report.streams_intact} of {report.streams} have their recorded SHA-256"
    yield f"  meshes      {report.meshes_intact} of {report.meshes} are on this machine with their recorded SHA-256"
    yield (
        f"  measured    {report.recomputed} of {report.sampled} sampled records again (--seed {report.seed}); "
        f"largest deviation {report.largest_deviation:.2g}"
    )
    yield f"  codecs      {', '.join(f'{name} {version}' for name, version in report.codecs.items()) or 'none'}"
    yield f"  metrics     {', '.join(f'{name} {version}' for name, version in report.suites.items()) or 'none'}"
    yield from _some("differs from the record", report.differs)
    yield from _some("could not be checked", report.unchecked)
    yield {0: "all checks pass", 1: "a check failed", 3: "all checks that were possible pass"}[report.exit_code]


def _some(head: str, findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield f"{head}: {len(findings)}"
    yield from (f"  {finding}" for finding in findings[:SHOWN])
    if len(findings) > SHOWN:
        yield f"  and {len(findings) - SHOWN} more; --json prints all"
