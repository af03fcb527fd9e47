"""What one library writes, our readers read: the same positions and faces, for every format and option."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench import native
from gcbench.geometry import files

PLY_TYPES = {"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I"}
COORDINATES = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@st.composite
def meshes(draw, *, largest_face=3):
    """Any positions, any faces; corners of one face differ."""
    points = draw(
        arrays(np.float32, st.tuples(st.integers(largest_face, 12), st.just(3)), elements=COORDINATES, unique=True)
    )
    corners = st.integers(0, len(points) - 1)
    face = st.lists(corners, min_size=3, max_size=largest_face, unique=True)
    return points.astype(np.float64), draw(st.lists(face, min_size=1, max_size=8))


def assert_same(data, suffix, points, faces, tolerance=0.0):
    mesh = files.read(data, suffix)
    if suffix == ".stl":
        np.testing.assert_allclose(mesh.vertices[mesh.faces], points[np.array(faces)], rtol=tolerance, atol=0)
        return
    np.testing.assert_allclose(mesh.vertices, points, rtol=tolerance, atol=0)
    triangles = [face for face in faces if len(face) == 3]
    assert mesh.notes.polygons == len(faces) - len(triangles)
    if len(triangles) == len(faces):
        assert mesh.faces.tolist() == faces
        return
    at = 0
    for face in faces:  # a polygon becomes its triangles, in its place, with its corners
        cut = mesh.faces[at : at + len(face) - 2]
        at += len(face) - 2
        assert set(cut.ravel().tolist()) == set(face)
    assert at == len(mesh.faces)


@settings(max_examples=30, deadline=None)
@given(meshes(), st.sampled_from(["obj", "off", "ply", "ply ascii", "stl", "stl_ascii"]), st.booleans(), st.booleans())
def test_trimesh(mesh, form, normals, colours):
    points, faces = mesh
    written = trimesh.Trimesh(points, faces, process=False)
    if colours and form != "off":
        written.visual.vertex_colors = np.arange(4 * len(points), dtype=np.uint8).reshape(-1, 4)
    kind, _, encoding = form.partition(" ")
    options = {"encoding": "ascii"} if encoding else {}
    if kind in {"ply", "obj"}:
        options |= {"vertex_normal" if kind == "ply" else "include_normals": normals}
    data = written.export(file_type=kind, **options)
    exact = form in {"ply", "stl"}
    assert_same(
        data if isinstance(data, bytes) else data.encode(), f".{kind[:3]}", points, faces, 0 if exact else 1e-6
    ) if exact else _near(data, f".{kind[:3]}", points, faces)


def _near(data, suffix, points, faces):
    """Text of trimesh has eight decimals."""
    mesh = files.read(data if isinstance(data, bytes) else data.encode(), suffix)
    np.testing.assert_allclose(mesh.vertices[mesh.faces], points[np.array(faces)], rtol=1e-6, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(meshes(), st.sampled_from(["obj", "off", "ply", "stl"]), st.booleans(), st.booleans(), st.booleans())
def test_pymeshlab(tmp_path_factory, mesh, kind, binary, normals, colours):
    points, faces = mesh
    path = tmp_path_factory.mktemp("pymeshlab") / f"mesh.{kind}"
    pymeshlab = native.pymeshlab()
    meshes = pymeshlab.MeshSet()
    meshes.add_mesh(pymeshlab.Mesh(vertex_matrix=points, face_matrix=np.array(faces, np.int32)))
    options = {} if kind == "off" else {"save_vertex_normal": normals} if kind == "obj" else {"binary": binary}
    if kind in {"ply", "obj", "off"}:
        options["save_vertex_color"] = colours
    if kind in {"ply", "off"}:
        options["save_vertex_normal"] = normals
    meshes.save_current_mesh(str(path), **options)
    _near(path.read_bytes(), f".{kind}", points, faces)


@settings(max_examples=40, deadline=None)
@given(
    meshes(largest_face=6), st.sampled_from(["", "<", ">"]), st.sampled_from(list(PLY_TYPES)),
    st.sampled_from(list(PLY_TYPES)), st.sampled_from(["float", "double"]), st.sampled_from(["\n", "\r", "\r\n"]),
    st.booleans(), st.booleans(), st.sampled_from([" ", "\n", "\t"]),
)  # fmt: skip
def test_any_ply(mesh, order, count_type, index_type, xyz, newline, quality, texture, between):
    """A writer of our own: every type, order, end of line, with other properties in between."""
    points, faces = mesh
    form = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    lines = ["ply", f"format {form} 1.0", "comment end_header", f"element vertex {len(points)}", f"property {xyz} x"]
    lines += [f"property {xyz} y"] + ["property short quality"] * quality + [f"property {xyz} z"]
    lines += ["element material 1", "property list uchar float rgb", f"element face {len(faces)}"]
    lines += ["property list uchar float texcoord"] * texture
    lines += [f"property list {count_type} {index_type} vertex_index", "property uchar flags", "end_header"]
    code = {"float": "f", "double": "d"}[xyz]
    rows = [(code, x, code, y, *(("h", -7) if quality else ()), code, z) for x, y, z in points.tolist()]
    rows.append(("B", 3, "f", 0.5, "f", 0.25, "f", 0.125))
    for number, face in enumerate(faces):
        row = ["B", number, *(v for _ in range(number) for v in ("f", 0.5))] if texture else []
        row += [PLY_TYPES[count_type], len(face), *(v for i in face for v in (PLY_TYPES[index_type], i)), "B", 255]
        rows.append(tuple(row))
    if order:
        body = b"".join(struct.pack(order + "".join(r[::2]), *r[1::2]) for r in rows)
    else:
        body = newline.join(between.join(map(repr, r[1::2])) for r in rows).encode()
    assert_same(newline.join([*lines, ""]).encode() + body, ".ply", points, faces)


@settings(max_examples=40, deadline=None)
@given(
    meshes(largest_face=6),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_any_obj(mesh, newline, relative, continued, attributes, data):
    points, faces = mesh
    lines = ["# a \\", "mtllib C:\\a\\", *(f"v {x!r} {y!r} {z!r}" for x, y, z in points.tolist()), "vt 0 0", "vn 0 0 1"]
    for face in faces:
        corners = [i - len(points) if relative else i + 1 for i in face]
        ends = [data.draw(st.sampled_from(["/1", "/1/1", "//1"])) if attributes else "" for _ in face]
        lines.append(
            "f " + (f" \\{newline}" if continued else " ").join(f"{c}{e}" for c, e in zip(corners, ends, strict=True))
        )
        lines.append("usemtl b\\")
    assert_same(newline.join(lines).encode(), ".obj", points, faces)


@settings(max_examples=40, deadline=None)
@given(
    meshes(largest_face=6), st.sampled_from(["", "C", "N", "ST", "CN", "NC", "STCN"]), st.sampled_from([0, 1, 3, 4]),
    st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_any_off(mesh, kinds, face_colour, newline, comments, loose):
    points, faces = mesh
    more = 4 * ("C" in kinds) + 3 * ("N" in kinds) + 2 * ("ST" in kinds)
    rows = [[*map(repr, p), *["0.5"] * more] for p in points.tolist()]
    loose = loose and "C" not in kinds
    rows += [[str(len(f)), *map(str, f), *([] if loose else ["7"] * face_colour)] for f in faces]
    text = [f"{kinds}OFF", f"{len(points)} {len(faces)} 0"]
    text += [v for row in rows for v in row] if loose else [" ".join(r) + " # 1 2 3" * comments for r in rows]
    assert_same(newline.join(text).encode(), ".off", points, faces)


@pytest.mark.parametrize("count", [0, None])
@given(
    mesh=meshes(), attribute=st.integers(0, 65535), header=st.sampled_from([b"", b"solid a", b"\x1f\x8b", b"<html>"])
)
def test_any_binary_stl(count, mesh, attribute, header):
    points, faces = mesh
    body = b"".join(struct.pack("<12fH", 0, 0, 0, *points[f].ravel(), attribute) for f in faces)
    if count == 0 and header not in {b"", b"solid a"}:
        header = b""
    data = header.ljust(80, b"\0") + struct.pack("<I", len(faces) if count is None else 0) + body
    assert_same(data, ".stl", points, faces)
    assert bool(files.read(data, ".stl").notes.remarks) == (count == 0)
