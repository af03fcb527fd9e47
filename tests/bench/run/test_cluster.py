"""Runs on a Dask cluster of real processes on this machine: the same records as a local run, whatever is killed."""

from __future__ import annotations

import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import trimesh

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.runner import run_plan
from gcbench.bench.run.work import Task, TaskLimits
from gcbench.bench.store.run import Run
from gcbench.errors import BenchError, StoreError, UsageError
from gcbench.interrupts import INTERRUPTED

distributed = pytest.importorskip("distributed")
cluster, node = (pytest.importorskip(f"gcbench.bench.run.{name}") for name in ("cluster", "node"))

SLOW_CODEC = '''
import os, time
from gcbench_testing import Exact
from gcbench.codecs import Rate

class Slow(Exact):
    """Takes half a second, and says in a file that it began."""
    name = "test-slow"

    def rates(self, effort):
        return [Rate(f"d{d}", {"digits": d}) for d in (2, 3, 4, 5)]

    def encode_mesh(self, mesh, rate, ctx):
        with open(os.environ["GCBENCH_CACHE"] + "/began", "a") as file:
            file.write(rate.label + "\\n")
        time.sleep(0.5)
        return super().encode_mesh(mesh, rate, ctx)
'''


def table(path: Path) -> dict:
    """What the tables are made of, without times and places; every coding and measurement is there once."""
    run = Run(path)
    codings = list(run.codings())
    assert len(codings) == len({coding.key for coding in codings}), "kept twice"
    made = Counter((m.stream, m.place, m.suite) for m in run.measurements())
    streams = Counter(stream for coding in codings for stream in coding.streams)  # a box is the same at two rates
    assert all(count <= streams[stream] for (stream, _, _), count in made.items()), "measured twice"
    return {
        (r.codec, r.rate, r.mesh): (r.status, r.stream_bytes, r.decoded_sha256, dict(r.metrics), dict(r.unmeasured))
        for r in run.records()
    }


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_records_of_a_local_run(folder, tmp_path, here, workers):
    plan = make_plan([str(folder)], ["test-exact", "test-set", "draco"], effort="quick")
    local, dask = Run(tmp_path / "local"), Run(tmp_path / "dask")
    run_plan(plan, local, suites=["topology"], executor=here)
    executor = cluster.connect(f"local:{workers}", dask, limit=TaskLimits(600, 2 << 30), jobs=workers, threads=1)
    processes = executor._local.processes
    summary = run_plan(plan, dask, suites=["topology"], executor=executor)
    assert summary.failed == summary.kept == summary.unmeasured == 0
    assert table(local.path) == table(dask.path)
    assert {c.ran_on.slot for c in dask.codings()} <= {"local0-0", "local1-0"}
    assert all(process.poll() is not None for process in processes)
    assert not list((dask.path / "work").iterdir())


@pytest.mark.parametrize("address", ["local:0", "local:x", "local", "http://host", "host:8786", ""])
def test_an_address_that_is_none_is_refused(address, tmp_path):
    with pytest.raises(UsageError, match="--cluster is"):
        cluster.connect(address, Run(tmp_path), limit=TaskLimits(), jobs=1, threads=1)


