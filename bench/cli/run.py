"""``bench run``: plan and run codings and measurements, then print the table and the next command to type."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench import plain_text
from gcbench.bench.cli.asked import asked_of
from gcbench.bench.cli.estimated import estimated
from gcbench.bench.cli.options import (
    Cluster,
    Data,
    Deadline,
    Device,
    Jobs,
    Memory,
    OnlyRates,
    RetryFailed,
    Suites,
    TextOrJson,
    Threads,
    executor_of,
    limit_of,
    names,
)
from gcbench.bench.cli.output import print_tables, say
from gcbench.bench.cli.runs import RUNS, run_path, short_name
from gcbench.errors import BenchError, UsageError
from gcbench.interrupts import INTERRUPTED

if TYPE_CHECKING:
    import pandas as pd

    from gcbench.bench.plan.experiment import Experiment
    from gcbench.bench.plan.planning import Plan
    from gcbench.bench.run.outstanding import Tick
    from gcbench.bench.run.runner import Summary
    from gcbench.bench.store.run import Run


def run_command(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(help="A file that says what to run; options override it. See below.", metavar="FILE.toml"),
    ] = None,
    *,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset", "-d", help="Names or folders, comma-separated; see: bench list datasets. Default: mixed."
        ),
    ] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option("--codec", "-c", help="Names, comma-separated; with parameters: NAME\\[key=value]. Default: all."),
    ] = None,
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
    rate: OnlyRates = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N meshes of each dataset.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    suite: Suites = "",
    jobs: Jobs = None,
    threads: Threads = None,
    device: Device = "cpu",
    deadline: Deadline = "3600",
    memory: Memory = None,
    cluster: Cluster = None,
    timing: Annotated[
        bool,
        typer.Option(
            "--timing",
            help="Timing pass: one coding at a time on one pinned core, warm-up, median of five; no metrics.",
        ),
    ] = False,
    data: Data = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out meshes of the split that are not on this machine.")
    ] = False,
    polygons: Annotated[
        str,
        typer.Option(help="triangulate: cut faces larger than a triangle; refuse: such a mesh is bad input."),
    ] = "triangulate",
    retry_failed: RetryFailed = False,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", help="Name or folder of the run. Default: that of FILE, else from dataset, split and effort."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run and about how long it takes, and stop.")
    ] = False,
    format_: TextOrJson = "text",
) -> None:
    r"""Run codecs on datasets: encode, decode from the stream alone, measure, record.

    [bold]Examples[/bold]

        bench run                                     built-in meshes, all codecs
        bench run -d my/folder -c draco,draco-qem     your meshes, two codecs

    A coding is one codec at one rate on one mesh, or on one set of meshes.

    The same command resumes an interrupted run: it computes only what is missing. More codecs or rates extend the run.
    More metric suites measure the stored streams and encode nothing.

    [bold]More examples[/bold]

        bench run -d ama,thingi10k --split all -c draco --rate q10,q12
        bench run --timing                            times worth quoting
        bench run --suite +volume,mpeg-grid           add metrics to the default ones
        bench run --cluster local:2                   on a Dask cluster: docs/cluster.md

    [bold]A run as a file[/bold]

        bench run ablation.toml                       the same as typing the options
        bench run results/runs/mine/experiment.toml   run it again, here or elsewhere

    The keys of FILE.toml are the names of the options, such as codec = \["draco", "necgs\[k=64]"]; see docs/running.md.
    Every run keeps such a file, RUN/experiment.toml.
    """
    from gcbench.bench.cli.progress import Progress
    from gcbench.bench.plan.experiment import keep
    from gcbench.bench.plan.planning import make_plan
    from gcbench.bench.run import machine
    from gcbench.bench.run.estimate import estimate, history, recent
    from gcbench.bench.run.runner import default_threads, run_plan
    from gcbench.bench.store.run import Run

    asked = asked_of(ctx, file)
    if asked.timing and cluster:
        raise UsageError("a timing pass runs on this machine: leave out --cluster")
    suites, as_json = suites_of(",".join(asked.suite)), format_ == "json"
    with Progress(quiet=as_json) as progress:
        plan = make_plan(
            asked.dataset or ("mixed",),
            asked.codec or ("all",),
            split=asked.split,
            effort=asked.effort,
            seed=asked.seed or 0,
            rates=asked.rate,
            limit=asked.limit,
            data=data,
            allow_missing=asked.allow_missing,
            polygons=asked.polygons or polygons,
            timing=machine.kind(asked.device or device) if asked.timing else None,
            device=asked.device or device,
            progress=progress.reading,
        )
        store = Run(run_path(asked.run or (file.stem if file else plan.default_name())))
        if not as_json:
            _announce(plan, store)
        jobs = jobs or (1 if plan.timing else default_threads(1))
        if dry_run:
            found = estimate(plan, store, suites, history([*RUNS.glob("*"), store.path]), jobs)
            progress.close()
            known = {"run": str(store.path), **asdict(found), "wall_s": found.wall_s}
            say(json.dumps(known, indent=1) if as_json else "\n".join(estimated(found)))
            return
        sets = sum(unit.kind == "set" for unit in plan.codings)
        limits = limit_of(str(asked.deadline or deadline), asked.memory, jobs, sets=sets, cluster=cluster)

        @cache
        def keeping() -> None:
            keep(_again(asked, plan, suites, store), store.path)

        def on_tick(tick: Tick) -> None:
            keeping()  # the first time: the run is open for writing now
            progress.tick(tick)

        try:
            summary = run_plan(
                plan,
                store,
                suites=suites,
                jobs=jobs,
                threads=threads,
                limit=limits,
                retry_failed=retry_failed,
                executor=executor_of(cluster, store, limits, jobs, threads),
                on_tick=on_tick,
                known=history(recent([*RUNS.glob("*"), store.path])),
            )
            keeping()
        except KeyboardInterrupt:
            progress.close()
            say(
                f"interrupted: {progress.done} of {progress.total} codings and measurements are kept in {store.path}; "
                f"resume with: {again()}",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None
    if code := _show(plan, store, summary, as_json=as_json):
        raise typer.Exit(code)


def _show(plan: Plan, store: Run, summary: Summary, *, as_json: bool) -> int:
    """Print what a run did, and what to type next; returns the exit code."""
    from gcbench.bench.analysis.frame import summarise
    from gcbench.bench.analysis.tables.rate_distortion import rate_distortion

    rows = _of_plan(plan, store)
    named = plain_text.shell_word(short_name(store))
    if as_json:
        say(json.dumps(_summary_json(plan, store, summary), indent=1))
    else:
        say()
        print_tables(rate_distortion(summarise(rows), rows=rows))
        say()
        say(said(summary))
    if not (rows["status"] == "ok").any():
        bad = len(plan.bad_inputs) == len(plan.meshes)
        what = f"none of the {len(plan.meshes)} meshes can be used" if bad else "no coding is ok"
        say(f"error: {what}; the reasons: bench table {named} --failures", err=True)
        return BenchError.exit_code if bad else 1
    if not as_json:
        say(f"next: bench plot {named}")
    return 1 if summary.failed else 0


def _again(asked: Experiment, plan: Plan, suites: Sequence[str], store: Run) -> Experiment:
    """What was asked for, with the codecs, effort, suites and so on that the defaults stood for on this machine."""
    return replace(
        asked,
        dataset=asked.dataset or tuple(name for name, _ in plan.datasets),
        codec=plan.codecs,
        effort=plan.effort,
        seed=plan.seed,
        device=plan.device,
        suite=() if plan.timing else tuple(suites),
        run=short_name(store),
    )


def suites_of(text: str) -> list[str]:
    """Names of suites from an option: empty is the default, a leading ``+`` adds to it. Raises UsageError."""
    from gcbench.bench.metrics import DEFAULT_SUITES, SUITES

    chosen = [*(DEFAULT_SUITES if not text or text.startswith("+") else ()), *names(text.removeprefix("+"))]
    for name in chosen:
        SUITES.get(name)
    return list(dict.fromkeys(chosen))


def said(summary: Summary) -> str:
    """One line on what a run did."""
    unmeasured = f", {summary.unmeasured} not measured by every suite" if summary.unmeasured else ""
    return (
        f"{summary.codings} codings: {summary.kept} kept from before, {summary.coded} coded now; "
        f"{summary.measured} measurements now, in {summary.wall_s:.0f} s; "
        f"{summary.failed} failed, {summary.bad_input} bad input{unmeasured}"
    )


def _of_plan(plan: Plan, store: Run) -> pd.DataFrame:
    """Records of the plan's codecs and meshes in a run, those of timing passes included."""
    import pandas

    from gcbench.bench.analysis.versions import newest

    rows = newest(store).rows
    splits = dict(plan.datasets)
    sources = [mesh.source for mesh in plan.meshes]
    meshes = [(source.dataset, splits.get(source.dataset), source.mesh) for source in sources]
    of_plan = pandas.MultiIndex.from_frame(rows[["dataset", "split", "mesh"]].astype(str)).isin(meshes)
    same = (rows["effort"] == plan.effort) & (rows["seed"] == plan.seed) & (rows["device"] == plan.device)
    return rows[of_plan & rows["codec"].isin(plan.codecs) & same]


