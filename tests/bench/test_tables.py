"""The tables beside the rate-distortion one, from records small enough to check by eye."""

from __future__ import annotations

import csv
import io
import json
from itertools import chain

import pytest

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.tables.datasets import datasets
from gcbench.bench.analysis.tables.deltas import deltas
from gcbench.bench.analysis.tables.resolution import resolution
from gcbench.bench.analysis.tables.timing import stages, timing
from gcbench.bench.metrics import columns
from gcbench.bench.store.records import Cost, RanOn, Record
from gcbench.bench.tabular import FORMATS, render

P2S = columns()["cd_p2s"]
FLOORS = {"cd_floor": 1e-4, "nc_floor": 1.0, "f1_0005_floor": 1.0, "f1_001_floor": 1.0}


def record(mesh="a", codec="c", i=0, size=1.0, error=1e-3, **more) -> Record:
    metrics = {"cd": error, "nc": 0.9, "f1_0005": 0.5, "f1_001": 0.9, "cd_p2s": error / 2, **FLOORS}
    values = {
        "dataset": "ama", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{i}",
        "rate_index": i, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
        "obj_bytes": 1_000_000, "stream_bytes": size * 1000.0, "bits_per_vertex": 4.0, "faces": 200, "vertices": 100,
        "encode": Cost(2.0, 2.0, 5 << 20, 1), "decode": Cost(0.1, 0.1, 4 << 20, 1), "metrics": metrics,
    }  # fmt: skip
    return Record(**(values | more))


def ladder(codec, factor=1.0, meshes="ab", **more):
    return [
        record(mesh, codec, i, size=factor * 2.0**i, error=10**-2.0 / 2**i, **more) for mesh in meshes for i in range(5)
    ]


def data(tables) -> list[dict]:
    return json.loads("".join(render(tables, "json")))


def records():
    broken = record("b", "c", status="bad-input", obj_bytes=None, stream_bytes=None, encode=None, decode=None,
                    bits_per_vertex=None, metrics={}, faces=None, vertices=None)  # fmt: skip
    return frame([*ladder("one"), *ladder("two", 2.0), record("a", "c"), broken])


def test_datasets():
    (table,) = made = datasets(records())
    assert table.cells == [["ama", "all", "2", "1", "2.00", "100", "200"]]
    assert data(made)[0]["obj_megabytes"] == 2.0


def test_bd_matrix_and_meshes():
    rows = records()
    matrix, meshes, pairs = deltas(rows, P2S)
    assert matrix.heading == ("codec", "against", "c", "one", "two")
    assert [row[2:] for row in matrix.cells] == [
        ["·", "(a)", "(a)"],
        ["(a)", "·", "-50.0"],
        ["(a)", "+100", "·"],
    ]
    assert "(a): fewer than 4 points" in matrix.notes
    assert meshes.cells == [
        ["one", "two", "-50.0", "-50.0", "-50.0", "2", "0", "100 %"],
    ]
    by_pair = {(d["codec"], d["anchor"]): d for d in data([matrix, meshes, pairs])}
    assert by_pair["two", "one"]["bd_rate"] == pytest.approx(100)
    assert (by_pair["two", "one"]["meshes"], by_pair["c", "one"]["meshes"]) == (2, 1)
    assert by_pair["c", "one"]["refusal"] == "fewer than 4 points"
    assert by_pair["c", "one"]["bd_rate"] is None


def test_a_codec_of_fewer_meshes_is_compared_over_these():
    """The other codecs are worse on the meshes that it lacks, which must not count for it."""
    hard = [ladder(codec, cost, meshes="xyz") for codec, cost in (("one", 100.0), ("two", 200.0))]
    rows = frame([*chain(*hard), *ladder("one"), *ladder("two", 2.0), *ladder("few", 4.0, meshes="a")])
    matrix, _, pairs = deltas(rows, P2S)
    assert matrix.cells == [
        ["few", "", "·", "+300†", "+100.0†"],
        ["one", "", "-75.0†", "·", "-50.0"],
        ["two", "", "-50.0†", "+100", "·"],
    ]
    assert "†: over the 1 mesh that both coded" in matrix.notes
    assert {(d["codec"], d["anchor"]): d["meshes"] for d in data([pairs])}["one", "two"] == 5


