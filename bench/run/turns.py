"""Turns at the first preparation of a codec: it compiles loops and keeps them in files, which others then only load."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class FirstAlone:
    """The first ``with`` block of a name runs alone; blocks that wait for it, and later ones, run side by side.

    After an installation nothing is compiled. Without turns, all workers would compile the same loops at the same time:
    half a minute of CPU for some codecs, in four processes with two slots.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._ended: set[str] = set()

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait while the first block of this name runs. If that block fails, nobody else has to run alone."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._ended:
                try:
                    yield
                finally:
                    self._ended.add(name)
                return
        yield
