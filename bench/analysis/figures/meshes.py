"""Scatter plots with a point for each mesh and rate, which show what a mean hides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcbench.bench.analysis.figures.curves import drawn_values
from gcbench.bench.analysis.figures.style import Look, canvas, legend_below, looks, plain_ticks
from gcbench.bench.analysis.measured import LOGARITHMIC, measured, ranking_column
from gcbench.bench.metrics import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 1500  # points of a codec: more of them hide each other
WORST = 10
VECTORS = 500  # more points of a codec than this are pixels in the PDF: viewers draw vectors one by one


def scatter(
    rows: pd.DataFrame,
    title: str,
    *,
    look: Mapping[str, Look] | None = None,
    columns: Sequence[Column] | None = None,
) -> Figure | None:
    """Draw metrics of every mesh against its bits for each vertex, at every rate.

    Of a large set, so many meshes are drawn that no codec has more than :data:`MOST` points: the same meshes for all
    codecs, at random but always the same ones; and the :data:`WORST` worst values of each codec. The title says so.

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
    sample = _sample(ok)
    if sample is not None:
        every = ok["mesh"].nunique()
        title += f"\n{len(sample)} of {every} meshes, drawn at random, and the {WORST} worst values of each codec"
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    with canvas({1: 6.4, 2: 9.0, 3: 12.0}[across], 0.8 + 3.6 * down) as figure:
        axes = figure.subplots(down, across, squeeze=False)
        for ax in axes.flat[len(panels) :]:
            ax.set_visible(False)
        for ax, column in zip(axes.flat, panels, strict=False):
            for codec, of_codec in ok.groupby("codec", sort=True):
                drawn = look[str(codec)]
                part = (
                    of_codec if sample is None else of_codec[of_codec["mesh"].isin(sample) | _worst(of_codec, column)]
                )
                ax.plot(
                    *(part["bits_per_vertex"], drawn_values(part, column)),
                    marker=drawn.marker, ms=4 if sample is None else 3, color=drawn.color, ls="",
                    alpha=0.75 if sample is None else 0.5, mew=0.3, mec="white",
                    label=str(codec), rasterized=len(part) > VECTORS,
                )  # fmt: skip
            ax.set(xscale="log", xlabel="bits for each vertex of the input", ylabel=column.label)
            plain_ticks(ax.xaxis)
            if column.unit in LOGARITHMIC:
                ax.set_yscale("log")
                plain_ticks(ax.yaxis)
        legend_below(figure, axes[0, 0], marker_scale=1.6 if sample is None else 2.2)
        figure.suptitle(title)
    return figure


def _sample(rows: pd.DataFrame) -> NDArray[np.object_] | None:
    """Names of the meshes to draw; None if that is all of them."""
    points = rows.groupby("codec", sort=True).size().max()
    if points <= MOST:
        return None
    meshes = np.sort(np.asarray(rows["mesh"].unique(), object))
    count = max(1, len(meshes) * MOST // int(points))
    return np.random.default_rng(0).choice(meshes, count, replace=False)


def _worst(rows: pd.DataFrame, column: Column) -> pd.Series[bool]:
    """Which records have the worst values of a column: the highest, if neither end is better."""
    values = rows[column.name].astype(float)
    ends = values.nsmallest(WORST) if column.better == "higher" else values.nlargest(WORST)
    return pd.Series(rows.index.isin(ends.index), index=rows.index)


def _mean_and_extreme(rows: pd.DataFrame) -> list[Column]:
    ranking = ranking_column(rows)
    extreme = [column for column in measured(rows) if column.unit == "length" and not column.robust][:1]
    return [] if ranking is None else [ranking, *(column for column in extreme if column != ranking)]
