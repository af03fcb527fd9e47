"""Give a call of a codec under test an empty working directory, and watch which files it opens."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_OF_THE_INTERPRETER = frozenset({".pyc", ".nbi", ".nbc"})  # caches of Python and numba, which pass nothing on


@contextlib.contextmanager
def call_place(temporary: Path) -> Iterator[Path]:
    """An empty scratch folder as working directory, and an empty folder for temporary files; removed afterwards.

    The folder for temporary files has the same name in every call, so that a decoder that relies on files of its
    encoder looks in the right place and finds nothing.
    """
    home, before = Path.cwd(), os.environ.get("TMPDIR")
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=temporary.parent))
    shutil.rmtree(temporary, ignore_errors=True)  # of a call that was killed
    temporary.mkdir()
    os.environ["TMPDIR"], tempfile.tempdir = str(temporary), str(temporary)
    os.chdir(scratch)
    try:
        yield scratch
    finally:
        os.chdir(home)
        tempfile.tempdir = None
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def kept_place(folder: Path) -> Iterator[Path]:
    """A folder as working directory that is emptied afterwards, but stays: to remove a folder takes milliseconds."""
    home = Path.cwd()
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(home)
        if any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Files:
    """Files that Python code opened during a call."""

    opened: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)

    def written_outside(self, scratch: Path) -> frozenset[str]:
        """Files that were written outside the scratch folder."""
        within = f"{scratch}{os.sep}"
        return frozenset(f for f in self.written if not f.startswith(within) and f != os.devnull)


class _Watch:
    """Sees files that Python code opens; not those that a C library or another program opens."""

    def __init__(self) -> None:
        self._files: Files | None = None
        self._hooked = False

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Files]:
        if not self._hooked:  # an audit hook cannot be removed
            sys.addaudithook(self._on_event)
            self._hooked = True
        self._files = Files()
        try:
            yield self._files
        finally:
            self._files = None

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._files is None or event not in {"open", "os.rename"}:
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        else:
            path, writes = arguments[1], True
        if not isinstance(path, (str, bytes, os.PathLike)):
            return  # a file descriptor: its name was seen when it was opened
        try:
            name = str(Path(os.fsdecode(path)).absolute())
        except OSError:  # the working directory is gone
            return
        if Path(name).suffix in _OF_THE_INTERPRETER:
            return
        if writes:
            self._files.written.add(name)
        self._files.opened.add(name)


watch_files = _Watch()
