"""Common style of all figures: a colour, a marker and a dash for each codec; ticks; reproducible files."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gcbench.bench.store.safe_files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

T = TypeVar("T")
LineStyle = str | tuple[int, tuple[float, ...]]  # a name, or an offset and lengths of strokes and gaps

# Dark enough for thin lines on white, and far apart in OKLab (at least 0.08). The report has paths for these markers.
COLORS = (
    *("#0072b2", "#d55e00", "#00875f", "#a8509a", "#8a6d00", "#3f95cf", "#7a4b28", "#5c5f66"),
    *("#c2356b", "#5a54c4", "#0b2f66", "#6f9f00", "#dd72b8", "#b43cf0", "#004b14", "#111111", "#a11212"),
    *("#69005a", "#0000e1", "#ff1030"),
)
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*", "h", "p", "d")
LINES: tuple[LineStyle, ...] = (
    *("-", (0, (5, 1.6)), (0, (6, 1.6, 1.2, 1.6)), (0, (1.2, 1.4))),
    *((0, (9, 2)), (0, (4, 1.4, 1.2, 1.4, 1.2, 1.4)), (0, (2.4, 1.2))),
)

#: Colour and marker of the codecs that ship with gcbench; their lines are solid. The ones that are drawn most often
#: come first and are the easiest to tell apart.
BUILT_IN = {
    "draco": ("#0072b2", "o"), "draco-qem": ("#d55e00", "s"), "necgs": ("#00875f", "D"),
    "gpcc-trisoup": ("#a8509a", "^"), "nglod": ("#3f95cf", "P"), "ni": ("#7a4b28", "X"), "pcgcv2": ("#c2356b", "v"),
    "quantdeepsdf": ("#8a6d00", "<"), "gpcc-octree": ("#5a54c4", ">"), "vpcc": ("#6f9f00", "p"),
    "meshopt": ("#b43cf0", "o"), "meshopt-simplify": ("#004b14", "s"),
    "keyspheres": ("#0b2f66", "*"), "pruned-mlp": ("#dd72b8", "d"), "raw-zstd": ("#5c5f66", "h"),
    "sirsnc": ("#69005a", "^"), "vdmc": ("#0000e1", "p"), "blendshapes": ("#ff1030", "D"),
}  # fmt: skip
PLUGINS = ("#111111", "#a11212")  # colours that no built-in codec has


@dataclass(frozen=True)
class Look:
    """How a codec is drawn, so that figures also read in grey."""

    color: str
    marker: str
    line: LineStyle


def looks(codecs: Iterable[str]) -> dict[str, Look]:
    """Give each codec its look: the same in every figure, run and machine, whatever other codecs are drawn.

    - A built-in codec has the look of :data:`BUILT_IN`, and a solid line.
    - A codec with parameters, ``necgs[ssim=0]``, has the colour of the codec without; its marker and its dashes come
      from a hash of the address.
    - The look of a plugin comes from a hash of its name: a colour of :data:`PLUGINS`, any marker, dashes.

    If a codec would get the colour and marker that another one already has, the next marker is tried. If a colour has
    no marker left, the next dashes are tried, then the next colour. Codecs choose in this order:
    built-in ones, plugins, those with parameters; by name within each. So a look depends only on those other codecs
    that would have had the same one.
    """
    found: dict[str, Look] = {}
    taken: set[Look | tuple[str, str]] = set()
    for name in sorted(set(codecs), key=lambda name: (name not in BUILT_IN, "[" in name, name)):
        of_colour = itertools.islice(_preferences(name), len(MARKERS))
        look = next((look for look in of_colour if (look.color, look.marker) not in taken), None)
        look = look or next((look for look in _preferences(name) if look not in taken), next(_preferences(name)))
        found[name] = look
        taken |= {look, (look.color, look.marker)}
    return found


def _preferences(name: str) -> Iterator[Look]:
    """All looks: the one of a codec that is alone, its colour with other markers, with other dashes, other colours."""
    bare = name.partition("[")[0]
    if bare in BUILT_IN:
        color, marker = BUILT_IN[bare]
    else:
        color, marker = PLUGINS[_hash(bare) % len(PLUGINS)], MARKERS[0]
    solid, *dashed = LINES
    lines = LINES
    if name not in BUILT_IN:
        marker = MARKERS[_hash(f"{name} marker") % len(MARKERS)]
        lines = (*_from(dashed, dashed[_hash(f"{name} line") % len(dashed)]), solid)
    for other in _from(COLORS, color):
        for line in lines:
            for shape in _from(MARKERS, marker):
                yield Look(other, shape, line)


def _hash(text: str) -> int:
    """The same number on every machine, unlike that of Python."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _from(items: Sequence[T], first: T) -> list[T]:
    start = items.index(first)
    return [*items[start:], *items[:start]]


