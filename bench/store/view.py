"""The columnar view of a run: ``RUN/view-*.duckdb``, the tables of :mod:`gcbench.bench.store.line_tables` on disk.

The lines of the run are the truth, and the view is made from them. The view says how many bytes of ``codings.jsonl``
and ``measurements.jsonl`` it covers, and their SHA-256. Only bytes after those are parsed. If the covered bytes were
changed, if the view is damaged, or if other code made the view, then the view is made again. It can be deleted at any
time, and it is not needed: where the folder cannot be written, the tables are made in a temporary folder. Runs of a
few megabytes have no view.

The covered bytes are not hashed again while the size, the inode and the times of change of the file are the same.

A view that somebody else made could say something else than the lines. So the name of a view is made from a secret of
this user and from the inode of ``gcbench-run.json``; a view of another name is never opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import json
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import duckdb

from gcbench.bench.store import columnar, fields, line_tables, records, safe_files
from gcbench.bench.store.fields import LINE_BYTES
from gcbench.bench.store.line_tables import Connection, text
from gcbench.bench.store.pack import Pack
from gcbench.datasets import cache_dir
from gcbench.errors import StoreError

if TYPE_CHECKING:
    from gcbench.bench.store.results import Results

log = logging.getLogger(__name__)

_READERS = {"codings.jsonl": line_tables.add_codings, "measurements.jsonl": line_tables.add_measurements}
_SMALL_BYTES = 4 << 20  # fewer bytes of lines are parsed each time, without a file
_CHUNK_BYTES = 64 << 20
_BATCH = 20_000  # lines of a pack
_MEMORY = "512MB"  # DuckDB writes what does not fit to the temporary folder
_TICK_S = 2.0  # a file that was changed so recently may change again without a visible change of its times
_OLD_S = 86400.0


@dataclass(frozen=True)
class _Covered:
    """What the tables hold of one file: complete lines from its beginning."""

    size: int = 0  # bytes
    lines: int = 0
    sha256: str = hashlib.sha256().hexdigest()
    stamp: str = ""  # size, inode and times of the file; empty if they cannot tell a change


Covers = dict[str, _Covered]


@contextlib.contextmanager
def opened(run: Results) -> Iterator[Connection]:
    """Open the tables of a run, with all lines that were complete at that moment; temporary tables may be made.

    The tables of a pack are made anew each time, in memory.

    Raises
    ------
    StoreError
        The run is by a newer gcbench, the lines cannot be read, or there is no room for the tables, not even in the
        temporary folder.
    """
    run.require_known_format()
    with contextlib.ExitStack() as stack:
        try:
            con = _of_pack(run) if isinstance(run, Pack) else _as_it_is(run.path)
            if con is None:
                con = _brought_up_to_date(run.path, stack)
        except (OSError, duckdb.Error) as error:
            raise StoreError(f"cannot read {run.path}: {str(error).splitlines()[0]}") from error
        stack.callback(con.close)
        yield con


def _of_pack(pack: Pack) -> Connection:
    """The tables of a pack, in memory."""
    con = duckdb.connect(config=_config())
    try:
        line_tables.create(con)
        for name, add in _READERS.items():
            first, every = 1, pack.lines(name)
            while lines := list(itertools.islice(every, _BATCH)):
                add(con, b"".join(lines), first, str(pack.path / name))
                first += len(lines)
        columnar.join(con)
    except (StoreError, duckdb.Error):
        con.close()
        raise
    return con


def path_of(run: Path) -> Path | None:
    """Where the view of a run is or will be; None if the folder is no run, or the user's secret cannot be kept."""
    if not safe_files.is_file(run / safe_files.MARKER):
        return None
    try:
        lines = (run / safe_files.MARKER).lstat()
        name = hmac.digest(_secret(), f"{lines.st_dev} {lines.st_ino}".encode(), "sha256").hex()[:16]
    except (OSError, StoreError):
        return None
    return run / f"view-{name}.duckdb"


