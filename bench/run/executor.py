"""The interface of executors, which run tasks on this machine (`local`) or on a cluster (`cluster`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.work import Outcome


class Executor(Protocol):
    """Runs several tasks at a time."""

    @property
    def slots(self) -> int:
        """Tasks that run at a time."""

    def run(self, agenda: Agenda, heartbeat_s: float) -> Iterator[Outcome | None]:
        """Take tasks from the agenda and yield their outcomes in any order; None after ``heartbeat_s`` without any.

        The iterator ends when the agenda is empty and no task runs. The caller may add tasks before it asks for the
        next outcome.

        Raises
        ------
        BenchError
            A task stopped through the machine's fault, not the codec's.
        """

    def under_way(self) -> Sequence[str]:
        """One line for each running task, with its progress if it has reported any."""

    def close(self) -> None:
        """Kill running tasks and free everything; call this also when all tasks are done."""
