"""Figures of a run, each kind for each dataset, as PNG and PDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from gcbench.bench.analysis.coverage import common
from gcbench.bench.analysis.figures.costs import pareto, timing
from gcbench.bench.analysis.figures.curves import amortisation, rate_distortion
from gcbench.bench.analysis.figures.meshes import scatter
from gcbench.bench.analysis.figures.style import Look, looks, save
from gcbench.bench.analysis.frame import BLOCK, summarise
from gcbench.bench.metrics import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["rd", "timing", "pareto", "scatter", "amortisation"]
KINDS: tuple[Kind, ...] = ("rd", "timing", "pareto", "scatter", "amortisation")

__all__ = ["KINDS", "Kind", "amortisation", "pareto", "rate_distortion", "save_figures", "scatter", "timing"]


def save_figures(
    rows: pd.DataFrame,
    folder: Path,
    name: str,
    kinds: Sequence[Kind] = KINDS,
    columns: Sequence[Column] | None = None,
) -> list[Path]:
    """Write ``<kind>-<dataset>-<split>-<effort>.png`` and ``.pdf``; returns the paths.

    Parameters
    ----------
    rows : DataFrame
        Records, from :func:`gcbench.bench.analysis.frame.frame`.
    folder : Path
        Created if missing.
    name : str
        Name of the run, for titles.
    kinds : sequence of str
        The kinds of :data:`KINDS` to draw. A kind is left out for a dataset that has no data for it (no set codec, no
        quality in common). Means are over the meshes that codecs have in common (`coverage`).
    columns : sequence of Column, optional
        Metrics to draw; ``pareto`` draws the first of them. By default each kind has its own metrics.
    """
    paths = []
    look = looks(rows["codec"].unique())
    for (dataset, split, effort, device), part in rows.groupby(BLOCK, sort=True):
        where = "" if device == "cpu" else f", {device}"
        stem = f"{str(dataset).replace('/', '_')}-{split}-{effort}" + ("" if device == "cpu" else f"-{device}")
        for kind in kinds:
            figure = _draw(
                kind, part, f"{dataset}, split {split}", f"({effort}{where}, run {name})", look=look, columns=columns
            )
            if figure is not None:
                paths += save(figure, folder, f"{kind}-{stem}")
    return paths


def _draw(
    kind: Kind,
    rows: pd.DataFrame,
    what: str,
    how: str,
    *,
    look: Mapping[str, Look],
    columns: Sequence[Column] | None,
) -> Figure | None:
    ok = rows[(rows["status"] == "ok") & ((kind == "timing") | ~rows["timing"])]
    if ok.empty:
        return None
    every = ok["mesh"].nunique()
    if kind in {"scatter", "amortisation"}:
        title = f"{what}: {_meshes(every)} {how}"
        return (
            scatter(rows, title, look=look, columns=columns)
            if kind == "scatter"
            else amortisation(rows, title, look=look)
        )
    shared = common(rows).rows
    compared = shared.loc[shared["status"] == "ok", "mesh"].nunique()
    over = _meshes(every) if compared == every else f"{compared} of {_meshes(every)}"
    summary, everything = summarise(shared), summarise(rows)
    elsewhere = everything[~everything["codec"].isin(summary["codec"]) & (everything["ok"] > 0)]
    fewer = f", {', '.join(elsewhere['codec'].unique())} not on all of them" if len(elsewhere) else ""
    title = f"{what}: {over}{fewer} {how}"
    if kind == "timing":  # times depend little on the mesh: a mean over other meshes is better than none
        return timing(pd.concat([summary, elsewhere], ignore_index=True), title, look=look)
    if kind == "pareto":
        ranking = [column for column in columns or () if column.better is not None]
        return pareto(summary, title, look=look, column=ranking[0] if ranking else None)
    return rate_distortion(summary, title, everything=everything, look=look, columns=columns)


def _meshes(count: int) -> str:
    return "1 mesh" if count == 1 else f"{count} meshes"