def _secret() -> bytes:
    """32 random bytes in the user's cache folder, made at the first call. Raises OSError or StoreError."""
    path = cache_dir() / "view-secret"
    try:
        secret = safe_files.read_file(path, 32)
    except FileNotFoundError:
        secret = b""
    if len(secret) < 32:
        safe_files.write_file(path, secrets.token_bytes(32))
        secret = safe_files.read_file(path, 32)
    return secret


def _as_it_is(run: Path) -> Connection | None:
    """The view on disk, if it covers all lines and no file has changed since."""
    path = path_of(run)
    opened = None if path is None else _open(path)
    if opened is None:
        return None
    con, covers = opened
    if all(_stamp(run / name) == covers[name].stamp != "" for name in _READERS):
        return con
    con.close()
    return None


def _brought_up_to_date(run: Path, stack: contextlib.ExitStack) -> Connection:
    """Make a view of all lines, from the view on disk if it is right, and put it on disk if possible."""
    if sum((run / name).lstat().st_size for name in _READERS if safe_files.is_file(run / name)) < _SMALL_BYTES:
        con = duckdb.connect(config=_config())
        _update(con, run, _created(con))
        return con
    path = path_of(run)
    if path is not None:
        _remove_old(run, path)
        partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        try:
            con = _made(run, path, partial)
        except (OSError, duckdb.IOException) as error:
            log.debug("%s cannot be written: %s", partial, error)
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        else:
            try:
                partial.replace(path)  # the connection has the file open
            except OSError:
                stack.callback(partial.unlink, missing_ok=True)
            return con
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gcbench-view-")))
    return _made(run, path, folder / "view.duckdb")


def _made(run: Path, view: Path | None, path: Path) -> Connection:
    """Write a view of all lines to a path that does not exist, from the view on disk, and open it for reading."""
    opened = None if view is None else _continued(run, view, path)
    if opened is not None:
        con, covers = opened
    else:
        path.unlink(missing_ok=True)
        con = _connect(path, writable=True)
        covers = _created(con)
    with contextlib.closing(con):
        _update(con, run, covers)
        con.execute("CHECKPOINT view")
    return _connect(path)


def _continued(run: Path, view: Path, path: Path) -> tuple[Connection, Covers] | None:
    """Copy the view on disk; None if there is none, or the view is no longer right."""
    with path.open("xb") as copy:
        try:
            with safe_files.reading(view) as file:
                shutil.copyfileobj(file, copy, 1 << 20)
        except FileNotFoundError:
            return None
    opened = _open(path, writable=True)
    if opened is not None and (changed := _changed(run, opened[1])) is not None:
        log.warning("%s is made again: %s", view, changed)
        opened[0].close()
        return None
    return opened


def _created(con: Connection) -> Covers:
    """Create empty tables, and say that they cover nothing."""
    line_tables.create(con)
    con.execute("CREATE TABLE view_format (version VARCHAR)")
    con.execute("INSERT INTO view_format VALUES (?)", [_version()])
    con.execute("CREATE TABLE covers (file VARCHAR, size BIGINT, lines BIGINT, sha256 VARCHAR, stamp VARCHAR)")
    return {name: _Covered() for name in _READERS}


def _update(con: Connection, run: Path, covers: Covers) -> None:
    """Add the lines that are not covered yet."""
    con.execute("DELETE FROM covers")
    for name, covered in covers.items():
        now = _add(con, run / name, covered)
        con.execute("INSERT INTO covers VALUES (?, ?, ?, ?, ?)", [name, now.size, now.lines, now.sha256, now.stamp])
    columnar.join(con)


def _add(con: Connection, path: Path, covered: _Covered) -> _Covered:
    """Parse the lines that are not covered yet. Covered bytes are known to be right."""
    stamp = _stamp(path)
    size, lines = covered.size, covered.lines
    try:
        with safe_files.reading(path) as file:
            digest = _digest(file, covered.size)
            while block := file.read(_CHUNK_BYTES):
                # The rest of the last line; of a whole last line, the next line.
                block += file.readline(max(0, LINE_BYTES - (len(block) - block.rfind(b"\n") - 1)))
                chunk = block[: block.rfind(b"\n") + 1]  # a rest is being written, or was cut short by a kill
                digest.update(chunk)
                _READERS[path.name](con, chunk, lines + 1, str(path))
                size += len(chunk)
                lines += chunk.count(b"\n")
                if len(block) - len(chunk) >= LINE_BYTES:
                    longer = _to_its_end(file, block[len(chunk) :], digest)
                    if longer is None:
                        break
                    lines += 1
                    size += longer[0]
                    digest = longer[1]
                    line_tables.unreadable(str(path), lines, f"the line has {longer[0]} bytes")
    except FileNotFoundError:
        return covered
    return _Covered(size, lines, digest.hexdigest(), stamp)


