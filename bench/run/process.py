"""Worker processes that can be killed at any moment: the parent's side. The child's side is ``worker.py``.

Process-pool libraries (pebble, concurrent.futures and loky were looked at) lack at least one of three things: a worker
leads its own process group, so that a kill also ends external programs; the parent watches the resident memory of the
worker and its programs, also while a call holds the interpreter lock; and the worker's environment is set before its
first import, since libraries read their thread counts only then.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gcbench.bench.run import machine
from gcbench.bench.run.tree import descendants, is_zombie, tree_rss_bytes
from gcbench.bench.run.wire import BrokenMessage, Exchange, Kind, Message, error_of, header, value_of
from gcbench.bench.store import safe_files

A = TypeVar("A")
R = TypeVar("R")

WATCH_PERIOD_S = 0.05  # between two looks at the memory: a page fault takes ~0.25 µs/KiB, so ≲ 200 MB can slip by
_TEMPLATE_TRIES = 4
_DYING_S = 2.0  # a process that closes its pipe because it ends is gone after this time
# Some code ignores these variables and starts a thread for each core: TBB (in manifold3d), screened Poisson
# reconstruction in pymeshlab, torch.jit.fork. Pinning the worker to cores limits all of them.
_THREAD_VARIABLES = (
    "IGL_NUM_THREADS",  # of libigl and point-cloud-utils
    "OMP_NUM_THREADS",  # of torch too
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerError(Exception):
    """A call returned no value."""


class DeadlineExceeded(WorkerError):
    """The worker was killed because the call exceeded its deadline."""


class MemoryExceeded(WorkerError):
    """The worker was killed because the worker and its programs exceeded the memory limit."""


class WorkerDied(WorkerError):
    """The worker process ended during a call.

    Parameters
    ----------
    exit_code : int
        As in ``subprocess``: negative for a signal.
    out_of_memory : bool
        Whether the kernel's count of kills for lack of memory went up.
    """

    def __init__(self, exit_code: int, out_of_memory: bool = False) -> None:
        self.exit_code = exit_code
        self.out_of_memory = out_of_memory
        if out_of_memory:
            super().__init__("the kernel killed the worker process because memory ran out")
            return
        if exit_code < 0:
            with contextlib.suppress(ValueError):
                super().__init__(f"worker process died of {signal.Signals(-exit_code).name}")
                return
        super().__init__(f"worker process ended with exit code {exit_code}")

    @property
    def from_outside(self) -> bool:
        """Whether a person, another program or the kernel killed the worker (SIGKILL, SIGTERM)."""
        return self.exit_code in {-signal.SIGKILL, -signal.SIGTERM}


class BrokenAnswer(WorkerError):
    """The worker sent something that is not an answer, and was killed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the worker's answer is broken: {why}")


class TemplateFailed(WorkerError):
    """No worker can be started, which is the machine's fault."""


class CallFailed(WorkerError):
    """The called function raised: name of the exception's class, its text in one line, and the errno of an OSError."""

    def __init__(self, kind: str, message: str, errno: int | None = None) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.message = message
        self.errno = errno


@dataclass(frozen=True)
class CallLimits:
    """Seconds of a call, and bytes of resident memory of the worker and its programs; None is no limit."""

    deadline_s: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class _Forked:
    """A worker: its process id, which is also the id of its group, and the process that it was forked from."""

    pid: int
    parent: subprocess.Popen[bytes] | None


