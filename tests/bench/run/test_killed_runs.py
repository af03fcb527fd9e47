"""Runs that are killed, that lose their workers, or that get Ctrl-C, and then go on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from processes import wait_until_gone

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run.runner import run_plan
from gcbench.bench.store.run import Run
from results import table, values

pytestmark = pytest.mark.usefixtures("counting_suites")


RUNNER = """
import sys
from pathlib import Path
from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run.runner import run_plan
from gcbench.bench.store.run import Run
from gcbench.bench.tabular import render
plan = make_plan(sys.argv[1], ["test-exact", "test-set"])
summary = run_plan(plan, Run(Path(sys.argv[2])), suites=["topology", "test-counts"], jobs=2, threads=1)
sys.exit(1 if summary.failed else 0)
"""


def start(folder, path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUNNER, str(folder), str(path)])


def workers_of(pid: int) -> list[psutil.Process]:
    try:
        return [p for p in psutil.Process(pid).children(recursive=True) if "gcbench.bench.run.worker" in p.cmdline()]
    except psutil.Error:
        return []


def lines(path) -> int:
    kept = path / "codings.jsonl"
    return kept.read_bytes().count(b"\n") if kept.exists() else 0


def wait_for_lines(path, count, process) -> None:
    end = time.monotonic() + 60
    while lines(path) < count:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def quiet(many, tmp_path, here) -> Run:
    """The run that was not disturbed; 36 codings of meshes and one of the set."""
    store = Run(tmp_path / "quiet")
    run_plan(make_plan(str(many), ["test-exact", "test-set"]), store, suites=["topology", "test-counts"], executor=here)
    return store


def assert_same(killed, quiet: Run) -> None:
    store = Run(killed)
    assert table(store) == table(quiet)
    assert len(table(store).splitlines()) == 1 + 3 + 1
    assert sorted(c.key for c in store.codings()) == sorted(c.key for c in quiet.codings()), "none lost, none twice"
    assert sorted(m.key for m in store.measurements()) == sorted(m.key for m in quiet.measurements())
    assert values(store) == values(quiet)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(15,), (3, 6, 9, 20, 28, 33)])
def test_runner_killed_at_random_and_resumed_gives_the_same_table_to_the_byte(many, tmp_path, quiet, counts):
    killed = tmp_path / "killed"
    for count in counts:  # in the middle of the work, each time further on
        runner = start(many, killed)
        wait_for_lines(killed, count, runner)
        children = workers_of(runner.pid)
        runner.kill()
        runner.wait()
        assert children
        assert all(wait_until_gone(child.pid) for child in children)
        assert count <= lines(killed) < 37
    assert start(many, killed).wait() == 0
    assert lines(killed) == 37
    assert_same(killed, quiet)


@pytest.mark.slow
def test_workers_and_templates_killed_at_random_cost_nothing(many, tmp_path, quiet):
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
    assert_same(tmp_path / "killed", quiet)


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_ctrl_c_stops_cleanly_says_how_to_resume_and_resumes(folder, tmp_path, sent):
    command = [sys.executable, "-m", "gcbench.bench.cli", "run", "-d", str(folder), "-c", "test-bad,test-exact"]
    command += ["--rate", "enc-hang,d1", "--suite", "topology"]
    command += ["--run", str(tmp_path / "run"), "-j", "1", "--retry-failed"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    kept_file = tmp_path / "run" / "codings.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (kept_file.exists() and kept_file.read_bytes().count(b"\n") >= 2):
        time.sleep(0.05)
    children = workers_of(process.pid)
    os.kill(process.pid, sent)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.search(r"interrupted: \d of 8 codings and measurements are kept", stderr)
    assert "resume with: bench run -d" in stderr
    assert "Traceback" not in stderr
    assert children
    assert all(wait_until_gone(child.pid) for child in children)
    if sent == signal.SIGTERM:
        return
    kept = sum(1 for _ in Run(tmp_path / "run").codings())
    done = subprocess.run(
        [*command, "--deadline", "1.5", "--format", "json"], capture_output=True, text=True, check=False
    )
    summary = json.loads(done.stdout)
    assert done.returncode == 1  # the hanging codec fails, now by its deadline
    assert summary["kept"] == kept
    assert summary["failed"] == 3
