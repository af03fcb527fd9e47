"""``bench site``: results as a static site, and as a page of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gcbench import plain_text
from gcbench.bench.cli.output import say
from gcbench.errors import UsageError


def site_command(
    results: Annotated[Path, typer.Argument(help="A pack, a run, or a folder of them.", metavar="RESULTS")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a site into this folder.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write this Markdown page and its figures.")] = None,
    template: Annotated[
        Path | None, typer.Option(help="Template of the page. Default: NAME.template.md beside NAME.md.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if the page is not what the results say.")
    ] = False,
) -> None:
    """Make pages of committed results: a static site, or a page with their tables, numbers and figures.

    [bold]Examples[/bold]

        bench site results/reference -o site                       then open site/index.html
        bench site results/reference --page docs/results.md
        bench site results/reference --page docs/results.md --check

    The site is an index of the sets with figure and ranking, a report of each set, and the figures of papers beside
    ours. It needs no network. The same results give the same bytes.

    The page is made from a template with placeholders, such as {{ bd ama40 draco-qem draco }}. A sentence whose number
    has changed its sign is an error.
    """
    from gcbench.bench.site import find_sets, make_page, write_site
    from gcbench.bench.site.page import require_template, stale, write_page

    if out is None and page is None:
        raise UsageError("nothing to make: name a folder (-o site) or a page (--page docs/results.md)")
    if check and page is None:
        raise UsageError("--check needs --page")
    sets = find_sets(results)
    if page is not None:
        made = make_page(require_template(page, template), sets)
        if check:
            lines = stale(made, page)
            for line in lines:
                say(line)
            if lines:
                say(f"make it again: bench site {plain_text.shell_word(results)} --page {plain_text.shell_word(page)}")
                raise typer.Exit(1)
            say(f"{page} is what the results say")
        else:
            for path in write_page(made, page):
                say(path)
    if out is not None and not check:
        for path in write_site(sets, out):
            say(path)
