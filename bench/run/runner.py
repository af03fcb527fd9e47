"""Run a plan: hand missing cells to a dispatcher, keep what comes back, until done or stopped."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gcbench.bench.run import provenance
from gcbench.bench.run.slot import Limit
from gcbench.bench.run.local import Dispatcher, LocalDispatcher
from gcbench.bench.metrics import METRIC_VERSION
from gcbench.bench.store.records import Record
from gcbench.bench.store.run import Run
from gcbench.bench.plan.planning import KEY_VERSION, Cell, Plan
from gcbench.errors import UsageError

_HEARTBEAT_S = 0.5  # how often control comes back while nothing ends: Ctrl-C is answered, the clock on screen moves


@dataclass(frozen=True)
class Tick:
    """How far a run is, told after every cell and at every heartbeat.

    Parameters
    ----------
    done, total : int
        Cells finished (those kept from before included), and all.
    seconds_left : float or None
        From the pace of this invocation; None before the first cell.
    cell : Cell or None
        The cell that has just finished, if one has.
    records : sequence of Record
        Its records.
    under_way : sequence of str
        What long cells say of themselves.
    """

    done: int
    total: int
    seconds_left: float | None
    cell: Cell | None = None
    records: Sequence[Record] = ()
    under_way: Sequence[str] = ()


@dataclass(frozen=True)
class Summary:
    """What one invocation did.

    Parameters
    ----------
    total, kept, ran : int
        Cells of the plan, those that were there already, and those run now.
    failed : int
        Records of the plan, old and new, that are neither ``ok`` nor ``bad-input``.
    bad_input : int
        Records of the plan whose mesh could not be used.
    wall_s : float
        Seconds this invocation took.
    """

    total: int
    kept: int
    ran: int
    failed: int
    bad_input: int
    wall_s: float


def default_threads(jobs: int) -> int:
    """Threads for each of ``jobs`` cells at a time, so that together they do not exceed the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, cores // jobs)


def run(
    plan: Plan,
    store: Run,
    *,
    jobs: int = 1,
    threads: int | None = None,
    limit: Limit = Limit(),
    retry_failed: bool = False,
    dispatcher: Dispatcher | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> Summary:
    """Run every cell of a plan that the store does not have yet.

    Parameters
    ----------
    plan : Plan
        From :func:`gcbench.bench.plan`.
    store : Run
        Where records and streams go; the same plan and store resume.
    jobs, threads : int
        Cells at a time, and threads for each; by default the cores are shared out.
    limit : Limit
        Deadline and memory of a cell; a worker that overruns it is killed and its cell recorded as such.
    retry_failed : bool
        Run cells again whose kept records have a failure.
    dispatcher : Dispatcher, optional
        Where cells run; default: this machine.
    on_tick : callable, optional
        Told of progress.

    Returns
    -------
    Summary

    Raises
    ------
    StoreError
        The run is in use or cannot be written; what was finished is kept.
    KeyboardInterrupt
        Passed on after the workers are gone; what was finished is kept.
    """
    if plan.timing and (jobs != 1 or (threads or 1) != 1):
        raise UsageError("a timing pass runs alone: one job, one thread")
    threads = 1 if plan.timing else threads or default_threads(jobs)
    begin = time.monotonic()
    wanted = {cell.key: cell for cell in plan.cells}
    with store.writing():
        outcome = {
            kept.key: kept.records
            for kept in store.cells()
            if kept.key in wanted and not (retry_failed and _failures(kept.records))
        }
        kept = len(outcome)
        todo = [cell for key, cell in wanted.items() if key not in outcome]
        session = secrets.token_hex(6)
        if on_tick:
            on_tick(Tick(kept, len(wanted), None))
        # What is kept but no longer counts, because something else took its place since, counts again.
        counting = {cell.key for cell in store.counting().values()}
        for old in list(store.cells()):
            if old.key in outcome and old.key not in counting:
                counting.add(old.key)
                store.append(old.key, old.session, old.records)
        how = {"jobs": jobs, "threads": threads, **asdict(limit), "cells_to_run": len(todo)}
        if not todo:
            store.note(session, **provenance.collect(), **_planned(plan), **how)
        else:
            workers = dispatcher or LocalDispatcher(
                jobs,
                threads=threads,
                limit=limit,
                logs=store.path / "logs",
                scratch=_scratch_of(store),
                pinned=plan.timing,
            )
            try:
                for cell in todo:
                    workers.submit(cell)
                # Provenance takes a moment, in which workers start; it is on disk before the first record.
                store.note(session, **provenance.collect(), **_planned(plan), **how)
                first = time.monotonic()
                for ended in range(1, len(todo) + 1):
                    while (result := workers.result(_HEARTBEAT_S)) is None:
                        if on_tick:
                            left = _left(first, ended - 1, len(todo))
                            on_tick(Tick(kept + ended - 1, len(wanted), left, under_way=workers.under_way()))
                    store.append(result.cell.key, session, result.records, result.streams)
                    outcome[result.cell.key] = result.records
                    if on_tick:
                        left = _left(first, ended, len(todo))
                        on_tick(Tick(kept + ended, len(wanted), left, result.cell, result.records))
            finally:
                workers.cancel()
        wall_s = time.monotonic() - begin
        store.note(session, finished=datetime.now(UTC).isoformat(timespec="seconds"), wall_s=round(wall_s, 3))
    records = [record for of_cell in outcome.values() for record in of_cell]
    return Summary(
        total=len(wanted),
        kept=kept,
        ran=len(todo),
        failed=len(_failures(records)),
        bad_input=sum(r.status == "bad-input" for r in records),
        wall_s=wall_s,
    )


def _scratch_of(store: Run) -> Path:
    """Folder on the local disk that belongs to this run, so that what a killed one left is found and cleared."""
    name = hashlib.sha256(str(store.path.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"gcbench-{name}"


def _planned(plan: Plan) -> dict[str, Any]:
    """What provenance says of a plan, in plain JSON values."""
    hashes = plan.dataset_hashes()
    return {
        "seed": plan.seed,
        "effort": plan.effort,
        "timing": plan.timing,
        "device": plan.device,
        "metric_version": METRIC_VERSION,
        "key_version": KEY_VERSION,
        "codecs": {cell.codec: cell.codec_version for cell in plan.cells},
        "unavailable": {u.codec: f"{u.reason}; {u.remedy}" for u in plan.unavailable},
        "datasets": {f"{name}/{split}": hashes.get(name) for name, split in plan.datasets},
        "folders": dict(plan.folders),
        "missing": len(plan.missing),
        "cells": len(plan.cells),
    }


def _failures(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if r.status not in {"ok", "bad-input"}]


def _left(first: float, ended: int, total: int) -> float | None:
    return (time.monotonic() - first) / ended * (total - ended) if ended else None
