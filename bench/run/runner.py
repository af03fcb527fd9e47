"""Run a plan: give an executor the tasks that are missing, and store the outcomes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcbench.bench.metrics import DEFAULT_SUITES, SUITES
from gcbench.bench.plan.planning import Plan
from gcbench.bench.plan.units import KEY_VERSION, CodingUnit, MeasurementUnit, SuiteId
from gcbench.bench.run import machine
from gcbench.bench.run.estimate import History
from gcbench.bench.run.executor import Executor
from gcbench.bench.run.local import LocalExecutor
from gcbench.bench.run.outstanding import Outstanding, Tick
from gcbench.bench.run.slot import Folders
from gcbench.bench.run.spool import Spool
from gcbench.bench.run.work import TaskLimits
from gcbench.bench.store import columnar, view
from gcbench.bench.store.mesh_names import keep_names
from gcbench.bench.store.run import Run
from gcbench.codecs import CODECS
from gcbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from gcbench.codecs import Codec

_SLOW_PACKAGES = ("torch", "numba")  # to import; neither starts a thread by that


@dataclass(frozen=True)
class Summary:
    """What one invocation did."""

    codings: int  # of the plan
    kept: int  # codings that the run had already
    coded: int  # codings that ran now
    measured: int  # measurements made now, one for each suite on each decoded mesh
    failed: int  # records of the plan, old and new, that are neither ok nor bad-input
    bad_input: int  # records of the plan whose mesh cannot be used
    unmeasured: int  # records with an ok coding that lack values of a suite that was asked for
    wall_s: float


def default_threads(jobs: int) -> int:
    """Threads for each of ``jobs`` parallel tasks, so that ``jobs × threads`` does not exceed the cores."""
    return max(1, machine.cores() // jobs)


def suite_ids(names: Iterable[str] = DEFAULT_SUITES) -> tuple[SuiteId, ...]:
    """Names of suites with their current versions. Raises UsageError for an unknown name."""
    return tuple(SuiteId(name, SUITES.create(name).version()) for name in dict.fromkeys(names))


def folders_of(store: Run) -> Folders:
    """Folders of a run. Scratch is a temporary folder with a fixed name, so that leftovers are found and removed."""
    name = hashlib.sha256(os.fsencode(store.path.resolve())).hexdigest()[:12]
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
    limit: TaskLimits = TaskLimits(),
    retry_failed: bool = False,
    executor: Executor | None = None,
    on_tick: Callable[[Tick], None] | None = None,
    known: History | None = None,
) -> Summary:
    """Run every coding and every measurement of a plan that the run does not have yet.

    Parameters
    ----------
    plan : Plan
        From :func:`gcbench.bench.make_plan`.
    store : Run
        Where results go. Another call with the same plan and run resumes.
    suites : sequence of str
        What to measure. A timing pass measures nothing.
    jobs, threads : int
        Parallel tasks, and threads of each; default: as many as there are cores. Ignored with an executor.
    limit : TaskLimits
        A unit that exceeded a limit earlier runs again if that limit is higher now.
    retry_failed : bool
        Run failed units again.
    executor : Executor, optional
        Where tasks run; default: this machine. The executor is closed at the end.
    on_tick : callable, optional
        Called with the progress.
    known : History, optional
        Of earlier runs on this machine, for the time left.

    Raises
    ------
    StoreError
        The run is in use or cannot be written. Finished results are stored.
    KeyboardInterrupt
        Passed on after all workers have ended. Finished results are stored.
    """
    if plan.timing and (jobs != 1 or (threads or 1) != 1):
        raise UsageError("a timing pass runs alone: one job, one thread")
    begin = time.monotonic()
    chosen = () if plan.timing else suite_ids(suites)
    codecs = [CODECS.create(address) for address in plan.codecs]
    with _closing(executor), store.writing():
        keep_names(store, plan.names)
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
                preload=_preload(codecs),
            ),
            facts | {"jobs": jobs, "threads": threads, **asdict(limit)},
            codecs,
            on_tick,
            known=known,
        )
        shutil.rmtree(folders_of(store).scratch, ignore_errors=True)  # of a run that was killed after its last task
        of_plan = _records_of(work.wanted.values(), store)
    status = of_plan["status"]
    lacking = of_plan["unmeasured"][(status == "ok") & of_plan["unmeasured"].notna()]
    return Summary(
        codings=len(work.wanted),
        kept=kept,
        coded=work.coded,
        measured=work.measured,
        failed=int((~status.isin(["ok", "bad-input"])).sum()),
        bad_input=int((status == "bad-input").sum()),
        unmeasured=sum(any(f"; {suite.name}: " in f"; {text}" for suite in chosen) for text in lacking),
        wall_s=time.monotonic() - begin,
    )


def measure_run(
    store: Run,
    units: Sequence[MeasurementUnit],
    *,
    jobs: int = 1,
    threads: int | None = None,
    limit: TaskLimits = TaskLimits(),
    retry_failed: bool = False,
    executor: Executor | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> int:
    """Decode stored streams and measure them by suites that have not measured them yet. Nothing is encoded.

    Parameters are those of :func:`run_plan`; ``units`` come from :func:`gcbench.bench.run.kept.to_measure`.

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


def _preload(codecs: Iterable[Codec]) -> tuple[str, ...]:
    """Packages to import once for all workers: torch, which takes two seconds, with numba, if a codec has both."""
    wanted = {package for codec in codecs for package in codec.packages}
    return _SLOW_PACKAGES if wanted.issuperset(_SLOW_PACKAGES) else ()


@contextlib.contextmanager
def _closing(executor: Executor | None) -> Iterator[None]:
    """Close an executor, also if the run cannot begin because another process writes to it."""
    try:
        yield
    finally:
        if executor is not None:
            executor.close()


def _records_of(units: Iterable[CodingUnit], store: Run) -> pd.DataFrame:
    """The records of some units, with status, and what was not measured (see `Record.flat`)."""
    import pandas as pd

    names = ["key", "dataset", "split", "mesh"]
    wanted = [(unit.key, unit.dataset, unit.split, mesh.source.mesh) for unit in units for mesh in unit.meshes]
    with view.opened(store) as con:
        rows = columnar.frame(con, [*names, "status", "unmeasured"])
    rows[names] = rows[names].astype("str")
    return rows.merge(pd.DataFrame(wanted, columns=names, dtype="str").drop_duplicates(), on=names)


def _planned(plan: Plan) -> dict[str, Any]:
    """The plan in the provenance of a session, as plain JSON values."""
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
