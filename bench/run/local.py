"""The executor for this machine: several slots, each served by a thread of this process."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Iterator

from gcbench.bench.run import machine
from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.slot import Folders, Slot, Templates
from gcbench.bench.run.work import Outcome, TaskLimits


class LocalExecutor:
    """Slots on this machine.

    Parameters
    ----------
    jobs : int
        Number of slots. ``jobs × threads`` should not exceed the cores.
    folders : Folders
        The scratch folder is emptied first, and removed at the end.
    threads : int
        Threads of each worker.
    limit : TaskLimits
        Deadline and memory of a task.
    pinned : bool
        Pin every slot to its own cores, for timing.
    preload : tuple of str
        Packages that all workers of codecs find imported.
    """

    def __init__(
        self,
        jobs: int,
        folders: Folders,
        *,
        threads: int = 1,
        limit: TaskLimits = TaskLimits(),
        pinned: bool = False,
        preload: tuple[str, ...] = (),
    ) -> None:
        self.slots = jobs
        self._folders = folders
        shutil.rmtree(folders.scratch, ignore_errors=True)  # of a killed run
        self._templates = Templates(threads, preload)
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        # Slots that fill the machine are pinned too: nothing else limits libraries that ignore thread counts (TBB in
        # Manifold).
        if not (pinned or jobs * threads == len(cores) == machine.cores()):
            cores = []
        self._slots = [
            Slot(
                folders,
                limit=limit,
                threads=threads,
                cores=tuple(cores[slot * threads : (slot + 1) * threads]) or None,
                name=str(slot),
                templates=self._templates,
            )
            for slot in range(jobs)
        ]
        self._at_hand: dict[str, str] = {}  # slot → its current mesh
        self._done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._busy = 0
        self._ended = False
        self._threads: list[threading.Thread] = []
        self._agenda: Agenda | None = None

    def run(self, agenda: Agenda, heartbeat_s: float) -> Iterator[Outcome | None]:
        """Run the agenda on all slots."""
        self._agenda = agenda
        self._threads = [threading.Thread(target=self._serve, args=(s, agenda), daemon=True) for s in self._slots]
        for thread in self._threads:
            thread.start()
        while True:
            with agenda.changed:
                # A slot is busy until its outcome is in the queue; both are read under one lock.
                if not len(agenda) and not self._busy and self._done.empty():
                    return
            try:
                outcome = self._done.get(timeout=heartbeat_s)
            except queue.Empty:
                yield None
                continue
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome

    def under_way(self) -> list[str]:
        """Progress of the slots."""
        return [says for slot in self._slots if (says := slot.under_way())]

    def close(self) -> None:
        """Kill the workers and end the slots."""
        self._ended = True
        if self._agenda is not None:
            with self._agenda.changed:
                self._agenda.changed.notify_all()  # to slots that wait for a task
        for thread in self._threads:
            while thread.is_alive():  # repeat, since the thread may start a new worker just after a kill
                for slot in self._slots:
                    slot.stop()
                thread.join(0.1)
        for slot in self._slots:
            slot.close()
        self._templates.close()
        shutil.rmtree(self._folders.scratch, ignore_errors=True)

    def _serve(self, slot: Slot, agenda: Agenda) -> None:
        while True:
            with agenda.changed:
                others = [mesh for name, mesh in self._at_hand.items() if name != slot.name]
                while (task := agenda.take(self._at_hand.get(slot.name), others)) is None and not self._ended:
                    agenda.changed.wait()
                if task is None or self._ended:
                    return
                self._busy += 1
                self._at_hand[slot.name] = task.mesh
            try:
                result: Outcome | BaseException = slot.run(agenda.complete(task))
            except Exception as error:  # noqa: BLE001 (run() raises it in the caller's thread)
                result = error
            with agenda.changed:
                self._done.put(result)
                self._busy -= 1
