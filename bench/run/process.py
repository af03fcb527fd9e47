"""Worker processes that can be killed at any moment: the parent's side. The child's side is ``worker.py``.

Own code rather than a process-pool library, for three things that none of those looked at (pebble, concurrent.futures,
loky) does together: a worker leads its own process group, so that a kill takes external programs with it; its
resident memory, programs included, is watched from outside, where a call that holds the interpreter lock cannot
hide; and its environment is set before its first import, which is the only moment at which thread counts are heeded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import psutil

A = TypeVar("A")
R = TypeVar("R")

WATCH_PERIOD_S = 0.05  # how often memory is looked at: a page fault takes ~0.25 µs/KiB, so ≲ 200 MB can slip by
_TEMPLATE_TRIES = 4
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


class TemplateFailed(WorkerError):
    """No worker could be had: the machine's fault, not that of what was to be called."""


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
class _Forked:
    """A worker's process id (and group's), and the process that it is a child of."""

    pid: int
    parent: subprocess.Popen[bytes] | None


class Template:
    """A process that has imported what workers need, and from which they are forked: a worker starts in milliseconds.

    Six workers that each import for themselves cost six core-seconds, which is a third of a short run.
    It runs one thread and nothing but imports, so that forking it is safe.

    Parameters
    ----------
    threads : int
        For every library of its workers that heeds the usual environment variables.
    preload : tuple of str
        Modules to import.
    """

    def __init__(self, threads: int = 1, preload: tuple[str, ...] = ()) -> None:
        self._threads = threads
        self._preload = preload
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._one_at_a_time = threading.Lock()

    def start(self) -> None:
        """Start the process unless it runs; returns at once."""
        with self._one_at_a_time:
            self._start()

    def fork(self, pipe: socket.socket, log: Path | None, cores: tuple[int, ...] | None) -> _Forked:
        """Fork a worker that serves on ``pipe``; waits until the imports are done.

        Raises
        ------
        TemplateFailed
            The template does not live long enough to fork, at several tries.
        """
        with contextlib.ExitStack() as files, self._one_at_a_time:
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
            output = files.enter_context((log or Path(os.devnull)).open("ab"))
            for _ in range(_TEMPLATE_TRIES):  # somebody may have killed the template since it was last used
                self._start()
                try:
                    return _Forked(self._ask({"cores": cores}, [pipe.fileno(), output.fileno()]), self._process)
                except (OSError, EOFError):
                    exit_code = self._end()
            raise TemplateFailed(f"worker processes cannot be started (exit code {exit_code})")

    def reap(self, worker: _Forked) -> int:
        """Wait for the end of a worker that was killed or has hung up; its exit code, negative for a signal."""
        with self._one_at_a_time:
            if worker.parent is not self._process:  # its template was killed, it died with it, another took its place
                return -signal.SIGKILL
            try:
                return self._ask({"reap": worker.pid})
            except (OSError, EOFError):  # the template was killed, and its workers with it
                self._end()
                return -signal.SIGKILL

    def close(self) -> None:
        """End the process, and with it every worker."""
        with self._one_at_a_time:
            self._end()

    def _start(self) -> None:
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gcbench.bench.run.worker", str(theirs.fileno()), *self._preload],
                env={**os.environ, **{name: str(self._threads) for name in _THREAD_VARIABLES}},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # deaf to the terminal's Ctrl-C
            )
        self._control = ours

    def _ask(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> int:
        assert self._control is not None
        socket.send_fds(self._control, [json.dumps(request).encode()], list(descriptors))
        answer = self._control.recv(64)
        if not answer:
            raise EOFError
        return int(answer)

    def _end(self) -> int:
        process, self._process = self._process, None
        control, self._control = self._control, None
        if control is not None:
            control.close()
        if process is None:
            return -signal.SIGKILL
        process.kill()
        return process.wait()


class Worker:
    """A child process that calls functions for us, one after the other, and is replaced when it dies.

    Parameters
    ----------
    template : Template
        What it is forked from; several workers may share one.
    cores : tuple of int or None
        Cores to pin it to; None is all.
    log : Path or None
        File for what it prints.
    """

    def __init__(self, template: Template, *, cores: tuple[int, ...] | None = None, log: Path | None = None) -> None:
        self._template = template
        self._cores = cores
        self._log = log
        self._forked: _Forked | None = None
        self._pipe: Connection[Any, Any] | None = None
        self.says = ""  # the last word of a call that is under way on its progress

    @property
    def pid(self) -> int | None:
        """Process id, which is also the process group's; None when there is no process."""
        return self._forked.pid if self._forked else None

    def start(self) -> None:
        """Start the process unless there is one."""
        if self._forked is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self._forked = self._template.fork(theirs, self._log, self._cores)
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
        assert self._forked is not None
        pid = self._forked.pid
        begin, peak = time.monotonic(), 0
        try:
            self._pipe.send((function, argument))
            while True:
                if self._pipe.poll(WATCH_PERIOD_S):
                    outcome, value = self._pipe.recv()
                    if outcome != "progress":
                        break
                    self.says = value
                if _is_zombie(pid):  # it died, and something that it started holds the pipe open
                    raise WorkerDied(self.kill())
                peak = max(peak, tree_rss_bytes(pid))
                if limits.memory_bytes is not None and peak > limits.memory_bytes:
                    self.kill()
                    raise MemoryExceeded(f"used {peak >> 20} MiB, the limit is {limits.memory_bytes >> 20} MiB")
                if limits.deadline_s is not None and time.monotonic() - begin > limits.deadline_s:
                    self.kill()
                    raise DeadlineExceeded(f"took longer than {limits.deadline_s:g} s")
        except (EOFError, OSError):  # the other end is gone
            raise WorkerDied(self.kill()) from None
        finally:
            self.says = ""
        if outcome == "error":
            raise CallFailed(*value)
        return value, peak

    def interrupt(self) -> None:
        """Make a call that is under way in another thread end with WorkerDied."""
        if (forked := self._forked) is not None:
            _kill_group(forked.pid)

    def kill(self) -> int:
        """Kill the process and every program it started, and forget it; its exit code, 0 if there was none."""
        forked, self._forked = self._forked, None
        if forked is None:
            return 0
        assert self._pipe is not None
        self._pipe.close()
        _kill_group(forked.pid)  # does not change the exit code of one that is already ending
        return self._template.reap(forked)


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


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and waits to be reaped; False where that cannot be told."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}
    except (OSError, IndexError):
        return False


def _portable_tree_rss_bytes(pid: int) -> int:
    """The same through psutil, for systems without /proc; slower, since it looks at every process there is."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


_PAGE = os.sysconf("SC_PAGE_SIZE")


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
