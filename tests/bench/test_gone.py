"""Meshes that are no longer in their dataset do not count."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from gcbench.bench.analysis.gone import without_gone
from gcbench.bench.store.mesh_names import FILE, join_names, keep_names, read_names
from gcbench.bench.store.run import Run

RUN = ("run", "-d", "shapes", "-c", "test-exact,test-set", "--rate", "d1,only", "--suite", "topology")


def _frame(*rows):
    return pd.DataFrame(rows, columns=["dataset", "split", "mesh"]).astype("category")


def test_only_meshes_of_known_datasets_can_be_gone():
    rows = _frame(("a", "all", "x"), ("a", "all", "y"), ("a", "mini", "y"), ("b", "all", "y"), ("a", "all", "z"))
    kept, notes = without_gone(rows, {"a/all": ("x",), "c/all": ()})
    assert list(kept.index) == [0, 2, 3]
    assert notes == ("left out: 2 meshes that are no longer in a/all: y, z",)
    kept, notes = without_gone(rows, {})
    assert kept is rows
    assert notes == ()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": [1]}', "[" * 10_000])
def test_a_damaged_list_has_no_names(tmp_path, text, caplog):
    (tmp_path / FILE).write_text(text)
    assert read_names(Run(tmp_path)) == {}
    assert "is ignored" in caplog.text


def test_a_deleted_and_a_renamed_mesh_count_no_longer(bench, folder, tmp_path):
    bench(*RUN)
    assert len(json.loads(bench("table", "--per-mesh", "-f", "json").stdout)) == 8
    (folder / "shape0.ply").unlink()
    (folder / "shape1.ply").rename(folder / "new.ply")
    bench(*RUN)
    done = bench("table", "--per-mesh", "-f", "json")
    assert {row["mesh"] for row in json.loads(done.stdout)} == {"broken", "new", "shape2"}
    assert "left out: 2 meshes that are no longer in shapes/all: shape0, shape1" in done.stderr
    everything = bench("table", "--per-mesh", "-f", "json", "--gone")
    assert {row["mesh"] for row in json.loads(everything.stdout)} >= {"shape0", "shape1", "new"}
    assert "left out" not in everything.stderr
    assert "2/3" in bench("table").stdout
    assert "no longer" in bench("choose", "--max-kb", "1000").stderr
    assert "no longer" in bench("plot", "-k", "timing").stderr

    # A part of the dataset is not all of it.
    bench(*RUN, "--limit", "2", "--run", "shapes-all-standard")
    assert "2/3" in bench("table").stdout

    for path in folder.glob("*.ply"):
        path.unlink()
    bench(*RUN, code=3)
    assert "4 meshes that are no longer" in bench("table").stderr


def test_a_run_without_the_list_counts_everything(bench, folder, tmp_path):
    bench(*RUN)
    (folder / "shape0.ply").unlink()
    (tmp_path / "results/runs/shapes-all-standard" / FILE).unlink()
    assert "no longer" not in bench("table").stderr


def test_merged_runs_know_the_meshes_of_all(bench, folder, tmp_path):
    bench(*RUN, "--run", "./here")
    (folder / "shape0.ply").rename(folder / "other.ply")
    bench(*RUN, "--run", "./there")
    bench("merge", "./here", "./there", "-o", "./both")
    assert read_names(Run(tmp_path / "both"))["shapes/all"] == ("broken", "shape0", "shape1", "shape2", "other")
    assert "no longer" not in bench("table", "./both").stderr
    # Nobody knows what the dataset of a run without the list has.
    (tmp_path / "there" / FILE).unlink()
    join_names(Run(tmp_path / "both"), [Run(tmp_path / "there")])
    assert read_names(Run(tmp_path / "both")) == {}
    keep_names(Run(tmp_path / "both"), {"shapes/all": ("shape2",)})
    assert read_names(Run(tmp_path / "both")) == {"shapes/all": ("shape2",)}
