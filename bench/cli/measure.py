"""``bench measure``: measure the stored streams of a run by more metric suites. Nothing is encoded."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import typer

from gcbench import plain_text
from gcbench.bench.cli.options import (
    Cluster,
    Data,
    Deadline,
    Jobs,
    Memory,
    Moved,
    OnlyCodecs,
    OnlyDatasets,
    OnlyRates,
    RetryFailed,
    RunArgument,
    Suites,
    Threads,
    executor_of,
    limit_of,
    moved,
    names,
)
from gcbench.bench.cli.output import say
from gcbench.bench.cli.run import again, suites_of
from gcbench.bench.cli.runs import opened_run, short_name
from gcbench.errors import UsageError
from gcbench.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from gcbench.bench.plan.units import MeasurementUnit
    from gcbench.bench.store.records import Record


def measure_command(
    run: RunArgument = None,
    *,
    suite: Suites = "",
    dataset: OnlyDatasets = "",
    codec: OnlyCodecs = "",
    rate: OnlyRates = "",
    jobs: Jobs = None,
    threads: Threads = None,
    deadline: Deadline = "3600",
    memory: Memory = None,
    cluster: Cluster = None,
    data: Data = None,
    folder: Moved = None,
    retry_failed: RetryFailed = False,
) -> None:
    """Add metrics to a finished run, by more metric suites or a newer version of a suite.

    [bold]Examples[/bold]

        bench measure --suite volume,mpeg-grid          the last run
        bench measure ama-all-standard -s render -c draco,draco-qem
        bench measure -s my-metric                      your own suite: bench new metric

    The stored streams are decoded and measured; nothing is encoded. Only missing values are measured.
    """
    from gcbench.bench.cli.progress import Progress
    from gcbench.bench.run.kept import KeptInputs, chosen, to_measure
    from gcbench.bench.run.runner import default_threads, measure_run, suite_ids
    from gcbench.registry import split_addresses

    store = opened_run(run)
    suites = suite_ids(suites_of(suite))
    records = chosen(store.records(), datasets=names(dataset), codecs=split_addresses(codec), rates=names(rate))
    if not records:
        raise UsageError(f"{store.path} has no coding of the chosen datasets, codecs and rates")
    units: list[MeasurementUnit] = []
    left: Counter[str] = Counter()
    for found in to_measure(records, suites, KeptInputs(store, data, moved(folder)), _versions(records)):
        if isinstance(found, tuple):
            left[found[1]] += 1
        else:
            units.append(found)
    for why, count in left.most_common():
        say(f"not measured: {count} codings: {why}", err=True)
    jobs = jobs or default_threads(1)
    limit = limit_of(deadline, memory, jobs, cluster=cluster)
    with Progress(quiet=False) as progress:
        try:
            measured = measure_run(
                store,
                units,
                jobs=jobs,
                threads=threads,
                limit=limit,
                retry_failed=retry_failed,
                executor=executor_of(cluster, store, limit, jobs, threads),
                on_tick=progress.tick,
            )
        except KeyboardInterrupt:
            progress.close()
            say(f"interrupted: finished measurements are kept; resume with: {again()}", err=True)
            raise typer.Exit(INTERRUPTED) from None
    wanted = sum(len(unit.suites) for unit in units)
    say(f"{wanted} measurements of {len(units)} decoded meshes: {wanted - measured} kept from before, {measured} now")
    say(f"next: bench table {plain_text.shell_word(short_name(store))}")
    if left and not units:
        raise typer.Exit(3)


def _versions(records: list[Record]) -> dict[str, str]:
    """Codec address → installed version; empty or left out for codecs that cannot run here."""
    from gcbench.codecs import CODECS
    from gcbench.errors import BenchError

    versions = {}
    for address in dict.fromkeys(record.codec for record in records):
        try:
            codec = CODECS.create(address)
            versions[address] = codec.version() if codec.availability().ok else ""
        except BenchError:
            continue
    return versions
