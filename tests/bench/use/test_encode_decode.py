"""``bench encode`` and ``bench decode``: files go there and back, bad files are one line, p2s is that of a run."""

from __future__ import annotations

import re
from dataclasses import replace

import igl
import numpy as np
import point_cloud_utils as pcu
import pytest
import trimesh

from gcbench.bench.store.run import Run
from gcbench.bench.use.decoding import read_stream_file
from gcbench.codecs import CODECS
from gcbench.datasets.minis import generate
from gcbench.entropy.container import Container


@pytest.fixture
def meshes(tmp_path):
    """Two meshes in coordinates of their own, as files ``sphere.ply`` and ``ring.obj``."""
    for name, mesh in (
        ("sphere.ply", trimesh.creation.icosphere(3, 5.0)),
        ("ring.obj", trimesh.creation.torus(2, 0.5)),
    ):
        mesh.apply_translation((100.0, 20.0, -3.0))
        mesh.export(tmp_path / name)
    return tmp_path


def distance(path, original) -> float:
    """Largest distance from the vertices of a decoded file to the original surface."""
    decoded = trimesh.load_mesh(path)
    return float(off(decoded.vertices, original).max())


def off(points, original):
    squared, _, _ = igl.point_mesh_squared_distance(np.asarray(points), np.asarray(original.vertices), original.faces)
    return np.sqrt(squared)


def said_p2s(text: str) -> float:
    return float(re.search(r"p2s (?:of the worst )?([\d.e-]+)", text)[1])


def test_a_mesh_goes_there_and_back(bench, meshes):
    said = bench("encode", "sphere.ply", "-c", "draco", "--rate", "q10", "-o", "out").stdout
    file = meshes / "out/sphere.draco.q10.gcb"
    assert f"out/sphere.draco.q10.gcb: {file.stat().st_size} bytes, {len(read_stream_file(file).stream)} of" in said
    original = trimesh.load_mesh(meshes / "sphere.ply")
    faces_of = {"obj": lambda path: pcu.load_mesh_vf(str(path))[1], "glb": lambda path: trimesh.load_mesh(path).faces}
    for suffix, faces in faces_of.items():
        bench("decode", "out/sphere.draco.q10.gcb", "-o", "m", "--format", suffix)
        path = meshes / f"m/sphere.draco.q10.{suffix}"
        assert distance(path, original) < 5 * 2 / 2**10
        assert len(faces(path)) == len(original.faces)
    bench("decode", "out/sphere.draco.q10.gcb", "-o", "n", "--normalised")
    low, high = trimesh.load_mesh(meshes / "n/sphere.draco.q10.obj").bounds
    assert np.allclose(low, -1, atol=1e-3)
    assert np.allclose(high, 1, atol=1e-3)


@pytest.mark.slow
def test_p2s_bytes_and_ratio_are_those_of_a_run(bench, meshes, tmp_path):
    (tmp_path / "folder").mkdir()
    (meshes / "ring.obj").rename(tmp_path / "folder/ring.obj")
    bench("run", "-d", tmp_path / "folder", "-c", "draco", "--rate", "q08", "--suite", "surface", "--run", "r")
    (record,) = Run(tmp_path / "results/runs/r").records()
    said = bench("encode", "folder/ring.obj", "-c", "draco", "--rate", "q08", "-o", "out").stdout
    assert said_p2s(said) == pytest.approx(record.metrics["cd_p2s"], rel=1e-3)  # four digits are printed
    file = read_stream_file(tmp_path / "out/ring.draco.q08.gcb")
    assert len(file.stream) == record.mesh_bytes
    assert f"ratio {record.obj_bytes / record.mesh_bytes:.1f};" in said


