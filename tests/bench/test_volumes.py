"""A small run compared in volume: right meshes, right means, and what goes wrong is a row with a reason."""

from __future__ import annotations

import csv
import functools
import json
import shutil

import pytest
import trimesh
from typer.testing import CliRunner

from gcbench.bench import volumes
from gcbench.bench.cli import app
from gcbench.bench.metrics.volume import VolumeReference
from gcbench.bench.runner import run
from gcbench.bench.store import Run
from gcbench.bench.sweep import plan
from gcbench.bench.volumes import Compared, choose, compare, on_common_meshes, published_datasets, tables
from gcbench.errors import UsageError

CODECS = ["test-exact", "test-set", "test-bad"]
CODINGS = [("test-exact", "d1"), ("test-exact", "d3"), ("test-set", "only")]  # of codecs that behave


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Two solids, a sheet without an inside and a broken file; codecs of meshes and of the set, and one that fails."""
    folder = tmp_path_factory.mktemp("volumes") / "shapes"
    folder.mkdir()
    trimesh.creation.icosphere(2).export(folder / "ball.ply")
    (folder / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    trimesh.creation.torus(2, 0.5).export(folder / "ring.ply")
    (folder / "sheet.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    store = Run(folder.parent / "run")
    run(plan(str(folder), CODECS, rates=["d1", "d3", "only", "enc-raise", "dec-nan"]), store, threads=1)
    return store


@pytest.fixture
def copied(original, tmp_path):
    """A copy of the run in which something can be broken; its meshes stay where they are."""
    return Run(shutil.copytree(original.path, tmp_path / "run"))


@pytest.fixture(autouse=True)
def _few_points(monkeypatch):
    monkeypatch.setattr(volumes, "VolumeReference", functools.partial(VolumeReference, uniform=5_000, samples=2_000))


def by_name(rows):
    return {(row.mesh, row.codec, row.rate): row for row in rows}


def test_every_record_is_a_row(original):
    steps = []
    records = choose(original)
    rows = list(compare(original, records, progress=lambda *step: steps.append(step)))
    assert len(rows) == len(records) == len(steps) == 4 * 5
    assert steps[0] == (0, 20, "test-bad enc-raise on shapes/ball")
    found = by_name(rows)
    for mesh in ("ball", "ring"):
        coarse, fine, of_set = (found[mesh, *coding] for coding in CODINGS)
        assert coarse.status == fine.status == of_set.status == "ok"
        assert coarse.giou < 0.99 < fine.giou <= of_set.giou <= 1, "one, three and four digits"
        assert of_set.squared_cd == pytest.approx(of_set.squared_cd_floor, rel=0.1)
        assert coarse.squared_cd > fine.squared_cd
        assert 0 < coarse.union_points <= 5_000
        for record in records:
            assert record.stream_bytes is None or (
                found[record.mesh, record.codec, record.rate].stream_bytes == record.stream_bytes
            )
    assert found["ball", "test-set", "only"].squared_cd_floor != found["ring", "test-set", "only"].squared_cd_floor
    raised = found["ball", "test-bad", "enc-raise"]
    assert raised.status == "failed"
    assert raised.problem.startswith("encode: ")
    assert found["ball", "test-bad", "dec-nan"].status != "ok"
    assert {found["broken", *coding].status for coding in CODINGS} == {"bad-input"}
    assert found["sheet", "test-exact", "d1"].status == "bad-input"
    assert found["sheet", "test-exact", "d1"].problem.startswith("the reference mesh has no inside")


def test_only_what_is_asked_for(original):
    chosen = choose(original, datasets=["shapes"], codecs=["test-exact"], rates=["d3"], limit=2)
    assert [(r.mesh, r.codec, r.rate) for r in chosen] == [(mesh, "test-exact", "d3") for mesh in ("ball", "ring")]
    assert {r.mesh for r in choose(original, meshes=["ring"])} == {"ring"}
    for wrong in ({"datasets": ["shape"]}, {"meshes": ["cube"]}, {"codecs": ["draco"]}, {"rates": ["d9"]}):
        with pytest.raises(UsageError, match="there are: "):
            choose(original, **wrong)
    with pytest.raises(UsageError, match="no rate only"):
        choose(original, codecs=["test-exact"], rates=["only"])
    with pytest.raises(UsageError, match="no run at"):
        choose(Run(original.path / "nowhere"))


def test_what_is_gone_or_changed_is_a_row_that_says_so(copied, tmp_path):
    exact = choose(copied, codecs=["test-exact"], rates=["d3"], limit=2)
    stream = copied.path / "streams" / exact[0].stream_sha256[:2] / exact[0].stream_sha256
    stream.write_bytes(b"?" + stream.read_bytes()[1:])
    ball, ring = compare(copied, exact)
    assert ball.status == "failed"
    assert ball.problem.startswith("decoding it again failed: stream ")
    assert ring.status == "ok"

    moved = tmp_path / "elsewhere"
    moved.mkdir()
    trimesh.creation.torus(2, 0.5).export(moved / "ring.ply")
    trimesh.creation.icosphere(3).export(moved / "ball.ply")
    ball, ring_there = compare(copied, exact, folders={"shapes": moved})
    assert ball.problem == "the input mesh is another one than when the run was made"
    assert ring_there == ring
    (moved / "ring.ply").unlink()
    (gone,) = compare(copied, exact[1:], folders={"shapes": moved})
    assert (gone.status, gone.problem) == ("failed", "the input mesh is no longer in shapes/all")


def row(mesh, rate, giou, cd, *, size=2000.0, status="ok", codec="ni", problem=""):
    return Compared(
        "shapes", "all", mesh, codec, rate, int(rate[1:]), "quick", 0, "cpu", status, size, giou, 9, cd, 1e-4, problem
    )


def test_means_failures_and_published_figures_are_in_one_table():
    rows = [
        row("a", "r1", 0.5, 4e-4),
        row("b", "r1", 0.7, 6e-4, size=4000.0),
        row("a", "r2", 0.9, 1.02e-4),
        row("b", "r2", float("nan"), float("nan"), status="failed", problem="took too long"),
    ]
    (table,) = tables(rows)
    assert table.rows[0] == ["ni", "r1", "3.00", "60.00", "0.5000", "0.1000", "2", "0", "ours"]
    assert table.rows[1] == ["ni", "r2", "2.00", "90.00", "0.1020~", "0.1000", "1", "1", "ours"]
    assert table.rows[5] == ["NI", "", "30", "96", "0.092", "–", "–", "–", "published"]
    assert table.rows[-1] == ["key spheres", "512 spheres; 6 × 64", "158", "99.2", "0.025", "–", "–", "–", "published"]
    assert len(table.rows) == 2 + 12
    assert table.data[0]["giou"] == pytest.approx(0.6)
    assert table.data[5]["squared_cd"] == pytest.approx(9.2e-5), "in the same unit as ours"
    assert any("Li et al. (DCC 2022), Table 1, Thingi32" in note for note in table.notes)
    assert "failed, 1 codings: took too long" in table.notes
    assert any("different meshes" in note for note in table.notes)

    (common,) = tables(on_common_meshes(rows), published=None)
    assert common.rows == [
        ["ni", "r1", "2.00", "50.00", "0.4000", "0.1000", "1", "0", "ours"],
        ["ni", "r2", "2.00", "90.00", "0.1020~", "0.1000", "1", "1", "ours"],
    ]
    assert not any("different meshes" in note for note in common.notes)
    (nothing,) = tables(rows[3:], published=None)
    assert nothing.rows == [["ni", "r2", "–", "–", "–", "–", "0", "1", "ours"]]


def test_the_published_table_is_whole():
    assert published_datasets() == ["Thingi32", "ShapeNet150"]
    (table,) = tables([row("a", "r1", 0.5, 4e-4)], published="ShapeNet150")
    assert len(table.rows) == 1 + 12
    for values in table.data[1:]:
        assert 0.7 < values["giou"] < 1
        assert 2e-5 < values["squared_cd"] < 1e-3
        assert 30 <= values["kilobytes"] <= 7186


def test_the_command(original, copied, tmp_path):
    out = tmp_path / "meshes.csv"
    call = ["volumes", str(copied.path), "-c", "test-exact,test-set", "-d", "shapes", "--out", str(out)]
    before = {path: path.read_bytes() for path in copied.path.rglob("*") if path.is_file()}
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert {path: path.read_bytes() for path in copied.path.rglob("*") if path.is_file()} == before
    assert "shared volume, shapes, split all, effort standard" in result.output
    assert "bad-input, 3 codings: the reference mesh has no inside" in result.output
    assert "1/12 test-exact d1 on shapes/ball" in result.output
    with out.open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 12
    assert {r["mesh"] for r in written if r["status"] == "ok"} == {"ball", "ring"}

    result = CliRunner().invoke(app, [*call, "-f", "json", "--published", "none", "--means", "common", "--limit", "1"])
    data = json.loads(result.stdout)
    assert [(r["codec"], r["rate"], r["ok"]) for r in data] == [(*coding, 1) for coding in CODINGS]

    (copied.path / "records.jsonl").rename(tmp_path / "records.jsonl")
    (copied.path / "records.jsonl").touch()
    assert "no record" in str(CliRunner().invoke(app, call).exception)
    (tmp_path / "records.jsonl").rename(copied.path / "records.jsonl")
    failing = CliRunner().invoke(app, ["volumes", str(copied.path), "-c", "test-bad", "--limit", "1"])
    assert failing.exit_code == 1
    assert "failed, 1 codings: encode: " in failing.output

    for wrong in (["-f", "pdf"], ["--means", "best"], ["--published", "Thingi10K"], ["-d", "shapes=nowhere"]):
        assert isinstance(CliRunner().invoke(app, ["volumes", str(copied.path), *wrong]).exception, UsageError)
