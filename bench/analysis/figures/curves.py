"""Curves: quality against compression ratio (the paper's Fig. 4 and 8), and ratio against the size of the set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gcbench.bench.analysis.figures.style import Look, canvas, head, legend_below, looks, note, plain_ticks
from gcbench.bench.analysis.measured import LOGARITHMIC, headlines, inside_floor, ranking_column
from gcbench.bench.metrics import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 6


def rate_distortion(
    summary: pd.DataFrame,
    title: str,
    *,
    everything: pd.DataFrame | None = None,
    look: Mapping[str, Look] | None = None,
    columns: Sequence[Column] | None = None,
) -> Figure | None:
    """Draw metrics against the compression ratio, a panel for each.

    A grey band marks the noise floor of a sampled metric. Points at the noise floor are hollow.

    Parameters
    ----------
    summary : DataFrame
        Rows of one dataset, split, effort and device, from :func:`gcbench.bench.analysis.frame.summarise`: means over
        the same meshes.
    title : str
        Of the figure.
    everything : DataFrame, optional
        The summary of all meshes. Rows that are missing in ``summary``, because their means are over other meshes, are
        drawn as small points beside the curves; those of a codec that has no curve are joined by a thin line, if all
        of its rates have as many meshes.
    look : mapping, optional
        How codecs are drawn; by default that of the codecs in the figure.
    columns : sequence of Column, optional
        Metrics to draw; by default the headlines that were measured, at most six.

    Returns
    -------
    Figure or None
        None if none of the metrics was measured.
    """
    everything = summary if everything is None else everything
    look = looks(everything["codec"].unique()) if look is None else look
    wanted = panels(summary) if columns is None else columns
    panel_columns = [column for column in wanted if column.name in summary and summary[column.name].notna().any()]
    if not panel_columns:
        return None
    names = ["codec", "rate"]
    in_curves = pd.MultiIndex.from_frame(everything[names]).isin(pd.MultiIndex.from_frame(summary[names]))
    beside = everything[~in_curves]
    across = {1: 1, 2: 2, 4: 2}.get(len(panel_columns), 3)
    down = math.ceil(len(panel_columns) / across)
    with canvas({1: 6.4, 2: 9.0, 3: 12.0}[across], 0.6 + 2.9 * down + 0.07 * len(look)) as figure:
        axes = figure.subplots(down, across, sharex=True, squeeze=False)
        drawn = list(zip(axes.flat, panel_columns, strict=False))
        for ax, column in drawn:
            _panel(ax, column, summary, beside, look)
        for ax in axes.flat[len(drawn) :]:
            ax.set_visible(False)
        for ax in axes.flat[max(0, len(drawn) - across) : len(drawn)]:  # the last visible panel of each column
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("compression ratio (OBJ bytes / stream bytes)" if across < 3 else "OBJ bytes / stream bytes")
        plain_ticks(axes[0, 0].xaxis)  # after all panels are drawn: they share the axis
        _explain(axes[0, 0], summary, beside, panel_columns)
        failed = everything[everything["failed"] > 0].groupby("codec")["failed"].sum()
        legend_below(figure, axes[0, 0], more={str(c): f"{c} ({n} failed)" for c, n in failed.items()})
        head(figure, title)
    return figure


def panels(summary: pd.DataFrame) -> list[Column]:
    """The first six headlines that were measured; the column that ranks is always among them."""
    found = headlines(summary)
    ranking = ranking_column(summary)
    if ranking in found[MOST_PANELS:]:
        return [*found[: MOST_PANELS - 1], ranking]
    return found[:MOST_PANELS]


def _explain(ax: Axes, summary: pd.DataFrame, beside: pd.DataFrame, columns: Sequence[Column]) -> None:
    """Explain hollow and small points in the legend, if there are any."""
    if any(inside_floor(summary, column.name).any() for column in columns):
        ax.plot([], [], "o", color="0.35", mfc="white", mew=1.2, ms=5.5, label="hollow: noise floor")
    if (beside["ok"] > 0).any():
        ax.plot([], [], "o", color="0.35", ms=3, label="small: other meshes")


def amortisation(rows: pd.DataFrame, title: str, *, look: Mapping[str, Look] | None = None) -> Figure | None:
    """Draw the ratio that set codecs would have for sets of other sizes, if the shared bytes stayed the same.

    Parameters
    ----------
    rows : DataFrame
        Records of one dataset, split, effort and device, from :func:`gcbench.bench.analysis.frame.frame`.
    title : str
        Of the figure.
    look : mapping, optional
        How codecs are drawn.

    Returns
    -------
    Figure or None
        None if no set codec succeeded.
    """
    sets = rows[(rows["kind"] == "set") & (rows["status"] == "ok") & ~rows["timing"]]
    if sets.empty:
        return None
    look = looks(rows["codec"].unique()) if look is None else look
    sizes = np.geomspace(1, 1000, 61)
    with canvas(6.4, 4.6) as figure:
        ax = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for codec, of_codec in sets.groupby("codec", sort=True):
            drawn = look[str(codec)]
            ladder = of_codec.sort_values("rate_index").groupby("rate", sort=False)
            for rate, part in ladder:
                obj, own = part["obj_bytes"].mean(), part["mesh_bytes"].mean()
                shared, here = part["shared_bytes"].mean(), part["set_size"].mean()
                ratio = sizes * obj / (shared + sizes * own)
                ax.plot(sizes, ratio, ls=drawn.line, lw=1.5, color=drawn.color)
                ax.plot(here, here * obj / (shared + here * own), marker=drawn.marker, ms=6, color=drawn.color, ls="")
                ends.append((float(ratio[-1]), str(rate), drawn.color))
            ax.plot([], [], ls=drawn.line, lw=1.5, marker=drawn.marker, ms=6, color=drawn.color, label=str(codec))
        ax.set(xscale="log", yscale="log", xlabel="meshes in the set (mark: measured)", ylabel="compression ratio")
        ax.set_xlim(1, 1000)
        plain_ticks(ax.xaxis)
        plain_ticks(ax.yaxis)
        legend_below(figure, ax)
        figure.suptitle(
            f"{title}\ncurves: other sizes of the set, with shared bytes and bytes of a mesh as measured", fontsize=10
        )
        figure.draw_without_rendering()  # computes where things are
        _name_ends(ax, ends)
    return figure


def _name_ends(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Write names at the right ends of curves; names that would overlap are moved apart."""
    points = 72 / ax.figure.dpi  # in a pixel
    ordered = sorted(ends, reverse=True)
    at = [ax.transData.transform((1, height))[1] * points for height, _, _ in ordered]
    highest = np.inf
    for place, (height, name, color) in zip(at, ordered, strict=True):
        highest = min(place, highest - 8)
        ax.annotate(
            name, (1, height), (4, highest - place), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=7.5, va="center", color=color,
        )  # fmt: skip


