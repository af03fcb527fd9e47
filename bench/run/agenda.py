"""The queue of tasks of a run: executors take from it. Thread-safe."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable

from gcbench.bench.plan.units import CodingUnit, MeasurementUnit
from gcbench.bench.run.work import Task


class Agenda:
    """Waiting tasks.

    Measurements come first, so that few decoded meshes fill the spool. Codings of single meshes follow, mesh by mesh,
    so that they share the samples of the original. Sets come last, and the last planned set first: high rates take the
    longest, and short tasks at the end keep all slots at work. :meth:`add` may be called while an executor runs: the
    coding of a set adds the measurements of its meshes.

    Parameters
    ----------
    tasks : iterable of Task
        The first tasks.
    complete : callable
        Executors call it on a task that they took, to add what is not held in memory: the stream of a measurement. It
        may raise StoreError or BitstreamError.
    """

    def __init__(self, tasks: Iterable[Task] = (), complete: Callable[[Task], Task] = lambda task: task) -> None:
        self.changed = threading.Condition()
        self.complete = complete
        self._measure: OrderedDict[str, deque[Task]] = OrderedDict()
        self._code: OrderedDict[str, deque[Task]] = OrderedDict()
        self._sets: deque[Task] = deque()
        self._waiting = 0
        self.add(tasks)

    def __len__(self) -> int:
        return self._waiting

    def add(self, tasks: Iterable[Task]) -> None:
        """Add tasks, and wake the threads that wait for tasks."""
        with self.changed:
            for task in tasks:
                self._waiting += 1
                if isinstance(task.unit, CodingUnit) and task.unit.kind == "set":
                    self._sets.append(task)
                else:
                    queues = self._measure if isinstance(task.unit, MeasurementUnit) else self._code
                    queues.setdefault(task.mesh, deque()).append(task)
            self.changed.notify_all()

    def take(self, at_hand: str | None = None, others: Collection[str] = ()) -> Task | None:
        """Take the next task; None if there is none.

        Parameters
        ----------
        at_hand : str or None
            Hash of the mesh that the caller worked on last, and whose samples and trees are in its memory. Preferred.
        others : collection of str
            Meshes that other callers worked on last. Avoided.
        """
        with self.changed:
            if not self._waiting:
                return None
            self._waiting -= 1
            for queues in (self._measure, self._code):
                if queues:
                    return _pop(queues, at_hand, others)
            return self._sets.pop()

    def clear(self) -> None:
        """Remove all tasks."""
        with self.changed:
            self._waiting = 0
            for queue in (self._measure, self._code, self._sets):
                queue.clear()
            self.changed.notify_all()


def _pop(queues: OrderedDict[str, deque[Task]], at_hand: str | None, others: Collection[str]) -> Task:
    mesh = at_hand
    if mesh is None or mesh not in queues:
        # One of the first len(others) + 1 meshes is not among the others.
        mesh = next((mesh for mesh, _ in zip(queues, range(len(others) + 1), strict=False) if mesh not in others), None)
        mesh = mesh if mesh is not None else next(iter(queues))
    task = queues[mesh].popleft()
    if not queues[mesh]:
        del queues[mesh]
    return task
