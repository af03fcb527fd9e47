"""``bench run``: plan, run with progress, and end with the table and the next command to type."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.interruption import INTERRUPTED
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from gcbench.bench.store.records import Record
    from gcbench.bench.run.runner import Summary, Tick
    from gcbench.bench.store.run import Run
    from gcbench.bench.plan.planning import Plan

RUNS = Path("results/runs")
_PLAIN_PROGRESS_PERIOD_S = 20.0


def run_command(
    *,
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="Names or folders, comma-separated; see: bench list datasets.")
    ] = "mixed",
    codec: Annotated[
        str,
        typer.Option("--codec", "-c", help="Names, comma-separated, or all; with parameters: NAME\\[key=value]."),
    ] = "all",
    split: Annotated[
        str | None,
        typer.Option(help="mini (built in), paper (published selection) or all. Default: mini; all for a folder."),
    ] = None,
    effort: Annotated[
        str | None,
        typer.Option(
            help="quick, standard or paper: how many rates, how long to train. Default: quick for mini, else standard."
        ),
    ] = None,
    rates: Annotated[str, typer.Option(help="Keep only these rate labels, comma-separated.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N meshes of each dataset.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Cells at a time. Default: one for each core.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for each cell. Default: cores / jobs.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda, for codecs that can use it.")] = "cpu",
    deadline: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds to encode and decode a cell, then its worker is killed.")
    ] = 3600.0,
    memory: Annotated[
        float | None, typer.Option(min=0.1, help="GiB that a worker may hold. Default: 80 % of the memory / jobs.")
    ] = None,
    timing: Annotated[
        bool,
        typer.Option(
            "--timing", help="A timing pass: one cell at a time, one pinned core, warm-up, median of five; no metrics."
        ),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Data root. Default: the environment variable BENCH_DATA, else the user's data folder."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without the meshes that a split names and that are not here.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run cells again that failed before.")] = False,
    run: Annotated[
        str | None, typer.Option("--run", help="Name or folder of the run. Default: from dataset, split and effort.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of the table.")] = False,
) -> None:
    """Sweep codecs over datasets: encode, decode from the bytes alone, measure, record.

    The same command again resumes: only what is missing is computed. More codecs or rates extend the run.

    [bold]Examples[/bold]

        bench run                               built-in minis, all codecs
        bench run -d ama,thingi10k --split all -c draco,draco-qem
        bench run -d my/folder -c draco --rates q10,q12
        bench run --timing                      times worth quoting
    """
    import psutil

    from gcbench.bench.analysis.frame import frame, summarise
    from gcbench.bench.analysis.table import render
    from gcbench.bench.run.slot import Limit
    from gcbench.bench.run.runner import default_threads
    from gcbench.bench.run.runner import run as run_plan
    from gcbench.bench.store.run import Run
    from gcbench.bench.plan.planning import plan as make_plan
    from gcbench.registry import split_addresses

    with progress_bars(quiet=as_json) as progress:
        plan = make_plan(
            [d.strip() for d in dataset.split(",") if d.strip()],
            split_addresses(codec),
            split=split,
            effort=effort,
            seed=seed,
            rates=[r.strip() for r in rates.split(",") if r.strip()],
            limit=limit,
            data=data,
            allow_missing=allow_missing,
            timing=timing,
            device=device,
            progress=progress.reading,
        )
        store = Run(run_path(run or plan.default_name()))
        if not as_json or dry_run:
            _announce(plan, store)
        if dry_run:
            return
        jobs = jobs or (1 if timing else default_threads(1))
        memory_bytes = int(memory * 2**30) if memory else int(0.8 * psutil.virtual_memory().total / jobs)
        try:
            summary = run_plan(
                plan,
                store,
                jobs=jobs,
                threads=threads,
                limit=Limit(deadline, memory_bytes),
                retry_failed=retry_failed,
                on_tick=progress.tick,
            )
        except KeyboardInterrupt:
            progress.close()
            typer.echo(
                f"interrupted: {progress.done} of {progress.total} cells are kept in {store.path}; "
                f"resume with: {_again()}",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(_summary_json(plan, store, summary), indent=1))
    else:
        typer.echo()
        typer.echo(render(summarise(frame(_of_plan(plan, store)))))
        typer.echo(
            f"{summary.total} cells: {summary.kept} kept from before, {summary.ran} run in {summary.wall_s:.0f} s; "
            f"{summary.failed} failed, {summary.bad_input} bad input"
        )
        typer.echo(f"next: bench plot {shlex.quote(short_name(store))}")
    if summary.failed:
        raise typer.Exit(1)


def run_path(run: str) -> Path:
    """Folder of a run given by name or by path, such as ``./name``."""
    path = Path(run)
    return RUNS / run if path.name == run else path


def short_name(store: Run) -> str:
    """What to type to name a run."""
    return store.name if store.path.parent == RUNS else str(store.path)


def _of_plan(plan: Plan, store: Run) -> list[Record]:
    """Records of the run that are about what was asked for: also those of a timing pass over the same meshes."""
    from gcbench.bench.analysis.versions import newest

    splits = dict(plan.datasets)
    meshes = {(mesh.source.dataset, mesh.source.mesh) for mesh in plan.meshes}
    return [
        r
        for r in newest(store).records
        if (r.dataset, r.mesh) in meshes
        and r.split == splits.get(r.dataset)
        and r.codec in plan.codecs
        and (r.effort, r.seed, r.device) == (plan.effort, plan.seed, plan.device)
    ]


def _announce(plan: Plan, store: Run) -> None:
    datasets = ", ".join(f"{name} ({split})" for name, split in plan.datasets)
    typer.echo(f"{datasets}: {len(plan.meshes)} meshes; codecs: {', '.join(plan.codecs)}; effort {plan.effort}")
    typer.echo(f"{len(plan.cells)} cells{' of a timing pass' if plan.timing else ''} → {store.path}")
    for missing in plan.unavailable:
        typer.echo(f"not available: {missing.codec}: {missing.reason}; {missing.remedy}")
    if plan.missing:
        typer.echo(f"missing: {len(plan.missing)} meshes that the split names are not here; going on without")
    for mesh in plan.bad_inputs[:5]:
        typer.echo(f"bad input: {mesh.source.dataset}/{mesh.source.mesh}: {mesh.problem}")
    if len(plan.bad_inputs) > 5:
        typer.echo(f"bad input: ... and {len(plan.bad_inputs) - 5} more")


def _summary_json(plan: Plan, store: Run, summary: Summary) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "run": str(store.path),
        **asdict(summary),
        "codecs": list(plan.codecs),
        "unavailable": [asdict(u) for u in plan.unavailable],
        "missing": [f"{m.dataset}/{m.mesh}" for m in plan.missing],
        "bad_inputs": {f"{m.source.dataset}/{m.source.mesh}": m.problem for m in plan.bad_inputs},
    }


def _again() -> str:
    return shlex.join(["bench", *sys.argv[1:]])


class _Progress:
    """Shows two bars on a terminal; a line now and then where there is none, as in a log."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console = Console(stderr=True)
        self._plain = not console.is_terminal and not quiet
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[what]}"),
            console=console,
            disable=quiet or self._plain,
            transient=True,
        )
        self._task: dict[str, TaskID] = {}
        self._last_line = time.monotonic()
        self._failed = 0
        self.done = self.total = 0

    def __enter__(self) -> _Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._bars.stop()

    def reading(self, done: int, total: int, what: str) -> None:
        """Progress of reading meshes."""
        self._update("reading meshes", done, total, "", what)

    def tick(self, tick: Tick) -> None:
        """Progress of running cells."""
        self.done, self.total = tick.done, tick.total
        for record in tick.records:
            if record.status not in {"ok", "bad-input"}:
                self._failed += 1
                self._say(
                    f"{record.status}: {record.codec} {record.rate} on {record.dataset}/{record.mesh}: {record.error}"
                )
        left = "" if tick.seconds_left is None else f"{_clock(tick.seconds_left)} left"
        failed = f"{self._failed} failed  " if self._failed else ""
        what = "; ".join(tick.under_way) or (str(tick.cell) if tick.cell else "")
        self._update("running cells", tick.done, tick.total, left, failed + what)

    def _update(self, name: str, done: int, total: int, left: str, what: str) -> None:
        if self._plain:
            now = time.monotonic()
            if now - self._last_line >= _PLAIN_PROGRESS_PERIOD_S:
                self._last_line = now
                typer.echo(f"{name}: {done}/{total}  {left}  {what}".rstrip(), err=True)
            return
        if name not in self._task:
            self._task[name] = self._bars.add_task(name, total=total, left="", what="")
        self._bars.update(self._task[name], completed=done, total=total, left=left)
        if what:
            from rich.markup import escape  # else necgs[k=64] loses its brackets

            self._bars.update(self._task[name], what=escape(what))

    def _say(self, line: str) -> None:
        if self._plain:
            typer.echo(line, err=True)
        else:
            self._bars.console.print(line, markup=False, highlight=False)


def progress_bars(*, quiet: bool) -> _Progress:
    """Show how far a run is, on stderr; a context manager."""
    return _Progress(quiet=quiet)


def _clock(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"


def last_run() -> Path:
    """The run that was written to last.

    Raises
    ------
    UsageError
        There is none under ``results/runs`` of the working directory.
    """
    runs = sorted(RUNS.glob("*/sessions.jsonl"), key=lambda p: p.stat().st_mtime)
    if not runs:
        raise UsageError(f"no run in {RUNS}; make one with: bench run")
    return runs[-1].parent
