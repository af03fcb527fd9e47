"""Figures of papers beside ours: what a paper says, what a run or an earlier measurement says, and a verdict.

``results/published.csv`` has the papers' figures, ``results/published_ours.csv`` the question that gives ours (dataset,
codec, rate) with the reasons for differences, ``results/published_quotes.csv`` where an earlier measurement stands. A
reason is text in a file; whether a reason is needed is computed from the numbers.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pandas as pd

from gcbench.bench.analysis.equal_quality import at_quality
from gcbench.bench.analysis.frame import BLOCK
from gcbench.bench.analysis.measured import ranking_column
from gcbench.bench.analysis.rate_distortion import bd_matrix
from gcbench.bench.metrics import columns

LEVEL = 0.01  # a smaller relative difference is none; of shares and cosines, which are near 1, a tenth of it
NEAR = 0.1  # where the paper has nothing to compare with: a smaller relative difference is none


@dataclass(frozen=True)
class Quantity:
    """A number of a paper that is no column of a suite.

    Parameters
    ----------
    label : str
        For people.
    better : {"lower", "higher"}
        Which direction is better.
    digits : int
        Significant digits for people.
    than : float or None
        What every value is compared with: 1 for a ratio to another codec, 0 for a BD-rate.
    """

    label: str
    better: str
    digits: int = 3
    than: float | None = None


QUANTITIES: Mapping[str, Quantity] = {
    "original_megabytes": Quantity("original, MB", "lower", 4),
    "set_megabytes": Quantity("set, MB", "lower"),
    "ratio": Quantity("ratio", "higher", 4),
    "kilobytes": Quantity("kB", "lower"),
    "encode_hours": Quantity("encode the set, h", "lower"),
    "decode_ms": Quantity("decode a mesh, ms", "lower"),
    "psnr": Quantity("PSNR of images, dB", "higher", 4),
    "mse": Quantity("MSE of images", "lower"),
    "times_smaller": Quantity("times smaller", "higher"),
    "equal_bytes": Quantity("bytes at equal quality / NeCGS", "lower", 3, 1.0),
    "bd_rate": Quantity("BD-rate in D1, %", "lower", 3, 0.0),
}


@dataclass(frozen=True)
class Published:
    """One figure of a paper.

    Parameters
    ----------
    id : str
        Of the method in its setting: figures with the same ``id`` are one row of the paper's table.
    source, place, dataset, method, setting, machine : str
        The paper; its table or figure; names in the paper.
    models : int or None
        Number of meshes of the paper's set; ours is scaled to it where times or sizes of sets are compared.
    quantity : str
        A key of :data:`QUANTITIES`, or a column of a suite.
    value : float or None
        In the unit of the column. None for an order that the paper shows or states without a number.
    against : str
        ``id`` that the figure is compared with to find a direction; may be empty.
    order : {"<", ">", ""}
        How the figure stands to the figure of ``against``, where the paper has no numbers.
    """

    id: str
    source: str
    place: str
    dataset: str
    models: int | None
    method: str
    setting: str
    machine: str
    quantity: str
    value: float | None
    against: str
    order: str


@dataclass(frozen=True)
class Question:
    """Where our figure is: a row of ``results/published_ours.csv``, with the defaults of its ``id`` filled in.

    Parameters
    ----------
    dataset, codec, rate : str
        Patterns in which ``*`` stands for any text. If several rates match, the median counts. An empty codec: nothing
        here is comparable.
    base : str
        The other codec of ``equal_bytes`` and ``bd_rate``; the end of the label of the rate that others are smaller
        than.
    column : str
        Our column, where it is another one than the paper's.
    quoted : float or None
        An earlier measurement, for when no run answers.
    quote : str
        Which quote (``results/published_quotes.csv``) says where that measurement stands.
    differs, not_run : str
        Why ours differs; why there is none.
    """

    dataset: str = ""
    codec: str = ""
    rate: str = "*"
    base: str = ""
    column: str = ""
    quoted: float | None = None
    quote: str = ""
    differs: str = ""
    not_run: str = ""


@dataclass(frozen=True)
class Quote:
    """Where an earlier measurement stands: the page, the meshes, the command."""

    page: str
    meshes: str
    command: str


@dataclass(frozen=True)
class Ours:
    """Our figure.

    Parameters
    ----------
    value : float
        In the unit of our column.
    of : str
        What was measured: dataset, codec, rates, meshes; or the page of a quote.
    column : str
        A key of :data:`QUANTITIES`, or a column of a suite.
    meshes : str
        Names the meshes: figures of other meshes have no order.
    """

    value: float
    of: str
    column: str
    meshes: str


@dataclass(frozen=True)
class Compared:
    """A figure of a paper beside ours.

    Parameters
    ----------
    figure : Published
    ours : Ours or None
    ratio : float or None
        Ours by the paper's; None where there is no number, or where ours is another column.
    verdict : str
        ``same direction``, ``differs because ...`` or ``not run because ...``.
    """

    figure: Published
    ours: Ours | None
    ratio: float | None
    verdict: str


@cache
def published() -> tuple[Published, ...]:
    """All figures, in the order of the file."""
    return tuple(
        Published(
            **{n: row[n] for n in ("id", "source", "place", "dataset", "method", "setting", "machine", "quantity")},
            models=int(row["models"]) if row["models"] else None,
            value=_number(row["value"]),
            against=row["against"],
            order=row["order"],
        )
        for row in _read("published.csv")
    )


@cache
def questions() -> Mapping[tuple[str, str], Question]:
    """Questions by ``id`` and quantity; the quantity ``""`` has the defaults of the ``id``."""
    defaults: dict[str, dict[str, str]] = {}
    found: dict[tuple[str, str], Question] = {}
    for row in _read("published_ours.csv"):
        own = {name: text for name, text in row.items() if text and name not in {"id", "quantity"}}
        if not row["quantity"]:
            defaults[row["id"]] = own
        filled = defaults.get(row["id"], {}) | own
        found[row["id"], row["quantity"]] = Question(
            **{n: t for n, t in filled.items() if n != "quoted"}, quoted=_number(filled.get("quoted", ""))
        )
    return found


@cache
def quotes() -> Mapping[str, Quote]:
    """Quotes by name."""
    return {row["quote"]: Quote(row["page"], row["meshes"], row["command"]) for row in _read("published_quotes.csv")}


def _read(name: str) -> list[dict[str, str]]:
    text = (files("gcbench.results") / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _number(text: str) -> float | None:
    return float(text) if text else None


def question(figure: Published) -> Question:
    """The question of a figure."""
    found = questions()
    return found.get((figure.id, figure.quantity)) or found.get((figure.id, "")) or Question()


def compare(summaries: Iterable[pd.DataFrame], figures: Sequence[Published] | None = None) -> list[Compared]:
    """Every figure of the papers beside ours.

    Parameters
    ----------
    summaries : iterable of DataFrame
        Rows of :func:`gcbench.bench.analysis.frame.summarise`. The rows of a dataset in one summary are of the same
        meshes, and are compared with each other; of several that have a figure, that of the most meshes counts.
    figures : sequence of Published, optional
        By default all.
    """
    figures = published() if figures is None else figures
    answers = _Answers(summaries)
    run = {(f.id, f.quantity): answers.of(f, question(f)) for f in figures}
    quoted = {(f.id, f.quantity): _quoted(f, question(f)) for f in figures}
    by_key = {(f.id, f.quantity): f for f in figures}
    found = []
    for figure in figures:
        key, other = (figure.id, figure.quantity), (figure.against, figure.quantity)
        pairs = [(ours, of.get(other)) for of in (run, quoted) if (ours := of[key]) is not None]
        found.append(_compared(figure, by_key.get(other), pairs))
    return found


def _compared(figure: Published, other: Published | None, pairs: Sequence[tuple[Ours, Ours | None]]) -> Compared:
    """Compare a figure with ours and with what ours is compared with: from runs, and from an earlier measurement."""
    asked = question(figure)
    if not pairs:
        return Compared(figure, None, None, f"not run because {asked.not_run or 'nothing here is comparable'}")
    ours = pairs[0][0]
    ratio = ours.value / figure.value if ours.column == figure.quantity and figure.value else None
    theirs = _published_order(figure, other)
    # An order is of two figures from runs, or of two from an earlier measurement; and of the same meshes, unless the
    # paper compares sets.
    across = other is not None and other.dataset != figure.dataset
    fair = [(one, than if across or than is None or than.meshes == one.meshes else None) for one, than in pairs]
    mine = next((order for pair in fair if (order := _order(*pair, figure)) is not None), None)
    if theirs and mine is not None:
        agree = theirs == mine
    else:
        agree = ratio is not None and ratio > 0 and abs(math.log(ratio)) < NEAR
    verdict = "same direction" if agree else f"differs because {asked.differs or 'of a reason that nobody knows yet'}"
    return Compared(figure, ours, ratio, verdict)


def better(quantity: str) -> str | None:
    """Which direction of a quantity is better."""
    if quantity in QUANTITIES:
        return QUANTITIES[quantity].better
    return columns()[quantity].better


def _published_order(figure: Published, other: Published | None) -> int:
    """1 if the paper's figure is better than the other, −1 if worse, 0 if there is nothing to compare."""
    sign = {"<": -1, ">": 1}.get(figure.order, 0)
    if not sign and figure.value is not None and other is not None and other.value is not None:
        sign = (figure.value > other.value) - (figure.value < other.value)
    return sign if better(figure.quantity) == "higher" else -sign


