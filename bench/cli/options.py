"""Arguments and options that several commands share, and what is made of their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.bench.run.executor import Executor
    from gcbench.bench.run.work import TaskLimits
    from gcbench.bench.store.run import Run

RunArgument = Annotated[
    str | None, typer.Argument(help="Name or folder of a run. Default: the last run.", metavar="RUN")
]
OnlyDatasets = Annotated[
    str, typer.Option("--dataset", "-d", help="Only these datasets, comma-separated. Default: all.", show_default=False)
]
OnlyCodecs = Annotated[
    str,
    typer.Option(
        "--codec", "-c", help="Only these codec addresses, comma-separated. Default: all.", show_default=False
    ),
]
OnlyRates = Annotated[
    str, typer.Option("--rate", help="Only these rate labels, comma-separated. Default: all.", show_default=False)
]
Suites = Annotated[
    str,
    typer.Option(
        "--suite",
        "-s",
        help="Metric suites, comma-separated; +volume adds to the default. See: bench list metrics.",
        show_default=False,
    ),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        help="A run or a pack, such as results/reference/ama40: its codecs are shown among those of the run, on the "
        "same meshes. Repeatable.",
        metavar="RESULTS",
        show_default=False,
    ),
]
TableFormat = Annotated[
    Literal["text", "markdown", "latex", "html", "csv", "json"],
    typer.Option("--format", "-f", help="What to print. CSV and JSON have every column and digit."),
]
TextOrJson = Annotated[Literal["text", "json"], typer.Option("--format", "-f", help="Print text or JSON.")]
Device = Annotated[str, typer.Option(help="cpu or cuda, for codecs that can use it.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Tasks at a time on this machine. Default: one for each core.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads for each task. Default: cores / jobs.")]
AllThreads = Annotated[int | None, typer.Option(min=1, help="Threads of the codec. Default: one for each core.")]
Deadline = Annotated[
    str,
    typer.Option(
        help="Seconds to encode and decode one mesh; a set has as many for each mesh. A worker that takes longer is "
        "killed, and the coding has the status timeout. none: no limit."
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="GiB that a worker may hold. Default: 80 % of the memory / jobs; for sets, 80 % of the memory / sets at "
        "a time.",
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
    typer.Option(
        help="Data root. Default: the environment variable BENCH_DATA, else the user's data folder.", show_default=False
    ),
]
Moved = Annotated[
    list[str] | None,
    typer.Option("--folder", help="DATASET=FOLDER: new path of a dataset that is a folder and has moved. Repeatable."),
]
Gone = Annotated[
    bool,
    typer.Option("--gone", help="Count meshes too that are no longer in the dataset: deleted, renamed or moved."),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed codings and measurements again.")]


def limit_of(
    deadline: str, memory: float | None, jobs: int, *, sets: int = 1, cluster: str | None = None
) -> TaskLimits:
    """Limits of a task, from options.

    Parameters
    ----------
    deadline : str
        Seconds, or ``none``.
    memory : float or None
        GiB; None divides 80 % of the memory of this machine (or control group) among the jobs.
    jobs : int
        Parallel tasks.
    sets : int
        Set codings of the run. A single one runs alone and gets all of the memory.
    cluster : str or None
        Address of a cluster, whose nodes divide their own memory; workers of ``local:N`` divide that of this machine.

    Raises
    ------
    UsageError
        The deadline is not a positive number.
    """
    from gcbench.bench.run import machine
    from gcbench.bench.run.work import TaskLimits

    try:
        deadline_s = None if deadline == "none" else float(deadline)
    except ValueError:
        raise UsageError(f"--deadline is a number of seconds or none, not '{deadline}'") from None
    if deadline_s is not None and not 0 < deadline_s < 1e9:
        raise UsageError(f"--deadline is a positive number of seconds or none, not '{deadline}'")
    if memory:
        return TaskLimits(deadline_s, int(memory * 2**30))
    if cluster is not None and not cluster.startswith("local:"):
        return TaskLimits(deadline_s)
    if cluster is not None:
        jobs = int(cluster.removeprefix("local:")) if cluster.removeprefix("local:").isdigit() else jobs
    usable = int(0.8 * machine.memory_bytes())
    return TaskLimits(deadline_s, usable // jobs, usable // max(1, min(jobs, sets)))


def executor_of(cluster: str | None, store: Run, limit: TaskLimits, jobs: int, threads: int | None) -> Executor | None:
    """The executor for ``--cluster``; None for this machine. Raises as :func:`gcbench.bench.run.cluster.connect`."""
    if cluster is None:
        return None
    from gcbench.bench.run.cluster import connect

    return connect(cluster, store, limit=limit, jobs=jobs, threads=threads or 1)


def names(text: str) -> list[str]:
    """Names of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def moved(folders: list[str] | None) -> dict[str, Path]:
    """``["shapes=/here"]`` → ``{"shapes": Path("/here")}``."""
    places = {}
    for item in folders or []:
        name, equals, place = item.partition("=")
        if not equals or not Path(place).is_dir():
            raise UsageError(f"--folder is DATASET=FOLDER with an existing folder, not '{item}'")
        places[name] = Path(place)
    return places
