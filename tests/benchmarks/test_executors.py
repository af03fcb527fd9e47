"""What handing out costs, without codecs: seconds for each unit and memory of the front process; and Dask against -j 2.

On a quiet machine: tox -e speed. The number of units on Dask is smaller than the 200 000 of a large sweep, and said so.
"""

from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path

import psutil
import pytest

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.plan.units import CodingUnit, PlannedMesh
from gcbench.bench.run import local
from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.runner import folders_of, run_plan
from gcbench.bench.run.work import Outcome, Task, TaskLimits
from gcbench.bench.store.run import Run
from gcbench.codecs import Rate
from gcbench.datasets import MeshSource

pytestmark = pytest.mark.benchmark

LOCAL_UNITS, DASK_UNITS = 200_000, 5_000
RATES = 20


def units(count: int) -> list[CodingUnit]:
    """Codings of as many meshes as it takes, at 20 rates each; no file is behind them."""
    meshes = [
        PlannedMesh(MeshSource("none", f"mesh{i:05d}", Path(f"/none/mesh{i:05d}.ply")), f"{i:064x}", 10_000, 20_000)
        for i in range(count // RATES)
    ]
    rates = [Rate(f"r{i:02d}", {"bits": i}) for i in range(RATES)]
    return [
        CodingUnit("none", "mini", "none", "1", "model", 0, rate, place, "paper", 0, (mesh,))
        for mesh in meshes
        for place, rate in enumerate(rates)
    ]


class AtOnce:
    """A slot whose codec returns at once."""

    def __init__(self, *_, name="", **__):
        self.name = name

    def run(self, task):
        return Outcome(task)

    def under_way(self):
        return None

    def stop(self):
        pass

    def close(self):
        pass


class NoTemplates:
    def __init__(self, threads):
        pass

    def close(self):
        pass


def rss() -> int:
    return psutil.Process().memory_info().rss


def count_outcomes(executor, agenda, title: str) -> float:
    """Seconds for each unit; printed with the memory that the front held at most beyond what it had before."""
    tasks, before, most, seen = len(agenda), rss(), 0, 0
    begin, cpu = time.perf_counter(), time.process_time()
    for outcome in executor.run(agenda, 0.5):
        seen += outcome is not None
        if seen % 1000 == 0:
            most = max(most, rss() - before)
    seconds = (time.perf_counter() - begin) / tasks
    cpu_s = (time.process_time() - cpu) / tasks
    executor.close()
    assert seen == tasks
    print(  # noqa: T201 (the result)
        f"\n{title}: {tasks} units, {1e3 * seconds:.3f} ms a unit ({1e3 * cpu_s:.3f} ms of CPU here), "
        f"{200_000 * seconds:.0f} s for 200 000; "
        f"front process {rss() / 2**20:.0f} MiB, {most / 2**20:.0f} MiB of it while it ran"
    )
    return seconds


def test_200_000_units_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "Slot", AtOnce)
    monkeypatch.setattr(local, "Templates", NoTemplates)
    before, begin = rss(), time.perf_counter()
    agenda = Agenda([Task(unit) for unit in units(LOCAL_UNITS)])
    print(f"\nagenda: {time.perf_counter() - begin:.1f} s, {(rss() - before) / 2**20:.0f} MiB")  # noqa: T201 (the result)
    assert count_outcomes(local.LocalExecutor(2, folders_of(Run(tmp_path / "run"))), agenda, "local, 2 slots") < 0.001


def at_once(client, identity, key, data):
    """Stands in for ``node.run_task``; sent by value, so that nodes need not import this file."""
    from gcbench.bench.run.node import Answer

    return pickle.dumps(Answer(Outcome(pickle.loads(data))))


def test_units_on_dask(tmp_path, monkeypatch):
    cloudpickle = pytest.importorskip("cloudpickle")
    pytest.importorskip("distributed")
    from gcbench.bench.run import cluster, node

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(node, "run_task", at_once)
    executor = cluster.connect("local:2", Run(tmp_path / "run"), limit=TaskLimits(), jobs=2, threads=1)
    wait_for_two(executor)
    agenda = Agenda([Task(unit) for unit in units(DASK_UNITS)])
    assert count_outcomes(executor, agenda, "Dask, 2 workers, scheduler in the front process") < 0.05


def wait_for_two(executor) -> None:
    while executor.slots < 2:
        executor._look()
        time.sleep(0.1)


def seconds_of(plan, store, executor) -> float:
    """From the first task to the last outcome: what starts with an executor has started, and its end does not count."""
    wait_for_two(executor)
    time.sleep(12)  # templates import: two of each node, on the same cores
    ticks: list[float] = []
    assert run_plan(plan, store, executor=executor, on_tick=lambda _: ticks.append(time.perf_counter())).failed == 0
    return ticks[-1] - ticks[0]


def test_two_workers_against_two_jobs(tmp_path, monkeypatch):
    """Three times, alternating."""
    pytest.importorskip("distributed")
    from gcbench.bench.run import cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plan = make_plan(["ama"], ["draco", "draco-qem"], effort="standard", limit=4)
    limit, ratios = TaskLimits(600, 2 << 30), []
    for turn in range(3):
        store = Run(tmp_path / f"local{turn}")
        on_this_machine = seconds_of(plan, store, local.LocalExecutor(2, folders_of(store), limit=limit))
        store = Run(tmp_path / f"dask{turn}")
        on_dask = seconds_of(plan, store, cluster.connect("local:2", store, limit=limit, jobs=2, threads=1))
        ratios.append(on_dask / on_this_machine)
        print(  # noqa: T201 (the result)
            f"\n{len(plan.codings)} codings: -j 2 {on_this_machine:.2f} s, local:2 {on_dask:.2f} s, "
            f"overhead {ratios[-1] - 1:.1%}"
        )
    assert sorted(ratios)[1] < 1.05
