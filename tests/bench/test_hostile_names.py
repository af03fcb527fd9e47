"""Names, messages and locales that people have: never a traceback, never an escape sequence on the terminal."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gcbench.bench.plan.experiment import Experiment, read_experiment
from gcbench.datasets import minis

NAMES = (
    *(b"caf\xe9", b"new\nline", b"esc\x1b]0;title\x07", "rtl\u202e".encode(), b"-dash", b"us\x1fx", b"back\\slash"),
    *(b"quote'\"", b"a,b", b"a$b_$c^{", b"l" * 240, b"[markup]", b"{0} %s"),
)
FOLDER = b"-d\xe9, $x_$^{\x1b[31m"
RUN = "test-exact,test-set"


@pytest.fixture
def odd(tmp_path) -> Path:
    """A folder with an odd name, with meshes of odd names and one that is no file."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + FOLDER))
    path.mkdir()
    for count, name in enumerate(NAMES):
        trimesh.creation.box((1, 1, 1 + count)).export(tmp_path / "one.ply")
        (tmp_path / "one.ply").replace(path / os.fsdecode(name + b".ply"))
    (path / "pipe.obj").symlink_to("nowhere\x1b")
    return path


def in_a_process(folder, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gcbench.bench.cli", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.long
def test_odd_names_go_through_every_command(bench, odd, tmp_path):
    done = bench("run", "-d", f"./{odd.name}", "-c", RUN, "--suite", "topology")
    assert f"{len(NAMES)}/{len(NAMES) + 1}" in done.stdout
    *_, last = done.stdout.rstrip().splitlines()
    assert last.startswith("next: bench plot ")
    told = shlex.split(last.removeprefix("next: bench "))
    said = [done, bench(*told), bench("table"), bench("table", "--failures"), bench("report", "--no-meshes")]
    said += [bench("choose", "--max-kb", "100"), bench("table", "-f", "csv"), bench("list", "runs")]
    for one in said:
        for text in (one.stdout, one.stderr):
            assert not set(text) & {"\x1b", "\x07", "\u202e", "\x1f"}
            text.encode()
    rows = json.loads(bench("table", "--per-mesh", "-f", "json").stdout)
    names = {row["mesh"] for row in rows}
    assert len(names) == len(NAMES) + 1
    assert "caf\\xe9" in names
    (dataset,) = {row["dataset"] for row in rows}
    assert dataset == "-d\\xe9, $x_$^{\\x1b[31m"

    # The run finds the folder again by what it has written down.
    (file,) = (tmp_path / "results/runs").glob("*/experiment.toml")
    assert "0 coded now; 0 measurements now" in bench("run", file).stdout
    assert "all checks pass" in bench("verify", "--sample", "3", "--jobs", "1").stdout


def test_an_experiment_file_holds_names_that_are_no_unicode(tmp_path):
    text = Experiment(dataset=("caf\udce9", "a\x7f\n"), codec=("draco",)).to_toml()
    (tmp_path / "one.toml").write_text(text, encoding="utf-8")
    assert read_experiment(tmp_path / "one.toml").dataset == ("caf\\xe9", "a\x7f\n")


@pytest.mark.long
@pytest.mark.parametrize(
    "locale",
    [
        pytest.param({"PYTHONIOENCODING": "latin-1"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONIOENCODING": "ascii"}, marks=pytest.mark.slow),
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": ""},  # tox sets the last
    ],
    ids=["latin-1", "ascii", "C"],
)
def test_locales_without_our_characters(bench, odd, tmp_path, locale):
    bench("run", "-d", f"./{odd.name}", "-c", RUN, "--suite", "topology")
    commands = (
        ("table",),
        ("run", "-d", f"./{odd.name}", "-c", RUN, "--suite", "topology"),
        ("report", "--no-meshes"),
        ("list", "metrics"),
        ("choose", "--max-kb", "100"),
        ("plot", "-k", "rd"),
        ("--help",),
    )
    for command in commands[: 1 if "LC_ALL" in locale else None]:  # a process takes two seconds
        done = in_a_process(tmp_path, *command, **locale)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
        done.stdout.decode("latin-1" if locale.get("PYTHONIOENCODING") == "latin-1" else "ascii")


def test_a_folder_with_commas(bench, folder, tmp_path, monkeypatch):
    folder.rename(folder.with_name("shapes, old,"))
    run = ("-c", "test-exact", "--rate", "d1", "--suite", "topology", "--limit", "1", "-f", "json")
    assert json.loads(bench("run", "-d", "shapes, old,", *run, code=3).stdout)["bad_inputs"]  # the first is broken
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(minis, "_make", lambda family, mesh: (np.eye(3), np.array([[0, 1, 2]])))  # real ones take time
    both = bench("run", "-d", "mixed,./shapes, old,", "-c", "test-exact", "--rate", "d1", "--dry-run")
    assert "mixed (mini), shapes, old, (all)" in both.stdout


def test_very_long_names_give_runs_and_figures(bench, folder):
    deep = folder.parent / "x" / ("漢" * 80) / ("b" * 250)
    deep.parent.mkdir(parents=True)
    folder.rename(deep)
    bench("run", "-d", deep.relative_to(folder.parent), "-c", "test-exact", "--rate", "d1", "--suite", "topology")
    assert all(len(Path(file).name.encode()) < 250 for file in bench("plot", "-k", "timing").stdout.splitlines())
    bench("report", "--no-meshes")


def test_arguments_that_are_no_names(bench):
    for arguments in (
        ("table", "x" * 3000),
        ("table", "caf\udce9"),
        ("run", "-d", "\udce9" * 300),
        ("table", "\x1b[2J"),
    ):
        said = bench(*arguments, code=2).stderr
        assert said.count("\n") == 1
        assert "\x1b" not in said
