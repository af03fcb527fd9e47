"""glTF: each feature by itself, against arrays that are known; and files that are broken."""

from __future__ import annotations

import contextlib

import DracoPy
import meshopt
import numpy as np
import pytest
import trimesh
from gltf_files import Gltf, plain, primitive, rich, sphere

from gcbench.errors import BadMesh
from gcbench.geometry.files.gltf import names_beside, read_gltf

VERTICES, FACES = sphere()


def corners(vertices, faces) -> np.ndarray:
    return np.asarray(vertices, float)[np.asarray(faces, int).reshape(-1, 3)]


def check(data: bytes, expected: np.ndarray, dropped: tuple[str, ...] = (), beside=None) -> None:
    found = read_gltf(data, beside)
    np.testing.assert_allclose(corners(found.vertices, found.faces), expected, atol=1e-6)
    assert found.notes.dropped == dropped


SPHERE = corners(VERTICES, FACES)


def test_binary_and_text():
    check(plain().glb(), SPHERE)
    check(plain().text(), SPHERE)
    check(b"\xef\xbb\xbf" + plain().text(), SPHERE)


def test_a_buffer_beside_the_file():
    file = plain()
    assert names_beside(file.text("a%20b.bin")) == ["a b.bin"]
    assert names_beside(file.glb()) == names_beside(file.text()) == []
    check(file.text("a%20b.bin"), SPHERE, beside={"a b.bin": file.binary})
    with pytest.raises(BadMesh, match=r"buffer 0 lies in another file, 'a\.bin'"):
        read_gltf(file.text("a.bin"))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_types_of_indices(kind):
    file = Gltf()
    file.nodes({"mesh": file.mesh(primitive(file, VERTICES, FACES.astype(kind)))})
    check(file.glb(), SPHERE)


def test_without_indices():
    file = Gltf()
    file.nodes({"mesh": file.mesh({"attributes": {"POSITION": file.accessor(SPHERE.reshape(-1, 3).astype("f4"))}})})
    check(file.glb(), SPHERE)


def test_strips_and_fans():
    points = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [2, 0, 0]], np.float32)
    for mode, faces in ((5, [[0, 1, 2], [1, 3, 2], [2, 3, 4]]), (6, [[1, 2, 0], [2, 3, 0], [3, 4, 0]])):
        file = Gltf()
        file.nodes({"mesh": file.mesh(primitive(file, points, np.arange(5, dtype=np.uint16), mode=mode))})
        check(file.glb(), corners(points, faces))


def test_transforms_of_nodes():
    """A chain of nodes against trimesh's matrices; a mirror keeps the outside outside."""
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3])
    w, x, y, z = trimesh.transformations.quaternion_from_matrix(turn)
    file = Gltf()
    mesh = file.mesh(primitive(file, VERTICES, FACES))
    mirror = np.diag([-1.0, 1, 1, 1])
    file.nodes(
        {"translation": [1, 2, 3], "rotation": [x, y, z, w], "scale": [1, 2, 3], "children": [1]},
        {"matrix": mirror.T.ravel().tolist(), "mesh": mesh},
        roots=[0],
    )
    move = trimesh.transformations.translation_matrix([1, 2, 3]) @ turn @ np.diag([1.0, 2, 3, 1]) @ mirror
    expected = trimesh.transform_points(VERTICES, move)
    check(file.glb(), corners(expected, FACES[:, ::-1]))
    found = read_gltf(file.glb())
    assert trimesh.Trimesh(found.vertices, found.faces).volume > 0


def test_two_nodes_share_a_mesh_of_two_primitives():
    file = Gltf()
    mesh = file.mesh(primitive(file, VERTICES, FACES[:40]), primitive(file, VERTICES, FACES[40:]))
    file.nodes({"mesh": mesh}, {"mesh": mesh, "translation": [5, 0, 0]})
    check(file.glb(), np.concatenate([SPHERE, SPHERE + [5, 0, 0]]))


def test_only_the_default_scene_counts():
    file = Gltf()
    mesh = file.mesh(primitive(file, VERTICES, FACES))
    file.nodes({"mesh": mesh}, {"mesh": mesh, "translation": [5, 0, 0]}, roots=[1])
    check(file.glb(), SPHERE + [5, 0, 0])
    del file.json["scenes"], file.json["scene"]
    check(file.glb(), np.concatenate([SPHERE, SPHERE + [5, 0, 0]]))


def test_what_is_left_out_is_named():
    file = Gltf()
    more = {
        "NORMAL": file.accessor(VERTICES), "TEXCOORD_0": file.accessor(VERTICES[:, :2]),
        "COLOR_0": file.accessor(VERTICES), "JOINTS_0": file.accessor(np.zeros((42, 4), np.uint8)),
    }  # fmt: skip
    lines = {"mode": 1, "attributes": {"POSITION": file.accessor(VERTICES)}}
    surface = primitive(file, VERTICES, FACES, attributes=more, targets=[{"POSITION": 0}])
    file.nodes({"mesh": file.mesh(surface, lines)})
    file.json |= {"animations": [{}], "images": [{}]}
    left = (
        "animations", "colours", "morph targets", "normals", "points and lines", "skin", "texture coordinates",
        "textures",
    )  # fmt: skip
    check(file.glb(), SPHERE, left)


