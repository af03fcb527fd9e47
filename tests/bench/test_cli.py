"""The command as a user types it, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest


@pytest.fixture
def bench(tmp_path, folder):
    """Run ``bench ...`` in a folder that has ``shapes`` in it."""

    def call(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "gcbench.bench.cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "120", "BENCH_DATA": str(tmp_path / "data"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


def test_run_table_plot_list(bench, tmp_path):
    out = bench("run", "-d", "shapes", "-c", "test-exact,test-set").stdout
    assert "shapes (all): 4 meshes; codecs: test-exact, test-set; effort standard" in out
    assert "bad input: shapes/broken:" in out
    assert "13 cells: 0 kept from before, 13 run" in out
    assert out.rstrip().endswith("next: bench plot shapes-all-standard")
    assert "13 kept from before, 0 run" in bench("run", "-d", "shapes", "-c", "test-exact,test-set").stdout

    assert "test-set" in bench("table").stdout
    assert bench("table", "shapes-all-standard", "--no-timing", "-f", "csv").stdout.count("\n") == 5
    rows = json.loads(bench("table", "--per-mesh", "--json").stdout)
    assert len(rows) == 16
    assert "broken" in bench("table", "--failures").stdout

    listed = json.loads(bench("table", "--failures", "--json").stdout)
    assert {(row["mesh"], row["status"]) for row in listed} == {("broken", "bad-input")}
    assert bench("table", "--failures", "-f", "csv").stdout.startswith("dataset,mesh,codec,rates,status,stage,error\n")
    assert "-f csv" in bench("table", "--per-mesh", "-f", "markdown", code=2).stderr
    header = bench("table", "--per-mesh", "--no-timing").stdout.splitlines()[0].split(",")
    assert "cd_p2s" in header
    assert not {"measure_s", "encode_s", "decode_s", "decode_peak_rss_bytes"} & set(header)

    figures = bench("plot", "--kind", "rd").stdout.split()
    assert [f.rsplit(".", 1)[1] for f in figures] == ["png", "pdf"]
    assert (tmp_path / figures[0]).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / figures[1]).read_bytes().startswith(b"%PDF")

    assert "known: rd, timing" in bench("plot", "--kind", "pie", code=2).stderr

    (listed,) = json.loads(bench("list", "runs", "--json").stdout)
    assert (listed["run"], listed["ok"], listed["bad_input"], listed["failed"]) == ("shapes-all-standard", 12, 4, 0)
    assert listed["last_finished"]


def test_a_reader_that_leaves_early_is_no_failure(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "gcbench.bench.cli", "list", "datasets"]
        done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_failures_give_exit_code_1_and_are_named(bench):
    done = bench("run", "-d", "shapes", "-c", "test-bad", "--rates", "enc-raise", "--limit", "2", code=1)
    assert "failed: test-bad enc-raise on shapes/shape0: ValueError: a bug over two lines" in done.stderr
    assert "0/2" in done.stdout


def test_json_summary_is_json_and_nothing_else(bench):
    summary = json.loads(bench("run", "-d", "shapes", "-c", "test-exact", "--rates", "d1", "--json").stdout)
    assert (summary["total"], summary["ran"], summary["bad_input"]) == (4, 4, 1)
    assert list(summary["bad_inputs"]) == ["shapes/broken"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "-d", "nonsense"], 2, "nonsense"),
        (["run", "-c", "drako"], 2, "did you mean draco"),
        (["run", "-d", "shapes", "-c", "test-absent"], 3, "needs a program that nobody has; write it"),
        (["run", "-d", "ama", "--split", "paper"], 3, "error:"),
        (["run", "--jobs", "0"], 2, "jobs"),
        (["run", "-d", "shapes", "-c", "test-exact", "--timing", "-j", "1", "--threads", "4"], 2, "runs alone"),
        (["table"], 2, "make one with: bench run"),
        (["plot", "nothing"], 2, "no run at"),
        (["no-such-command"], 2, "No such command"),
    ],
)
def test_errors_are_one_line_with_a_code(bench, arguments, code, message):
    done = bench(*arguments, code=code)
    assert message in done.stderr


def test_merge(bench, tmp_path):
    for name, rate in (("a", "q08"), ("b", "q10")):
        bench("run", "-d", "ama", "-c", "draco", "--rates", rate, "--limit", "1", "--run", f"./{name}")
    assert not (tmp_path / "results").exists()  # ./name is a path
    merged = bench("merge", "./a", "./b", "--into", "./both").stdout
    assert "1 cells taken in, 0 were there" in merged
    assert "2 cells" in merged
    table = bench("table", "./both").stdout
    assert "q08" in table
    assert "q10" in table
    assert "no run in c" in bench("merge", "./c", "--into", "./both", code=3).stderr


def test_dry_run_runs_nothing(bench, tmp_path):
    assert (
        "12 cells → results/runs/shapes-all-standard"
        in bench("run", "-d", "shapes", "-c", "test-exact", "--dry-run").stdout
    )
    assert not (tmp_path / "results").exists()


def test_list_codecs_shows_third_parties_missing_and_broken_ones(bench):
    text = bench("list", "codecs").stdout
    assert "test-exact  (model codec, gcbench-testing 1.0: gcbench_testing:Exact)" in text
    assert "not available: needs a program that nobody has; write it" in text
    assert "test-broken  BROKEN" in text
    assert "AttributeError" in text
    assert "test-no-weights  BROKEN  FileNotFoundError" in text
    rows = {row["codec"]: row for row in json.loads(bench("list", "codecs", "--json").stdout)}
    assert rows["draco"]["available"]
    ladder = ["d1", "d2", "d3"]
    assert rows["test-exact"]["rates"] == {"quick": ladder[:2], "standard": ladder, "paper": ladder}
    assert "FileNotFoundError" in rows["test-no-weights"]["error"]


def test_list_datasets_says_what_is_here(bench):
    rows = {row["dataset"]: row for row in json.loads(bench("list", "datasets", "--json").stdout)["datasets"]}
    assert set(rows) >= {"ama", "dt4d", "thingi10k", "mixed"}
    assert rows["mixed"]["splits"]["mini"]["here"] == 12
    assert rows["ama"]["splits"]["all"]["here"] == 0
    assert rows["ama"]["splits"]["all"]["remedy"]


def test_help_teaches_and_is_instant(bench):
    begin = time.perf_counter()
    text = bench("--help").stdout
    assert time.perf_counter() - begin < 3  # 0.4 s on a quiet machine; importing pandas and trimesh alone takes 2 s
    assert "Exit codes" in text
    for command in ("run", "table", "plot", "data", "list"):
        assert command in text
        assert "Usage" in bench(command, "--help").stdout
    assert "Examples" in bench("run", "--help").stdout


def test_help_imports_nothing_heavy():
    heavy = {"numpy", "pandas", "trimesh", "open3d", "numba"}
    code = f"import sys, gcbench.bench.cli; print(sorted({heavy} & set(sys.modules)))"
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
