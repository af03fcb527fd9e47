"""Common style of all figures: a colour, a marker and a dash for each codec; ticks; reproducible files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

LineStyle = str | tuple[int, tuple[float, ...]]  # a name, or an offset and lengths of strokes and gaps

# The colours of the report, dark enough for thin lines on white. There are 10, 13 and 7 of these, so that no two of 910
# codecs look alike, and of the first 13 each has a marker of its own.
COLORS = (
    *("#0072b2", "#d55e00", "#00875f", "#a8509a", "#8a6d00"),
    *("#3f95cf", "#7a4b28", "#5c5f66", "#c2356b", "#5a54c4"),
)
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*", "h", "p", "d")
LINES: tuple[LineStyle, ...] = (
    *("-", (0, (5, 1.6)), (0, (6, 1.6, 1.2, 1.6)), (0, (1.2, 1.4))),
    *((0, (9, 2)), (0, (4, 1.4, 1.2, 1.4, 1.2, 1.4)), (0, (2.4, 1.2))),
)


@dataclass(frozen=True)
class Look:
    """How a codec is drawn, so that figures also read in grey."""

    color: str
    marker: str
    line: LineStyle


def looks(codecs: Iterable[str]) -> dict[str, Look]:
    """Give each codec a look, by its place in the alphabet.

    Figures of one run should get the looks of all its codecs: a codec then looks the same in all of them.
    """
    return {
        name: Look(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], LINES[i % len(LINES)])
        for i, name in enumerate(sorted(set(codecs)))
    }


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """Make a figure in the common style, without pyplot: the backend does not change, and nothing needs closing."""
    import seaborn as sns
    from matplotlib.figure import Figure

    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), sns.plotting_context("paper", font_scale=1.15):
        yield Figure(figsize=(width, height), layout="constrained")


def legend_below(figure: Figure, ax: Axes, *, marker_scale: float = 1.0, more: Mapping[str, str] | None = None) -> None:
    """Put the legend of one panel below all panels; ``more`` replaces some of its names."""
    handles, names = ax.get_legend_handles_labels()
    labels = [(more or {}).get(name, name) for name in names]
    longest = max(map(len, labels), default=1)
    columns = max(1, min(5, len(handles), int(figure.get_figwidth() * 10 / (longest + 6))))  # some 10 letters an inch
    columns = math.ceil(len(handles) / math.ceil(len(handles) / columns)) if handles else 1  # columns of equal height
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False,
        markerscale=marker_scale, handlelength=3.2,
    )  # fmt: skip


def note(ax: Axes, text: str, y: float, *, above: bool) -> None:
    """Write a small remark at the right end of a height."""
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


def plain_ticks(axis: Axis) -> None:
    """Set the ticks of a log axis to round numbers (10, 20, 50, ...) instead of powers of 10."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(FixedLocator(_round_numbers(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _round_numbers(low: float, high: float) -> list[float]:
    """Round numbers in [low, high], as fine as an axis has room for."""
    steps = [tuple(i / 10 for i in range(10, 100, step)) for step in (5, 2, 1)]
    kinds: tuple[tuple[float, ...], ...] = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), *steps)
    room = 8 if high < 10_000 else 5  # long numbers need more of it
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    whole = [value for d in decades if low <= (value := float(f"1e{d}")) <= high]
    chosen = whole[:: max(1, math.ceil(len(whole) / room))]
    for kind in kinds:
        found = [value for d in decades for n in kind if low <= (value := float(f"{n}e{d}")) <= high]
        if 0 < len(found) <= room:
            chosen = found
    return chosen


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG and PDF; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{suffix}" for suffix in (".png", ".pdf")]
    for path in paths:
        # No creation date: the same records give the same bytes.
        figure.savefig(path, dpi=200, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
    return paths
