"""How the local executor hands out tasks, without running any."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run import local
from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.local import LocalExecutor
from gcbench.bench.run.slot import Folders
from gcbench.bench.run.spool import Spool
from gcbench.bench.run.work import Outcome, Task


class Recorder:
    """Stands in for a slot's workers: notes which mesh it gets, and takes a moment."""

    made: list[Recorder]
    seen: list[tuple[str, str]]
    hang: threading.Event

    def __init__(self, folders, *, cores, name, **settings):
        self.name, self.cores = name, cores
        self.stopped = threading.Event()
        self.closed = False
        self.made.append(self)

    def run(self, task):
        self.seen.append((self.name, task.mesh))
        if self.hang.is_set():
            self.stopped.wait(30)
            raise RuntimeError("stopped")
        time.sleep(0.005)
        return Outcome(task)

    def under_way(self):
        return None

    def stop(self):
        self.stopped.set()

    def close(self):
        self.closed = True


@pytest.fixture
def recorder(monkeypatch):
    class Fresh(Recorder):
        pass

    Fresh.made, Fresh.seen, Fresh.hang = [], [], threading.Event()

    class NoTemplates:
        def __init__(self, threads, preload):
            pass

        def close(self):
            pass

    monkeypatch.setattr(local, "Slot", Fresh)
    monkeypatch.setattr(local, "Templates", NoTemplates)
    return Fresh


@pytest.fixture
def folders(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "left by a run that was killed").write_text("")
    return Folders(Spool(tmp_path / "spool"), scratch)


@pytest.fixture
def tasks(folder):
    return [Task(unit) for unit in make_plan(str(folder), "test-exact").codings]


def test_a_slot_keeps_to_its_mesh_and_no_two_begin_the_same(recorder, folders, tasks):
    executor = LocalExecutor(2, folders)
    assert executor.slots == 2
    assert not folders.scratch.exists()
    outcomes = [outcome for outcome in executor.run(Agenda(tasks), 10) if outcome is not None]
    executor.close()
    assert sorted(o.task.unit.key for o in outcomes) == sorted(t.unit.key for t in tasks)
    for slot in "01":
        meshes = [mesh for name, mesh in recorder.seen if name == slot]
        changes = sum(a != b for a, b in itertools.pairwise(meshes))
        assert changes <= 3  # four meshes of three codings each; a change per coding would be five
    first = {}
    for name, mesh in recorder.seen:
        first.setdefault(mesh, name)
    assert set(first.values()) == {"0", "1"}
    assert all(slot.closed for slot in recorder.made)


def test_what_an_outcome_adds_is_run_too(recorder, folders, tasks):
    executor, agenda = LocalExecutor(2, folders), Agenda(tasks[:1])
    left = tasks[1:]
    ended = 0
    for outcome in executor.run(agenda, 10):
        ended += outcome is not None
        if left:
            agenda.add([left.pop()])
    executor.close()
    assert ended == len(tasks)


def test_a_task_is_completed_before_it_runs(recorder, folders, tasks):
    def complete(task):
        return Task(task.unit, stream=b"kept")

    executor = LocalExecutor(1, folders)
    outcomes = list(executor.run(Agenda(tasks[:2], complete), 10))
    executor.close()
    assert [outcome.task.stream for outcome in outcomes] == [b"kept", b"kept"]


def test_close_ends_what_runs_and_drops_what_waits(recorder, folders, tasks):
    recorder.hang.set()
    executor = LocalExecutor(2, folders)
    outcomes = executor.run(Agenda(tasks), 0.1)
    assert next(outcomes) is None
    begin = time.monotonic()
    executor.close()
    assert time.monotonic() - begin < 5
    assert len(recorder.seen) == 2


def test_close_wakes_the_slots_that_wait_for_a_task(recorder, folders, tasks):
    executor = LocalExecutor(2, folders)
    assert len(list(executor.run(Agenda(tasks[:1]), 10))) == 1
    begin = time.monotonic()
    executor.close()
    assert time.monotonic() - begin < 0.2


def test_a_fault_of_the_machine_is_raised_to_the_caller(recorder, folders, tasks):
    recorder.hang.set()
    executor = LocalExecutor(1, folders)
    threading.Timer(0.1, recorder.made[0].stop).start()
    with pytest.raises(RuntimeError, match="stopped"):
        list(executor.run(Agenda(tasks), 10))
    executor.close()


def test_an_empty_agenda_is_over_at_once(recorder, folders):
    executor = LocalExecutor(1, folders)
    assert list(executor.run(Agenda(), 10)) == []
    executor.close()


@pytest.mark.parametrize(
    ("jobs", "threads", "pinned", "cores"),
    [
        (2, 2, False, [(0, 1), (2, 3)]),  # slots that fill the machine
        (4, 1, False, [(0,), (1,), (2,), (3,)]),
        (2, 1, False, [None, None]),
        (1, 1, True, [(0,)]),  # timing
    ],
)
def test_slots_that_fill_the_machine_are_pinned(recorder, folders, monkeypatch, jobs, threads, pinned, cores):
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda pid: {3, 1, 0, 2})
    monkeypatch.setattr(local.machine, "cores", lambda: 4)
    LocalExecutor(jobs, folders, threads=threads, pinned=pinned).close()
    assert [slot.cores for slot in recorder.made] == cores
