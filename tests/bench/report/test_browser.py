"""The page in a headless Chromium: what is drawn, what answers to mouse and keyboard, and that nothing goes wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pages import PAGES, drawn, ok_points, pick, pixels, turn_to

from gcbench.bench.report.packing import pack_mesh

pytestmark = pytest.mark.long
playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")


def test_curves_have_a_mark_for_every_codec_and_rate_and_a_legend(open_page, store, hostile):
    page = open_page()
    marks = page.locator(".point")
    assert marks.count() == len(ok_points(store))
    for mark in marks.all():
        box = mark.locator(".mark").bounding_box()
        assert box["width"] > 5
        assert box["height"] > 5
    # It stores the same number of bytes at every rate: a line straight down.
    assert page.locator('.series[data-codec="test-exact"] .curve').bounding_box()["height"] > 100
    assert set(page.locator(".key-name").all_inner_texts()) == {"test-exact", "test-set", "test-bad", hostile.codec}
    assert page.locator(".axis-label").all_text_contents()[1].startswith("p2s ×10⁻³")
    assert np.ptp(pixels(page.locator(".chart")), axis=(0, 1)).min() > 100


@pytest.mark.slow
def test_switches_change_the_chart(open_page):
    page = open_page()
    labels = page.locator(".axis-label")
    assert page.locator(".band").count() == 0
    page.get_by_role("combobox", name="Quality").select_option("cd")
    assert labels.nth(1).text_content().startswith("CD ×10⁻³")
    assert page.locator(".band").bounding_box()["height"] > 3
    hollow = page.locator(".point.hollow")
    assert hollow.count() == 2  # d3 and the set codec; d1 and d2 are seen
    assert "at the noise floor" in hollow.first.get_attribute("aria-label")
    page.get_by_role("combobox", name="Against").select_option("bits_per_vertex")
    assert labels.nth(0).text_content().startswith("bits per vertex")
    middle = page.locator('.point[aria-label^="test-exact d2"]')
    before = middle.get_attribute("transform")
    page.get_by_role("checkbox", name="log y").uncheck()
    assert middle.get_attribute("transform") != before
    page.get_by_role("checkbox", name="convex hull").check()
    assert page.locator(".hull").count() == 1  # of the one codec with three points
    page.get_by_role("button", name="test-exact", exact=True).click()
    assert page.locator('.series[data-codec="test-exact"]').count() == 0
    assert page.locator(".point").count() == 1
    page.get_by_role("combobox", name="Mesh").select_option("=ball")
    assert "ball" in page.locator("h2").first.inner_text()


@pytest.mark.slow
def test_hover_and_zoom(open_page):
    page = open_page()
    first = page.locator(".point").first
    first.hover()
    assert "compression ratio" in page.locator(".tip").inner_text()
    ticks = page.locator(".tick-label").all_text_contents()
    frame, mark = page.locator(".chart").bounding_box(), first.bounding_box()
    x, y = mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2
    start = (max(x - 60, frame["x"] + 70), max(y - 60, frame["y"] + 16))
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(x + 40, y + 40, steps=4)
    page.mouse.up()
    assert page.locator(".tick-label").all_text_contents() != ticks
    page.get_by_role("button", name="Show everything").click()
    assert page.locator(".tick-label").all_text_contents() == ticks


def test_a_point_shows_its_meshes_in_three_panes(open_page, store, hostile):
    page = open_page()
    canvas = pick(page, "test-exact", "d1")
    assert set(page.locator(".codings tbody th").all_inner_texts()) == {"ball", "broken", hostile.mesh}
    picture = pixels(canvas)
    panes = [picture[:, i * picture.shape[1] // 3 : (i + 1) * picture.shape[1] // 3] for i in range(3)]
    for pane in panes:
        assert pane[30:].std(axis=(0, 1)).max() > 15, "an empty pane"
    grey = [np.abs(pane[30:] - pane[30:].mean(axis=2, keepdims=True)).mean() for pane in panes]
    assert grey[2] > 4 * grey[0], "the error is not in colour"
    before = picture.copy()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 60, steps=3)
    page.mouse.up()
    drawn(page)
    moved = np.abs(pixels(canvas) - before)[30:].mean(axis=(0, 2))
    thirds = [part.mean() for part in np.array_split(moved, 3)]
    assert min(thirds) > 0.3, "the cameras are not linked"


def test_the_page_unpacks_what_was_packed(open_page, store):
    import trimesh

    page = open_page()
    mesh = trimesh.creation.icosphere(2)  # of radius 1: normalised as it is
    packed = pack_mesh(mesh.vertices, mesh.faces)
    found = page.evaluate(
        """async () => {
          const report = await loadReport();
          const scene = report.scenes.find((one) => report.at(one.row, "mesh") === "ball");
          const mesh = unpackMesh(await unpackBlob(scene.original));
          const codes = unpackErrors(await unpackBlob(scene.missed)).length;
          return { positions: [...mesh.positions], triangles: [...mesh.triangles], codes };
        }"""
    )
    positions, triangles = np.array(found["positions"]).reshape(-1, 3), np.array(found["triangles"]).reshape(-1, 3)
    assert len(triangles) == packed.faces == len(mesh.faces)
    assert found["codes"] == len(positions)
    np.testing.assert_allclose(positions, mesh.vertices[packed.order], atol=1.01 / (2**packed.bits - 1))
    turned = [tuple(np.roll(face, -int(np.argmin(face)))) for face in packed.order[triangles]]
    assert sorted(turned) == sorted(tuple(np.roll(face, -int(np.argmin(face)))) for face in mesh.faces)


@pytest.mark.slow
def test_colours_start_with_what_99_percent_of_the_vertices_keep(open_page):
    page = open_page()
    codes = [0] * 50 + [51] * 49 + [255]
    assert page.evaluate(f"mostErrors(Uint8Array.from({codes}))") == pytest.approx(0.04)
    assert page.evaluate(f"mostErrors(Uint8Array.from({[0] * 99 + [255]}))") == 0
    assert page.evaluate("mostErrors(Uint8Array.from([7]))") == pytest.approx((7 / 255) ** 2)
    canvas = pick(page, "test-exact", "d1")
    shown = page.locator(".bar-high").inner_text()
    before = pixels(canvas)
    page.get_by_role("combobox", name="Colours up to").select_option("own")
    drawn(page)
    assert shown.startswith("≥ ") == (np.abs(pixels(canvas) - before).mean() > 0)
    assert not page.locator(".bar-high").inner_text().startswith("≥")


@pytest.mark.slow
def test_the_wipe_moves_by_slider_and_by_dragging(open_page):
    page = open_page()
    canvas = pick(page, "test-exact", "d1")
    page.get_by_role("button", name="wipe").click()
    drawn(page)

    def colourful():
        """Share of columns with colour, which only the error map has."""
        picture = pixels(canvas)[30:]
        colour = (picture.max(axis=2) - picture.min(axis=2) > 40).sum(axis=0) > 8
        return colour.mean()

    slider = page.get_by_role("slider", name="Wipe")
    slider.fill("500")
    drawn(page)
    half = colourful()
    slider.fill("0")
    drawn(page)
    whole = colourful()
    slider.fill("1000")
    drawn(page)
    # What is left is the line, which is drawn in the colour of accents.
    assert colourful() < 0.05 < half < 0.75 * whole
    slider.press("Home")
    for _ in range(3):
        slider.press("ArrowRight")
    assert slider.input_value() == "3"
    slider.fill("300")
    drawn(page)
    box = page.locator(".wipe-line").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 50, steps=3)
    page.mouse.up()
    assert float(slider.input_value()) > 450


@pytest.mark.slow
def test_a_graphics_card_that_goes_and_comes_back_or_never_was(open_page):
    page = open_page()
    canvas = pick(page, "test-exact", "d1")
    before = pixels(canvas)
    lose = """async (canvas) => {
      const extension = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
      const event = (name) => new Promise((done) => canvas.addEventListener(name, done, { once: true }));
      const [lost, restored] = [event("webglcontextlost"), event("webglcontextrestored")];
      extension.loseContext();
      await lost;
      setTimeout(() => extension.restoreContext(), 50);
      await restored;
    }"""
    canvas.evaluate(lose)
    drawn(page)
    assert np.abs(pixels(canvas) - before).mean() < 0.5

    without = "HTMLCanvasElement.prototype.getContext = () => null"
    page = open_page(script=without)
    page.locator(".point").first.click()
    assert "no WebGL 2" in page.locator(".viewer").inner_text()
    assert page.locator(".codings tbody:not(.gap) tr").count() >= 1


def test_the_table_sorts_filters_and_opens_a_mesh(open_page, store, hostile):
    page = open_page()
    turn_to(page, "Codings")
    rows = page.locator("table.grid tbody:not(.gap) tr")
    assert rows.count() == len(store.records())
    heads = page.locator("table.grid thead th").all_inner_texts()
    at = next(i for i, head in enumerate(heads) if head.startswith("bytes"))

    def sizes():
        cells = [row.locator("th, td").nth(at).inner_text().replace("\u2009", "") for row in rows.all()]
        return [int(cell) for cell in cells if cell != "–"]

    head = page.locator("table.grid thead th").nth(at)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert sizes() == sorted(sizes(), reverse=True)
    head.get_by_role("button").click()
    assert sizes() == sorted(sizes())
    page.get_by_role("searchbox", name="Filter").fill("ball test-exact")
    expected = [r for r in store.records() if r.mesh == "ball" and r.codec.startswith("test-exact")]
    assert rows.count() == len(expected)
    page.get_by_role("searchbox", name="Filter").fill("")
    page.get_by_role("combobox", name="Status").select_option("failed")
    assert rows.count() == sum(r.status == "failed" for r in store.records())
    assert hostile.error.split("\u2028")[0].strip() in page.locator("table.grid").inner_text()
    page.get_by_role("combobox", name="Status").select_option("")
    page.locator(".look").first.click()
    head = page.locator("dialog h3")
    title = head.inner_text()
    page.get_by_role("button", name="Next").click()
    playwright.expect(head).not_to_have_text(title)
    drawn(page)
    page.keyboard.press("Escape")
    playwright.expect(page.locator("dialog")).to_have_count(0)


@pytest.mark.slow
def test_a_long_table_has_only_the_rows_on_screen(open_page, long_run, tmp_path):
    from gcbench.bench.report import build

    page = open_page(build(long_run, tmp_path / "long.html", meshes=False).path)
    turn_to(page, "Codings")
    table, rows = page.locator("table.grid"), page.locator("table.grid tbody:not(.gap) tr")
    assert table.get_attribute("aria-rowcount") == "3001"
    head = page.locator("table.grid thead th", has_text="bytes").first
    head.get_by_role("button").click()
    drawn(page)
    assert 20 < rows.count() < 80
    assert rows.first.locator("th").inner_text() == "mesh-2999"
    area = page.locator(".scroll.rows")
    height = area.evaluate("(element) => element.scrollHeight")
    row = rows.first.bounding_box()["height"]
    assert height == pytest.approx(3000 * row, rel=0.01)
    for part, expected in ((0.5, 1500), (1.0, 0), (0.25, 2250)):
        area.evaluate(f"(element) => {{ element.scrollTop = {part} * (element.scrollHeight - element.clientHeight); }}")
        drawn(page)
        assert 20 < rows.count() < 80
        # What is in the middle of the frame belongs there: the table is sorted from mesh-2999 down.
        box = area.bounding_box()
        middle = page.evaluate(
            "([x, y]) => document.elementFromPoint(x, y).closest('tr').firstElementChild.textContent",
            [box["x"] + 60, box["y"] + box["height"] / 2],
        )
        assert int(middle.removeprefix("mesh-")) == pytest.approx(expected, abs=25)
        at = rows.first.get_attribute("aria-rowindex")
        assert int(at) - 2 == 2999 - int(rows.first.locator("th").inner_text().removeprefix("mesh-"))
    assert area.evaluate("(element) => element.scrollHeight") == pytest.approx(height, rel=0.01)
    page.get_by_role("searchbox", name="Filter").fill("mesh-2345")
    drawn(page)
    assert rows.all_inner_texts()[0].startswith("mesh-2345")
    assert rows.count() == 1


@pytest.mark.slow
def test_the_page_of_a_large_run_says_what_it_carries_and_has_spreads_of_everything(
    open_page, long_run, tmp_path, monkeypatch
):
    from gcbench.bench.report import build
    from gcbench.bench.report import page as building
    from gcbench.bench.report.carried import carried

    monkeypatch.setattr(building, "carried", lambda rows, cases: carried(rows, cases, 100))
    page = open_page(build(long_run, tmp_path / "large.html").path)
    assert "3000 records" in page.locator(".summary").inner_text()
    turn_to(page, "Codings")
    assert "Here are 100 of its 3000 records" in page.locator(".notice").inner_text()
    turn_to(page, "Spread")
    assert page.locator("tbody tr").first.locator("td").nth(1).inner_text() == "3000"
    page.get_by_role("combobox", name="Value").select_option("kilobytes")
    cells = page.locator("tbody tr").first.locator("td").all_inner_texts()
    assert [cells[3], cells[6], cells[9]] == ["0.100", "1.60", "3.10"]  # least, median, most
    assert page.locator(".box .half").bounding_box()["width"] > 20
    turn_to(page, "Coverage")
    said = page.locator("main").inner_text()
    assert "2900\tleft out of the report of a large run" in said
    assert "100\tthe input mesh" in said


@pytest.mark.slow
def test_everything_can_be_reached_with_the_keyboard(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('point')"):
            break
    first = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert page.locator(".tip").inner_text().split("\n")[0] in first
    seen = {first}
    for key in ("ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
        seen.add(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert len(seen) >= 3
    page.keyboard.press("Enter")
    page.wait_for_selector(".stage canvas")
    drawn(page)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "CANVAS":
            break
    canvas = page.locator(".stage canvas")
    drawn(page)
    before = pixels(canvas)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    drawn(page)
    assert np.abs(pixels(canvas) - before).mean() > 0.3


def test_pages_of_timing_coverage_and_provenance_say_what_they_should(open_page, hostile):
    page = open_page()
    main = page.locator("main")
    turn_to(page, "Time and memory")
    assert page.locator(".bar").count() >= 4
    assert "single shots" in main.inner_text()
    point = "{ decode_stage_coding_ms: 1.25, decode_stage_poisson_ms: 300, encode_stage_coding_ms: 9, decode_ms: 302 }"
    stages = page.evaluate(f"TimingPage.prototype.stages({point}, 'decode', true)")
    assert stages == "coding 1.25, poisson 300"
    turn_to(page, "Coverage")
    said = main.inner_text()
    for text in (
        hostile.codec,
        "boom <img src=x onerror=",
        "gone<i>",
        "<script>window.harm=5</script>; get it",
        "bad-input",
        "broken",
    ):
        assert text in said
    turn_to(page, "Provenance")
    page.locator("summary").first.click()
    page.locator("summary").last.click()
    assert "commit" in main.inner_text()
    assert page.locator("h1").inner_text() == 'run <b> & "co."'


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.slow
def test_a_narrow_screen_never_scrolls_sideways_and_the_scheme_is_heeded(open_page, scheme):
    page = open_page(width=360, height=740, color_scheme=scheme)
    luminance = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + Number(b), 0) / 3"
    )
    assert luminance < 60 if scheme == "dark" else luminance > 200
    canvas = pick(page, "test-exact", "d1")
    assert canvas.bounding_box()["width"] <= 360
    for name in PAGES:
        page.evaluate(f"location.hash = '{name}'")
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name


@pytest.mark.slow
def test_contrast_of_text_is_enough(open_page):
    """WCAG AA, 4.5 to 1, for text and muted text on page and panel, in both schemes."""
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        colours = page.evaluate(
            """(names) => Object.fromEntries(names.map((name) => {
              const probe = document.createElement("i");
              probe.style.color = `var(--${name})`;
              document.body.append(probe);
              const found = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
              probe.remove();
              return [name, found];
            }))""",
            ["bg", "panel", "text", "muted", "accent", "accent-text", "bad", "good", "tip", "tip-text"],
        )

        def luminance(rgb):
            c = np.array(rgb) / 255
            return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

        pairs = [(a, b) for a in ("text", "muted", "accent", "bad", "good") for b in ("bg", "panel")]
        for a, b in [*pairs, ("accent-text", "accent"), ("tip-text", "tip")]:
            low, high = sorted((luminance(colours[a]), luminance(colours[b])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, a, b)


@pytest.mark.slow
def test_a_run_without_meshes_or_without_any_good_coding_still_has_its_pages(open_page, store, tmp_path):
    from gcbench.bench.report import build
    from gcbench.bench.store.run import Run

    page = open_page(build(store, tmp_path / "bare.html", meshes=False).path)
    page.locator(".point").first.click()
    assert "made without meshes" in page.locator(".codings").inner_text()

    failed = Run(tmp_path / "failed")
    failed.path.mkdir()
    bad = [json.dumps(coding.to_json()) for coding in store.codings() if coding.status != "ok"]
    (failed.path / "codings.jsonl").write_text("\n".join(bad) + "\n")
    page = open_page(build(failed, tmp_path / "failed.html").path)
    assert "Nothing was measured" in page.locator("main").inner_text()
    for name in PAGES:
        page.evaluate(f"location.hash = '{name}'")
        drawn(page)
        assert page.locator("main h2").count() >= 1