def _announce(plan: Plan, store: Run) -> None:
    datasets = ", ".join(f"{name} ({split})" for name, split in plan.datasets)
    say(f"{datasets}: {len(plan.meshes)} meshes; codecs: {', '.join(plan.codecs)}; effort {plan.effort}")
    say(f"{len(plan.codings)} codings{' of a timing pass' if plan.timing else ''} → {store.path}")
    for missing in plan.unavailable:
        say(f"not available: {missing.codec}: {missing.reason}; {missing.remedy}")
    if plan.missing:
        say(f"missing: {len(plan.missing)} meshes of the split are not on this machine and are left out")
    for note in plan.notes:
        say(note)
    for mesh in plan.bad_inputs[:5]:
        say(f"bad input: {mesh.source.dataset}/{mesh.source.mesh}: {mesh.problem}")
    if len(plan.bad_inputs) > 5:
        say(f"bad input: ... and {len(plan.bad_inputs) - 5} more")


def _summary_json(plan: Plan, store: Run, summary: Summary) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "run": str(store.path),
        **asdict(summary),
        "codecs": list(plan.codecs),
        "unavailable": [asdict(u) for u in plan.unavailable],
        "missing": [f"{m.dataset}/{m.mesh}" for m in plan.missing],
        "notes": list(plan.notes),
        "bad_inputs": {f"{m.source.dataset}/{m.source.mesh}": m.problem for m in plan.bad_inputs},
    }


def again() -> str:
    """The command that was typed."""
    words = (shlex.quote(word) if word.startswith("-") else plain_text.shell_word(word) for word in sys.argv[1:])
    return " ".join(["bench", *words])
