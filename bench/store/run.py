"""A run on disk: append-only files of codings and measurements, streams named by their hash, and provenance.

    RUN/codings.jsonl        one line for each finished coding
    RUN/measurements.jsonl   one line for each metric suite on each decoded mesh
    RUN/sessions.jsonl       two lines for each `bench run`: provenance at the start, totals at the end
    RUN/streams/ab/...       every stream, named by its SHA-256
    RUN/spool/               decoded meshes that wait to be measured; may be deleted
    RUN/work/                checkpoints of unfinished codings
    RUN/logs/                what workers print
    RUN/view.duckdb          the lines as tables, made from them (see `view.py`); may be deleted
    RUN/lock                 held by the one process that writes

A line is written with one ``write`` and one ``fsync``, after the streams that the line names are on disk. A process
that is killed loses only unfinished tasks. An incomplete last line is cut off when the run is next opened for writing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from gcbench import __version__
from gcbench.bench.store.records import Coding, Measurement, Record, records_of
from gcbench.errors import BitstreamError, StoreError

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Raised when lines get a meaning that older readers would get wrong. New fields and new columns are no reason.
FORMAT = 1


@dataclass
class Run:
    """A run folder, which need not exist yet; :meth:`writing` opens it for writing."""

    path: Path
    _lock: int | None = field(default=None, init=False, repr=False)
    _codings_fd: int | None = field(default=None, init=False, repr=False)
    _measurements_fd: int | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether the folder has results."""
        return (self.path / "codings.jsonl").exists()

    def require_known_format(self) -> None:
        """Raise StoreError if a newer gcbench has written to the run, in a format that this one would misread."""
        newest = max(self.sessions(), key=_format, default={})
        if (made := _format(newest)) > FORMAT:
            raise StoreError(
                f"{self.path} was written by gcbench {newest.get('gcbench', '?')} in format {made}, and this is "
                f"gcbench {__version__}, which knows format {FORMAT}: update gcbench; the run is as it was"
            )

    # Reading.

    def codings(self) -> Iterator[Coding]:
        """Every coding, oldest first; unreadable lines are logged and skipped."""
        return self._parsed("codings.jsonl", Coding.from_json)

    def codings_at(self, lines: Collection[int]) -> dict[int, Coding]:
        """Codings by the numbers of their lines, which begin with 1."""
        texts = enumerate(_lines(self.path / "codings.jsonl"), start=1)
        return {number: Coding.from_json(json.loads(text)) for number, text in texts if number in lines}

    def measurements(self) -> Iterator[Measurement]:
        """Every measurement, oldest first; unreadable lines are logged and skipped."""
        return self._parsed("measurements.jsonl", Measurement.from_json)

    def counting(self) -> list[Coding]:
        """The last coding of each mesh (or set) by each codec address, rate, effort, seed, device and kind of pass.

        Earlier codings of the same thing, such as those by an older version of the codec, are left out.
        """
        return list({_address(coding): coding for coding in self.codings() if coding.meshes}.values())

    def records(self, codings: Sequence[Coding] | None = None) -> list[Record]:
        """Join codings (default: :meth:`counting`) with the last measurement by each suite; sorted."""
        chosen = self.counting() if codings is None else codings
        measured: dict[tuple[Any, ...], dict[str, Measurement]] = {}
        for m in self.measurements():
            decoder = (m.codec, m.decoder_version)
            measured.setdefault((m.stream, m.place, m.input, m.seed, *decoder), {})[m.suite] = m
        records: list[Record] = []
        for coding in chosen:
            by_place: dict[int, Mapping[str, Measurement]] = {}
            if coding.streams and coding.timing is None:
                decoder = (coding.codec.partition("[")[0], coding.codec_version)
                for place, mesh in enumerate(coding.coded):
                    key = (coding.streams[0], place, mesh.input_sha256, coding.seed, *decoder)
                    by_place[place] = measured.get(key, {})
            records += records_of(coding, by_place)
        return sorted(records, key=_order)

    def sessions(self) -> list[dict[str, Any]]:
        """Provenance of every invocation, oldest first; a killed invocation has no ``finished``."""
        sessions: dict[str, dict[str, Any]] = {}
        for line in _lines(self.path / "sessions.jsonl"):
            try:
                data = json.loads(line)
                sessions.setdefault(data["session"], {}).update(data)
            except (ValueError, KeyError, TypeError):
                log.warning("a line of %s is unreadable and is ignored", self.path / "sessions.jsonl")
        return list(sessions.values())

    def stream(self, sha256: str) -> bytes:
        """Read a stream.

        Raises
        ------
        StoreError
            There is no such stream.
        BitstreamError
            The bytes do not have the SHA-256 of the file name.
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
        """Lock the run, cut off incomplete last lines, and open the files for appending; use as a context manager.

        Raises
        ------
        StoreError
            Another process is writing to this run, the folder cannot be written, or the run is by a newer gcbench.
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
            raise StoreError(f"{self.path} is in use: process {holder} is writing to it; wait until it ends") from None
        try:
            self.require_known_format()
        except StoreError:
            self.__exit__()
            raise
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        for name in ("codings.jsonl", "measurements.jsonl", "sessions.jsonl"):
            _cut_torn_line(self.path / name)
        for partial in self.path.glob("streams/*/*.partial"):  # left behind by a killed process
            partial.unlink(missing_ok=True)
        self._codings_fd = _open_append(self.path / "codings.jsonl")
        self._measurements_fd = _open_append(self.path / "measurements.jsonl")
        return self

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
            _write_lines(self._codings_fd, [replace(c, session=session).to_json() for c in codings])
            _write_lines(self._measurements_fd, [replace(m, session=session).to_json() for m in measurements])
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
            raise StoreError(f"cannot write to {self.path}: {error.strerror}") from error

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
        here = {(coding.key, *_address(coding)) for coding in self.codings() if coding.status in {"ok", "bad-input"}}
        failed = {(coding.key, *_address(coding)) for coding in self.codings()} - here
        adopted = 0
        for coding in _last(other.codings(), lambda coding: (coding.key, *_address(coding))):
            name = (coding.key, *_address(coding))
            if name not in here and not (name in failed and coding.status != "ok"):
                self.keep(coding.session, [coding], [other.stream(name) for name in coding.streams])
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

    def made(self) -> dict[str, Counter[str]]:
        """Lines of each session, to compare with its own counts ``coded`` and ``measured``."""
        return {
            "coded": Counter(coding.session for coding in self.codings() if coding.status != "bad-input"),
            "measured": Counter(measurement.session for measurement in self.measurements()),
        }

    def _parsed(self, name: str, parse: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
        for number, line in enumerate(_lines(self.path / name), start=1):
            try:
                yield parse(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                log.warning("%s line %d is unreadable and is ignored (%s)", self.path / name, number, error)

    def _keep_stream(self, stream: bytes) -> None:
        path = self._stream_path(hashlib.sha256(stream).hexdigest())
        # A power cut can leave a file with the right name and size and wrong bytes, so compare the bytes.
        if path.exists() and path.read_bytes() == stream:
            return
        new = not path.parent.exists()
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
        # The entry of the file, and of a new folder, must be on disk before a line names the stream.
        _sync_folder(path.parent)
        if new:
            _sync_folder(path.parent.parent)
            _sync_folder(self.path)

    def _stream_path(self, sha256: str) -> Path:
        return self.path / "streams" / sha256[:2] / sha256


def _last(values: Iterable[T], name: Callable[[T], Hashable]) -> list[T]:
    """The last of the values with the same name, in the order of their last occurrence."""
    last: dict[Hashable, T] = {}
    for value in values:
        last.pop(name(value), None)
        last[name(value)] = value
    return list(last.values())


def _address(c: Coding) -> tuple[Any, ...]:
    """Names what was coded and how, without the version of the codec and the content of the mesh."""
    mesh = c.meshes[0].mesh if c.kind == "model" else None
    return (c.dataset, c.split, c.codec, c.rate, mesh, c.effort, c.seed, c.timing, c.device)


def _format(session: Mapping[str, Any]) -> int:
    found = session.get("format", FORMAT)
    return found if isinstance(found, int) else FORMAT


def _order(r: Record) -> tuple[Any, ...]:
    return (r.dataset, r.split, r.codec, r.rate_index, r.rate, r.mesh, r.effort, r.seed, r.timing, r.device)


def _lines(path: Path) -> Iterator[bytes]:
    """Complete lines; text after the last newline is still being written, or was cut short by a kill."""
    try:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line
    except FileNotFoundError:
        return


def _open_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


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
    except OSError:
        os.ftruncate(fd, before)
        raise
    os.fsync(fd)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
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
