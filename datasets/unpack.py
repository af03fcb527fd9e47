"""Unpack archives safely: no path outside the folder, no links, no incomplete result, no archive that is a bomb.

Tar files, plain or with gzip, are what the datasets are published as; nothing else is opened. Unpacking is bounded
before bytes are written: by the free space, by a multiple of the size of the archive, and by a number of files.
"""

from __future__ import annotations

import errno
import gzip
import io
import posixpath
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from gcbench.errors import DownloadFailed

RATIO = 100
"""An archive may unpack to so many times its size. Meshes as text shrink to a fifth, or to a tenth at most."""

SMALL_BYTES = 64 << 20  # what any archive may unpack to, however small it is
RESERVE_BYTES = 64 << 20  # of the disk stay free
MEMBERS = 1_000_000  # of an archive and of the archives in it
_HEADER_BYTES = 1 << 20  # names and other fields of a member
_COPY_BYTES = 1 << 16
_INNER = (".tgz", ".tar.gz", ".tar")
_DEPTH = 2  # AMA has .tgz files inside a tar
_GZIP = b"\x1f\x8b"


class BadArchive(DownloadFailed):
    """An archive is broken, unsafe, or does not have the expected content; it is deleted."""


@contextmanager
def unpacked(archive: Path, beside: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[Path]:
    """Unpack the wanted files of an archive, and of archives in it, into a temporary folder that is removed at the end.

    Parameters
    ----------
    archive : Path
        A tar file, plain or with gzip.
    beside : Path
        An existing folder for the temporary folder, on the file system of the destination, so that the caller can
        rename the content into place in one step.
    wanted : callable
        Called with the path in the archive; False leaves the file out.

    Raises
    ------
    BadArchive
        The archive is broken, would put a file outside the folder or twice in one place, or unpacks to far more than
        its size.
    DownloadFailed
        The disk is full.
    """
    folder = Path(tempfile.mkdtemp(dir=beside, prefix=".unpacking-"))
    try:
        try:
            with archive.open("rb") as file:
                room = _Room(max(RATIO * archive.stat().st_size, SMALL_BYTES))
                _extract(file, folder, wanted, room, _DEPTH)
        except _Refused as error:
            raise BadArchive(f"{archive.name} is refused: {error}") from error
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadArchive(f"{archive.name} is not a readable archive: {error}") from error
        except (ValueError, OverflowError, RecursionError) as error:
            raise BadArchive(f"{archive.name} is not a readable archive: a field has an impossible value") from error
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DownloadFailed(f"the disk is full while unpacking {archive.name}; free some space") from error
            raise DownloadFailed(f"cannot unpack {archive.name}: {error.strerror or error}") from error
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Refused(Exception):
    """The archive is readable, and is not unpacked."""


@dataclass
class _Room:
    """What may still be unpacked of an archive and of the archives in it."""

    bytes_left: int
    members_left: int = MEMBERS

    def take(self, count: int) -> None:
        """Count bytes that decompression gives, needed or not, before it gives them."""
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise _Refused(f"it unpacks to more than {RATIO} times its size")

    def take_member(self, member: tarfile.TarInfo) -> None:
        self.members_left -= 1
        if self.members_left < 0:
            raise _Refused(f"it has more than {MEMBERS} members")
        if member.size < 0:
            raise _Refused("a member has a negative size")


class _Counted(io.RawIOBase):
    """A file that counts what is read against the room, and reads headers of a sane size only."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, room: _Room) -> None:
        self._file = file
        self._room = room
        self._furthest = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_BYTES:
            raise _Refused("a member has an enormous header")
        at = self._file.tell()
        self._count(at + size)
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation
        self._count(offset)
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def _count(self, until: int) -> None:
        if until > self._furthest:
            self._room.take(until - self._furthest)
            self._furthest = until


def _extract(file: IO[bytes], folder: Path, wanted: Callable[[PurePosixPath], bool], room: _Room, depth: int) -> None:
    packed = file.read(2) == _GZIP
    file.seek(0)
    opened = gzip.GzipFile(fileobj=file) if packed else file
    with tarfile.open(fileobj=_Counted(opened, room), mode="r:") as tar:
        for member in tar:
            room.take_member(member)
            tar.members = []  # type: ignore[attr-defined]  # nobody needs the list, which would only grow
            path = _inside(member)  # of unwanted members too: an archive with a bad one is not trusted at all
            if not member.isreg():
                continue
            inner = path.name.lower().endswith(_INNER) and depth > 1
            if not (inner or wanted(path)):
                continue
            content = tar.extractfile(member)
            assert content is not None
            if inner:
                _extract(content, _made(folder / path.parent, path), wanted, room, depth - 1)
            else:
                _write(content, folder, path, member.size)


def _inside(member: tarfile.TarInfo) -> PurePosixPath:
    """Path of a member below the folder. Raises _Refused for ``..``, devices and links that leave the folder.

    Debian 12 has a Python whose tarfile has no ``data_filter``.
    """
    path = PurePosixPath(member.name.lstrip("/"))
    if ".." in path.parts:
        raise _Refused(f"{member.name!r} would be outside of the folder")
    if member.issym() or member.islnk():
        target = posixpath.normpath(path.parent / member.linkname if member.issym() else member.linkname)
        if target.startswith(("/", "..")):
            raise _Refused(f"{member.name!r} links to {member.linkname!r}, outside of the folder")
    elif not (member.isreg() or member.isdir()):
        raise _Refused(f"{member.name!r} is a device or a pipe")
    return path


def _write(content: IO[bytes], folder: Path, path: PurePosixPath, size: int) -> None:
    """Copy a member; mode, times and owner of the archive are not kept."""
    if size + RESERVE_BYTES > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, "no space left")
    try:
        with (_made((folder / path).parent, path) / path.name).open("xb") as file:
            shutil.copyfileobj(content, file, _COPY_BYTES)
    except FileExistsError:
        raise _Refused(f"it holds {path} twice") from None


def _made(folder: Path, path: PurePosixPath) -> Path:
    """Make the folder of a member. Bytes that are no UTF-8 are not printable either."""
    if not str(path).isprintable():
        raise _Refused(f"the name {str(path)!a} has characters that no name should have")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _Refused(f"it holds a part of {path} twice: as a file and as a folder") from None
    return folder
