"""A package to start a codec or a metric suite from: a copy of a folder of ``templates`` under another name.

The templates are packages that install and pass ``bench check`` as they stand.
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
    """Write a package with a codec that works, its test and a README into a new folder ``parent/name``.

    Parameters
    ----------
    name : str
        Of the codec, the package and the folder: lower-case words joined by hyphens.
    parent : Path
        Made if it is not there.

    Returns
    -------
    list of Path
        The files written; the folder is their parent.

    Raises
    ------
    UsageError
        The name cannot be one, is taken, or the folder exists already.
    StoreError
        The folder cannot be written.
    """
    return _new("codec", name, parent, CODECS, {'b"XMPL"': f'b"{_magic(name)}"'})


def new_metric(name: str, parent: Path) -> list[Path]:
    """Write a package with a metric suite that works, its test and a README, as :func:`new_codec` does for a codec."""
    return _new("metric", name, parent, SUITES, {})


def _new(kind: str, name: str, parent: Path, taken: Registry[Any], replaced: dict[str, str]) -> list[Path]:
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not a name for a {kind}: lower-case words joined by hyphens, such as my-{kind}")
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
        raise UsageError(f"{folder} exists already; remove it, or give another --folder") from None
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error}") from error
    return written


def _magic(name: str) -> str:
    """Four letters for the start of a stream: the name's, consonants first when there are too many."""
    letters = name.replace("-", "").upper() or "X"
    short = letters[0] + "".join(c for c in letters[1:] if c not in "AEIOU")
    return (short if len(short) >= 4 else letters)[:4].ljust(4, "0")
