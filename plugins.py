"""Ask plugins about themselves in a child process, so that a plugin that hangs, exits or crashes harms nobody.

A plugin is a class of somebody else's package, found by entry point. Its module runs code when it is imported. The
child imports it and answers; the parent waits for a limited time. What an import gave is kept in a file, under the
version of the package and the times of its files, so that commands need no child for a plugin that they know.
`plugin_child.py` is the child.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import platformdirs

DEADLINE_S = 30.0
"""Seconds for one plugin. Importing torch on a busy machine takes ten."""

_ANSWER_BYTES = 1 << 20  # of one plugin, at most
TEXT = 20_000  # characters of a reason or a traceback, at most
_KEPT = 500  # plugins in the file
_FILES = 5000  # of a package whose times are looked at
_ERROR_S = 600.0  # an error is kept for so long: what a plugin lacks may be installed
_direct = threading.Event()


def import_directly() -> None:
    """Say that this process may be killed, such as a worker: it imports plugins without asking a child."""
    _direct.set()


def imports_directly() -> bool:
    """Whether this process imports plugins without asking a child."""
    return _direct.is_set()


@dataclass(frozen=True)
class Answer:
    """What a plugin said about itself, or why it cannot be used."""

    error: str = ""  # one line; empty for a plugin that works
    traceback: str = ""
    facts: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Question:
    """What is asked of the plugins of one kind."""

    base: str  # "module:Class" of which every plugin is a subclass
    noun: str
    group: str  # of entry points
    facts: str = ""  # "module:function" to call with an instance; returns JSON values. Empty: only import


def ask(question: Question, entries: Sequence[EntryPoint], deadline_s: float | None = None) -> dict[str, Answer]:
    """Import plugins in a child process; by name, what each says.

    Parameters
    ----------
    question : Question
    entries : sequence of EntryPoint
        A new child goes on after a plugin that killed the last one.
    deadline_s : float, optional
        For each plugin; default: :data:`DEADLINE_S`.
    """
    limit_s = DEADLINE_S if deadline_s is None else deadline_s
    left = [entry.name for entry in entries]
    answers: dict[str, Answer] = {}
    while left:
        some = _ask_a_child(question, left, limit_s)
        answers |= some
        left = [name for name in left if name not in some]
    return answers


def usable(question: Question, entries: Sequence[EntryPoint], deadline_s: float | None = None) -> dict[str, Answer]:
    """Whether plugins can be imported. A child is asked only about plugins that are new or have changed."""
    keys = {entry.name: _key(question, entry) for entry in entries}
    kept = _read()
    answers = {name: kept[key] for name, key in keys.items() if key in kept}
    if new := [entry for entry in entries if entry.name not in answers]:
        found = ask(question, new, deadline_s)
        _keep({keys[name]: answer for name, answer in found.items()})
        answers |= found
    return answers


def _ask_a_child(question: Question, names: Sequence[str], limit_s: float) -> dict[str, Answer]:
    """Answers of the first plugins; the last of them may have ended the child."""
    request = json.dumps([asdict(question), *names])
    receiver, sender = os.pipe()
    with os.fdopen(receiver, "rb", buffering=0) as pipe:
        try:
            child = subprocess.Popen(
                # -P: the working directory is no place to import from, unless it was one in this process.
                [sys.executable, "-P", "-m", "gcbench.plugin_child", str(sender), request],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=[sender],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(sender)
        try:
            answers, why = _receive(pipe, names, limit_s)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if child.poll() is None and not _ends_soon(child):
                    child.kill()
                os.killpg(child.pid, signal.SIGKILL)  # and what the plugin started
            code = child.wait()
    if len(answers) < len(names):
        answers[names[len(answers)]] = Answer(why or _death(code))
    return answers


def _receive(pipe: Any, names: Sequence[str], limit_s: float) -> tuple[dict[str, Answer], str]:
    """Read one line for each plugin, and why the next one gives none; empty if the child ended."""
    answers: dict[str, Answer] = {}
    text, end = b"", time.monotonic() + limit_s
    while len(answers) < len(names):
        left_s = end - time.monotonic()
        if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
            return answers, f"takes longer than {limit_s:g} s to import"
        if not (some := pipe.read(1 << 16)):
            return answers, ""
        *lines, text = (text + some).split(b"\n")
        for line in lines[: len(names) - len(answers)]:
            answers[names[len(answers)]] = _parsed(line)
            end = time.monotonic() + limit_s
        if len(text) > _ANSWER_BYTES:
            return answers, "says too much about itself"
    return answers, ""


def _ends_soon(child: subprocess.Popen[bytes]) -> bool:
    """Wait a moment for a child that closed its pipe, so that its exit code can be told."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.5)
    return child.poll() is not None


def _parsed(line: bytes) -> Answer:
    try:
        data = json.loads(line)
        facts = None if data["facts"] is None else dict(data["facts"])
        return Answer(str(data["error"])[:TEXT], str(data["traceback"])[:TEXT], facts)
    except (ValueError, KeyError, TypeError, RecursionError):
        return Answer("gives an answer that is not readable")


def _death(code: int) -> str:
    if code >= 0:
        return f"ends the process when it is imported (exit code {code})"
    with contextlib.suppress(ValueError):
        return f"crashes when it is imported ({signal.Signals(-code).name})"
    return f"crashes when it is imported (signal {-code})"


# What is kept.


def _key(question: Question, entry: EntryPoint) -> str:
    """Hash of everything that may change how a plugin is imported."""
    dist = entry.dist
    version = f"{dist.name} {dist.version}" if dist else ""
    # Folders of packages change when pip installs something.
    folders = [(path, _mtime(path)) for path in sys.path if path.endswith("-packages")]
    what: list[Any] = [asdict(question), entry.name, entry.value, version, sys.version, folders, _files(entry.module)]
    what += [_mtime(__file__), _mtime(str(Path(__file__).with_name("registry.py")))]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _files(module: str) -> list[tuple[str, int]]:
    """Files of the package that a module is in, with their times; nothing is imported."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    files: Iterable[Path] = [Path(spec.origin)] if spec.origin else []
    if spec.submodule_search_locations:
        files = [file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.py")]
    return [(str(file), _mtime(str(file))) for file in sorted(files)[:_FILES]]


def _mtime(path: str) -> int:
    with contextlib.suppress(OSError):
        return Path(path).stat().st_mtime_ns
    return 0


def _kept_in() -> Path:
    if chosen := os.environ.get("GCBENCH_CACHE"):
        return Path(chosen).expanduser() / "plugins.json"
    return Path(platformdirs.user_cache_dir("gcbench")) / "plugins.json"


def _read() -> dict[str, Answer]:
    try:
        data = json.loads(_kept_in().read_bytes())
        now = time.time()
        return {
            str(key): Answer(str(error), str(trace))
            for key, (error, trace, at) in data.items()
            if not error or 0 <= now - at < _ERROR_S
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _keep(answers: dict[str, Answer]) -> None:
    """Keep answers for the next process; a disk that is full costs only time."""
    file = _kept_in()
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    newest = dict(list((_read() | answers).items())[-_KEPT:])
    text = json.dumps({key: (answer.error, answer.traceback, time.time()) for key, answer in newest.items()})
    with contextlib.suppress(OSError):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(text, encoding="utf-8")
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