def _order(ours: Ours, against: Ours | None, figure: Published) -> int | None:
    """1 if ours is better than what it is compared with, −1 if worse, 0 if level, None if there is nothing."""
    than = QUANTITIES[figure.quantity].than if figure.quantity in QUANTITIES else None
    value = than if than is not None else None if against is None else against.value
    if value is None:
        return None
    difference = ours.value - value
    near_one = ours.column in columns() and columns()[ours.column].unit in {"fraction", "cosine", "similarity"}
    if abs(difference) <= (LEVEL / 10 if near_one else LEVEL * (abs(value) or 1.0)):
        return 0
    sign = 1 if difference > 0 else -1
    return sign if better(ours.column) == "higher" else -sign


def _quoted(figure: Published, asked: Question) -> Ours | None:
    if asked.quoted is None:
        return None
    of = quotes()[asked.quote]
    return Ours(asked.quoted, f"{of.meshes} ({of.page})", _column(figure, asked), of.meshes)


class _Answers:
    """Finds figures in summaries."""

    def __init__(self, summaries: Iterable[pd.DataFrame]) -> None:
        # Generated meshes are no sample of a paper's set.
        real = (one[(one["ok"] > 0) & (one["split"] != "mini")] for one in summaries)
        self._blocks = [
            (tuple(map(str, key)), part) for one in real for key, part in one.groupby(BLOCK, sort=True, observed=True)
        ]

    def of(self, figure: Published, asked: Question) -> Ours | None:
        """Our figure from the block of the most meshes that has it; None if no block has it."""
        if not asked.codec:
            return None
        places = [(key, block) for key, block in self._blocks if _like(asked.dataset or "*", key[0])]
        for _, block in sorted(places, key=lambda place: (-int(place[1]["meshes"].max()), place[0])):
            if (found := self._in_block(figure, asked, block)) is not None:
                return found
        return None

    def _in_block(self, figure: Published, asked: Question, block: pd.DataFrame) -> Ours | None:
        rows = block[[_like(asked.codec, str(c)) for c in block["codec"]]]
        rates = rows[[_like(asked.rate, str(r)) for r in rows["rate"]]]
        if rates.empty:
            return None
        name = figure.quantity
        if name in {"bd_rate", "equal_bytes"}:
            value = (_bd_rate if name == "bd_rate" else _equal_bytes)(asked, block)
        elif name == "times_smaller":
            base = rows[[str(r).endswith(asked.base) for r in rows["rate"]]]
            base = block[[str(r).endswith(asked.base) for r in block["rate"]]] if base.empty else base
            value = None if base.empty else float(base["kilobytes"].median() / rates["kilobytes"].median())
        else:
            value = _median(rates, asked.column or name, figure.models)
        if value is None or not math.isfinite(value):
            return None
        meshes = "/".join(map(str, [*block.iloc[0][BLOCK], int(block["meshes"].max())]))
        return Ours(value, _where(rates, asked), _column(figure, asked), meshes)


