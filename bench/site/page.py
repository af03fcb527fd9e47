"""A template and sets → one Markdown page, and whether the page that is on disk is stale."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from gcbench.bench.analysis.figures import Kind
from gcbench.bench.analysis.frame import BLOCK
from gcbench.bench.analysis.published import Compared, compare, count
from gcbench.bench.analysis.tables.published import published_tables, significant
from gcbench.bench.site import pictures, sections
from gcbench.bench.site.sets import Reference
from gcbench.bench.site.template import expand
from gcbench.bench.tabular import Table, render
from gcbench.errors import UsageError

Section = Callable[..., str]


@dataclass(frozen=True)
class Page:
    """A page that was made.

    Parameters
    ----------
    text : str
        Markdown.
    figures : mapping of str to (Reference, str)
        File names of the figures that the page shows → their set and kind.
    """

    text: str
    figures: Mapping[str, tuple[Reference, Kind]]


def make_page(template: Path, sets: Sequence[Reference]) -> Page:
    """Fill in a template.

    Parameters
    ----------
    template : Path
        Markdown with placeholders (:mod:`gcbench.bench.site.template`).
    sets : sequence of Reference
        In the order in which the page has them.

    Raises
    ------
    UsageError
        The template names what is not there, or says what is no longer true.
    """
    text = template.read_text(encoding="utf-8")
    words = _Words({one.name: one for one in sets})
    made = ", ".join(f"{one.name} ({one.fingerprint[:12]})" for one in sets)
    head = (
        f"<!-- Made from {template.name} and the results of {made}.\n"
        "     Do not edit this page: edit the template, then: bench site results/reference --page docs/results.md -->\n"
    )
    filled = expand(text, [one.name for one in sets], words.call, template.name)
    return Page(head + "\n" + re.sub(r"\n{3,}", "\n\n", filled), words.figures)


def write_page(page: Page, out: Path) -> list[Path]:
    """Write a page and the figures that it shows beside it; figures that show the same records stay."""
    from gcbench.bench.store import safe_files

    written = [out]
    safe_files.write_file(out, page.text.encode())
    old = {name: of for name, of in page.figures.items() if not _is_current(out.parent / name, of[0])}
    for reference, kind in {(of.name, kind): (of, kind) for of, kind in old.values()}.values():
        for name, data in pictures.pictures(reference, [kind]):
            if name in old:
                safe_files.write_file(out.parent / name, data)
                written.append(out.parent / name)
    return written


def _is_current(figure: Path, of: Reference) -> bool:
    return pictures.fingerprint_of(figure) == of.fingerprint


def stale(page: Page, out: Path) -> list[str]:
    """What on disk is not what the results say now: lines for people, none if all is well."""
    found = []
    there = out.read_text(encoding="utf-8") if out.is_file() else ""
    if there != page.text:
        pairs = zip(there.split("\n"), page.text.split("\n"), strict=False)
        line = next((n for n, (a, b) in enumerate(pairs, start=1) if a != b), 0)
        found.append(f"{out}: stale" + (f" from line {line}" if line else ""))
    for name, (of, _) in page.figures.items():
        if not _is_current(out.parent / name, of):
            found.append(f"{out.parent / name}: stale, or missing")
    return found


@dataclass
class _Words:
    """What placeholders stand for."""

    sets: Mapping[str, Reference]
    figures: dict[str, tuple[Reference, Kind]] = field(default_factory=dict)

    def call(self, name: str, arguments: Sequence[str]) -> str:
        """The text of a placeholder."""
        of_set: Mapping[str, Section] = {
            "what": lambda of: _safe(sections.what_was_run(of)),
            "says": lambda of: _safe(sections.says(of)),
            "commands": sections.commands,
            "meshes": lambda of: str(sections.meshes(of)),
            "codecs": lambda of: str(len(of.codecs)),
            "codings": lambda of: str(len(of.quality)),
            "failed": lambda of: str(sections.failed(of)),
            "best": lambda of, *q: f"`{sections.best(of, *map(_quality, q))}`",
            "kilobytes": lambda of, codec, *q: significant(_kilobytes(of, codec, *q), 3),
            "decode-ms": lambda of, codec: significant(sections.time_of(of, codec, "decode_ms"), 2),
            "encode-ms": lambda of, codec: significant(sections.time_of(of, codec, "encode_ms"), 2),
            "bd": lambda of, *a: f"{sections.percent(_bd(of, *a))} %",
            "fewer": lambda of, *a: f"{_checked(_bd(of, *a), below=True):.0f} %",
            "more": lambda of, *a: f"{_checked(_bd(of, *a), below=False):.0f} %",
            "levels": lambda of: _tables(_untitled(of, list(sections.at_levels(of)))),
            "versions": lambda of: _tables([sections.versions(of)]),
            "not-run": lambda of: _safe(sections.not_run(of)),
            "matrix": _matrix,
            "matrix-in": _matrix_in,
            "means": lambda of: _tables(sections.means(of)),
            "timing": lambda of: _tables(sections.times(of)) or "There was no timing pass.",
            "failures": lambda of: (
                _tables([t for t in [sections.failures_table(of)] if t is not None]) or "Nothing failed."
            ),
            "figure": self._figure,
        }
        of_all: Mapping[str, Section] = {"published": self._published, "published-count": self._published_count}
        if name in of_all:
            return of_all[name](*arguments)
        if name not in of_set:
            raise ValueError(f"unknown placeholder; known: {', '.join(sorted([*of_set, *of_all]))}")
        if not arguments or arguments[0] not in self.sets:
            raise ValueError(f"name a set: {', '.join(self.sets)}")
        return of_set[name](self.sets[arguments[0]], *arguments[1:])

    def _figure(self, of: Reference, kind: Kind) -> str:
        if kind not in pictures.KINDS:
            raise ValueError(f"unknown kind of figure; known: {', '.join(pictures.KINDS)}")
        names = pictures.names(of, kind)
        self.figures |= dict.fromkeys(names, (of, kind))
        return "\n\n".join(f"![{pictures.ALT[kind]}: {of.name}]({name})" for name in names)

    @cached_property
    def _compared(self) -> list[Compared]:
        return compare(means for of in self.sets.values() for means in of.by_meshes)

    def _published(self) -> str:
        tables = [t for t in published_tables(self._compared) if t.for_people]
        return _tables(replace(t, details="closed") for t in tables)

    def _published_count(self, kind: str) -> str:
        kinds = count(self._compared) | {"all": len(self._compared)}
        return str(kinds[kind.replace("-", " ")])


def _safe(text: str) -> str:
    """Names and reasons of strangers, without markup; backticks of ours stay."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("](", "] (")


def _tables(tables: Iterable[Table]) -> str:
    listed = [table for table in tables if len(table)]
    return "".join(render(listed, "markdown")).strip("\n") if listed else ""


def _matrix(of: Reference) -> str:
    """BD-rates in the ranking metric, of means and of every mesh."""
    return "" if of.ranking is None else _tables(_untitled(of, sections.matrix(of, of.ranking)))


def _matrix_in(of: Reference, metric: str) -> str:
    """BD-rates of means in another metric, folded; nothing if it was not measured."""
    column = sections.metric_of(metric)
    tables = [t for t in sections.matrix(of, column) if not t.details]
    return _tables(replace(t, details="closed") for t in tables)


def _untitled(of: Reference, tables: Sequence[Table]) -> list[Table]:
    """Tables without titles that only repeat which set this is."""
    if len(of.compared[BLOCK].drop_duplicates()) > 1:
        return list(tables)
    return [t if t.details else replace(t, title="") for t in tables]


def _kilobytes(of: Reference, codec: str, *quality: str) -> float:
    found = sections.costs(of, *map(_quality, quality))
    if codec not in found.index:
        raise ValueError(f"{codec} does not reach this quality in {of.name}")
    return float(found["kilobytes"][codec])


def _quality(text: str) -> float:
    return float(text)


def _bd(of: Reference, codec: str, anchor: str, metric: str = "") -> float:
    name = metric or (of.ranking.name if of.ranking is not None else "")
    if not name:
        raise ValueError(f"no column that ranks codecs was measured in {of.name}")
    delta, _ = sections.pair(of, codec, anchor, name)
    if delta.percent is None:
        raise ValueError(f"there is no BD-rate: {delta.refusal}")
    return delta.percent


def _checked(percent: float, *, below: bool) -> float:
    """The size of a BD-rate whose sign a sentence takes for granted."""
    if (percent < 0) != below:
        raise ValueError(f"the sentence is no longer true: the BD-rate is {percent:+.1f} %")
    return abs(percent)


def require_template(page: Path, template: Path | None) -> Path:
    """The template of a page: named, or ``results.template.md`` beside ``results.md``. Raises UsageError."""
    found = template or page.with_suffix(".template.md")
    if not found.is_file():
        raise UsageError(f"no template {found}; name one with --template")
    return found