def test_nobody_at_the_address_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with pytest.raises(BenchError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        cluster.connect("tcp://127.0.0.1:9", Run(tmp_path), limit=TaskLimits(), jobs=1, threads=1)


@pytest.fixture
def lonely(monkeypatch):
    """A scheduler in this process, without workers."""
    monkeypatch.setenv("GCBENCH_CLUSTER_WAIT_S", "0.5")
    with distributed.LocalCluster(
        n_workers=0, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as made:
        yield made


def test_it_does_not_wait_for_ever_for_a_worker(lonely, folder, tmp_path):
    plan = make_plan([str(folder)], ["test-exact"], effort="quick")
    address = lonely.scheduler_address
    executor = cluster.connect(address, Run(tmp_path / "run"), limit=TaskLimits(), jobs=1, threads=1)
    with pytest.raises(BenchError, match=f"no worker at {address} for 0 s.*dask worker {address} --no-nanny"):
        run_plan(plan, Run(tmp_path / "run"), executor=executor)


def answering(monkeypatch, answer):
    """Let nodes give this answer instead of running tasks."""
    monkeypatch.setattr(node, "run_task", lambda *_: pickle.dumps(answer))
    monkeypatch.setattr(node.Node, "setup", lambda self, worker: None)
    monkeypatch.setattr(node.Node, "teardown", lambda self, worker: None)
    monkeypatch.setattr(node.Node, "transition", lambda *_, **__: None)


def outcomes_of(lonely, folder, tmp_path, tasks=1):
    lonely.scale(1)
    units = make_plan([str(folder)], ["test-exact"], effort="quick").codings[:tasks]
    executor = cluster.connect(lonely.scheduler_address, Run(tmp_path / "run"), limit=TaskLimits(), jobs=1, threads=1)
    try:
        return list(filter(None, executor.run(Agenda(map(Task, units)), 0.1)))
    finally:
        executor.close()


def test_a_task_that_is_lost_again_and_again_stops_the_run(lonely, folder, tmp_path, monkeypatch, caplog):
    answering(monkeypatch, node.Answer(lost="the node burns"))
    with pytest.raises(StoreError, match=r"test-exact d1 on .* was lost 5 times \(the node burns\)"):
        outcomes_of(lonely, folder, tmp_path)
    assert caplog.text.count("is submitted again") == cluster.LOSSES - 1


def test_what_a_killed_front_left_is_removed(lonely, folder, tmp_path, monkeypatch):
    answering(monkeypatch, node.Answer(problem="as it may be"))
    Run(tmp_path / "run").make()
    work = tmp_path / "run" / "work"
    work.mkdir()
    (work / "token-of-it").touch()
    with pytest.raises(StoreError, match="as it may be"):
        outcomes_of(lonely, folder, tmp_path)
    assert not list(work.iterdir())


def test_a_problem_of_a_node_stops_the_run_and_names_the_node(lonely, folder, tmp_path, monkeypatch):
    answering(monkeypatch, node.Answer(problem="node7: no disk space"))
    with pytest.raises(StoreError, match="node7: no disk space; finished results are kept"):
        outcomes_of(lonely, folder, tmp_path)


def test_another_version_on_a_node_is_a_problem():
    answer = pickle.loads(node.run_task("client", "gcbench 0.0 (00), Python 2.7", "key", b""))
    assert answer.problem.endswith("but this machine has gcbench 0.0 (00), Python 2.7")
    assert node.identity() in answer.problem


def test_another_version_of_a_codec_on_a_node_is_a_problem(folder):
    from dataclasses import replace

    unit = make_plan([str(folder)], ["test-exact"], effort="quick").codings[0]
    assert node._differs(Task(unit)) == ""
    assert (
        node._differs(Task(replace(unit, codec_version="0")))
        == "the codec test-exact has version '1' there, but '0' here"
    )


@pytest.mark.parametrize("shared", [True, False])
def test_checkpoints_are_kept_in_the_run_where_a_node_sees_it(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(node, "Templates", lambda threads: SimpleNamespace(of=lambda role: None, close=lambda: None))
    work = tmp_path / "run" / "work"
    work.mkdir(parents=True)
    (work / ("token-ours" if shared else "token-of-another-run")).touch()
    made = node.Node("client", node.NodeSettings("", TaskLimits(), 1, work / "token-ours"))
    made.setup(SimpleNamespace(name="tcp://[::1]:7", state=SimpleNamespace(nthreads=2)))
    assert (made._folders.work == work) is shared
    assert [slot.name for slot, _ in made._free] == ["tcp-1-7-0", "tcp-1-7-1"]


# Real clusters, and what is killed of them.


@dataclass
class Cluster:
    """A scheduler and workers as a person would start them, on the loopback address."""

    root: Path
    env: dict[str, str]
    port: int = 0
    scheduler: subprocess.Popen | None = None
    workers: list[subprocess.Popen] = field(default_factory=list)
    _count: int = 0

    def start(self, workers: int = 2) -> Cluster:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.scheduler = self._popen("dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))
        for _ in range(workers):
            self.join()
        return self

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def join(self, cwd: Path | None = None, **env: str) -> None:
        self._count += 1
        options = ("--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--host", "127.0.0.1")
        name = ("--name", f"w{self._count}")
        self.workers.append(self._popen("dask_worker", self.address, *options, *name, cwd=cwd, **env))

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self.workers.clear()

    def bench(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "gcbench.bench.cli", "run", "-d", "shapes", "--memory", "2", *arguments],
            cwd=self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _popen(self, module: str, *arguments: str, cwd: Path | None = None, **env: str) -> subprocess.Popen:
        with (self.root / f"{module}.log").open("a") as output:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"distributed.cli.{module}",
                    *arguments,
                    "--no-dashboard",
                    "--dashboard-address",
                    "127.0.0.1:0",
                ],
                cwd=cwd or self.root,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with six small meshes, a codec that takes its time, and the table of a local run."""
    root = tmp_path_factory.mktemp("site")
    for index in range(5):
        (root / "shapes").mkdir(exist_ok=True)
        trimesh.creation.torus(2, 0.3 + index / 10, 12 + index, 10).export(root / "shapes" / f"torus{index}.ply")
    trimesh.creation.icosphere(3).export(root / "shapes" / "sphere.ply")
    info = root / "plugin" / "gcbench_slow-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gcbench-slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gcbench.codecs]\ntest-slow = gcbench_slow:Slow\n")
    (root / "plugin" / "gcbench_slow.py").write_text(SLOW_CODEC)
    (root / "cache").mkdir()
    env = {
        **os.environ,
        "PYTHONPATH": f"{root / 'plugin'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "GCBENCH_CACHE": str(root / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    made = Cluster(root, env)
    finish(made.bench(*CODECS, "-j", "2", "--run", "reference"))
    return root, env, table(root / "results/runs/reference")


CODECS = ("-c", "test-slow,test-set,draco,raw-zstd", "--suite", "surface,topology")


@pytest.fixture
def dask(site):
    made = Cluster(*site[:2])
    yield made
    made.end()
    until = time.monotonic() + 15
    while left := ours(site[0]):
        assert time.monotonic() < until, f"processes are left: {left}"
        time.sleep(0.2)


def ours(root: Path) -> list[psutil.Process]:
    """Workers of slots that belong to these clusters."""
    found = []
    for process in psutil.process_iter():
        try:
            is_ours = process.environ().get("GCBENCH_CACHE") == str(root / "cache")
            if is_ours and "gcbench.bench.run.worker" in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def finish(front: subprocess.Popen, code: int = 0) -> str:
    output, _ = front.communicate(timeout=240)
    assert front.returncode == code, output
    return output


def begun(root: Path, front: subprocess.Popen) -> None:
    """Wait until the slow codec is in the middle of a coding."""
    while not (root / "cache" / "began").exists():
        assert front.poll() is None, front.communicate()[0]
        time.sleep(0.02)


@pytest.mark.slow
def test_inputs_that_a_node_does_not_have_are_sent(site, dask, tmp_path):
    dask.start(workers=0)
    dask.join(cwd=tmp_path, GCBENCH_CACHE=str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    # A path of the front's folder means nothing to the node, which is somewhere else.
    finish(dask.bench(*CODECS, "--cluster", dask.address, "--run", "sent"))
    assert table(site[0] / "results/runs/sent") == site[2]
    planned = {mesh.input_sha256 for c in Run(site[0] / "results/runs/sent").codings() for mesh in c.meshes}
    assert len(planned) == 6
    assert {file.name for file in (tmp_path / "cache/inputs").iterdir()} == planned


def disturb(what: str, dask: Cluster, name: str, after_s: float) -> str:
    """One run that is disturbed some time after its first coding began; what the front said."""
    began = dask.root / "cache" / "began"
    began.unlink(missing_ok=True)
    dask.start(workers=1 if what == "late" else 2)
    arguments = (*CODECS, "--run", name)
    front = dask.bench(*arguments, "--cluster", dask.address)
    begun(dask.root, front)
    time.sleep(after_s)
    if what in {"worker", "preempted"}:
        dask.workers[0].send_signal(signal.SIGKILL if what == "worker" else signal.SIGTERM)
        time.sleep(1)
        dask.join()
    elif what == "late":
        dask.join()
    elif what == "scheduler":
        dask.scheduler.send_signal(signal.SIGKILL)
        output, _ = front.communicate(timeout=120)
        if front.returncode:  # it had not finished just before
            assert front.returncode == 3, output
            assert "is gone; finished results are kept, the same command resumes" in " ".join(output.split())
        dask.end()
        dask.start()
        front = dask.bench(*arguments, "--cluster", dask.address)
    elif what in {"front", "interrupted"}:
        front.send_signal(signal.SIGKILL if what == "front" else signal.SIGINT)
        output, _ = front.communicate(timeout=60)
        assert what == "front" or (front.returncode == INTERRUPTED and "Traceback" not in output), output
        front = dask.bench(*arguments, "--cluster", dask.address)
    return finish(front)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["worker", "preempted", "scheduler", "front", "interrupted", "late"])
def test_a_kill_in_the_middle_of_a_coding(what, site, dask):
    disturb(what, dask, f"middle-{what}", 0.1)
    assert table(site[0] / f"results/runs/middle-{what}") == site[2]
    if what == "late":
        assert {coding.ran_on.slot for coding in Run(site[0] / "results/runs/middle-late").codings()} == {
            "w1-0",
            "w2-0",
        }


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(10))
def test_ten_rounds_at_random_times(round_, site, dask):
    seed = int(os.environ.get("GCBENCH_ROUNDS_SEED", time.time_ns() % 10**6))
    chance = random.Random(f"{seed}-{round_}")
    what, after_s = ("worker", "scheduler", "front", "late")[round_ % 4], chance.uniform(0, 8)
    said = f"round {round_}, seed {seed}: {what} after {after_s:.2f} s"
    name = f"round-{round_}"
    output = disturb(what, dask, name, after_s)
    assert table(site[0] / "results/runs" / name) == site[2], said
    run = Run(site[0] / "results/runs" / name)
    summary = next(line for line in output.splitlines() if " kept from before" in line)
    print(f"\n{said}; {len(list(run.codings()))} codings, {len(list(run.measurements()))} measurements; {summary}")  # noqa: T201 (the result)
