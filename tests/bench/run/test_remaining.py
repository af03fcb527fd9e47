"""The time left of a run, by a simulated clock that plays the durations of a real run of `mixed` at `quick`."""

from __future__ import annotations

import heapq
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, PlannedMesh, SuiteId
from gcbench.bench.run import remaining
from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.estimate import History, Seen
from gcbench.bench.run.remaining import TimeLeft
from gcbench.bench.run.work import Outcome, Task
from gcbench.bench.store.records import Coding, Cost, Measurement
from gcbench.codecs import Rate
from gcbench.datasets import MeshSource

RECORDED = json.loads((Path(__file__).parents[2] / "fixtures" / "durations.json").read_text())
SUITES = tuple(SuiteId(name, "1") for name in RECORDED["suites"])
HEARTBEAT_S = 5.0
BESIDE_S = 0.1  # loading, sending, writing: what a task costs its slot beside what its record says
IN = (0.1, 0.3, 0.5, 0.8)


def planned(name):
    return PlannedMesh(MeshSource("mixed", name, Path(name)), sha256=name, faces=1000)


def unit_of(codec, rate, kind, names):
    meshes = tuple(map(planned, names))
    return CodingUnit("mixed", "mini", codec, "1", kind, 0, Rate(rate, {}), 0, "quick", 0, meshes)


def tasks_and_seconds():
    """Tasks in the order of a plan, and the recorded seconds of each unit, by its text."""
    seconds, tasks = {}, []
    for codec, rate, kind, names, coding, measuring in RECORDED["codings"]:
        unit = unit_of(codec, rate, kind, names)
        seconds[str(unit)] = coding, measuring
        tasks.append(Task(unit, SUITES))
    return tasks, seconds


def coded(unit, seconds):
    cost = Cost(seconds / 2, seconds / 2, 0, 0)
    return Coding(
        "k", "s", unit.dataset, unit.split, unit.codec, "1", unit.kind, unit.rate.label, 0, "quick", 0, (),
        status="ok", encode=cost, decode=cost,
    )  # fmt: skip


def measured(seconds):
    return tuple(
        Measurement("k", "s", "0" * 64, 0, "c", "1", "i", suite.name, "1", 0, seconds=share)
        for suite, share in zip(SUITES, seconds, strict=True)
    )


def simulate(slots, known, *, faster=1.0, progress=True, loading=0.0):
    """Yield the time, and the estimate of the time left, at every heartbeat and after every outcome.

    Loading is what the first measurement of each slot takes longer, and the first task beside it.
    """
    tasks, seconds = tasks_and_seconds()
    clock = TimeLeft(tasks, slots, known)
    agenda, running, now, serial = Agenda(tasks), [], 0.0, 0
    while len(agenda) or running:
        while len(running) < slots and len(agenda):
            task = agenda.take()
            coding, measuring = (
                seconds[str(task.unit)] if isinstance(task.unit, CodingUnit) else (0.0, seconds[task.unit.codec])
            )
            late = loading if serial < slots else 0.0
            measuring = [measuring[0] + late, *measuring[1:]]
            measures = task.unit.kind == "model" or isinstance(task.unit, MeasurementUnit)
            took = faster * (coding + (sum(measuring) if measures else 0.0)) + BESIDE_S + late
            heapq.heappush(running, (now + took, serial, now, task, coding, measuring if measures else None))
            serial += 1
        while now + HEARTBEAT_S < running[0][0]:
            now += HEARTBEAT_S
            report(clock, now, running if progress else ())
            yield now, clock.seconds()
        end, _, began, task, coding, measuring = heapq.heappop(running)
        now = end
        outcome = Outcome(
            task,
            coded(task.unit, faster * coding) if isinstance(task.unit, CodingUnit) else None,
            measurements=measured([faster * s for s in measuring]) if measuring else (),
            busy_s=end - began,
        )
        clock.ended(outcome)
        unit = task.unit
        if isinstance(unit, CodingUnit) and unit.kind == "set":
            seconds[unit.codec] = seconds[str(unit)][1]
            more = [
                Task(MeasurementUnit(unit.codec, "1", "set", "0" * 64, place, mesh, SUITES, 0))
                for place, mesh in enumerate(unit.meshes)
            ]
            agenda.add(more)
            clock.add(more)
        yield now, clock.seconds()


