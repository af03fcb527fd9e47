"""Reader of Wavefront OBJ files.

Source: Alias|Wavefront, "Object Files (.obj)", appendix B1 of the Advanced Visualizer manual, version 3.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain

import numpy as np

from gcbench.errors import BadMesh
from gcbench.geometry.files.fields import integers, no_faces, numbers, require_text, shown
from gcbench.geometry.files.notes import FileMesh, Polygons, Positions
from gcbench.geometry.files.polygons import as_triangles

MAX_LINE_BYTES = 1 << 20  # a face of 50 000 corners has half of it
_OTHER = Counter[bytes]
_DROPPED = {b"vt": "texture coordinates", b"vn": "normals", b"l": "polylines", b"p": "points", b"curv": "curves"}
_SURFACES = {b"surf", b"bsp", b"bzp", b"cdp"}
_NAMES = {b"g", b"o", b"mtllib", b"usemtl", b"maplib", b"usemap", b"shadow_obj", b"trace_obj"}  # a name may end in \\
_IGNORED = _NAMES | {
    *(b"vp", b"s", b"mg", b"bevel", b"c_interp", b"d_interp", b"lod", b"ctech", b"stech", b"cstype", b"deg", b"bmat"),
    *(b"step", b"curv2", b"parm", b"trim", b"hole", b"scrv", b"sp", b"end", b"con", b"cdc", b"res"),
}


def read_obj(data: bytes, polygons: Polygons) -> FileMesh:
    """Read ``v`` and ``f`` lines; leave out normals, texture coordinates, colours, lines, groups and materials."""
    require_text(data)
    points: list[list[bytes]] = []
    faces: list[list[bytes]] = []
    points_before: list[int] = []  # vertices read before each face; negative indices count back from here
    other: _OTHER = Counter()
    for line in _lines(data):
        fields = line.split()
        if not fields:
            continue
        if b"#" in line:
            fields = _before_comment(fields)
            if not fields:
                continue
        keyword = fields[0]
        if keyword == b"v":
            points.append(fields[1:])
        elif keyword in {b"f", b"fo"}:
            faces.append(fields[1:])
            points_before.append(len(points))
        else:
            other[keyword] += 1
    vertices, has_colours, remarks = _positions(points)
    _refuse_surfaces(other)
    if not faces:
        raise no_faces(len(points), Counter({_DROPPED[kind]: other[kind] for kind in (b"l", b"p", b"curv")}))
    sizes = np.fromiter(map(len, faces), np.int64, count=len(faces))
    corners = list(chain.from_iterable(faces))
    if b"/" in data:
        corners = [corner.partition(b"/")[0] for corner in corners]
    indices = integers(corners)
    if not indices.all():
        raise BadMesh("a face has index 0; OBJ counts from 1")
    relative = np.repeat(np.array(points_before, dtype=np.int64), sizes)
    if (indices < -relative).any():
        raise BadMesh("a face has a negative index that reaches before the first vertex")
    indices = np.where(indices > 0, indices - 1, indices + relative)
    dropped = {what for kind, what in _DROPPED.items() if other[kind]} | ({"colours"} if has_colours else set())
    strange = [word for word in other if word not in _IGNORED and word not in _DROPPED]
    if strange:
        count = sum(other[word] for word in strange)
        remarks += (f"lines that begin with words that OBJ does not have, such as '{shown(strange[0])}': {count}",)
    return as_triangles(vertices, indices, sizes, polygons, dropped=tuple(sorted(dropped)), remarks=remarks)


def _positions(rows: list[list[bytes]]) -> tuple[Positions, bool, tuple[str, ...]]:
    """Positions, whether there are colours, and remarks. A line has x y z, perhaps w, r g b, or r g b a."""
    widths = set(map(len, rows))
    wrong = sorted(widths - {3, 4, 6, 7})
    if wrong:
        count = sum(len(row) in wrong for row in rows)
        raise BadMesh(
            f"vertex lines with {' or '.join(map(str, wrong))} values: {count} of {len(rows)}; "
            "a vertex has three coordinates, and may have a weight or a colour after them"
        )
    if widths == {3}:
        return numbers(list(chain.from_iterable(rows))).reshape(-1, 3), False, ()
    vertices = numbers([field for row in rows for field in row[:3]]).reshape(-1, 3)
    more = numbers([field for row in rows for field in row[3:]])
    weights = more if widths <= {3, 4} else numbers([row[3] for row in rows if len(row) == 4])
    weighted = int((weights != 1).sum())
    remarks = (f"vertices with a weight other than 1, which polygons do not use: {weighted}",) if weighted else ()
    return vertices, bool(widths & {6, 7}), remarks


def _refuse_surfaces(other: _OTHER) -> None:
    surfaces = sum(other[kind] for kind in _SURFACES)
    if surfaces:
        raise BadMesh(f"free-form surfaces, which are not read: {surfaces}; export the surfaces as polygons")
    if other[b"call"]:
        raise BadMesh("includes other files ('call'), which are not read; export all geometry to one file")


def _before_comment(fields: list[bytes]) -> list[bytes]:
    """The words before the first that begins with #. The # of ``1.#QNAN`` begins no comment."""
    for at, field in enumerate(fields):
        if field.startswith(b"#"):
            return fields[:at]
    return fields


def _lines(data: bytes) -> Iterator[bytes]:
    r"""Lines, where a backslash at the end of a line of numbers joins the next line to it.

    In comments, names and paths a backslash at the end of the line is a character like others: ``mtllib C:\meshes\``.
    """
    lines = data.splitlines()
    if len(max(lines, key=len, default=b"")) > MAX_LINE_BYTES:
        lines = [line for line in lines if line.lstrip()[:1] != b"#"]
        longest = max(map(len, lines), default=0)
        if longest > MAX_LINE_BYTES:
            raise BadMesh(f"a line has {longest} bytes, more than {MAX_LINE_BYTES}: not a mesh in OBJ, or damaged")
    return _joined(lines) if b"\\" in data else iter(lines)


def _joined(lines: list[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []
    for line in lines:
        stripped = line.rstrip()
        if stripped.endswith(b"\\") and _may_continue(stripped, parts):
            parts.append(stripped[:-1])
        elif parts:
            yield b" ".join([*parts, line])
            parts = []
        else:
            yield line
    if parts:
        yield b" ".join(parts)


def _may_continue(line: bytes, parts: list[bytes]) -> bool:
    fields = line.split()
    if any(field.startswith(b"#") for field in fields):
        return False
    return bool(parts) or fields[0] not in _NAMES
