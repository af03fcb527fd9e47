"""Versions that nobody writes by hand: made from the source and the packages that decide a result.

A changed comment, docstring or layout changes nothing; a changed statement does. Knows files and installed packages;
nothing of codecs or metrics. What is looked at is not imported.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from gcbench.errors import UsageError

_HASH_DIGITS = 8
_COMPILED = (".pyc", *EXTENSION_SUFFIXES)
# One library under several names of distributions: whichever is installed counts, under the first name.
_SAME = {"open3d": ("open3d", "open3d-cpu"), "open3d-cpu": ("open3d", "open3d-cpu")}


def source_version(revision: int | str, *modules: str, packages: tuple[str, ...] = ()) -> str:
    """Make a version from what decides a result, e.g. ``2+4f1c9a30+DracoPy-2.2.0``.

    Parameters
    ----------
    revision : int or str
        Of the format, counted by hand: what a person calls the version.
    *modules : str
        Dotted names of the modules that decide the result; their order does not matter. A package stands for every
        module under it. Source is hashed as its syntax tree, without docstrings and comments, and without what
        differs between versions of Python; a module that has no source here, as the bytes of its file.
    packages : tuple of str
        Names of distributions whose versions decide the result too. One that is not installed is ``missing``.
        ``open3d`` and ``open3d-cpu`` are one.

    Returns
    -------
    str
        Revision, eight hexadecimal digits if there are modules, and packages in the order given.

    Raises
    ------
    UsageError
        A module that is not there, or has no file.
    """
    return _version(revision, tuple(sorted(set(modules))), tuple(dict.fromkeys(packages)))


@cache
def _version(revision: int | str, modules: tuple[str, ...], packages: tuple[str, ...]) -> str:
    parts = [str(revision)]
    if modules:
        digest = hashlib.sha256()
        for module in modules:
            digest.update(f"{module}\0".encode() + module_digest(module))
        parts.append(digest.hexdigest()[:_HASH_DIGITS])
    return "+".join([*parts, *(f"{_SAME.get(name, (name,))[0]}-{installed(name) or 'missing'}" for name in packages)])


@cache
def installed(package: str) -> str | None:
    """Version of an installed distribution; None if it is not here. ``open3d`` and ``open3d-cpu`` are one."""
    for name in _SAME.get(package, (package,)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


@cache
def module_digest(module: str) -> bytes:
    """SHA-256 of what a module, or every module of a package, says to Python.

    Raises
    ------
    UsageError
        There is no such module, or it has no file.
    """
    spec = _spec(module)
    if spec.submodule_search_locations is not None:
        roots = [Path(root) for root in spec.submodule_search_locations]
        files = sorted((path.relative_to(root).as_posix(), path) for root in roots for path in _code_under(root))
    elif spec.has_location and spec.origin:
        files = [("", Path(spec.origin))]
    else:
        files = []
    if not files:
        raise UsageError(f"module '{module}' has no file: nothing says what its version is")
    digest = hashlib.sha256()
    for name, path in files:
        digest.update(f"{name}\0".encode() + file_digest(path))
    return digest.digest()


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file of Python: of its syntax tree, or of its bytes where it is no source."""
    contents = read(path)
    if path.suffix == ".py":
        contents = "".join(_said(ast.parse(contents, path))).encode("utf-8", "surrogatepass")
    return hashlib.sha256(contents).digest()


def read(path: Path) -> bytes:
    """Contents of a file: the one place where source is read."""
    return path.read_bytes()


def forget() -> None:
    """Look at files and packages anew, after one has changed in this process."""
    for remembered in (_version, installed, module_digest):
        remembered.cache_clear()


def _code_under(root: Path) -> list[Path]:
    files = (path for path in root.rglob("*") if "__pycache__" not in path.parts)
    return [path for path in files if path.name.endswith((".py", *_COMPILED))]


def _spec(module: str) -> ModuleSpec:
    """Find a module from its outermost package inwards: find_spec of a dotted name would import those around it."""
    head, *inner = module.split(".")
    try:
        spec = find_spec(head)
    except (ImportError, ValueError):
        spec = None
    name = head
    for part in inner:
        if spec is None or spec.submodule_search_locations is None:
            raise UsageError(f"there is no module '{module}'")
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    if spec is None:
        raise UsageError(f"there is no module '{module}'")
    return spec


def _said(value: object) -> list[str]:
    """Write a syntax tree as text. `ast.dump` differs between versions of Python in how it writes what is absent."""
    said: list[str] = []
    stack: list[object] = [value]
    while stack:
        match stack.pop():
            case _Text(text):
                said.append(text)
            case ast.AST() as node:
                said.append(f"{type(node).__name__}(")
                stack.append(_Text(")"))
                for name in reversed(node._fields):
                    part = getattr(node, name, None)
                    if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some of them with an empty text
                        part = [piece for piece in node.values if getattr(piece, "value", None) != ""]
                    if part is not None and part != []:  # what later versions of Python add is absent or empty
                        stack += [part, _Text(f"{name}=")]
            case list() as items:
                said.append("[")
                stack += [_Text("]"), *reversed([item for item in items if not _is_text(item)])]
            case leaf:
                said.append(f"{leaf!a},")  # what repr escapes is Unicode's opinion of the year
    return said


class _Text:
    """A piece of the text to write, among what is still to be visited."""

    __match_args__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _is_text(node: object) -> bool:
    """Whether a statement is a string alone: the docstring of what it stands in, or of what stands before it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
