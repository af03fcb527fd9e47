"""How the local dispatcher hands out cells, without running any."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from gcbench.bench import dispatch
from gcbench.bench.run.slot import Outcome
from gcbench.bench.run.local import LocalDispatcher
from gcbench.bench.plan.planning import plan


class Recorder:
    """Stands in for a slot's workers: notes which mesh it gets, and takes a moment."""

    seen: list[tuple[str, str]]
    hang: threading.Event

    def __init__(self, **settings):
        self.name = settings["name"]
        self.stopped = threading.Event()

    def run(self, cell):
        self.seen.append((self.name, cell.meshes[0].source.mesh))
        if cell.rate.label == "d3" and self.hang.is_set():
            self.stopped.wait(30)
            raise RuntimeError("stopped")
        time.sleep(0.005)
        return Outcome(cell, ())

    def under_way(self):
        return None

    def stop(self):
        self.stopped.set()

    def close(self):
        pass


@pytest.fixture
def recorder(monkeypatch):
    class Fresh(Recorder):
        pass

    Fresh.seen, Fresh.hang = [], threading.Event()

    class NoTemplates:
        def __init__(self, threads):
            pass

        def close(self):
            pass

    monkeypatch.setattr(dispatch, "Bench", Fresh)
    monkeypatch.setattr(dispatch, "Templates", NoTemplates)
    return Fresh


def test_a_slot_keeps_to_its_mesh_and_no_two_begin_the_same(recorder, folder):
    made = plan(str(folder), "test-exact").cells
    dispatcher = LocalDispatcher(2)
    for cell in made:
        dispatcher.submit(cell)
    outcomes = [dispatcher.result(10) for _ in made]
    dispatcher.cancel()
    assert {o.cell.key for o in outcomes} == {c.key for c in made}
    for slot in "01":
        meshes = [mesh for name, mesh in recorder.seen if name == slot]
        changes = sum(a != b for a, b in itertools.pairwise(meshes))
        assert changes <= 3  # four meshes of three cells each; a change per cell would be five
    first = {}
    for name, mesh in recorder.seen:
        first.setdefault(mesh, name)
    assert set(first.values()) == {"0", "1"}


def test_cancel_ends_what_runs_and_drops_what_waits(recorder, folder):
    recorder.hang.set()
    dispatcher = LocalDispatcher(2)
    for cell in plan(str(folder), "test-exact", rates=["d3"]).cells:
        dispatcher.submit(cell)
    assert dispatcher.result(0.2) is None
    begin = time.monotonic()
    dispatcher.cancel()
    assert time.monotonic() - begin < 5
    assert len(recorder.seen) == 2


def test_a_fault_of_the_machine_is_raised_to_the_caller(recorder, folder):
    recorder.hang.set()
    dispatcher = LocalDispatcher(1)
    dispatcher.submit(plan(str(folder), "test-exact", rates=["d3"]).cells[0])
    threading.Timer(0.1, dispatcher._benches[0].stop).start()
    with pytest.raises(RuntimeError, match="stopped"):
        dispatcher.result(10)
    dispatcher.cancel()


def test_nothing_yet_is_none(recorder):
    dispatcher = LocalDispatcher(1)
    assert dispatcher.result(0.01) is None
    dispatcher.cancel()
