"""Stanford PLY files: triangle meshes of any writer, and clouds of points for and from MPEG's programs."""

from __future__ import annotations

import io
import re
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh, BitstreamError
from gcbench.geometry.files.fields import no_faces, numbers, require_text, shown
from gcbench.geometry.files.notes import FileMesh, Polygons
from gcbench.geometry.files.polygons import as_triangles

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_FORMATS = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f8": "d"}  # of numpy codes, for struct
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
MAX_HEADER_BYTES = 1 << 16  # bytes; headers in the wild have a few hundred
_CORNERS = ("vertex_indices", "vertex_index")
_DROPPED = {
    "colours": {"red", "green", "blue", "diffuse_red", "r"},
    "normals": {"nx", "ny", "nz"},
    "texture coordinates": {"u", "v", "s", "t", "texture_u", "texture_v", "texcoord"},
}


@dataclass(frozen=True)
class _Property:
    name: str
    type: str  # numpy type code without byte order
    count_type: str = ""  # type code of a list's length; empty for a scalar


@dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property]

    @property
    def has_lists(self) -> bool:
        return any(prop.count_type for prop in self.properties)


@dataclass(frozen=True)
class _Column:
    values: NDArray[np.generic]  # of all rows, one after the other
    sizes: NDArray[np.int64] | None = None  # values in each row of a list property; None for a scalar property


_Columns = dict[str, _Column]


def read_ply(data: bytes, polygons: Polygons) -> FileMesh:
    """Read positions and face indices of a mesh, text or binary of either byte order; leave out all other data."""
    order, elements, offset = _header(data)
    named = {element.name: element for element in elements}
    axes = [p.name for p in named["vertex"].properties if p.name in set("xyz")] if "vertex" in named else []
    if sorted(axes) != ["x", "y", "z"]:
        raise BadMesh("the PLY header has no vertex element with one x, one y and one z")
    strips = named["tristrips"].count if "tristrips" in named else 0
    if strips:
        raise BadMesh(f"triangle strips, which are not read: {strips}; export triangles")
    if "face" not in named or not named["face"].count:
        kinds = {e.name: e.count for e in elements if e.name == "edge" and e.count}
        raise no_faces(named["vertex"].count, Counter(kinds))
    corners = [p for p in named["face"].properties if p.name in _CORNERS]
    if len(corners) != 1 or not corners[0].count_type or corners[0].type[0] == "f":
        raise BadMesh("the PLY header gives faces no list 'vertex_indices' of whole numbers, or more than one")
    columns = _rows(data, offset, order, elements) if order else _text(data[offset:], elements)
    if not all(axis in columns.get("vertex", {}) and columns["vertex"][axis].sizes is None for axis in "xyz"):
        raise BadMesh("the PLY file has faces and no vertices")
    faces = columns["face"][corners[0].name]
    assert faces.sizes is not None  # checked above: a list
    indices = _whole(faces.values)
    vertices = np.stack([columns["vertex"][axis].values.astype(np.float64) for axis in "xyz"], axis=1)
    has = {p.name for element in (named["vertex"], named["face"]) for p in element.properties}
    dropped = tuple(sorted(what for what, names in _DROPPED.items() if names & has))
    return as_triangles(vertices, indices, faces.sizes, polygons, dropped=dropped)


