"""The tables beside the rate-distortion one, from records small enough to check by eye."""

from __future__ import annotations

import csv
import io
import json

import pytest

from gcbench.bench.analysis import tables
from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.text import FORMATS, block
from gcbench.bench.store.records import Cost, Record

FLOORS = {"cd_floor": 1e-4, "nc_floor": 1.0, "f1_0005_floor": 1.0, "f1_001_floor": 1.0}


def record(mesh="a", codec="c", i=0, size=1.0, error=1e-3, **more) -> Record:
    metrics = {"cd": error, "nc": 0.9, "f1_0005": 0.5, "f1_001": 0.9, "cd_p2s": error / 2, **FLOORS}
    facts = {"in_faces": 200, "in_vertices": 100, "in_watertight": mesh == "a"}
    values = {
        "dataset": "ama", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{i}",
        "rate_index": i, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
        "obj_bytes": 1_000_000, "stream_bytes": size * 1000.0, "bits_per_vertex": 4.0,
        "encode": Cost(2.0, 2.0, 5 << 20, 1), "decode": Cost(0.1, 0.1, 4 << 20, 1), "metrics": metrics, "facts": facts,
    }  # fmt: skip
    return Record(**(values | more))


def ladder(codec, factor=1.0, meshes="ab", **more):
    return [
        record(mesh, codec, i, size=factor * 2.0**i, error=10**-2.0 / 2**i, **more) for mesh in meshes for i in range(5)
    ]


def records():
    broken = record("b", "c", status="bad-input", obj_bytes=None, stream_bytes=None, encode=None, decode=None,
                    bits_per_vertex=None, metrics={}, facts={})  # fmt: skip
    return frame([*ladder("one"), *ladder("two", 2.0), record("a", "c"), broken])


def test_datasets():
    (table,) = tables.datasets(records())
    assert table.rows == [["ama", "all", "2", "1", "2.00", "100", "200", "1"]]
    assert table.data[0]["obj_megabytes"] == 2.0


def test_bd_matrix_and_meshes():
    rows = records()
    matrix, meshes = tables.bd(rows, "cd_p2s")
    assert matrix.heading == ("codec", "against", "c", "one", "two")
    assert [row[2:] for row in matrix.rows] == [
        ["·", "(a)", "(a)"],
        ["(a)", "·", "-50.0"],
        ["(a)", "+100", "·"],
    ]
    assert "(a): not coded for all of the meshes in common" in matrix.notes
    assert meshes.rows == [
        ["one", "two", "-50.0", "-50.0", "-50.0", "2", "0", "100 %"],
    ]
    by_pair = {(d["codec"], d["anchor"]): d for d in matrix.data}
    assert by_pair["two", "one"]["bd_rate"] == pytest.approx(100)
    assert by_pair["c", "one"]["refusal"] == "not coded for all of the meshes in common"
    assert by_pair["c", "one"]["bd_rate"] is None


def test_a_codec_of_other_meshes_has_a_reason_and_a_bd_rate_of_its_meshes():
    rows = frame([*ladder("one"), *ladder("two", 2.0), *ladder("few", 4.0, meshes="a")])
    matrix, meshes = tables.bd(rows, "cd_p2s")
    assert matrix.rows[0] == ["few", "", "·", "(a)", "(a)"]
    assert "(a): not coded for all of the meshes in common" in matrix.notes
    assert meshes.rows == [
        ["one", "few", "-75.0", "–", "–", "1", "1", "100 %"],
        ["one", "two", "-50.0", "-50.0", "-50.0", "2", "0", "100 %"],
        ["two", "few", "-50.0", "–", "–", "1", "1", "100 %"],
    ]


@pytest.mark.parametrize("codecs", [3, 13])
def test_the_matrix_of_many_codecs_fits_on_a_terminal(codecs):
    rows = frame([one for i in range(codecs) for one in ladder(f"codec-name{i:02}", 1.3**-i, meshes="a")])
    matrix = tables.bd(rows, "cd_p2s")[0]
    names = [row[0] for row in matrix.rows]
    if codecs == 3:
        assert list(matrix.heading) == ["codec", "against", *names]
    else:
        assert list(matrix.heading) == ["codec", "no.", *map(str, range(1, 14))]
        assert [row[1] for row in matrix.rows] == list(matrix.heading[2:])
    lines = block(matrix.title, [matrix.heading, *matrix.rows], matrix.notes, "text").splitlines()
    assert max(map(len, lines)) <= 120


def test_one_codec_has_no_matrix():
    rows = frame(ladder("one"))
    assert tables.bd(rows, "cd_p2s") == []
    assert tables.bd(rows, "d1_psnr_bbox") == []
    assert tables.render([], "text") == "nothing to show\n"


