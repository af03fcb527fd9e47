"""The child's side of ``process.py``: a template that imports modules and forks, and workers that run calls.

Run as ``python -m gcbench.bench.run.worker FD [MODULE ...]``.
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

from gcbench import plugins
from gcbench.bench.run.wire import Incoming, Kind, Message, header

log = logging.getLogger("gcbench.worker")
PROGRESS_PERIOD_S = 0.3


class Line:
    """The worker's end of the pipe to its parent; sends whole messages, from any thread."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        self._incoming = Incoming()
        self._one_at_a_time = threading.Lock()
        self._call: int | None = None  # the running call
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
        """Answer the running call; later progress of its threads is not sent."""
        with self._one_at_a_time:
            call, self._call = self._call, None
            assert call is not None
            self._send(kind, call, payload)

    def say(self, text: str) -> None:
        """Send progress if a call is running and no other message is being sent."""
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
        """Close the pipe in a process that a codec forked, which must not answer and not keep the pipe open."""
        self._pipe.close()
        self._one_at_a_time = threading.Lock()  # the thread that held the old one may not exist in this process
        self._call = None


def serve(line: Line) -> None:
    """Receive a function and its argument, call it, and send the result, until the parent is gone."""
    ours = os.getpid()
    while (message := line.receive()) is not None:
        kind, payload = _outcome(message.payload)
        if os.getpid() != ours:  # the function forked, and this is the other process
            return
        line.answer(kind, payload)


def _outcome(request: bytes) -> tuple[Kind, bytes]:
    """Make the call; a value that cannot be pickled is an error."""
    function = None
    try:
        function, argument = pickle.loads(request)  # noqa: S301 (only the parent process writes to this pipe)
        return Kind.VALUE, pickle.dumps(function(argument), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:  # whatever a codec raises, also SystemExit, is for the parent to judge
        with contextlib.suppress(BaseException):  # an exception may have a broken text
            log.exception("%s failed", getattr(function, "__name__", function))
        errno = error.errno if isinstance(error, OSError) and type(error.errno) is int else None
        return Kind.ERROR, json.dumps([type(error).__name__, _one_line(error), errno]).encode()


class _Progress(logging.Handler):
    """Sends the progress of a call to the parent, at most a few times a second."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line
        self._last_s = -math.inf

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() - self._last_s >= PROGRESS_PERIOD_S:
            self._last_s = time.monotonic()
            with contextlib.suppress(Exception):  # a wrong format; a parent that is gone, which serve() notices
                self._line.say(_shortened(record.getMessage()))


def _one_line(error: BaseException) -> str:
    text = "(an exception without a text)"
    with contextlib.suppress(Exception):
        text = str(error)
    return _shortened(" ".join(text.split()))


def _shortened(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fork_on_request(control: socket.socket) -> None:
    """Fork and reap workers on request, until the parent is gone.

    The answer to ``{"cores": ...}``, sent with a pipe and a log, is the process id of a new worker. The answer to
    ``{"reap": pid}`` is the exit code of that worker, negative for a signal.
    """
    template = os.getpid()
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(control, 4096, 2)
        except ConnectionResetError:  # the parent was killed before it read the last answer
            return
        if not message:
            return
        request = json.loads(message)
        if "reap" in request:
            try:
                answer = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
            except ChildProcessError:  # not, or no longer, a child of this process
                answer = -signal.SIGKILL
        else:
            answer = os.fork()
            if answer == 0:
                control.close()
                _become_worker(template, descriptors[0], descriptors[1], request["cores"])
            # The child does the same; whoever is first, nobody sees the worker without its own group.
            with contextlib.suppress(OSError):
                os.setpgid(answer, answer)
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            control.send(str(answer).encode())
        except BrokenPipeError:  # the parent was killed; the workers end with this process
            return


def _become_worker(template: int, pipe: int, output: int, cores: list[int] | None) -> None:
    """Serve calls and exit; never returns."""
    code = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _die_with_parent()
        if os.getppid() != template:  # the template died before _die_with_parent()
            return
        os.set_inheritable(pipe, False)  # otherwise a program that the codec leaves behind keeps the pipe open
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
    """Ask the kernel to kill this process when its parent dies, even of SIGKILL (Linux only)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


def main(argv: list[str]) -> int:
    """Run a template: import the given modules, then serve on the given socket until the socket closes.

    A template must not call `_die_with_parent`: for the kernel, the parent is the *thread* that started the process,
    and a template outlives that thread.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    plugins.import_directly()
    for module in argv[1:]:
        with contextlib.suppress(ImportError):  # a call that needs the module reports the reason
            importlib.import_module(module)
    fork_on_request(socket.socket(fileno=int(argv[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
