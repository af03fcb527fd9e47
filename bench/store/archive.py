"""An archive of streams: a ZIP file beside a pack, whose members are streams, named by their SHA-256.

Streams do not compress, so they are stored as they are. The same streams give the same bytes. An archive may come from
a stranger: a member is read only if it is stored, and not larger than the pack says; its hash is checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gcbench.bench.store import safe_files
from gcbench.bench.store.pack import Streams
from gcbench.bench.store.run import STREAM_BYTES, Run
from gcbench.errors import BitstreamError, StoreError

_ERRORS = (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, struct.error, OverflowError)


class StreamArchive:
    """The streams in a ZIP file.

    Raises
    ------
    StoreError
        The file cannot be read, or is no ZIP file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._opened() as archive:
            self._members = {member.filename: member for member in archive.infolist()}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._members

    def stream(self, sha256: str, size: int | None = None) -> bytes:
        """Read a stream of ``size`` bytes, if a coding says so.

        Raises
        ------
        StoreError
            There is no such member, it is compressed, or it has another size.
        BitstreamError
            The bytes do not have this SHA-256.
        """
        member = self._members.get(sha256)
        if member is None:
            raise StoreError(f"no stream {sha256[:12]} in {self._path}")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise StoreError(f"the stream {sha256[:12]} in {self._path} is compressed or encrypted; streams are stored")
        most = STREAM_BYTES if size is None else size
        if member.file_size > most:
            raise StoreError(f"the stream {sha256[:12]} in {self._path} has {member.file_size} bytes, not {most}")
        with self._opened() as archive:
            data = archive.read(member)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BitstreamError(f"the stream {sha256[:12]} in {self._path} was changed after it was written")
        return data

    @contextlib.contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with safe_files.reading(self._path) as file, zipfile.ZipFile(file) as archive:
                yield archive
        except FileNotFoundError:
            raise StoreError(f"no archive of streams at {self._path}") from None
        except _ERRORS as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise StoreError(f"cannot read the archive {self._path}: {why}") from None


def open_streams(path: Path) -> Streams:
    """The streams of an archive, or of a run folder. Raises StoreError if there is neither."""
    return Run(path) if path.is_dir() else StreamArchive(path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file. Raises StoreError or FileNotFoundError."""
    with safe_files.reading(path) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_archive(path: Path, streams: Iterable[str], read: Callable[[str], bytes]) -> tuple[str, int]:
    """Write an archive; return its SHA-256 and its size in bytes.

    Parameters
    ----------
    path : Path
        A file that is there is replaced.
    streams : iterable of str
        SHA-256 of each stream.
    read : callable
        Gives the bytes of a stream. Its errors pass through.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    safe_files.make_folder(path.parent)
    partial = path.with_name(f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        try:
            with partial.open("xb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for sha256 in sorted(set(streams)):
                    member = zipfile.ZipInfo(sha256, (1980, 1, 1, 0, 0, 0))  # no time of today
                    member.external_attr = 0o644 << 16
                    archive.writestr(member, read(sha256))
            found, size = file_sha256(partial), partial.stat().st_size
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise safe_files.trouble("write", path, error) from error
    return found, size
