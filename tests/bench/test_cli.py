"""The command as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from gcbench.bench.cli.options import limit_of
from gcbench.bench.cli.run import suites_of
from gcbench.bench.metrics import DEFAULT_SUITES
from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run import machine
from gcbench.bench.run.work import TaskLimits
from gcbench.bench.store.run import Run
from gcbench.datasets import minis
from gcbench.errors import UsageError


@pytest.fixture(autouse=True)
def _shapes(folder):
    """Commands find ``shapes`` in the folder of the test."""


def in_a_process(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gcbench.bench.cli", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_run_table_plot_list(bench, tmp_path):
    run = ("run", "-d", "shapes", "-c", "test-exact,test-set", "--suite", "surface")
    out = bench(*run).stdout
    assert "shapes (all): 4 meshes; codecs: test-exact, test-set; effort standard" in out
    assert "bad input: shapes/broken:" in out
    assert "13 codings → results/runs/shapes-all-standard" in out
    assert "13 codings: 0 kept from before, 10 coded now; 12 measurements now" in out
    assert out.rstrip().endswith("next: bench plot shapes-all-standard")
    assert "13 kept from before, 0 coded now; 0 measurements now" in bench(*run).stdout

    assert "test-set" in bench("table").stdout
    assert bench("table", "shapes-all-standard", "--no-timing", "-f", "csv").stdout.count("\n") == 5
    rows = json.loads(bench("table", "--per-mesh", "--format", "json").stdout)
    assert len(rows) == 16
    assert "broken" in bench("table", "--failures").stdout

    listed = json.loads(bench("table", "--failures", "--format", "json").stdout)
    assert {(row["mesh"], row["status"]) for row in listed} == {("broken", "bad-input")}
    heading = bench("table", "--failures", "-f", "csv").stdout.splitlines()[0]
    assert heading == "dataset,mesh,codec,rates,pass,status,stage,error"
    assert "-f csv" in bench("table", "--per-mesh", "-f", "markdown", code=2).stderr
    header = bench("table", "--per-mesh", "--no-timing").stdout.splitlines()[0].split(",")
    assert "cd_p2s" in header
    assert not {"measure_s", "encode_s", "decode_s", "decode_peak_rss_bytes"} & set(header)

    assert bench("table", "-f", "html").stdout.startswith("<table>\n<caption>shapes, split all, effort standard<")
    chosen = json.loads(bench("choose", "--max-kb", "1000", "-f", "json").stdout)
    assert {"test-exact", "test-set"} == {row["codec"] for row in chosen}
    assert any(row["pareto"] is True for row in chosen)
    nothing = bench("choose", "--max-kb", "1e-9", "-f", "json", code=1)
    assert json.loads(nothing.stdout) == []
    assert "nothing meets all constraints" in nothing.stderr

    shares = json.loads(bench("table", "-k", "shares", "--against", "test-set", "-f", "json").stdout)
    assert {(row["codec"], row["against"], row["metric"]) for row in shares} == {("test-exact", "test-set", "cd_p2s")}
    assert "-k bd compares all pairs" in bench("table", "-k", "bd", "--against", "test-set", code=2).stderr
    assert "no codec nobody in" in bench("table", "-k", "shares", "--against", "nobody", code=2).stderr

    figures = bench("plot", "--kind", "rd").stdout.split()
    assert [f.rsplit(".", 1)[1] for f in figures] == ["png", "pdf"]
    assert (tmp_path / figures[0]).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / figures[1]).read_bytes().startswith(b"%PDF")

    assert "known: rd, timing" in bench("plot", "--kind", "pie", code=2).stderr

    (listed,) = json.loads(bench("list", "runs", "--format", "json").stdout)
    assert (listed["run"], listed["ok"], listed["bad_input"], listed["failed"]) == ("shapes-all-standard", 12, 4, 0)
    assert listed["last_finished"]


def test_a_reader_that_leaves_early_is_no_failure(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "gcbench.bench.cli", "list", "metrics"]
        done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_failures_give_exit_code_1_and_are_named(bench):
    arguments = ("--rate", "enc-raise", "--limit", "2", "--suite", "topology")
    done = bench("run", "-d", "shapes", "-c", "test-bad", *arguments, code=1)
    assert "failed: test-bad enc-raise on shapes/shape0: ValueError: a bug over two lines" in done.stderr
    assert "1 failed, 1 bad input" in done.stdout
    assert "Traceback" not in done.stderr


def test_json_summary_is_json_and_nothing_else(bench):
    arguments = ("-d", "shapes", "-c", "test-exact", "--rate", "d1", "--suite", "topology", "--format", "json")
    summary = json.loads(bench("run", *arguments).stdout)
    assert (summary["codings"], summary["coded"], summary["measured"], summary["bad_input"]) == (4, 3, 3, 1)
    assert list(summary["bad_inputs"]) == ["shapes/broken"]


@pytest.fixture
def kept(folder, tmp_path, go) -> Run:
    """A run where the command line finds it, that was measured by one suite."""
    store = Run(tmp_path / "results" / "runs" / "shapes-all-standard")
    go(make_plan(str(folder), "test-exact", rates=["d1"]), store, suites=["topology"])
    return store


def test_measure_adds_to_a_run_and_encodes_nothing(bench, kept, log):
    out = bench("measure", "--suite", "volume,topology").stdout
    assert "6 measurements of 3 decoded meshes: 3 kept from before, 3 now" in out
    assert "next: bench table shapes-all-standard" in out
    assert "3 measurements of 3 decoded meshes: 3 kept from before, 0 now" in bench("measure", "-s", "volume").stdout
    # bench run finds them too, and adds to the default suites what has a plus.
    again = bench("run", "-d", "shapes", "-c", "test-exact", "--rate", "d1", "--suite", "topology,volume").stdout
    assert "4 kept from before, 0 coded now; 0 measurements now" in again
    assert not log("encode")
    assert all("volume" in r.suites for r in kept.records() if r.status == "ok")


def test_measure_says_what_it_cannot(bench, kept, folder):
    assert "has no coding of the chosen" in bench("measure", "-c", "draco", code=2).stderr
    assert "no run at" in bench("measure", "elsewhere", code=2).stderr
    assert "did you mean volume" in bench("measure", "-s", "volum", code=2).stderr
    assert "--folder is DATASET=FOLDER" in bench("measure", "--folder", "shapes", code=2).stderr
    folder.rename(folder.parent / "moved")
    done = bench("measure", "-s", "topology,volume", code=3)
    assert "not measured: 3 codings: the input meshes are not here" in done.stderr
    moved = bench("measure", "-s", "topology", "--folder", f"shapes={folder.parent / 'moved'}").stdout
    assert "3 measurements of 3 decoded meshes: 3 kept from before, 0 now" in moved


def test_suites_are_named_or_added_to_the_default_ones():
    assert suites_of("") == list(DEFAULT_SUITES)
    assert suites_of("volume,paper") == ["volume", "paper"]
    assert suites_of("+volume") == [*DEFAULT_SUITES, "volume"]
    assert suites_of("+volume,paper") == [*DEFAULT_SUITES, "volume"]
    with pytest.raises(UsageError, match="did you mean volume"):
        suites_of("+volum")


def test_limits_are_of_one_task(monkeypatch):
    monkeypatch.setattr(machine, "memory_bytes", lambda: 100 << 30)
    assert limit_of("3600", None, jobs=4) == TaskLimits(3600.0, 20 << 30, 80 << 30)
    assert limit_of("3600", None, jobs=4, sets=1).set_memory_bytes == 80 << 30, "a set that runs alone has everything"
    assert limit_of("3600", None, jobs=4, sets=2).set_memory_bytes == 40 << 30
    assert limit_of("3600", None, jobs=4, sets=9).set_memory_bytes == 20 << 30
    assert limit_of("none", 1.5, jobs=4, sets=9) == TaskLimits(None, 3 << 29)
    for wrong in ("-1", "0", "soon", "nan", "inf"):
        with pytest.raises(UsageError, match="--deadline is a"):
            limit_of(wrong, None, jobs=1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "-d", "nonsense"], 2, "nonsense"),
        (["run", "-c", "drako"], 2, "did you mean draco"),
        (["run", "-d", "shapes", "-c", "test-absent"], 3, "needs a program that nobody has; write it"),
        (["run", "-d", "ama", "--split", "paper", "-c", "draco"], 3, "error:"),
        (["run", "--jobs", "0"], 2, "jobs"),
        (["run", "-d", "shapes", "-c", "test-exact", "--timing", "-j", "1", "--threads", "4"], 2, "runs alone"),
        (["run", "-d", "shapes", "--timing", "--cluster", "local:2"], 2, "leave out --cluster"),
        (["run", "-d", "shapes", "-c", "test-exact", "--suite", "papr"], 2, "did you mean paper"),
        (["run", "-d", "shapes", "-c", "test-exact", "--deadline", "soon"], 2, "--deadline is a number of seconds"),
        (["measure"], 2, "make one with: bench run"),
        (["table"], 2, "make one with: bench run"),
        (["plot", "nothing"], 2, "no run at"),
        (["no-such-command"], 2, "No such command"),
        (["points"], 2, "No such command"),
        (["volumes"], 2, "No such command"),
    ],
)
def test_errors_are_one_line_with_a_code(bench, arguments, code, message):
    done = bench(*arguments, code=code)
    assert message in done.stderr


def test_merge(bench, tmp_path, folder, go):
    for name, rate in (("a", "d1"), ("b", "d2")):
        go(make_plan(str(folder), "test-exact", rates=[rate], limit=2), Run(tmp_path / name), suites=["topology"])
    merged = bench("merge", "./a", "./b", "--out", "./both").stdout  # ./name is a path
    assert "2 codings copied, 0 were there" in merged
    assert "4 codings" in merged
    assert not (tmp_path / "results").exists()
    rows = json.loads(bench("table", "./both", "--per-mesh", "--format", "json").stdout)
    assert [(r["mesh"], r["rate"], r["out_faces"]) for r in rows if r["status"] == "ok"] == [
        ("shape0", "d1", 320),
        ("shape0", "d2", 320),
    ]
    assert "no run in c" in bench("merge", "./c", "--out", "./both", code=3).stderr
    assert "0 codings copied, 2 were there" in bench("merge", "./a", "--out", "./both").stdout


def test_dry_run_runs_nothing(bench, tmp_path):
    out = bench("run", "-d", "shapes", "-c", "test-exact", "--dry-run").stdout
    assert "12 codings → results/runs/shapes-all-standard" in out
    assert not (tmp_path / "results").exists()


@pytest.mark.long
def test_list_codecs_shows_third_parties_missing_and_broken_ones(bench):
    text = bench("list", "codecs").stdout
    cells = [line.split("  ") for line in text.splitlines()]
    lines = [[cell.strip() for cell in line if cell.strip()] for line in cells]
    assert ["test-exact", "model", "gcbench-testing 1.0: gcbench_testing:Exact"] in [line[:3] for line in lines]
    assert ["test-exact", "quick", "d1 d2"] in lines
    assert ["test-exact", "standard, paper", "d1 d2 d3"] in lines
    assert ["test-absent", "needs a program that nobody has", "write it"] in lines
    assert "test-broken  BROKEN" in text
    assert "AttributeError" in text
    assert "test-no-weights  BROKEN  codec 'test-no-weights' from gcbench-testing 1.0" in text
    assert "fails when it is asked about itself: FileNotFoundError" in text
    rows = {row["codec"]: row for row in json.loads(bench("list", "codecs", "--format", "json").stdout)}
    assert rows["draco"]["available"]
    ladder = ["d1", "d2", "d3"]
    assert rows["test-exact"]["rates"] == {"quick": ladder[:2], "standard": ladder, "paper": ladder}
    assert "FileNotFoundError" in rows["test-no-weights"]["error"]


def test_list_datasets_says_what_is_here(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(minis, "_make", lambda family, mesh: (np.eye(3), np.array([[0, 1, 2]])))  # real ones take time
    rows = {row["dataset"]: row for row in json.loads(bench("list", "datasets", "--format", "json").stdout)["datasets"]}
    assert set(rows) >= {"ama", "dt4d", "thingi10k", "mixed"}
    assert rows["mixed"]["splits"]["mini"]["here"] == 6
    assert rows["ama"]["splits"]["all"]["here"] == 0
    assert rows["ama"]["splits"]["all"]["remedy"]


def test_help_teaches_and_is_instant(bench, tmp_path):
    begin = time.perf_counter()
    text = in_a_process(tmp_path, "--help").stdout
    assert time.perf_counter() - begin < 3  # 0.4 s on a quiet machine; importing pandas and trimesh alone takes 2 s
    assert "Exit codes" in text
    for command in ("run", "measure", "table", "plot", "data", "list"):
        assert command in text
        assert "Usage" in bench(command, "--help").stdout
    assert "Examples" in bench("run", "--help").stdout


def test_help_imports_nothing_heavy():
    heavy = {"numpy", "pandas", "trimesh", "open3d", "numba"}
    code = f"import sys, gcbench.bench.cli.verbs; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_terminated_command_leaves_no_temporary_folder(tmp_path):
    command = [sys.executable, "-m", "gcbench.bench.cli", "check", "test-faulty[fault=hangs]"]
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not list(tmp_path.glob("gcbench-check-*")):
        time.sleep(0.05)
    assert list(tmp_path.glob("gcbench-check-*"))
    process.terminate()
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert not list(tmp_path.glob("gcbench-*"))
