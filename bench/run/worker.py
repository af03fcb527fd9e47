"""The child's side of ``process.py``: a template that imports modules and forks, and workers that serve calls.

Run as ``python -m gcbench.bench.run.worker FD [MODULE ...]``. Knows nothing of cells; imports what it is told to.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import logging
import math
import os
import signal
import socket
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

log = logging.getLogger("gcbench.worker")
PROGRESS_PERIOD_S = 0.3


def serve(pipe: Connection[Any, Any]) -> None:
    """Receive a function and its argument, call it, send back what came of it; until the parent is gone."""
    while True:
        try:
            function, argument = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            answer: tuple[str, Any] = ("ok", function(argument))
        except Exception as error:  # whatever a codec raises is the parent's to judge
            log.exception("%s failed", getattr(function, "__name__", function))
            answer = ("error", (type(error).__name__, _one_line(error), getattr(error, "errno", None)))
        try:
            pipe.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return


class _Progress(logging.Handler):
    """Passes on what a call says of its progress, at most a few times a second."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        super().__init__()
        self._pipe = pipe
        self._last_s = -math.inf

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() - self._last_s >= PROGRESS_PERIOD_S:
            self._last_s = time.monotonic()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # serve() ends when it finds out
                self._pipe.send(("progress", record.getMessage()))


def _one_line(error: BaseException, limit: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fork_on_request(control: socket.socket) -> None:
    """Fork workers and reap them, as asked, until the parent is gone.

    ``{"cores": ...}``, which comes with a pipe and a log, is answered with the new worker's process id;
    ``{"reap": pid}`` with its exit code, negative for a signal.
    """
    template = os.getpid()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 2)
        if not message:
            return
        request = json.loads(message)
        if "reap" in request:
            try:
                answer = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
            except ChildProcessError:  # not, or no longer, a child of ours
                answer = -signal.SIGKILL
        else:
            answer = os.fork()
            if answer == 0:
                control.close()
                _become_worker(template, descriptors[0], descriptors[1], request["cores"])
            # Also done by the child: whoever comes first, nobody sees it without a group of its own.
            with contextlib.suppress(OSError):
                os.setpgid(answer, answer)
            for descriptor in descriptors:
                os.close(descriptor)
        control.send(str(answer).encode())


def _become_worker(template: int, pipe: int, output: int, cores: list[int] | None) -> None:
    """Serve calls and exit; never returns."""
    code = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _die_with_parent()
        if os.getppid() != template:  # it died before we could say so
            return
        os.set_inheritable(pipe, False)  # else a program that the codec leaves behind would keep our end open
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        connection: Connection[Any, Any] = Connection(pipe)
        logging.getLogger("gcbench.progress").addHandler(_Progress(connection))
        serve(connection)
        code = 0
    except BaseException:
        log.exception("the worker could not start")
    finally:
        os._exit(code)


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, even of SIGKILL (Linux only)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


def main(argv: list[str]) -> int:
    """Be a template: import the given modules, then serve on the given socket.

    A template ends when its control socket does. It must not ask to die with its parent as workers do: for the kernel
    that is the parent's *thread*, and a template outlives the thread that happened to start it.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for module in argv[1:]:
        with contextlib.suppress(ImportError):  # the call that needs it says so, with its reason
            importlib.import_module(module)
    fork_on_request(socket.socket(fileno=int(argv[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
