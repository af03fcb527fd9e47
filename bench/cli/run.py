"""``bench run``: plan and run codings and measurements, then print the table and the next command to type."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.bench.cli.interruption import INTERRUPTED
from gcbench.bench.cli.options import (
    Cluster,
    Data,
    Deadline,
    Jobs,
    Memory,
    RetryFailed,
    Threads,
    executor_of,
    limit_of,
    names,
)
from gcbench.bench.cli.runs import run_path, short_name
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.bench.plan.planning import Plan
    from gcbench.bench.run.runner import Summary
    from gcbench.bench.store.records import Record
    from gcbench.bench.store.run import Run


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
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    measure: Annotated[
        str,
        typer.Option(help="Metric suites, comma-separated; +volume adds to the default. See: bench list metrics."),
    ] = "",
    jobs: Jobs = None,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="cpu or cuda, for codecs that can use it.")] = "cpu",
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
    retry_failed: RetryFailed = False,
    run: Annotated[
        str | None, typer.Option("--run", help="Name or folder of the run. Default: from dataset, split and effort.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of the table.")] = False,
) -> None:
    """Run codecs on datasets: encode, decode from the stream alone, measure, record.

    A *coding* is one codec at one rate on one mesh, or on one set of meshes.

    The same command resumes an interrupted run: it computes only what is missing. More codecs or rates extend the run.
    More metric suites measure the stored streams and encode nothing.

    [bold]Examples[/bold]

        bench run                               built-in meshes, all codecs
        bench run -d ama,thingi10k --split all -c draco,draco-qem
        bench run -d my/folder -c draco --rates q10,q12
        bench run --timing                      times worth quoting
        bench run --measure +volume,mpeg-grid   add metrics to the default ones
        bench run --cluster local:2             on a Dask cluster: docs/cluster.md
    """
    from gcbench.bench.analysis.frame import frame, summarise
    from gcbench.bench.analysis.table import render
    from gcbench.bench.cli.progress import Progress
    from gcbench.bench.plan.planning import make_plan
    from gcbench.bench.run import machine
    from gcbench.bench.run.runner import default_threads, run_plan
    from gcbench.bench.store.run import Run
    from gcbench.registry import split_addresses

    if timing and cluster:
        raise UsageError("a timing pass runs on this machine: leave out --cluster")
    suites = suites_of(measure)
    with Progress(quiet=as_json) as progress:
        plan = make_plan(
            names(dataset),
            split_addresses(codec),
            split=split,
            effort=effort,
            seed=seed,
            rates=names(rates),
            limit=limit,
            data=data,
            allow_missing=allow_missing,
            timing=machine.kind(device) if timing else None,
            device=device,
            progress=progress.reading,
        )
        store = Run(run_path(run or plan.default_name()))
        if not as_json or dry_run:
            _announce(plan, store)
        if dry_run:
            return
        jobs = jobs or (1 if timing else default_threads(1))
        sets = sum(unit.kind == "set" for unit in plan.codings)
        limits = limit_of(deadline, memory, jobs, sets=sets, cluster=cluster)
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
                on_tick=progress.tick,
            )
        except KeyboardInterrupt:
            progress.close()
            typer.echo(
                f"interrupted: {progress.done} of {progress.total} codings and measurements are kept in {store.path}; "
                f"resume with: {again()}",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(_summary_json(plan, store, summary), indent=1))
    else:
        typer.echo()
        typer.echo(render(summarise(frame(_of_plan(plan, store)))))
        typer.echo(said(summary))
        typer.echo(f"next: bench plot {shlex.quote(short_name(store))}")
    if summary.failed:
        raise typer.Exit(1)


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


def _of_plan(plan: Plan, store: Run) -> list[Record]:
    """Records of the plan's codecs and meshes in a run, those of timing passes included."""
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
    typer.echo(f"{len(plan.codings)} codings{' of a timing pass' if plan.timing else ''} → {store.path}")
    for missing in plan.unavailable:
        typer.echo(f"not available: {missing.codec}: {missing.reason}; {missing.remedy}")
    if plan.missing:
        typer.echo(f"missing: {len(plan.missing)} meshes of the split are not on this machine and are left out")
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


def again() -> str:
    """The command that was typed."""
    return shlex.join(["bench", *sys.argv[1:]])
