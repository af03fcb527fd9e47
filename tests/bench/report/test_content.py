"""What a report says, from records small enough to check by eye."""

from __future__ import annotations

import json

from gcbench.bench.analysis.frame import frame
from gcbench.bench.metrics import columns
from gcbench.bench.report.content import content
from gcbench.bench.store.records import Cost, RanOn, Record

FLOORS = {"cd_floor": 1e-4, "nc_floor": 1.0, "f1_0005_floor": 1.0, "f1_001_floor": 1.0}


def record(mesh="a", codec="c", i=0, error=1e-3, **more) -> Record:
    metrics = {"cd": error, "nc": 0.9, "f1_0005": 0.5, "f1_001": 0.9, "cd_p2s": error / 2, **FLOORS}
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{i}",
        "rate_index": i, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
        "obj_bytes": 1_000_000, "stream_bytes": 1000.0 * 2**i, "bits_per_vertex": 4.0,
        "encode": Cost(2.0, 2.0, 5 << 20, 1), "decode": Cost(0.1, 0.1, 4 << 20, 1), "metrics": metrics,
    }  # fmt: skip
    return Record(**(values | more))


def test_means_are_over_the_meshes_in_common_and_other_points_stand_beside():
    ladder = [record(m, c, i, error=10**-2 / 2**i) for m in "ab" for c in ("one", "two") for i in range(4)]
    hard = [record("z", "one", i, error=1.0) for i in range(4)]  # a mesh that only one codec was run on
    few = [record("a", "two", 4), record("a", "few", 0)]
    said = content("x", frame([*ladder, *hard, *few]), [], leftovers=["left out: something"])
    (block,) = said["blocks"]
    assert block["meshes"] == 2
    assert block["coverage"] == ["compared over 2 of 3 meshes; not on all of these: few (1 coded), two r4 (1 coded)"]
    points = {(p["codec"], p["rate"]): p for p in block["points"]}
    assert {name for name, p in points.items() if p["beside"]} == {("two", "r4"), ("few", "r0")}
    first = points["one", "r0"]
    assert (first["cd"], first["ok"], first["meshes"]) == (0.01, 3, 3)  # means of two meshes, counts of all
    matrix = block["bd"]["cd_p2s"]
    cells = {
        (a, b): matrix["cells"][i][j] for i, a in enumerate(matrix["codecs"]) for j, b in enumerate(matrix["codecs"])
    }
    assert cells["one", "two"]["percent"] == 0
    assert (cells["few", "one"]["refusal"], cells["few", "one"]["meshes"]) == ("fewer than 4 points", 1)
    assert said["leftovers"] == ["left out: something"]
    json.dumps(said, allow_nan=False)


def test_a_complete_run_has_nothing_beside():
    said = content("x", frame([record(m, "one", i) for m in "ab" for i in range(2)]), [])
    (block,) = said["blocks"]
    assert not any(p["beside"] for p in block["points"])
    assert (block["meshes"], block["coverage"], said["leftovers"]) == (2, [], [])


def test_a_run_in_which_everything_failed_still_has_its_points():
    nothing = {"status": "failed", "metrics": {}, "stream_bytes": None, "encode": None, "decode": None}
    said = content("x", frame([record(m, "one", 0, **nothing) for m in "ab"]), [])
    assert [(p["failed"], p["beside"]) for p in said["blocks"][0]["points"]] == [(2, True)]


def test_metrics_carry_what_the_page_needs_to_show_them():
    said = content("x", frame([record(metrics={"hausdorff_p2s": 1e-2, "nc": 0.9, "in_watertight": True})]), [])
    metrics = {m["name"]: m for m in said["metrics"]}
    assert list(metrics) == [name for name in columns() if name in {"hausdorff_p2s", "nc", "in_watertight"}]
    assert (metrics["hausdorff_p2s"]["least"], metrics["nc"]["least"]) == (1e-5, None)
    assert (metrics["nc"]["headline"], metrics["hausdorff_p2s"]["headline"]) == (True, False)
    assert said["ranking"] is None
    assert said["records"]["in_watertight"] == [True]
    assert set(said["blocks"][0]["bd"]) == {"hausdorff_p2s", "nc"}  # a fact ranks nothing


def test_what_was_not_measured_and_how_times_were_taken_is_said():
    of = [RanOn("h1", "0", 1, "A"), RanOn("h2", "0", 1, "B")]
    why = {"volume": "bad-input: no inside"}
    said = content("x", frame([record(codec=f"c{i}", ran_on=place, unmeasured=why) for i, place in enumerate(of)]), [])
    (block,) = said["blocks"]
    assert block["unmeasured"] == ["2 of 2 codings have no volume: bad-input: no inside"]
    assert block["timed"][0].startswith("single shots; to quote them")
    assert block["timed"][1].startswith("single shots of different kinds of machine")
    assert [(f["codec"], f["error"]) for f in said["failures"]["lines"]] == [
        ("c0", "volume: no inside"), ("c1", "volume: no inside"),
    ]  # fmt: skip
