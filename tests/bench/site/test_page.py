"""The page that is made of results: its numbers, its refusals, its figures, and that it notices when it is stale."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gcbench.bench.analysis.frame import summarise
from gcbench.bench.analysis.rate_distortion import bd_matrix
from gcbench.bench.audit.submission import counting
from gcbench.bench.site import find_sets, make_page, pictures, sections
from gcbench.bench.site.page import require_template, stale, write_page
from gcbench.bench.store import pack, pack_columns
from gcbench.errors import UsageError

REPOSITORY = Path(__file__).parents[3]
REFERENCE, PAGE = REPOSITORY / "results" / "reference", REPOSITORY / "docs" / "results.md"


def made(tmp_path, toys, text):
    template = tmp_path / "t.template.md"
    template.write_text(text, encoding="utf-8")
    page = make_page(template, [toys])
    return page.text.partition("-->\n\n")[2]


def test_numbers_in_sentences_are_those_of_the_tables(tmp_path, toys):
    summary = summarise(toys.rows)
    delta = bd_matrix(summary, "cd_p2s").loc["draco", "meshopt"].percent
    assert delta < 0
    assert made(tmp_path, toys, "{{ bd toys draco meshopt }}") == f"−{abs(delta):.1f} %"
    assert made(tmp_path, toys, "{{ fewer toys draco meshopt cd_p2s }}") == f"{-delta:.0f} %"
    assert (
        made(tmp_path, toys, "{{ codings toys }} {{ meshes toys }} {{ failed toys }} {{ codecs toys }}") == "24 2 0 2"
    )
    assert made(tmp_path, toys, "{{ best toys 0.005 }}") == "`draco`"
    row = summary[(summary["codec"] == "draco") & (summary["rate"] == "q08")].iloc[0]
    at_q08 = made(tmp_path, toys, f"{{{{ kilobytes toys draco {float(row['cd_p2s'])!r} }}}}")
    assert float(at_q08) == pytest.approx(row["kilobytes"], rel=5e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ more toys draco meshopt }}", "the sentence is no longer true: the BD-rate is -"),
        ("{{ bd toys draco ni }}", "toys has no codec ni"),
        ("{{ bd toys draco meshopt mpeg_d2_psnr }}", "toys has no mpeg_d2_psnr"),
        ("{{ kilobytes toys draco 1e-9 }}", "draco does not reach this quality"),
        ("{{ bd elsewhere a b }}", "name a set: toys"),
        ("{{ nothing toys }}", "unknown placeholder"),
        ("{{ figure toys cat }}", "unknown kind of figure; known: rd, pareto, amortisation"),
        ("{{ matrix-in toys cat }}", "no suite has a column cat"),
    ],
)
def test_a_page_that_would_be_wrong_is_not_made(tmp_path, toys, text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        made(tmp_path, toys, text)


def test_what_was_run_and_what_was_not(tmp_path, toys):
    text = made(tmp_path, toys, "{{ what toys }}\n{{ not-run toys }}\n{{ commands toys }}\n{{ levels toys }}")
    assert "2 meshes (toys/all); 2 codecs at 6 rates, effort standard, seed 0: 24 codings" in text
    assert "- `vpcc` was not run: no &lt;b>program&lt;/b>" in text
    assert "    bench run -d toys,y" in text  # no path of a machine
    assert "/home" not in text
    assert "| vpcc (not run) |" in text
    assert "times: medians of pinned calls, of 2 meshes; –: not timed" in text


def test_times_are_those_of_the_timing_pass(tmp_path, toys):
    passes = toys.rows[toys.rows["timing"] & (toys.rows["codec"] == "draco")]
    least, most = (1000 * passes["decode_s"].agg(how) for how in ("min", "max"))
    assert 0.98 * least <= float(made(tmp_path, toys, "{{ decode-ms toys draco }}")) <= 1.02 * most
    assert "decodes fastest at this quality" in sections.says(toys)
    (table,) = sections.times(toys)
    assert len(table) == 12
    assert set(table.values["timed"]) == {True}


def test_single_calls_are_not_drawn_beside_a_timing_pass(toys):
    rows = toys.rows[~(toys.rows["timing"].astype(bool) & (toys.rows["codec"] == "meshopt"))]
    some = replace(toys, rows=rows)
    assert set(some.rows["codec"]) == {"draco", "meshopt"}
    assert set(some.timed["codec"]) == {"draco"}
    assert set(toys.timed["codec"]) == {"draco", "meshopt"}


def test_a_codec_of_fewer_meshes_is_compared_over_these_in_sentences_too(toys):
    """A third codec, the cheapest, ran on one of two meshes; on the other, everybody needs ten times as much."""
    quality = toys.rows[~toys.rows["timing"].astype(bool)]
    cheap = quality[(quality["codec"] == "draco") & (quality["mesh"] == "ball")].assign(codec="cheap")
    cheap["stream_bytes"] /= 2
    quality = quality.assign(stream_bytes=quality["stream_bytes"].where(quality["mesh"] == "ball", 1e5))
    some = replace(toys, rows=pd.concat([quality, cheap], ignore_index=True))
    assert some.common.aside["codec"].unique().tolist() == ["cheap"]
    assert "`cheap` was run on 1 of the meshes, where it needs" in sections.says(some)
    delta, meshes = sections.pair(some, "cheap", "draco", "cd_p2s")
    assert (round(delta.percent, 6), meshes) == (-50, 1)
    (matrix, *_) = sections.matrix(some, some.ranking)
    assert matrix.cells[0][:4] == ["cheap", "", "·", "-50.0†"]


def test_bytes_at_equal_quality_lie_between_those_of_the_rates_around_it(toys):
    (table,) = sections.at_levels(toys)
    codec = list(table.values["codec"]).index("draco")
    summary = toys.summary[toys.summary["codec"] == "draco"].sort_values("cd_p2s")
    for place, quality in enumerate(sections.LEVELS):
        text = str(table.values[f"at {place}"][codec] or "")
        around = np.interp(np.log(quality), np.log(summary["cd_p2s"]), np.log(summary["kilobytes"]))
        if text and not text.startswith("≤"):
            assert float(text) == pytest.approx(np.exp(around), rel=5e-3)


def test_every_placeholder_of_the_page_of_the_repository(tmp_path, toys):
    text = PAGE.with_suffix(".template.md").read_text(encoding="utf-8")
    page = made(tmp_path, toys, text)
    assert "{{" not in page
    assert "## toys" in page
    assert "215 figures" in page
    assert page.count("<details") == page.count("</details>") > 10


def test_a_page_and_its_figures_are_written_and_checked(bench, tmp_path, toys, results):
    page, template = tmp_path / "page.md", tmp_path / "page.template.md"
    template.write_text("{{ says toys }}\n\n{{ figure toys pareto }}\n", encoding="utf-8")
    assert bench("site", results, "--page", page, "--check", code=1).stdout.startswith(f"{page}: stale")
    assert bench("site", results, "--page", page).stdout.split() == [str(page), str(tmp_path / "toys-pareto.png")]
    assert pictures.fingerprint_of(tmp_path / "toys-pareto.png") == toys.fingerprint
    assert bench("site", results, "--page", page, "--check").stdout == f"{page} is what the results say\n"
    before = (tmp_path / "toys-pareto.png").stat().st_mtime_ns
    bench("site", results, "--page", page)
    assert (tmp_path / "toys-pareto.png").stat().st_mtime_ns == before  # it shows the same records
    page.write_text(page.read_text(encoding="utf-8").replace("fewest", "most"), encoding="utf-8")
    (tmp_path / "toys-pareto.png").unlink()
    said = bench("site", results, "--page", page, "--check", code=1).stdout
    assert f"{page}: stale from line 4" in said
    assert f"{tmp_path / 'toys-pareto.png'}: stale, or missing" in said


def test_the_command_says_what_is_missing(bench, tmp_path, results):
    assert "nothing to make" in bench("site", results, code=2).stderr
    assert "--check needs --page" in bench("site", results, "-o", tmp_path, "--check", code=2).stderr
    assert "no pack and no run in" in bench("site", tmp_path, "-o", tmp_path / "o", code=2).stderr
    with pytest.raises(UsageError, match=r"no template .*x\.template\.md"):
        require_template(tmp_path / "x.md", None)


@pytest.mark.long
def test_the_page_of_the_repository_is_what_the_results_say():
    page = make_page(PAGE.with_suffix(".template.md"), find_sets(REFERENCE))
    assert stale(page, PAGE) == [], "bench site results/reference --page docs/results.md"
    for name in page.figures:
        assert (PAGE.parent / name).stat().st_size < 300_000


def test_figures_are_drawn_again_if_the_records_changed(tmp_path, toys):
    template = tmp_path / "p.template.md"
    template.write_text("{{ figure toys pareto }}", encoding="utf-8")
    page = make_page(template, [toys])
    first = write_page(page, tmp_path / "p.md")
    assert [path.name for path in first] == ["p.md", "toys-pareto.png"]
    data = (tmp_path / "toys-pareto.png").read_bytes()
    (tmp_path / "toys-pareto.png").write_bytes(data.replace(toys.fingerprint.encode(), b"0" * 64))
    assert pictures.fingerprint_of(tmp_path / "toys-pareto.png") != toys.fingerprint
    write_page(page, tmp_path / "p.md")
    assert (tmp_path / "toys-pareto.png").read_bytes() == data  # the same records, the same bytes


def test_a_pack_says_what_its_run_says_and_why_a_codec_is_missing(tmp_path, toys):
    run = toys.results
    content = pack_columns.content_of(counting(run), run.measurements(), run.sessions())
    pack.write(tmp_path / "toys", content, {}, not_run={"ni": "needs 9 h\non two cores"}, archive=None)
    (packed,) = find_sets(tmp_path)
    of_page = "{{ bd toys draco meshopt }} {{ best toys }} {{ kilobytes toys draco }} {{ matrix toys }}"
    assert made(tmp_path, packed, of_page) == made(tmp_path, toys, of_page)
    assert "- `ni` was not run: needs 9 h on two cores" in made(tmp_path, packed, "{{ not-run toys }}").splitlines()
    assert packed.fingerprint != toys.fingerprint
