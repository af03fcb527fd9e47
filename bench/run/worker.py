"""The child's side of ``process.py``: a template that imports modules and forks, and workers that serve calls.

Run as ``python -m gcbench.bench.run.worker FD [MODULE ...]``. Knows nothing of codecs; imports what it is told to.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import logging
import math
import os
import pickle
import signal
import socket
import sys
import threading
import time

from gcbench.bench.run.wire import Incoming, Kind, Message, header

log = logging.getLogger("gcbench.worker")
PROGRESS_PERIOD_S = 0.3


class Line:
    """The worker's end of the pipe to its parent: whole messages only, whichever thread sends them.

    Parameters
    ----------
    pipe : socket.socket
        Ours to close.
    """

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        self._incoming = Incoming()
        self._one_at_a_time = threading.Lock()
        self._call: int | None = None  # the call that is under way
        os.register_at_fork(after_in_child=self._drop)

    def receive(self) -> Message | None:
        """Wait for a call; None when the parent is gone."""
        while (message := self._incoming.take()) is None:
            try:
                some = self._pipe.recv(1 << 20)
            except ConnectionResetError:
                return None
            if not some:
                return None
            self._incoming.feed(some)
        with self._one_at_a_time:
            self._call = message.call
        return message

    def answer(self, kind: Kind, payload: bytes) -> None:
        """Answer the call that is under way; what its threads say later is not sent."""
        with self._one_at_a_time:
            call, self._call = self._call, None
            assert call is not None
            self._send(kind, call, payload)

    def say(self, text: str) -> None:
        """Send a word of progress, if a call is under way and nothing else is being sent."""
        if self._one_at_a_time.acquire(blocking=False):
            try:
                if self._call is not None:
                    self._send(Kind.PROGRESS, self._call, text.encode(errors="replace"))
            finally:
                self._one_at_a_time.release()

    def _send(self, kind: Kind, call: int, payload: bytes) -> None:
        self._pipe.sendall(header(kind, call, payload))
        self._pipe.sendall(payload)

    def _drop(self) -> None:
        """In a process that a codec forked: it must not answer, and must not keep the pipe open."""
        self._pipe.close()
        self._one_at_a_time = threading.Lock()  # the thread that held it may not be in this process
        self._call = None


def serve(line: Line) -> None:
    """Receive a function and its argument, call it, send back what came of it; until the parent is gone."""
    ours = os.getpid()
    while (message := line.receive()) is not None:
        kind, payload = _outcome(message.payload)
        if os.getpid() != ours:  # the function forked and came back twice
            return
        line.answer(kind, payload)


def _outcome(request: bytes) -> tuple[Kind, bytes]:
    """Make the call; a value that cannot be sent is an error as one that is raised."""
    function = None
    try:
        function, argument = pickle.loads(request)  # noqa: S301 - the parent's
        return Kind.VALUE, pickle.dumps(function(argument), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:  # whatever a codec raises, SystemExit too, is the parent's to judge
        with contextlib.suppress(BaseException):  # an exception may have a broken text
            log.exception("%s failed", getattr(function, "__name__", function))
        errno = error.errno if isinstance(error, OSError) and type(error.errno) is int else None
        return Kind.ERROR, json.dumps([type(error).__name__, _one_line(error), errno]).encode()


class _Progress(logging.Handler):
    """Passes on what a call says of its progress, at most a few times a second."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line
        self._last_s = -math.inf

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() - self._last_s >= PROGRESS_PERIOD_S:
            self._last_s = time.monotonic()
            with contextlib.suppress(Exception):  # a wrong format; a parent that is gone, as serve() finds out
                self._line.say(_shortened(record.getMessage()))


def _one_line(error: BaseException) -> str:
    text = "(an exception without a text)"
    with contextlib.suppress(Exception):
        text = str(error)
    return _shortened(" ".join(text.split()))


def _shortened(text: str, limit: int = 300) -> str:
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
        line = Line(socket.socket(fileno=pipe))
        logging.getLogger("gcbench.progress").addHandler(_Progress(line))
        serve(line)
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
