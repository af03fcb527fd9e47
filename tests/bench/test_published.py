"""Figures of papers beside ours: which of ours is taken, the ratio, and the verdict that follows from the numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gcbench.bench.analysis import published as module
from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.published import QUANTITIES, compare, count, published, question, questions, quotes
from gcbench.bench.analysis.tables.published import beside_published, published_tables, significant
from gcbench.bench.metrics import columns
from gcbench.bench.store.records import Cost, Record
from gcbench.bench.tabular import render

DOCS = Path(__file__).parents[2]


def record(codec, rate, cd, *, dataset="ama40", size=1000.0, mesh="a", encode_s=2.0, i=0, **metrics) -> Record:
    return Record(
        dataset=dataset, split="all", mesh=mesh, codec=codec, kind="model", rate=rate, rate_index=i, effort="standard",
        seed=0, timing=False, status="ok", obj_bytes=1_000_000, stream_bytes=size, bits_per_vertex=4.0, faces=200,
        vertices=100, encode=Cost(encode_s, encode_s, 5 << 20, 1), decode=Cost(0.1, 0.1, 4 << 20, 1),
        metrics={"cd": cd, "nc": 0.9, "f1_0005": 0.5, "f1_001": 0.9, "cd_p2s": cd / 2, **metrics},
    )  # fmt: skip


def of(records, name, quantity):
    figures = {one.id: one for one in published() if one.quantity == quantity}
    wanted = [figures[name], *([figures[figures[name].against]] if figures[name].against else [])]
    return compare([summarise(frame(records))], wanted)[0]


def necgs(cd64, cd128):
    return [record("necgs", "k64w32", cd64), record("necgs", "k128w64", cd128, i=1)]


def test_the_files_agree_with_one_another_and_with_the_registry():
    figures = published()
    assert len(figures) == len({(one.id, one.quantity) for one in figures}) == 215
    assert {one.quantity for one in figures} <= {*QUANTITIES, *columns()}
    ids = {one.id for one in figures}
    assert {one.against for one in figures} - {""} <= ids
    assert {name for name, _ in questions()} <= ids
    assert {q for _, q in questions()} - {""} <= {one.quantity for one in figures}
    for one in figures:
        asked = question(one)
        assert asked.not_run, one.id
        assert asked.differs or not (asked.codec or asked.quoted is not None), one.id
        assert (asked.quoted is None) or asked.quote in quotes()
        assert (one.value is None) <= (one.order in {"<", ">"}), one.id


@pytest.mark.parametrize("quote", sorted({one.page for one in quotes().values()}))
def test_quotes_name_pages_that_there_are(quote):
    page, _, heading = quote.partition("#")
    text = (DOCS / page).read_text(encoding="utf-8")
    anchors = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")
               for line in text.splitlines() if line.startswith("#")}  # fmt: skip
    assert heading in anchors


def test_the_numbers_of_table_3_are_those_of_the_paper():
    values = {(one.id, one.quantity): one.value for one in published()}
    assert values["t3-128", "cd"] == 0.003436
    assert values["t3-256", "decode_ms"] == 421.94
    assert values["th-ks-128", "giou"] == 0.986
    assert values["is-lego-retrained-90", "psnr"] == 20.42


def test_a_direction_is_that_of_two_figures_of_the_run():
    one = of(necgs(4e-3, 3e-3), "t3-64", "cd")
    assert one.verdict == "same direction"  # the paper: 4.271 at K = 64, 3.436 at K = 128
    assert one.ratio == pytest.approx(4e-3 / 0.004271)
    assert one.ours is not None
    assert one.ours.of == "ama40, 1 mesh: necgs k64w32"
    other = of(necgs(3e-3, 4e-3), "t3-64", "cd")
    assert other.verdict.startswith("differs because a set of 40")
    level = of(necgs(3e-3, 3.01e-3), "t3-128", "cd")
    assert level.verdict.startswith("differs because")


def test_a_direction_is_of_the_same_meshes_unless_the_paper_compares_sets():
    rows = [record("necgs", "k64w32", 4e-3), record("necgs", "k128w64", 5e-3, dataset="ama342")]
    assert of(rows, "t3-64", "cd").verdict == "same direction"  # by the ablation that docs/necgs.md has
    sets = [record("draco", "q10", 1e-3), record("draco", "q10", 1e-3, dataset="thingi36")]
    assert of(sets, "t1-ama", "original_megabytes").ours is not None
    assert of(sets, "t1-ama", "original_megabytes").verdict.startswith(
        "differs"
    )  # 500 and 1000 MB; the paper: 378, 336


def test_where_no_run_answers_an_earlier_measurement_is_quoted():
    one = of([record("draco", "q10", 1e-3)], "t3-64", "cd")
    assert one.ours is not None
    assert (one.ours.value, one.ours.of) == (0.006036, "6 meshes of three kinds (docs/necgs.md#ablations)")
    none = of([record("draco", "q10", 1e-3)], "t3-256", "cd")
    assert none.ours is None
    assert none.ratio is None
    assert none.verdict.startswith("not run because at K = 256")


def test_times_are_scaled_to_the_meshes_of_the_paper():
    rows = [record("necgs", "k64w32", 4e-3, encode_s=7.2), record("draco", "q10", 1e-3, encode_s=72.0)]
    one = of(rows, "s-necgs", "encode_hours")
    assert one.ours is not None
    assert one.ours.value == pytest.approx(7.2 * 500 / 3600)
    assert of(rows, "s-draco", "encode_hours").verdict.startswith("differs because")  # slower here, faster there


@pytest.mark.parametrize(("size", "verdict"), [(3000.0, "same direction"), (300.0, "differs because")])
def test_bytes_at_equal_quality_are_those_at_the_smallest_stream_of_necgs(size, verdict):
    rows = [record("necgs", "k64w32", 4e-3)]
    rows += [record("draco", f"q{i}", 8e-3 / 2**i, size=size * 2 ** (i - 1), i=i) for i in range(4)]
    one = of(rows, "f4-ama-draco", "equal_bytes")
    assert one.ours is not None
    assert one.ours.value == pytest.approx(size / 1000)  # 4e-3 is q1
    assert one.verdict.startswith(verdict)


def test_a_bd_rate_is_compared_with_zero():
    rows = []
    for i in range(5):
        rows.append(record("pcgcv2", f"r{i}", 1e-3, size=500 * 2.0**i, i=i, points_d1_psnr=60.0 + 2 * i))
        rows.append(record("gpcc-octree", f"r{i}", 1e-3, size=1000 * 2.0**i, i=i, points_d1_psnr=60.0 + 2 * i))
    one = of(rows, "pc-gpcc", "bd_rate")
    assert one.ours is not None
    assert one.ours.value == pytest.approx(-50)
    assert (one.ratio, one.verdict) == (pytest.approx(50 / 70), "same direction")


def test_another_column_of_ours_has_a_direction_and_no_ratio():
    rows = [
        record("pruned-mlp", f"w48s{z:02d}", 2e-3 * 2**n, size=4000.0 / (n + 1), i=n) for n, z in enumerate((0, 30, 50))
    ]
    rows += [record("pruned-mlp[retrain=0]", "w48s30", 4e-2, size=2000.0, i=1)]
    one = of(rows, "is-lego-retrained-30", "psnr")
    assert one.ours is not None
    assert (one.ours.column, one.ratio, one.verdict) == ("cd_p2s", None, "same direction")
    smaller = of(rows, "is-lego-pruned-30", "times_smaller")
    assert smaller.ours is not None
    assert smaller.ours.value == pytest.approx(2)


def test_only_an_asterisk_is_special_in_a_pattern():
    assert module._like("necgs[*ssim=0*]", "necgs[lr=1,ssim=0]")
    assert not module._like("necgs[*ssim=0*]", "necgss")
    assert not module._like("k64w*", "k640")


def test_every_figure_is_in_the_tables_for_people_and_for_programs():
    found = compare([summarise(frame(necgs(4e-3, 3e-3)))])
    tables = published_tables(found)
    programs = json.loads("".join(render(tables, "json")))
    assert len(programs) == len(found) == sum(count(found).values())
    assert {row["verdict"].partition(" because")[0] for row in programs} == {"same direction", "differs", "not run"}
    assert all(row["page"] and row["command"] for row in programs if "docs/" in (row["of"] or ""))
    text = "".join(render(tables, "markdown"))
    for one in published():
        if one.value is not None and one.quantity in QUANTITIES:
            assert significant(one.value, QUANTITIES[one.quantity].digits) in text
    assert (
        "kB 30; gIoU % 93.80; squared CD ×10⁻³ 0.1880" in text
    )  # figures of one method that were not run share a line
    assert beside_published([]) != []


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.31, 3, "0.31"), (899.73, 4, "899.7"), (0.000123, 2, "0.00012"), (7186, 3, "7186"), (0, 3, "0")],
)
def test_significant_digits(value, digits, text):
    assert significant(value, digits) == text
