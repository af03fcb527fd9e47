"""An experiment file: what `bench run` is asked for, as TOML. The keys are the names of the command's options.

    dataset = ["ama", "my/folder"]
    codec = ["draco", "necgs[k=64]"]
    rate = ["q10", "k64w16"]
    suite = ["paper", "surface"]
    seed = 0
    deadline = 3600

Every run keeps such files: ``experiment.toml``, and ``experiment-2.toml`` and so on if the run was extended by commands
that asked for something else. Options that change no result (jobs, threads, cluster, data root) are no part of it.
"""

from __future__ import annotations

import difflib
import json
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gcbench import plain_text
from gcbench.errors import StoreError, UsageError

FILE = "experiment.toml"
_HEAD = "# What this run was asked for. To make the run again: bench run {name}\n"
_LISTS = ("dataset", "codec", "rate", "suite")
_TEXTS = ("split", "effort", "device", "polygons", "run")
_WHOLE = {"limit": 1, "seed": 0}  # the least value
_SWITCHES = ("timing", "allow_missing")
_POSITIVE = ("deadline", "memory")
_UNRESTRICTED = "none"  # a deadline that never passes


@dataclass(frozen=True)
class Experiment:
    """What a run is asked for; see ``bench run --help`` for each field. None is the default of the command.

    Parameters
    ----------
    dataset, codec, rate, suite : tuple of str
        Empty takes the default: ``mixed``, every codec that can run here, all rates, the default suites.
    deadline : float or str or None
        Seconds, or ``none``.
    memory : float or None
        GiB.
    run : str or None
        Name or folder of the run.
    """

    dataset: tuple[str, ...] = ()
    split: str | None = None
    codec: tuple[str, ...] = ()
    effort: str | None = None
    rate: tuple[str, ...] = ()
    suite: tuple[str, ...] = ()
    limit: int | None = None
    seed: int | None = None
    device: str | None = None
    timing: bool = False
    allow_missing: bool = False
    polygons: str | None = None
    deadline: float | str | None = None
    memory: float | None = None
    run: str | None = None

    def overridden(self, given: Mapping[str, Any]) -> Experiment:
        """The experiment with the options that were given on the command line."""
        known = {field.name for field in fields(self)}
        return replace(self, **{name: value for name, value in given.items() if name in known})

    def to_toml(self, name: str = FILE) -> str:
        """The text of a file ``name``; fields with defaults are left out."""
        lines = [_HEAD.format(name=name)]
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value is not False and value != ():
                lines.append(f"{field.name.replace('_', '-')} = {_toml(value)}\n")
        return "".join(lines)


def read_experiment(path: Path) -> Experiment:
    """Read an experiment file.

    Raises
    ------
    UsageError
        There is no such file, it is no TOML, a key is unknown, or a value is of the wrong kind: one line.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no experiment file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    known = [field.name.replace("_", "-") for field in fields(Experiment)]
    chosen: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise UsageError(f"{path}: unknown key '{key}'; {f'did you mean {near[0]}?' if near else _one_of(known)}")
        name = key.replace("-", "_")
        chosen[name] = _checked(path, name, value)
    return Experiment(**chosen)


def kept(run: Path) -> list[Path]:
    """The experiment files of a run folder, in order."""
    later = ((_number(path), path) for path in run.glob("experiment-*.toml") if _is_file(path))
    first = [run / FILE] if _is_file(run / FILE) else []
    return [*first, *(path for number, path in sorted(later) if number is not None)]


def keep(experiment: Experiment, run: Path) -> Path:
    """Write the file into a run folder in one step, unless the run has it already; return its path.

    Experiments that differ only in suites and limits are one: their suites are joined, and the limits are the later
    ones.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    place, files = run / FILE, kept(run)
    for path in files:
        try:
            there = read_experiment(path)
        except UsageError:  # somebody has edited the file: it stays as it is
            continue
        if _without_limits(there) == _without_limits(experiment):
            suites = tuple(dict.fromkeys([*there.suite, *experiment.suite]))
            experiment, place = replace(experiment, suite=suites), path
            break
    else:
        if files:
            place = run / f"experiment-{1 + max(_number(path) or 1 for path in files)}.toml"
    text = experiment.to_toml(place.name)
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        if not _is_file(place) or place.read_text(encoding="utf-8") != text:
            partial.write_text(text, encoding="utf-8")
            partial.replace(place)
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return place


def _without_limits(experiment: Experiment) -> Experiment:
    return replace(experiment, suite=(), deadline=None, memory=None)


def _number(path: Path) -> int | None:
    number = path.stem.partition("-")[2]
    return int(number) if number.isdecimal() else None


def _one_of(known: list[str]) -> str:
    return f"possible are {', '.join(known)}"


def _checked(path: Path, name: str, value: Any) -> Any:
    wrong = f"{path}: {name.replace('_', '-')} is"
    if name in _LISTS:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(one, str) and one for one in values):
            raise UsageError(f"{wrong} a list of texts, not {value!r}")
        return tuple(values)
    if name in _TEXTS:
        if not isinstance(value, str) or not value:
            raise UsageError(f"{wrong} a text, not {value!r}")
    elif name in _SWITCHES:
        if not isinstance(value, bool):
            raise UsageError(f"{wrong} true or false, not {value!r}")
    elif name in _WHOLE:
        if type(value) is not int or value < _WHOLE[name]:
            raise UsageError(f"{wrong} a whole number of at least {_WHOLE[name]}, not {value!r}")
    elif (name, value) != ("deadline", _UNRESTRICTED) and (type(value) not in {int, float} or not 0 < value < 1e9):
        other = ", or 'none'" if name == "deadline" else ""
        raise UsageError(f"{wrong} a positive number{other}, not {value!r}")
    return value


def _is_file(path: Path) -> bool:
    """Whether there is a file: a run from a stranger may have a link or a pipe of that name, which is not opened."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _toml(value: Any) -> str:
    """A TOML value; JSON's texts and numbers are TOML's, but for DEL."""
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, str) and not _is_unicode(value):  # which TOML cannot hold: `open_dataset` takes escapes too
        value = plain_text.name_of_path(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
