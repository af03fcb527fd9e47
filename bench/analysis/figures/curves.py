"""Curves: quality against compression ratio (the paper's Fig. 4 and 8), and ratio against the size of the set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gcbench.bench.analysis.figures.style import Look, canvas, legend_below, looks, note, plain_ticks
from gcbench.bench.analysis.table import inside_floor
from gcbench.bench.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = ("cd", "nc", "f1_0005", "cd_p2s")
# Distances below this (17 bits of quantisation) are drawn at it: a lossless codec would stretch the axis over decades.
SMALLEST_DISTANCE = 1e-5


def rate_distortion(summary: pd.DataFrame, title: str) -> Figure:
    """Draw CD, NC, F1 and p2s against the compression ratio.

    The grey band holds what the noise floor of the sampled metrics hides: points in it are hollow.

    Parameters
    ----------
    summary : DataFrame
        Rows of one dataset, split, effort and device, from :func:`gcbench.bench.analysis.frame.summarise`.
    title : str
        Of the figure.
    """
    look = looks(summary["codec"].unique())
    with canvas(9.0, 6.6) as figure:
        axes = figure.subplots(2, 2, sharex=True)
        for ax, metric in zip(axes.flat, PANELS, strict=True):
            _panel(ax, summary, metric, look)
        for ax in axes[1]:
            ax.set_xlabel("compression ratio (OBJ bytes / stream bytes)")
        legend_below(figure, axes[0, 0])
        figure.suptitle(title)
    return figure


def amortisation(rows: pd.DataFrame, title: str) -> Figure | None:
    """Draw what the ratio of set codecs would be for sets of other sizes, were the shared part to stay as it is.

    Parameters
    ----------
    rows : DataFrame
        Records of one dataset, split, effort and device, from :func:`gcbench.bench.analysis.frame.frame`.
    title : str
        Of the figure.

    Returns
    -------
    Figure or None
        None where no set codec succeeded.
    """
    sets = rows[(rows["kind"] == "set") & (rows["status"] == "ok") & ~rows["timing"]]
    if sets.empty:
        return None
    look = looks(rows["codec"].unique())
    sizes = np.geomspace(1, 1000, 61)
    with canvas(6.0, 4.2) as figure:
        ax = figure.subplots()
        for codec, of_codec in sets.groupby("codec", sort=True):
            drawn = look[str(codec)]
            for rate, part in of_codec.groupby("rate", sort=False):
                obj, own = part["obj_bytes"].mean(), part["mesh_bytes"].mean()
                shared, here = part["shared_bytes"].mean(), part["set_size"].mean()
                ratio = sizes * obj / (shared + sizes * own)
                ax.plot(sizes, ratio, ls=drawn.line, lw=1.5, color=drawn.color, label=f"{codec} {rate}")
                ax.plot(here, here * obj / (shared + here * own), marker=drawn.marker, ms=6, color=drawn.color, ls="")
        ax.set(xscale="log", yscale="log", xlabel="meshes in the set (mark: measured)", ylabel="compression ratio")
        plain_ticks(ax.xaxis)
        plain_ticks(ax.yaxis)
        legend_below(figure, ax)
        figure.suptitle(title)
    return figure


def _panel(ax: Axes, summary: pd.DataFrame, metric: str, look: dict[str, Look]) -> None:
    info = METRICS[metric]
    hollow = inside_floor(summary, metric)
    for codec, drawn in look.items():
        rows = summary[(summary["codec"] == codec) & summary[metric].notna()].sort_values("ratio")
        failed = int(summary.loc[summary["codec"] == codec, "failed"].sum())
        label = f"{codec} ({failed} failed)" if failed else codec
        values = rows[metric].clip(lower=SMALLEST_DISTANCE) if info.unit == "length" else rows[metric]
        values = values * info.scale
        ax.plot(
            rows["ratio"], values, marker=drawn.marker, ms=5.5, color=drawn.color, ls=drawn.line, lw=1.5, label=label
        )
        inside = hollow[rows.index]
        ax.plot(
            *(rows["ratio"][inside], values[inside]),
            marker=drawn.marker, ms=5.5, color=drawn.color, ls="", mfc="white", mew=1.2,
        )  # fmt: skip
    ax.set_xscale("log")
    if info.unit == "length":
        ax.set_yscale("log")
    if info.floor is not None and info.floor in summary:
        _floor_band(ax, float(summary[info.floor].mean()) * info.scale, higher_is_better=info.better == "higher")
    ax.set_ylabel(f"{info.label}  ({info.better} is better)")
    plain_ticks(ax.xaxis)
    if info.unit == "length":
        plain_ticks(ax.yaxis)
        if (summary[metric] < SMALLEST_DISTANCE).any():
            edge = SMALLEST_DISTANCE * info.scale
            note(ax, f"points at {edge:g} are at or below it", edge, above=True)


def _floor_band(ax: Axes, floor: float, *, higher_is_better: bool) -> None:
    low, high = ax.get_ylim()
    if higher_is_better:
        high = max(high, floor + 0.08 * (floor - low))
        ax.axhspan(floor, high, color="0.82", lw=0, zorder=0)
    else:
        low = min(low, floor * 0.93)
        ax.axhspan(low, floor, color="0.82", lw=0, zorder=0)
    ax.set_ylim(low, high)
    note(ax, "noise floor of sampling", floor, above=higher_is_better)
