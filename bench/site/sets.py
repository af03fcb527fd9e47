"""One set of results, read once: its records, their means, where and how they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from gcbench.bench.analysis.coverage import Common, common
from gcbench.bench.analysis.frame import summarise
from gcbench.bench.analysis.mean_curves import means_by_meshes
from gcbench.bench.analysis.measured import ranking_column
from gcbench.bench.analysis.versions import newest
from gcbench.bench.metrics import Column
from gcbench.bench.store.opening import open_results
from gcbench.bench.store.results import Results
from gcbench.errors import UsageError

_TIMED = ["dataset", "split", "mesh", "codec", "rate", "effort", "device"]
_LINES = ("codings.jsonl", "measurements.jsonl", "sessions.jsonl")


@dataclass(frozen=True)
class Reference:
    """A set of results: a pack or a run.

    Parameters
    ----------
    results : Results
        Where they are.
    rows : DataFrame
        Records (:func:`gcbench.bench.analysis.versions.newest`).
    notes : tuple of str
        What was left out.
    """

    results: Results
    rows: pd.DataFrame
    notes: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Reference:
        """Read a pack or a run. Raises UsageError if there are no results."""
        results = open_results(path)
        if not results.exists:
            raise UsageError(f"no results at {path}")
        found = newest(results, gone=True)
        if not ((found.rows["status"] == "ok") & ~found.rows["timing"].astype(bool)).any():
            raise UsageError(f"{path} has no coding of a quality pass that succeeded")
        return cls(results, found.rows, found.notes)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.results.name

    @property
    def path(self) -> Path:
        """The folder."""
        return self.results.path

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all lines: the same for a run and for a pack of it."""
        digest = hashlib.sha256()
        for name in _LINES:
            for line in self.results.lines(name):
                digest.update(line)
        for codec, reason in sorted(self.results.not_run.items()):
            digest.update(f"{codec}\0{reason}\n".encode())
        return digest.hexdigest()

    @cached_property
    def common(self) -> Common:
        """Records of the meshes that codecs have in common."""
        return common(self.rows)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Means over all meshes."""
        return summarise(self.rows)

    @cached_property
    def compared(self) -> pd.DataFrame:
        """Means over the meshes in common."""
        return summarise(self.common.rows)

    @cached_property
    def by_meshes(self) -> list[pd.DataFrame]:
        """Means over the meshes in common, and over each smaller set of meshes that other codecs coded."""
        return means_by_meshes(self.rows)

    @cached_property
    def ranking(self) -> Column | None:
        """The column that ranks."""
        return ranking_column(self.rows)

    @cached_property
    def sessions(self) -> Sequence[Mapping[str, Any]]:
        """Invocations, oldest first."""
        return self.results.sessions()

    @property
    def quality(self) -> pd.DataFrame:
        """Records of the quality pass."""
        return self.rows[~self.rows["timing"].astype(bool)]

    @cached_property
    def timed(self) -> pd.DataFrame:
        """Records of the meshes, codecs and rates that have a timing pass; empty if there was none."""
        passes = pd.MultiIndex.from_frame(self.rows.loc[self.rows["timing"].astype(bool), _TIMED].drop_duplicates())
        return self.rows[pd.MultiIndex.from_frame(self.rows[_TIMED]).isin(passes)]

    @cached_property
    def common_in_time(self) -> Common:
        """Records of :attr:`timed` whose meshes codecs have in common."""
        return common(self.timed)

    @cached_property
    def compared_in_time(self) -> pd.DataFrame:
        """Means over these."""
        return summarise(self.common_in_time.rows)

    @cached_property
    def times(self) -> pd.DataFrame:
        """Means over the meshes that have a timing pass; without a timing pass, of single calls."""
        if self.timed.empty:
            return self.compared
        summary = summarise(self.timed)
        return summary[summary["timed"].astype(bool)]

    @cached_property
    def codecs(self) -> tuple[str, ...]:
        """Addresses with a record, sorted."""
        return tuple(sorted(set(map(str, self.rows["codec"]))))

    @cached_property
    def not_run(self) -> Mapping[str, str]:
        """Codec → why it has no record here: what the pack says, and what was unavailable to every invocation."""
        reasons: dict[str, str] = {}
        for session in self.sessions:
            reasons |= session.get("unavailable") or {}
        reasons |= self.results.not_run
        return {codec: reason for codec, reason in sorted(reasons.items()) if codec not in self.codecs}


def find_sets(folder: Path) -> list[Reference]:
    """Read a pack or run, or all of those in a folder, by name.

    Raises
    ------
    UsageError
        There are none.
    """
    if open_results(folder).exists:
        return [Reference.read(folder)]
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [Reference.read(path) for path in inside if path.is_dir() and open_results(path).exists]
    if not found:
        raise UsageError(f"no pack and no run in {folder}")
    return found
