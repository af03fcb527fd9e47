"""What codecs cost: times as bars, and time and memory against size at equal quality."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from gcbench.bench.analysis.equal_quality import at_quality, common_quality
from gcbench.bench.analysis.figures.style import Look, canvas, head, looks, plain_ticks
from gcbench.bench.analysis.measured import ranking_column
from gcbench.bench.analysis.tables.notes import how_timed, machine_notes
from gcbench.bench.metrics import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_MIB = 1.0  # smaller values are drawn here: a few pages more or less would stretch the axis over decades


def timing(summary: pd.DataFrame, title: str, *, look: Mapping[str, Look] | None = None) -> Figure:
    """Draw encoding and decoding times of a mesh: a bar to the median over rates, a line from minimum to maximum.

    Parameters
    ----------
    summary : DataFrame
        Rows of one dataset, split, effort and device.
    title : str
        Of the figure.
    look : mapping, optional
        How codecs are drawn.
    """
    timed = summary[summary["encode_ms"].notna()]
    codecs = sorted(timed["codec"].unique())
    look = looks(summary["codec"].unique()) if look is None else look
    said = ["bar: the median rate; line: from the least to the most", how_timed(timed), *_machines(timed)]
    notes = [line for text in said for line in textwrap.wrap(text, 110)]
    with canvas(8.4, 0.9 + 0.17 * len(notes) + 0.34 * max(3, len(codecs))) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, stage in zip(axes, ("encode", "decode"), strict=True):
            for place, codec in enumerate(reversed(codecs)):
                values = timed.loc[timed["codec"] == codec, f"{stage}_ms"]
                color = look[codec].color
                ax.barh(place, values.median(), color=color, height=0.62, alpha=0.75, lw=0)
                ax.plot([values.min(), values.max()], [place, place], color="0.15", lw=1.1, marker="|", ms=7)
            ax.set_xscale("log")
            plain_ticks(ax.xaxis)
            ax.set_xlabel(f"{stage}, ms a mesh")
            ax.set_yticks(range(len(codecs)), codecs[::-1])
            ax.grid(visible=False, axis="y")
        figure.suptitle("\n".join([title, *notes]), fontsize=10)
    return figure


def _machines(summary: pd.DataFrame) -> list[str]:
    return [line.partition(": ")[0] for line in machine_notes(summary)]


def pareto(
    summary: pd.DataFrame,
    title: str,
    *,
    value: float | None = None,
    look: Mapping[str, Look] | None = None,
    column: Column | None = None,
) -> Figure | None:
    """Draw decoding time and the memory that decoding adds against size, each codec at the same quality.

    Parameters
    ----------
    summary : DataFrame
        Rows of one dataset, split, effort and device.
    title : str
        Of the figure.
    value : float, optional
        The quality; by default the quality that most codecs reach.
    look : mapping, optional
        How codecs are drawn.
    column : Column, optional
        The metric of quality; by default the column that ranks codecs.

    Returns
    -------
    Figure or None
        None if no two codecs reach a common quality.
    """
    column = ranking_column(summary) if column is None else column
    if column is None or column.name not in summary:
        return None
    value = common_quality(summary, column.name) if value is None else value
    costs = pd.DataFrame() if value is None else at_quality(summary, column.name, value)
    if value is None or len(costs) < 2:
        return None
    costs["decode_added_mib"] = costs["decode_added_mib"].clip(lower=_LEAST_MIB)
    look = looks(summary["codec"].unique()) if look is None else look
    absent = sorted(set(summary["codec"]) - set(costs.index))
    with canvas(8.4, 4.0) as figure:
        axes = figure.subplots(1, 2)
        drawn_costs = {"decode_ms": "decode, ms a mesh", "decode_added_mib": "decode, MiB added (1 or more)"}
        for ax, (cost, label) in zip(axes, drawn_costs.items(), strict=True):
            front = _front(costs, cost)
            ax.plot(front["kilobytes"], front[cost], drawstyle="steps-post", color="0.6", lw=1.0, zorder=1)
            for codec, row in costs.iterrows():
                drawn = look[str(codec)]
                face = "white" if row["better"] else drawn.color
                style = {"marker": drawn.marker, "ms": 7, "color": drawn.color, "mfc": face, "ls": "", "zorder": 2}
                ax.plot(row["kilobytes"], row[cost], **style)
            ax.set(xscale="log", yscale="log", xlabel="kB a mesh", ylabel=label)
            ax.margins(0.18)
            plain_ticks(ax.xaxis)
            plain_ticks(ax.yaxis)
        without = f"; no timed rate is as good: {', '.join(absent)}" if absent else ""
        machines = "".join(f"\n{line}" for line in _machines(summary))
        hollow = "; hollow: better than that at every rate, drawn at the smallest" if costs["better"].any() else ""
        at = f"at {column.label} = {value * column.scale:.3g}"
        head(figure, f"{title}\n{at}{hollow}{without}{machines}", fontsize=10)
        figure.draw_without_rendering()  # computes where things are
        for ax, cost in zip(axes, drawn_costs, strict=True):
            points = {str(codec): (row["kilobytes"], row[cost]) for codec, row in costs.iterrows()}
            _name_points(ax, points, {codec: look[codec].color for codec in points})
    return figure


_LONGEST_LINE = 24  # characters of a name beside a point
#: Offsets of a name from its point, in typographic points: beside it, then one, two, three lines away.
_BESIDE = tuple(
    ((side * 7, lift), "left" if side > 0 else "right")
    for lift in (4, -11, 13, -20, 22, -29, 31, -38)
    for side in (1, -1)
)


def _name_points(ax: Axes, points: Mapping[str, tuple[float, float]], colors: Mapping[str, str]) -> None:
    """Write names beside points in their colours, each in the first free place in the axes."""
    from matplotlib.transforms import Bbox

    half = 4 * ax.figure.dpi / 72  # of a marker
    middles = ax.transData.transform(list(points.values()))
    taken = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in middles]
    for name, place in points.items():
        style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "color": colors[name]}
        for offset, side in _BESIDE:
            label = ax.annotate(_broken(name), place, offset, ha=side, **style)
            box = label.get_window_extent()
            inside = ax.bbox.containsx(box.x0) and ax.bbox.containsx(box.x1)
            inside = inside and ax.bbox.containsy(box.y0) and ax.bbox.containsy(box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                break
            label.remove()
        else:  # no side is free
            box = ax.annotate(_broken(name), place, (7, 4), **style).get_window_extent()
        taken.append(box)


def _broken(name: str) -> str:
    """A name with its parameters on further lines where one line is too long."""
    lines = [""]
    for part in re.findall("[^,]+,?", name):
        if lines[-1] and len(lines[-1] + part) > _LONGEST_LINE:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _front(costs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows that no other beats in both size and cost, by size."""
    ordered = costs.sort_values(["kilobytes", column])
    best = ordered[column].cummin()
    return ordered[ordered[column] <= best].drop_duplicates(column)
