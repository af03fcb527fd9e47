"""Every mesh as a point: what a mean hides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from gcbench.bench.analysis.figures.curves import SMALLEST_DISTANCE
from gcbench.bench.analysis.figures.style import Look, canvas, legend_below, looks, plain_ticks
from gcbench.bench.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = ("cd_p2s", "hausdorff_p2s")


def scatter(rows: pd.DataFrame, title: str, *, look: Mapping[str, Look] | None = None) -> Figure | None:
    """Draw mean and largest error of every mesh against its bits for each vertex, at every rate.

    Parameters
    ----------
    rows : DataFrame
        Records of one dataset, split, effort and device, from :func:`gcbench.bench.analysis.frame.frame`.
    title : str
        Of the figure.
    look : mapping, optional
        How codecs are drawn.
    """
    ok = rows[(rows["status"] == "ok") & ~rows["timing"]]
    if ok.empty or "cd_p2s" not in ok:
        return None
    look = looks(rows["codec"].unique()) if look is None else look
    with canvas(9.0, 4.4) as figure:
        axes = figure.subplots(1, 2)
        for ax, metric in zip(axes, PANELS, strict=True):
            info = METRICS[metric]
            for codec, part in ok.groupby("codec", sort=True):
                drawn = look[str(codec)]
                ax.plot(
                    *(part["bits_per_vertex"], part[metric].clip(lower=SMALLEST_DISTANCE) * info.scale),
                    marker=drawn.marker, ms=4, color=drawn.color, ls="", alpha=0.75, mew=0.3, mec="white",
                    label=str(codec),
                )  # fmt: skip
            ax.set(xscale="log", yscale="log", xlabel="bits for each vertex of the input", ylabel=info.label)
            plain_ticks(ax.xaxis)
            plain_ticks(ax.yaxis)
        legend_below(figure, axes[0], marker_scale=1.6)
        figure.suptitle(title)
    return figure
