"""Whole runs: what is coded, what is measured, and what is not done again."""

from __future__ import annotations

import dataclasses
import re
import shutil

import pytest

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.plan.planning import Plan, make_plan
from gcbench.bench.plan.units import CodingUnit
from gcbench.bench.run.outstanding import Tick
from gcbench.bench.run.runner import run_plan
from gcbench.bench.run.slot import coded_mesh
from gcbench.bench.run.work import Outcome, TaskLimits
from gcbench.bench.store.records import Coding
from gcbench.bench.store.run import Run
from gcbench.errors import StoreError, UsageError
from results import table, values

pytestmark = pytest.mark.usefixtures("counting_suites")


@pytest.fixture
def store(tmp_path) -> Run:
    return Run(tmp_path / "run")


def test_a_run_records_everything_and_a_second_one_computes_nothing(folder, tmp_path, store, go):
    """By the real executor with two slots; one slot in this thread gives the same."""
    plan = make_plan(str(folder), ["test-exact", "test-set"])
    ticks: list[Tick] = []
    suites = ("test-counts", "topology")
    first = run_plan(plan, store, suites=suites, jobs=2, threads=1, on_tick=ticks.append)
    assert (first.codings, first.kept, first.coded, first.measured) == (13, 0, 10, 24)  # three of a bad mesh
    assert (first.failed, first.bad_input, first.unmeasured) == (0, 4, 0)
    assert ticks[0].total == ticks[-1].total == ticks[-1].done == 13 + 3
    assert [t.done for t in ticks] == sorted(t.done for t in ticks)
    before = {name: (store.path / name).read_bytes() for name in ("codings.jsonl", "measurements.jsonl")}
    second = go(plan, store, suites=suites)
    assert (second.kept, second.coded, second.measured, second.bad_input) == (13, 0, 0, 4)
    assert {name: (store.path / name).read_bytes() for name in before} == before
    records = store.records()
    assert len(records) == 4 * 3 + 4
    assert {r.status for r in records if r.mesh == "broken"} == {"bad-input"}
    assert {r.status for r in records if r.mesh != "broken"} == {"ok"}
    for record in records:
        if record.status == "ok" and record.kind == "model":
            assert len(store.stream(record.stream_sha256)) == record.stream_bytes
    assert not {"spool", "work"} & {path.name for path in store.path.iterdir() if any(path.glob("*"))}
    other = Run(tmp_path / "other")
    go(plan, other, suites=suites)
    assert table(other) == table(store)
    assert values(other) == values(store)


def test_failures_are_kept_until_retried(folder, store, go):
    plan = make_plan(str(folder), "test-bad", rates=["enc-raise"], limit=2)
    assert go(plan, store).failed == 1
    again = go(plan, store)
    assert (again.coded, again.failed) == (0, 1)
    assert go(plan, store, retry_failed=True).coded == 1


def test_provenance_says_where_numbers_come_from(folder, store, go):
    plan = make_plan(str(folder), "test-exact", rates=["d1"], limit=2)
    go(plan, store, limit=TaskLimits(deadline_s=9))
    (session,) = store.sessions()
    assert session["codecs"] == {"test-exact": "1"}
    assert session["suites"] == {"test-counts": "1"}
    assert re.fullmatch("[0-9a-f]{64}", session["datasets"]["shapes/all"])
    assert session.keys() >= {"started", "finished", "argv", "python", "packages", "machine", "commit", "seed"}
    assert (session["deadline_s"], session["coded"], session["measured"]) == (9, 1, 1)
    assert session["packages"]["numpy"]
    assert [c.session for c in store.codings()] == [session["session"]] * 2
    assert [m.session for m in store.measurements()] == [session["session"]]


def test_a_timing_pass_adds_to_the_same_run(folder, store, go):
    arguments = {"rates": ["d1"], "limit": 2}
    go(make_plan(str(folder), "test-exact", **arguments), store, suites=["paper", "surface"])
    timed = make_plan(str(folder), "test-exact", timing="machine", **arguments)
    assert go(timed, store).measured == 0
    (row,) = summarise(frame(store.records())).to_dict("records")
    assert row["timed"]
    assert (row["ok"], row["meshes"]) == (1, 2)
    assert row["cd_p2s"] > 0
    with pytest.raises(UsageError, match="runs alone"):
        run_plan(timed, store, jobs=2)


