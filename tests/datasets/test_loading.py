import csv
import logging
import time

import numpy as np
import pytest
import trimesh

from gcbench.datasets import loading
from gcbench.datasets.base import MeshSource
from gcbench.datasets.loading import LOADER_VERSION, load
from gcbench.datasets.mesh_bytes import MeshBytes
from gcbench.errors import BadMesh, DatasetMissing
from gcbench.geometry.files import FileNotes


def _written_obj_size(mesh, path):
    with path.open("w", newline="\n") as file:
        file.writelines(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in mesh.vertices)
        file.writelines(f"f {a} {b} {c}\n" for a, b, c in mesh.faces + 1)
    return path.stat().st_size


def test_load_gives_mesh_sizes_and_hashes(cube, cube_obj, source, tmp_path):
    loaded = load(source(tmp_path / "cube.obj", cube_obj))
    expected = (cube[0] - [2, 1, 0.5]) / 2
    assert isinstance(loaded.mesh, trimesh.Trimesh)
    assert loaded.mesh.vertices.tolist() == expected.tolist()
    assert loaded.mesh.faces.tolist() == cube[1].tolist()
    assert loaded.mesh.area == pytest.approx(28 / 4)
    assert loaded.source_bytes == len(cube_obj)
    assert loaded.raw_bytes == 12 * 8 + 12 * 12
    assert loaded.obj_bytes == _written_obj_size(loaded.mesh, tmp_path / "written.obj")


def test_the_same_surface_has_one_hash_in_every_format(cube, source, tmp_path):
    mesh = trimesh.Trimesh(*cube, process=False)
    obj = load(source(tmp_path / "a.obj", mesh.export(file_type="obj").encode()))
    off = load(source(tmp_path / "a.off", mesh.export(file_type="off").encode()))
    ply = load(source(tmp_path / "a.ply", mesh.export(file_type="ply")))
    stl = load(source(tmp_path / "a.stl", mesh.export(file_type="stl")))
    assert obj.sha256 == off.sha256 == ply.sha256
    assert len({obj.source_sha256, off.source_sha256, ply.source_sha256, stl.source_sha256}) == 4
    # STL has no vertex list: the corners are merged, in the order of the facets.
    assert (len(stl.mesh.vertices), stl.mesh.is_watertight) == (8, True)
    np.testing.assert_array_equal(stl.mesh.triangles, obj.mesh.triangles)


def test_reasons_are_one_line_and_name_the_mesh(source, tmp_path):
    with pytest.raises(BadMesh, match=r"^edge \(edge\.obj\): 1 of 1 faces have fewer than three corners"):
        load(source(tmp_path / "edge.obj", b"v 0 0 0\nv 1 0 0\nf 1 2\n"))
    with pytest.raises(BadMesh, match=r"^x \(x\.dae\): unknown format '\.dae'; readable: \.obj, \.stl, \.ply, \.off"):
        load(source(tmp_path / "x.dae", b"x"))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DatasetMissing, match=r"no file .*gone\.obj"):
        load(MeshSource("test", "gone", tmp_path / "gone.obj"))
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(BadMesh, match="is a folder, not a file"):
        load(MeshSource("test", "folder", tmp_path / "folder.obj"))


QUAD = b"v 0 0 0 1\nv 1 0 0\nv 1 1 0\nv 0 1 0 2\nf 1 2 3 4\nvn 0 0 1\n"


@pytest.mark.parametrize("cached", [False, True])
def test_notes_say_what_the_reader_did_from_the_file_and_from_the_cache(cached, source, tmp_path, caplog):
    quad = source(tmp_path / "quad.obj", QUAD)
    notes = load(quad, tmp_path / "cache").notes
    if cached:
        notes = load(quad, tmp_path / "cache").notes
    remark = "vertices with a weight other than 1, which polygons do not use: 1"
    assert notes == FileNotes(polygons=1, dropped=("normals",), remarks=(remark,))
    assert caplog.text.count(remark) == 1
    with pytest.raises(BadMesh, match=r"^quad \(quad\.obj\): 1 face is larger than a triangle; polygons are refused$"):
        load(quad, tmp_path / "cache", polygons="refuse")


def _entries(cache):
    return list((cache / "meshes" / LOADER_VERSION).iterdir())


