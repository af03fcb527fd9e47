"""Scatter plots with a point for each mesh and rate, which show what a mean hides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from gcbench.bench.analysis.figures.curves import drawn_values
from gcbench.bench.analysis.figures.style import Look, canvas, legend_below, looks, plain_ticks
from gcbench.bench.analysis.measured import LOGARITHMIC, measured, ranking_column
from gcbench.bench.metrics import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scatter(
    rows: pd.DataFrame,
    title: str,
    *,
    look: Mapping[str, Look] | None = None,
    columns: Sequence[Column] | None = None,
) -> Figure | None:
    """Draw metrics of every mesh against its bits for each vertex, at every rate.

    Parameters
    ----------
    rows : DataFrame
        Records of one dataset, split, effort and device, from :func:`gcbench.bench.analysis.frame.frame`.
    title : str
        Of the figure.
    look : mapping, optional
        How codecs are drawn.
    columns : sequence of Column, optional
        Metrics to draw, a panel for each; by default the column that ranks codecs, and the first distance that is not
        a mean, such as the largest error.

    Returns
    -------
    Figure or None
        None if none of the metrics was measured.
    """
    ok = rows[(rows["status"] == "ok") & ~rows["timing"]]
    wanted = _mean_and_extreme(ok) if columns is None else columns
    panels = [column for column in wanted if column.name in ok and ok[column.name].notna().any()]
    if not panels:
        return None
    look = looks(rows["codec"].unique()) if look is None else look
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    with canvas({1: 6.4, 2: 9.0, 3: 12.0}[across], 0.8 + 3.6 * down) as figure:
        axes = figure.subplots(down, across, squeeze=False)
        for ax in axes.flat[len(panels) :]:
            ax.set_visible(False)
        for ax, column in zip(axes.flat, panels, strict=False):
            for codec, part in ok.groupby("codec", sort=True):
                drawn = look[str(codec)]
                ax.plot(
                    *(part["bits_per_vertex"], drawn_values(part, column)),
                    marker=drawn.marker, ms=4, color=drawn.color, ls="", alpha=0.75, mew=0.3, mec="white",
                    label=str(codec),
                )  # fmt: skip
            ax.set(xscale="log", xlabel="bits for each vertex of the input", ylabel=column.label)
            plain_ticks(ax.xaxis)
            if column.unit in LOGARITHMIC:
                ax.set_yscale("log")
                plain_ticks(ax.yaxis)
        legend_below(figure, axes[0, 0], marker_scale=1.6)
        figure.suptitle(title)
    return figure


def _mean_and_extreme(rows: pd.DataFrame) -> list[Column]:
    ranking = ranking_column(rows)
    extreme = [column for column in measured(rows) if column.unit == "length" and not column.robust][:1]
    return [] if ranking is None else [ranking, *(column for column in extreme if column != ranking)]
