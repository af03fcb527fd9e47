"""A run that holds, and runs that were tampered with in every way that verification promises to find."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import trimesh

from gcbench.bench.cli import main
from gcbench.bench.audit.remeasure import MIN_SAMPLE, Sample, draw
from gcbench.bench.run.runner import run
from gcbench.bench.store.run import CellRecords, Run
from gcbench.bench.plan.planning import plan
from gcbench.bench.audit.verify import verify
from gcbench.errors import UsageError

NONE, ALL = Sample(count=0), Sample(fraction=1)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run over a folder: two meshes and a broken one, a model codec, a set codec, one that fails either way."""
    folder = tmp_path_factory.mktemp("verify") / "shapes"
    folder.mkdir()
    trimesh.creation.icosphere(2).export(folder / "ball.ply")
    trimesh.creation.torus(2, 0.5).export(folder / "ring.ply")
    (folder / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    made = plan(str(folder), ["test-exact", "test-set", "test-bad"], rates=["d2", "only", "enc-raise", "dec-raise"])
    store = Run(folder.parent / "run")
    run(made, store, jobs=2, threads=1)
    run(plan(str(folder), "test-exact", rates=["d2"], timing=True), store)
    return store


@pytest.fixture
def tampered(original, tmp_path):
    """A copy of the run, to be tampered with; the meshes are copied along and found through provenance."""
    shutil.copytree(original.path.parent, tmp_path / "copy")
    store = Run(tmp_path / "copy" / "run")
    sessions = store.path / "sessions.jsonl"
    was, now = (json.dumps(str(path)) for path in (original.path.parent / "shapes", store.path.parent / "shapes"))
    assert was in sessions.read_text()
    sessions.write_text(sessions.read_text().replace(was, now))
    return store


def edit(store: Run, change, *, codec="test-exact", mesh="ball", timing=False) -> None:
    """Change a record in place, its line found by codec and mesh."""
    path = store.path / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (record,) = (
        r
        for line in lines
        for r in line["records"]
        if (r["codec"], r["mesh"], r["timing"]) == (codec, mesh, timing) and r["rate"] in {"d2", "only"}
    )
    change(record)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def stream_of(store: Run, codec="test-exact", mesh="ball"):
    (sha256,) = {
        r.stream_sha256
        for r in store.records()
        if (r.codec, r.mesh, r.rate) in {(codec, mesh, "d2"), (codec, mesh, "only")}
    }
    return store.path / "streams" / sha256[:2] / sha256


def found(report) -> set[str]:
    return {finding.what for finding in report.differs}


def test_an_untouched_run_holds(original):
    before = {p: p.read_bytes() for p in original.path.rglob("*") if p.is_file()}
    seen = []
    report = verify(original, sample=ALL, jobs=2, progress=lambda *step: seen.append(step))
    assert report.differs == report.unchecked == ()
    assert report.exit_code == 0
    assert (report.meshes, report.meshes_intact) == (3, 3)
    # Of 4 measured: two meshes by the model codec, two by the set codec.
    assert (report.sampled, report.recomputed) == (4, 4)
    assert report.largest_deviation == 0
    assert report.streams == report.streams_intact == len(list(original.path.glob("streams/*/*")))
    assert report.codecs == {"test-bad": "1", "test-exact": "1", "test-set": "1"}
    assert seen[-1][:2] == (4, 4)
    assert {p: p.read_bytes() for p in original.path.rglob("*") if p.is_file()} == before


def test_a_flipped_bit_in_a_stream(tampered):
    path = stream_of(tampered)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    report = verify(tampered, sample=NONE)
    (finding,) = report.differs
    assert finding.what == "stream"
    assert "test-exact d2 on shapes/ball" in finding.where
    assert path.name in finding.message
    assert (report.streams - report.streams_intact, report.exit_code) == (1, 1)


def test_a_missing_stream_of_a_set(tampered):
    stream_of(tampered, "test-set").unlink()
    report = verify(tampered, sample=ALL)
    (finding,) = report.differs
    assert (finding.what, report.exit_code) == ("stream", 1)
    assert finding.message.endswith("and of 1 more records")
    assert (report.sampled, report.recomputed) == (4, 2)


RECORDS = {
    "mesh bytes": (lambda r: r.update(mesh_bytes=r["mesh_bytes"] - 1), {"size"}),
    "stream bytes": (lambda r: r.update(stream_bytes=r["stream_bytes"] * 0.99), {"size"}),
    "stream bytes, consistently": (
        lambda r: r.update(
            stream_bytes=r["stream_bytes"] - 100,
            mesh_bytes=r["mesh_bytes"] - 100,
            bits_per_vertex=8 * (r["stream_bytes"] - 100) / 162,
        ),
        {"size"},
    ),
    "bits per vertex": (lambda r: r.update(bits_per_vertex=r["bits_per_vertex"] / 2), {"size"}),
    "size of the input": (lambda r: r.update(obj_bytes=r["obj_bytes"] * 2), {"size", "key"}),
    "size of the file": (lambda r: r.update(source_bytes=r["source_bytes"] + 1), {"size", "key"}),
    "another stream": (lambda r: r.update(stream_sha256="0" * 64), {"stream"}),
    "another seed": (lambda r: r.update(seed=1), {"key"}),
    "another mesh": (lambda r: r.update(input_sha256="0" * 64), {"key", "input"}),
    "another rate": (lambda r: r.update(rate="d3"), {"key"}),
    "another place in the ladder": (lambda r: r.update(rate_index=0), {"key"}),
    "weights that do not ship": (lambda r: r.update(decoder_bytes=5), {"key"}),
    "a floor": (lambda r: r["metrics"].update(cd_floor=r["metrics"]["cd_floor"] * 1.01), {"metric"}),
    "a fact of the input": (lambda r: r["facts"].update(in_euler=7), {"fact"}),
    "more than all": (lambda r: r["metrics"].update(f1_p2s_001=1.2), {"metric"}),
    "not a number": (lambda r: r["metrics"].update(d1_psnr_bbox=float("nan")), {"metric"}),
    "a quantile above the largest": (lambda r: r["metrics"].update(p99_p2s=1.0), {"metric"}),
    "no metric": (lambda r: r["metrics"].pop("cd_p2s"), {"metric"}),
    "a failure with metrics": (lambda r: r.update(status="failed", stage="decode"), {"status"}),
    "ok, but with an error": (lambda r: r.update(error="hm"), {"status"}),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_contradicts_itself_or_others_needs_no_sample(tampered, name):
    change, expected = RECORDS[name]
    edit(tampered, change)
    report = verify(tampered, sample=NONE)
    assert found(report) >= expected
    assert report.exit_code == 1
    assert all("ball" in finding.where for finding in report.differs)


@pytest.mark.parametrize("name", ["mesh_bytes", "shared_bytes", "set_size", "stream_bytes"])
def test_sizes_of_a_set_add_up(tampered, name):
    edit(tampered, lambda r: r.update({name: r[name] + 1}), codec="test-set")
    assert found(verify(tampered, sample=NONE)) == {"size"}


def test_a_timing_record_has_checks_too(tampered):
    edit(tampered, lambda r: r.update(mesh_bytes=1), timing=True)
    report = verify(tampered, sample=NONE)
    assert found(report) == {"size"}
    assert all("timing pass" in finding.where for finding in report.differs)


def test_a_changed_metric_or_fact_is_found_by_measuring_again_only(tampered):
    edit(tampered, lambda r: r["metrics"].update(cd_p2s=r["metrics"]["cd_p2s"] * 0.999, nc=r["metrics"]["nc"] - 1e-6))
    edit(tampered, lambda r: r["facts"].update(out_faces=1), codec="test-set", mesh="ring")
    assert verify(tampered, sample=NONE).differs == ()
    report = verify(tampered, sample=ALL)
    fact, metric = sorted(report.differs, key=lambda finding: finding.what)
    assert metric.what == "metric"
    assert "test-exact d2 on shapes/ball" in metric.where
    assert metric.message.startswith("cd_p2s is recorded as")
    assert metric.message.endswith("(off by 0.001); also nc")
    assert fact.what == "fact"
    assert "test-set only on shapes/ring" in fact.where
    assert report.largest_deviation == pytest.approx(0.001, rel=0.01)


def test_lines_that_are_gone_or_cannot_be_read(tampered):
    path = tampered.path / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[1:]))
    (gone,) = verify(tampered, sample=NONE).differs
    assert gone.what == "session"
    assert gone.message.startswith("ran 10 cells, 9 are recorded")
    path.write_text("{nonsense\n" + "".join(lines[1:]))
    assert found(verify(tampered, sample=NONE)) == {"session", "line"}


