"""What every command does when it is told to stop: the same for Ctrl-C and for SIGTERM. Knows no command."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

INTERRUPTED = 130  # exit code, as shells have it for SIGINT


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Treat SIGTERM (a batch system, a container) like Ctrl-C: stop cleanly, workers and temporary folders gone."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
