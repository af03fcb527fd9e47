"""Choosing within limits, and what to relax, on a table small enough to see through."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from gcbench.bench.analysis.choose import Requirement, choose, choose_from, requirement_from
from gcbench.bench.analysis.frame import frame
from gcbench.bench.metrics import columns
from gcbench.bench.store.records import Cost, Record
from gcbench.errors import UsageError

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
    choice = choose(
        ROWS, [Requirement("kilobytes", 20), Requirement("decode_ms", 16), Requirement("f1_0005", 0.7, at_least=True)]
    )
    assert names(choice.within) == ["a low", "a high"]  # bounds are inclusive
    assert choice.relaxations == ()


def test_says_what_to_relax():
    limits = [Requirement("kilobytes", 15), Requirement("decode_ms", 16), Requirement("f1_0005", 0.9, at_least=True)]
    choice = choose(ROWS, limits)
    assert len(choice.within) == 0
    assert [(r.limit.column, r.bound, r.codec, r.rate) for r in choice.relaxations] == [
        ("f1_0005", 0.7, "a", "low"),  # by 22 %
        ("kilobytes", 20.0, "a", "high"),  # by 33 %
    ]
    assert choice.nearest is None


def test_says_what_is_nearest_where_no_single_limit_would_do():
    choice = choose(
        ROWS, [Requirement("kilobytes", 2), Requirement("decode_ms", 2), Requirement("f1_0005", 0.99, at_least=True)]
    )
    assert choice.relaxations == ()
    assert names(choice.nearest)[0] == "a low"  # 4 + 1.5 + 0.29, against 9 + 2 + 0.04 and 1.5 + 24 + 0.39


def test_a_value_that_is_not_there_meets_no_limit():
    rows = ROWS.assign(decode_ms=math.nan)
    choice = choose(rows, [Requirement("decode_ms", 1e9)])
    assert len(choice.within) == 0
    assert choice.relaxations == ()


def test_nothing_usable():
    choice = choose(ROWS.assign(failed=1), [Requirement("kilobytes", 20)])
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
    choice = choose_from(rows, [Requirement("kilobytes", 0.15)])
    assert names(choice.within) == ["one r0", "two r0"]
    assert (choice.excluded, choice.elsewhere, choice.beyond) == (1, 1, ())


def test_says_what_sampling_cannot_show():
    rows = frame([record("a", "one", 0, 10.0)])
    limits = [
        Requirement("f1_0005", 0.9, at_least=True),
        Requirement("cd", 4e-3),
        Requirement("cd", 2e-3),
        Requirement("cd_p2s", 1e-9),
    ]
    assert choose_from(rows, limits).beyond == ((limits[0], 0.66), (limits[2], 3e-3))


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (Requirement("kilobytes", 20), "kB/mesh ≤ 20"),
        (Requirement("f1_0005", 0.9, at_least=True), "F1-0.005 ≥ 0.9"),
        (Requirement("cd_p2s", 2e-3), "p2s ×10⁻³ ≤ 2"),
    ],
)
def test_limits_read_as_people_write_them(limit, text):
    assert str(limit) == text


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("cd_p2s<=0.002", Requirement("cd_p2s", 0.002)),
        (" f1_0005 >= 9e-1 ", Requirement("f1_0005", 0.9, at_least=True)),
        ("decode_ms≤16", Requirement("decode_ms", 16.0)),
        ("kilobytes>=1", Requirement("kilobytes", 1.0, at_least=True)),
    ],
)
def test_limits_are_read(text, limit):
    assert requirement_from(text, ROWS) == limit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cd_p2s=2", "'cd_p2s=2' is no limit; write NAME<=VALUE or NAME>=VALUE"),
        ("cd_p2s<=few", "'few' in 'cd_p2s<=few' is no number"),
        ("cd_p2s<=nan", "'nan' in"),
        ("cd_p2<=1", "unknown column 'cd_p2'; did you mean cd_p2s"),
        ("kilobyte<=1", "unknown column 'kilobyte'; did you mean kilobytes"),
        ("cd_floor<=1", "'cd_floor' is the noise floor of 'cd'"),
        ("giou>=0.9", "it is of the suite 'volume'; bench measure my-run --suite volume"),
        ("encode_ms<=1", "this run has no 'encode_ms'"),
    ],
)
def test_limits_that_cannot_be_are_said(text, said):
    with pytest.raises(UsageError) as error:
        requirement_from(text, ROWS, "my-run")
    assert said in str(error.value)


def test_quality_is_what_ranks_and_more_is_better_where_it_is(monkeypatch):
    psnr = columns()["mpeg_d1_psnr"]
    monkeypatch.setattr("gcbench.bench.analysis.choose.ranking_column", lambda _: psnr)
    rows = ROWS.drop(columns="cd_p2s").assign(mpeg_d1_psnr=[60.0, 80.0, 50.0, 70.0, 99.0])
    assert list(choose(rows, []).within["pareto"]) == [True, True, True, False]
    better = rows.assign(mpeg_d1_psnr=[60.0, 80.0, 50.0, 81.0, 99.0])
    assert list(choose(better, []).within["pareto"]) == [True, True, True, True]


def test_without_a_metric_that_ranks_size_and_time_decide():
    assert list(choose(ROWS.drop(columns="cd_p2s"), []).within["pareto"]) == [True, True, False, False]
