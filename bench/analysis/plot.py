"""Rate-distortion figures in seaborn: compression ratio on a log axis against CD, NC, F1 and p2s."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from gcbench.bench.analysis.table import inside_floor
from gcbench.bench.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

PANELS = ("cd", "nc", "f1_0005", "cd_p2s")
# Distances below this (17 bits of quantisation) are drawn at it: a lossless codec would stretch the axis over decades.
SMALLEST_DISTANCE = 1e-5
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*")
LINES = ("-", "--", "-.", ":")


def rate_distortion(summary: pd.DataFrame, title: str) -> Figure:
    """Draw the four panels for one dataset.

    A codec has its own colour (of a palette that the colour-blind can tell apart), marker and dash, so that the figure
    also reads in grey. The grey band holds what the noise floor of the sampled metrics hides: points in it are hollow.

    Parameters
    ----------
    summary : DataFrame
        Rows of one dataset, split, effort and device, from :func:`gcbench.bench.analysis.frame.summarise`.
    title : str
        Of the figure.

    Returns
    -------
    Figure
        Not one of pyplot's: the backend stays as it is, and there is nothing to close.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    codecs = sorted(summary["codec"].unique())
    palette = dict(zip(codecs, sns.color_palette("colorblind", len(codecs)), strict=True))
    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), sns.plotting_context("paper", font_scale=1.15):
        figure = Figure(figsize=(9.0, 6.6), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True)
        for ax, metric in zip(axes.flat, PANELS, strict=True):
            _panel(ax, summary, metric, codecs, palette)
        for ax in axes[1]:
            ax.set_xlabel("compression ratio (OBJ bytes / stream bytes)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
        figure.suptitle(title)
    return figure


def _panel(ax: Axes, summary: pd.DataFrame, metric: str, codecs: list[str], palette: dict[str, object]) -> None:
    info = METRICS[metric]
    hollow = inside_floor(summary, metric)
    for index, codec in enumerate(codecs):
        rows = summary[(summary["codec"] == codec) & summary[metric].notna()].sort_values("ratio")
        failed = int(summary.loc[summary["codec"] == codec, "failed"].sum())
        label = f"{codec} ({failed} failed)" if failed else codec
        style = {"color": palette[codec], "marker": MARKERS[index % len(MARKERS)], "ms": 5.5}
        values = rows[metric].clip(lower=SMALLEST_DISTANCE) if info.unit == "length" else rows[metric]
        values = values * info.scale
        ax.plot(rows["ratio"], values, ls=LINES[index % len(LINES)], lw=1.5, label=label, **style)  # type: ignore[arg-type]  # mixed style values
        inside = hollow[rows.index]
        ax.plot(rows["ratio"][inside], values[inside], ls="", mfc="white", mew=1.2, **style)  # type: ignore[arg-type]  # mixed style values
    ax.set_xscale("log")
    if info.unit == "length":
        ax.set_yscale("log")
    if info.floor is not None and info.floor in summary:
        _floor_band(ax, float(summary[info.floor].mean()) * info.scale, higher_is_better=info.better == "higher")
    ax.set_ylabel(f"{info.label}  ({info.better} is better)")
    _plain_ticks(ax.xaxis)
    if info.unit == "length":
        _plain_ticks(ax.yaxis)
        if (summary[metric] < SMALLEST_DISTANCE).any():
            edge = SMALLEST_DISTANCE * info.scale
            _note(ax, f"points at {edge:g} are at or below it", edge, above=True)


def _floor_band(ax: Axes, floor: float, *, higher_is_better: bool) -> None:
    low, high = ax.get_ylim()
    if higher_is_better:
        high = max(high, floor + 0.08 * (floor - low))
        ax.axhspan(floor, high, color="0.82", lw=0, zorder=0)
    else:
        low = min(low, floor * 0.93)
        ax.axhspan(low, floor, color="0.82", lw=0, zorder=0)
    ax.set_ylim(low, high)
    _note(ax, "noise floor of sampling", floor, above=higher_is_better)


def _note(ax: Axes, text: str, y: float, *, above: bool) -> None:
    ax.annotate(
        text,
        (0.985, y),
        (0, 3 if above else -3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom" if above else "top",
        fontsize=7.5,
        color="0.35",
        annotation_clip=False,
    )


def _plain_ticks(axis: Axis) -> None:
    """Ticks of a log axis at 10, 20, 50, ... and not at powers: people compare them with numbers in texts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def save_figures(summary: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write ``rd-<dataset>-<split>-<effort>.png`` and ``.pdf`` for each of a run; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for (dataset, split, effort, device), rows in summary.groupby(["dataset", "split", "effort", "device"], sort=True):
        meshes = int(rows["meshes"].max())
        where = "" if device == "cpu" else f", {device}"
        figure = rate_distortion(rows, f"{dataset}, split {split}: {meshes} meshes ({effort}{where}, run {name})")
        for suffix in (".png", ".pdf"):
            stem = f"rd-{str(dataset).replace('/', '_')}-{split}-{effort}" + ("" if device == "cpu" else f"-{device}")
            path = folder / (stem + suffix)
            # No creation date: the same records give the same bytes.
            figure.savefig(path, dpi=200, metadata={"CreationDate": None} if suffix == ".pdf" else None)
            paths.append(path)
    return paths
