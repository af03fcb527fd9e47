"""Where a number comes from: versions, commit, machine, command line. Collected once for each invocation."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import gcbench

# Packages that can change a number.
_PACKAGES = (
    "DracoPy",
    "manifold3d",
    "numba",
    "numpy",
    "open3d-cpu",
    "open3d",
    "pymeshlab",
    "scikit-image",
    "scipy",
    "torch",
    "trimesh",
    "zstandard",
)


def collect() -> dict[str, Any]:
    """Describe this process and machine in plain JSON values."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "gcbench": gcbench.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "machine": {
            "system": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        },
    }


def commit() -> dict[str, Any] | None:
    """Commit of the gcbench that runs and whether it was changed since; None when installed without a checkout."""
    root = Path(gcbench.__file__).parent
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain")
    return {"commit": head, "dirty": bool(status)} if head and status is not None else None


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],  # noqa: S607 (the user's git, wherever it is)
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
