"""Files with more than positions and triangles, and broken ones: what a record says of each, and what a run says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import DracoPy
import meshopt
import numpy as np
import pytest
from gltf_files import Gltf, plain, primitive, rich, sphere

from gcbench.bench.plan.inventory import Inventory
from gcbench.datasets import MeshSource

VERTICES, FACES = sphere()
Files = dict[str, bytes]


def _of(*primitives: Callable[[Gltf], dict], nodes: list[dict] | None = None, **document) -> bytes:
    """A file of one mesh; ``nodes`` use it as mesh 0."""
    file = Gltf()
    file.mesh(*(make(file) for make in primitives))
    file.nodes(*(nodes or [{"mesh": 0}]))
    file.json |= document
    return file.glb()


def _surface(faces=FACES, **attributes) -> Callable[[Gltf], dict]:
    def make(file: Gltf) -> dict:
        more = {name: file.accessor(values) for name, values in attributes.items()}
        return primitive(file, VERTICES, faces, attributes=more)

    return make


def _changed(change: Callable[[dict], object]) -> bytes:
    file = plain()
    change(file.json)
    return file.glb()


def _draco() -> bytes:
    file = Gltf()
    surface = primitive(file, VERTICES, FACES)
    stream = DracoPy.encode(VERTICES, FACES.astype(np.uint32), quantization_bits=14)
    attributes = {"POSITION": DracoPy.decode(stream).attributes[0]["unique_id"]}
    surface["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": file.view(stream), "attributes": attributes}}
    file.nodes({"mesh": file.mesh(surface)})
    return file.glb()


def _meshopt() -> bytes:
    file = Gltf()
    surface = primitive(file, VERTICES, FACES.astype(np.uint32))
    coded = meshopt.encode_gltf_buffer(FACES.astype(np.uint32).ravel(), "TRIANGLES")
    view = file.json["bufferViews"][file.view(coded)]
    compressed = {"buffer": 0, "byteOffset": view["byteOffset"], "byteLength": len(coded), "byteStride": 4,
                  "count": FACES.size, "mode": "TRIANGLES"}  # fmt: skip
    place = file.view(b"", extensions={"EXT_meshopt_compression": compressed})
    file.json["accessors"][surface["indices"]]["bufferView"] = place
    file.nodes({"mesh": file.mesh(surface)})
    return file.glb()


def _points(file: Gltf) -> dict:
    return {"mode": 0, "attributes": {"POSITION": file.accessor(VERTICES)}}


def _morph(file: Gltf) -> dict:
    return primitive(file, VERTICES, FACES, targets=[{"POSITION": file.accessor(VERTICES)}])


def _strip(file: Gltf) -> dict:
    points = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [2, 0, 0]], np.float32)
    return primitive(file, points, np.arange(5, dtype=np.uint16), mode=5)


def _fan(file: Gltf) -> dict:
    return _strip(file) | {"mode": 6}


def _no_indices(file: Gltf) -> dict:
    return {"attributes": {"POSITION": file.accessor(VERTICES[FACES].reshape(-1, 3))}}


def _quantised(file: Gltf) -> dict:
    whole = np.round(VERTICES * 32767).astype(np.int16)
    return {"attributes": {"POSITION": file.accessor(whole, normalized=True)}, "indices": file.accessor(FACES.ravel())}


_BESIDE = plain()
_WEIGHTS = np.full((42, 4), 0.25, np.float32)
_SKIN = _surface(JOINTS_0=np.zeros((42, 4), np.uint8), WEIGHTS_0=_WEIGHTS)
_HALF = [{"mesh": 0}, {"mesh": 0, "translation": [5, 0, 0], "scale": [1, 1, -2]}]
#: Name → file, and others beside it; vertices, faces and content left out in the record.
GLTF: dict[str, tuple[Files, int, int, str | None]] = {
    "binary.glb": ({"binary.glb": plain().glb()}, 42, 80, None),
    "text.gltf": ({"text.gltf": plain().text()}, 42, 80, None),
    "beside.gltf": ({"beside.gltf": _BESIDE.text("a%20b.bin"), "a b.bin": _BESIDE.binary}, 42, 80, None),
    "bytes.glb": ({"bytes.glb": _of(_surface(FACES.astype(np.uint8)))}, 42, 80, None),
    "long.glb": ({"long.glb": _of(_surface(FACES.astype(np.uint32)))}, 42, 80, None),
    "no-indices.glb": ({"no-indices.glb": _of(_no_indices)}, 42, 80, None),
    "strip.glb": ({"strip.glb": _of(_strip)}, 5, 3, None),
    "fan.glb": ({"fan.glb": _of(_fan)}, 5, 3, None),
    "rich.glb": ({"rich.glb": rich().glb()}, 42, 80, None),  # sparse, interleaved, meshopt, transforms
    "two-nodes.glb": ({"two-nodes.glb": _of(_surface(), nodes=_HALF)}, 84, 160, None),
    "two-primitives.glb": ({"two-primitives.glb": _of(_surface(FACES[:40]), _surface(FACES[40:]))}, 42, 80, None),
    "quantised.glb": ({"quantised.glb": _of(_quantised)}, 42, 80, None),
    "draco.glb": ({"draco.glb": _draco()}, 42, 80, None),
    "meshopt.glb": ({"meshopt.glb": _meshopt()}, 42, 80, None),
    "normals.glb": ({"normals.glb": _of(_surface(NORMAL=VERTICES, TANGENT=_WEIGHTS))}, 42, 80, "normals, tangents"),
    "colours.glb": ({"colours.glb": _of(_surface(COLOR_0=VERTICES))}, 42, 80, "colours"),
    "textures.glb": (
        {"textures.glb": _of(_surface(TEXCOORD_0=VERTICES[:, :2]), images=[{"uri": "a.png"}])},
        42, 80, "texture coordinates, textures",
    ),
    "skin.glb": ({"skin.glb": _of(_SKIN, skins=[{"joints": [0]}], animations=[{}])}, 42, 80, "animations, skin"),
    "morph.glb": ({"morph.glb": _of(_morph)}, 42, 80, "morph targets"),
    "points.glb": ({"points.glb": _of(_surface(), _points)}, 42, 80, "points and lines"),
}  # fmt: skip
BROKEN: dict[str, tuple[Files, str]] = {
    "cut.glb": ({"cut.glb": plain().glb()[:-8]}, "it is cut off"),
    "no-json.gltf": ({"no-json.gltf": b"{"}, "JSON of the glTF file is broken"),
    "old.glb": ({"old.glb": _changed(lambda d: d.update(asset={"version": "1.0"}))}, "only glTF 2"),
    "unknown.glb": ({"unknown.glb": _changed(lambda d: d.update(extensionsRequired=["ACME_a"]))}, "ACME_a"),
    "index.glb": ({"index.glb": _changed(lambda d: d["accessors"][0].update(count=41))}, "uses vertex 41"),
    "circle.glb": ({"circle.glb": _changed(lambda d: d["nodes"][0].update(children=[0]))}, "form a circle"),
    "gone.gltf": ({"gone.gltf": plain().text("gone.bin")}, "needs the file 'gone.bin', which cannot be read"),
    "outside.gltf": ({"outside.gltf": plain().text("../x.bin")}, "is not a file in its folder"),
    "points-only.glb": ({"points-only.glb": _of(_points)}, "has no triangles"),
    "not-finite.glb": (
        {"not-finite.glb": _of(lambda file: primitive(file, np.where(VERTICES > 0.9, np.nan, VERTICES), FACES))},
        "vertices are NaN or infinite",
    ),
}  # fmt: skip


def _table(rows: np.ndarray, start: str) -> str:
    return "".join(f"{start}{' '.join(map(str, row))}\n" for row in rows.tolist())


def _obj() -> bytes:
    points = np.hstack([VERTICES, np.full_like(VERTICES, 0.5)])
    faces = "".join("f " + " ".join(f"{c}/{c}/{c}" for c in face) + "\n" for face in (FACES.astype(int) + 1).tolist())
    return (_table(points, "v ") + _table(VERTICES[:, :2], "vt ") + _table(VERTICES, "vn ") + faces).encode()


def _ply() -> bytes:
    names = ("x", "y", "z", "nx", "ny", "nz", "s", "t")
    head = "ply\nformat ascii 1.0\nelement vertex 42\n" + "".join(f"property float {name}\n" for name in names)
    head += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    head += "element face 80\nproperty list uchar int vertex_indices\nend_header\n"
    points = "".join(f"{' '.join(map(str, [*v, *v, *v[:2]]))} 1 2 3\n" for v in VERTICES.tolist())
    return (head + points + _table(FACES, "3 ")).encode()


def _threemf() -> bytes:
    import io
    import zipfile

    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in VERTICES.tolist())
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}" pid="9" p1="0"/>' for a, b, c in FACES.tolist())
    model = (
        '<model unit="millimeter" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02" '
        'xmlns:m="http://schemas.microsoft.com/3dmanufacturing/material/2015/02"><resources>'
        '<m:colorgroup id="9"><m:color color="#FF0000"/></m:colorgroup><object id="1"><mesh>'
        f"<vertices>{vertices}</vertices><triangles>{faces}</triangles></mesh></object></resources>"
        '<build><item objectid="1"/></build></model>'
    )
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
        'Target="/3D/3dmodel.model" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>'
        "</Relationships>"
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("_rels/.rels", relations)
        archive.writestr("3D/3dmodel.model", model)
    return file.getvalue()


OTHERS: dict[str, tuple[Files, int, int, str | None]] = {
    "rich.obj": ({"rich.obj": _obj()}, 42, 80, "colours, normals, texture coordinates"),
    "rich.ply": ({"rich.ply": _ply()}, 42, 80, "colours, normals, texture coordinates"),
    "colours.3mf": ({"colours.3mf": _threemf()}, 42, 80, "colours"),
}
READ = GLTF | OTHERS


def _write(folder: Path, files: Files) -> None:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_there_are_twenty_files_of_gltf_and_broken_ones():
    assert len(GLTF) == 20
    assert len(BROKEN) == 10


@pytest.mark.parametrize("name", READ)
def test_counts_of_a_file(name, tmp_path):
    files, vertices, faces, dropped = READ[name]
    _write(tmp_path / "files", files)
    mesh = Inventory(tmp_path / "cache").read(MeshSource("d", name, tmp_path / "files" / name))
    assert mesh.problem is None
    assert (mesh.vertices, mesh.faces, mesh.dropped) == (vertices, faces, dropped)
    assert mesh.source_bytes == sum(map(len, files.values()))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_a_mesh_with_a_problem(name, tmp_path):
    files, why = BROKEN[name]
    _write(tmp_path / "files", files)
    mesh = Inventory(tmp_path / "cache").read(MeshSource("d", name, tmp_path / "files" / name))
    assert why in mesh.problem
    assert mesh.source_bytes == len(files[name])


@pytest.mark.slow
def test_a_run_over_all_files_says_once_what_is_left_out(tmp_path):
    folder = tmp_path / "files"
    for files, *_ in (*READ.values(), *BROKEN.values()):
        _write(folder, files)
    environment = {**os.environ, "COLUMNS": "400", "GCBENCH_CACHE": str(tmp_path / "cache")}

    def bench(*arguments: str) -> str:
        command = [sys.executable, "-m", "gcbench.bench.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout

    said = bench("run", "-d", "files", "-c", "raw-zstd", "--suite", "topology", "--run", "out")
    left = [line for line in said.splitlines() if "left out" in line]
    assert left == [
        "9 meshes have content that is left out, and that counts in source_bytes: animations (1), colours (4), "
        "morph targets (1), normals (3), points and lines (1), skin (1), tangents (1), texture coordinates (3), "
        "textures (1)"
    ]
    records = {}
    for record in json.loads(bench("table", "out", "--per-mesh", "-f", "json")):
        records.setdefault(record["mesh"], record)
    assert len(records) == len(READ) + len(BROKEN)
    for name, (files, vertices, faces, dropped) in READ.items():
        record = records.get(name) or records[name.rpartition(".")[0]]
        found = (record["status"], record["vertices"], record["faces"], record["dropped"], record["source_bytes"])
        assert found == ("ok", vertices, faces, dropped, sum(map(len, files.values()))), name
    for name, (_, why) in BROKEN.items():
        record = records.get(name) or records[name.rpartition(".")[0]]
        assert record["status"] == "bad-input"
        assert why in record["error"]
