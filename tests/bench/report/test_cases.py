from __future__ import annotations

from gcbench.bench.report.cases import in_order_of_interest
from gcbench.bench.store.records import Record


def record(mesh, p2s, codec="c", rate_index=0, **more):
    return Record(
        **{
            "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{rate_index}",
            "rate_index": rate_index, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
            "stream_sha256": "0" * 64, "metrics": {} if p2s is None else {"cd_p2s": p2s},
        } | more
    )  # fmt: skip


def shown(records):
    return [(records[case.row].codec, records[case.row].rate, records[case.row].mesh, case.role)
            for case in in_order_of_interest(records)]  # fmt: skip


def test_worst_median_and_best_come_before_the_rest():
    records = [record(mesh, p2s) for mesh, p2s in zip("abcde", (3, 5, 1, 4, 2), strict=True)]
    assert [(mesh, role) for _, _, mesh, role in shown(records)] == [
        ("b", "worst"), ("a", "median"), ("c", "best"), ("e", "other"), ("d", "other"),
    ]  # fmt: skip


def test_every_codec_and_rate_has_its_worst_mesh_before_any_has_a_second():
    records = [record(m, p, codec, rate) for codec in "xy" for rate in (0, 1) for m, p in (("a", 1), ("b", 2))]
    order = shown(records)
    assert [row[:3] for row in order[:4]] == [("x", "r0", "b"), ("y", "r0", "b"), ("x", "r1", "b"), ("y", "r1", "b")]
    assert {row[3] for row in order[:4]} == {"worst"}
    assert {row[2:] for row in order[4:]} == {("a", "best")}


def test_two_codings_have_no_median_and_one_is_the_worst():
    assert [role for *_, role in shown([record("a", 1), record("b", 2)])] == ["worst", "best"]
    assert [role for *_, role in shown([record("a", 1)])] == ["worst"]


def test_what_failed_or_was_only_timed_is_not_shown_and_what_was_not_measured_is_the_worst():
    records = [
        record("a", 1, status="failed"), record("b", 1, timing=True), record("c", 1, stream_sha256=None),
        record("d", 1), record("e", None),
    ]  # fmt: skip
    assert [(mesh, role) for _, _, mesh, role in shown(records)] == [("e", "worst"), ("d", "best")]


def test_where_more_is_better_the_worst_has_the_least(monkeypatch):
    monkeypatch.setattr("gcbench.bench.report.cases.ranking", lambda _: "mpeg_d1_psnr")
    records = [record(mesh, None, metrics={"mpeg_d1_psnr": db}) for mesh, db in zip("abc", (60, 50, 70), strict=True)]
    assert [(mesh, role) for _, _, mesh, role in shown(records)] == [("b", "worst"), ("a", "median"), ("c", "best")]
