"""Ctrl-C for command lines: no import loses it, and no traceback shows at start-up or at the end.

Packages have a bare ``except:`` around imports (trimesh has dozens): a KeyboardInterrupt raised there vanishes.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C or SIGTERM ended, as shells have it for SIGINT."""

PATIENCE_S = 1.0
"""An import that goes on for longer than this after Ctrl-C is not waited for: the process ends."""

_LOOK_AGAIN_S = 0.02
_IMPORTING = "<frozen importlib._bootstrap>"  # the file of every frame that imports
_MAIN = {"<module>", "_run_module_as_main"}  # the outermost frame of a script, and of ``python -m``


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM (of a batch system or a container) a KeyboardInterrupt in the main thread.

    If a module is being imported, KeyboardInterrupt comes after the import. SIGINT keeps this handler afterwards, so
    that Ctrl-C while the interpreter ends gives no traceback. A signal that is ignored, as in a background job of a
    shell, stays ignored.
    """
    # Runs last. Then the interpreter takes its modules apart, for up to half a second, and would die of the signal.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    handler = _Handler()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    for number, was in before.items():
        if was is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before[signal.SIGALRM])
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])
        if handler.waits:
            raise KeyboardInterrupt


class _Handler:
    """The handler of signals; SIGALRM calls it again while an import lasts."""

    def __init__(self) -> None:
        self._since_s: float | None = None  # when the signal came that waits for an import

    @property
    def waits(self) -> bool:
        """Whether a signal came during an import, and KeyboardInterrupt was not raised yet."""
        return self._since_s is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGALRM and not self.waits:
            return
        importing, ending = _stage(frame)
        if ending:
            _end()
        if not importing:
            self._since_s = None
            raise KeyboardInterrupt
        now = time.monotonic()
        self._since_s = self._since_s or now
        if now - self._since_s > PATIENCE_S:
            _end()
        signal.setitimer(signal.ITIMER_REAL, _LOOK_AGAIN_S)


def _stage(frame: FrameType | None) -> tuple[bool, bool]:
    """Whether a module is being imported, and whether the interpreter is ending."""
    importing, outermost = False, ""
    while frame is not None:
        importing = importing or frame.f_code.co_filename == _IMPORTING
        outermost = frame.f_code.co_name
        frame = frame.f_back
    return importing, outermost not in _MAIN


def _end() -> NoReturn:
    """End at once: workers and templates end when the pipes of this process close."""
    with contextlib.suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"interrupted\n")
    os._exit(INTERRUPTED)
