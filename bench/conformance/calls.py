"""A call in a worker that may be killed, and what came of it: a value, or what kept it from coming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from gcbench.bench.conformance.attempt import Raised
from gcbench.bench.run.process import (
    CallFailed,
    DeadlineExceeded,
    Limits,
    MemoryExceeded,
    TemplateFailed,
    Worker,
    WorkerDied,
    WorkerError,
)
from gcbench.errors import StoreError

A = TypeVar("A")
R = TypeVar("R")

_OUTSIDE_KILL_RETRIES = 3


@dataclass(frozen=True)
class Trouble:
    """A call that gave no value.

    Parameters
    ----------
    what : {"raised", "timeout", "out-of-memory", "crashed"}
        ``timeout`` only where the worker had to be killed.
    kind : str
        Class of the exception.
    meant : bool
        An error of the contract, raised on purpose.
    """

    what: Literal["raised", "timeout", "out-of-memory", "crashed"]
    message: str
    kind: str = ""
    meant: bool = False

    def __str__(self) -> str:
        return self.message if self.what == "raised" else f"{self.what}: {self.message}"


def call(
    worker: Worker,
    function: Callable[[A], R | Raised],
    job: A,
    limits: Limits,
    prepare: Callable[[Worker], Raised | None] | None = None,
) -> R | Trouble:
    """Call a function in a worker, in a new one if somebody killed it; ``prepare`` comes first, with limits of its own.

    Raises
    ------
    StoreError
        There is no worker to be had: the machine's fault.
    """
    for attempt in range(_OUTSIDE_KILL_RETRIES + 1):
        try:
            raised = prepare(worker) if prepare else None
            value = raised or worker.call(function, job, limits)[0]
        except TemplateFailed as error:
            raise StoreError(str(error)) from None
        except WorkerError as error:
            if attempt < _OUTSIDE_KILL_RETRIES and _somebody_else(error):
                continue
            return _trouble(error)
        if isinstance(value, Raised):
            return Trouble("raised", str(value), value.kind, value.meant)
        return value
    raise AssertionError("unreachable")


def _somebody_else(error: WorkerError) -> bool:
    """Whether the worker was killed by a person or by another program."""
    return isinstance(error, WorkerDied) and error.from_outside and not error.out_of_memory


def _trouble(error: WorkerError) -> Trouble:
    match error:
        case DeadlineExceeded():
            return Trouble("timeout", str(error))
        case MemoryExceeded() | WorkerDied(out_of_memory=True):
            return Trouble("out-of-memory", str(error))
        case CallFailed(kind=kind):  # what came back cannot be sent, or the trial itself is wrong
            return Trouble("raised", str(error), kind)
        case _:
            return Trouble("crashed", str(error))
