"""The static site: what is in it, that it needs nothing but itself, and that equal results give equal bytes."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from gcbench.bench.site import html, write_site

pytestmark = pytest.mark.long


class Elements(HTMLParser):
    """Tags with their attributes; texts outside of scripts and styles; and whether all tags are closed in order."""

    EMPTY = ("meta", "img", "br", "link")

    def __init__(self, page):
        super().__init__()
        self.tags, self._open = [], []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


@pytest.fixture(scope="module")
def site(toys, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    dot = base64.b64decode(  # drawing takes seconds, and is tested elsewhere
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    drawn = [("toys-rd.png", dot), ("toys-pareto.png", dot)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "pictures", lambda _: drawn)
        write_site([toys], out / "one")
        write_site([toys], out / "again")
    return out / "one"


def test_the_files_of_a_site(site):
    names = sorted(str(path.relative_to(site)) for path in site.rglob("*") if path.is_file())
    assert names == ["index.html", "published.html", "toys/index.html", "toys/report.html"]


@pytest.mark.parametrize("name", ["index.html", "published.html", "toys/index.html"])
def test_a_page_needs_nothing_but_itself_and_its_links_lead_somewhere(site, name):
    page = (site / name).read_text(encoding="utf-8")
    elements = Elements(page)
    for tag, attributes in elements.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not any(key.startswith("on") or key == "style" for key in attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
            assert attributes["alt"]
        if tag == "a" and not attributes["href"].startswith("#"):
            assert ((site / name).parent / attributes["href"]).is_file()
        if tag == "a" and attributes["href"].startswith("#"):
            assert any(a.get("id") == attributes["href"][1:] for _, a in elements.tags)
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page


def test_pages_can_be_read_without_a_mouse_and_in_the_dark(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    tags = Elements(page).tags
    assert ("html", {"lang": "en"}) in tags
    assert [a for t, a in tags if t == "main"] == [{"id": "main", "tabindex": "-1"}]
    assert all(a.get("tabindex") == "0" and a["aria-label"] for t, a in tags if a.get("class") == "scroll")
    assert all(a["scope"] in {"row", "col"} for t, a in tags if t == "th")
    assert "prefers-color-scheme: dark" in page


def test_names_of_strangers_are_text(site):
    page = (site / "toys" / "index.html").read_text(encoding="utf-8")
    assert "was not run: no &lt;b&gt;program&lt;/b&gt;" in page


def test_the_index_has_the_ranking_of_every_set(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<h2 id="toys"><a href="toys/index.html">toys</a></h2>', page)
    assert '<th scope="row">draco</th>' in page
    assert "needs the fewest bytes" in page


def test_equal_results_give_equal_bytes(site):
    for path in sorted(site.rglob("*.html")):
        assert (site.parent / "again" / path.relative_to(site)).read_bytes() == path.read_bytes(), path.name
