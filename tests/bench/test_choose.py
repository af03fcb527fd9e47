"""Choosing within limits, and what to relax, on a table small enough to see through."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from gcbench.bench.analysis.choose import Limit, choose, choose_from
from gcbench.bench.analysis.frame import frame
from gcbench.bench.store.records import Cost, Record

ROWS = pd.DataFrame(
    [
        # codec, rate, kB, F1, p2s, decode ms, failed
        ("a", "low", 10.0, 0.70, 2e-3, 5.0, 0),
        ("a", "high", 20.0, 0.95, 1e-3, 6.0, 0),
        ("b", "low", 5.0, 0.60, 3e-3, 50.0, 0),
        ("b", "high", 30.0, 0.90, 1.5e-3, 60.0, 0),
        ("c", "only", 1.0, 0.99, 1e-4, 1.0, 1),
    ],
    columns=["codec", "rate", "kilobytes", "f1_0005", "cd_p2s", "decode_ms", "failed"],
).assign(ok=2)


def names(rows):
    return [f"{r.codec} {r.rate}" for r in rows.itertuples()]


def test_without_limits_everything_is_ranked_by_size():
    choice = choose(ROWS, [])
    assert names(choice.within) == ["b low", "a low", "a high", "b high"]
    assert list(choice.within["pareto"]) == [True, True, True, False]  # b high is beaten by a high in all three
    assert choice.excluded == 1  # a rate at which a coding failed has means over the rest


def test_all_limits_must_hold():
    choice = choose(ROWS, [Limit("kilobytes", 20), Limit("decode_ms", 16), Limit("f1_0005", 0.7, at_least=True)])
    assert names(choice.within) == ["a low", "a high"]  # bounds are inclusive
    assert choice.relaxations == ()


def test_says_what_to_relax():
    limits = [Limit("kilobytes", 15), Limit("decode_ms", 16), Limit("f1_0005", 0.9, at_least=True)]
    choice = choose(ROWS, limits)
    assert len(choice.within) == 0
    assert [(r.limit.column, r.bound, r.codec, r.rate) for r in choice.relaxations] == [
        ("f1_0005", 0.7, "a", "low"),  # by 22 %
        ("kilobytes", 20.0, "a", "high"),  # by 33 %
    ]
    assert choice.nearest is None


def test_says_what_is_nearest_where_no_single_limit_would_do():
    choice = choose(ROWS, [Limit("kilobytes", 2), Limit("decode_ms", 2), Limit("f1_0005", 0.99, at_least=True)])
    assert choice.relaxations == ()
    assert names(choice.nearest)[0] == "a low"  # 4 + 1.5 + 0.29, against 9 + 2 + 0.04 and 1.5 + 24 + 0.39


def test_a_value_that_is_not_there_meets_no_limit():
    rows = ROWS.assign(decode_ms=math.nan)
    choice = choose(rows, [Limit("decode_ms", 1e9)])
    assert len(choice.within) == 0
    assert choice.relaxations == ()


def test_nothing_usable():
    choice = choose(ROWS.assign(failed=1), [Limit("kilobytes", 20)])
    assert (len(choice.within), choice.excluded, choice.relaxations, choice.nearest) == (0, 5, (), None)


def record(mesh, codec, i, size, **more) -> Record:
    metrics = {"cd": 5e-3, "cd_floor": 3e-3, "f1_0005": 0.5, "f1_0005_floor": 0.66, "cd_p2s": 1e-3}
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{i}",
        "rate_index": i, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
        "obj_bytes": 1000, "stream_bytes": size, "bits_per_vertex": 4.0,
        "encode": Cost(1.0, 1.0, 5 << 20, 1), "decode": Cost(0.1, 0.1, 4 << 20, 1), "metrics": metrics,
    }  # fmt: skip
    return Record(**(values | more))


def test_means_are_over_the_same_meshes_and_the_others_are_counted():
    both = [record(m, c, i, 100.0 * (i + 1)) for m in "ab" for c in ("one", "two") for i in range(2)]
    easy = record("a", "one", 2, 1.0)  # the smallest, but of one mesh alone
    broken = [record("a", "bad", 0, 1.0), record("b", "bad", 0, 1.0, status="failed", metrics={})]
    rows = frame([*both, easy, *broken])
    choice = choose_from(rows, [Limit("kilobytes", 0.15)])
    assert names(choice.within) == ["one r0", "two r0"]
    assert (choice.excluded, choice.elsewhere, choice.beyond) == (1, 1, ())


def test_says_what_sampling_cannot_show():
    rows = frame([record("a", "one", 0, 10.0)])
    limits = [Limit("f1_0005", 0.9, at_least=True), Limit("cd", 4e-3), Limit("cd", 2e-3), Limit("cd_p2s", 1e-9)]
    assert choose_from(rows, limits).beyond == ((limits[0], 0.66), (limits[2], 3e-3))


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (Limit("kilobytes", 20), "kB/mesh ≤ 20"),
        (Limit("f1_0005", 0.9, at_least=True), "F1-0.005 ≥ 0.9"),
        (Limit("cd_p2s", 2e-3), "p2s ×10⁻³ ≤ 2"),
    ],
)
def test_limits_read_as_people_write_them(limit, text):
    assert str(limit) == text
