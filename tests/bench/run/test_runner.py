"""Whole runs: resume, kill -9, Ctrl-C, a dispatcher of another kind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import deque

import psutil
import pytest
import trimesh

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.table import render
from gcbench.bench.run.slot import Bench, Limit
from gcbench.bench.run.runner import run
from gcbench.bench.store.run import Run
from gcbench.bench.plan.planning import plan
from gcbench.errors import StoreError, UsageError


def table(store: Run) -> str:
    return render(summarise(frame(store.records())), "csv", timing=False)


def test_a_run_records_everything_and_a_second_one_computes_nothing(folder, tmp_path):
    made = plan(str(folder), ["test-exact", "test-set"])
    store = Run(tmp_path / "run")
    ticks = []
    first = run(made, store, jobs=2, on_tick=ticks.append)
    assert (first.total, first.kept, first.ran, first.failed, first.bad_input) == (13, 0, 13, 0, 4)
    assert ticks[-1].done == ticks[-1].total == 13
    before = (tmp_path / "run" / "records.jsonl").read_bytes()
    second = run(made, store, jobs=2)
    assert (second.kept, second.ran, second.bad_input) == (13, 0, 4)
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == before
    records = store.records()
    assert len(records) == 4 * 3 + 4
    assert {r.status for r in records if r.mesh == "broken"} == {"bad-input"}
    assert {r.status for r in records if r.mesh != "broken"} == {"ok"}
    for record in records:
        if record.status == "ok":
            assert len(store.stream(record.stream_sha256)) == record.stream_bytes if record.kind == "model" else True


def test_jobs_do_not_change_results(folder, tmp_path):
    made = plan(str(folder), "test-exact", rates=["d2"])
    run(made, Run(tmp_path / "1"), jobs=1, threads=2)
    run(made, Run(tmp_path / "2"), jobs=2, threads=1)
    assert table(Run(tmp_path / "1")) == table(Run(tmp_path / "2"))


def test_failures_are_kept_until_retried(folder, tmp_path):
    made = plan(str(folder), "test-bad", rates=["enc-raise"], limit=2)
    store = Run(tmp_path / "run")
    assert run(made, store).failed == 1
    again = run(made, store)
    assert (again.ran, again.failed) == (0, 1)
    assert run(made, store, retry_failed=True).ran == 1


def test_provenance_says_where_numbers_come_from(folder, tmp_path):
    made = plan(str(folder), "test-exact", rates=["d1"], limit=2)
    store = Run(tmp_path / "run")
    run(made, store, limit=Limit(deadline_s=9))
    (session,) = store.sessions()
    assert session["codecs"] == {"test-exact": "1"}
    assert re.fullmatch("[0-9a-f]{64}", session["datasets"]["shapes/all"])
    assert {"started", "finished", "argv", "python", "packages", "machine", "commit", "seed", "deadline_s"} <= set(
        session
    )
    assert session["packages"]["numpy"]
    assert [c.session for c in store.cells()] == [session["session"]] * 2


def test_a_timing_pass_adds_to_the_same_run(folder, tmp_path):
    store = Run(tmp_path / "run")
    arguments = {"rates": ["d1"], "limit": 2}
    run(plan(str(folder), "test-exact", **arguments), store)
    run(plan(str(folder), "test-exact", timing=True, **arguments), store)
    (row,) = summarise(frame(store.records())).to_dict("records")
    assert row["timed"]
    assert (row["ok"], row["meshes"]) == (1, 2)
    assert row["cd_p2s"] > 0
    with pytest.raises(UsageError, match="runs alone"):
        run(plan(str(folder), "test-exact", timing=True), store, jobs=2)


class InThisThread:
    """A dispatcher of another kind: what a cluster's would be, in ten lines."""

    def __init__(self):
        self.cells, self.bench = deque(), Bench()

    def submit(self, cell):
        self.cells.append(cell)

    def result(self, timeout_s=None):
        return self.bench.run(self.cells.pop())  # last first: order must not matter

    def under_way(self):
        return ()

    def cancel(self):
        self.bench.close()


def test_any_dispatcher_gives_the_same_table(folder, tmp_path):
    made = plan(str(folder), "test-exact", effort="quick")
    run(made, Run(tmp_path / "a"), dispatcher=InThisThread())
    run(made, Run(tmp_path / "b"))
    assert table(Run(tmp_path / "a")) == table(Run(tmp_path / "b"))


def test_a_machine_at_fault_stops_the_run_and_keeps_what_is_done(folder, tmp_path):
    made = plan(str(folder), ["test-exact", "test-bad"], rates=["d1", "enc-full"], limit=2)
    store = Run(tmp_path / "run")
    with pytest.raises(StoreError, match="no disk space"):
        run(made, store)
    assert {r.codec for r in store.records() if r.status == "ok"} == {"test-exact"}


RUNNER = """
import sys
from pathlib import Path
from gcbench.bench.run.runner import run
from gcbench.bench.store.run import Run
from gcbench.bench.plan.planning import plan
summary = run(plan(sys.argv[1], ["test-exact", "test-set"]), Run(Path(sys.argv[2])), jobs=2, threads=1)
sys.exit(1 if summary.failed else 0)
"""


