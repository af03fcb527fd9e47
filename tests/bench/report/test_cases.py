"""The order in which codings get a 3-D view, exactly."""

from __future__ import annotations

import pytest

from gcbench.bench.analysis.frame import frame
from gcbench.bench.report.cases import in_order_of_interest, spread_out
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
            for case in in_order_of_interest(frame(records))]  # fmt: skip


def test_worst_median_and_best_come_before_the_rest_from_the_worst_on():
    records = [record(mesh, p2s) for mesh, p2s in zip("abcde", (3, 5, 1, 4, 2), strict=True)]
    assert [(mesh, role) for _, _, mesh, role in shown(records)] == [
        ("b", "worst"), ("a", "median"), ("c", "best"), ("d", "other"), ("e", "other"),
    ]  # fmt: skip


def test_every_codec_and_rate_has_all_three_before_any_has_a_second_worst_and_codecs_take_turns():
    records = [
        record(mesh, p2s, codec, rate)
        for codec in "xy"
        for rate in (0, 1, 2)
        for mesh, p2s in zip("abcd", range(4), strict=True)
    ]
    turns = [(codec, rate, mesh, role) for rate in ("r1", "r0", "r2")  # the middle of the ladder, then its ends
             for mesh, role in (("d", "worst"), ("b", "median"), ("a", "best")) for codec in "xy"]  # fmt: skip
    rest = [(codec, rate, "c", "other") for rate in ("r1", "r0", "r2") for codec in "xy"]
    assert shown(records) == turns + rest


def test_datasets_take_turns_and_a_second_worst_of_any_rate_comes_before_a_third_worst():
    records = [record(mesh, p2s, dataset=d) for d in ("d", "e") for mesh, p2s in zip("abcde", range(5), strict=True)]
    order = [(records[case.row].dataset, records[case.row].mesh) for case in in_order_of_interest(frame(records))]
    assert order == [(d, mesh) for mesh in "ecadb" for d in ("d", "e")]


def test_a_codec_with_few_rates_takes_part_in_the_first_turns():
    records = [record("a", 1, "many", i) for i in range(5)] + [record("a", 1, "one", 0)]
    assert [(codec, rate) for codec, rate, *_ in shown(records)] == [
        ("many", "r2"), ("one", "r0"), ("many", "r0"), ("many", "r4"), ("many", "r1"), ("many", "r3"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "order"),
    [(0, []), (1, [0]), (2, [0, 1]), (3, [1, 0, 2]), (4, [1, 0, 3, 2]), (7, [3, 0, 6, 1, 4, 2, 5]),
     (8, [3, 0, 7, 5, 1, 2, 4, 6])],
)  # fmt: skip
def test_the_beginning_of_an_order_of_rates_is_spread_out(count, order):
    assert spread_out(count) == order


def test_two_codings_have_no_median_and_one_is_the_worst():
    assert [role for *_, role in shown([record("a", 1), record("b", 2)])] == ["worst", "best"]
    assert [role for *_, role in shown([record("a", 1)])] == ["worst"]
    assert shown([]) == []


def test_what_failed_or_was_only_timed_is_not_shown_and_what_was_not_measured_is_the_worst():
    records = [
        record("a", 1, status="failed"), record("b", 1, timing=True), record("c", 1, stream_sha256=None),
        record("d", 1), record("e", None),
    ]  # fmt: skip
    assert [(mesh, role) for _, _, mesh, role in shown(records)] == [("e", "worst"), ("d", "best")]


def test_where_more_is_better_the_worst_has_the_least(monkeypatch):
    from gcbench.bench.metrics import columns

    monkeypatch.setattr("gcbench.bench.report.cases.ranking_column", lambda _: columns()["mpeg_d1_psnr"])
    records = [record(mesh, None, metrics={"mpeg_d1_psnr": db}) for mesh, db in zip("abc", (60, 50, 70), strict=True)]
    assert [(mesh, role) for _, _, mesh, role in shown(records)] == [("b", "worst"), ("a", "median"), ("c", "best")]
