"""Results that are committed, as pages: ``docs/results.md`` and a static site.

sets.py       one set of results, read once: records, means, machines, a fingerprint
sections.py   what a page says about a set: tables, numbers, sentences
template.py   text with placeholders → text
page.py       a template and sets → one Markdown page, and whether the page is stale
pictures.py   figures as PNG with the fingerprint of their set
html.py       sets → a folder of HTML files
"""

from gcbench.bench.site.html import write_site
from gcbench.bench.site.page import Page, make_page
from gcbench.bench.site.sets import Reference, find_sets

__all__ = ["Page", "Reference", "find_sets", "make_page", "write_site"]
