"""What is done first: measurements, then single meshes, one after the other, then sets."""

from __future__ import annotations

import threading
from pathlib import Path

from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, PlannedMesh
from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.work import Task
from gcbench.codecs import Rate
from gcbench.datasets import MeshSource


def mesh(name: str) -> PlannedMesh:
    return PlannedMesh(MeshSource("d", name, Path(name)), f"hash of {name}")


def coding(*meshes: str, kind: str = "model", rate: str = "r") -> Task:
    unit = CodingUnit("d", "all", "c", "1", kind, 0, Rate(rate), 0, "quick", 0, tuple(map(mesh, meshes)))
    return Task(unit)


def measurement(name: str, place: int = 0) -> Task:
    return Task(MeasurementUnit("c", "1", "model", "stream", place, mesh(name), (), 0))


def drain(agenda: Agenda) -> list[Task]:
    taken, at_hand = [], None
    while (task := agenda.take(at_hand)) is not None:
        taken.append(task)
        at_hand = task.mesh
    return taken


def test_measurements_come_first_and_sets_last():
    """Sets were said to come last, and did not where two datasets were planned."""
    whole, other = coding("a", "b", kind="set"), coding("a", kind="set")
    ones = [coding("a"), coding("b")]
    measured = [measurement("b"), measurement("a")]
    agenda = Agenda([whole, ones[0], measured[0], other, ones[1], measured[1]])
    assert len(agenda) == 6
    assert drain(agenda) == [*measured, *ones, other, whole]
    assert len(agenda) == 0


def test_a_mesh_at_hand_is_finished_first():
    tasks = {(name, rate): coding(name, rate=rate) for rate in "12" for name in "abc"}
    assert drain(Agenda(tasks.values())) == [tasks[name, rate] for name in "abc" for rate in "12"]


def test_no_two_begin_the_same_mesh_while_there_is_another():
    tasks = [coding(name, rate=rate) for name in "ab" for rate in "123"]
    agenda = Agenda(tasks)
    first = agenda.take()
    second = agenda.take(None, others=[first.mesh])
    assert (first.mesh, second.mesh) == ("hash of a", "hash of b")
    assert agenda.take(first.mesh, others=[second.mesh]).mesh == "hash of a"
    assert agenda.take(second.mesh, others=[first.mesh]).mesh == "hash of b"
    agenda.take(second.mesh, others=[first.mesh])
    # b is used up: rather than wait, the mesh of the other is taken.
    assert agenda.take(second.mesh, others=[first.mesh]).mesh == "hash of a"
    assert agenda.take() is None


def test_what_is_added_while_others_are_at_work_comes_at_its_turn():
    agenda = Agenda([coding("a", "b", kind="set", rate="1"), coding("a", "b", kind="set", rate="2")])
    assert agenda.take().unit.rate.label == "2"  # the longest first
    agenda.add(measurement(name) for name in "ab")
    assert [isinstance(task.unit, MeasurementUnit) for task in drain(agenda)] == [True, True, False]


def test_adding_wakes_who_waits():
    agenda, taken = Agenda(), []

    def wait():
        with agenda.changed:
            while (task := agenda.take()) is None:
                agenda.changed.wait(10)
            taken.append(task)

    waiting = threading.Thread(target=wait)
    waiting.start()
    agenda.add([measurement("a")])
    waiting.join(5)
    assert len(taken) == 1


def test_cleared_it_is_empty():
    agenda = Agenda([coding("a"), coding("a", kind="set"), measurement("a")])
    agenda.clear()
    assert (len(agenda), agenda.take()) == (0, None)
