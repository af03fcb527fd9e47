"""Find the run, or the pack, that a command names, by name or by path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gcbench.bench.cli.output import say
from gcbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from gcbench.bench.store.results import Results
    from gcbench.bench.store.run import Run

RUNS = Path("results/runs")


def run_path(run: str) -> Path:
    """Folder of a run given by name or by path, such as ``./name``."""
    path = Path(run)
    return RUNS / run if path.name == run else path


def short_name(store: Results) -> str:
    """What to type to name a run, before it is quoted for a shell."""
    if store.path.parent == RUNS and not store.name.startswith("-"):
        return store.name
    return f"./{store.path}" if str(store.path) == store.name else str(store.path)


def last_run() -> Path:
    """Folder of the run that was written to last. Raises UsageError if ``results/runs`` has no run."""
    runs = sorted(RUNS.glob("*/sessions.jsonl"), key=lambda p: p.stat().st_mtime)
    if not runs:
        raise UsageError(f"no run in {RUNS}; make one with: bench run")
    return runs[-1].parent


def opened(run: str | None) -> Results:
    """A run or a pack; or the last run. Raises UsageError if there is no such run."""
    from gcbench.bench.store.opening import open_results

    store = open_results(run_path(run) if run else last_run())
    if not store.exists:
        beside = f"; did you mean ./{run}?" if run and open_results(Path(run)).exists else "; see: bench list runs"
        raise UsageError(f"no run at {store.path}{beside}")
    return store


def opened_run(run: str | None) -> Run:
    """A run, or the last one. Raises UsageError if there is no such run, or only a pack."""
    from gcbench.bench.store.run import Run

    store = opened(run)
    if not isinstance(store, Run):
        raise UsageError(f"{store.path} is a pack: it has no streams, and nothing can be added to it")
    return store


def read_run(run: str | None, *, gone: bool = False, others: Sequence[str] | None = None) -> tuple[Path, pd.DataFrame]:
    """Folder and records of a run, or of the last one; prints which results are left out.

    Left out are results of older codec versions, and those of meshes that are no longer in the dataset. The records of
    other runs and packs are put beside those of the run, see :mod:`gcbench.bench.analysis.beside`.
    """
    from gcbench.bench.analysis.versions import newest

    store = opened(run)
    found = newest(store, gone=gone)
    for line in found.notes:
        say(line, err=True)
    if found.rows.empty and found.notes:
        raise UsageError(f"{store.path} has no result of a mesh that is still in the dataset; to see all: --gone")
    if found.rows.empty:
        raise UsageError(f"{store.path} has no results yet; resume it with: bench run")
    if not others:
        return store.path, found.rows
    from gcbench.bench.analysis.beside import beside

    together = beside(found, {other: newest(opened(other), gone=gone) for other in others})
    for line in together.notes:
        say(line, err=True)
    return store.path, together.rows


def not_run(run: str | None, others: Sequence[str] | None, rows: pd.DataFrame) -> dict[str, str]:
    """Why codecs without a record did not run, as a run and others say."""
    reasons: dict[str, str] = {}
    for one in (*(others or ()), run):
        reasons |= opened(one).not_run
    there = set(rows["codec"].unique())
    return {codec: why for codec, why in reasons.items() if codec not in there}