def test_codecs_that_coded_different_meshes_are_not_compared():
    rows = frame([*ladder("one"), *ladder("two", 2.0), *ladder("few", meshes="a"), *ladder("other", meshes="b")])
    matrix = deltas(rows, P2S)[0]
    assert matrix.cells[0] == ["few", "", "·", "+0.0†", "(a)", "-50.0†"]
    assert "(a): not coded for all of the meshes in common" in matrix.notes


def test_a_codec_of_other_meshes_has_a_bd_rate_of_its_meshes():
    rows = frame([*ladder("one"), *ladder("two", 2.0), *ladder("few", 4.0, meshes="a")])
    meshes = deltas(rows, P2S)[1]
    assert meshes.cells == [
        ["one", "few", "-75.0", "–", "–", "1", "1", "100 %"],
        ["one", "two", "-50.0", "-50.0", "-50.0", "2", "0", "100 %"],
        ["two", "few", "-50.0", "–", "–", "1", "1", "100 %"],
    ]


@pytest.mark.parametrize("codecs", [3, 13])
def test_the_matrix_of_many_codecs_fits_on_a_terminal(codecs):
    rows = frame([one for i in range(codecs) for one in ladder(f"codec-name{i:02}", 1.3**-i, meshes="a")])
    matrix = deltas(rows, P2S)[0]
    names = [row[0] for row in matrix.cells]
    if codecs == 3:
        assert list(matrix.heading) == ["codec", "against", *names]
    else:
        assert list(matrix.heading) == ["codec", "no.", *map(str, range(1, 14))]
        assert [row[1] for row in matrix.cells] == list(matrix.heading[2:])
    lines = "".join(render([matrix], "text")).splitlines()
    assert max(map(len, lines)) <= 120


def test_a_codec_whose_meshes_a_suite_could_not_measure_is_compared_over_the_others():
    """What is not measured of one codec is left out of the means of both."""
    rows = frame([*ladder("one", meshes="abz"), *ladder("two", 2.0, meshes="abz")])
    gone = rows.assign(cd_p2s=rows["cd_p2s"].mask((rows["codec"] == "two") & (rows["mesh"] == "z")))
    gone.loc[(gone["codec"] == "one") & (gone["mesh"] == "z"), "cd_p2s"] *= 100  # would bend the curve of one
    matrix = deltas(gone, P2S)[0]
    assert [row[2:] for row in matrix.cells] == [["·", "-50.0"], ["+100", "·"]]


def test_one_codec_has_no_matrix():
    rows = frame(ladder("one"))
    assert deltas(rows, P2S) == []
    assert deltas(rows, columns()["mpeg_d1_psnr"]) == []
    assert "".join(render([], "text")) == "nothing to show\n"


def timed(cost=None, **more) -> Record:
    return record(
        timing=True,
        metrics={},
        encode=cost or Cost(1.0, 1.0, 1 << 20, 1, 5),
        decode=Cost(0.1, 0.1, 4 << 20, 1, 5),
        **more,
    )


def test_timing_says_how_and_how_often():
    (table,) = timing(frame([record(), timed()]))
    assert table.heading[-3:] == ("encode calls", "decode calls", "how")
    assert table.cells == [["c", "r0", "1000.0", "100.0", "1.0", "4.0", "5", "5", "pinned"]]
    (table,) = timing(frame([record()]))
    assert table.cells[0][-3:] == ["1", "1", "single"]
    once = timed(Cost(99.0, 99.0, 1 << 20, 1, 1), mesh="b")
    (table,) = timing(frame([record(), record("b"), timed(), once]))
    assert table.cells[0][-3:] == ["1–5", "5", "pinned"]


