"""Imported first by the tests and their workers: of processes that need one kernel at a time, one compiles it.

A clean clone has nothing compiled. The processes of three pytest workers would compile the same kernels at the same
time; now the first one compiles, and the others wait and load what it has put into numba's cache.
"""

import threading
from contextlib import contextmanager
from pathlib import Path

from numba.core.caching import NullCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

try:
    import fcntl
except ImportError:  # not on Windows, where all of them compile
    fcntl = None

_compile = Dispatcher.compile
_held = threading.local()


@contextmanager
def _turn(file: str):
    """Hold the lock of a source file, once for each thread: a kernel compiles those that it calls."""
    held = _held.__dict__.setdefault("files", set())
    if fcntl is None or file in held:
        yield
        return
    with Path(file).open("rb") as source:
        fcntl.flock(source, fcntl.LOCK_EX)
        held.add(file)
        try:
            yield
        finally:
            held.remove(file)


def _compile_once(self, sig):
    if isinstance(self._cache, NullCache):
        return _compile(self, sig)
    # In this order everywhere: a thread that holds a file never waits for numba's own lock.
    with global_compiler_lock, _turn(self.py_func.__code__.co_filename):
        return _compile(self, sig)


Dispatcher.compile = _compile_once
