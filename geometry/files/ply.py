"""Stanford PLY files: triangle meshes of any writer, and clouds of points for and from MPEG's programs."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh, BitstreamError
from gcbench.geometry.files.fields import (
    Positions,
    Triangles,
    integers,
    no_faces,
    numbers,
    require_room,
    require_triangles,
)

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
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
MAX_HEADER_BYTES = 1 << 16  # bytes; headers in the wild have a few hundred
_CORNERS = ("vertex_indices", "vertex_index")


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
    sizes: Sequence[int] = ()  # values in each row of a list property; empty for a scalar property


_Columns = dict[str, _Column]


def read_ply(data: bytes) -> tuple[Positions, Triangles]:
    """Read positions and face indices of a mesh, text or binary of either byte order; ignore all other data."""
    order, elements, offset = _header(data)
    named = {element.name: element for element in elements}
    if "vertex" not in named or not {"x", "y", "z"} <= {p.name for p in named["vertex"].properties}:
        raise BadMesh("the PLY header has no vertex element with x, y and z")
    indexed = [p.name for p in named["face"].properties if _is_corner_list(p)] if "face" in named else []
    corners = indexed[0] if indexed else ""
    if not corners or not named["face"].count:
        kinds = {e.name: e.count for e in elements if e.name in {"edge", "tristrips"} and e.count}
        raise no_faces(named["vertex"].count, Counter(kinds))
    wanted = {"vertex": ("x", "y", "z"), "face": (corners,)}
    columns = _binary(data, offset, order, elements) if order else _text(data[offset:], elements, wanted)
    if not all(axis in columns.get("vertex", {}) and not columns["vertex"][axis].sizes for axis in "xyz"):
        raise BadMesh("the PLY file has faces and no vertices")
    faces = columns["face"][corners]
    require_triangles(faces.sizes)
    vertices = np.stack([columns["vertex"][axis].values.astype(np.float64) for axis in "xyz"], axis=1)
    return vertices, faces.values.astype(np.int64).reshape(-1, 3)


def _is_corner_list(prop: _Property) -> bool:
    return bool(prop.name in _CORNERS and prop.count_type and prop.type[0] != "f")


def _header(data: bytes) -> tuple[str, list[_Element], int]:
    """Byte order (empty for text), elements in file order, and the offset of the body."""
    end = data.find(b"end_header", 0, MAX_HEADER_BYTES)
    newline = data.find(b"\n", end, end + 16)
    if data[:3] != b"ply" or end < 0 or newline < 0:
        raise BadMesh("not a PLY file: it does not begin with 'ply' … 'end_header'")
    order = None
    elements: list[_Element] = []
    for line in data[:end].decode("latin-1").splitlines()[1:]:
        match line.split():
            case ["format", name, _] if name in _ORDERS:
                order = _ORDERS[name]
            case ["element", name, count] if count.isdecimal() and name not in {e.name for e in elements}:
                elements.append(_Element(name, int(count), []))
            case ["property", "list", count_type, kind, name] if (
                elements and kind in _TYPES and _TYPES.get(count_type, "f")[0] != "f"
            ):
                elements[-1].properties.append(_Property(name, _TYPES[kind], _TYPES[count_type]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append(_Property(name, _TYPES[kind]))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise BadMesh(f"the PLY header has a line that is not understood: '{line[:60]}'")
    if order is None:
        raise BadMesh("the PLY header names no format")
    return order, elements, newline + 1


def _text(body: bytes, elements: Sequence[_Element], wanted: dict[str, tuple[str, ...]]) -> dict[str, _Columns]:
    """Read text rows, one line each, into {element: {property: column}}."""
    lines = [fields for line in body.splitlines() if (fields := line.split())]
    columns: dict[str, _Columns] = {}
    for element in elements:
        require_room(element.count, len(lines), f"lines of element '{element.name}'")
        rows, lines = lines[: element.count], lines[element.count :]
        taken: dict[str, list[list[bytes]]] = {name: [] for name in wanted.get(element.name, ())}
        if not taken:
            continue
        for row in rows:
            at = 0
            for prop in element.properties:
                length = int(row[at]) if prop.count_type else 1
                at += bool(prop.count_type)
                if length < 0 or at + length > len(row):
                    raise BadMesh(f"a line of element '{element.name}' is too short")
                if prop.name in taken:
                    taken[prop.name].append(row[at : at + length])
                at += length
        is_list = {prop.name: bool(prop.count_type) for prop in element.properties}
        for name, cells in taken.items():
            flat = chain.from_iterable(cells)
            sizes = [len(cell) for cell in cells]
            values: NDArray[np.generic] = integers(flat, sum(sizes)) if is_list[name] else numbers(flat, sum(sizes))
            columns.setdefault(element.name, {})[name] = _Column(values, sizes if is_list[name] else ())
    return columns


def _binary(data: bytes, offset: int, order: str, elements: Sequence[_Element]) -> dict[str, _Columns]:
    columns: dict[str, _Columns] = {}
    for element in elements:
        smallest = sum(np.dtype(prop.count_type or prop.type).itemsize for prop in element.properties)
        require_room(element.count * smallest, len(data) - offset, f"bytes of element '{element.name}'")
        if not smallest or not element.count:
            continue
        column, offset = _uniform(data, offset, order, element) or _ragged(data, offset, order, element)
        columns[element.name] = column
    return columns


def _uniform(data: bytes, offset: int, order: str, element: _Element) -> tuple[_Columns, int] | None:
    """Read all rows at once, with list lengths from the first row; None if a later row has other lengths."""
    fields: list[tuple[str, str] | tuple[str, str, int]] = []
    lengths: dict[str, int] = {}
    at = offset
    for number, prop in enumerate(element.properties):
        if prop.count_type:
            length = _length(data, at, order + prop.count_type)
            lengths[prop.name] = length
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
        if prop.count_type:
            if (rows[f"n{number}"] != lengths[prop.name]).any():
                return None
            column[prop.name] = _Column(values.reshape(-1), [lengths[prop.name]] * element.count)
        else:
            column[prop.name] = _Column(values)
    return column, offset + element.count * (at - offset)


def _ragged(data: bytes, offset: int, order: str, element: _Element) -> tuple[_Columns, int]:
    """Read rows whose lists differ in length; check every length against the file before use."""
    sizes: dict[str, list[int]] = {prop.name: [] for prop in element.properties}
    chunks: dict[str, list[bytes]] = {prop.name: [] for prop in element.properties}
    for _ in range(element.count):
        for prop in element.properties:
            length = 1
            if prop.count_type:
                length = _length(data, offset, order + prop.count_type)
                offset += np.dtype(prop.count_type).itemsize
            end = offset + length * np.dtype(prop.type).itemsize
            if end > len(data):
                raise BadMesh(f"the rows of element '{element.name}' are cut off")
            sizes[prop.name].append(length)
            chunks[prop.name].append(data[offset:end])
            offset = end
    column: _Columns = {}
    for prop in element.properties:
        values = np.frombuffer(b"".join(chunks[prop.name]), order + prop.type)
        column[prop.name] = _Column(values, sizes[prop.name] if prop.count_type else ())
    return column, offset


def _length(data: bytes, offset: int, kind: str) -> int:
    length = int(np.frombuffer(data, kind, count=1, offset=offset)[0])
    if not 0 <= length <= len(data):
        raise BadMesh(f"a list declares {length} values")
    return length


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
    except (BadMesh, ValueError) as error:  # ValueError: a count of more than 4300 digits
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