def _column(figure: Published, asked: Question) -> str:
    """The column of our figure; ``bd_rate`` has a column that is no figure by itself."""
    return figure.quantity if figure.quantity == "bd_rate" else asked.column or figure.quantity


def _median(rates: pd.DataFrame, name: str, models: int | None) -> float | None:
    """The median over rates of a column, or of a quantity that is scaled to the number of meshes of the paper."""
    scaled: Mapping[str, Callable[[pd.DataFrame], pd.Series[float]]] = {
        "set_megabytes": lambda r: r["kilobytes"] * r["meshes"] / 1000,
        "original_megabytes": lambda r: r["ratio"] * r["kilobytes"] * (models or 1) / 1000,
        "encode_hours": lambda r: r["encode_ms"] * (models or 1) / 3.6e6,
    }
    values = scaled[name](rates) if name in scaled else rates.get(name)
    return None if values is None or values.isna().all() else float(values.median())


def _equal_bytes(asked: Question, block: pd.DataFrame) -> float | None:
    """Bytes of a codec over those of the base, at the quality of the base's smallest stream, in the ranking metric."""
    metric = ranking_column(block)
    base = block[block["codec"] == asked.base]
    if metric is None or base.empty or base[metric.name].isna().all():
        return None
    coarse = base.dropna(subset=[metric.name]).sort_values("kilobytes").iloc[0]
    costs = at_quality(block[block["codec"].isin([asked.codec])], metric.name, float(coarse[metric.name]))
    if asked.codec not in costs.index:
        return None
    return float(costs["kilobytes"][asked.codec] / coarse["kilobytes"])