def test_a_mesh_comes_out_of_a_run(bench, meshes, tmp_path):
    (tmp_path / "folder/sub").mkdir(parents=True)
    (meshes / "ring.obj").rename(tmp_path / "folder/sub/ring.obj")
    (meshes / "sphere.ply").rename(tmp_path / "folder/sphere.ply")
    bench(
        "run",
        "-d",
        tmp_path / "folder",
        "-c",
        "draco,test-set",
        "--rate",
        "q08,only",
        "--suite",
        "topology",
        "--run",
        "r",
    )
    bench("decode", "r", "--mesh", "sub/ring", "-o", "m")
    original = trimesh.load_mesh(tmp_path / "folder/sub/ring.obj")
    for name, most in (("draco.q08", 0.02), ("test-set.only", 2e-4)):
        assert distance(tmp_path / f"m/sub-ring.{name}.obj", original) < most
    (tmp_path / "folder/sub/ring.obj").unlink()
    out = bench("decode", "r", "--mesh", "sub/ring", "-c", "test-set", "-o", "n", "-f", "ply")
    assert "sub/ring stays normalised" in out.stderr
    assert trimesh.load_mesh(tmp_path / "n/sub-ring.test-set.only.ply").bounds[1].max() == pytest.approx(1, abs=1e-4)
    assert "--mesh NAME" in bench("decode", "r", code=2).stderr
    assert "no mesh 'x'" in bench("decode", "r", "--mesh", "x", code=2).stderr


def test_a_set_is_one_file_and_becomes_a_folder(bench, meshes, tmp_path, log):
    said = bench("encode", "sphere.ply", "ring.obj", "-c", "test-set", "--rate", "only", "-o", "out").stdout
    assert "bytes for 2 meshes" in said
    encoded = len(log("decode"))
    bench("decode", "out/set-of-2.test-set.only.gcb", "-o", "m")
    assert len(log("decode")) == encoded + 1, "a set is decoded once for all its meshes"
    for name in ("sphere.ply", "ring.obj"):
        path = tmp_path / "m/set-of-2.test-set.only" / name.replace(".ply", ".obj")
        assert distance(path, trimesh.load_mesh(tmp_path / name)) < 1e-3
    bench("decode", "out/set-of-2.test-set.only.gcb", "-o", "one", "--mesh", "ring")
    assert [path.name for path in (tmp_path / "one/set-of-2.test-set.only").iterdir()] == ["ring.obj"]
    assert "there are: sphere, ring" in bench("decode", "out/set-of-2.test-set.only.gcb", "--mesh", "x", code=2).stderr


def test_the_best_rate_within_a_size(bench, meshes, tmp_path):
    sizes = {}
    for rate in ("q07", "q08", "q09", "q10", "q11", "q12", "q13", "q14"):
        bench("encode", "sphere.ply", "-c", "draco", "--rate", rate, "-o", "all")
        sizes[rate] = (tmp_path / f"all/sphere.draco.{rate}.gcb").stat().st_size
    for bound in (sizes["q10"], sizes["q11"] - 1):  # both bounds: the last size that fits, and one byte too few
        said = bench("encode", "sphere.ply", "-c", "draco", "--max-kb", bound / 1000, "-o", "out").stdout
        assert "out/sphere.draco.q10.gcb" in said
        assert said.count(" kB") <= 4, "eight rates are bisected"
        assert said_p2s(said) > 0
    none = bench("encode", "sphere.ply", "-c", "draco", "--max-kb", "0.2", "-o", "none", code=1)
    assert f"no rate of draco has at most 0.2 kB; smallest is q07 {sizes['q07'] / 1000:.4g} kB" in none.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_the_smallest_rate_as_close(bench, meshes, tmp_path):
    p2s = {
        rate: said_p2s(bench("encode", "sphere.ply", "-c", "draco", "--rate", rate, "-o", "all").stdout)
        for rate in ("q09", "q10")
    }
    between = (p2s["q09"] + p2s["q10"]) / 2
    said = bench("encode", "sphere.ply", "-c", "draco", "--max-p2s", between, "-o", "out").stdout
    assert "out/sphere.draco.q10.gcb" in said
    assert "tried: " in said
    size = (tmp_path / "out/sphere.draco.q10.gcb").stat().st_size / 1000
    assert bench("encode", "sphere.ply", "-c", "draco", "--max-p2s", between, "--max-kb", size, "-o", "out")
    both = bench("encode", "sphere.ply", "-c", "draco", "--max-p2s", between, "--max-kb", size - 0.001, code=1).stderr
    assert "meets both bounds; the smallest of --max-p2s is q10" in both
    closest = bench("encode", "sphere.ply", "-c", "draco", "--max-p2s", "1e-9", code=1).stderr
    assert "p2s of at most 1e-09; the closest is q14" in closest


