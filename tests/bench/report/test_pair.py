"""Two runs side by side, from records small enough to check by eye."""

from __future__ import annotations

import json
import math

import pytest

from gcbench.bench.analysis.frame import frame
from gcbench.bench.metrics import columns
from gcbench.bench.report.cases import in_order_of_interest
from gcbench.bench.report.content import content
from gcbench.bench.report.pair import changes, in_pairs, pairs, side_by_side
from gcbench.bench.store.records import Cost, Record

P2S = columns()["cd_p2s"]


def record(mesh, p2s=1.0, size=100.0, rate_index=0, codec="c", seconds=1.0, **more) -> Record:
    cost = Cost(seconds, seconds, 5 << 20, 1)
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{rate_index}",
        "rate_index": rate_index, "effort": "quick", "seed": 0, "timing": False, "status": "ok", "obj_bytes": 1000,
        "stream_bytes": size, "stream_sha256": f"{mesh}{size}", "encode": cost, "decode": cost,
        "metrics": {"cd_p2s": p2s},
    }  # fmt: skip
    return Record(**(values | more))


def both_of(a, b):
    rows = side_by_side([frame(a), frame(b)])
    return rows, pairs(rows, P2S)


def changed(a, b):
    rows, both = both_of(a, b)
    return changes(rows, both, P2S, {place: place for place in range(len(rows))})


def test_codecs_are_marked_and_keep_their_address():
    rows, _ = both_of([record("a", codec="c[k=1]")], [record("a", codec="c[k=1]")])
    assert rows["codec"].tolist() == ["c[k=1] · A", "c[k=1] · B"]
    assert rows["address"].tolist() == ["c[k=1]"] * 2
    assert rows["run"].tolist() == [0, 1]


def test_only_codings_of_both_runs_are_pairs_and_others_are_counted():
    a = [record("a"), record("b"), record("b", timing=True, metrics={})]
    b = [record("a"), record("c"), record("d")]
    rows, both = both_of(a, b)
    assert both[["mesh", "place_a", "place_b"]].to_numpy().tolist() == [["a", 0, 3]]
    found = changes(rows, both, P2S, {})
    assert (found["pairs"], found["same"], found["only"]) == (1, 1, [1, 2])
    assert found["rows"]["mesh"] == []


def test_what_changed_most_comes_first_and_a_changed_status_before_everything():
    a = [record("a", 1.0), record("b", 1.0), record("c", 1.0, 100.0), record("d"), record("e")]
    b = [record("a", 1.1), record("b", 0.25), record("c", 1.0, 300.0), record("d"), record("e", status="failed")]
    found = changed(a, b)
    assert found["rows"]["mesh"] == ["e", "b", "c", "a"]  # a factor of 4, of 3, of 1.1; d has not changed
    assert found["rows"]["status_b"] == ["failed", "ok", "ok", "ok"]
    assert found["rows"]["cd_p2s_b"][1:] == [0.25, 1.0, 1.1]
    assert (found["rows"]["row_a"], found["rows"]["row_b"]) == ([4, 1, 2, 0], [9, 6, 7, 5])
    assert found["same"] == 1


def test_ratios_of_a_group_are_geometric_means():
    a = [record("a", 1.0, 100.0, seconds=1.0), record("b", 1.0, 100.0, seconds=1.0)]
    b = [record("a", 2.0, 100.0, seconds=0.5), record("b", 8.0, 400.0, seconds=0.5)]
    (group,) = changed(a, b)["groups"]
    assert group["cd_p2s"] == pytest.approx(4.0)
    assert group["stream_bytes"] == pytest.approx(2.0)
    assert group["decode_s"] == pytest.approx(0.5)
    assert (group["n"], group["same"]) == (2, 1)


def test_times_are_those_of_timing_passes_if_both_runs_have_them():
    def timed(seconds):
        return record("a", seconds=seconds, timing=True, metrics={})

    a, b = [record("a"), timed(2.0)], [record("a"), timed(3.0)]
    (group,) = changed(a, b)["groups"]
    assert group["encode_s"] == pytest.approx(1.5)
    (group,) = changed(a, b[:1])["groups"]
    assert group["encode_s"] == pytest.approx(1.0)


def test_the_most_changed_pair_of_every_rate_is_shown_first_and_pairs_stay_together():
    a = [record(mesh, p2s, rate_index=r) for r in range(2) for mesh, p2s in zip("abc", (1, 2, 3), strict=True)]
    b = [record(mesh, p2s, rate_index=r) for r in range(2) for mesh, p2s in zip("abc", (1, 2.5, 3), strict=True)]
    rows, both = both_of(a, [*b, record("alone", 9.0)])
    cases = in_pairs(in_order_of_interest(rows), both, P2S)
    order = [(rows["rate"][case.row], rows["mesh"][case.row], int(rows["run"][case.row])) for case in cases]
    assert order[:4] == [("r0", "b", 0), ("r0", "b", 1), ("r1", "b", 0), ("r1", "b", 1)]
    assert sorted(order) == sorted({(r, m, run) for r in ("r0", "r1") for m in "abc" for run in (0, 1)}
                                   | {("r0", "alone", 1)})  # fmt: skip
    for (one, first), (two, second) in zip(enumerate(order), list(enumerate(order))[1:], strict=False):
        if first[2] == 0:
            assert first[:2] == second[:2], (one, two)
    late = [case.late for case in cases]
    assert late == sorted(late)


def test_the_page_has_both_runs_in_the_colours_of_their_codecs_and_json_holds_everything():
    a = [record(m, 2.0**-r, 100.0 * 2**r, r) for m in "ab" for r in range(4)]
    b = [record(m, 2.0**-r, 50.0 * 2**r, r) for m in "ab" for r in range(4)]
    rows, both = both_of(a, b)
    said = json.loads(json.dumps(content("x", rows, [], both=both), allow_nan=False))
    first, second = said["styles"]["c · A"], said["styles"]["c · B"]
    assert {**first, "run": 1, "dash": second["dash"]} == second
    assert (first["dash"], first["run"], first["address"]) == ("", 0, "c")
    matrix = said["blocks"][0]["bd"]["cd_p2s"]
    at = {codec: i for i, codec in enumerate(matrix["codecs"])}
    assert matrix["cells"][at["c · B"]][at["c · A"]]["percent"] == pytest.approx(-50.0, abs=1e-3)
    assert said["changes"]["groups"][0]["stream_bytes"] == pytest.approx(0.5, rel=1e-5)


def test_runs_without_anything_in_common_have_no_changes():
    found = changed([record("a")], [record("a", codec="other")])
    assert (found["groups"], found["rows"]["mesh"], found["pairs"], found["only"]) == ([], [], 0, [1, 1])


def test_a_value_that_is_missing_or_zero_has_no_ratio():
    rows, both = both_of([record("a", 0.0), record("b", metrics={})], [record("a", 1.0), record("b", 1.0)])
    found = changes(rows, both, P2S, {})
    assert math.isnan(found["groups"][0]["cd_p2s"])
