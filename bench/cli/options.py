"""Options that several commands share: what a task may take, and where tasks run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.bench.run.executor import Executor
    from gcbench.bench.run.work import Limit
    from gcbench.bench.store.run import Run

Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Tasks at a time on this machine. Default: one for each core.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads for each task. Default: cores / jobs.")]
Deadline = Annotated[
    str,
    typer.Option(
        help="Seconds to encode and decode one mesh; a set has as many for each mesh in it. A worker that takes longer "
        "is killed, and its coding is a record with status timeout. none: no limit."
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="GiB that a worker may hold. Default: 80 % of the memory / jobs; while sets are coded, 80 % of the memory "
        "/ sets at a time.",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="Run on a Dask cluster: tcp://HOST:8786, or local:N to start N workers on this machine. "
        "Needs gcbench\\[cluster]; see docs/cluster.md."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Data root. Default: the environment variable BENCH_DATA, else the user's data folder."),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run again what failed before.")]


def limit_of(deadline: str, memory: float | None, jobs: int, *, sets: int = 1, cluster: str | None = None) -> Limit:
    """Limits from options.

    Parameters
    ----------
    deadline : str
        Seconds, or ``none``.
    memory : float or None
        GiB; None shares out 80 % of the memory of this machine (or control group).
    jobs : int
        Tasks at a time.
    sets : int
        Set codings of the run: where there is one, it runs alone and gets everything.
    cluster : str or None
        Address of a cluster. Without ``memory``, every node shares out its own; workers of ``local:N`` share that of
        this machine.

    Raises
    ------
    UsageError
        The deadline is no positive number.
    """
    from gcbench.bench.run import machine
    from gcbench.bench.run.work import Limit

    try:
        deadline_s = None if deadline == "none" else float(deadline)
    except ValueError:
        raise UsageError(f"--deadline is a number of seconds or none, not '{deadline}'") from None
    if deadline_s is not None and not 0 < deadline_s < 1e9:
        raise UsageError(f"--deadline is a positive number of seconds or none, not '{deadline}'")
    if memory:
        return Limit(deadline_s, int(memory * 2**30))
    if cluster is not None and not cluster.startswith("local:"):
        return Limit(deadline_s)
    if cluster is not None:
        jobs = int(cluster.removeprefix("local:")) if cluster.removeprefix("local:").isdigit() else jobs
    usable = int(0.8 * machine.memory_bytes())
    return Limit(deadline_s, usable // jobs, usable // max(1, min(jobs, sets)))


def executor_of(cluster: str | None, store: Run, limit: Limit, jobs: int, threads: int | None) -> Executor | None:
    """The executor that ``--cluster`` names; None for this machine.

    Raises
    ------
    UsageError
        The address is none, or dask.distributed is not installed.
    """
    if cluster is None:
        return None
    from gcbench.bench.run.cluster import connect

    return connect(cluster, store, limit=limit, jobs=jobs, threads=threads or 1)


def names(text: str) -> list[str]:
    """Names of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]