def test_cache_gives_the_same_and_spares_the_parsing(cube_obj, source, tmp_path, monkeypatch):
    src = source(tmp_path / "cube.obj", cube_obj)
    fresh = load(src, tmp_path / "cache")
    monkeypatch.setattr(MeshBytes, "read", None)  # would raise if it were called
    again = load(src, tmp_path / "cache")
    assert again.mesh.vertices.tobytes() == fresh.mesh.vertices.tobytes()
    assert again.mesh.faces.tobytes() == fresh.mesh.faces.tobytes()
    assert (again.mesh.vertices.dtype, again.mesh.faces.dtype) == (np.float64, np.int64)
    again.mesh.vertices[0] = 7  # writable, and the cache does not notice
    assert load(src, tmp_path / "cache").sha256 == fresh.sha256 == again.sha256
    assert [p.name for p in _entries(tmp_path / "cache")] == [f"{fresh.source_sha256}-0-obj"]


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b"", lambda b: b[:80] + b"\1" + b[81:], lambda b: b[:-1] + b"!", lambda b: b * 2],
)
def test_a_damaged_cache_entry_is_made_again(damage, cube_obj, source, tmp_path, caplog):
    src = source(tmp_path / "cube.obj", cube_obj)
    fresh = load(src, tmp_path / "cache")
    (entry,) = _entries(tmp_path / "cache")
    good = entry.read_bytes()
    entry.write_bytes(damage(good))
    with caplog.at_level(logging.WARNING):
        assert load(src, tmp_path / "cache").sha256 == fresh.sha256
    assert "is damaged and is made again" in caplog.text
    assert entry.read_bytes() == good


def test_the_same_bytes_under_another_suffix_are_another_cache_entry(cube, source, tmp_path):
    stl = trimesh.Trimesh(*cube).export(file_type="stl")
    load(source(tmp_path / "a.stl", stl), tmp_path / "cache")
    with pytest.raises(BadMesh):
        load(source(tmp_path / "a.obj", stl), tmp_path / "cache")


def test_bad_meshes_are_not_cached_and_an_unwritable_cache_is_not_fatal(cube_obj, source, tmp_path, caplog):
    with pytest.raises(BadMesh):
        load(source(tmp_path / "bad.obj", b"v 0 0 0\n"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    (tmp_path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert load(source(tmp_path / "cube.obj", cube_obj), tmp_path / "cache").raw_bytes == 240
    assert "cannot write the mesh cache" in caplog.text


def test_a_crash_while_writing_leaves_no_entry(cube_obj, source, tmp_path, monkeypatch):
    def crash(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(loading.Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        load(source(tmp_path / "cube.obj", cube_obj), tmp_path / "cache")
    assert _entries(tmp_path / "cache") == []


def test_anime_frame(anime_bytes, cube, source, tmp_path):
    frames = np.stack([cube[0], cube[0] + np.linspace(0, 1, 24).reshape(8, 3)]).astype(np.float32)
    data = anime_bytes(frames, cube[1])
    first, second = (load(source(tmp_path / "a.anime", data, frame), tmp_path / "cache") for frame in (0, 1))
    assert first.sha256 != second.sha256
    assert first.source_sha256 != second.source_sha256
    assert first.source_bytes + second.source_bytes == len(data)
    assert first.mesh.vertices.tolist() == ((cube[0] - [2, 1, 0.5]) / 2).tolist()
    with pytest.raises(BadMesh, match=r"a \(a\.anime, frame 2\): has no frame 2; its frames are 0 to 1"):
        load(source(tmp_path / "a.anime", data, 2))


@pytest.mark.slow
def test_every_real_mesh_agrees_with_the_manifest(real_data):
    with (real_data / "MANIFEST.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = []
    for row in rows:
        loaded = load(MeshSource(row["dataset"], row["id"], real_data / row["path"]))
        counts = (str(len(loaded.mesh.vertices)), str(len(loaded.mesh.faces)))
        if (*counts, loaded.source_sha256, str(loaded.source_bytes)) != (
            row["vertices"],
            row["faces"],
            row["sha256"],
            row["bytes"],
        ):
            wrong.append(row["path"])
        assert np.abs(loaded.mesh.bounds).max() == 1
        np.testing.assert_array_equal(loaded.mesh.bounds[0], -loaded.mesh.bounds[1])
    assert len(rows) > 100
    assert wrong == []


def test_obj_bytes_of_a_real_mesh_is_that_of_a_written_file(real_data, tmp_path):
    path = sorted((real_data / "ama").rglob("mesh_*.obj"))[0]
    loaded = load(MeshSource("ama", "m", path))
    assert loaded.obj_bytes == _written_obj_size(loaded.mesh, tmp_path / "written.obj")


@pytest.mark.benchmark
def test_a_cached_mesh_of_20_000_faces_loads_ten_times_as_fast(source, tmp_path):
    sphere = trimesh.creation.icosphere(subdivisions=5)  # 20 480 faces
    src = source(tmp_path / "sphere.obj", sphere.export(file_type="obj").encode())
    load(src, tmp_path / "cache")

    def best(cache):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            load(src, cache)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(None) / best(tmp_path / "cache") > 10
