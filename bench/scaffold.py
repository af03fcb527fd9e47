"""Write a plugin package for a new codec or metric suite: a copy of a folder of ``templates`` under another name.

The templates install and pass ``bench check`` unchanged.
"""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gcbench.bench.metrics import SUITES
from gcbench.codecs import CODECS
from gcbench.errors import StoreError, UsageError
from gcbench.registry import Registry

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def new_codec(name: str, parent: Path) -> list[Path]:
    """Write a package with a codec, its test and a README into a new folder ``parent/name``; return the files.

    Raises
    ------
    UsageError
        The name is not valid or is taken, or the folder exists already.
    StoreError
        The folder cannot be written.
    """
    return _new("codec", name, parent, CODECS, {'b"XMP"': f'b"{_magic(name)}"'})


def new_metric(name: str, parent: Path) -> list[Path]:
    """Write a package with a metric suite; see :func:`new_codec`."""
    return _new("metric", name, parent, SUITES, {})


def _new(kind: str, name: str, parent: Path, taken: Registry[Any], replaced: dict[str, str]) -> list[Path]:
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not a valid name; use lower-case words joined by hyphens, such as my-{kind}")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module == "gcbench":
        raise UsageError(f"'{name}' would hide Python's own module {module}; choose another name")
    if find_spec(module) is not None:
        raise UsageError(f"a module {module} is installed already; choose another name")
    if name in taken.names():
        raise UsageError(f"there is a {taken.noun} '{name}' already: {taken.origin(name)}")
    folder, example = parent / name, f"example_{kind}"
    replaced = {
        f"example-{kind}": name,
        example: module,
        f"Example{kind.capitalize()}": "".join(part.capitalize() for part in name.split("-")),
        **replaced,
    }
    written = []
    try:
        folder.mkdir(parents=True)
        for file in ("pyproject.toml", "README.md", f"{example}.py", f"test_{example}.py"):
            text = files("gcbench.bench").joinpath("templates", kind, file).read_text(encoding="utf-8")
            target = file
            for old, new in replaced.items():
                text, target = text.replace(old, new), target.replace(old, new)
            (folder / target).write_text(text, encoding="utf-8")
            written.append(folder / target)
    except FileExistsError:
        raise UsageError(f"{folder} exists already; remove the folder, or choose another --out") from None
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error}") from error
    return written


def _magic(name: str) -> str:
    """Three letters of the name for the start of a stream; vowels are dropped if the name is too long."""
    letters = name.replace("-", "").upper() or "X"
    short = letters[0] + "".join(c for c in letters[1:] if c not in "AEIOU")
    return (short if len(short) >= 3 else letters)[:3].ljust(3, "0")
