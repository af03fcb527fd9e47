"""How cells reach workers: an interface of four verbs, and the local one. Knows nothing of stores and plans."""

from __future__ import annotations

import collections
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gcbench.bench.run.slot import Bench, Limit, Outcome, Templates
from gcbench.bench.plan.planning import Cell


class Dispatcher(Protocol):
    """Runs cells somewhere, in any order, several at once. A cell and its outcome are plain values that pickle."""

    def submit(self, cell: Cell) -> None:
        """Take a cell; returns at once."""

    def result(self, timeout_s: float | None = None) -> Outcome | None:
        """Return the outcome of the next cell that ends, or None after the timeout.

        Raises
        ------
        BenchError
            What stopped a cell was the machine's fault, not the codec's.
        """

    def under_way(self) -> Sequence[str]:
        """What cells at work say of their progress, a line each; most are over before they say anything."""

    def cancel(self) -> None:
        """Drop what has not begun and kill what has; frees everything. Also the way to end when all is done."""


class LocalDispatcher:
    """Cells on this machine: ``jobs`` slots, each with an encode, a decode and a measure worker.

    Parameters
    ----------
    jobs : int
        Cells at a time. ``jobs × threads`` should not exceed the cores.
    threads : int
        Threads of each worker.
    limit : Limit
        Deadline and memory of a cell.
    logs : Path, optional
        Folder for what workers print.
    scratch : Path, optional
        Folder for what codecs write while they work; cleared first, and removed at the end.
    pinned : bool
        Pin every slot to cores of its own: for timing.
    """

    def __init__(
        self,
        jobs: int = 1,
        *,
        threads: int = 1,
        limit: Limit = Limit(),
        logs: Path | None = None,
        scratch: Path | None = None,
        pinned: bool = False,
    ) -> None:
        self._pending: dict[str, collections.deque[Cell]] = {}  # by the hash of the (first) mesh, in order
        self._at_hand: dict[str, str] = {}  # slot → the mesh it is working on
        self._changed = threading.Condition()
        self._done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._ended = False
        self._templates = Templates(threads)
        self._scratch = scratch or Path(tempfile.mkdtemp(prefix="gcbench-"))
        shutil.rmtree(self._scratch, ignore_errors=True)  # of a run that was killed
        cores = sorted(os.sched_getaffinity(0)) if pinned and hasattr(os, "sched_getaffinity") else []
        self._benches = [
            Bench(
                limit=limit,
                threads=threads,
                cores=tuple(cores[slot * threads : (slot + 1) * threads]) or None,
                logs=logs,
                scratch=self._scratch / str(slot),
                name=str(slot),
                templates=self._templates,
            )
            for slot in range(jobs)
        ]
        self._slots = [threading.Thread(target=self._serve, args=(b,), daemon=True) for b in self._benches]
        for slot in self._slots:
            slot.start()

    def submit(self, cell: Cell) -> None:
        """Queue a cell."""
        with self._changed:
            self._pending.setdefault(cell.meshes[0].sha256, collections.deque()).append(cell)
            self._changed.notify()

    def result(self, timeout_s: float | None = None) -> Outcome | None:
        """Wait for the next outcome."""
        try:
            outcome = self._done.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def under_way(self) -> list[str]:
        """Collect what the slots say."""
        return [says for bench in self._benches if (says := bench.under_way())]

    def cancel(self) -> None:
        """Kill the workers and end the slots."""
        with self._changed:
            self._ended = True
            self._pending.clear()
            self._changed.notify_all()
        for bench, slot in zip(self._benches, self._slots, strict=True):
            while slot.is_alive():  # it may be about to call a worker that was not there to be killed
                bench.stop()
                slot.join(0.1)
        self._templates.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _serve(self, bench: Bench) -> None:
        try:
            while True:
                with self._changed:
                    while not self._pending and not self._ended:
                        self._changed.wait()
                    if self._ended:
                        return
                    cell = self._take(self._at_hand.get(bench.name))
                    self._at_hand[bench.name] = cell.meshes[0].sha256
                try:
                    self._done.put(bench.run(cell))
                except Exception as error:  # noqa: BLE001 (handed to result(), in the caller's thread)
                    self._done.put(error)
        finally:
            bench.close()

    def _take(self, mesh: str | None) -> Cell:
        """Prefer the mesh this slot has at hand, whose samples and trees are made; else one that no slot has."""
        waiting = self._pending
        if mesh not in waiting:
            mesh = next((other for other in waiting if other not in self._at_hand.values()), next(iter(waiting)))
        cell = waiting[mesh].popleft()
        if not waiting[mesh]:
            del waiting[mesh]
        return cell
