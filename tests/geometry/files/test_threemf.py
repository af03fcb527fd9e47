"""3MF: objects, components and transforms, against arrays that are known; and files that are broken."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import trimesh

from gcbench.errors import BadMesh
from gcbench.geometry.files.threemf import read_3mf

BOX = trimesh.creation.box()
_RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
    'Target="/3D/3dmodel.model" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>'
)
_MODEL = (
    '<model unit="millimeter" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02" '
    'xmlns:p="http://schemas.microsoft.com/3dmanufacturing/production/2015/06">'
)


def packed(model: str, **parts: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_rels/.rels", _RELATIONS)
        archive.writestr("3D/3dmodel.model", model)
        for name, text in parts.items():
            archive.writestr(f"3D/{name}.model", text)
    return file.getvalue()


def shape(identity: int = 1, mesh: trimesh.Trimesh = BOX, more: str = "") -> str:
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in mesh.vertices.tolist())
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}" {more}/>' for a, b, c in mesh.faces.tolist())
    return (
        f'<object id="{identity}"><mesh><vertices>{vertices}</vertices><triangles>{faces}</triangles></mesh></object>'
    )


def model(resources: str, build: str) -> str:
    return f"{_MODEL}<resources>{resources}</resources><build>{build}</build></model>"


def corners(mesh) -> np.ndarray:
    return np.asarray(mesh.vertices)[np.asarray(mesh.faces)]


def test_one_object():
    found = read_3mf(packed(model(shape(), '<item objectid="1"/>')))
    np.testing.assert_allclose(corners(found), corners(BOX))
    assert found.notes.dropped == ()


def test_objects_that_are_not_built_do_not_count():
    assert len(read_3mf(packed(model(shape(1) + shape(2), '<item objectid="2"/>'))).faces) == 12


def test_transforms_and_components_against_trimesh():
    turn = "0 1 0 -1 0 0 0 0 1 10 20 30"
    mirror = "-1 0 0 0 1 0 0 0 1 0 0 0"
    pair = f'<object id="2"><components><component objectid="1" transform="{mirror}"/><component objectid="1"/>'
    found = read_3mf(
        packed(model(shape() + pair + "</components></object>", f'<item objectid="2" transform="{turn}"/>'))
    )
    matrix = np.eye(4)
    matrix[:3] = np.array(turn.split(), float).reshape(4, 3).T
    expected = trimesh.transform_points(BOX.vertices, matrix)
    np.testing.assert_allclose(corners(found)[12:], expected[BOX.faces])
    assert trimesh.Trimesh(found.vertices[:8], found.faces[:12]).volume == pytest.approx(1)


def test_a_part_in_a_file_of_its_own():
    other = model(shape(7), "")
    found = read_3mf(packed(model("", '<item objectid="7" p:path="/3D/other.model"/>'), other=other))
    np.testing.assert_allclose(corners(found), corners(BOX))


def test_what_is_left_out_is_named():
    resources = '<basematerials id="9"><base name="a" displaycolor="#fff"/></basematerials>' + shape(
        more='pid="9" p1="0"'
    )
    assert read_3mf(packed(model(resources, '<item objectid="1"/>'))).notes.dropped == ("materials",)


def test_a_file_of_trimesh_comes_back():
    pytest.importorskip("lxml")  # trimesh writes 3MF with it
    scene = trimesh.Scene([BOX, trimesh.creation.icosphere(1).apply_translation((4, 0, 0))])
    found = read_3mf(scene.export(file_type="3mf"))
    assert len(found.faces) == 92
    np.testing.assert_allclose([found.vertices.min(0), found.vertices.max(0)], scene.bounds)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


GOOD = packed(model(shape(), '<item objectid="1"/>'))
LOOP = '<object id="2"><components><component objectid="2"/></components></object>'
BROKEN = {
    "no archive": (b"solid", "no ZIP archive"),
    "cut off": (_cut(GOOD), "no ZIP archive"),
    "no build": (packed(model(shape(), "")), "builds no triangles"),
    "no object": (packed(model("", '<item objectid="3"/>')), "uses object '3'"),
    "a circle": (packed(model(LOOP, '<item objectid="2"/>')), "contain themselves"),
    "broken XML": (packed("<model>"), "XML of '3D/3dmodel.model' is broken"),
    "a doctype": (packed('<!DOCTYPE x [<!ENTITY a "b">]><model/>'), "DOCTYPE"),
    "no number": (
        packed(model(shape().replace('x="-0.5"', 'x="one"'), '<item objectid="1"/>')),
        "a number of the model",
    ),
    "no corner": (packed(model(shape().replace('v1="0"', ""), '<item objectid="1"/>')), "a number of the model"),
    "out of range": (packed(model(shape().replace('v1="0"', 'v1="99"'), '<item objectid="1"/>')), "uses vertex 99"),
    "bad transform": (packed(model(shape(), '<item objectid="1" transform="1 2"/>')), "not twelve"),
    "missing part": (packed(model("", '<item objectid="7" p:path="/3D/x.model"/>')), "has no part '3D/x.model'"),
    "a bomb": (packed(model("", " " * 30_000_000)), "more than 1000 times its size"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name):
    data, why = BROKEN[name]
    with pytest.raises(BadMesh, match=why):
        read_3mf(data)


def test_changed_bytes_are_refused_or_read():
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(GOOD)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        try:
            assert len(read_3mf(bytes(data)).faces)
        except BadMesh:
            continue


def test_a_thousand_copies_of_everything():
    """Ten levels of ten components each: 10^10 copies of a box."""
    levels = "".join(
        f'<object id="{k}"><components>{f"""<component objectid="{k - 1}"/>""" * 10}</components></object>'
        for k in range(2, 12)
    )
    with pytest.raises(BadMesh, match=r"many more triangles|100000 times"):
        read_3mf(packed(model(shape() + levels, '<item objectid="11"/>')))
