"""Run a plan: hand to an executor what is missing, keep what comes back, until done or stopped."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gcbench.bench.metrics import DEFAULT_SUITES, SUITES
from gcbench.bench.plan.planning import Plan
from gcbench.bench.plan.units import KEY_VERSION, CodingUnit, MeasurementUnit, SuiteId
from gcbench.bench.run import machine
from gcbench.bench.run.executor import Executor
from gcbench.bench.run.local import LocalExecutor
from gcbench.bench.run.outstanding import Outstanding, Tick
from gcbench.bench.run.slot import Folders
from gcbench.bench.run.spool import Spool
from gcbench.bench.run.work import Limit
from gcbench.bench.store.run import Run
from gcbench.codecs import CODECS
from gcbench.errors import UsageError


@dataclass(frozen=True)
class Summary:
    """What one invocation did.

    Parameters
    ----------
    codings, kept, coded : int
        Codings of the plan, those that were there already, and those that ran now: how often a codec encoded.
    measured : int
        Measurements that were made now, one for each suite on each decoded mesh.
    failed : int
        Records of the plan, old and new, that are neither ``ok`` nor ``bad-input``.
    bad_input : int
        Records of the plan whose mesh could not be used.
    unmeasured : int
        Records whose coding is ok and that lack a suite that was asked for.
    wall_s : float
        Seconds this invocation took.
    """

    codings: int
    kept: int
    coded: int
    measured: int
    failed: int
    bad_input: int
    unmeasured: int
    wall_s: float


def default_threads(jobs: int) -> int:
    """Threads for each of ``jobs`` tasks at a time, so that together they do not exceed the cores."""
    return max(1, machine.cores() // jobs)


def suite_ids(names: Iterable[str] = DEFAULT_SUITES) -> tuple[SuiteId, ...]:
    """Resolve names of suites to their current versions.

    Raises
    ------
    UsageError
        There is no such suite.
    """
    return tuple(SuiteId(name, SUITES.create(name).version()) for name in dict.fromkeys(names))


def folders_of(store: Run) -> Folders:
    """Folders beside a run. Scratch is on the local disk, in a place that belongs to this run: leftovers are found."""
    name = hashlib.sha256(str(store.path.resolve()).encode()).hexdigest()[:12]
    root = store.path.resolve()
    return Folders(
        Spool(root / "spool"), Path(tempfile.gettempdir()) / f"gcbench-{name}", root / "work", store.path / "logs"
    )


def run_plan(
    plan: Plan,
    store: Run,
    *,
    suites: Sequence[str] = DEFAULT_SUITES,
    jobs: int = 1,
    threads: int | None = None,
    limit: Limit = Limit(),
    retry_failed: bool = False,
    executor: Executor | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> Summary:
    """Run every coding and every measurement of a plan that the store does not have yet.

    Parameters
    ----------
    plan : Plan
        From :func:`gcbench.bench.make_plan`.
    store : Run
        Where results go; the same plan and store resume.
    suites : sequence of str
        What to measure; nothing in a timing pass.
    jobs, threads : int
        Tasks at a time, and threads for each; by default the cores are shared out. Of no effect with an executor.
    limit : Limit
        Deadline and memory. What met a limit before runs again when that limit was raised.
    retry_failed : bool
        Run again what failed before.
    executor : Executor, optional
        Where tasks run; default: this machine. It is closed at the end.
    on_tick : callable, optional
        Told of progress.

    Raises
    ------
    StoreError
        The run is in use or cannot be written; what was finished is kept.
    KeyboardInterrupt
        Passed on after the workers are gone; what was finished is kept.
    """
    if plan.timing and (jobs != 1 or (threads or 1) != 1):
        raise UsageError("a timing pass runs alone: one job, one thread")
    begin = time.monotonic()
    chosen = () if plan.timing else suite_ids(suites)
    with _closing(executor), store.writing():
        work = Outstanding(store, chosen, limit, retry_failed=retry_failed)
        for unit in plan.codings:
            work.want(unit)
        work.settle()
        facts = _planned(plan) | {"suites": {s.name: s.version for s in chosen}}
        kept = len(work.wanted) - sum(isinstance(task.unit, CodingUnit) for task in work.tasks)
        work.execute(
            executor,
            lambda: LocalExecutor(
                jobs,
                folders_of(store),
                threads=1 if plan.timing else threads or default_threads(jobs),
                limit=limit,
                pinned=plan.timing is not None,
            ),
            facts | {"jobs": jobs, "threads": threads, **asdict(limit)},
            [CODECS.create(address) for address in plan.codecs],
            on_tick,
        )
        records = store.records(list(work.kept.values()))
    return Summary(
        codings=len(work.wanted),
        kept=kept,
        coded=work.coded,
        measured=work.measured,
        failed=sum(r.status not in {"ok", "bad-input"} for r in records),
        bad_input=sum(r.status == "bad-input" for r in records),
        unmeasured=sum(r.status == "ok" and any(s.name in r.unmeasured for s in chosen) for r in records),
        wall_s=time.monotonic() - begin,
    )


def measure_run(
    store: Run,
    units: Sequence[MeasurementUnit],
    *,
    jobs: int = 1,
    threads: int | None = None,
    limit: Limit = Limit(),
    retry_failed: bool = False,
    executor: Executor | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> int:
    """Measure decoded meshes of kept streams by suites that have not measured them yet. Nothing is encoded.

    Parameters
    ----------
    store : Run
        Has the streams; gets the measurements.
    units : sequence of MeasurementUnit
        From :func:`gcbench.bench.run.kept.to_measure`.

    Returns
    -------
    int
        Measurements that were made, one for each suite on each decoded mesh.
    """
    with _closing(executor), store.writing():
        work = Outstanding(store, (), limit, retry_failed=retry_failed)
        for unit in units:
            work.want_measured(unit)
        work.settle()
        suites = {suite.name: suite.version for unit in units for suite in unit.suites}
        work.execute(
            executor,
            lambda: LocalExecutor(jobs, folders_of(store), threads=threads or default_threads(jobs), limit=limit),
            {"suites": suites, "jobs": jobs, "threads": threads, **asdict(limit)},
            [CODECS.create(name) for name in dict.fromkeys(unit.codec for unit in units)],
            on_tick,
        )
    return work.measured


@contextlib.contextmanager
def _closing(executor: Executor | None) -> Iterator[None]:
    """Close an executor also where the run does not begin, since another process writes to it."""
    try:
        yield
    finally:
        if executor is not None:
            executor.close()


def _planned(plan: Plan) -> dict[str, Any]:
    """What provenance says of a plan, in plain JSON values."""
    hashes = plan.dataset_hashes()
    return {
        "seed": plan.seed,
        "effort": plan.effort,
        "timing": plan.timing,
        "device": plan.device,
        "key_version": KEY_VERSION,
        "codecs": {unit.codec: unit.codec_version for unit in plan.codings},
        "unavailable": {u.codec: f"{u.reason}; {u.remedy}" for u in plan.unavailable},
        "datasets": {f"{name}/{split}": hashes.get(name) for name, split in plan.datasets},
        "folders": dict(plan.folders),
        "missing": len(plan.missing),
        "codings": len(plan.codings),
    }
