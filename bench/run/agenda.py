"""What there is to do, in the order in which it is best done; executors take from it. Thread-safe."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable

from gcbench.bench.plan.units import CodingUnit, MeasurementUnit
from gcbench.bench.run.work import Task


class Agenda:
    """Tasks that wait.

    Measurements come first, so that few decoded meshes wait in the spool; then codings of single meshes, mesh by mesh,
    so that what is computed once for a mesh serves all of them; sets come last. :meth:`add` may be called while an
    executor runs: a set that was coded adds the measurements of its meshes.

    Parameters
    ----------
    tasks : iterable of Task
        The first ones.
    complete : callable
        Gives a task that was taken what is not held in memory while it waits: the stream of a measurement. Executors
        call it; it may raise StoreError or BitstreamError.
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
        """Add tasks, and wake whoever waits for some."""
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
        """Take the next task; None if nothing waits.

        Parameters
        ----------
        at_hand : str or None
            Hash of the mesh that the taker worked on last, whose samples and trees it has.
        others : collection of str
            Meshes that other takers have at hand.
        """
        with self.changed:
            if not self._waiting:
                return None
            self._waiting -= 1
            for queues in (self._measure, self._code):
                if queues:
                    return _pop(queues, at_hand, others)
            return self._sets.popleft()

    def clear(self) -> None:
        """Forget what waits."""
        with self.changed:
            self._waiting = 0
            for queue in (self._measure, self._code, self._sets):
                queue.clear()
            self.changed.notify_all()


def _pop(queues: OrderedDict[str, deque[Task]], at_hand: str | None, others: Collection[str]) -> Task:
    mesh = at_hand
    if mesh is None or mesh not in queues:
        # Only the first few are looked at: there are as many others as takers.
        mesh = next((mesh for mesh, _ in zip(queues, range(len(others) + 1), strict=False) if mesh not in others), None)
        mesh = mesh if mesh is not None else next(iter(queues))
    task = queues[mesh].popleft()
    if not queues[mesh]:
        del queues[mesh]
    return task
