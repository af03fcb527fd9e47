"""One look for every figure: a colour, marker and dash for each codec, ticks that people read, the same bytes again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*")
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Look:
    """How a codec is drawn, so that figures also read in grey."""

    color: tuple[float, float, float]
    marker: str
    line: str


def looks(codecs: Iterable[str]) -> dict[str, Look]:
    """Give each codec a look, by its place in the alphabet, of colours that the colour-blind can tell apart."""
    import seaborn as sns

    names = sorted(codecs)
    colors = sns.color_palette("colorblind", len(names))
    return {name: Look(colors[i], MARKERS[i % len(MARKERS)], LINES[i % len(LINES)]) for i, name in enumerate(names)}


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """Make a figure in the common style; not one of pyplot's, so that the backend stays and nothing is to close."""
    import seaborn as sns
    from matplotlib.figure import Figure

    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), sns.plotting_context("paper", font_scale=1.15):
        yield Figure(figsize=(width, height), layout="constrained")


def legend_below(figure: Figure, ax: Axes) -> None:
    """Put the legend of one panel under all of them."""
    handles, labels = ax.get_legend_handles_labels()
    longest = max(map(len, labels), default=1)
    columns = max(1, min(4, len(handles), int(figure.get_figwidth() * 10 / (longest + 6))))  # some 10 letters an inch
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


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
    """Ticks of a log axis at 10, 20, 50, ... and not at powers: people compare them with numbers in texts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    crowded = high > 200 * low or high > 1e4  # wide, or with long numbers
    axis.set_major_locator(LogLocator(subs=(1,) if crowded and high > 10 * low else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG and PDF; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{suffix}" for suffix in (".png", ".pdf")]
    for path in paths:
        # No creation date: the same records give the same bytes.
        figure.savefig(path, dpi=200, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
    return paths
