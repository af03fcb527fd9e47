"""Sets of results as a folder of HTML files that open from disk: an index, a page and a report of each set.

Every page carries its style and its figures, and a content security policy that allows nothing else: no script, no
network. (The report of a set has a script of its own, see :mod:`gcbench.bench.report`.) The same results give the same
bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from importlib.resources import files
from pathlib import Path

import gcbench
from gcbench import plain_text
from gcbench.bench import report
from gcbench.bench.analysis.published import compare, count
from gcbench.bench.analysis.tables.published import published_tables
from gcbench.bench.metrics import Column, columns, suite_of
from gcbench.bench.site import sections
from gcbench.bench.site.pictures import ALT, pictures
from gcbench.bench.site.sets import Reference
from gcbench.bench.store import safe_files
from gcbench.bench.tabular import Table
from gcbench.bench.tabular.html import render

_REPORT = "report: curves, failures, provenance"


def write_site(sets: Sequence[Reference], out: Path) -> list[Path]:
    """Write ``index.html``, ``published.html``, and ``SET/index.html`` and ``SET/report.html`` of each set.

    Parameters
    ----------
    sets : sequence of Reference
    out : Path
        The folder; it is made.

    Returns
    -------
    list of Path
        What was written.
    """
    names = [one.name for one in sets]
    figures = {one.name: list(pictures(one)) for one in sets}
    written = [
        _write(out, "index.html", "gcbench: results", _index(sets, figures), names),
        _write(out, "published.html", "Published beside measured", _published(sets), names),
    ]
    for one in sets:
        folder = _folder(one.name)
        written.append(_write(out, f"{folder}/index.html", one.name, _set(one, figures[one.name]), names))
        written.append(report.build(one.results, out / folder / "report.html", meshes=False).path)
    return written


def _folder(name: str) -> str:
    return plain_text.as_file_name(name)


def _index(sets: Sequence[Reference], figures: dict[str, list[tuple[str, bytes]]]) -> str:
    parts = [
        "<p>Codecs of 3-D geometry, all on the same meshes. Bytes are those of whole streams; quality is p2s, the "
        "exact point-to-surface distance, where meshes span 2. Every number is made from the files of results; "
        '<a href="published.html">figures of papers</a> stand beside ours.</p>'
    ]
    for one in sets:
        folder, name = escape(_folder(one.name), quote=True), escape(one.name)
        shown = [picture for picture in figures[one.name] if "-rd" in picture[0]]
        parts += [
            f'<section aria-labelledby="{folder}"><h2 id="{folder}"><a href="{folder}/index.html">{name}</a></h2>',
            _paragraph(sections.says(one)),
            f'<p class="muted">{_text(sections.what_was_run(one))}</p>',
            _links(
                [
                    (f"{folder}/index.html", "all tables"),
                    (f"{folder}/report.html", "report: curves, failures, provenance"),
                ]
            ),
            *map(_figure, shown),
            *map(_table, sections.at_levels(one)),
            "</section>",
        ]
    return "\n".join(parts)


def _other_metrics() -> list[Column]:
    """The first two columns that can compare codecs, of every suite; for example D1 and D2 on MPEG's grid."""
    of_suites: dict[str, list[Column]] = {}
    for column in columns().values():
        if column.better is not None:
            of_suites.setdefault(suite_of(column.name), []).append(column)
    return [column for comparing in of_suites.values() for column in comparing[:2]]


def _set(one: Reference, figures: Sequence[tuple[str, bytes]]) -> str:
    ranking = "" if one.ranking is None else one.ranking.name
    others = [sections.matrix(one, metric) for metric in _other_metrics() if metric.name != ranking]
    failed = sections.failures_table(one)
    parts = [
        _paragraph(sections.what_was_run(one)),
        _paragraph(sections.says(one)),
        _links([("report.html", _REPORT)]),
        "<h2>Quality and size</h2>",
        *(_figure(picture) for picture in figures if "-rd" in picture[0] or "-amortisation" in picture[0]),
        *map(_table, sections.at_levels(one)),
        *(f"<p><code>{escape(c)}</code> was not run: {escape(why)}</p>" for c, why in one.not_run.items()),
        "<h2>BD-rates</h2>",
        *([] if one.ranking is None else map(_table, sections.matrix(one, one.ranking))),
        *(_table(replace(table, details="closed")) for tables in others for table in tables if not table.details),
        "<h2>Times</h2>",
        *(_figure(picture) for picture in figures if "-pareto" in picture[0]),
        *(map(_table, sections.times(one)) if sections.times(one) else ["<p>There was no timing pass.</p>"]),
        "<h2>All rates, failures, versions, commands</h2>",
        *map(_table, sections.means(one)),
        "<p>Nothing failed.</p>" if failed is None else _table(failed),
        _table(sections.versions(one)),
        f"<pre>{escape(re.sub('^ {4}', '', sections.commands(one), flags=re.MULTILINE))}</pre>",
        *(f'<p class="muted">{escape(note)}</p>' for note in one.notes),
    ]
    return "\n".join(parts)


def _published(sets: Sequence[Reference]) -> str:
    found = compare(means for one in sets for means in one.by_meshes)
    kinds = count(found)
    text = (
        f"{len(found)} figures of papers: {kinds['same direction']} have the same direction here, {kinds['differs']} "
        f"differ, {kinds['not run']} were not run. Same direction: what the paper finds better than another is better "
        "here too."
    )
    tables = [_table(table) for table in published_tables(found) if table.for_people]
    return "\n".join([_paragraph(text), *tables])


def _table(table: Table) -> str:
    """A table in a box that scrolls, reachable by keyboard."""
    title = escape(table.title, quote=True)
    box = f'<div class="scroll" role="region" tabindex="0" aria-label="{title}"><table>'
    return render(table).replace("<table>", box).replace("</table>", "</table></div>")


def _figure(picture: tuple[str, bytes]) -> str:
    name, data = picture
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))  # of the PNG's first chunk
    kind = next((text for kind, text in ALT.items() if f"-{kind}" in name), name)
    source = base64.b64encode(data).decode()
    return (
        f'<figure><img src="data:image/png;base64,{source}" width="{width}" height="{height}" '
        f'alt="{escape(f"{kind}: {Path(name).stem}; the numbers are in the table", quote=True)}"></figure>'
    )


def _links(links: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<li><a href="{to}">{escape(text)}</a></li>' for to, text in links)
    return f'<ul class="links">{items}</ul>'


def _paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>"


def _text(text: str) -> str:
    """Text in which backticks enclose code, escaped."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def _write(out: Path, here: str, title: str, body: str, names: Sequence[str]) -> Path:
    """Write a page at ``here``, such as ``ama40/index.html``, with links to all pages."""
    style = files("gcbench.bench.site").joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    sets = [(f"{_folder(name)}/index.html", name) for name in names]
    up = "../" * here.count("/")
    nav = ""
    for to, text in [("index.html", "all sets"), *sets, ("published.html", "published")]:
        current = ' aria-current="page"' if to == here else ""
        nav += f'<a href="{escape(up + to, quote=True)}"{current}>{escape(text)}</a>'
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="gcbench {escape(gcbench.__version__, quote=True)}">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header><div><h1>{escape(title)}</h1><nav aria-label="Sets">{nav}</nav></div></header>
<main id="main" tabindex="-1">
{body}
</main>
<footer>Made by <code>bench site</code>, gcbench {escape(gcbench.__version__)}.</footer>
</body>
</html>
"""
    path = out / here
    safe_files.write_file(path, page.encode("utf-8", "replace"))
    return path
