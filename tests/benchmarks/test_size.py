"""Budgets at the size of the paper: 200 000 records in seconds and within a gibibyte, on two idle cores.

    pytest -m benchmark tests/benchmarks/test_size.py -s

GCBENCH_RECORDS gives another number of records; the budgets are for 200 000. The runs are made once, in the temporary
folder, and found again there by later calls.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from gcbench.bench.store.run import Run

sys.path.insert(0, str(Path(__file__).parent))
import synthetic  # beside this file

RECORDS = int(os.environ.get("GCBENCH_RECORDS", "200000"))
GIBIBYTE_KB = 1 << 20
pytestmark = pytest.mark.benchmark

#: What a person types, and its budget in seconds.
COMMANDS = {
    "table": ("table", "{run}"),
    "bd": ("table", "{run}", "-k", "bd"),
    "choose": ("choose", "{run}", "--max-kb", "20"),
    "plot": ("plot", "{run}", "--out", "{out}"),
}
BUDGET_S = {"table": 5, "bd": 20, "choose": 5, "plot": 20}
RESUME = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import synthetic
    from gcbench.bench.run.outstanding import Outstanding
    from gcbench.bench.run.runner import _records_of
    from gcbench.bench.run.work import TaskLimits
    from gcbench.bench.store.run import Run
    units = list(synthetic.units(synthetic.meshes(int(sys.argv[3])), timing=False))
    for unit in units:
        unit.key
    begin = time.monotonic()
    with (store := Run(Path(sys.argv[2]))).writing():
        work = Outstanding(store, synthetic.suites(), TaskLimits())
        for unit in units:
            work.want(unit)
        work.settle()
        records = _records_of(work.wanted.values(), store)
    assert work.tasks == []
    assert len(records) == sum(len(unit.meshes) for unit in units)
    print("seconds", time.monotonic() - begin)
"""


def run_of(records: int) -> Path:
    """The synthetic run of a size, with its view."""
    path = Path(tempfile.gettempdir()) / f"gcbench-synthetic-{records}"
    if not (path / "sessions.jsonl").exists():  # written last
        for file in path.glob("*"):
            file.unlink()
        if path.exists():
            path.rmdir()
        synthetic.write(path, records)
    cost("list", "runs")  # compile what is imported
    cost("table", str(path))  # the view
    return path


def cost(*command: str) -> tuple[float, int]:
    """Seconds and kilobytes of memory of one call of ``bench``."""
    return timed([sys.executable, "-m", "gcbench.bench.cli", *command])


def timed(command: list[str]) -> tuple[float, int]:
    """Elapsed seconds, and the largest resident memory in kB."""
    done = subprocess.run(["/usr/bin/time", "-f", "%e %M", *command], capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    seconds, kilobytes = done.stderr.split()[-2:]
    if found := re.search(r"^seconds (\S+)$", done.stdout, re.MULTILINE):
        seconds = found[1]
    return float(seconds), int(kilobytes)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_keeps_its_budget(name, tmp_path):
    path = run_of(RECORDS)
    seconds, kilobytes = cost(*(part.format(run=path, out=tmp_path) for part in COMMANDS[name]))
    sys.stdout.write(f"\n{name}: {seconds:.1f} s of {BUDGET_S[name]} s, {kilobytes / 1024:.0f} MiB of 1024 MiB\n")
    assert seconds <= BUDGET_S[name]
    assert kilobytes <= GIBIBYTE_KB


@pytest.mark.parametrize("name", COMMANDS)
def test_ten_times_the_records_take_at_most_ten_times_the_time(name, tmp_path):
    few, many = run_of(RECORDS // 10), run_of(RECORDS)
    seconds = [
        min(cost(*(part.format(run=path, out=tmp_path) for part in COMMANDS[name]))[0] for _ in range(2))
        for path in (few, many)
    ]
    sys.stdout.write(f"\n{name}: {seconds[0]:.1f} s and {seconds[1]:.1f} s\n")
    assert seconds[1] <= 10 * seconds[0]


def test_a_complete_run_resumes_within_ten_seconds():
    path = run_of(RECORDS)
    script = textwrap.dedent(RESUME)
    seconds, kilobytes = timed([sys.executable, "-c", script, str(Path(__file__).parent), str(path), str(RECORDS)])
    sys.stdout.write(f"\nresume: {seconds:.1f} s of 10 s, {kilobytes / 1024:.0f} MiB of 1024 MiB\n")
    assert seconds <= 10
    assert kilobytes <= GIBIBYTE_KB


def test_the_view_of_a_run_is_made_in_half_a_minute():
    path = run_of(RECORDS)
    next(path.glob("view-*.duckdb")).unlink()
    seconds, kilobytes = cost("table", str(path))
    sys.stdout.write(f"\nfirst table: {seconds:.1f} s of 30 s, {kilobytes / 1024:.0f} MiB of 1024 MiB\n")
    assert Run(path).exists
    assert seconds <= 30
    assert kilobytes <= GIBIBYTE_KB
