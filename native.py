"""Load PyMeshLab and shared libraries; an error names the Debian packages of missing system libraries."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import re
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from types import ModuleType

import platformdirs

from gcbench import extras
from gcbench.errors import BenchError, SystemLibraryMissing

# Shared libraries that the wheels need and do not contain, and their packages in Debian 12.
DEBIAN_PACKAGE = {
    "libGL.so.1": "libgl1",
    "libOpenGL.so.0": "libopengl0",
    "libX11.so.6": "libx11-6",
    "libxcb.so.1": "libxcb1",
    "libgmp.so.10": "libgmp10",
    "libp11-kit.so.0": "libp11-kit0",
}
# PyMeshLab without one of these imports, and lacks filters: it only prints a page of warnings.
_NEEDS = {
    "pymeshlab": ("libGL.so.1", "libOpenGL.so.0", "libX11.so.6", "libxcb.so.1", "libgmp.so.10", "libp11-kit.so.0"),
}


def _lacks(package: str, libraries: Sequence[str]) -> SystemLibraryMissing:
    """The error for a package whose libraries are missing; it names what to install, all at once."""
    debian = [DEBIAN_PACKAGE[library] for library in libraries if library in DEBIAN_PACKAGE]
    remedy = f"on Debian or Ubuntu: apt-get install {' '.join(debian)}" if debian else "install the package that has it"
    libraries_ = "library" if len(libraries) == 1 else "libraries"
    return SystemLibraryMissing(f"{package} needs the system {libraries_} {' and '.join(libraries)}; {remedy}")


def _load(package: str) -> ModuleType:
    """Import a package. Raises SystemLibraryMissing if a library or the package itself is not installed."""
    if sys.platform == "linux" and extras.is_installed(package):
        if missing := [library for library in _NEEDS.get(package, ()) if not _is_there(library)]:
            raise _lacks(package, missing)
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if found := re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file", str(error)):
            raise _lacks(package, [found.group(1)]) from error
        if missing_package := extras.explained(error):
            raise SystemLibraryMissing(missing_package) from error
        raise


def _is_there(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def require_cache() -> None:
    """See that numba can keep compiled loops: beside the modules, else in the user's cache, else in ``GCBENCH_CACHE``.

    Without such a folder, importing a module with loops fails, and compiling them for each process takes a minute.

    Raises
    ------
    BenchError
        No such folder can be written, as in a container whose user has no home.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    here = Path(__file__).parent
    if any(map(_can_write, (here / "__pycache__", Path(platformdirs.user_cache_dir("numba", appauthor=False))))):
        return
    if not (chosen := os.environ.get("GCBENCH_CACHE")):
        raise BenchError("no folder can be written for compiled loops; let GCBENCH_CACHE name a folder that can")
    os.environ["NUMBA_CACHE_DIR"] = str(Path(chosen).expanduser() / "numba")


def _can_write(folder: Path) -> bool:
    """Whether a folder can be written, or made."""
    above = next(path for path in (folder, *folder.parents) if path.exists())
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


@cache
def pymeshlab() -> ModuleType:
    """PyMeshLab."""
    return _load("pymeshlab")


@cache
def shared_library(name: str, debian: str) -> tuple[ctypes.CDLL, str]:
    """A shared library of the system, and the name of its file with the version, such as ``libfoo.so.0.18``.

    Parameters
    ----------
    name : str
        As a linker takes it: ``meshoptimizer`` is ``libmeshoptimizer.so``.
    debian : str
        The package of Debian 12 that has it.

    Raises
    ------
    SystemLibraryMissing
        There is no such library.
    """
    found = find_library(name)
    if found is None:
        raise SystemLibraryMissing(
            f"the system library lib{name} is not installed; on Debian or Ubuntu: apt-get install {debian}"
        )
    library = ctypes.CDLL(found)
    with contextlib.suppress(OSError):  # only Linux lists the files of a process
        for line in Path("/proc/self/maps").read_text().splitlines():
            if f"/lib{name}.so" in line:
                return library, Path(line[line.index("/") :]).name
    return library, found
