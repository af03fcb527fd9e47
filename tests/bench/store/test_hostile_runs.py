"""Every verb that reads a run, on runs of strangers: no traceback, no change outside of the run, no hanging."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import trimesh

from gcbench.bench.cli import main
from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run.runner import run_plan
from gcbench.bench.store.run import Run

_spec = importlib.util.spec_from_file_location("hostile_runs", Path(__file__).with_name("hostile_runs.py"))
hostile_runs = importlib.util.module_from_spec(_spec)
sys.modules["hostile_runs"] = hostile_runs  # dataclasses look their module up
_spec.loader.exec_module(hostile_runs)
in_bytes, in_fields, in_places = hostile_runs.in_bytes, hostile_runs.in_fields, hostile_runs.in_places

#: Arguments of a call; {run} is the hostile run, {good} the run as it was, {out} a new folder.
READING = (
    "table {run}", "table {run} --per-mesh -f json", "table {run} -k timing --failures", "table {run} -k bd",
    "report {run} --no-meshes", "choose {run}", "compare {good} {run}", "compare {run} {run}",
    "verify {run} --sample 0", "decode {run} --mesh ball -o {out}", "measure {run} -s test-counts -c nothing",
    "merge {good} {run} -o {out}/merged", "report {good} {run} --no-meshes -o {out}/report.html",
)  # fmt: skip
#: Calls that start workers, or draw.
SLOW = ("plot {run} -k rd", "report {run}", "verify {run} --sample all", "measure {run} -s test-counts",
        "decode {run} --mesh ball,ring -o {out}")  # fmt: skip
WRITING = ("merge {good} -o {run}", "run -d {shapes} -c test-exact --rate d2 -s test-counts --run {run}")
LONGEST_S = 180  # of a call on a machine that is busy; a second or two on one that is not
CODES = {0, 1, 2, 3}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A run of two meshes and a bad one."""
    folder = tmp_path_factory.mktemp("hostile") / "shapes"
    folder.mkdir()
    trimesh.creation.icosphere(1).export(folder / "ball.ply")
    trimesh.creation.torus(2, 0.5, 8, 6).export(folder / "ring.ply")
    (folder / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    store = Run(folder.parent / "good")
    run_plan(make_plan(str(folder), ["test-exact", "test-set"], rates=["d2", "d3", "only"]), store, threads=1)
    return store.path


class Tried:
    """Calls on hostile runs, and what went wrong."""

    def __init__(self, good: Path, folder: Path) -> None:
        self.good, self.folder = good, folder
        self.codes: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.longest_s = 0.0

    def on(self, change: hostile_runs.Change, calls: Iterable[str]) -> None:
        """Make the change in a copy of the good run, and call verbs on it, each on a new copy."""
        for call in calls:
            here = self.folder / "here"
            shutil.rmtree(here, ignore_errors=True)
            victim, run = here / "victim", here / "run"
            victim.mkdir(parents=True)
            (victim / "file").write_bytes(b"something of the user's\nwithout an end")
            shutil.copytree(self.good, run)
            change.make(run, victim)
            before = _state(victim) | _state(self.good)
            begin = time.monotonic()
            arguments = call.format(run=run, good=self.good, out=here / "out", shapes=self.good.parent / "shapes")
            why = self._called(arguments.split(), here)
            took = time.monotonic() - begin
            self.longest_s = max(self.longest_s, took)
            if _state(victim) | _state(self.good) != before:
                why = "something outside of the run has changed"
            if why:
                self.wrong.append(f"{change.name}\n    bench {call}\n    {why}")

    def _called(self, arguments: list[str], here: Path) -> str:
        """Call ``bench``; what is wrong with how it ended."""
        was, sys.argv = Path.cwd(), ["bench", *arguments]
        os.chdir(here)
        was_alarm = signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LONGEST_S)
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
            self.codes[int(code)] += 1
            return "" if code in CODES else f"ended with code {code}"
        except BaseException:  # noqa: BLE001  (what the user would see as a traceback)
            self.codes[-1] += 1
            return " | ".join(traceback.format_exc().splitlines()[-3:])
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, was_alarm)
            os.chdir(was)
            sys.argv = ["bench"]
        return "did not end"

    def __str__(self) -> str:
        ended = ", ".join(f"{count} with {code}" for code, count in sorted(self.codes.items()))
        said = f"{self.codes.total()} calls, longest {self.longest_s:.1f} s: {ended}; {len(self.wrong)} wrong"
        return "\n".join([said, *self.wrong[:40]])


@pytest.fixture
def tried(good, tmp_path, monkeypatch, capsys) -> Tried:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return Tried(good, tmp_path)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"the call took more than {LONGEST_S} s")


def _state(folder: Path) -> dict[str, str]:
    """Names and content of all files, without the figures, reports and views that verbs write to a run of the user."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
        if not path.name.startswith(("report", "view-"))
    }


@pytest.mark.long
def test_some_hostile_runs(tried, good):
    """Each kind of change, with verbs in turn; the choice is the same every time."""
    verbs = itertools.cycle(READING)
    chance = random.Random(0)
    for change in [*chance.sample([*in_fields(good)], 6), *chance.sample([*in_bytes()], 4)]:
        tried.on(change, [next(verbs)])
    for change in chance.sample([*in_places()], 3):
        tried.on(change, [next(verbs)])
    assert not tried.wrong, str(tried)


@pytest.mark.parametrize("name", ["codings.jsonl", "measurements.jsonl", "sessions.jsonl", "lock", "streams", "work"])
def test_writing_follows_no_link(tried, name):
    links = ("link to a file", "link to a folder", "link to nothing", "hard link", "pipe")
    chosen = [change for change in in_places() if change.name in {f"{name}: {link}" for link in links}]
    for change in chosen:
        tried.on(change, ["merge {good} -o {run}"])
    assert not tried.wrong, str(tried)


@pytest.mark.slow
def test_all_hostile_runs(tried, good, capsys):
    """Every field with every wrong value, two verbs each; every other change with every verb."""
    verbs = itertools.cycle(READING)
    for change in in_fields(good):
        tried.on(change, [next(verbs)])
    for change in [*in_bytes(), *in_places()]:
        tried.on(change, (*READING, *WRITING))
    slow = itertools.cycle(SLOW)
    for change in [*in_bytes(), *in_places()]:
        tried.on(change, [next(slow)])
    with capsys.disabled():
        print(f"\nhostile runs: {tried}")  # noqa: T201  (for docs/trust.md)
    assert not tried.wrong, str(tried)