def _to_its_end(file: BinaryIO, line: bytes, digest: hashlib._Hash) -> tuple[int, hashlib._Hash] | None:
    """Read on to the end of a line that is too long: its size, and the hash with it; None without a newline."""
    size, digest = len(line), digest.copy()
    digest.update(line)
    while part := file.readline(1 << 20):
        size += len(part)
        digest.update(part)
        if part.endswith(b"\n"):
            return size, digest
    return None


def _changed(run: Path, covers: Covers) -> str | None:
    """Which covered bytes were changed; None if all are as they were."""
    for name, covered in covers.items():
        if _stamp(run / name) == covered.stamp != "":
            continue
        try:
            with safe_files.reading(run / name) as file:
                if os.fstat(file.fileno()).st_size < covered.size:
                    return f"{name} is shorter than before"
                if _digest(file, covered.size).hexdigest() != covered.sha256:
                    return f"{name} was changed"
        except FileNotFoundError:
            if covered.size:
                return f"{name} is gone"
    return None


def _digest(file: BinaryIO, size: int) -> hashlib._Hash:
    """Hash the first bytes of a file, and leave the file there."""
    digest = hashlib.sha256()
    while size and (block := file.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest


def _stamp(path: Path) -> str:
    """Changes when a file changes; empty if the file is missing or changed just now."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ""
    if time.time() - max(found.st_mtime, found.st_ctime) < _TICK_S:
        return ""
    return json.dumps([found.st_size, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns])


def _open(path: Path, *, writable: bool = False) -> tuple[Connection, Covers] | None:
    """Open a view, and read what it covers; None if there is none, or the file is no view of this version."""
    if not safe_files.is_file(path):
        return None
    con = None
    try:
        con = _connect(path, writable=writable)
        if con.execute("SELECT version FROM view_format").fetchall() == [(_version(),)]:
            found = con.execute("SELECT file, size, lines, sha256, stamp FROM covers").fetchall()
            covers = {name: _Covered(*rest) for name, *rest in found}
            if set(covers) == set(_READERS):
                return con, covers
        why = "another version of gcbench made it"
    except duckdb.Error as error:
        why = str(error).splitlines()[0]
    if con is not None:
        con.close()
    if writable:
        log.warning("%s is made again: %s", path, why)
    return None


def _connect(path: Path, *, writable: bool = False) -> Connection:
    """Attach a file of DuckDB; one that is written is complete only after ``CHECKPOINT``."""
    con = duckdb.connect(config=_config())
    try:
        # Every statement is a commit. Without a log of commits there is no wait for the disk.
        con.execute(f"ATTACH {text(str(path))} AS view ({'RECOVERY_MODE no_wal_writes' if writable else 'READ_ONLY'})")
        con.execute("USE view")
    except duckdb.Error:
        con.close()
        raise
    return con


@cache
def _version() -> str:
    """Changes with the code that makes and reads the tables."""
    sources = (Path(module.__file__ or "").read_bytes() for module in (line_tables, columnar, records, fields))
    return hashlib.sha256(b"".join(sources)).hexdigest()


def _config() -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": _MEMORY,
        "threads": max(1, min(4, len(os.sched_getaffinity(0)))),
        "temp_directory": tempfile.gettempdir(),
        "autoinstall_known_extensions": False,
    }


def _remove_old(run: Path, current: Path) -> None:
    """Remove what killed processes have left, and views that are no longer of this run."""
    for path in run.glob("view*.duckdb*"):
        with contextlib.suppress(OSError):
            old = ".partial" not in path.name or time.time() - path.lstat().st_mtime > _OLD_S
            if path.name != current.name and old and not path.is_dir():
                path.unlink()
