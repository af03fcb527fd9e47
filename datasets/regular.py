"""Open mesh files, and nothing else: a pipe would wait for ever, a device has no end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gcbench.errors import BadMesh


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    Raises
    ------
    BadMesh
        The path is a folder, a pipe, a socket or a device, or a link to nothing.
    OSError
        There is nothing at the path, or the system refuses it.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        if (why := irregular(path)) is not None:
            raise BadMesh(why) from None
        raise
    if (why := _kind(os.fstat(fd).st_mode)) is not None:
        os.close(fd)
        raise BadMesh(why)
    return os.fdopen(fd, "rb")


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file. Raises as :func:`open_regular`."""
    with open_regular(path) as file:
        return file.read()


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False also for a name that is too long, for which `Path.is_dir` raises."""
    return _has(path, stat.S_ISDIR)


def is_file(path: Path) -> bool:
    """Whether there is a regular file; False also for a name that is too long."""
    return _has(path, stat.S_ISREG)


def irregular(path: Path) -> str | None:
    """Why a path is no file that can be read; None for a regular file, and for a path where there is nothing."""
    try:
        return _kind(path.stat().st_mode)
    except OSError:
        if not path.is_symlink():
            return None
        return f"is a link to {path.readlink()}, where there is no file"


def _has(path: Path, test: Callable[[int], bool]) -> bool:
    try:
        return test(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a name with the character 0
        return False


def _kind(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_ISDIR: "folder", stat.S_ISFIFO: "named pipe", stat.S_ISSOCK: "socket"}
    return f"is a {next((name for test, name in kinds.items() if test(mode)), 'device')}, not a file"