def test_a_machine_at_fault_stops_the_run_and_keeps_what_is_done(folder, store, go):
    plan = make_plan(str(folder), ["test-exact", "test-bad"], rates=["d1", "enc-full"], limit=2)
    with pytest.raises(StoreError, match="no disk space"):
        go(plan, store)
    assert {r.codec for r in store.records() if r.status == "ok"} == {"test-exact"}


# One thing is done once.


def test_the_same_mesh_under_two_names_is_coded_once_and_is_two_results(folder, tmp_path, store, go, log):
    other = tmp_path / "others"
    other.mkdir()
    shutil.copy(folder / "shape0.ply", other / "ball.ply")
    shutil.copy(folder / "shape0.ply", other / "again.ply")
    plan = make_plan([str(folder), str(other)], "test-exact", rates=["d2"])
    summary = go(plan, store)
    assert (summary.codings, summary.coded, summary.measured) == (6, 3, 3)
    assert log("encode") == ["encode test-exact d2"] * 3
    by_name = {(r.dataset, r.mesh): r for r in store.records() if r.status == "ok"}
    same = [by_name["shapes", "shape0"], by_name["others", "ball"], by_name["others", "again"]]
    assert len(by_name) == 5
    assert len({r.key for r in same}) == len({r.stream_sha256 for r in same}) == 1
    assert all(r.metrics == same[0].metrics != {} for r in same)
    again = go(plan, store)
    assert (again.kept, again.coded, again.measured) == (6, 0, 0)
    # A name that comes later costs nothing either.
    shutil.copy(folder / "shape0.ply", other / "third.ply")
    third = go(make_plan(str(other), "test-exact", rates=["d2"]), store)
    assert (third.kept, third.coded, third.measured) == (3, 0, 0)
    assert ("others", "third") in {(r.dataset, r.mesh) for r in store.records()}
    assert len(log("encode")) == 3


def test_a_changed_suite_measures_again_and_encodes_nothing(folder, store, go, log, monkeypatch):
    """And the earlier version counts again when it is asked for, without measuring."""
    plan = make_plan(str(folder), ["test-exact", "test-set"], rates=["d1", "only"])
    assert (go(plan, store).coded, len(log("encode")), len(log("measure"))) == (4, 4, 6)
    monkeypatch.setenv("GCBENCH_TEST_SUITE_VERSION", "2")
    changed = go(plan, store)
    assert (changed.kept, changed.coded, changed.measured) == (5, 0, 6)
    assert (len(log("encode")), len(log("measure"))) == (4, 12)
    assert {r.suites["test-counts"] for r in store.records() if r.status == "ok"} == {"2"}
    monkeypatch.setenv("GCBENCH_TEST_SUITE_VERSION", "1")
    back = go(plan, store)
    assert (back.coded, back.measured, len(log("measure"))) == (0, 0, 12)
    assert {r.suites["test-counts"] for r in store.records() if r.status == "ok"} == {"1"}
    size = (store.path / "measurements.jsonl").stat().st_size
    assert go(plan, store).measured == 0
    assert (store.path / "measurements.jsonl").stat().st_size == size, "that it counts is said once"


def test_an_added_suite_measures_kept_streams(folder, store, go, log):
    plan = make_plan(str(folder), ["test-exact", "test-set"], rates=["d1", "only"])
    go(plan, store)
    added = go(plan, store, suites=["test-counts", "topology"])
    assert (added.coded, added.measured, len(log("encode"))) == (0, 6, 4)
    good = [r for r in store.records() if r.status == "ok"]
    assert all(r.metrics["out_faces"] == r.metrics["test_faces_after"] == r.faces for r in good)


def test_a_run_that_was_killed_between_a_coding_and_its_measurements_measures_only(folder, store, go, log):
    plan = make_plan(str(folder), ["test-exact", "test-set"], rates=["d1", "only"])
    go(plan, store)
    expected = values(store)
    lines = (store.path / "measurements.jsonl").read_bytes().splitlines(keepends=True)
    (store.path / "measurements.jsonl").write_bytes(lines[0] + lines[4] + lines[1][:40])
    resumed = go(plan, store)
    assert (resumed.coded, resumed.measured, len(log("encode"))) == (0, 4, 4)
    assert values(store) == expected