def test_a_changed_mesh_file(tampered):
    trimesh.creation.icosphere(1).export(tampered.path.parent / "shapes" / "ball.ply")
    report = verify(tampered, sample=NONE)
    (finding,) = report.differs
    assert (finding.what, finding.where) == ("input", "shapes/ball")
    assert (report.exit_code, report.meshes_intact) == (1, 2)


def test_a_broken_mesh_file_that_was_mended_and_a_good_one_that_was_broken(tampered):
    shapes = tampered.path.parent / "shapes"
    trimesh.creation.box().export(shapes / "broken.obj")
    (shapes / "ring.ply").write_text("nothing")
    report = verify(tampered, sample=NONE)
    assert {(f.what, f.where) for f in report.differs} == {("input", "shapes/broken"), ("input", "shapes/ring")}


def test_data_that_is_not_here_is_said_and_can_be_pointed_at(tampered):
    shapes = tampered.path.parent / "shapes"
    moved = shapes.rename(shapes.with_name("elsewhere"))
    report = verify(tampered, sample=ALL)
    assert report.differs == ()
    assert [finding.what for finding in report.unchecked] == ["data"]
    assert (report.exit_code, report.meshes_intact, report.recomputed) == (3, 0, 0)
    report = verify(tampered, sample=ALL, folders={"shapes": moved})
    assert (report.exit_code, report.recomputed) == (0, 4)
    (moved / "ring.ply").unlink()
    report = verify(tampered, sample=NONE, folders={"shapes": moved})
    assert [str(finding) for finding in report.unchecked] == [
        "data: shapes: 1 meshes of the run are not on this machine"
    ]


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ('"test-exact": "1"', '"test-exact": "0"', "version 0 made the run, here is 1: 6 cells"),
        ('"metric_version": "1"', '"metric_version": "0"', "version 0 made the run, here is 1: "),
    ],
)
def test_another_version_is_said_and_not_called_a_difference(tampered, was, now, message):
    sessions = tampered.path / "sessions.jsonl"
    assert was in sessions.read_text()
    sessions.write_text(sessions.read_text().replace(was, now))
    edit(tampered, lambda r: r["metrics"].update(cd_p2s=0.5))
    report = verify(tampered, sample=ALL)
    assert report.differs == ()
    assert message in report.unchecked[0].message
    assert report.exit_code == 3
    assert report.recomputed < report.sampled