def _whole(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Whole numbers as integers; those of a text were read as float64, which holds all of 32 bits exactly."""
    if values.dtype.kind == "f":
        as_float = values.astype(np.float64)
        wrong = ~(np.abs(as_float) < 1 << 53) | (np.floor(as_float) != as_float)
        if wrong.any():
            raise BadMesh(f"'{as_float[wrong][0]:.9g}' stands where a whole number is due")
    return values.astype(np.int64)


def _header(data: bytes) -> tuple[str, list[_Element], int]:
    """Byte order (empty for text), elements in file order, and the offset of the body.

    All lines of a header end as its first line does, so a body may begin with a byte that looks like the end of a line.
    """
    first = re.match(rb"ply[ \t]*(\r\n|\n|\r)", data)
    if not first:
        raise BadMesh("not a PLY file: the first line is not 'ply'")
    newline = b"\r" if first.group(1) == b"\r" else b"\n"
    end = re.compile(newline + rb"[ \t]*end_header[ \t\r]*?" + newline).search(data, 0, MAX_HEADER_BYTES)
    if not end:
        raise BadMesh("not a PLY file: the header does not end with a line 'end_header'")
    order = None
    elements: list[_Element] = []
    for line in data[first.end(1) : end.start()].decode("latin-1").split(newline.decode()):
        match line.split():
            case ["format", name, _] if name in _ORDERS:
                order = _ORDERS[name]
            case ["element", name, count] if count.isdecimal() and name not in {e.name for e in elements}:
                elements.append(_Element(name, _count(count), []))
            case ["property", "list", count_type, kind, name] if (
                elements and kind in _TYPES and _TYPES.get(count_type, "f")[0] != "f"
            ):
                elements[-1].properties.append(_Property(name, _TYPES[kind], _TYPES[count_type]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append(_Property(name, _TYPES[kind]))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise BadMesh(f"the PLY header has a line that is not understood: '{shown(line[:60].encode())}'")
    if order is None:
        raise BadMesh("the PLY header names no format")
    return order, elements, end.end()


def _count(digits: str) -> int:
    return int(digits[:20]) if len(digits) > 20 else int(digits)  # larger than any file


def _text(body: bytes, elements: Sequence[_Element]) -> dict[str, _Columns]:
    """Read the values of a text, wherever its lines end, as if they were a binary body of float64."""
    require_text(body)
    values = numbers(body.split()).astype("<f8")
    as_doubles = [
        _Element(e.name, e.count, [_Property(p.name, "f8", "f8" if p.count_type else "") for p in e.properties])
        for e in elements
    ]
    return _rows(values.tobytes(), 0, "<", as_doubles, padding=b"")


def _rows(
    data: bytes, offset: int, order: str, elements: Sequence[_Element], *, padding: bytes = b" \t\r\n\0"
) -> dict[str, _Columns]:
    """Read a body into {element: {property: column}}. Nothing but padding may follow the last row."""
    columns: dict[str, _Columns] = {}
    for element in elements:
        smallest = sum(np.dtype(prop.count_type or prop.type).itemsize for prop in element.properties)
        if element.count * smallest > len(data) - offset:
            raise BadMesh(
                f"declares {element.count} rows of '{shown(element.name.encode())}', more than the file can hold: "
                "the file is cut off, or the count is wrong"
            )
        if not smallest or not element.count:
            continue
        column, offset = _uniform(data, offset, order, element) or _ragged(data, offset, order, element)
        columns[element.name] = column
    if data[offset:].strip(padding):
        raise BadMesh("more data follow the rows that the PLY header declares: a count is wrong")
    return columns


def _uniform(data: bytes, offset: int, order: str, element: _Element) -> tuple[_Columns, int] | None:
    """Read all rows at once, with list lengths from the first row; None if a later row has other lengths."""
    fields: list[tuple[str, str] | tuple[str, str, int]] = []
    lengths: dict[int, int] = {}
    at = offset
    for number, prop in enumerate(element.properties):
        if prop.count_type:
            length = _length(data, at, order + prop.count_type)
            lengths[number] = length
            fields += [(f"n{number}", order + prop.count_type), (f"p{number}", order + prop.type, length)]
            at += np.dtype(prop.count_type).itemsize + length * np.dtype(prop.type).itemsize
        else:
            fields.append((f"p{number}", order + prop.type))
            at += np.dtype(prop.type).itemsize
    if offset + element.count * (at - offset) > len(data):
        return None  # only its first rows can be that long
    rows = np.frombuffer(data, np.dtype(fields), count=element.count, offset=offset)
    column: _Columns = {}
    for number, prop in enumerate(element.properties):
        values = rows[f"p{number}"]
        if number in lengths:
            if (rows[f"n{number}"] != lengths[number]).any():
                return None
            column[prop.name] = _Column(values.reshape(-1), np.full(element.count, lengths[number]))
        else:
            column[prop.name] = _Column(values)
    return column, offset + element.count * (at - offset)


def _ragged(data: bytes, offset: int, order: str, element: _Element) -> tuple[_Columns, int]:
    """Read rows whose lists differ in length; check every length against the file before use."""
    sizes: list[list[int]] = [[] for _ in element.properties]
    chunks: list[list[bytes]] = [[] for _ in element.properties]
    widths = [np.dtype(prop.type).itemsize for prop in element.properties]
    counts = [struct.Struct(order + _FORMATS[p.count_type]) if p.count_type else None for p in element.properties]
    for _ in range(element.count):
        for number, (width, count) in enumerate(zip(widths, counts, strict=True)):
            length = 1
            if count is not None:
                if offset + count.size > len(data):
                    raise BadMesh(f"the rows of element '{element.name}' are cut off")
                length = _checked(count.unpack_from(data, offset)[0], data)
                offset += count.size
            end = offset + length * width
            if end > len(data):
                raise BadMesh(f"the rows of element '{element.name}' are cut off")
            sizes[number].append(length)
            chunks[number].append(data[offset:end])
            offset = end
    column: _Columns = {}
    for number, prop in enumerate(element.properties):
        values = np.frombuffer(b"".join(chunks[number]), order + prop.type)
        column[prop.name] = _Column(values, np.array(sizes[number]) if prop.count_type else None)
    return column, offset


def _length(data: bytes, offset: int, kind: str) -> int:
    if offset + np.dtype(kind).itemsize > len(data):
        raise BadMesh("the rows are cut off")
    return _checked(np.frombuffer(data, kind, count=1, offset=offset)[0].item(), data)


def _checked(length: float, data: bytes) -> int:
    if not 0 <= length <= len(data) or length != int(length):
        raise BadMesh(f"a list declares {length:.10g} values: the file is damaged, or differs from its header")
    return int(length)


def write_points(path: Path, points: NDArray[np.int32], *, grey: int | None = None) -> None:
    """Write integer points as float32 coordinates, the only format that both MPEG programs read.

    tmc3 reads binary int32 as zeros and does not know ``property double``; V-PCC crashes without colours.

    Parameters
    ----------
    path : Path
        File to write.
    points : (N, 3) int32
        Coordinates of magnitude up to 2^24, which float32 holds exactly.
    grey : int, optional
        A colour for every point, 0…255.
    """
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    properties = "".join(f"property float {name}\n" for name in "xyz")
    if grey is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
        properties += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    table = np.zeros(len(points), fields)
    for axis, name in enumerate("xyz"):
        table[name] = points[:, axis]
    if grey is not None:
        for name in ("red", "green", "blue"):
            table[name] = grey
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{properties}end_header\n"
    path.write_bytes(header.encode() + table.tobytes())


def read_points(data: bytes, max_points: int) -> NDArray[np.float64]:
    """Read the vertices of a PLY from MPEG's programs, text or binary little-endian; ignore all other data.

    Parameters
    ----------
    data : bytes
        The file.
    max_points : int
        Largest accepted number of points.

    Returns
    -------
    (N, 3) float64

    Raises
    ------
    BitstreamError
        The file has another format, is cut short, has too many points, or has a coordinate that is not finite.
    """
    try:
        order, elements, begin = _header(data)
    except BadMesh as error:
        raise BitstreamError(str(error)) from None
    if order == ">":
        raise BitstreamError("the PLY is neither ascii nor binary_little_endian")
    if not elements or elements[0].name != "vertex":
        raise BitstreamError("the PLY does not begin with vertices")
    vertex = elements[0]
    names = [prop.name for prop in vertex.properties]
    if vertex.has_lists or len(set(names)) != len(names) or not {"x", "y", "z"} <= set(names):
        raise BitstreamError("the vertices of the PLY have no x, y and z, or have something twice, or a list")
    if vertex.count > max_points:
        raise BitstreamError(f"the PLY declares {vertex.count} points; the limit is {max_points}")
    row = np.dtype([(prop.name, order + prop.type) for prop in vertex.properties])
    # In text, a number takes at least a digit and a space; the last number needs no space.
    least = vertex.count * (row.itemsize if order else 2 * len(names)) - (not order)
    if len(data) - begin < least:
        raise BitstreamError(f"the PLY declares {vertex.count} points, which {len(data) - begin} bytes cannot hold")
    if not vertex.count:
        return np.zeros((0, 3))
    if order:
        table = np.frombuffer(data, row, vertex.count, begin)
        points = np.stack([table[name] for name in "xyz"], axis=1).astype(np.float64)
    else:
        points = _ascii(data[begin:], vertex.count, names)
    if not np.isfinite(points).all():
        raise BitstreamError("the PLY has a coordinate that is not finite")
    return points


def _ascii(body: bytes, count: int, names: list[str]) -> NDArray[np.float64]:
    if body.isspace():  # loadtxt would only warn
        raise BitstreamError(f"the PLY declares {count} points and has none")
    try:
        points = np.loadtxt(
            io.BytesIO(body),
            np.float64,
            comments=None,
            max_rows=count,
            usecols=[names.index(n) for n in "xyz"],
            ndmin=2,
        )
    except ValueError as error:
        raise BitstreamError(f"the PLY has something else than numbers: {error}") from None
    if len(points) != count:
        raise BitstreamError(f"the PLY declares {count} points and has {len(points)}")
    return points