def test_gpu_memory_is_a_column_where_it_is_known():
    (table,) = timing(frame([record(), record("b", encode=Cost(1.0, 1.0, 5 << 20, 1, gpu_bytes=3 << 20))]))
    assert (table.heading[6], table.cells[0][6]) == ("encode GPU MiB", "3.0")
    assert "decode GPU MiB" not in table.heading


def test_timing_passes_of_two_kinds_of_machine_are_tables_of_their_own():
    here, there = RanOn("h1", "0", 1, "CPU A"), RanOn("h2", "0", 1, "CPU B")
    slow = Cost(8.0, 8.0, 1 << 20, 1, 5)
    rows = frame([record(), timed(ran_on=here), timed(slow, ran_on=there), record(codec="d")])
    one, two, single = timing(rows)
    assert [t.title.rpartition("quick, ")[2] for t in (one, two, single)] == [
        "CPU A, 1 thread", "CPU B, 1 thread", "single shots",
    ]  # fmt: skip
    assert [t.cells[0][:3] for t in (one, two, single)] == [
        ["c", "r0", "1000.0"], ["c", "r0", "8000.0"], ["d", "r0", "2000.0"],
    ]  # fmt: skip
    assert len(one) == len(two) == len(single) == 1


def test_resolutions_are_read_from_labels():
    rows = frame([record(codec="necgs", rate=f"k{k}w32", i=i, size=10.0) for i, k in enumerate((128, 64))])
    (table,) = resolution(summarise(rows), [P2S])
    assert [row[:4] for row in table.cells] == [
        ["necgs", "k64w32", "64", "100.0"],
        ["necgs", "k128w32", "128", "100.0"],
    ]
    assert resolution(summarise(frame([record()])), [P2S]) == []


@pytest.mark.parametrize("format_", FORMATS)
def test_every_table_in_every_format(format_):
    rows = records()
    for made in (datasets(rows), deltas(rows, columns()["cd"]), timing(rows)):
        text = "".join(render(made, format_))
        if format_ == "json":
            assert json.loads(text)
        elif format_ == "csv":
            header, *lines = csv.reader(io.StringIO(text))
            assert lines
            assert all(len(line) == len(header) for line in lines)
        else:
            assert made[0].title in text


def test_stages_show_coding_and_conversion_apart():
    encode = Cost(2.0, 2.0, 1 << 20, 1, stage_s={"sampling": 0.5, "coding": 1.25})
    decode = Cost(9.0, 9.0, 1 << 20, 1, stage_s={"coding": 1.0, "normals": 2.0, "poisson": 5.5})
    rows = frame([record(encode=encode, decode=decode), record(codec="d")])
    summary = summarise(rows)
    (table,) = stages(summary)
    assert table.heading == (
        *("codec", "rate", "encode sampling", "encode coding", "encode rest"),
        *("decode coding", "decode normals", "decode poisson", "decode rest"),
    )
    assert table.cells == [["c", "r0", "500.0", "1250.0", "250.0", "1000.0", "2000.0", "5500.0", "500.0"]]
    assert data([table])[0]["decode_stage_poisson_ms"] == 5500
    (table,) = timing(rows)
    assert table.heading[2:6] == ("encode ms", "of it coding", "decode ms", "of it coding")
    assert [row[2:6] for row in table.cells] == [
        ["2000.0", "1250.0", "9000.0", "1000.0"],
        ["2000.0", "–", "100.0", "–"],
    ]
    assert stages(summarise(frame([record()]))) == []


def test_stages_are_the_share_of_one_mesh_and_of_the_timing_pass():
    single = Cost(2.0, 2.0, 1 << 20, 1, stage_s={"coding": 1.0})
    repeated = Cost(1.0, 1.0, 1 << 20, 1, 5, stage_s={"coding": 0.5})
    rows = [record(encode=single), record(timing=True, metrics={}, encode=repeated)]
    summary = summarise(frame(rows))
    assert summary["encode_stage_coding_ms"].tolist() == [500]
    summary = summarise(frame([record(kind="set", set_size=4, encode=single)]))
    assert summary["encode_stage_coding_ms"].tolist() == [250]
