"""The folders for datasets and for caches, from options, environment variables or platform conventions."""

from __future__ import annotations

import os
from pathlib import Path

from gcbench.errors import UsageError


def data_root(given: Path | None = None) -> Path:
    """Folder of datasets: ``given``, else ``BENCH_DATA``, else the user's data folder; it need not exist."""
    return _resolve(given, "BENCH_DATA", "data")


def cache_dir(given: Path | None = None) -> Path:
    """Folder of caches: ``given``, else ``GCBENCH_CACHE``, else the user's cache folder; it need not exist."""
    return _resolve(given, "GCBENCH_CACHE", "cache")


def _resolve(given: Path | None, variable: str, kind: str) -> Path:
    if given is not None or os.environ.get(variable):
        chosen = Path(os.environ[variable]) if given is None else given
        try:
            return chosen.expanduser()
        except RuntimeError as error:  # ~NOBODY
            raise UsageError(f"{chosen}: {error}") from None
    import platformdirs

    return Path(platformdirs.user_data_dir("gcbench") if kind == "data" else platformdirs.user_cache_dir("gcbench"))