DPI = 200
#: A white page with a light grid, type for a figure of a paper. It is seaborn's style ``whitegrid`` in its context
#: ``paper``, 15 % larger; importing seaborn for these numbers would take seconds.
STYLE: Any = {
    "axes.axisbelow": True, "axes.edgecolor": "0.8", "axes.grid": True, "axes.labelcolor": "0.15",
    "axes.labelsize": 11, "axes.linewidth": 1.0, "axes.titlesize": 11, "figure.facecolor": "white",
    "font.family": ["sans-serif"], "font.sans-serif": ["Arial", "DejaVu Sans", "Liberation Sans"], "font.size": 11,
    "text.parse_math": False,  # names of files and codecs may have dollar signs
    "grid.color": "0.9", "grid.linestyle": "-", "grid.linewidth": 0.8, "legend.fontsize": 10,
    "lines.solid_capstyle": "round", "patch.edgecolor": "w", "patch.force_edgecolor": True, "text.color": "0.15",
    "xtick.bottom": False, "xtick.color": "0.15", "xtick.labelsize": 10, "xtick.major.size": 4.8,
    "ytick.left": False, "ytick.color": "0.15", "ytick.labelsize": 10, "ytick.major.size": 4.8,
}  # fmt: skip


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """Make a figure in the common style, without pyplot: the backend does not change, and nothing needs closing."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE), _boxes_for_missing_glyphs():
        yield Figure(figsize=(width, height), layout="constrained", dpi=DPI)


@contextmanager
def _boxes_for_missing_glyphs() -> Iterator[None]:
    """Draw a box for a character that the fonts lack, such as in the name of a folder, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


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


def head(figure: Figure, title: str, *, fontsize: float = 12) -> None:
    """Write the title of a figure, in as many lines as it takes."""
    width = int(figure.get_figwidth() * 120 / fontsize)  # about so many letters fit
    lines = [line for part in title.split("\n") for line in textwrap.wrap(part, width) or [""]]
    figure.suptitle("\n".join(lines), fontsize=fontsize)


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
    kinds: tuple[tuple[float, ...], ...] = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), *steps)
    room = 8 if high < 1000 else 6 if high < 10_000 else 5  # long numbers need more of it
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    whole = [value for d in decades if low <= (value := float(f"1e{d}")) <= high]
    chosen = whole[:: max(1, math.ceil(len(whole) / room))]
    for kind in kinds:
        found = [value for d in decades for n in kind if low <= (value := float(f"{n}e{d}")) <= high]
        if 0 < len(found) <= room:
            chosen = found
    return chosen


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG and PDF; returns the paths. The figure's layout is final afterwards."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    png, pdf = folder / f"{stem}.png", folder / f"{stem}.pdf"
    data = io.BytesIO()
    as_png: Any = FigureCanvasAgg(figure)
    with _boxes_for_missing_glyphs():
        as_png.print_png(data)  # Figure.savefig would draw each file twice
    write_file(png, data.getvalue())
    figure.set_layout_engine("none")
    data = io.BytesIO()
    as_pdf: Any = FigureCanvasPdf(figure)
    with _boxes_for_missing_glyphs():
        as_pdf.print_pdf(data, metadata={"CreationDate": None})  # the same records give the same bytes
    write_file(pdf, data.getvalue())
    return [png, pdf]