def report(clock, now, running):
    """What the codecs of running tasks say of their progress."""
    for end, _, began, task, *_ in running:
        clock.progress(now, [f"{task.unit}: {100 * (now - began) / (end - began):3.0f} % loss 0.1, 0:30 left"])


def history(scale):
    """Of an earlier run that took `scale` times as long."""
    known = History()
    for codec, rate, _, names, coding, _ in RECORDED["codings"]:
        known.codings[codec, rate, "cpu"].append(Seen(len(names), 1000 * len(names), scale * coding, 0.0))
    return known


@pytest.mark.parametrize("slots", [1, 2, 4])
@pytest.mark.parametrize("known", [History(), history(1.0), history(7.0)], ids=["typical", "this machine", "loaded"])
@pytest.mark.parametrize("faster", [1.0, 5.0])
def test_right_within_a_factor_of_one_and_a_half(slots, known, faster):
    told = list(simulate(slots, known, faster=faster))
    end = told[-1][0]
    for share in IN:
        now, left = next(one for one in told if one[0] >= share * end)
        assert (end - now) / 1.5 < left < (end - now) * 1.5, f"at {share:.0%} of {end:.0f} s"
    assert told[-1][1] == pytest.approx(0.0, abs=1e-6)


def test_what_the_first_tasks_take_to_load_is_not_taken_for_all():
    told = list(simulate(1, History(), loading=4.0))
    end = told[-1][0]
    assert all((end - now) / 1.5 < left < (end - now) * 1.5 for now, left in told if now <= 0.5 * end)


def test_without_progress_of_sets_the_estimate_before_counts():
    told = list(simulate(2, history(1.0), progress=False))
    end = told[-1][0]
    now, left = next(one for one in told if one[0] >= 0.3 * end)
    assert left == pytest.approx(end - now, rel=0.5)


def test_a_running_set_moves_on_and_its_own_pace_takes_over():
    task = next(Task(t.unit) for t in tasks_and_seconds()[0] if t.unit.kind == "set")
    clock = TimeLeft([task], 1, history(1.0))
    whole = clock.seconds()
    assert whole is not None
    clock.progress(0.0, [f"{task.unit}:   0 % fitted 0 of 12 volumes"])
    assert clock.seconds() == pytest.approx(whole)
    clock.progress(3.0 * whole, [f"{task.unit}:  90 % loss 1"])  # three times as slow as was thought
    assert clock.seconds() == pytest.approx(0.1 * 0.1 * whole + 0.9 * 3.0 * whole / 9, rel=1e-6)
    clock.progress(3.1 * whole, [f"{task.unit}:   0 % decoding"])
    assert clock.seconds() < whole / 2, "decoding counts from 0 again"
    clock.ended(Outcome(task, coded(task.unit, 3.1 * whole)))
    assert clock.seconds() == 0


def test_nothing_is_said_of_what_nobody_knows(monkeypatch):
    unit = unit_of("new", "r1", "model", ["a"])
    clock = TimeLeft([Task(unit), Task(replace(unit, meshes=(planned("b"),)))], 1)
    assert clock.seconds() is None
    clock.ended(Outcome(Task(unit), coded(unit, 4.0)))
    assert clock.seconds() == pytest.approx(4.0)


def test_another_rate_of_a_codec_stands_in():
    one, other = unit_of("new", "r1", "model", ["a"]), unit_of("new", "r2", "model", ["a"])
    different = unit_of("raw-zstd", "z19", "model", ["a"])
    clock = TimeLeft([Task(one), Task(other), Task(different)], 1)
    clock.ended(Outcome(Task(one), coded(one, 8.0)))
    clock.ended(Outcome(Task(different), coded(different, 0.1)))
    assert clock.seconds() == pytest.approx(8.0)


def test_a_unit_without_a_usable_mesh_takes_nothing():
    bad = replace(planned("b"), problem="no faces")
    clock = TimeLeft([Task(replace(unit_of("raw-zstd", "z19", "model", ["a"]), meshes=(bad,)))], 1, history(1.0))
    assert not clock.seconds()


def test_typical_seconds_name_codecs_and_suites_that_exist():
    from gcbench.bench.metrics import SUITES as KNOWN
    from gcbench.codecs import CODECS

    typical = remaining._typical()
    for name, rates in typical["codecs"].items():
        assert rates.keys() <= {rate.label for rate in CODECS.create(name).rates("quick")}
    assert typical["suites"].keys() <= set(KNOWN.names())
