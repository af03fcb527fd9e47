"""The page of two runs in a headless Chromium: curves over each other, a wipe between meshes, what changed most."""

from __future__ import annotations

import numpy as np
import pytest
from pages import PAGES, drawn, pixels, turn_to

pytestmark = pytest.mark.long

playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")


@pytest.fixture(scope="session")
def two(store, other_store, tmp_path_factory):
    from gcbench.bench.report import build

    return build(store, tmp_path_factory.mktemp("two") / "two.html", other=other_store)


def test_two_runs_have_curves_over_each_other_in_one_colour_and_two_dashes(open_page, two, store, hostile):
    page = open_page(two.path)
    assert page.locator("h1").inner_text() == 'A: run <b> & "co." · B: <i>later'
    a, b = (page.locator(f'.series[data-codec="test-exact · {mark}"]') for mark in "AB")
    assert a.locator(".point").count() == b.locator(".point").count() == 3
    colour = "(element) => getComputedStyle(element).stroke"
    assert a.locator(".curve").evaluate(colour) == b.locator(".curve").evaluate(colour)
    assert a.locator(".curve").get_attribute("stroke-dasharray") is None
    assert b.locator(".curve").get_attribute("stroke-dasharray") == "7 4"
    assert (a.locator(".dot").count(), b.locator(".dot").count()) == (0, 3)
    assert set(page.locator(".key-name").all_inner_texts()) == {
        'A: run <b> & "co."', "B: <i>later", "test-exact", "test-set", "test-bad", hostile.codec,
    }  # fmt: skip
    page.get_by_role("button", name="B: <i>later").click()
    assert (a.count(), b.count()) == (1, 0)
    page.locator(".key", has=page.get_by_text("test-exact", exact=True)).click()
    assert a.count() == 0


@pytest.mark.slow
def test_a_wipe_between_two_runs_has_a_on_its_left_and_b_on_its_right(open_page, two):
    page = open_page(two.path)
    page.locator('.point[aria-label^="test-exact · B d1"]').dispatch_event("click")
    page.wait_for_selector(".stage canvas")
    drawn(page)
    labels = [text for text in page.locator(".pane-label").all_inner_texts() if text]
    assert labels == ['A: run <b> & "co."', "B: <i>later"]
    assert page.get_by_role("button", name="A | B").get_attribute("aria-pressed") == "true"
    canvas, slider = page.locator(".stage canvas"), page.get_by_role("slider", name="Wipe")
    page.get_by_role("button", name="error maps").click()
    page.get_by_role("combobox", name="Colours up to").select_option("0.02")

    def at(value):
        slider.fill(str(value))
        drawn(page)
        page.locator(".wipe-line").evaluate("(line) => line.style.setProperty('visibility', 'hidden')")
        return pixels(canvas)[30:]

    only_b, only_a, half = at(0), at(1000), at(500)
    assert np.abs(only_a - only_b).mean() > 1, "one digit and two digits look alike"
    middle = half.shape[1] // 2
    assert np.abs(half[:, : middle - 3] - only_a[:, : middle - 3]).mean() < 0.5
    assert np.abs(half[:, middle + 3 :] - only_b[:, middle + 3 :]).mean() < 0.5
    numbers = page.locator(".caption table tbody tr").all_inner_texts()
    assert any(line.startswith("p2s") and "× 0." in line for line in numbers)
    # A coding of one run only is shown as in a report of one run.
    page.locator('.point[aria-label^="test-exact · A d3"]').dispatch_event("click")
    drawn(page)
    page.get_by_role("button", name="Show test-exact · A d3 on ball in 3-D").click()
    drawn(page)
    assert page.get_by_role("button", name="A | B").count() == 0


@pytest.mark.slow
def test_changes_are_listed_the_most_changed_first(open_page, two, hostile):
    page = open_page(two.path)
    turn_to(page, "Changes")
    rows = page.locator("table.grid tbody:not(.gap) tr")
    first = rows.first.inner_text()
    assert first.startswith("ball")
    assert "ok → failed" in first
    assert {rows.nth(i).locator("th").inner_text() for i in (1, 2)} == {"ball", hostile.mesh}
    assert all("d1" in rows.nth(i).inner_text() for i in (1, 2))
    (d2,) = page.locator("section").first.locator("tbody tr", has_text="d2").all_inner_texts()
    assert d2.split("\t")[1:6] == ["d2", "3", "2", "same", "same"]  # the bad input has no stream
    page.get_by_role("combobox", name="Changed most in").select_option("cd_p2s")
    ratios = [
        float(text.removeprefix("× ")) for text in rows.locator("td").all_inner_texts() if text.startswith("× 0.0")
    ]
    assert ratios
    page.get_by_role("button", name="Show test-exact d1 on ball in 3-D").click()
    drawn(page)
    assert page.locator("dialog .pane-label").first.inner_text().startswith("A: ")
    page.keyboard.press("Escape")
    turn_to(page, "Provenance")
    page.locator("summary", has_text="experiment.toml").click()
    assert "window.harm=6" in page.locator("pre").inner_text()


@pytest.mark.slow
def test_two_runs_fit_a_narrow_screen(open_page, two):
    page = open_page(two.path, width=360, height=740)
    page.locator('.point[aria-label^="test-exact · B d1"]').dispatch_event("click")
    page.wait_for_selector(".stage canvas")
    drawn(page)
    for name in (*PAGES, "changes"):
        page.evaluate(f"location.hash = '{name}'")
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
