"""Files as people have them: each is read as it says, with a remark where the reader chose, or refused with a reason.

The mesh is a tetrahedron of four triangles; `GOOD` files hold it, however they are written.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import time

import numpy as np
import pytest

from gcbench.datasets.normalise import clean
from gcbench.errors import BadMesh
from gcbench.geometry import files

POINTS = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
FACES = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
MARK = "\N{BYTE ORDER MARK}"
V = "".join(f"v {x} {y} {z}\n" for x, y, z in POINTS)
F = "".join(f"f {a + 1} {b + 1} {c + 1}\n" for a, b, c in FACES)
ROWS = "".join(f"{x} {y} {z}\n" for x, y, z in POINTS) + "".join(f"3 {a} {b} {c}\n" for a, b, c in FACES)
OFF = f"OFF\n4 4 6\n{ROWS}"


def ply(form="ascii", *, count="uchar", index="int", xyz="float", before="", after="", vertices=4, faces=4):
    return (
        f"ply\nformat {form} 1.0\n{before}element vertex {vertices}\n"
        + "".join(f"property {xyz} {axis}\n" for axis in "xyz")
        + f"element face {faces}\nproperty list {count} {index} vertex_indices\n{after}end_header\n"
    )


def ply_body(order="<", count="B", index="i", xyz="f", points=POINTS):
    kind = float if xyz in "fd" else int
    return b"".join(struct.pack(f"{order}3{xyz}", *map(kind, p)) for p in points) + b"".join(
        struct.pack(f"{order}{count}3{index}", 3, *f) for f in FACES
    )


def stl(newline="\n", name="a"):
    text = f"solid {name}\n"
    for face in FACES:
        corners = "".join("vertex {} {} {}\n".format(*POINTS[i]) for i in face)
        text += f"facet normal 0 0 0\nouter loop\n{corners}endloop\nendfacet\n"
    return f"{text}endsolid {name}\n".replace("\n", newline)


def stl_binary(count=4, header=b"", tail=b"", attribute=0):
    body = b"".join(struct.pack("<12fH", 0, 0, 0, *(x for i in f for x in POINTS[i]), attribute) for f in FACES)
    return header.ljust(80) + struct.pack("<I", count) + body + tail


PLY, LITTLE = ply() + ROWS, "binary_little_endian"
TEN = [(10, 0, 0), *POINTS[1:]]  # as int32, the body begins with the byte of a line feed; 13, of a carriage return


def off_with(keyword, of_vertex, of_face=""):
    vertices = "".join(f"{x} {y} {z} {of_vertex}\n" for x, y, z in POINTS)
    return f"{keyword}\n4 4 0\n{vertices}" + "".join(f"3 {a} {b} {c} {of_face}\n" for a, b, c in FACES)


def _lines_in_obj():
    for line in ("mtllib C:\\m\\", "usemtl a\\", "g a\\", "o a \\", "# C:\\m\\", "  # x \\", "#\\", "usemap c:\\"):
        yield f"{line}\n{V}{F}"
        yield f"{V}{F[:8]}{line}\n{F[8:]}"


GOOD = {
    ".obj": [
        *_lines_in_obj(),
        *(V + F, MARK + V + F, MARK + "# x\n" + V + F, F + V, (V + F).replace("\n", "\r"), (V + F).rstrip()),
        *(V.replace("v 0.0 1.0 0.0", "v 0.0 1.0 0.0 # a\\") + F, V + F.replace("f 1 3 2", "f 1 3 2 # a\\")),
        *(
            V + F.replace("f 1 3 2", new)
            for new in ("f 1 3 \\\n2", "f 1 \\\n3 \\\n2", "f 1 \\ \t\n3 2", "f 1 \\\r\n3 2")
        ),
        *(V + F.replace("f 1 3 2", new) for new in ("f 1/1/1 3/2 2//1", "f -4 -2 -3", "fo 1 3 2", "\tf 1 3 2  ")),
        V.replace("v 0.0 0.0 1.0", "v 0.0 \\\n 0.0 1.0") + F,
        V.replace("\n", " 1.0\n") + F,  # weights
        V.replace("\n", " 0.1 0.2 0.3\n") + F,
        V + F + "l 1 2\np 1\ncstype bspline\ndeg 3\ncurv 0 1 1 2 3 4\nparm u 0 1\nend\n",
        V + F + "#" + "x" * 3_000_000,
        (V + F + "# ä\n").encode("latin-1"),
    ],
    ".off": [
        *(OFF, MARK + OFF, OFF.replace("4 4 6", "4 4"), OFF.replace("4 4 6", "4\n4\n0"), OFF.replace("\n", " ")),
        *(OFF.replace("OFF\n", "OFF "), OFF.replace("OFF\n", "OFF"), OFF.replace("\n", "\n\n"), OFF.replace(" ", "\n")),
        *(OFF.replace("\n", "\r"), OFF.replace("\n", "\r\n"), OFF.replace("1.0 0.0 0.0\n", "1.0 0.0\n0.0 ")),
        OFF.replace("OFF", "# a\nOFF # b\n# c").replace("1.0 0.0\n", "1.0 0.0 # d\n # e\n"),
        *(off_with("COFF", "1 2 3"), off_with("COFF", "1 2 3 4"), off_with("NOFF", "0 0 1"), off_with("STOFF", ".5 1")),
        *(off_with(k, "1 2 3 4 0 0 1") for k in ("NCOFF", "CNOFF")),
        *(off_with("STCNOFF", "1 2 3 4 5 6 7 .5 .5"), off_with("OFF", "", "1"), off_with("OFF", "", ".5 .5 .5 1")),
    ],
    ".stl": [
        *(
            stl_binary(),
            stl_binary(header=b"solid"),
            stl_binary(header=b"solid facet normal\n"),
            stl_binary(attribute=7),
        ),
        *(stl(), MARK + stl(), stl("\r"), stl("\r\n"), stl(" "), stl().upper(), stl(name=""), stl(name="n" * 20_000)),
        *(
            stl(name=n)
            for n in ("my facet normals", "vertex 1 2 3 endfacet", "solid facet", "# a", "\N{LATIN SMALL LETTER E}")
        ),
        *("\n \n" + stl(), stl() + "\n\n", stl().replace("facet normal 0 0 0\n", "facet\n")),
    ],
    ".ply": [
        *(PLY, MARK + PLY, PLY.replace("\n", "\r"), PLY.replace("\n", "\r\n"), ply() + ROWS.replace(" ", "\n")),
        *(ply() + ROWS.replace("\n", " "), PLY.rstrip(), MARK.encode() + ply(LITTLE).encode() + ply_body()),
        *(ply(LITTLE).replace("\n", end).encode() + ply_body() for end in ("\r", "\r\n")),
        *(
            ply(LITTLE, before=f"{line}\n").encode() + ply_body()
            for line in ("comment end_header", "obj_info end_header")
        ),
        *(ply(before=f"{line}\n") + ROWS for line in ("comment end_header", "comment", "obj_info an end_header ")),
        ply(LITTLE).encode() + ply_body() + b"\n",
        ply("binary_big_endian", xyz="double").encode() + ply_body(">", xyz="d"),
        ply("binary_big_endian", xyz="char").encode() + ply_body(">", xyz="b"),
        *(
            ply(form, count=count, index=index).encode() + ply_body(order, count_code, index_code)
            for form, order in ((LITTLE, "<"), ("binary_big_endian", ">"))
            for count, count_code in (("char", "b"), ("uint8", "B"), ("short", "h"), ("uint", "I"))
            for index, index_code in (("int8", "b"), ("uchar", "B"), ("ushort", "H"), ("int", "i"), ("uint32", "I"))
        ),
        ply(
            before="element junk 2\nproperty list uchar short s\nproperty double d\n",
            after="element edge 1\nproperty int vertex1\nproperty int vertex2\n",
        ).replace("end_header\n", "end_header\n2 5 6 1.5\n0 2.5\n")
        + ROWS
        + "0 1\n",
    ],
}


@pytest.mark.parametrize(("suffix", "number"), [(suffix, i) for suffix in GOOD for i in range(len(GOOD[suffix]))])
def test_the_tetrahedron_is_read(suffix, number):
    data = GOOD[suffix][number]
    mesh = files.read(data.encode() if isinstance(data, str) else data, suffix)
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], np.array(POINTS)[np.array(FACES)])
    assert (mesh.notes.remarks, mesh.notes.polygons) == ((), 0)
    assert suffix == ".stl" or len(mesh.vertices) == 4


@pytest.mark.parametrize(("newline", "first"), [("\r", 10), ("\n", 13), ("\r\n", 10), ("\n", 10), ("\r", 13)])
def test_a_ply_body_may_begin_with_the_byte_of_a_line_end(newline, first):
    points = [(first, 0, 0), *POINTS[1:]]
    data = ply(LITTLE, xyz="int").replace("\n", newline).encode() + ply_body(xyz="i", points=points)
    assert files.read(data, ".ply").vertices.tolist() == [list(p) for p in points]


NOT_FINITE = [
    "nan",
    "NaN",
    "-nan(ind)",
    "nan(0x7)",
    "1.#INF",
    "-1.#IND",
    "1.#QNAN",
    "-1.#J",
    "inf",
    "-Infinity",
    "1e400",
]
NO_NUMBER = ["0x1p0", "1,5", "1.0d0", "1_0", "--1", "1.0.0", "1e", "1f", "1#x", "\N{ARABIC-INDIC DIGIT ONE}"]


@pytest.mark.parametrize("word", NOT_FINITE + NO_NUMBER)
@pytest.mark.parametrize("suffix", [".obj", ".off", ".ply", ".stl"])
def test_the_last_coordinate_is_no_number(suffix, word):
    text = {".obj": V + F, ".off": OFF, ".ply": PLY, ".stl": stl()}[suffix].replace("0.0 0.0 1.0", f"0.0 0.0 {word}")
    reason = r"^\d of \d+ vertices are NaN or infinite" if word in NOT_FINITE else "stands where a number is due"
    with pytest.raises(BadMesh, match=reason):
        _read_clean(text.encode(), suffix)


def _read_clean(data, suffix):
    mesh = files.read(data, suffix)
    return clean(mesh.vertices, mesh.faces)


def test_a_comma_is_named():
    with pytest.raises(BadMesh, match="'1,5' stands where a number is due; write decimal points, not commas"):
        files.read((V.replace("1.0", "1,5") + F).encode(), ".obj")


BAD = [
    (".stl", stl_binary(5), "declares 5 triangles and has room for 4"),
    (".stl", stl_binary(2**32 - 1), "has room for 4"),
    (".stl", stl_binary(3), "declares 3 triangles and holds 4: the count is wrong"),
    (".stl", stl_binary(3, b"solid"), "declares 3 triangles and holds 4: the count is wrong"),
    (".stl", stl_binary(0, tail=b"\0\0"), "declares 0 triangles and holds 4"),
    (".stl", stl_binary()[:-1], "room for 3"),
    (".stl", stl().partition("endsolid")[0], "ends without 'endsolid'"),
    (".stl", stl().replace("facet normal", "facte normal", 1), "'facte' where 'facet' is due"),
    (".stl", stl().replace("vertex 0.0 0.0 1.0", "vertex 0.0 0.0"), "where 'endloop' is due"),
    (".stl", stl().replace("vertex 0.0 0.0 1.0", "vertex 0.0 0.0 1.0 1"), "'1' where 'endloop' is due"),
    (".off", "OFF\n", "no counts of vertices and faces"),
    (".off", "OFF\n4\n", "no counts of vertices and faces"),
    (".off", "\n", "no values"),
    (".off", OFF.replace("4 4 6", "four 4 6"), "'four' stands where a whole number is due"),
    (".off", OFF.replace("4 4 6", "4 3 6"), "4 values follow the 3 faces"),
    (".off", OFF.replace("4 4 6", "4 5 6"), "the file is cut off"),
    (".off", OFF.replace("4 4 6", "3 4 6"), "whole number"),
    (".off", off_with("COFF", "1 2"), "colours can only be told from faces by lines"),
    (".off", OFF.replace("OFF", "4OFF"), "another number of dimensions"),
    (".off", OFF.replace("OFF\n", "nOFF\n3\n"), "another number of dimensions"),
    (".off", b"OFF BINARY\n\0\0\0\4", "binary OFF is not read"),
    (".ply", ply(faces=3) + ROWS, "more data follow"),
    (".ply", ply(vertices=3) + ROWS, "more data follow"),
    (".ply", ply(LITTLE, faces=3).encode() + ply_body(), "more data follow"),
    (".ply", ply(LITTLE, faces=5).encode() + ply_body(), "cut off"),
    (".ply", ply() + ROWS + "0 0 0\n", "more data follow"),
    (".ply", ply(after="element tristrips 1\nproperty list int int i\n") + ROWS + "3 0 1 2\n", "triangle strips"),
    (".ply", ply(count="float") + ROWS, "not understood"),
    (".ply", ply(index="float") + ROWS, "no list 'vertex_indices' of whole numbers"),
    (".ply", PLY.replace("vertex_indices", "corners"), "no list 'vertex_indices'"),
    (".ply", PLY.replace("3 0 2 1", "3 0 2 1.5"), "'1.5' stands where a whole number is due"),
    (".ply", PLY.replace("3 0 2 1", "-3 0 2 1"), "a list declares -3 values"),
    (".ply", PLY.replace("end_header", "end_headers"), "not a PLY file"),
    (".ply", PLY.replace("property float y", "property float x"), "one x, one y and one z"),
    (".obj", V.replace("\n", " 1 1\n") + F, "vertex lines with 5 values: 4 of 4"),
    (".obj", V.replace("\n", " v 1 2\n") + F, "'v' stands where a number is due"),
    (".obj", V + F + "f 1 2 9\n", "1 of 5 faces have an index outside the 4 vertices"),
    (".obj", V + F + "f 1.0 2 3\n", "'1.0' stands where a whole number is due"),
    (".obj", V + F + "cstype bspline\nsurf 0 1 0 1 1 2 3\n", "free-form surfaces"),
    (".obj", V + F + "call other.obj\n", "other files"),
    (".obj", "v " + "1 " * 1_000_000, "a line has 2000002 bytes"),
    (".obj", PLY, "begins like a .ply file"),
    *((suffix, b"\x1f\x8b" + bytes(90), "compressed with gzip; unpack") for suffix in files.SUFFIXES),
    *((".obj", packed(V.encode()), "compressed with") for packed in (gzip.compress, bz2.compress, lzma.compress)),
]  # fmt: skip
_TEXTS = {".obj": V + F, ".off": OFF, ".ply": PLY, ".stl": stl()}
for _suffix, _text in _TEXTS.items():
    BAD += [(_suffix, _text.encode(code), "UTF-16") for code in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")]
    BAD += [
        (_suffix, "<!DOCTYPE html>\n<html>v 1 2 3</html>", "web page"),
        (_suffix, MARK + "\n<html>", "web page"),
        (_suffix, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "run: git lfs pull"),
        (_suffix, "", "the file is empty"),
        (_suffix, _text.replace("0.0 0.0", "0.0\0 0.0").encode(), "zero bytes|not an STL file"),
        (_suffix, _text.replace("0.0 ", "0.0\N{NO-BREAK SPACE}"), "vertex lines with|number is due|is due"),
    ]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_refused_with_a_reason(number):
    suffix, data, reason = BAD[number]
    with pytest.raises(BadMesh, match=reason) as caught:
        files.read(data.encode() if isinstance(data, str) else data, suffix)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("suffix", "data", "remark"),
    [
        (".stl", stl_binary(0), "the header counts 0 facets, the file holds 4"),
        (".stl", stl_binary(0, b"solid"), "the header counts 0 facets, the file holds 4"),
        (".stl", stl_binary(tail=b"\0" * 7), "7 bytes follow the facets"),
        (".obj", V.replace("\n", " 2\n") + F, "vertices with a weight other than 1, which polygons do not use: 4"),
        (".obj", V + F + "F 1 2 4\n", "lines that begin with words that OBJ does not have, such as 'F': 1"),
    ],
)
def test_read_with_a_remark(suffix, data, remark):
    mesh = files.read(data.encode() if isinstance(data, str) else data, suffix)
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], np.array(POINTS)[np.array(FACES)])
    assert mesh.notes.remarks == (remark,)


@pytest.mark.parametrize(
    ("suffix", "data", "dropped"),
    [
        (".obj", V + "vt 0 0\nvn 0 0 1\nl 1 2\n" + F, ("normals", "polylines", "texture coordinates")),
        (".obj", V.replace("\n", " .1 .2 .3\n") + F, ("colours",)),
        (".off", off_with("STCNOFF", "1 2 3 4 5 6 7 .5 .5"), ("colours", "normals", "texture coordinates")),
        (".off", off_with("OFF", "", "1 2 3"), ("colours",)),
        (".ply", PLY.replace("float z\n", "float z\nproperty uchar red\n").replace("0.0\n", "0.0 1\n"), None),
    ],
)
def test_what_is_left_out_is_named(suffix, data, dropped):
    if dropped is None:
        data = ply().replace("float z\n", "float z\nproperty uchar red\nproperty float nx\n")
        data += "".join(f"{x} {y} {z} 1 1\n" for x, y, z in POINTS) + "".join("3 {} {} {}\n".format(*f) for f in FACES)
        dropped = ("colours", "normals")
    assert files.read(data.encode(), suffix).notes.dropped == dropped


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".obj", ".off", ".ply", ".stl"])
def test_fifty_megabytes_take_seconds(suffix):
    """A grid of triangles, 50 MB of text; the limit is ten times what a quiet machine takes."""
    n = {".obj": 850, ".off": 850, ".ply": 850, ".stl": 310}[suffix]
    x, y = (a.ravel().tolist() for a in np.meshgrid(np.arange(n) / 7, np.arange(n) / 7))
    at = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate([np.stack(c, 1) for c in ((at, at + 1, at + n), (at + 1, at + n + 1, at + n))])
    points = [f"{a:.9f} {b:.9f} 0.000000000" for a, b in zip(x, y, strict=True)]
    rows = "\n".join(points) + "\n" + "".join(f"3 {a} {b} {c}\n" for a, b, c in faces.tolist())
    facet = "facet normal 0 0 1\nouter loop\nvertex {}\nvertex {}\nvertex {}\nendloop\nendfacet\n"
    if suffix == ".obj":
        text = "".join(f"v {p}\n" for p in points) + "".join("f {} {} {}\n".format(*f) for f in (faces + 1).tolist())
    elif suffix == ".off":
        text = f"OFF\n{len(points)} {len(faces)} 0\n{rows}"
    elif suffix == ".ply":
        text = ply(vertices=len(points), faces=len(faces)) + rows
    else:
        text = "solid\n" + "".join(facet.format(*(points[i] for i in f)) for f in faces.tolist()) + "endsolid\n"
    assert len(text) > 20e6
    start = time.process_time()
    mesh = files.read(text.encode(), suffix)
    assert time.process_time() - start < len(text) / 1e6
    assert len(mesh.faces) == len(faces)
