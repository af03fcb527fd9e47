"""Whole runs: resume, kill -9, Ctrl-C, a dispatcher of another kind."""

from __future__ import annotations

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

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.table import render
from gcbench.bench.cell import Bench, Limit
from gcbench.bench.runner import run
from gcbench.bench.store import Run
from gcbench.bench.sweep import plan
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
from gcbench.bench.runner import run
from gcbench.bench.store import Run
from gcbench.bench.sweep import plan
run(plan(sys.argv[1], ["test-exact", "test-set"]), Run(Path(sys.argv[2])), jobs=2, threads=1)
"""


def start(folder, path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUNNER, str(folder), str(path)])


def workers_of(pid: int) -> list[psutil.Process]:
    try:
        return [p for p in psutil.Process(pid).children(recursive=True) if "gcbench.bench.worker" in p.cmdline()]
    except psutil.Error:
        return []


def test_killed_at_random_and_resumed_gives_the_same_table_to_the_byte(folder, tmp_path):
    assert start(folder, tmp_path / "quiet").wait() == 0
    chance = random.Random(1)
    for _ in range(6):
        runner = start(folder, tmp_path / "killed")
        time.sleep(chance.uniform(1.2, 3.0))
        children = workers_of(runner.pid)
        for victim in chance.sample(children, min(len(children), 2)):
            victim.kill()
        time.sleep(chance.uniform(0, 0.5))
        runner.kill()
        runner.wait()
        time.sleep(0.2)
        assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]
    assert start(folder, tmp_path / "killed").wait() == 0
    assert table(Run(tmp_path / "killed")) == table(Run(tmp_path / "quiet"))
    assert len(table(Run(tmp_path / "quiet")).splitlines()) == 1 + 3 + 1


def test_ctrl_c_stops_cleanly_says_how_to_resume_and_resumes(folder, tmp_path):
    command = [sys.executable, "-m", "gcbench.bench.cli", "run", "-d", str(folder), "-c", "test-bad,test-exact"]
    command += ["--rates", "enc-hang,d1", "--run", str(tmp_path / "run"), "-j", "1", "--retry-failed"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    records = tmp_path / "run" / "records.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (records.exists() and records.read_bytes().count(b"\n") >= 2):
        time.sleep(0.05)
    time.sleep(1)
    children = workers_of(process.pid)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.search(r"interrupted: \d of 8 cells are kept", stderr)
    assert "resume with: bench run -d" in stderr
    assert "Traceback" not in stderr
    assert children
    assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]
    kept = sum(1 for _ in Run(tmp_path / "run").cells())
    done = subprocess.run([*command, "--deadline", "0.5", "--json"], capture_output=True, text=True, check=False)
    summary = json.loads(done.stdout)
    assert done.returncode == 1  # the hanging codec fails, now by its deadline
    assert summary["kept"] == kept
    assert summary["failed"] == 3
