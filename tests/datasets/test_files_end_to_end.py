"""A folder of files as people have them, through ``bench run``: records say what was read, and why the rest was not."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import trimesh

from gcbench.datasets.base import MeshSource
from gcbench.datasets.loading import load


def _files() -> dict[str, bytes]:
    sphere = trimesh.creation.icosphere(subdivisions=1)
    obj = "".join("v {} {} {}\n".format(*p) for p in sphere.vertices.tolist())
    obj += "".join("f {} {} {}\n".format(*f) for f in (sphere.faces + 1).tolist())
    stl = sphere.export(file_type="stl")
    box = trimesh.creation.box()
    quads = "".join("v {} {} {}\n".format(*p) for p in box.vertices.tolist())
    quads += "".join(f"f {f}\n" for f in ("1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"))
    return {
        "plain.obj": obj.encode(),
        "mark.obj": b"\xef\xbb\xbf" + obj.encode(),
        "backslash.obj": b"# C:\\\n" + obj.encode(),
        "quads.obj": quads.encode(),
        "count-zero.stl": stl[:80] + struct.pack("<I", 0) + stl[84:],
        "count-low.stl": stl[:80] + struct.pack("<I", 70) + stl[84:],
        "pointer.obj": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "wide.obj": obj.encode("utf-16"),
        "infinite.obj": (obj.partition("\n")[0].rpartition(" ")[0] + " 1.#INF\n" + obj.partition("\n")[2]).encode(),
    }


@pytest.mark.slow
def test_records_of_a_folder_of_files_as_people_have_them(tmp_path):
    (tmp_path / "meshes").mkdir()
    for name, data in _files().items():
        (tmp_path / "meshes" / name).write_bytes(data)
    command = [sys.executable, "-m", "gcbench.bench.cli", "run", "-d", "meshes", "-c", "raw-zstd", "--suite", "surface"]
    ran = subprocess.run(
        [*command, "--run", "out"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200", "GCBENCH_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ran.stdout + ran.stderr
    (lines,) = tmp_path.rglob("codings.jsonl")
    codings = [json.loads(line) for line in lines.read_text().splitlines()]
    records = {coding["meshes"][0]["mesh"]: (coding["status"], coding["meshes"][0]) for coding in codings}
    assert {name: status for name, (status, _) in records.items()} == {
        **dict.fromkeys(("plain", "mark", "backslash", "quads", "count-zero"), "ok"),
        **dict.fromkeys(("count-low", "pointer", "wide", "infinite"), "bad-input"),
    }
    mesh = {name: fields for name, (_, fields) in records.items()}
    assert mesh["plain"]["input_sha256"] == mesh["mark"]["input_sha256"] == mesh["backslash"]["input_sha256"]
    assert (mesh["quads"]["polygons"], mesh["quads"]["faces"]) == (6, 12)
    assert "polygons" not in mesh["plain"]
    assert mesh["count-zero"]["remarks"] == "the header counts 0 facets, the file holds 80"
    for name, reason in {
        "count-low": "declares 70 triangles and holds 80: the count is wrong",
        "pointer": "Git LFS pointer",
        "wide": "UTF-16",
        "infinite": "1 of 42 vertices are NaN or infinite",
    }.items():
        assert reason in mesh[name]["problem"]


def test_quads_have_the_area_of_the_box(tmp_path):
    (tmp_path / "quads.obj").write_bytes(_files()["quads.obj"])
    loaded = load(MeshSource("test", "quads", tmp_path / "quads.obj"))
    assert loaded.mesh.area == pytest.approx(24)
    assert loaded.mesh.is_watertight
    np.testing.assert_allclose(loaded.mesh.volume, 8)