def test_keys_of_a_run_that_does_not_say_how_they_were_made(tampered):
    sessions = tampered.path / "sessions.jsonl"
    sessions.write_text(sessions.read_text().replace('"key_version"', '"keys"'))
    assert verify(tampered, sample=NONE).exit_code == 0
    edit(tampered, lambda r: r.update(rate_index=7))
    report = verify(tampered, sample=NONE)
    assert report.differs == ()
    assert [str(finding) for finding in report.unchecked] == ["version: keys: of 1 cells are not made as here"]


def test_a_codec_that_is_not_here(tampered):
    records = tampered.path / "records.jsonl"
    records.write_text(records.read_text().replace('"codec": "test-set"', '"codec": "their-codec"'))
    report = verify(tampered, sample=NONE)
    assert report.differs == ()
    (finding,) = report.unchecked
    assert finding.where == "their-codec"
    assert "unknown codec" in finding.message


def test_a_network_has_a_band_and_must_decode(tmp_path, monkeypatch):
    folder = tmp_path / "one"
    folder.mkdir()
    trimesh.creation.icosphere(2).export(folder / "ball.ply")
    store = Run(tmp_path / "run")
    run(plan(str(folder), "test-trained", rates=["d2"]), store)
    path = store.path / "records.jsonl"
    kept = path.read_text()
    line = json.loads(kept)
    metrics = line["records"][0]["metrics"]

    def found_again():
        path.write_text(json.dumps(line) + "\n")
        return [(f.what, f.message) for f in verify(store, sample=ALL).differs]

    metrics["cd_p2s"] *= 1.005
    line["records"][0]["facts"]["out_faces"] += 1  # a triangle more or less is no lie of a network
    assert found_again() == []
    metrics["cd_p2s"] *= 1.05
    metrics["cd_floor"] *= 1.001  # floors know no codec
    ((what, message),) = found_again()
    assert what == "metric"
    assert "cd_p2s is recorded as" in message
    assert message.endswith("also cd_floor")
    path.write_text(kept)
    monkeypatch.setenv("GCBENCH_TEST_DRIFT", "undecodable")
    (finding,) = verify(store, sample=ALL).differs
    assert finding.what == "status"
    assert finding.message == "is ok, now it is failed at decode: BitstreamError: drifted away"


