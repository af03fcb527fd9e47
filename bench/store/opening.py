"""Open results by path: a run folder, or a pack."""

from __future__ import annotations

from pathlib import Path

from gcbench.bench.store.pack import Pack, is_pack
from gcbench.bench.store.results import Results
from gcbench.bench.store.run import Run


def open_results(path: Path) -> Results:
    """The run or the pack in a folder; a path without either is a run that does not exist.

    Both have the same readers: ``codings()``, ``counting()``, ``measurements()``, ``records()``, ``sessions()``,
    ``stream()``, ``not_run`` and ``name``; :func:`gcbench.bench.analysis.versions.newest` takes both. Nothing is read
    before a reader is called.

    Parameters
    ----------
    path : Path
        Of the folder. Examples: ``results/runs/mine`` (a run), ``results/reference/ama40`` (a pack).
    """
    return Pack(path) if is_pack(path) else Run(path)
