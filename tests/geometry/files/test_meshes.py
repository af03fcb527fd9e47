import contextlib
import struct
import tracemalloc
import warnings

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.datasets.normalise import clean, normalise
from gcbench.errors import BadMesh
from gcbench.geometry import files


def read(data, suffix):
    """Positions and triangles, without the notes."""
    mesh = files.read(data, suffix)
    return mesh.vertices, mesh.faces


SQUARE = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def _exports() -> dict[str, bytes]:
    """The same 80-face sphere in every format that trimesh writes."""
    sphere = trimesh.creation.icosphere(subdivisions=1)
    ascii_ply = sphere.export(file_type="ply", encoding="ascii")
    return {
        "obj": sphere.export(file_type="obj").encode(),
        "stl": sphere.export(file_type="stl"),
        "stl text": sphere.export(file_type="stl_ascii").encode(),
        "ply": sphere.export(file_type="ply"),
        "ply text": ascii_ply if isinstance(ascii_ply, bytes) else ascii_ply.encode(),
        "off": sphere.export(file_type="off").encode(),
    }


EXPORTS = _exports()


@pytest.mark.parametrize("kind", EXPORTS)
def test_reads_the_triangles_that_trimesh_wrote(kind):
    sphere = trimesh.creation.icosphere(subdivisions=1)
    vertices, faces = read(EXPORTS[kind], "." + kind.split()[0])
    assert (vertices.dtype, faces.dtype) == (np.float64, np.int64)
    np.testing.assert_allclose(vertices[faces], sphere.triangles, atol=1e-6)


def test_obj_keeps_vertices_whole_where_texture_seams_would_split_them():
    text = SQUARE + b"vt 0 0\nvt 1 1\nvn 0 0 1\nf 1/1/1 2/2/1 3/1/1\nf 1/2/1 3/2 4//1\n"
    vertices, faces = read(text, ".obj")
    assert len(vertices) == 4
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_obj_negative_indices_count_back_from_the_face():
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 5 5 5\nf -1 -2 1\n"
    assert read(text, ".obj")[1].tolist() == [[0, 1, 2], [3, 2, 0]]