def test_a_suite_that_fails_is_counted_and_tried_again_when_asked_to(folder, store, go):
    plan = make_plan(str(folder), "test-exact", rates=["d1"], limit=2)
    suites = ["test-counts", "test-raises"]
    first = go(plan, store, suites=suites)
    assert (first.failed, first.unmeasured, first.measured) == (0, 1, 2)
    second = go(plan, store, suites=suites)
    assert (second.unmeasured, second.measured) == (1, 0)
    third = go(plan, store, suites=suites, retry_failed=True)
    assert (third.coded, third.measured) == (0, 1)


def test_measurements_of_a_set_are_spread_over_the_slots(many, store, log):
    plan = make_plan(str(many), "test-set")
    summary = run_plan(plan, store, suites=["test-counts"], jobs=2, threads=1)
    assert (summary.coded, summary.measured) == (1, 12)
    assert log("encode") == ["encode test-set only"]
    assert log("decode") == ["decode test-set"], "the meshes waited in the spool"
    processes = [line.split()[-1] for line in log("measure")]
    assert len(processes) == 12
    assert min(processes.count(pid) for pid in set(processes)) >= 3
    assert len(set(processes)) == 2


# Limits.


class Fake:
    """An executor whose codings all end in the same way, under limits as they are; notes what it ran."""

    slots = 1

    def __init__(self, status: str, limit: TaskLimits) -> None:
        self.status, self.limit, self.ran = status, limit, 0

    def run(self, agenda, heartbeat_s):
        while (task := agenda.take()) is not None:
            self.ran += 1
            yield Outcome(task, self._coding(task.unit))

    def _coding(self, unit: CodingUnit) -> Coding:
        return Coding(
            unit.key, "", unit.dataset, unit.split, unit.codec, unit.codec_version, unit.kind, unit.rate.label,
            unit.rate_index, unit.effort, unit.seed, tuple(map(coded_mesh, unit.meshes)), status=self.status,
            stage="encode", error="as it was told", limit_s=self.limit.coding_s(unit),
            limit_bytes=self.limit.coding_bytes(unit.kind),
        )  # fmt: skip

    def under_way(self):
        return ()

    def close(self):
        pass


def reruns(plan: Plan, store: Run, status: str, met: TaskLimits, now: TaskLimits) -> int:
    """How many codings run again that ended with a status under one limit, under another."""
    run_plan(plan, store, limit=met, executor=Fake(status, met))
    fake = Fake(status, now)
    run_plan(plan, store, limit=now, executor=fake)
    return fake.ran


GIB = 1 << 30


@pytest.mark.parametrize(
    ("status", "met", "now", "again"),
    [
        ("timeout", TaskLimits(10.0), TaskLimits(10.0), False),
        ("timeout", TaskLimits(10.0), TaskLimits(9.0), False),
        ("timeout", TaskLimits(10.0), TaskLimits(11.0), True),
        ("timeout", TaskLimits(10.0), TaskLimits(None), True),
        ("timeout", TaskLimits(10.0, GIB), TaskLimits(10.0, 2 * GIB), False),
        ("out-of-memory", TaskLimits(10.0, GIB), TaskLimits(10.0, 2 * GIB), True),
        ("out-of-memory", TaskLimits(10.0, GIB), TaskLimits(10.0, None), True),
        ("out-of-memory", TaskLimits(10.0, 2 * GIB), TaskLimits(10.0, GIB), False),
        ("out-of-memory", TaskLimits(10.0, GIB), TaskLimits(20.0, GIB), False),
        ("failed", TaskLimits(10.0, GIB), TaskLimits(20.0, 2 * GIB), False),
        ("crashed", TaskLimits(10.0, GIB), TaskLimits(20.0, 2 * GIB), False),
    ],
)
def test_what_met_a_limit_runs_again_when_that_limit_was_raised(folder, store, status, met, now, again):
    (folder / "broken.obj").unlink()
    plan = make_plan(str(folder), ["test-exact", "test-set"], rates=["d1", "only"])
    assert reruns(plan, store, status, met, now) == (len(plan.codings) if again else 0)


