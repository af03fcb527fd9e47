"""Figures of a run, each kind for each dataset, as PNG and PDF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from gcbench import plain_text
from gcbench.bench.analysis.coverage import Common, common
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
_OF_RECORDS = {"scatter", "amortisation"}  # the other kinds draw summaries

__all__ = [
    "KINDS",
    "Kind",
    "amortisation",
    "drawn",
    "pareto",
    "rate_distortion",
    "save_figures",
    "scatter",
    "stem",
    "timing",
]


def save_figures(
    rows: pd.DataFrame,
    folder: Path,
    name: str,
    kinds: Sequence[Kind] = KINDS,
    columns: Sequence[Column] | None = None,
    *,
    shared: Common | None = None,
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
    shared : Common, optional
        ``common(rows)``, if the caller has it.
    """
    return [
        path
        for stem, figure in drawn(rows, f"run {plain_text.visible(name)}", kinds, columns, shared=shared)
        for path in save(figure, folder, stem)
    ]


def drawn(
    rows: pd.DataFrame,
    name: str,
    kinds: Sequence[Kind] = KINDS,
    columns: Sequence[Column] | None = None,
    *,
    shared: Common | None = None,
) -> Iterator[tuple[str, Figure]]:
    """Draw the figures of :func:`save_figures`, whose parameters these are, each with the stem of its file's name."""
    look = looks(rows["codec"].unique())
    for block in _blocks(rows, kinds, shared):
        for kind in kinds:
            figure = _draw(kind, block, name, look=look, columns=columns)
            if figure is not None:
                yield f"{kind}-{block.stem}", figure


@dataclass(frozen=True)
class _Block:
    """The records of one dataset, split, effort and device, and their summaries (empty where no figure needs them).

    ``compared`` is over the meshes in common, ``everything`` over all meshes.
    """

    key: tuple[str, ...]
    rows: pd.DataFrame
    meshes: int
    compared_meshes: int
    compared: pd.DataFrame
    everything: pd.DataFrame

    @property
    def stem(self) -> str:
        return stem(*self.key)


def stem(dataset: str, split: str, effort: str, device: str) -> str:
    """Part of a file's name for a dataset, split, effort and device."""
    return f"{plain_text.as_file_name(dataset)}-{split}-{effort}" + ("" if device == "cpu" else f"-{device}")


def _blocks(rows: pd.DataFrame, kinds: Sequence[Kind], shared: Common | None) -> Iterator[_Block]:
    """Blocks with a record that is ok. What is expensive is computed once for all of them, and only for summaries."""
    in_common: dict[tuple[str, ...], int] = {}
    compared = everything = pd.DataFrame(columns=BLOCK)
    if not set(kinds) <= _OF_RECORDS:
        of_common = (common(rows) if shared is None else shared).rows
        in_common = {_key(key): _coded(part) for key, part in of_common.groupby(BLOCK, sort=True)}
        compared, everything = summarise(of_common), summarise(rows)
        del of_common
    summaries = [
        ({_key(key): part for key, part in of.groupby(BLOCK, sort=True)}, of.iloc[:0]) for of in (compared, everything)
    ]
    for block, part in rows.groupby(BLOCK, sort=True):
        key = _key(block)
        if meshes := _coded(part):
            yield _Block(key, part, meshes, in_common.get(key, 0), *(of.get(key, none) for of, none in summaries))


def _key(block: Any) -> tuple[str, ...]:
    return tuple(map(str, block))


def _coded(rows: pd.DataFrame) -> int:
    return int(rows.loc[rows["status"] == "ok", "mesh"].nunique())


def _draw(
    kind: Kind, block: _Block, run: str, *, look: Mapping[str, Look], columns: Sequence[Column] | None
) -> Figure | None:
    dataset, split, effort, device = block.key
    what, how = (
        f"{plain_text.visible(dataset)}, split {split}",
        f"({effort}{'' if device == 'cpu' else f', {device}'}, {run})",
    )
    rows, every = block.rows, block.meshes
    if kind != "timing":
        ok = rows.loc[(rows["status"] == "ok") & ~rows["timing"], "mesh"]
        if ok.empty:
            return None
        every = ok.nunique()
    if kind == "scatter":
        return scatter(rows, f"{what}: {_meshes(every)} {how}", look=look, columns=columns)
    if kind == "amortisation":
        return amortisation(rows, f"{what}: {_meshes(every)} {how}", look=look)
    summary, everything = block.compared, block.everything
    over = _meshes(every) if block.compared_meshes == every else f"{block.compared_meshes} of {_meshes(every)}"
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