def test_a_codec_that_fails_is_one_line(bench, meshes):
    said = bench("encode", "sphere.ply", "-c", "test-bad", "--rate", "enc-raise", code=1).stderr
    assert said.startswith("sphere: test-bad enc-raise failed at encode:")
    assert said.count("\n") == 1
    hangs = bench("encode", "sphere.ply", "-c", "test-bad", "--rate", "enc-hang", "--deadline", "1", code=1).stderr
    assert "timeout at encode" in hangs


def test_wrong_usage_is_one_line(bench, meshes, tmp_path):
    (tmp_path / "bad.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    (tmp_path / "x").mkdir()
    (tmp_path / "x/ring.obj").write_bytes((tmp_path / "ring.obj").read_bytes())
    (tmp_path / "note.txt").write_text("x")
    draco = ("-c", "draco", "--rate", "q10")
    for arguments, code, says in (
        (("sphere.ply", "-c", "draco"), 2, "give either --rate, or --max-kb"),
        (("sphere.ply", *draco, "--max-kb", "2"), 2, "give either --rate, or --max-kb"),
        (("sphere.ply", "-c", "draco", "--rate", "q99"), 2, "has no rate 'q99'; its rates are: q08"),
        (("sphere.ply", "-c", "drako", "--rate", "q10"), 2, "did you mean draco"),
        (("sphere.ply", "-c", "test-absent", "--rate", "d1"), 3, "cannot run here"),
        (("nothing.ply", *draco), 2, "there is no file nothing.ply"),
        (("x", *draco), 2, "x is a folder"),
        (("note.txt", *draco), 2, "is no mesh file; possible are .obj"),
        (("ring.obj", "x/ring.obj", *draco), 2, "two meshes have the name ring"),
        (("bad.obj", *draco), 3, "bad.obj"),
    ):
        said = bench("encode", *arguments, code=code).stderr
        assert says in said
        assert said.count("\n") == 1


def test_bad_files_are_one_line_each_and_the_others_are_decoded(bench, meshes, tmp_path):
    bench("encode", "sphere.ply", "-c", "draco", "--rate", "q10", "-o", ".")
    good = read_stream_file(tmp_path / "sphere.draco.q10.gcb")
    (tmp_path / "cut.gcb").write_bytes(good.pack()[:-9])
    (tmp_path / "text.gcb").write_text("this is no stream at all")
    (tmp_path / "other.gcb").write_bytes(Container(b"GCF", 2, "bench encode").pack(b""))
    (tmp_path / "junk.gcb").write_bytes(replace(good, stream=b"DRACO junk").pack())
    (tmp_path / "foreign.gcb").write_bytes(replace(good, codec="my-codec").pack())
    (tmp_path / "absent.gcb").write_bytes(replace(good, codec="test-absent").pack())
    names = ("cut", "text", "other", "junk", "foreign", "absent")
    said = bench("decode", *(f"{name}.gcb" for name in names), "sphere.draco.q10.gcb", "-o", "m", code=3)
    lines = said.stderr.splitlines()
    assert len(lines) == len(names)
    for line, name, why in zip(
        lines,
        names,
        (
            "checksum",
            "not a stream of bench encode",
            "version 2",
            "does not decode",
            "not installed",
            "cannot run here",
        ),
        strict=True,
    ):
        assert line.startswith(f"error: {name}.gcb")
        assert why in line
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["sphere.draco.q10.obj"]
    assert "there is no file nothing.gcb" in bench("decode", "nothing.gcb", code=2).stderr
    assert "choose in a run" in bench("decode", "sphere.draco.q10.gcb", "-c", "draco", code=2).stderr


def test_another_version_decodes_only_if_the_mesh_is_the_same(bench, meshes, tmp_path):
    bench("encode", "sphere.ply", "-c", "test-exact", "--rate", "d2", "-o", ".")
    file = read_stream_file(tmp_path / "sphere.test-exact.d2.gcb")
    older = replace(file, codec_version="0")
    (tmp_path / "older.gcb").write_bytes(older.pack())
    bench("decode", "older.gcb", "-o", "m")
    other = replace(older, meshes=(replace(older.meshes[0], decoded_hash=b"12345678"),))
    (tmp_path / "other.gcb").write_bytes(other.pack())
    said = bench("decode", "other.gcb", code=3).stderr
    assert "test-exact 0 wrote the stream; the installed version 1 decodes another mesh" in said


EVERY = (
    ("raw-zstd", "z19", 1e-6),
    ("draco", "q10", 0.002),
    ("draco-qem", "d0400", 0.05),
    ("pcgcv2", "b8r2", 0.03),
    ("ni", "l4w16q", 0.2),
    ("keyspheres", "n32l6w16q", 0.2),
    ("pruned-mlp", "w48s70q", 0.2),
    ("nglod", "lod1s150", 0.2),
    ("necgs", "k32w16", 0.2),
    ("necgs[design=sparse]", "", 0.2),
    ("quantdeepsdf", "k32w128", 0.2),
)


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "rate", "most"), EVERY)
def test_every_codec_that_can_run_here(bench, tmp_path, codec, rate, most):
    """Two minis: the file decodes to a mesh that trimesh and Open3D read, and p2s is that of a run."""
    (tmp_path / "minis").mkdir()
    for name, vertices, faces in list(generate("humans"))[:2]:
        trimesh.Trimesh(vertices, faces, process=False).export(tmp_path / "minis" / f"{name.replace('/', '-')}.ply")
    files = sorted(path.relative_to(tmp_path) for path in (tmp_path / "minis").iterdir())
    rate = rate or CODECS.create(codec).rates("quick")[0].label
    bench("encode", *files, "-c", codec, "--rate", rate, "-o", "out", "--threads", "1")
    bench(
        "run",
        "-d",
        tmp_path / "minis",
        "-c",
        codec,
        "--rate",
        rate,
        "--effort",
        "quick",
        "--suite",
        "surface",
        "--run",
        "r",
    )
    records = {record.mesh: record for record in Run(tmp_path / "results/runs/r").records()}
    streams = sorted((tmp_path / "out").glob("*.gcb"))
    bench("decode", *(path.relative_to(tmp_path) for path in streams), "-o", "m", "-f", "ply", "--threads", "1")
    for path in sorted((tmp_path / "m").rglob("*.ply")):
        name = path.stem if path.parent.name != "m" else path.name.partition(".")[0]
        original = trimesh.load_mesh(tmp_path / "minis" / f"{name}.ply")
        decoded = trimesh.load_mesh(path)
        assert len(pcu.load_mesh_vf(str(path))[1]) == len(decoded.faces) > 0
        half = original.extents.max() / 2
        mean = off(decoded.sample(2000, seed=0), original).mean() / half
        assert mean < most
        assert records[name].metrics["cd_p2s"] < most
    said = [read_stream_file(path).stream for path in streams]
    kept = {Run(tmp_path / "results/runs/r").stream(record.stream_sha256) for record in records.values()}
    if codec.partition("[")[0] in {"raw-zstd", "draco", "draco-qem"}:
        assert set(said) == kept