class TestSample:
    @pytest.mark.parametrize(
        ("text", "of_1000", "of_3"),
        [("1%", 10, 3), ("0.1%", MIN_SAMPLE, 3), ("20", 20, 3), ("all", 1000, 3), ("0", 0, 0)],
    )
    def test_sizes(self, text, of_1000, of_3):
        assert Sample.parse(text).size(1000) == of_1000
        assert Sample.parse(text).size(3) == of_3

    @pytest.mark.parametrize("text", ["", "some", "-1", "101%", "nan%", "1.5"])
    def test_nonsense(self, text):
        with pytest.raises(UsageError, match="percentage"):
            Sample.parse(text)

    def test_draw(self, original):
        cells = list(original.counting().values())
        # The same cells 50 times over, as those of other runs.
        many = [CellRecords(f"{cell.key}{i}", cell.session, cell.records) for cell in cells for i in range(50)]
        assert draw(many, Sample(count=9), 1) == draw(list(reversed(many)), Sample(count=9), 1)
        assert draw(many, Sample(count=9), 1) != draw(many, Sample(count=9), 2)
        assert len(draw(many, ALL, 1)) == 200
        for seed in range(20):
            drawn = draw(many, Sample(count=1), seed)
            assert {d.record.codec for d in drawn} == {"test-exact", "test-set"}  # of each codec one
            assert len(drawn) == 2
            assert all(d.record.status == "ok" and not d.record.timing for d in drawn)

    def test_the_default_seed_is_not_known_beforehand(self, original):
        assert verify(original, sample=NONE).seed != verify(original, sample=NONE).seed


def test_no_run(tmp_path):
    with pytest.raises(UsageError, match="is not a run"):
        verify(Run(tmp_path / "nowhere"))


def test_the_command(original, tampered, monkeypatch, capsys):
    def bench(*arguments, code):
        monkeypatch.setattr(sys, "argv", ["bench", "verify", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert end.value.code == code, out + err
        return out

    out = bench(original.path, "--sample", "1", "--seed", "7", code=0)
    assert "measured    2 of 2 drawn records again (--seed 7); largest deviation 0" in out
    assert out.endswith("everything holds\n")
    edit(tampered, lambda r: r.update(mesh_bytes=1))
    assert "the run does not hold" in bench(tampered.path, "--sample", "0", code=1)
    report = json.loads(bench(tampered.path, "--sample", "0", "--json", code=1))
    assert report["exit_code"] == 1
    assert {finding["what"] for finding in report["differs"]} == {"size"}
    bench(original.path, "--sample", "some", code=2)
    bench(original.path, "-d", "shapes=nowhere", code=2)
    moved = tampered.path.parent / "shapes"
    moved.rename(moved.with_name("moved"))
    shutil.copy(original.path / "records.jsonl", tampered.path / "records.jsonl")
    bench(tampered.path, "--sample", "0", code=3)
    bench(tampered.path, "--sample", "0", "-d", f"shapes={moved.with_name('moved')}", code=0)


def test_merged_runs_that_share_cells_hold(original, tmp_path):
    """Of a cell that both coded only one is taken in, and the session of the other has lost nothing by it."""
    folder = original.path.parent / "shapes"
    again, both = Run(tmp_path / "again"), Run(tmp_path / "both")
    run(plan(str(folder), "test-exact", rates=["d2", "d3"]), again, threads=1)
    for _ in range(2):
        for part in (original, again):
            with both.writing():
                both.adopt(part)
    report = verify(both, sample=NONE)
    assert not report.differs, report.differs
    further = Run(tmp_path / "further")
    with further.writing():
        further.adopt(both)
    assert not verify(further, sample=NONE).differs