def test_sparse_accessors():
    for base in (True, False):
        file = Gltf()
        start = VERTICES.copy()
        start[[3, 7]] = 9
        places = file.view(np.array([3, 7] if base else range(42), "<u2").tobytes())
        values = file.view((VERTICES[[3, 7]] if base else VERTICES).tobytes())
        surface = primitive(file, start, FACES)
        accessor = file.json["accessors"][surface["attributes"]["POSITION"]]
        accessor["sparse"] = {
            "count": 2 if base else 42, "indices": {"bufferView": places, "componentType": 5123},
            "values": {"bufferView": values},
        }  # fmt: skip
        if not base:
            del accessor["bufferView"]
        file.nodes({"mesh": file.mesh(surface)})
        check(file.glb(), SPHERE)


def test_interleaved_rows():
    file = Gltf()
    rows = np.zeros((42, 6), np.float32)
    rows[:, 3:] = VERTICES
    surface = primitive(file, VERTICES, FACES)
    file.json["accessors"][surface["attributes"]["POSITION"]] |= {
        "bufferView": file.view(rows.tobytes(), byteStride=24), "byteOffset": 12,
    }  # fmt: skip
    file.nodes({"mesh": file.mesh(surface)})
    check(file.glb(), SPHERE)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint16])
def test_quantised_positions(kind):
    file = Gltf()
    most = np.iinfo(kind).max
    whole = np.round((VERTICES if kind != np.uint16 else (VERTICES + 1) / 2) * most).astype(kind)
    surface = {
        "attributes": {"POSITION": file.accessor(whole, normalized=True)},
        "indices": file.accessor(FACES.ravel()),
    }
    file.nodes({"mesh": file.mesh(surface)})
    file.json["extensionsRequired"] = ["KHR_mesh_quantization"]
    check(file.glb(), corners(whole / most, FACES))


