"""Versions of codecs and metric suites, computed from the source code and the packages that decide a result.

A changed statement gives another version; a changed comment, docstring or layout does not. Modules are not imported.
"""

from __future__ import annotations

import ast
import hashlib
import threading
from functools import cache
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from gcbench.errors import UsageError

_HASH_DIGITS = 8
_COMPILED = (".pyc", *EXTENSION_SUFFIXES)
_HOUSE = "gcbench"
# Slots ask for versions from threads, and CPython 3.11 counts the depth of a tree it builds for all threads together:
# two at once end in "SystemError: AST constructor recursion depth mismatch", now and then.
_PARSING = threading.Lock()
# Modules that cannot change a result. A version does not follow imports into these modules.
NEUTRAL = frozenset(
    {
        "gcbench",
        "gcbench.errors",
        "gcbench.extras",  # says what is not installed
        "gcbench.registry",
        "gcbench.versions",
        "gcbench.native",  # imports packages, or names a missing system library
        "gcbench.codecs",
        "gcbench.codecs.base",  # the contract: what a codec is asked
        "gcbench.codecs.registry",
        "gcbench.codecs.mpeg.programs",  # starts and ends programs; their arguments are in gpcc and vpcc
        "gcbench.bench.metrics",
        "gcbench.bench.metrics.base",
        "gcbench.bench.metrics.registry",
        "gcbench.training.progress",
    }
)


def source_version(revision: int | str, *modules: str, packages: tuple[str, ...] = ()) -> str:
    """Make a version such as ``2+4f1c9a30+DracoPy-2.2.0``: revision, hash of the modules, versions of packages.

    Parameters
    ----------
    revision : int or str
        Number of the format, counted by hand.
    *modules : str
        Dotted names of the modules that decide the result, mostly ``__name__``. A module includes everything that it
        imports, directly or indirectly, from its own outermost package and from gcbench (see :func:`imported`). A
        package includes all its modules. Source is hashed as its syntax tree, without docstrings and comments, in a
        form that is equal for all versions of Python; a module without source is hashed as the bytes of its file.
    packages : tuple of str
        Names of distributions whose versions decide the result too; ``missing`` if not installed.

    Raises
    ------
    UsageError
        There is no such module, or it has no file.
    """
    return _version(revision, tuple(sorted(set(modules))), tuple(dict.fromkeys(packages)))


@cache
def _version(revision: int | str, modules: tuple[str, ...], packages: tuple[str, ...]) -> str:
    parts = [str(revision)]
    if modules:
        digest = hashlib.sha256()
        for module in imported(modules):
            digest.update(f"{module}\0".encode() + module_digest(module))
        parts.append(digest.hexdigest()[:_HASH_DIGITS])
    return "+".join([*parts, *(f"{name}-{installed(name) or 'missing'}" for name in packages)])


@cache
def imported(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Names of modules and of all modules that they import, sorted.

    Imports are followed within the outermost package of each module and within gcbench, also inside functions, except
    under ``if TYPE_CHECKING`` and except into :data:`NEUTRAL`. Calls of ``import_module`` are not followed.
    """
    roots = {_HOUSE, *(module.partition(".")[0] for module in modules)}
    found: set[str] = set()
    left = list(modules)
    while left:
        module = left.pop()
        if module in found:
            continue
        found.add(module)
        path = _file(module)
        if path is not None and path.suffix == ".py":
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            names = _imports(_tree(path), package)
            left += [name for name in names if name.partition(".")[0] in roots]
    return tuple(sorted(found))


# Where statements hold statements: an import is a statement, so nobody needs to look at expressions.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


@cache
def _imports(tree: ast.Module, package: str) -> frozenset[str]:
    """Absolute names of the modules that a syntax tree imports when the program runs."""
    names: set[str] = set()
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            whole = {f"{base}.{alias.name}" for alias in node.names}
            names |= {name if _file(name) else base for name in whole}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
        else:
            for block in _BLOCKS:
                stack += getattr(node, block, ())
    return frozenset(_itself(name) for name in names - NEUTRAL)


def _itself(module: str) -> str:
    """The name of a module; for a package, that of its ``__init__``, which is all that an import of a package runs."""
    path = _file(module)
    return f"{module}.__init__" if path is not None and path.stem == "__init__" else module


@cache
def _file(module: str) -> Path | None:
    """The file of a module, or of the ``__init__`` of a package; None if there is none."""
    try:
        spec = _spec(module)
    except UsageError:
        return None
    return Path(spec.origin) if spec.has_location and spec.origin else None


@cache
def installed(package: str) -> str | None:
    """Version of an installed distribution; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def module_digest(module: str) -> bytes:
    """SHA-256 of the code of a module, or of every module of a package. Raises UsageError without a file."""
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
    """SHA-256 of a Python file: of its syntax tree, or of its bytes if it is compiled."""
    said = "".join(_said(_tree(path))).encode("utf-8", "surrogatepass") if path.suffix == ".py" else read(path)
    return hashlib.sha256(said).digest()


@cache
def _tree(path: Path) -> ast.Module:
    with _PARSING:
        return ast.parse(read(path), path)


def read(path: Path) -> bytes:
    """Contents of a file. All source is read here, so that tests can count and replace reads."""
    return path.read_bytes()


def forget() -> None:
    """Clear all caches, after a file or a package has changed."""
    for remembered in (_version, imported, installed, module_digest, _tree, _imports, _file):
        remembered.cache_clear()


def _code_under(root: Path) -> list[Path]:
    files = (path for path in root.rglob("*") if "__pycache__" not in path.parts)
    return [path for path in files if path.name.endswith((".py", *_COMPILED))]


def _spec(module: str) -> ModuleSpec:
    """Find a module from its outermost package inwards; `find_spec` of a dotted name would import its parents."""
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
    """A syntax tree as text. `ast.dump` writes absent fields differently in different versions of Python."""
    said: list[str] = []
    stack: list[object] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, _Text):
            said.append(node.text)
        elif isinstance(node, ast.AST) and not node._fields:  # such as Load and Add: a third of all nodes
            said.append(f"{type(node).__name__}()")
        elif isinstance(node, ast.AST):
            said.append(f"{type(node).__name__}(")
            stack.append(_CLOSE)
            for name in reversed(node._fields):
                part = getattr(node, name, None)
                if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some of them with an empty text
                    part = [piece for piece in node.values if getattr(piece, "value", None) != ""]
                if part is not None and part != []:  # fields that later versions of Python add are None or empty
                    stack += (part, _Text(f"{name}="))
        elif isinstance(node, list):
            said.append("[")
            stack.append(_CLOSE_LIST)
            stack += reversed([item for item in node if not _is_text(item)])
        else:
            said.append(f"{node!a},")  # ASCII: which characters repr() escapes depends on the Unicode version
    return said


class _Text:
    """Text to write, on the stack of nodes to visit."""

    def __init__(self, text: str) -> None:
        self.text = text


_CLOSE, _CLOSE_LIST = _Text(")"), _Text("]")


def _is_text(node: object) -> bool:
    """Whether a statement is only a string: a docstring, or the description of the statement before it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
