"""A process and its descendants seen from another process: their resident memory, and whether one has ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree_rss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, in bytes; 0 if the process is gone."""
    total = 0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError, ValueError, IndexError):  # the process may end meanwhile
            total += int(Path(f"/proc/{one}/statm").read_bytes().split()[1]) * _PAGE
    return total or _portable_tree_rss_bytes(pid)


def descendants(pid: int) -> Iterator[int]:
    """Process ids of all descendants of a process; none on systems without /proc."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_bytes().split():
                    yield int(child)
                    yield from descendants(int(child))


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and waits to be reaped; False on systems without /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}
    except (OSError, IndexError):
        return False


def _portable_tree_rss_bytes(pid: int) -> int:
    """`tree_rss_bytes` for systems without /proc; slower, since psutil looks at every process."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0