class Template:
    """A process with the imports that workers need; a worker is forked from it in milliseconds.

    Six workers that import for themselves take six core-seconds, a third of a short run. The template has one thread
    and only imports, so that a fork is safe.

    Parameters
    ----------
    threads : int
        Threads of every library that reads the usual environment variables.
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
        """Start the process unless it runs; does not wait for the imports."""
        with self._one_at_a_time:
            self._start()

    def fork(self, pipe: socket.socket, log: Path | None, cores: tuple[int, ...] | None) -> _Forked:
        """Fork a worker that serves on ``pipe``, after the imports; TemplateFailed if the template keeps dying."""
        with contextlib.ExitStack() as files, self._one_at_a_time:
            if log is None:
                output = files.enter_context(Path(os.devnull).open("ab"))
            else:
                safe_files.make_folder(log.parent)
                opened = safe_files.open_file(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                output = files.enter_context(os.fdopen(opened, "ab"))
            for _ in range(_TEMPLATE_TRIES):  # somebody may have killed the template since its last use
                self._start()
                try:
                    return _Forked(self._ask({"cores": cores}, [pipe.fileno(), output.fileno()]), self._process)
                except (OSError, EOFError):
                    exit_code = self._end()
            raise TemplateFailed(f"worker processes cannot be started (exit code {exit_code})")

    def reap(self, worker: _Forked) -> int:
        """Wait until a worker has ended, and return its exit code, negative for a signal."""
        with self._one_at_a_time:
            if worker.parent is not self._process:  # its template was killed, and the worker with it
                return -signal.SIGKILL
            try:
                return self._ask({"reap": worker.pid})
            except (OSError, EOFError):  # the template was killed just now, and its workers with it
                self._end()
                return -signal.SIGKILL

    def close(self) -> None:
        """End the process and all its workers."""
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
                start_new_session=True,  # Ctrl-C in the terminal does not reach it
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
    """A child process that runs one call at a time; the next call replaces a process that has died.

    Parameters
    ----------
    template : Template
        Several workers may share a template.
    cores : tuple of int or None
        Cores to pin the process to; None is all.
    log : Path or None
        File for what the process prints.
    oom_kills : callable
        The kernel's count of processes killed for lack of memory.
    """

    def __init__(
        self,
        template: Template,
        *,
        cores: tuple[int, ...] | None = None,
        log: Path | None = None,
        oom_kills: Callable[[], int | None] = machine.oom_kills,
    ) -> None:
        self._template = template
        self._cores = cores
        self._log = log
        self._oom_kills = oom_kills
        self._oom_kills_before: int | None = None
        self._forked: _Forked | None = None
        self._pipe: socket.socket | None = None
        self._calls = itertools.count()
        self._longest = machine.memory_bytes()
        self.says = ""  # progress of the running call

    @property
    def pid(self) -> int | None:
        """Process id, which is also the id of the process group; None without a process."""
        return self._forked.pid if self._forked else None

    def start(self) -> None:
        """Start the process unless there is one; a process that has sent unexpected bytes is replaced."""
        if self._pipe is not None and self._forked is not None:
            with contextlib.suppress(OSError):  # normally there is nothing to read; a closed pipe shows in the call
                if self._pipe.recv(1, socket.MSG_PEEK):
                    self.kill()
        if self._forked is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as unused:
            unused.callback(ours.close)
            self._forked = self._template.fork(theirs, self._log, self._cores)
            unused.pop_all()
        ours.setblocking(False)
        self._pipe = ours

    def call(self, function: Callable[[A], R], argument: A, limits: CallLimits = CallLimits()) -> tuple[R, int]:
        """Call a module-level function in the worker.

        Returns
        -------
        value, peak_rss_bytes
            The returned value, which must be plain data (numbers, text, containers, numpy arrays, classes of gcbench);
            and the highest resident memory that the parent saw (0 for a call shorter than the watch period).

        Raises
        ------
        DeadlineExceeded, MemoryExceeded
            The worker was killed.
        WorkerDied
            The worker crashed, or somebody else killed it.
        BrokenAnswer
            The worker sent something that is not an answer, and was killed.
        CallFailed
            The function raised, or its value cannot be sent.
        """
        request = pickle.dumps((function, argument), pickle.HIGHEST_PROTOCOL)
        number = next(self._calls) % (1 << 32)
        self._oom_kills_before = self._oom_kills()
        self.start()
        try:
            answer, peak = self._exchange(number, request, limits)
            if answer.kind is Kind.VALUE:
                return value_of(answer.payload), peak
            failure = CallFailed(*error_of(answer.payload))
        except BrokenMessage as error:
            self.kill()
            raise BrokenAnswer(str(error)) from None
        except BaseException:  # interrupted in the middle of a message: the worker is unusable
            self.kill()
            raise
        finally:
            self.says = ""
        raise failure

    def _exchange(self, number: int, request: bytes, limits: CallLimits) -> tuple[Message, int]:
        """Send a request and receive the answer, while watching the worker's memory and time."""
        assert self._pipe is not None
        assert self._forked is not None
        pid, pipe = self._forked.pid, self._pipe
        exchange = Exchange(pipe, [header(Kind.CALL, number, request), request], self._longest)
        begin = looked = time.monotonic()
        peak = 0
        while True:
            try:
                came = exchange.move(looked + WATCH_PERIOD_S - time.monotonic())
            except OSError:
                raise self._gone() from None
            while (message := exchange.take(number)) is not None:
                if message.kind is not Kind.PROGRESS:
                    return message, peak
                self.says = message.payload.decode(errors="replace")
            if time.monotonic() < looked + WATCH_PERIOD_S:
                continue
            looked = time.monotonic()
            if not came and is_zombie(pid):  # the worker died, and a program that it started holds the pipe open
                raise self._died(self.kill())
            peak = max(peak, tree_rss_bytes(pid))
            if limits.memory_bytes is not None and peak > limits.memory_bytes:
                raise MemoryExceeded(f"used {peak >> 20} MiB, the limit is {limits.memory_bytes >> 20} MiB")
            if limits.deadline_s is not None and looked - begin > limits.deadline_s:
                raise DeadlineExceeded(f"took longer than {limits.deadline_s:g} s")

    def _gone(self) -> WorkerError:
        """The error for a pipe that the worker closed, nearly always because the process ends."""
        assert self._forked is not None
        pid = self._forked.pid
        end = time.monotonic() + _DYING_S
        while (lives := Path(f"/proc/{pid}").exists() and not is_zombie(pid)) and time.monotonic() < end:
            time.sleep(0.005)
        exit_code = self.kill()
        return BrokenAnswer("the worker closed its pipe") if lives else self._died(exit_code)

    def _died(self, exit_code: int) -> WorkerDied:
        before, now = self._oom_kills_before, self._oom_kills()
        more = before is not None and now is not None and now > before
        return WorkerDied(exit_code, out_of_memory=more and exit_code == -signal.SIGKILL)

    def interrupt(self) -> None:
        """Kill the worker, so that a call in another thread ends with WorkerDied."""
        if (forked := self._forked) is not None:
            _kill(forked)

    def kill(self) -> int:
        """Kill the process and every program that it started; return its exit code, 0 without a process."""
        forked, self._forked = self._forked, None
        if forked is None:
            return 0
        assert self._pipe is not None
        # Kill first: a worker ends when its pipe closes, and the programs that it started would lose their parent.
        _kill(forked)  # does not change the exit code of a process that is already ending
        self._pipe.close()
        return self._template.reap(forked)


def _kill(worker: _Forked) -> None:
    """Kill a worker, its process group, and descendants that left the group."""
    started = list(descendants(worker.pid))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    if worker.parent is not None and worker.parent.poll() is None:  # otherwise the id may belong to another process
        started.append(worker.pid)  # the worker may have left its group
    for pid in started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