def test_timing_says_how():
    rows = frame([record(), record(timing=True, metrics={}, encode=Cost(1.0, 1.0, 1 << 20, 1, 5))])
    (table,) = tables.timing(summarise(rows))
    assert table.rows == [["c", "r0", "1000.0", "100.0", "1.0", "4.0", "pinned"]]
    (table,) = tables.timing(summarise(frame([record()])))
    assert table.rows[0][-1] == "single"


def test_resolutions_are_read_from_labels():
    rows = frame([record(codec="necgs", rate=f"k{k}w32", i=i, size=10.0) for i, k in enumerate((128, 64))])
    (table,) = tables.resolution(summarise(rows))
    assert [row[:4] for row in table.rows] == [["necgs", "k64w32", "64", "100.0"], ["necgs", "k128w32", "128", "100.0"]]
    assert tables.resolution(summarise(frame([record()]))) == []


def test_published_figures_stand_beside_ours():
    rows = frame([record(codec="necgs[epochs=9]", rate="k64w32", error=4.271e-3 * 2), record(codec="draco")])
    (table,) = tables.published(summarise(rows))
    assert table.rows == [
        ["necgs", "NeCGS, Table 3", "AMA", "K=64", "268.75", "4.271", "0.927", "0.721", "0.966"],
        ["necgs[epochs=9] k64w32", "ours", "1 meshes", "", "1000.00", "8.542", "0.900", "0.500", "0.900"],
    ]
    assert table.data[0]["cd_deviation"] == pytest.approx(1)
    assert table.data[0]["f1_0005_deviation"] == pytest.approx(0.5 / 0.721 - 1)


@pytest.mark.parametrize("format_", FORMATS)
def test_every_table_in_every_format(format_):
    rows = records()
    summary = summarise(rows)
    for made in (tables.datasets(rows), tables.bd(rows, "cd"), tables.timing(summary)):
        text = tables.render(made, format_)
        if format_ == "json":
            assert json.loads(text)
        elif format_ == "csv":
            header, *lines = csv.reader(io.StringIO(text))
            assert lines
            assert all(len(line) == len(header) for line in lines)
        else:
            assert made[0].title in text


def test_latex_escapes_what_it_takes_for_commands():
    text = block("t", [["a", "b", "CD ×10⁻³"], ["necgs[a=1]_x", "50 %", "-1.5~"]], ["n"], "latex")
    assert text.splitlines() == [
        "% t",
        r"\begin{tabular}{llr}",
        r"\toprule",
        r"a & b & CD $\times$10$^{-3}$ \\",
        r"\midrule",
        r"necgs[a=1]\_x & 50 \% & $-$1.5$\sim$ \\",
        r"\bottomrule",
        r"\end{tabular}",
        "% n",
    ]


def test_stages_show_coding_and_conversion_apart():
    encode = Cost(2.0, 2.0, 1 << 20, 1, stage_s={"sampling": 0.5, "coding": 1.25})
    decode = Cost(9.0, 9.0, 1 << 20, 1, stage_s={"coding": 1.0, "normals": 2.0, "poisson": 5.5})
    summary = summarise(frame([record(encode=encode, decode=decode), record(codec="d")]))
    (table,) = tables.stages(summary)
    assert table.heading == (
        *("codec", "rate", "encode sampling", "encode coding", "encode rest"),
        *("decode coding", "decode normals", "decode poisson", "decode rest"),
    )
    assert table.rows == [["c", "r0", "500.0", "1250.0", "250.0", "1000.0", "2000.0", "5500.0", "500.0"]]
    assert table.data[0]["decode_stage_poisson_ms"] == 5500
    (table,) = tables.timing(summary)
    assert table.heading[2:6] == ("encode ms", "of it coding", "decode ms", "of it coding")
    assert [row[2:6] for row in table.rows] == [
        ["2000.0", "1250.0", "9000.0", "1000.0"],
        ["2000.0", "–", "100.0", "–"],
    ]
    assert tables.stages(summarise(frame([record()]))) == []


def test_stages_are_the_share_of_one_mesh_and_of_the_timing_pass():
    single = Cost(2.0, 2.0, 1 << 20, 1, stage_s={"coding": 1.0})
    repeated = Cost(1.0, 1.0, 1 << 20, 1, 5, {"coding": 0.5})
    rows = [record(encode=single), record(timing=True, metrics={}, encode=repeated)]
    summary = summarise(frame(rows))
    assert summary["encode_stage_coding_ms"].tolist() == [500]
    summary = summarise(frame([record(kind="set", set_size=4, encode=single)]))
    assert summary["encode_stage_coding_ms"].tolist() == [250]
