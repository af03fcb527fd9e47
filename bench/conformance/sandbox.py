"""Worker processes for code under test: each call can be killed, and its failure is a value that checks look at.

`gcbench.bench.run.slot.Slot` drives workers too. The two differ in what a failure means. A slot turns a failure into
the status of a record, and stops the run when the machine is at fault. A sandbox reports how the call failed
(`Trouble`) and goes on, since a failure may be what the contract asks for.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import psutil

from gcbench.bench.conformance.attempt import Raised
from gcbench.bench.run.process import (
    CallFailed,
    CallLimits,
    DeadlineExceeded,
    MemoryExceeded,
    Template,
    TemplateFailed,
    Worker,
    WorkerDied,
    WorkerError,
)
from gcbench.bench.run.slot import PREPARE_LIMIT_S
from gcbench.errors import StoreError

A = TypeVar("A")
R = TypeVar("R")

_OUTSIDE_KILL_RETRIES = 3
_DYING_S = 1.0  # a killed process is gone after this time
_PRELOAD = ("gcbench.bench.conformance.trial", "gcbench.bench.conformance.measuring", "trimesh")


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
        Whether the exception is one of gcbench's errors, raised on purpose.
    """

    what: Literal["raised", "timeout", "out-of-memory", "crashed"]
    message: str
    kind: str = ""
    meant: bool = False

    def __str__(self) -> str:
        return self.message if self.what == "raised" else f"{self.what}: {self.message}"


class Crew:
    """Two templates to fork workers from, and the worker that measures; several sandboxes can share them.

    Parameters
    ----------
    threads : int
        Threads of every library in the workers.
    """

    def __init__(self, threads: int = 1) -> None:
        self.here, self.elsewhere = template(threads), template(threads)
        self.here.start()
        self.elsewhere.start()
        self.judge = Worker(self.here)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.judge.kill()
        self.here.close()
        self.elsewhere.close()


def template(threads: int) -> Template:
    """A template whose workers can try out codecs and suites."""
    return Template(threads, _PRELOAD)


class Sandbox:
    """Workers with one folder and one log.

    Parameters
    ----------
    templates : mapping
        Role → the template that its worker is forked from.
    prepare : callable
        Loads a codec or a suite by its address, in the worker.
    memory_bytes : int or None
        Limit of each worker.
    """

    def __init__(
        self, templates: Mapping[str, Template], prepare: Callable[[str], Raised | None], memory_bytes: int | None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gcbench-check-")).resolve()
        self.log = self.folder / "workers.log"  # what the workers print, tracebacks included
        self.workers = {role: Worker(one, log=self.log) for role, one in templates.items()}
        self._load = prepare
        self._memory_bytes = memory_bytes
        self._prepared: set[tuple[int | None, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        for worker in self.workers.values():
            worker.kill()
        left = self.left_running()
        for program in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                program.kill()
        psutil.wait_procs(left, timeout=_DYING_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(
        self,
        worker: Worker,
        function: Callable[[A], R | Raised],
        job: A,
        limits: CallLimits,
        needs: str | None = None,
    ) -> R | Trouble:
        """Call a function in a worker, again in a new worker if somebody killed the first.

        Parameters
        ----------
        needs : str or None
            Codec or suite to load before the deadline counts.

        Raises
        ------
        StoreError
            No worker can be started, which is the machine's fault.
        """
        for attempt in range(_OUTSIDE_KILL_RETRIES + 1):
            try:
                raised = None if needs is None else self._prepare(worker, needs)
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

    def _prepare(self, worker: Worker, address: str) -> Raised | None:
        """Load a codec or suite once in each process."""
        worker.start()
        if (worker.pid, address) in self._prepared:
            return None
        raised, _ = worker.call(self._load, address, CallLimits(PREPARE_LIMIT_S, self._memory_bytes))
        if raised is not None:
            return replace(raised, message=f"prepare() {raised.message}")
        self._prepared.add((worker.pid, address))
        return None

    def left_running(self) -> list[psutil.Process]:
        """Processes that work in the folder and are not workers: programs that a killed codec left behind."""
        ours = {worker.pid for worker in self.workers.values()}
        left = [p for p in psutil.process_iter() if p.pid not in ours and self._works_here(p)]
        return psutil.wait_procs(left, timeout=_DYING_S)[1] if left else []

    def _works_here(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(self.folder))
        except (psutil.Error, OSError):
            return False


def _somebody_else(error: WorkerError) -> bool:
    """Whether a person or another program killed the worker."""
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
