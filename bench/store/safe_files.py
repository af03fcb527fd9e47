"""Open, read and write files of a run that somebody else may have packed: links, pipes and devices are refused.

A run that comes from outside may hold a link with the name of a file of ours. Example: ``RUN/lock`` is a link to
``~/.bashrc``; a plain ``open`` would write into the user's file. Every function here opens without following links,
takes regular files only, and raises StoreError with the path and the reason for whatever the disk does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gcbench.errors import StoreError

#: The file that says that a folder is a run.
MARKER = "gcbench-run.json"
#: The file that says that a folder is a pack.
PACK_MARKER = "gcbench-pack.json"
_NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # without the last, opening a pipe waits for its other end
_LINK_ERRORS = {errno.ELOOP, errno.EMLINK}


def trouble(verb: str, path: Path, error: OSError | ValueError) -> StoreError:
    """The error for what the system says about a path. Example: ``cannot write to RUN: No space left on device``."""
    if isinstance(error, OSError) and error.errno in _LINK_ERRORS:
        return StoreError(f"cannot {verb} {path}: it is a link, and links in a run are not followed; remove it")
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StoreError(f"cannot {verb} {path}: {why}")


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file that is no link, and return its descriptor.

    A file that is opened for writing must have one name only: what is written to a hard link changes another file too.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    StoreError
        The path is a link, a folder, a pipe or a device, or the system refuses it.
    """
    writes = flags & (os.O_WRONLY | os.O_RDWR)
    verb = "write to" if writes else "read"
    try:
        fd = os.open(path, flags | _NOFOLLOW, 0o644)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise trouble(verb, path, error) from error
    found = os.fstat(fd)
    why = ""
    if not stat.S_ISREG(found.st_mode):
        why = f"it is a {kind_of(found.st_mode)}, not a file"
    elif writes and found.st_nlink > 1:
        why = "it is a hard link: another file would change with it; put a copy in its place"
    if why:
        os.close(fd)
        raise StoreError(f"cannot {verb} {path}: {why}")
    return fd


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file that is no link for reading; whatever the disk does meanwhile is a StoreError.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    StoreError
        See :func:`open_file`; or reading failed.
    """
    fd = open_file(path)
    with os.fdopen(fd, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise trouble("read", path, error) from error


def read_file(path: Path, most: int) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    StoreError
        See :func:`open_file`; or the file is larger.
    """
    with reading(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise StoreError(f"cannot read {path}: it has more than {most} bytes, the most that such a file may have")
    return data


def is_file(path: Path) -> bool:
    """Whether there is a regular file that is no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def require_folder(path: Path) -> None:
    """Raise StoreError if there is something at a path that is no folder, such as a link to one."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise trouble("use", path, error) from error
    if not stat.S_ISDIR(mode):
        raise StoreError(f"cannot use {path}: it is a {kind_of(mode)}, not a folder; remove it")


def require_folder_or_link(path: Path) -> None:
    """Raise StoreError if there is something at a path that is neither a folder nor a link to one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise StoreError(f"cannot use {path}: it is a link to nothing") from None
        return
    except (OSError, ValueError) as error:
        raise trouble("write to", path, error) from error
    if not stat.S_ISDIR(mode):
        raise StoreError(f"cannot use {path}: it is a {kind_of(mode)}, not a folder")


def make_folder(path: Path) -> None:
    """Make a folder, with those that it is in, unless it is there. Raises StoreError if that is impossible."""
    require_no_links(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise trouble("write to", path, error) from error


def write_file(path: Path, data: bytes) -> None:
    """Write a file in one step: it is whole or as it was before. A link at the path is replaced, not followed.

    Inside a run or a pack, no folder on the way may be a link. This is what every writer of a file in a run calls:
    reports, figures, experiments, decoded meshes.

    Raises
    ------
    StoreError
        The file cannot be written, or the path is a folder.
    """
    make_folder(path.parent)
    partial = path.with_name(f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        try:
            write_new(partial, data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise trouble("write", path, error) from error


def write_new(path: Path, data: bytes, *, to_disk: bool = True) -> None:
    """Write a file that does not exist yet. Raises OSError; what was written until then stays."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o644)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if to_disk:
            os.fsync(fd)
    finally:
        os.close(fd)


def require_no_links(path: Path) -> None:
    """Raise StoreError if a folder on the way from a run or a pack to a path inside of it is a link."""
    try:
        whole = path.absolute()
        for above in whole.parents:
            if is_file(above / MARKER) or is_file(above / PACK_MARKER):
                for one in (path_inside for path_inside in (whole, *whole.parents) if above in path_inside.parents):
                    require_folder(one)
                return
    except (OSError, ValueError) as error:
        raise trouble("use", path, error) from error


def remove_links(folder: Path) -> list[Path]:
    """Remove what is neither a regular file with one name nor a folder, at any depth, and return the paths.

    Only names in the folder are removed. The file or folder that a link leads to stays as it is.
    """
    removed: list[Path] = []
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            try:
                found = path.lstat()
                if stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1):
                    continue
                path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise trouble("remove", path, error) from error
            removed.append(path)
    return removed


def kind_of(mode: int) -> str:
    """What a path is, for a message."""
    kinds = {stat.S_ISLNK: "link", stat.S_ISDIR: "folder", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
    return next((name for test, name in kinds.items() if test(mode)), "file" if stat.S_ISREG(mode) else "device")
