"""A worker process that can be killed at any moment: the parent's side. The child's side is ``worker.py``.

Own code rather than a process-pool library, for three things that none of those looked at (pebble, concurrent.futures,
loky) does together: the worker leads its own process group, so that a kill takes external programs with it; its
resident memory, programs included, is watched from outside, where a call that holds the interpreter lock cannot
hide; and its environment is set before its first import, which is the only moment at which thread counts are heeded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import psutil

A = TypeVar("A")
R = TypeVar("R")

WATCH_PERIOD_S = 0.05  # how often memory is looked at: a page fault takes ~0.25 µs/KiB, so ≲ 200 MB can slip by
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerError(Exception):
    """A call did not come back with a value."""


class DeadlineExceeded(WorkerError):
    """The worker was killed because the call overran its deadline."""


class MemoryExceeded(WorkerError):
    """The worker was killed because it and its programs held more memory than allowed."""


class WorkerDied(WorkerError):
    """The worker ended by itself.

    Parameters
    ----------
    exit_code : int
        As ``subprocess`` gives it: negative for a signal.
    """

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        if exit_code < 0:
            with contextlib.suppress(ValueError):
                super().__init__(f"worker process died of {signal.Signals(-exit_code).name}")
                return
        super().__init__(f"worker process ended with exit code {exit_code}")

    @property
    def from_outside(self) -> bool:
        """Whether it was killed by a person or the kernel (SIGKILL, SIGTERM) and not by its own fault."""
        return self.exit_code in {-signal.SIGKILL, -signal.SIGTERM}


class CallFailed(WorkerError):
    """The called function raised.

    Parameters
    ----------
    kind : str
        Name of the exception's class.
    message : str
        Its text, one line.
    errno : int or None
        Of an OSError.
    """

    def __init__(self, kind: str, message: str, errno: int | None = None) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.message = message
        self.errno = errno


@dataclass(frozen=True)
class Limits:
    """What a call may take: seconds, and bytes of resident memory of the worker and the programs it runs."""

    deadline_s: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class WorkerSetup:
    """How a worker is started.

    Parameters
    ----------
    threads : int
        For every library that heeds the usual environment variables.
    cores : tuple of int or None
        Cores to pin it to; None is all.
    log : Path or None
        File for what it prints.
    preload : tuple of str
        Modules that it imports as soon as it starts, while other workers work.
    """

    threads: int = 1
    cores: tuple[int, ...] | None = None
    log: Path | None = None
    preload: tuple[str, ...] = ()


class Worker:
    """A child process that calls functions for us, one after the other, and is replaced when it dies.

    Starting is lazy and asynchronous: :meth:`start` returns at once, the first :meth:`call` waits.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None

    @property
    def running(self) -> bool:
        """Whether there is a live process, with whatever it has loaded so far."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id, which is also the process group's."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process unless it runs."""
        if self.running:
            return
        self.kill()
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as files:
            log: int | Any = subprocess.DEVNULL
            if self._setup.log is not None:
                self._setup.log.parent.mkdir(parents=True, exist_ok=True)
                log = files.enter_context(self._setup.log.open("ab"))
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gcbench.bench.worker"),
                    *(str(theirs.fileno()), ",".join(map(str, self._setup.cores or ())), *self._setup.preload),
                ],
                env={**os.environ, **_thread_environment(self._setup.threads)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a group of its own: killable with its programs, deaf to the terminal's Ctrl-C
            )
        self._pipe = Connection(ours.detach())

    def call(self, function: Callable[[A], R], argument: A, limits: Limits = Limits()) -> tuple[R, int]:
        """Call a module-level function in the worker.

        Returns
        -------
        value, peak_rss_bytes
            What it returned, and the highest resident memory seen from outside (0 for a call shorter than the watch).

        Raises
        ------
        DeadlineExceeded, MemoryExceeded
            The worker was killed.
        WorkerDied
            It crashed, or somebody else killed it.
        CallFailed
            The function raised.
        """
        self.start()
        assert self._pipe is not None
        assert self._process is not None
        begin, peak = time.monotonic(), 0
        try:
            self._pipe.send((function, argument))
            while not self._pipe.poll(WATCH_PERIOD_S):
                peak = max(peak, tree_rss_bytes(self._process.pid))
                if limits.memory_bytes is not None and peak > limits.memory_bytes:
                    self.kill()
                    raise MemoryExceeded(f"used {peak >> 20} MiB, the limit is {limits.memory_bytes >> 20} MiB")
                if limits.deadline_s is not None and time.monotonic() - begin > limits.deadline_s:
                    self.kill()
                    raise DeadlineExceeded(f"took longer than {limits.deadline_s:g} s")
            outcome, value = self._pipe.recv()
        except (EOFError, OSError):  # the other end is gone
            process = self._process
            self.kill()
            raise WorkerDied(process.returncode) from None
        if outcome == "error":
            raise CallFailed(*value)
        return value, peak

    def interrupt(self) -> None:
        """Make a call that is under way in another thread end with WorkerDied."""
        process = self._process
        if process is not None:
            _kill_group(process)

    def kill(self) -> None:
        """Kill the process and every program it started, and forget it."""
        process, self._process = self._process, None
        if process is not None:
            _kill_group(process)
            process.wait()
            if self._pipe is not None:
                self._pipe.close()


def tree_rss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, in bytes; 0 if it is gone."""
    total, pending = 0, [pid]
    try:
        process_files = Path("/proc")
        while pending:
            one = pending.pop()
            with contextlib.suppress(OSError, ValueError, IndexError):  # it may end while we look
                total += int((process_files / str(one) / "statm").read_bytes().split()[1]) * _PAGE
            with contextlib.suppress(OSError):
                for task in (process_files / str(one) / "task").iterdir():
                    pending += [int(child) for child in (task / "children").read_bytes().split()]
    except OSError:
        return total
    return total or _portable_tree_rss_bytes(pid)


def _portable_tree_rss_bytes(pid: int) -> int:
    """The same through psutil, for systems without /proc; slower, since it looks at every process there is."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


_PAGE = os.sysconf("SC_PAGE_SIZE")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _thread_environment(threads: int) -> Mapping[str, str]:
    return {name: str(threads) for name in _THREAD_VARIABLES}
