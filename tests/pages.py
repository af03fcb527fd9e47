"""What tests do with a page in a browser."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")

PAGES = ("curves", "spread", "codings", "timing", "coverage", "provenance")


def pixels(locator):
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(int)


def ok_points(store):
    return {(r.codec, r.rate) for r in store.records() if r.status == "ok"}


def drawn(page):
    """Wait until what was asked for is on screen: frames come when they come on a busy machine."""
    playwright.expect(page.locator(".stage.busy")).to_have_count(0)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")


def turn_to(page, title):
    page.get_by_role("link", name=title).click()
    playwright.expect(page.locator("nav a[aria-current]")).to_have_text(title)


def pick(page, codec, rate):
    """Click a point, and wait for its meshes."""
    page.locator(f'.point[aria-label^="{codec} {rate}"]').click()
    page.wait_for_selector(".stage canvas")
    drawn(page)
    return page.locator(".stage canvas")
