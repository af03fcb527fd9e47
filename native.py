"""Load Open3D, PyMeshLab and shared libraries; an error names the Debian package of a missing system library.

Without this, ``import open3d`` on a bare Debian fails with ``libusb-1.0.so.0: cannot open shared object file``.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import re
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from types import ModuleType

from gcbench.errors import SystemLibraryMissing

# Shared libraries that the open3d-cpu and pymeshlab wheels need but do not contain, and their Debian 12 packages.
DEBIAN_PACKAGE = {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libOpenGL.so.0": "libopengl0",
    "libX11.so.6": "libx11-6",
    "libxcb.so.1": "libxcb1",
    "libudev.so.1": "libudev1",
    "libidn2.so.0": "libidn2-0",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libgmp.so.10": "libgmp10",
    "libp11-kit.so.0": "libp11-kit0",
    "libgomp.so.1": "libgomp1",
}


def explain_missing_library(package: str, error: ImportError) -> SystemLibraryMissing | None:
    """Turn a loader error into one that names the Debian package; None for any other error."""
    found = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file", str(error))
    if not found:
        return None
    library = found.group(1)
    debian = DEBIAN_PACKAGE.get(library)
    remedy = f"on Debian or Ubuntu: apt-get install {debian}" if debian else f"install the package that has {library}"
    return SystemLibraryMissing(f"{package} needs the system library {library}; {remedy}")


def _load(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        explained = explain_missing_library(package, error)
        if explained is None:
            raise
        raise explained from error


@cache
def open3d() -> ModuleType:
    """Open3D, with libusb from the PyPI package ``libusb-package`` if the system has none."""
    import libusb_package

    bundled = libusb_package.get_library_path()
    if bundled:
        ctypes.CDLL(str(bundled), mode=ctypes.RTLD_GLOBAL)
    return _load("open3d")


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