@pytest.fixture
def many(tmp_path):
    """A folder of twelve meshes: 37 cells with the two codecs."""
    path = tmp_path / "many"
    path.mkdir()
    for index in range(12):
        trimesh.creation.icosphere(2).apply_scale((1, 1, 1 + index / 10)).export(path / f"m{index:02}.ply")
    return path


def start(folder, path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUNNER, str(folder), str(path)])


def workers_of(pid: int) -> list[psutil.Process]:
    try:
        return [p for p in psutil.Process(pid).children(recursive=True) if "gcbench.bench.run.worker" in p.cmdline()]
    except psutil.Error:
        return []


def gone(process: psutil.Process, seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def lines(path) -> int:
    records = path / "records.jsonl"
    return records.read_bytes().count(b"\n") if records.exists() else 0


def wait_for_lines(path, count, process) -> None:
    end = time.monotonic() + 60
    while lines(path) < count:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)


def test_runner_killed_at_random_and_resumed_gives_the_same_table_to_the_byte(many, tmp_path):
    assert start(many, tmp_path / "quiet").wait() == 0
    killed = tmp_path / "killed"
    for count in (1, 6, 15, 24):  # in the middle of the work, each time further on
        runner = start(many, killed)
        wait_for_lines(killed, count, runner)
        children = workers_of(runner.pid)
        runner.kill()
        runner.wait()
        assert children
        assert all(gone(child) for child in children)
        assert count <= lines(killed) < 37
    assert start(many, killed).wait() == 0
    assert lines(killed) == 37
    assert table(Run(killed)) == table(Run(tmp_path / "quiet"))
    assert len(table(Run(killed)).splitlines()) == 1 + 3 + 1


@pytest.mark.slow
def test_workers_and_templates_killed_at_random_cost_nothing(many, tmp_path):
    assert start(many, tmp_path / "quiet").wait() == 0
    chance = random.Random(1)
    runner = start(many, tmp_path / "killed")
    kills = 0
    for count in range(2, 34, 4):
        wait_for_lines(tmp_path / "killed", count, runner)
        children = workers_of(runner.pid)
        for child in chance.sample(children, len(children)):
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended by itself; then another one
                child.kill()
                kills += 1
                break
    assert runner.wait() == 0
    assert kills >= 3  # of nine tries; a quick runner leaves less time for them
    assert table(Run(tmp_path / "killed")) == table(Run(tmp_path / "quiet"))


def test_a_kept_result_that_was_overtaken_counts_again_when_asked_for(folder, tmp_path):
    """Upgrade a codec, run, downgrade it, run: the table must show the downgraded one's numbers."""
    store = Run(tmp_path / "run")
    old = plan(str(folder), "test-exact", rates=["d1"], limit=2)
    new = dataclasses.replace(old, cells=tuple(dataclasses.replace(c, codec_version="2") for c in old.cells))
    run(old, store)
    assert {c.key for c in store.counting().values()} == {c.key for c in old.cells}
    run(new, store)
    assert {c.key for c in store.counting().values()} == {c.key for c in new.cells}
    assert run(old, store).ran == 0
    assert {c.key for c in store.counting().values()} == {c.key for c in old.cells}


def test_a_set_counts_as_a_whole(folder, tmp_path):
    store = Run(tmp_path / "run")
    run(plan(str(folder), "test-set"), store)
    (shape0, *_) = plan(str(folder), "test-set", limit=2).cells
    run(plan(str(folder), "test-set", limit=2), store)
    assert len(store.records()) == len(shape0.meshes) == 2
    run(plan(str(folder), "test-set"), store)
    assert len(store.records()) == 4
    assert sum(r.stream_bytes for r in store.records() if r.status == "ok") == len(
        store.stream(store.records()[-1].stream_sha256)
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_says_how_to_resume_and_resumes(folder, tmp_path, sent):
    command = [sys.executable, "-m", "gcbench.bench.cli", "run", "-d", str(folder), "-c", "test-bad,test-exact"]
    command += ["--rates", "enc-hang,d1", "--run", str(tmp_path / "run"), "-j", "1", "--retry-failed"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        # A shell starts background jobs, of which these tests may be one, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads here)
    )
    records = tmp_path / "run" / "records.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (records.exists() and records.read_bytes().count(b"\n") >= 2):
        time.sleep(0.05)
    children = workers_of(process.pid)
    os.kill(process.pid, sent)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.search(r"interrupted: \d of 8 cells are kept", stderr)
    assert "resume with: bench run -d" in stderr
    assert "Traceback" not in stderr
    assert children
    assert all(gone(child) for child in children)
    kept = sum(1 for _ in Run(tmp_path / "run").cells())
    done = subprocess.run([*command, "--deadline", "0.5", "--json"], capture_output=True, text=True, check=False)
    summary = json.loads(done.stdout)
    assert done.returncode == 1  # the hanging codec fails, now by its deadline
    assert summary["kept"] == kept
    assert summary["failed"] == 3