def _bd_rate(asked: Question, block: pd.DataFrame) -> float | None:
    name = asked.column
    pair = block[block["codec"].isin([asked.codec, asked.base])]
    if name not in pair or pair[name].isna().all() or pair["codec"].nunique() < 2:
        return None
    percent = bd_matrix(pair[pair[name].notna()], name)
    if asked.codec not in percent.index or asked.base not in percent.columns:
        return None
    cell = percent.loc[asked.codec, asked.base]
    return getattr(cell, "percent", None)


def _like(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern, in which only ``*`` is special: addresses of codecs have brackets."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None


def _where(rates: pd.DataFrame, asked: Question) -> str:
    first = rates.iloc[0]
    names = list(dict.fromkeys(map(str, rates["rate"])))
    which = names[0] if len(names) == 1 else f"median of {len(names)} rates"
    codec = str(first["codec"]) if rates["codec"].nunique() == 1 else "any codec"
    count = int(rates["meshes"].max())
    meshes = "1 mesh" if count == 1 else f"{count} meshes"
    if asked.codec == "*":
        return f"{first['dataset']}, {meshes}"
    return f"{first['dataset']}, {meshes}: {codec} {which}"


def count(found: Iterable[Compared]) -> dict[str, int]:
    """Number of figures by verdict: ``same direction``, ``differs``, ``not run``."""
    kinds = {"same direction": 0, "differs": 0, "not run": 0}
    for one in found:
        kinds[next(kind for kind in kinds if one.verdict.startswith(kind))] += 1
    return kinds
