"""Provenance of one invocation: versions of packages and programs, commit, machine, command line."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import gcbench
from gcbench.bench.run import machine
from gcbench.codecs import Codec
from gcbench.versions import installed

# Packages that can change a result of any codec: they load and generate meshes, and measure.
_PACKAGES = ("libigl", "manifold3d", "numba", "numpy", "scikit-image", "scipy", "trimesh")


def collect(codecs: Iterable[Codec] = ()) -> dict[str, Any]:
    """Describe this process, this machine, and the dependencies of some codecs, in plain JSON values."""
    chosen = list(codecs)
    ours = _own_sha256(Path(gcbench.__file__).parent)
    packages = sorted({*_PACKAGES, *(package for codec in chosen for package in codec.packages)}, key=str.lower)
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "gcbench": gcbench.__version__,
        "commit": commit(ours),
        "source_sha256": ours,
        "python": platform.python_version(),
        "packages": {name: found for name in packages if (found := installed(name))},
        "programs": {name: which for codec in chosen for name, which in codec.programs().items()},
        "machine": {
            "system": platform.platform(),
            "processor": machine.cpu_model(),
            "cores": os.cpu_count(),
            "memory_bytes": machine.memory_bytes(),
            "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        },
    }


def commit(ours: str) -> dict[str, Any] | None:
    """Git commit of this gcbench, and whether the working tree is dirty; None for a package from an index.

    Looked up in the folder of the package, and in the folder that it was installed from (PEP 610) if the sources there
    still have the hash ``ours``.
    """
    package = Path(gcbench.__file__).parent
    for checkout in filter(None, (package, _installed_from())):
        if not (checkout / ".git").exists() or (checkout != package and source_sha256(checkout) != ours):
            continue
        head, status = _git(checkout, "rev-parse", "HEAD"), _git(checkout, "status", "--porcelain")
        if head and status is not None:
            return {"commit": head, "dirty": bool(status)}
    return None


@cache
def _own_sha256(package: Path) -> str:
    """The hash of the package that this process runs, as it was when first asked for."""
    return source_sha256(package)


def source_sha256(package: Path) -> str:
    """One hash over the Python files of gcbench under a folder, which identifies the code without git."""
    digest = hashlib.sha256()
    folders = [init.parent for init in package.glob("*/__init__.py")]  # leaves out the tests of a checkout
    files = [*package.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]
    for file in sorted(files):
        digest.update(f"{file.relative_to(package).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _installed_from() -> Path | None:
    try:
        direct_url = distribution("gcbench").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    url = urlsplit(json.loads(direct_url)["url"]) if direct_url else None
    return Path(unquote(url.path)) if url and url.scheme == "file" else None


def _git(root: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(
            [git, "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