def _panel(ax: Axes, column: Column, summary: pd.DataFrame, beside: pd.DataFrame, look: Mapping[str, Look]) -> None:
    name = column.name
    hollow = inside_floor(summary, name)
    for codec in sorted(set(summary["codec"]) | set(beside["codec"])):
        drawn = look[codec]
        rows = _drawable(summary, codec, name)
        values = drawn_values(rows, column)
        ax.plot(
            rows["ratio"], values, marker=drawn.marker, ms=5.5, color=drawn.color, ls=drawn.line, lw=1.5, label=codec
        )
        inside = hollow[rows.index]
        ax.plot(
            *(rows["ratio"][inside], values[inside]),
            marker=drawn.marker, ms=5.5, color=drawn.color, ls="", mfc="white", mew=1.2,
        )  # fmt: skip
        others = _drawable(beside, codec, name)
        on_some = rows.empty and len(others) > 1 and others["ok"].nunique() == 1  # run on some of the meshes
        ax.plot(
            others["ratio"],
            drawn_values(others, column),
            marker=drawn.marker,
            ms=3,
            color=drawn.color,
            lw=0.6,
            ls=drawn.line if on_some else "",
        )
    ax.set_xscale("log")
    if column.unit in LOGARITHMIC:
        ax.set_yscale("log")
    if column.floor is not None and column.floor in summary and summary[column.floor].notna().any():
        floor = float(summary[column.floor].mean()) * column.scale
        _floor_band(ax, floor, higher_is_better=column.better == "higher")
    ax.set_ylabel(column.label if column.better is None else f"{column.label}  ({column.better} is better)")
    if column.unit in LOGARITHMIC:
        plain_ticks(ax.yaxis)
        least = LOGARITHMIC[column.unit]
        if (summary[name] < least).any():
            edge = least * column.scale
            note(ax, f"points at {edge:g} are at or below it", edge, above=True)


def _drawable(summary: pd.DataFrame, codec: str, name: str) -> pd.DataFrame:
    if name not in summary:
        return summary.iloc[:0].assign(**{name: []})
    return summary[(summary["codec"] == codec) & summary[name].notna()].sort_values("ratio")


def drawn_values(rows: pd.DataFrame, column: Column) -> pd.Series[float]:
    """Values as they are drawn: scaled, and clipped at the smallest value of a logarithmic axis."""
    values = rows[column.name].astype(float)
    return values.clip(lower=LOGARITHMIC.get(column.unit)) * column.scale


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
