"""The child's side of ``process.py``: receive a function and its argument, call it, send back what came of it.

Run as ``python -m gcbench.bench.worker FD CORES [MODULE ...]``. Knows nothing of cells; imports what it is told to.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

log = logging.getLogger("gcbench.worker")


def serve(pipe: Connection[Any, Any]) -> None:
    """Answer calls until the parent is gone."""
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


def _one_line(error: BaseException, limit: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, even of SIGKILL (Linux only)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


def main(argv: list[str]) -> int:
    """Serve on the given file descriptor and cores, after importing the given modules."""
    fd, cores, *preload = int(argv[0]), *argv[1:]
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    pipe: Connection[Any, Any] = Connection(fd)
    _die_with_parent()
    for module in preload:
        with contextlib.suppress(ImportError):  # the call that needs it says so, with its reason
            importlib.import_module(module)
    serve(pipe)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