def test_obj_comments_continuations_colours_and_carriage_returns():
    text = b"# a\r\nv 0 0 0 1 0 0\r\nv 1 0 \\\r\n0\r\nv 0 1 0 # b\r\ng x\r\nf 1 \\\r\n2 3\r\nl 1 2\r\n"
    vertices, faces = read(text, ".OBJ")
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("text", "suffix", "says"),
    [
        (SQUARE + b"f 1 2\n", ".obj", "1 of 1 faces have fewer than three corners"),
        (SQUARE, ".obj", "no faces, only 4 points"),
        (SQUARE + b"l 1 2\nl 2 3\n", ".obj", "no faces, only 4 points and 2 polylines"),
        (SQUARE + b"f 0 1 2\n", ".obj", "index 0"),
        (SQUARE + b"f 1 2 -5\n", ".obj", "before the first vertex"),
        (SQUARE + b"f 1 2 x\n", ".obj", "'x' stands where a whole number is due"),
        (SQUARE + b"f 1 2 99999999999999999999999\n", ".obj", "stands where a whole number is due"),
        (b"v 0 0\nf 1 1 1\n", ".obj", "vertex lines with 2 values: 1 of 1"),
        (b"v 1_0 0 0\nf 1 1 1\n", ".obj", "'1_0' stands where a number is due"),
        (b"\x00\xff" * 40, ".obj", "UTF-16"),
        (b"", ".obj", "empty"),
        (b"OFF\n4 9 0\n0 0 0\n", ".off", "declares 4 vertices and 9 faces and has 3 values"),
        (b"OFF\n-1 1 0\n3 0 0 0\n", ".off", "declares -1"),
        (b"OFF\n1 0 0\n0 0 0\n", ".off", "no faces, only 1 points"),
        (b"OFF\n1 1 0\n0 0 0\n3 0\n", ".off", "cut off"),
        (b"OFF BINARY\n", ".off", "binary OFF"),
        (b"4OFF\n1 1 0\n", ".off", "only 3-D OFF"),
        (b"nonsense", ".off", "the first word is 'nonsense'"),
        (b"nonsense", ".stl", "too short"),
        (b"x" * 80 + struct.pack("<I", 7) + b"y" * 50, ".stl", "declares 7 triangles and has room for 1"),
        (b"x" * 80 + struct.pack("<I", 0), ".stl", "no faces"),
        (b"solid a\nfacet\nouter loop\nvertex 0 0 0\n", ".stl", "cut off"),
        (b"solid a\n facet\nendsolid\n" + b" " * 80, ".stl", "cut off"),
        (b"solid a\nendsolid\n", ".stl", "no faces"),
        (b"nonsense", ".ply", "not a PLY file"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nend_header\n", ".ply", "no vertex element with one x"),
        (b"ply\nelement vertex 1\nend_header\n", ".ply", "names no format"),
        (b"ply\nformat ascii 1.0\nelement vertex -1\nend_header\n", ".ply", "not understood: 'element vertex -1'"),
        (b"ply\nformat ascii 1.0\nelement face 1\nproperty list uchar no x\nend_header\n", ".ply", "not understood"),
        (b"abc", ".fbx", "unknown format"),
    ],
)
def test_refuses_with_a_reason(text, suffix, says):
    with pytest.raises(BadMesh) as caught:
        read(text, suffix)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stl_that_begins_with_solid_and_is_binary():
    facet = struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)
    data = b"solid facet".ljust(80) + struct.pack("<I", 1) + facet
    assert read(data, ".stl")[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_signalling_nan_is_refused_without_a_warning():
    facet = struct.pack("<12I", *[0x7F800001] * 12) + b"\0\0"
    with warnings.catch_warnings(action="error"), pytest.raises(BadMesh, match="3 of 3 vertices are NaN"):
        clean(*read(b"".ljust(80) + struct.pack("<I", 1) + facet, ".stl"))


def test_stl_binary_with_bytes_behind_the_facets():
    assert len(read(EXPORTS["stl"] + b"\0" * 7, ".stl")[1]) == 80


def test_stl_text_polygon_is_cut():
    loop = "outer loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 1 1 0\nvertex 0 1 0\nendloop\n"
    mesh = files.read(f"solid a\nfacet normal 0 0 1\n{loop}endfacet\nendsolid\n".encode(), ".stl")
    assert (mesh.faces.tolist(), mesh.notes.polygons) == ([[0, 1, 2], [0, 2, 3]], 1)


@pytest.mark.parametrize(
    "header", [b"OFF\n3 1 0\n", b"OFF 3 1 0\n", b"OFF3 1 0\n", b"# x\nCOFF\n\n3 1 # y\n", b"OFF\n3 1\n"]
)
def test_off_headers_in_the_wild(header):
    vertices, faces = read(header + b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2 255 0 0\n", ".off")
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert faces.tolist() == [[0, 1, 2]]


def _ply(order: str, *, sizes=(3, 3), extra_list=False) -> bytes:
    """Square of two triangles (or other polygons), with properties in between that must be stepped over."""
    name = {"<": "binary_little_endian", ">": "binary_big_endian"}[order]
    header = (
        f"ply\nformat {name} 1.0\ncomment c\nelement junk 2\nproperty list uchar short s\nproperty double d\n"
        "element vertex 4\nproperty double x\nproperty uchar q\nproperty float y\nproperty float z\n"
        f"element face {len(sizes)}\nproperty uchar flags\n"
        + ("property list uchar float texcoord\n" if extra_list else "")
        + "property list uchar int vertex_indices\nend_header\n"
    )
    body = struct.pack(order + "BhhdBd", 2, 5, 6, 1.5, 0, 2.5)
    for x, y, z in [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]:
        body += struct.pack(order + "dBff", x, 7, y, z)
    for number, size in enumerate(sizes):
        body += struct.pack(order + "B", 1)
        if extra_list:
            body += struct.pack(f"{order}B{number}f", number, *range(number))
        corners = [0, number + 1, number + 2, 0, 0][:size]
        body += struct.pack(f"{order}B{size}i", size, *corners)
    return header.encode() + body


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("extra_list", [False, True])
def test_ply_binary_with_other_elements_lists_and_types(order, extra_list):
    vertices, faces = read(_ply(order, extra_list=extra_list), ".ply")
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(("sizes", "count"), [((3, 4), 1), ((4, 4), 2), ((4, 3), 1), ((3, 3), 0)])
def test_ply_polygons_are_counted(sizes, count):
    mesh = files.read(_ply("<", sizes=sizes), ".ply")
    assert (mesh.notes.polygons, len(mesh.faces)) == (count, sum(sizes) - 4)


def test_ply_point_cloud_says_so():
    text = (
        b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    with pytest.raises(BadMesh, match="no faces, only 2 points: not a surface"):
        read(text + b"0 0 0\n1 1 1\n", ".ply")


@pytest.mark.parametrize("n", [2**31 - 1, 10**18])
@pytest.mark.parametrize("name", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize("element", ["vertex", "face", "junk"])
def test_ply_declared_sizes_cost_no_memory(n, name, element):
    counts = {"junk": 0, "vertex": 3, "face": 1, element: n}
    text = (
        f"ply\nformat {name} 1.0\nelement junk {counts['junk']}\nproperty char c\n"
        f"element vertex {counts['vertex']}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {counts['face']}\nproperty list uint int vertex_indices\nend_header\n"
    ).encode() + b"\xff" * 64
    tracemalloc.start()
    with pytest.raises(BadMesh):
        read(text, ".ply")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_ply_list_length_is_held_against_the_file():
    text = (
        b"ply\nformat binary_little_endian 1.0\n"
        b"element vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        b"element face 1\nproperty list uint int vertex_indices\nend_header\n"
        + struct.pack("<fffI", 0, 0, 0, 2**32 - 1)
    )
    with pytest.raises(BadMesh, match="a list declares 4294967295 values"):
        read(text, ".ply")


@pytest.mark.parametrize("kind", EXPORTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused_never_more(kind, data):
    """Cut, overwrite or insert anywhere: the pipeline ends in a finite mesh or in BadMesh, with no other exception."""
    damaged = bytearray(EXPORTS[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        # As often in the header as anywhere.
        at = data.draw(st.one_of(st.integers(0, len(damaged)), st.integers(0, min(250, len(damaged)))))
        match data.draw(st.sampled_from(["cut", "overwrite", "insert", "delete"])):
            case "cut":
                del damaged[at:]
            case "overwrite":
                piece = data.draw(st.binary(min_size=1, max_size=8))
                damaged[at : at + len(piece)] = piece
            case "insert":
                damaged[at:at] = data.draw(
                    st.sampled_from([b"\n", b" ", b"-", b"nan", b"1e999", b"f 1 2 3\n", b"9" * 30])
                )
            case "delete":
                del damaged[at : at + data.draw(st.integers(1, 60))]
    try:
        with warnings.catch_warnings(action="error"):
            as_read = read(bytes(damaged), "." + kind.split()[0])
        vertices, faces = clean(*as_read)
        scaled = normalise(vertices, faces)
    except BadMesh:
        return
    assert np.abs(scaled).max() == 1
    assert 0 <= faces.min() <= faces.max() < len(scaled)


@settings(max_examples=80, deadline=None)
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".obj", ".stl", ".ply", ".off"]), headed=st.booleans())
def test_foreign_bytes_raise_nothing_but_bad_mesh(data, suffix, headed):
    magic = {".ply": b"ply\nformat ascii 1.0\n", ".off": b"OFF\n", ".stl": b"solid facet\n", ".obj": b"v 0 0 0\nf "}
    with contextlib.suppress(BadMesh):
        clean(*read((magic[suffix] if headed else b"") + data, suffix))