def test_a_set_that_grew_has_more_time_and_is_another_coding(folder, store):
    (folder / "broken.obj").unlink()
    few = make_plan(str(folder), "test-set", limit=2)
    assert reruns(few, store, "timeout", TaskLimits(10.0), TaskLimits(10.0)) == 0
    (coding,) = store.codings()
    assert coding.limit_s == 20.0
    fake = Fake("timeout", TaskLimits(10.0))
    run_plan(make_plan(str(folder), "test-set"), store, limit=TaskLimits(10.0), executor=fake)
    assert fake.ran == 1


def test_the_memory_of_a_set_counts_for_sets_only(folder, store):
    (folder / "broken.obj").unlink()
    met, now = TaskLimits(None, GIB, 4 * GIB), TaskLimits(None, GIB, 8 * GIB)
    plan = make_plan(str(folder), ["test-set", "test-exact"], rates=["only", "d1"])
    assert reruns(plan, store, "out-of-memory", met, now) == 1


def test_a_suite_that_met_its_limit_measures_again_when_it_was_raised(folder, store, go, log):
    plan = make_plan(str(folder), "test-exact", rates=["d1"], limit=2)
    go(plan, store, suites=["test-counts"])
    for measure_s, measured in ((0.3, 1), (0.3, 0), (0.2, 0), (0.5, 1)):
        summary = go(plan, store, suites=["test-hangs"], limit=TaskLimits(60.0, measure_s=measure_s))
        assert (summary.coded, summary.measured, summary.unmeasured) == (0, measured, 1)
    assert len(log("encode")) == 1


# Work that goes on after a kill.


def test_a_coding_goes_on_where_it_was_stopped(folder, store, go, log):
    plan = make_plan(str(folder), "test-resumable", rates=["stopped"])
    (unit,) = plan.codings
    work = store.path / "work" / unit.key
    with pytest.raises(StoreError, match="no disk space"):
        go(plan, store)
    assert (work / "checkpoint").read_text() == "half of it"
    summary = go(plan, store)
    assert (summary.coded, summary.failed) == (1, 0)
    assert log("resume") == ["resume test-resumable half of it"]
    assert not work.exists(), "what is kept needs no checkpoint"


def test_what_timed_out_goes_on_when_it_is_given_more_time(folder, store, go, log):
    go(make_plan(str(folder), "test-set"), store)
    plan = make_plan(str(folder), "test-resumable", rates=["hangs"])
    work = store.path / "work" / plan.codings[0].key
    assert go(plan, store, limit=TaskLimits(0.3)).failed == 3
    assert (work / "checkpoint").exists()
    assert go(plan, store, limit=TaskLimits(60.0)).failed == 0
    assert len(log("resume")) == 1
    assert not work.exists()


def test_a_timing_pass_resumes_nothing(folder, store, go):
    plan = make_plan(str(folder), "test-resumable", rates=["stopped"], timing="machine")
    assert go(plan, store).failed == 3  # it has no folder
    assert not list((store.path / "work").glob("*"))


# What counts.


def test_a_kept_coding_that_was_overtaken_counts_again_when_asked_for(folder, store, go, log):
    """Upgrade a codec, run, downgrade it, run: the table must show the downgraded one's numbers."""
    old = make_plan(str(folder), "test-exact", rates=["d1"], limit=2)
    new = dataclasses.replace(old, codings=tuple(dataclasses.replace(c, codec_version="2") for c in old.codings))
    for plan, encodes in ((old, 1), (new, 2), (old, 2), (new, 2)):
        go(plan, store)
        assert {c.key for c in store.counting()} >= {c.key for c in plan.codings if c.usable}
        assert {r.codec_version for r in store.records() if r.status == "ok"} == {plan.codings[1].codec_version}
        assert len(log("encode")) == encodes


def test_a_set_counts_as_a_whole(folder, store, go):
    go(make_plan(str(folder), "test-set"), store)
    few = make_plan(str(folder), "test-set", limit=2)
    go(few, store)
    assert len(store.records()) == len(few.codings[0].meshes) == 2
    go(make_plan(str(folder), "test-set"), store)
    assert len(store.records()) == 4
    assert sum(r.stream_bytes for r in store.records() if r.status == "ok") == len(
        store.stream(store.records()[-1].stream_sha256)
    )
