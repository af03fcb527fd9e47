"""A new codec among the codecs of a pack, on the same meshes under other names, without running another codec."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pandas as pd
import pytest
import trimesh

from gcbench.bench.analysis.beside import beside
from gcbench.bench.analysis.versions import Newest
from gcbench.bench.scaffold import new_codec
from gcbench.codecs import CODECS
from gcbench.errors import UsageError


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install the codec that ``bench new codec`` writes, until the test ends: a package in a folder of its own."""

    def call(name: str) -> str:
        (*_, module, _) = new_codec(name, tmp_path / "src")
        info = module.parent / "my_codec-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-codec\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[gcbench.codecs]\nmy-codec = my_codec:MyCodec\n")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(module.parent), os.environ["PYTHONPATH"]]))
        monkeypatch.syspath_prepend(str(module.parent))
        CODECS.refresh()
        return name

    yield call
    monkeypatch.undo()
    sys.modules.pop("my_codec", None)  # another test asks whether this module is installed
    CODECS.refresh()


@pytest.mark.long
def test_a_new_codec_among_those_of_a_pack(bench, folder, tmp_path, install):
    effort = ("--effort", "standard", "-s", "surface")
    bench("run", "-d", "shapes", "-c", "test-exact,test-set", *effort, "--run", "r")
    bench("submit", "r", "-o", "reference/shapes3", "--not-run", "ni:needs 9 h", "--no-streams")
    alone = json.loads(bench("table", "reference/shapes3", "--per-mesh", "-f", "json").stdout)
    shutil.rmtree(tmp_path / "results")
    # My copy: other names, another format, one mesh less, and one that nobody else has.
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(folder / "shape0.ply", mine / "a.ply")
    shutil.copy(folder / "shape2.ply", mine / "b.ply")
    trimesh.creation.cylinder(1, 2).export(mine / "own.ply")
    my_codec = install("my-codec")
    bench("run", "-d", "mine", "-c", my_codec, *effort, "--run", "my-run")

    done = bench("table", "my-run", "--with", "reference/shapes3", "--per-mesh", "-f", "json")
    assert "over 2 meshes; left out are 1 that are only here, and 1 only in reference/shapes3" in done.stderr
    assert "test-set coded 3 meshes together in reference/shapes3; 2 are here" in done.stderr
    rows = json.loads(done.stdout)
    assert {row["codec"] for row in rows} == {my_codec, "test-exact", "test-set"}
    assert {(row["dataset"], row["mesh"]) for row in rows} == {("mine", "a"), ("mine", "b")}
    names = {"a": "shape0", "b": "shape2"}
    theirs = {(row["codec"], row["rate"], row["mesh"]): row for row in alone}
    for row in rows:
        if row["codec"] != my_codec:
            other = theirs[row["codec"], row["rate"], names[row["mesh"]]]
            assert {name: row[name] for name in row if name in other} == other | {
                name: row[name] for name in ("dataset", "split", "mesh")
            }

    table = bench("table", "my-run", "--with", "reference/shapes3")
    assert table.stdout.count("2/2") == len({(row["codec"], row["rate"]) for row in rows})
    assert "needs 9 h" in table.stdout

    curves = bench("compare", "my-run", "reference/shapes3", code=2).stdout
    assert "BD-rate % in p2s" in curves
    assert "no coding in common, so BD-rates are shown instead" in curves
    assert "mean curves over 2 meshes" in curves

    built = bench("report", "my-run", "--with", "reference/shapes3", "--no-meshes")
    assert "results/runs/my-run/report-shapes3.html" in built.stdout
    assert "not both" in bench("report", "my-run", "my-run", "--with", "reference/shapes3", code=2).stderr


def frame(dataset: str, codec: str, hashes: str, version: str = "1", effort: str = "quick") -> pd.DataFrame:
    """A record for each letter of ``hashes``."""
    rows = [
        {
            "dataset": dataset, "split": "all", "mesh": f"{dataset}-{one}", "codec": codec, "kind": "model",
            "rate": "r", "rate_index": 0, "effort": effort, "seed": 0, "timing": False, "status": "ok",
            "device": "cpu", "cpu": "", "gpu": "", "threads": 1, "input_sha256": one, "codec_version": version,
            "set_size": 1, "cd": 0.5, "cd_p2s": 1.0,
        }
        for one in hashes
    ]  # fmt: skip
    names = ("dataset", "split", "mesh", "codec", "kind", "rate", "effort", "status", "device", "codec_version")
    return pd.DataFrame(rows).astype(dict.fromkeys(names, "category"))


def suites(**versions: str) -> dict[str, frozenset[str]]:
    return {suite: frozenset({version}) for suite, version in versions.items()}


def test_two_versions_of_a_suite_are_not_compared():
    own = Newest(frame("a", "x", "pq"), (), suites(paper="1+aa+numpy-1", surface="1+bb"))
    other = Newest(frame("b", "y", "pq"), (), suites(paper="1+aa+numpy-2", surface="1+cc"))
    found = beside(own, {"ref": other})
    assert found.notes == (
        "paper: the same code with other packages, 1+aa+numpy-1 here and 1+aa+numpy-2 in ref",
        "surface: 1+bb here and 1+cc in ref; two versions are not compared, so values of ref are left out",
    )
    ours = found.rows["codec"] == "x"
    assert found.rows["cd"].tolist() == [0.5] * 4
    assert found.rows.loc[ours, "cd_p2s"].tolist() == [1.0, 1.0]
    assert found.rows.loc[~ours, "cd_p2s"].isna().all()
    assert found.of.tolist() == [0, 0, 1, 1]
    assert list(found.rows["mesh"].cat.categories) == ["a-p", "a-q"]


def test_the_own_codec_replaces_one_of_the_same_name():
    own, other = Newest(frame("a", "x", "pq", "2")), Newest(pd.concat([frame("b", "x", "pq"), frame("b", "y", "p")]))
    found = beside(own, {"ref": other, "more": Newest(frame("c", "y", "qp", "7"))})
    assert found.notes == (
        "x is taken from here, not from ref, in version 2; there it is 1",
        "y is taken from ref, not from more",
    )
    assert sorted(zip(found.rows["codec"], found.rows["mesh"], found.of, strict=True)) == [
        ("x", "a-p", 0), ("x", "a-q", 0), ("y", "a-p", 1),
    ]  # fmt: skip


def test_efforts_are_not_mixed_and_no_mesh_in_common_is_an_error():
    own = Newest(frame("a", "x", "pq"))
    found = beside(own, {"ref": Newest(frame("b", "y", "pz", effort="standard"))})
    assert len(found.rows) == 2
    assert found.notes[0] == "over 1 meshes; left out are 1 that are only here, and 1 only in ref"
    assert "to compare: bench run --effort standard" in found.notes[1]
    with pytest.raises(UsageError, match="no mesh in common with ref"):
        beside(own, {"ref": Newest(frame("b", "y", "z"))})
    with pytest.raises(UsageError, match="no mesh is in all of ref, more"):
        beside(own, {"ref": Newest(frame("b", "y", "p")), "more": Newest(frame("b", "y", "q"))})
