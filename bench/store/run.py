"""A run on disk: append-only records, content-addressed streams, one line of provenance per invocation.

    RUN/records.jsonl     one line per finished cell: {"key", "session", "records": [...]}
    RUN/sessions.jsonl    one line per `bench run`: provenance, and one when it ends
    RUN/streams/ab/...    every stream, named by its SHA-256
    RUN/logs/             what workers printed
    RUN/lock              held by the one process that writes

A line is written with one ``write`` and one ``fsync``, after the streams it names are on disk. So a process that is
killed at any moment loses the cell in flight at most; a torn last line is cut off when the run is next opened.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcbench.bench.store.records import Record
from gcbench.errors import BitstreamError, StoreError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellRecords:
    """The records of one finished cell, as kept."""

    key: str
    session: str
    records: tuple[Record, ...]


@dataclass
class Run:
    """A run folder, for reading; :meth:`writing` opens it for writing.

    Parameters
    ----------
    path : Path
        The folder. It need not exist yet.
    """

    path: Path
    _lock: int | None = field(default=None, init=False, repr=False)
    _records_fd: int | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether anything was ever recorded here."""
        return (self.path / "records.jsonl").exists()

    # Reading.

    def cells(self) -> Iterator[CellRecords]:
        """Every finished cell in the order of finishing; unreadable lines are logged and skipped, never fatal."""
        for number, line in enumerate(_lines(self.path / "records.jsonl"), start=1):
            try:
                data = json.loads(line)
                records = tuple(Record.from_json(r) for r in data["records"])
                yield CellRecords(data["key"], data["session"], records)
            except (ValueError, KeyError, TypeError) as error:
                log.warning("%s line %d is unreadable and is ignored (%s)", self.path / "records.jsonl", number, error)

    def records(self) -> list[Record]:
        """The records that count, sorted.

        Of several cells for the same mesh (of a set codec: for the same set's name), codec, rate, effort, seed and
        device, the last one counts, as a whole.
        """
        counting = self.counting().values()
        return sorted((record for cell in counting for record in cell.records), key=_order)

    def counting(self) -> dict[tuple[Any, ...], CellRecords]:
        """The cells that count, by what they stand for."""
        return {_address(cell): cell for cell in self.cells() if cell.records}

    def sessions(self) -> list[dict[str, Any]]:
        """Provenance of every invocation, oldest first; ``finished`` is absent for one that was killed."""
        sessions: dict[str, dict[str, Any]] = {}
        for line in _lines(self.path / "sessions.jsonl"):
            try:
                data = json.loads(line)
                sessions.setdefault(data["session"], {}).update(data)
            except (ValueError, KeyError, TypeError):
                log.warning("a line of %s is unreadable and is ignored", self.path / "sessions.jsonl")
        return list(sessions.values())

    def stream(self, sha256: str) -> bytes:
        """Read a kept stream and check it against its name.

        Raises
        ------
        StoreError
            No such stream.
        BitstreamError
            Its bytes do not have the hash of its name.
        """
        path = self._stream_path(sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(f"no stream {sha256[:12]} in {self.path}: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BitstreamError(f"stream {path} was changed after it was written")
        return data

    # Writing.

    def writing(self) -> Run:
        """Lock the run, mend a torn last line, and get ready to append; use as a context manager.

        Raises
        ------
        StoreError
            Another process is writing to this run, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"cannot write to {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            self._lock = None
            raise StoreError(f"{self.path} is being written by another bench (process {holder}); wait for it") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        for name in ("records.jsonl", "sessions.jsonl"):
            _cut_torn_line(self.path / name)
        for partial in self.path.glob("streams/*/*.partial"):  # of a run that was killed
            partial.unlink(missing_ok=True)
        self._records_fd = _open_append(self.path / "records.jsonl")
        return self

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._records_fd, self._lock):
            if fd is not None:
                os.close(fd)
        self._records_fd = self._lock = None

    def append(self, key: str, session: str, records: Sequence[Record], streams: Sequence[bytes] = ()) -> None:
        """Keep one finished cell: its streams first, then one line; on disk when this returns.

        Raises
        ------
        StoreError
            The disk is full or failing; everything appended before is safe.
        """
        assert self._records_fd is not None, "append() needs writing()"
        line = json.dumps({"key": key, "session": session, "records": [r.to_json() for r in records]})
        try:
            for stream in streams:
                self._keep(stream)
            _write_line(self._records_fd, line)
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.path}: {error.strerror}; what was finished is kept, the same command resumes"
            ) from error

    def note(self, session: str, **facts: Any) -> None:
        """Append facts about an invocation to ``sessions.jsonl``."""
        try:
            fd = _open_append(self.path / "sessions.jsonl")
            try:
                _write_line(fd, json.dumps({"session": session, **facts}))
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreError(f"cannot write to {self.path}: {error.strerror}") from error

    def adopt(self, other: Run) -> int:
        """Append the cells of another run that are not here, with their streams and sessions.

        Where both have a coding, but by different versions of a codec or of different meshes, the adopted one counts.

        Returns
        -------
        int
            Cells that were not here.

        Raises
        ------
        StoreError, BitstreamError
            A stream of the other run is missing or was changed, or the disk is full; what was appended before is
            safe, and the same call goes on.
        """
        known = {session["session"] for session in self.sessions()}
        theirs = {facts["session"]: facts for facts in other.sessions()}
        for session, facts in theirs.items():
            if session not in known:
                self.note(**facts)
        here: dict[str, set[str]] = {}  # key → sessions
        for cell in self.cells():
            here.setdefault(cell.key, set()).add(cell.session)
        adopted = 0
        twice: dict[str, set[str]] = {}  # session → keys that came from another one
        for cell in other.cells():
            if cell.key in here:
                if cell.session not in here[cell.key]:
                    twice.setdefault(cell.session, set()).add(cell.key)
                continue
            names = dict.fromkeys(r.stream_sha256 for r in cell.records if r.stream_sha256)
            self.append(cell.key, cell.session, cell.records, [other.stream(name) for name in names])
            here[cell.key] = {cell.session}
            adopted += 1
        for session, keys in twice.items():  # else it would seem to have lost them
            self.note(session, cells_twice=len(keys) + theirs.get(session, {}).get("cells_twice", 0))
        return adopted

    def _keep(self, stream: bytes) -> None:
        path = self._stream_path(hashlib.sha256(stream).hexdigest())
        # A file of the right name and size may still be torn by a power cut, so compare the bytes: they are small.
        if path.exists() and path.read_bytes() == stream:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(stream)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _stream_path(self, sha256: str) -> Path:
        return self.path / "streams" / sha256[:2] / sha256


def _address(cell: CellRecords) -> tuple[Any, ...]:
    """What a cell stands for, whatever the version of the codec and the content of the mesh were."""
    r = cell.records[0]
    mesh = r.mesh if r.kind == "model" else None
    return (r.dataset, r.split, r.codec, r.rate, mesh, r.effort, r.seed, r.timing, r.device)


def _order(r: Record) -> tuple[Any, ...]:
    return (r.dataset, r.split, r.codec, r.rate_index, r.rate, r.mesh, r.effort, r.seed, r.timing, r.device)


def _lines(path: Path) -> Iterator[bytes]:
    """Complete lines only: what follows the last newline is a line being written, or a torn one."""
    try:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line
    except FileNotFoundError:
        return


def _open_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def _write_line(fd: int, line: str) -> None:
    """Append a line whole or not at all: after a short write (full disk) the torn end is taken back."""
    data = line.encode() + b"\n"
    before = os.fstat(fd).st_size
    try:
        written = os.write(fd, data)
        while written < len(data):
            written += os.write(fd, data[written:])
    except OSError:
        os.ftruncate(fd, before)
        raise
    os.fsync(fd)


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        # Walk back to the last newline; a line is a few hundred kilobytes at most.
        block = 1 << 16
        while keep > 0:
            start = max(0, keep - block)
            file.seek(start)
            newline = file.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < end:
            log.warning("%s ended in a torn line (%d bytes), which is cut off: its cell runs again", path, end - keep)
            file.truncate(keep)
            os.fsync(file.fileno())
