"""Runs as a stranger could pack them: a small real run with one thing changed.

A change is a wrong value in one field of one line, other bytes in a line or a file, a link or a pipe or a device in the
place of a file or folder, or something that is missing. ``victim`` is what the links lead to: it must stay as it is.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINES = ("codings.jsonl", "measurements.jsonl", "sessions.jsonl")
FILES = (*LINES, "gcbench-run.json", "lock", "report.html", "experiment.toml")
FOLDERS = ("streams", "spool", "work", "logs", "figures")

#: JSON texts of wrong values.
VALUES = (
    *("null", "true", "-1", "0", "1.5", "1e9", "1e400", "NaN", "-Infinity", "9" * 25, "9" * 5000, '""', '"7"', "[]"),
    *("{}", "[[[]]]", '{"a": {"b": 1}}', "[" * 3000 + "]" * 3000, '"../../dev/zero"', '"/"', '"' + "0" * 64 + '"'),
    *('"\\u0000"', '"\\ud800"', '"\\u001b]0;title\\u0007"', '"a\\nb,c"', '"=1+1"', '"' + "x" * 200_000 + '"', '"~"'),
)


@dataclass(frozen=True)
class Change:
    """One change; ``make`` takes the run folder and the victim, a folder with the file ``file``."""

    name: str
    make: Callable[[Path, Path], None]


def in_fields(run: Path) -> Iterator[Change]:
    """Every field of the first line (and of one of each file's others) × every wrong value."""
    for name in LINES:
        lines = (run / name).read_bytes().splitlines()
        for number in sorted({0, len(lines) // 2}):
            for path in _fields(json.loads(lines[number])):
                for value in VALUES:
                    label = f"{name}:{number + 1} {'.'.join(map(str, path))} = {value[:20]}"
                    yield Change(label, _set(name, number, path, value))


def in_bytes() -> Iterator[Change]:
    """Other bytes in a file of lines."""
    changes: dict[str, Callable[[bytes], bytes]] = {
        "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
        "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
        "CR": lambda data: data.replace(b"\n", b"\r"),
        "UTF-16": lambda data: data.decode().encode("utf-16"),
        "Latin-1": lambda data: data.replace(b"ball", b"b\xe4ll"),
        "names twice": lambda data: data.replace(b"{", b'{"key": "x", "session": "y", "values": {}, ', 1),
        "deep": lambda data: data + b"[" * 100_000 + b"]" * 100_000 + b"\n",
        "deep object": lambda data: data + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\n",
        "empty lines": lambda data: data.replace(b"\n", b"\n\n"),
        "other JSON": lambda data: b'[]\n7\nnull\n"x"\n{}\n[{}]\n' + data,
        "no newline": lambda data: data.rstrip(b"\n"),
        "zeros": lambda data: b"\x00" * len(data),
        "one long line": lambda data: data + b'{"key": "' + b"x" * 3_000_000 + b'"}\n',
        "nothing": lambda _: b"",
        "in reverse": lambda data: b"".join(reversed(data.splitlines(keepends=True))),
        "every line twice": lambda data: b"".join(line * 2 for line in data.splitlines(keepends=True)),
        "half of every line": lambda data: b"".join(line[: len(line) // 2] + b"\n" for line in data.splitlines()),
    }
    for name in (*LINES, "gcbench-run.json", "experiment.toml"):
        for label, change in changes.items():
            yield Change(f"{name}: {label}", _rewrite(name, change))


def in_places() -> Iterator[Change]:
    """Links, pipes and devices in the place of files and folders, and what is missing."""
    odd: dict[str, Callable[[Path, Path], None]] = {
        "link to a file": lambda path, victim: path.symlink_to(victim / "file"),
        "link to a folder": lambda path, victim: path.symlink_to(victim),
        "link to /dev/zero": lambda path, _: path.symlink_to("/dev/zero"),
        "link to nothing": lambda path, victim: path.symlink_to(victim / "new"),
        "link to itself": lambda path, _: path.symlink_to(path),
        "hard link": lambda path, victim: path.hardlink_to(victim / "file"),
        "pipe": lambda path, _: os.mkfifo(path),
        "folder": lambda path, _: path.mkdir(),
        "file": lambda path, _: path.write_bytes(b"mine"),
        "missing": lambda path, _: None,
    }
    for name in (*FILES, *FOLDERS, "streams/*", "streams/*/*"):
        for label, put in odd.items():
            yield Change(f"{name}: {label}", _replace(name, put))
    yield Change("streams/*/*: a terabyte", _replace("streams/*/*", lambda path, _: _sparse(path)))


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def _fields(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in items:
        yield from _fields(one, (*path, name))


def _set(name: str, number: int, path: tuple[str | int, ...], value: str) -> Callable[[Path, Path], None]:
    def make(run: Path, _: Path) -> None:
        lines = (run / name).read_bytes().splitlines()
        whole = json.loads(lines[number])
        inner = whole
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = "<here>"
        lines[number] = json.dumps(whole).replace('"<here>"', value).encode()
        (run / name).write_bytes(b"\n".join(lines) + b"\n")

    return make


def _rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
    def make(run: Path, _: Path) -> None:
        there = (run / name).read_bytes() if (run / name).exists() else b"{}\n"
        (run / name).write_bytes(change(there))

    return make


def _replace(name: str, put: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    def make(run: Path, victim: Path) -> None:
        paths = sorted(run.glob(name)) if "*" in name else [run / name]
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            put(path, victim)

    return make
