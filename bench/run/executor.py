"""Where tasks run: the interface of executors. Tasks and outcomes are plain values that pickle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.work import Outcome


class Executor(Protocol):
    """Runs tasks somewhere, several at once. See `LocalExecutor` and `DaskExecutor`."""

    @property
    def slots(self) -> int:
        """How many tasks run at a time, as far as is known."""

    def run(self, agenda: Agenda, heartbeat_s: float) -> Iterator[Outcome | None]:
        """Take tasks from the agenda and yield their outcomes, in any order; None whenever nothing ended for a while.

        It ends when the agenda is empty and nothing is under way. The caller may add to the agenda for as long as it
        has not asked for the next outcome.

        Raises
        ------
        BenchError
            What stopped a task was the machine's fault, not the codec's.
        """

    def under_way(self) -> Sequence[str]:
        """What tasks at work say of their progress, a line each; most are over before they say anything."""

    def close(self) -> None:
        """Kill what is under way and free everything. Also the way to end when all is done."""
