"""``bench verify``: check the results of a run with `gcbench.bench.audit.verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.options import Data, Moved, RunArgument, TextOrJson, moved, names
from gcbench.bench.cli.output import print_tables, say
from gcbench.bench.cli.progress import counter
from gcbench.bench.cli.runs import last_run, run_path
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.bench.store.pack import Pack

_SAYS = {0: "all checks pass", 1: "a check failed", 3: "all checks that were possible pass"}


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
    streams: Annotated[
        Path | None,
        typer.Option(help="Of a pack: the archive with its streams, or the run.", show_default=False),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            "-d",
            help="Datasets or folders, comma-separated, in which to look for the input meshes by their hashes.",
            show_default=False,
        ),
    ] = "",
    folder: Moved = None,
    data: Data = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Records at a time. Default: one for each core.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.001, help="Seconds to decode one mesh.")] = 3600.0,
    format_: TextOrJson = "text",
) -> None:
    """Check the results of a run: for reviewers, and for runs of others.

    [bold]Examples[/bold]

        bench verify                         the last run, a sample of 1 %
        bench verify ama-paper-standard --sample all -j 4
        bench verify theirs/run --data /data --folder shapes=my/shapes
        bench verify --seed 1234             the same sample again
        bench verify results/submissions/theirs --streams theirs-streams.zip -d ama,my/shapes

    The command checks for all results that every stream has its SHA-256,
    that sizes add up to the stream, that keys are the hashes of what was
    coded and measured, that values are complete and possible, and that
    input meshes still have their hashes and sizes. A random sample of
    streams is decoded in a fresh process and measured again.

    Of a pack (bench submit), streams come from an archive. Input meshes are
    found by the names of the datasets or, with -d, by their hashes.

    Values of deterministic codecs must repeat within 1e-9, values of codecs
    with a floating-point network within 1 %. Time and memory are not
    checked, since they do not repeat.

    [bold]Exit codes[/bold]

        0 all checks pass   1 a result differs from what was recorded
        2 wrong usage
        3 something could not be checked: data, codec, suite or version missing
    """
    from gcbench.bench.audit.remeasure import Sample
    from gcbench.bench.audit.render import verification_tables
    from gcbench.bench.audit.verify import verify
    from gcbench.bench.run.runner import default_threads
    from gcbench.bench.run.work import TaskLimits
    from gcbench.bench.store.archive import open_streams
    from gcbench.bench.store.opening import open_results
    from gcbench.bench.store.pack import Pack

    store = open_results(run_path(run) if run else last_run())
    if streams is not None:
        if not isinstance(store, Pack):
            raise UsageError(f"--streams is for a pack; {store.path} has its own streams")
        store.streams = open_streams(streams)
        _say_other_archive(store, streams)
    with counter("checking", quiet=format_ == "json") as progress:
        report = verify(
            store,
            sample=Sample.parse(sample),
            seed=seed,
            folders=moved(folder),
            data=data,
            datasets=names(dataset),
            jobs=jobs or default_threads(1),
            limit=TaskLimits(deadline_s=deadline),
            progress=progress,
        )
    if format_ == "json":
        say(json.dumps({**asdict(report), "exit_code": report.exit_code}, indent=1))
    else:
        print_tables(verification_tables(report))
        say(f"\n{_SAYS[report.exit_code]}")
    raise typer.Exit(report.exit_code)


def _say_other_archive(pack: Pack, path: Path) -> None:
    """Say if an archive is not the file that was made with the pack; each stream is checked by itself anyway."""
    from gcbench.bench.store.archive import file_sha256

    made = pack.archive
    if made is not None and path.is_file() and file_sha256(path) != made.sha256:
        say(f"{path} is not the archive that was made with the pack: its SHA-256 differs", err=True)