def test_draco():
    file = Gltf()
    stream = DracoPy.encode(VERTICES, FACES.astype(np.uint32), quantization_bits=14, preserve_order=True)
    surface = primitive(file, VERTICES, FACES)
    for number in (surface["indices"], surface["attributes"]["POSITION"]):
        del file.json["accessors"][number]["bufferView"]
    identity = DracoPy.decode(stream).attributes[0]["unique_id"]
    draco = {"bufferView": file.view(stream), "attributes": {"POSITION": identity}}
    surface["extensions"] = {"KHR_draco_mesh_compression": draco}
    file.nodes({"mesh": file.mesh(surface)})
    file.json["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    found = read_gltf(file.glb())
    back = DracoPy.decode(stream)
    np.testing.assert_array_equal(corners(found.vertices, found.faces), corners(back.points, back.faces))
    assert np.abs(found.vertices - VERTICES).max() < 2 / 2**14


@pytest.mark.parametrize("name", ["EXT_meshopt_compression", "KHR_meshopt_compression"])
@pytest.mark.parametrize("mode", ["TRIANGLES", "INDICES"])
def test_meshopt(name, mode):
    file = Gltf()
    surface = primitive(file, VERTICES, FACES.astype(np.uint32))
    rows = meshopt.encode_filter_exp(VERTICES, 24)
    for number, data, stride, of, more in (
        (surface["attributes"]["POSITION"], rows, 12, "ATTRIBUTES", {"filter": "EXPONENTIAL"}),
        (surface["indices"], FACES.astype(np.uint32).ravel(), 4, mode, {}),
    ):
        coded = meshopt.encode_gltf_buffer(data, of)
        place = file.view(coded)
        part = file.json["bufferViews"][place]
        compressed = {"buffer": 0, "byteOffset": part["byteOffset"], "byteLength": len(coded), "byteStride": stride,
                      "count": len(data), "mode": of, **more}  # fmt: skip
        file.json["accessors"][number]["bufferView"] = file.view(b"", extensions={name: compressed})
    file.nodes({"mesh": file.mesh(surface)})
    file.json["extensionsRequired"] = [name]
    found = read_gltf(file.glb())
    assert np.abs(found.vertices - VERTICES).max() < 1e-6
    got, wanted = (set(map(frozenset, faces.tolist())) for faces in (found.faces, FACES))
    assert got == wanted


def test_files_of_trimesh_come_back():
    scene = trimesh.Scene()
    for k in range(3):
        scene.add_geometry(trimesh.creation.box(), transform=trimesh.transformations.translation_matrix([2 * k, 0, 0]))
    found = read_gltf(scene.export(file_type="glb"))
    expected = scene.to_geometry()
    assert len(found.faces) == 36
    np.testing.assert_allclose(found.vertices.min(0), expected.bounds[0])
    np.testing.assert_allclose(found.vertices.max(0), expected.bounds[1])


def _with(change) -> bytes:
    file = plain()
    change(file.json)
    return file.glb()


def _first(key: str, **values):
    return lambda document: document[key][0].update(values)


def _huge_sparse(document):
    accessor = document["accessors"][0]
    del accessor["bufferView"]
    accessor |= {"count": 1 << 33, "sparse": {}}


BROKEN = {
    "no JSON": (b"{", "JSON of the glTF file is broken"),
    "nested": (b"[" * 100_000, "JSON of the glTF file is broken"),
    "not an object": (b"[1]", "not an object"),
    "cut off": (plain().glb()[:-8], "it is cut off"),
    "header alone": (b"glTF\2\0\0\0", "cut off in its header"),
    "glTF 1": (_with(lambda d: d.update(asset={"version": "1.0"})), "only glTF 2"),
    "unknown extension": (_with(lambda d: d.update(extensionsRequired=["ACME_shape"])), "ACME_shape"),
    "index out of range": (_with(_first("accessors", count=41)), "uses vertex 41"),
    "count too high": (_with(_first("accessors", count=43)), "reads 43 rows"),
    "huge count": (_with(_first("accessors", count=1 << 60)), "more values than it has bytes"),
    "huge sparse": (_with(_huge_sparse), "more values"),
    "negative offset": (_with(_first("accessors", byteOffset=-12)), "from byte -12"),
    "short buffer": (_with(_first("bufferViews", byteLength=1 << 20)), "of a buffer of"),
    "negative view": (_with(_first("bufferViews", byteOffset=-4)), "of a buffer of"),
    "cycle": (_with(lambda d: d["nodes"][0].update(children=[0])), "form a circle"),
    "no such mesh": (_with(lambda d: d["nodes"][0].update(mesh=5)), "entry 5 of meshes"),
    "no such node": (_with(lambda d: d["scenes"][0].update(nodes=[-1])), "entry -1 of nodes"),
    "strange type": (_with(_first("accessors", type="VEC9")), "the type 'VEC9'"),
    "strange component": (_with(_first("accessors", componentType=7)), "componentType 7"),
    "text for a count": (_with(_first("accessors", count="42")), "not a whole number"),
    "true for a count": (_with(_first("accessors", count=True)), "not a whole number"),
    "not a rotation": (_with(lambda d: d["nodes"][0].update(rotation=[0, 0, 0, 0])), "rotation of a node is 0"),
    "infinite": (_with(lambda d: d["nodes"][0].update(scale=[1e999, 1, 1])), "not 3 finite numbers"),
    "unknown mode": (_with(lambda d: d["meshes"][0]["primitives"][0].update(mode=9)), "unknown mode 9"),
    "no triangles": (_with(lambda d: d["meshes"][0]["primitives"][0].update(mode=0)), "no triangles"),
    "empty": (b'{"asset": {"version": "2.0"}}', "no triangles"),
    "instances": (_with(lambda d: d["nodes"][0].update(extensions={"EXT_mesh_gpu_instancing": {}})), "instances"),
    "bad base64": (plain().text("data:;base64,!!!"), "no base64"),
    "bad draco": (
        _with(lambda d: d["meshes"][0]["primitives"][0].update(
            extensions={"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {}}})), "Draco mesh is none",
    ),
    "bad meshopt": (
        _with(_first("bufferViews", extensions={"EXT_meshopt_compression": {
            "buffer": 0, "byteLength": 40, "count": 42, "byteStride": 12, "mode": "ATTRIBUTES"}})),
        "meshoptimizer cannot decode",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name):
    data, why = BROKEN[name]
    with pytest.raises(BadMesh, match=why):
        read_gltf(data)


def test_a_draco_stream_that_declares_a_billion_faces():
    hostile = b"DRACO\x02\x02\x01\x01\x00\x00" + b"\0" + b"\xff\xff\xff\xff\x03" * 2 + bytes(40)
    file = plain()
    view = file.view(hostile)
    file.json["meshes"][0]["primitives"][0]["extensions"] = {
        "KHR_draco_mesh_compression": {"bufferView": view, "attributes": {"POSITION": 0}}
    }
    with pytest.raises(BadMesh, match="declares 1073741823 faces"):
        read_gltf(file.glb())


@pytest.mark.parametrize("make", [plain, rich])
def test_any_value_of_any_field_is_refused_or_read(make):
    """Every number, text and list of a file is replaced by hostile values; nothing but BadMesh comes out."""
    hostile = [None, True, -1, 0, 7, 1 << 40, 1e308, "x", [], {}, [[]], [1e999], {"a": 1}]

    def paths(value, at=()):
        yield at
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            yield from paths(child, (*at, key))

    check(make().glb(), SPHERE)
    tried = 0
    for path in [path for path in paths(make().json) if path]:
        for value in hostile:
            file = make()
            place = file.json
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            tried += 1
            with contextlib.suppress(BadMesh):
                read_gltf(file.glb())
    assert tried > 400
