"""Columns of the suites as readers see them: found, missed, chosen, lacking."""

from __future__ import annotations

import pandas as pd
import pytest

from gcbench.bench.analysis.frame import frame
from gcbench.bench.analysis.measured import (
    chosen,
    find,
    headlines,
    inside_floor,
    lacking,
    measured,
    ranking_column,
    reasons_of,
)
from gcbench.bench.metrics import columns
from gcbench.bench.store.records import Record
from gcbench.errors import UsageError


def record(mesh="a", metrics=None, **more) -> Record:
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": "c", "kind": "model", "rate": "r0", "rate_index": 0,
        "effort": "quick", "seed": 0, "timing": False, "status": "ok",
        "metrics": {"cd": 1.0, "cd_p2s": 1.0, "hausdorff_p2s": 2.0} if metrics is None else metrics,
    }  # fmt: skip
    return Record(**(values | more))


def names(found):
    return [column.name for column in found]


def test_what_was_measured_is_in_the_order_of_the_registry():
    rows = frame([record(metrics={"hausdorff_p2s": 1.0, "cd_p2s": 1.0, "cd": 1.0, "unknown": 1.0})])
    assert names(measured(rows)) == ["cd", "cd_p2s", "hausdorff_p2s"]
    assert names(headlines(rows)) == ["cd", "cd_p2s"]
    assert ranking_column(rows) == columns()["cd_p2s"]
    assert ranking_column(frame([record(metrics={})])) is None
    assert measured(frame([])) == []


def test_columns_are_chosen_or_added():
    rows = frame([record()])
    assert names(chosen(rows, [])) == ["cd", "cd_p2s"]
    assert names(chosen(rows, ["hausdorff_p2s", "cd"])) == ["hausdorff_p2s", "cd"]
    assert names(chosen(rows, ["+hausdorff_p2s", "+cd"])) == ["cd", "cd_p2s", "hausdorff_p2s"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cd_p2", "unknown column 'cd_p2'; did you mean cd_p2s"),
        ("zzz", "unknown column 'zzz'; see: bench list metrics"),
        ("cd_floor", "'cd_floor' is the noise floor of 'cd', and no column of its own"),
        ("nc", "'nc' was not measured in this run: it is of the suite 'paper'; bench measure x --suite paper"),
    ],
)
def test_a_column_that_is_not_there_says_what_to_do(name, said):
    with pytest.raises(UsageError) as error:
        find(frame([record()]), name, "x")
    assert str(error.value).startswith(said)


def test_reasons_are_told_apart_whatever_they_say():
    text = "volume: bad-input: no inside; not closed; points: timeout: 60 s; x: y; my-suite: failed: None"
    assert reasons_of(text) == {
        "volume": "bad-input: no inside; not closed",
        "points": "timeout: 60 s; x: y",
        "my-suite": "failed: None",
    }
    assert reasons_of("") == {}


def test_lacking_says_how_many_and_the_most_common_reason():
    without = [record("b", {"cd": 1.0}, unmeasured={"surface": "timeout: 9 s"})] * 2
    other = record("c", {"cd": 1.0}, unmeasured={"surface": "crashed: boom"})
    rows = frame([record(), *without, other, record("d", {}, status="failed"), record("e", {}, timing=True)])
    shown = [columns()["cd"], columns()["cd_p2s"]]
    assert [str(one) for one in lacking(rows, shown)] == ["3 of 4 codings have no surface: timeout: 9 s (2 of them)"]
    rows = frame([record(), record("b", {"cd": 1.0})])
    assert [str(one) for one in lacking(rows, shown)] == [
        "1 of 2 codings have no surface: not measured, bench measure RUN --suite surface"
    ]
    assert lacking(rows, shown[:1]) == []
    tried = frame([record(unmeasured={"volume": "bad-input: no inside"})])
    assert [one.suite for one in lacking(tried, shown)] == ["volume"]


@pytest.mark.parametrize(
    ("name", "value", "floor", "inside"),
    [("squared_cd", 1.02e-5, 1e-5, True), ("squared_cd", 1.04e-5, 1e-5, False), ("nc", 0.9, None, False)],
)
def test_inside_the_floor(name, value, floor, inside):
    row = {name: value} | ({} if floor is None else {columns()[name].floor: floor})
    assert bool(inside_floor(pd.DataFrame([row]), name)[0]) is inside
