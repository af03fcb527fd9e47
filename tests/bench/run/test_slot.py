"""One cell through real workers, with codecs that misbehave in every way the runner promises to survive."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from gcbench.bench.run.slot import Bench, Limit
from gcbench.bench.plan.planning import Cell, PlannedMesh, plan
from gcbench.errors import StoreError


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    import trimesh

    path = tmp_path_factory.mktemp("shapes") / "shapes"
    path.mkdir()
    trimesh.creation.icosphere(2).export(path / "sphere.ply")
    trimesh.creation.torus(2, 0.5).export(path / "torus.ply")
    return path


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(limit=Limit(deadline_s=60, memory_bytes=900 << 20), logs=tmp_path_factory.mktemp("logs"))
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def hasty_bench(tmp_path_factory):
    bench = Bench(limit=Limit(deadline_s=1.5), logs=tmp_path_factory.mktemp("logs"))
    yield bench
    bench.close()


def cells(shapes, codec, **more) -> dict[str, Cell]:
    made = plan(str(shapes), codec, limit=more.pop("limit", 1), **more).cells
    return {cell.rate.label: cell for cell in made}


def test_a_good_cell_has_everything(bench, shapes):
    cell = cells(shapes, "test-exact")["d3"]
    outcome = bench.run(cell)
    (record,) = outcome.records
    assert record.status == "ok"
    assert record.mesh == "sphere"
    assert record.mesh_bytes == len(outcome.streams[0]) == record.stream_bytes
    assert record.shared_bytes == 0
    assert record.bits_per_vertex == 8 * record.mesh_bytes / 162
    assert 0 < record.encode.wall_s < 1
    assert 0 < record.decode.cpu_s < 1
    assert record.encode.peak_rss_bytes >= record.encode.rss_before_bytes > 10 << 20
    assert 0 < record.metrics["cd_p2s"] < 5e-4  # three decimals
    assert record.metrics["cd"] == pytest.approx(record.metrics["cd_floor"], rel=0.02)
    assert record.facts["in_faces"] == record.facts["out_faces"] == 320
    assert record.facts["out_watertight"]


def test_the_same_cell_gives_the_same_quality(bench, shapes):
    cell = cells(shapes, "test-exact")["d2"]
    one, two = bench.run(cell), bench.run(cell)
    assert one.streams == two.streams
    assert one.records[0].metrics == two.records[0].metrics


@pytest.mark.parametrize(
    ("rate", "status", "stage", "error"),
    [
        ("enc-raise", "failed", "encode", "ValueError: a bug over two lines"),
        ("dec-raise", "failed", "decode", "ValueError: a bug over two lines"),
        ("dec-corrupt", "failed", "decode", "BitstreamError: bad magic"),
        ("enc-segv", "crashed", "encode", "SIGSEGV"),
        ("dec-segv", "crashed", "decode", "SIGSEGV"),
        ("enc-exit", "crashed", "encode", "exit code 7"),
        ("enc-leave", "crashed", "encode", "SIGSEGV"),
        ("enc-litter", "crashed", "encode", "exit code 7"),
        ("enc-eat", "out-of-memory", "encode", "limit is 900 MiB"),
        ("dec-eat", "out-of-memory", "decode", "limit is 900 MiB"),
        ("enc-nothing", "failed", "encode", "CodecFailed"),
        ("enc-text", "failed", "encode", "returned 1 streams of str"),
        ("dec-nothing", "failed", "decode", "NoneType, not trimesh"),
        ("dec-text", "failed", "decode", "str, not trimesh"),
        ("dec-nan", "failed", "measure", "CodecFailed"),
    ],
)
def test_whatever_a_codec_does_there_is_a_record(bench, shapes, rate, status, stage, error):
    (record,) = bench.run(cells(shapes, "test-bad")[rate]).records
    assert (record.status, record.stage) == (status, stage)
    assert error in record.error
    assert not list(bench._scratch.iterdir())
    assert "\n" not in record.error


@pytest.mark.parametrize("rate", ["enc-hang", "dec-hang", "enc-program"])
def test_an_overrun_is_killed_with_its_programs_and_the_next_cell_runs(hasty_bench, shapes, rate):
    begin = time.monotonic()
    (record,) = hasty_bench.run(cells(shapes, "test-bad")[rate]).records
    assert time.monotonic() - begin < 10
    assert (record.status, record.stage) == ("timeout", "encode" if rate.startswith("enc") else "decode")
    programs = [
        p for p in psutil.process_iter(["cmdline"]) if str(hasty_bench._scratch) in " ".join(p.info["cmdline"] or [])
    ]
    assert not [p for p in programs if p.status() != psutil.STATUS_ZOMBIE]
    assert hasty_bench.run(cells(shapes, "test-exact")["d3"]).records[0].status == "ok"


def test_a_full_disk_stops_the_run_instead_of_blaming_the_codec(bench, shapes):
    with pytest.raises(StoreError, match="no disk space"):
        bench.run(cells(shapes, "test-bad")["enc-full"])


def test_an_input_that_changes_during_the_run_stops_it(bench, tmp_path):
    import trimesh

    folder = tmp_path / "f"
    folder.mkdir()
    trimesh.creation.box().export(folder / "a.ply")
    cell = cells(folder, "test-exact")["d3"]
    trimesh.creation.box(extents=(1, 2, 3)).export(folder / "a.ply")
    with pytest.raises(StoreError, match=r"a\.ply changed"):
        bench.run(cell)


def test_an_input_that_vanishes_during_the_run_stops_it(tmp_path):
    import trimesh

    folder = tmp_path / "f"
    folder.mkdir()
    trimesh.creation.box().export(folder / "a.ply")
    cell = cells(folder, "test-exact")["d3"]
    (folder / "a.ply").unlink()
    bench = Bench()
    with pytest.raises(StoreError, match=r"a\.ply changed"):
        bench.run(cell)
    bench.close()
    assert not bench._scratch.exists()


def test_a_worker_killed_from_outside_gets_another_chance(bench, shapes):
    good = cells(shapes, "test-exact")["d3"]
    before = bench.run(good)
    for worker in bench._workers.values():
        psutil.Process(worker.pid).kill()
    after = bench.run(good)
    assert after.records[0].status == "ok"
    assert after.records[0].metrics == before.records[0].metrics


def test_set_codec_shares_bytes_and_skips_bad_meshes(bench, shapes):
    (cell,) = cells(shapes, "test-set", limit=None).values()
    bad = PlannedMesh(cell.meshes[0].source, problem="no good")
    bad = type(bad)(**{**bad.__dict__, "source": type(bad.source)("shapes", "bad", shapes / "bad.ply")})
    cell = type(cell)(**{**{k: v for k, v in cell.__dict__.items() if k != "key"}, "meshes": (*cell.meshes, bad)})
    outcome = bench.run(cell)
    by_mesh = {record.mesh: record for record in outcome.records}
    assert by_mesh["bad"].status == "bad-input"
    assert by_mesh["bad"].error == "no good"
    good = [by_mesh["sphere"], by_mesh["torus"]]
    assert sum(r.stream_bytes for r in good) == len(outcome.streams[0])
    assert {r.shared_bytes for r in good} == {12}
    assert {r.set_size for r in good} == {2}
    assert all(r.metrics["cd_p2s"] < 1e-4 for r in good)


def test_timing_pass_repeats_and_measures_nothing(shapes):
    bench = Bench(cores=(min(os.sched_getaffinity(0)),))
    try:
        (record,) = bench.run(cells(shapes, "test-exact", timing=True)["d3"]).records
    finally:
        bench.close()
    assert record.timing
    assert record.encode.repeats == record.decode.repeats == 5
    assert not record.metrics


def test_a_stream_that_does_not_decode_is_kept_with_its_size(bench, shapes):
    outcome = bench.run(cells(shapes, "test-bad")["dec-corrupt"])
    (record,) = outcome.records
    assert outcome.streams == (b"corrupt",)
    assert record.stream_bytes == 7
    assert record.encode.wall_s > 0
    assert record.decode is None
