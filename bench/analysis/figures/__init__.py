"""Figures of a run, each kind for each dataset, as PNG and PDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from gcbench.bench.analysis.figures.costs import pareto, timing
from gcbench.bench.analysis.figures.curves import amortisation, rate_distortion
from gcbench.bench.analysis.figures.meshes import scatter
from gcbench.bench.analysis.figures.style import save
from gcbench.bench.analysis.frame import summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["rd", "timing", "pareto", "scatter", "amortisation"]
KINDS: tuple[Kind, ...] = ("rd", "timing", "pareto", "scatter", "amortisation")

__all__ = ["KINDS", "Kind", "amortisation", "pareto", "rate_distortion", "save_figures", "scatter", "timing"]


def save_figures(rows: pd.DataFrame, folder: Path, name: str, kinds: Sequence[Kind] = KINDS) -> list[Path]:
    """Write ``<kind>-<dataset>-<split>-<effort>.png`` and ``.pdf``; returns the paths.

    Parameters
    ----------
    rows : DataFrame
        Records, from :func:`gcbench.bench.analysis.frame.frame`.
    folder : Path
        Made where it is not there.
    name : str
        Of the run, for titles.
    kinds : sequence of str
        Those of :data:`KINDS` to draw. One that says nothing about a dataset (no set codec, no quality in common) is
        left out.
    """
    paths = []
    for (dataset, split, effort, device), part in rows.groupby(["dataset", "split", "effort", "device"], sort=True):
        summary = summarise(part)
        where = "" if device == "cpu" else f", {device}"
        title = f"{dataset}, split {split}: {int(summary['meshes'].max())} meshes ({effort}{where}, run {name})"
        stem = f"{str(dataset).replace('/', '_')}-{split}-{effort}" + ("" if device == "cpu" else f"-{device}")
        for kind in kinds:
            figure = _draw(kind, part, summary, title)
            if figure is not None:
                paths += save(figure, folder, f"{kind}-{stem}")
    return paths


def _draw(kind: Kind, rows: pd.DataFrame, summary: pd.DataFrame, title: str) -> Figure | None:
    if kind == "timing":
        return timing(summary, title) if summary["encode_ms"].notna().any() else None
    if not ((rows["status"] == "ok") & ~rows["timing"]).any():
        return None
    if kind == "rd":
        return rate_distortion(summary, title)
    if kind == "pareto":
        return pareto(summary, title)
    return scatter(rows, title) if kind == "scatter" else amortisation(rows, title)
