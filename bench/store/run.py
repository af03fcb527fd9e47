"""A run on disk: append-only files of codings and measurements, streams named by their hash, and provenance.

    RUN/gcbench-run.json     says that the folder is a run, and in which format
    RUN/codings.jsonl        one line for each finished coding
    RUN/measurements.jsonl   one line for each metric suite on each decoded mesh
    RUN/sessions.jsonl       two lines for each `bench run`: provenance at the start, totals at the end
    RUN/streams/ab/...       every stream, named by its SHA-256
    RUN/spool/               decoded meshes that wait to be measured; may be deleted
    RUN/work                 checkpoints of unfinished codings
    RUN/logs/                what workers print
    RUN/view-*.duckdb        the lines as tables, made from them (see `view.py`); may be deleted
    RUN/lock                 held by the one process that writes

A folder that is not empty and has no ``gcbench-run.json`` is not written to. Whatever the disk does while a run is read
or written is a StoreError, and links in a run are never followed (`safe_files.py`). A run may come from a stranger: a
line that holds anything but the values of :mod:`gcbench.bench.store.records` is left out with a warning.

A line is written with one ``write`` and one ``fsync``, after the streams that the line names are on disk. A process
that is killed loses only unfinished tasks. An incomplete last line is cut off when the run is next opened for writing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from gcbench import __version__, plain_text
from gcbench.bench.store import safe_files
from gcbench.bench.store.fields import LINE_BYTES, Text, Whole, read_line
from gcbench.bench.store.records import ERROR_CHARACTERS, Coding, Measurement
from gcbench.bench.store.results import Results, address
from gcbench.errors import BitstreamError, StoreError

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Raised when lines get a meaning that older readers would get wrong. New fields and new columns are no reason.
FORMAT = 1
#: Bytes of one stream. Where the size of a stream is recorded, that size counts.
STREAM_BYTES = 1 << 30

_LINES = ("codings.jsonl", "measurements.jsonl", "sessions.jsonl")
_FOLDERS = ("streams", "spool", "work", "logs")


@dataclass
class Run(Results):
    """A run folder, which need not exist yet; :meth:`writing` opens it for writing."""

    _lock: int | None = field(default=None, init=False, repr=False)
    _codings_fd: int | None = field(default=None, init=False, repr=False)
    _measurements_fd: int | None = field(default=None, init=False, repr=False)

    @property
    def exists(self) -> bool:
        """Whether the folder has results."""
        return safe_files.is_file(self.path / "codings.jsonl")

    @property
    def has_lines(self) -> bool:
        """Whether a coding or a measurement was kept."""
        files = (self.path / name for name in _LINES[:2])
        return any(safe_files.is_file(file) and file.lstat().st_size > 0 for file in files)

    def require_known_format(self) -> None:
        """Raise StoreError if a newer gcbench has written to the run, in a format that this one would misread."""
        marker = self._marker() or {}
        if (made := marker.get("format", FORMAT)) > FORMAT:
            raise StoreError(
                f"{self.path} was written by gcbench {marker.get('gcbench', '?')} in format {made}, and this is "
                f"gcbench {__version__}, which knows format {FORMAT}: update gcbench; the run is as it was"
            )

    def require_run(self) -> None:
        """Raise StoreError if the folder is neither a run nor empty: nothing may be written to it then."""
        safe_files.require_folder_or_link(self.path)
        if self._marker() is not None:
            return
        try:
            others = min((path.name for path in self.path.iterdir()), default=None)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise safe_files.trouble("read", self.path, error) from error
        if others is not None:
            raise StoreError(
                f"{self.path} is no run: it holds {others!r} and no {safe_files.MARKER}; name a new or an empty folder"
            )

    def _marker(self) -> dict[str, Any] | None:
        """What the marker says; None without a marker. An empty marker is one whose writing was cut short."""
        path = self.path / safe_files.MARKER
        try:
            text = safe_files.read_file(path, 10_000)
            found = read_line(text) if text else {}
            made, by = found.get("format", FORMAT), found.get("gcbench", "?")
            return {"format": Whole().take(made), "gcbench": Text().take(by)}
        except FileNotFoundError:
            return None
        except (ValueError, AttributeError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from None

    # Reading.

    def lines(self, name: str) -> Iterator[bytes]:
        """See :class:`Results`. Raises StoreError."""
        return _lines(self.path / name)

    def stream(self, sha256: str, size: int | None = None) -> bytes:
        """Read a stream of ``size`` bytes, if a coding says so; else of at most :data:`STREAM_BYTES`.

        Raises
        ------
        StoreError
            There is no such stream, or the file is a link or has another size.
        BitstreamError
            The bytes do not have the SHA-256 of the file name.
        """
        try:
            path = self._stream_path(sha256)
            for folder in (path.parent.parent, path.parent):
                safe_files.require_folder(folder)
            with safe_files.reading(path) as file:
                there = os.fstat(file.fileno()).st_size
                if there > (STREAM_BYTES if size is None else size):
                    most = f"at most {STREAM_BYTES} are possible" if size is None else f"its coding says {size}"
                    raise StoreError(f"the stream {sha256[:12]} in {self.path} has {there} bytes; {most}")
                data = file.read()
        except FileNotFoundError:
            raise StoreError(f"no stream {sha256[:12]} in {self.path}") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BitstreamError(f"stream {path} was changed after it was written")
        return data

    # Writing.

    def make(self) -> None:
        """Make the folder, and its marker. Raises StoreError if the folder is no run and holds something."""
        self.require_run()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                safe_files.write_new(self.path / safe_files.MARKER, _MARKER)
        except (OSError, ValueError) as error:
            raise safe_files.trouble("write to", self.path, error) from error

    def writing(self) -> Run:
        """Lock the run, cut off incomplete last lines, and open the files for appending; use as a context manager.

        Raises
        ------
        StoreError
            Another process is writing to this run, the folder is no run or cannot be written, or the run is by a
            newer gcbench.
        """
        self.make()
        self._lock = safe_files.open_file(self.path / "lock", os.O_RDWR | os.O_CREAT)
        try:
            self._hold()
            self._open()
        except OSError as error:
            self.__exit__()
            raise safe_files.trouble("write to", self.path, error) from error
        except StoreError:
            self.__exit__()
            raise
        return self

    def _hold(self) -> None:
        """Lock the run."""
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            holder = holder if holder.isdigit() else "unknown"
            raise StoreError(f"{self.path} is in use: process {holder} is writing to it; wait until it ends") from None
        if not self._marker_is_whole():
            safe_files.write_file(self.path / safe_files.MARKER, _MARKER)
        self.require_known_format()
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def _marker_is_whole(self) -> bool:
        return bool(safe_files.read_file(self.path / safe_files.MARKER, 10_000))

    def _open(self) -> None:
        """Remove what killed processes have left, and open the files for appending."""
        for name in _FOLDERS:
            safe_files.require_folder(self.path / name)
            if name == "streams":  # may be large; every stream is looked at when it is read or written
                continue
            for path in safe_files.remove_links(self.path / name):
                log.warning("%s was a link, a pipe or a device, which a run cannot hold; it was removed", path)
        for name in _LINES:
            _cut_torn_line(self.path / name)
        for partial in self.path.glob("streams/*/*.partial"):  # left behind by a killed process
            safe_files.require_folder(partial.parent)
            partial.unlink(missing_ok=True)
        self._codings_fd = _open_append(self.path / "codings.jsonl")
        self._measurements_fd = _open_append(self.path / "measurements.jsonl")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._codings_fd, self._measurements_fd, self._lock):
            if fd is not None:
                os.close(fd)
        self._codings_fd = self._measurements_fd = self._lock = None

    def keep(
        self,
        session: str,
        codings: Sequence[Coding] = (),
        streams: Sequence[bytes] = (),
        measurements: Sequence[Measurement] = (),
    ) -> None:
        """Append results: streams first, then codings, then measurements; on disk when this returns.

        Raises
        ------
        StoreError
            The disk is full or failing. Earlier results are safe.
        """
        assert self._codings_fd is not None, "keep() needs writing()"
        assert self._measurements_fd is not None
        try:
            for stream in streams:
                self._keep_stream(stream)
            of_session = [replace(c, session=session, error=_cut(c.error)) for c in codings]
            _write_lines(self._codings_fd, [c.to_json() for c in of_session])
            measured = [replace(m, session=session, error=_cut(m.error)) for m in measurements]
            _write_lines(self._measurements_fd, [m.to_json() for m in measured])
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.path}: {error.strerror}; finished results are kept, the same command resumes"
            ) from error

    def note(self, session: str, **facts: Any) -> None:
        """Append facts about an invocation to ``sessions.jsonl``."""
        try:
            fd = _open_append(self.path / "sessions.jsonl")
            try:
                _write_lines(fd, [{"session": session, **facts}])
            finally:
                os.close(fd)
        except OSError as error:
            raise safe_files.trouble("write to", self.path, error) from error

    def adopt(self, other: Run) -> int:
        """Append the codings and measurements of another run that this run lacks, with their streams and sessions.

        If the runs have a coding of the same thing by different versions of a codec, the appended coding counts.

        Returns
        -------
        int
            Codings that were appended.

        Raises
        ------
        StoreError, BitstreamError
            A stream of the other run is missing or was changed, or the disk is full. Repeat the call to go on.
        """
        known = {session["session"] for session in self.sessions()}
        theirs = other.sessions()
        for facts in theirs:
            if facts["session"] not in known:
                self.note(**facts)
        # A success replaces a failure here: a limit that one machine exceeded says nothing about another machine.
        here = {(coding.key, *address(coding)) for coding in self.codings() if coding.status in {"ok", "bad-input"}}
        failed = {(coding.key, *address(coding)) for coding in self.codings()} - here
        adopted = 0
        for coding in _last(other.codings(), lambda coding: (coding.key, *address(coding))):
            name = (coding.key, *address(coding))
            if name not in here and not (name in failed and coding.status != "ok"):
                self.keep(
                    coding.session, [coding], [other.stream(name, coding.stream_bytes) for name in coding.streams]
                )
                adopted += 1
        measured = {measurement.key for measurement in self.measurements()}
        for measurement in _last(other.measurements(), lambda measurement: measurement.key):
            if measurement.key not in measured:
                self.keep(measurement.session, measurements=[measurement])
        there, here_now = other.made(), self.made()
        for facts in theirs:  # lines that stay under a session of this run: `bench verify` would miss them otherwise
            session = facts["session"]
            elsewhere = {
                f"{what}_elsewhere": lines[session] - here_now[what][session] + facts.get(f"{what}_elsewhere", 0)
                for what, lines in there.items()
                if lines[session] > here_now[what][session]
            }
            if elsewhere:
                self.note(session, **elsewhere)
        return adopted

    def _keep_stream(self, stream: bytes) -> None:
        path = self._stream_path(hashlib.sha256(stream).hexdigest())
        for folder in (path.parent.parent, path.parent):
            safe_files.require_folder(folder)
        # A power cut can leave a file with the right name and size and wrong bytes, so compare the bytes. A link is
        # replaced by the stream.
        same_size = safe_files.is_file(path) and path.lstat().st_size == len(stream)
        if same_size and safe_files.read_file(path, len(stream)) == stream:
            return
        new = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            partial.unlink(missing_ok=True)
            safe_files.write_new(partial, stream)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        # The entry of the file, and of a new folder, must be on disk before a line names the stream.
        _sync_folder(path.parent)
        if new:
            _sync_folder(path.parent.parent)
            _sync_folder(self.path)

    def _stream_path(self, sha256: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise StoreError(f"a stream has a name of 64 hexadecimal digits, not {sha256[:80]!r}")
        return self.path / "streams" / sha256[:2] / sha256


def _last(values: Iterable[T], name: Callable[[T], Hashable]) -> list[T]:
    """The last of the values with the same name, in the order of their last occurrence."""
    last: dict[Hashable, T] = {}
    for value in values:
        last.pop(name(value), None)
        last[name(value)] = value
    return list(last.values())


_MARKER = json.dumps({"format": FORMAT, "gcbench": __version__}).encode() + b"\n"


def _cut(error: str | None) -> str | None:
    """A reason of a length that a line may have."""
    return None if error is None else plain_text.visible(error, "\n\t")[:ERROR_CHARACTERS]


def _lines(path: Path) -> Iterator[bytes]:
    """Complete lines; text after the last newline is still being written, or was cut short by a kill.

    Of a line that is too long, only a part is read, which is itself too long.
    """
    try:
        with safe_files.reading(path) as file:
            while (line := file.readline(LINE_BYTES + 1)).endswith(b"\n") or len(line) > LINE_BYTES:
                end = line
                while end and not end.endswith(b"\n"):
                    end = file.readline(1 << 20)
                if not end:
                    return
                yield line
    except FileNotFoundError:
        return


def _open_append(path: Path) -> int:
    return safe_files.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _write_lines(fd: int, values: Sequence[Mapping[str, Any]]) -> None:
    """Append all lines or none: if the disk fills up, the file is cut back to its old size."""
    if not values:
        return
    data = "".join(json.dumps(value) + "\n" for value in values).encode()
    before = os.fstat(fd).st_size
    try:
        written = os.write(fd, data)
        while written < len(data):
            written += os.write(fd, data[written:])
        os.fsync(fd)
    except OSError:
        with contextlib.suppress(OSError):  # an incomplete line is cut off at the next opening
            os.ftruncate(fd, before)
        raise


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _cut_torn_line(path: Path) -> None:
    try:
        fd = safe_files.open_file(path, os.O_RDWR)
    except FileNotFoundError:
        return
    with os.fdopen(fd, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        block = 1 << 16  # walk back to the last newline
        while keep > 0:
            start = max(0, keep - block)
            file.seek(start)
            newline = file.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < end:
            log.warning(
                "%s ends in an incomplete line (%d bytes), which is cut off; its task runs again", path, end - keep
            )
            file.truncate(keep)
            os.fsync(file.fileno())
