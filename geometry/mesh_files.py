"""Readers of triangle files: bytes of one OBJ, STL, PLY or OFF file → positions and triangles, exactly as written.

Own readers, because those of trimesh fan-triangulate polygons, split vertices at texture seams and trust declared
sizes; a benchmark input must be refused instead. Knows nothing of datasets, normalisation or caches.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh

Positions = NDArray[np.float64]
Triangles = NDArray[np.int64]


def read(data: bytes, suffix: str) -> tuple[Positions, Triangles]:
    """Parse the bytes of a mesh file.

    Memory stays proportional to ``len(data)``: every declared count is held against what is there first.

    Parameters
    ----------
    data : bytes
        The whole file.
    suffix : str
        ``.obj``, ``.stl``, ``.ply`` or ``.off``, in any case.

    Returns
    -------
    vertices : (n, 3) float64
        Positions as written; the three corners of each STL facet are not merged yet.
    faces : (m, 3) int64
        Triangles, indices from 0, not yet checked against ``n``.

    Raises
    ------
    BadMesh
        Unknown suffix, broken syntax, counts that the file cannot hold, polygons, or no faces.
    """
    reader = _READERS.get(suffix.lower())
    if reader is None:
        raise BadMesh(f"unknown format '{suffix}'; readable: {', '.join(SUFFIXES)}")
    if not data:
        raise BadMesh("the file is empty")
    try:
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinities are refused later, with a sentence
            return reader(data)
    except (ValueError, OverflowError, IndexError, struct.error) as error:
        raise BadMesh(f"not a valid {suffix.lstrip('.').upper()} file: {_one_line(error)}") from error


def _read_obj(data: bytes) -> tuple[Positions, Triangles]:
    """Wavefront OBJ: ``v`` and ``f`` lines; normals, texture coordinates, groups and materials are ignored."""
    points: list[list[bytes]] = []
    polygons: list[list[bytes]] = []
    points_before: list[int] = []  # vertices read before each face: what its negative indices count back from
    other: Counter[str] = Counter()
    for line in data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines():
        fields = line.partition(b"#")[0].split()
        if not fields:
            continue
        if fields[0] == b"v":
            points.append(fields[1:4])
        elif fields[0] == b"f":
            polygons.append(fields[1:])
            points_before.append(len(points))
        elif fields[0] in {b"l", b"p"}:
            other["polylines" if fields[0] == b"l" else "point elements"] += 1
    vertices = _positions(points)
    if not polygons:
        raise _no_faces(len(points), other)
    _require_triangles([len(corners) for corners in polygons])
    corners = (corner.partition(b"/")[0] for polygon in polygons for corner in polygon)
    indices = _integers(corners, 3 * len(polygons)).reshape(-1, 3)
    if not indices.all():
        raise BadMesh("a face has index 0; OBJ counts from 1")
    relative = np.array(points_before, dtype=np.int64)[:, None]
    if (indices < -relative).any():
        raise BadMesh("a face has a negative index that reaches before the first vertex")
    return vertices, np.where(indices > 0, indices - 1, indices + relative)


_STL_HEADER = 84
_STL_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def _read_stl(data: bytes) -> tuple[Positions, Triangles]:
    """STL. Many binary files begin with ``solid`` too, so the size decides first."""
    declared = struct.unpack_from("<I", data, 80)[0] if len(data) >= _STL_HEADER else None
    room = (len(data) - _STL_HEADER) // _STL_FACET.itemsize
    exact = declared is not None and len(data) == _STL_HEADER + declared * _STL_FACET.itemsize
    if not exact and data[:512].lstrip()[:5].lower() == b"solid" and b"facet" in data[:4096].lower():
        return _read_stl_text(data)
    if declared is None:
        raise BadMesh(f"{len(data)} bytes are too short for a binary STL file, and it is not a text one")
    if declared > room:
        raise BadMesh(f"declares {declared} triangles and has room for {room}: cut off, or not an STL file")
    if declared == 0:
        raise _no_faces(0, Counter())
    facets = np.frombuffer(data, _STL_FACET, count=declared, offset=_STL_HEADER)
    return _corners(facets["corners"].reshape(-1, 3).astype(np.float64))


def _read_stl_text(data: bytes) -> tuple[Positions, Triangles]:
    points: list[list[bytes]] = []
    loop_sizes: list[int] = []
    start = 0
    inside = False
    for line in data.splitlines():
        fields = line.split()
        keyword = fields[0].lower() if fields else b""
        if keyword == b"outer":
            if inside:
                raise BadMesh("a facet is not closed by 'endloop'")
            inside, start = True, len(points)
        elif keyword == b"vertex" and inside:
            points.append(fields[1:4])
        elif keyword == b"endloop":
            loop_sizes.append(len(points) - start)
            inside = False
    if inside:
        raise BadMesh("the last facet is cut off")
    if not loop_sizes:
        raise _no_faces(0, Counter())
    _require_triangles(loop_sizes)
    return _corners(_positions(points))


def _corners(points: Positions) -> tuple[Positions, Triangles]:
    return points, np.arange(len(points), dtype=np.int64).reshape(-1, 3)


def _read_off(data: bytes) -> tuple[Positions, Triangles]:
    """Object File Format, text; colours, normals and texture coordinates behind the positions are ignored."""
    lines = [fields for line in data.splitlines() if (fields := line.partition(b"#")[0].split())]
    keyword, found, glued = lines[0][0].partition(b"OFF") if lines else (b"", b"", b"")
    if not found or keyword not in {b"", b"C", b"N", b"CN", b"ST", b"STC", b"STN", b"STCN"}:
        raise BadMesh("not a 3-D OFF file: the first word is not OFF, COFF, NOFF or the like")
    if b"BINARY" in lines[0]:
        raise BadMesh("binary OFF is not read; convert it to text OFF or PLY")
    # Counts follow on the same line (even glued to the keyword, as in ModelNet) or on the next one.
    counts = [glued, *lines[0][1:]] if glued else lines[0][1:]
    body = lines[1:]
    if not counts:
        counts, body = (body[0] if body else []), body[1:]
    n_points, n_faces = _integers(counts[:2], 2).tolist()
    _require_room(n_points + n_faces if min(n_points, n_faces) >= 0 else -1, len(body), "lines of vertices and faces")
    vertices = _positions([fields[:3] for fields in body[:n_points]])
    if not n_faces:
        raise _no_faces(n_points, Counter())
    polygons = body[n_points : n_points + n_faces]
    _require_triangles(_integers((fields[0] for fields in polygons), n_faces).tolist())
    if any(len(fields) < 4 for fields in polygons):
        raise BadMesh("a face line is cut off")
    return vertices, _integers(chain.from_iterable(fields[1:4] for fields in polygons), 3 * n_faces).reshape(-1, 3)


_PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_PLY_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_PLY_HEADER_LIMIT = 1 << 16  # bytes; headers in the wild have a few hundred
_PLY_CORNERS = ("vertex_indices", "vertex_index")


@dataclass(frozen=True)
class _PlyProperty:
    name: str
    type: str  # numpy type code without byte order
    count_type: str = ""  # of the length in front of a list; empty for a scalar


@dataclass
class _PlyElement:
    name: str
    count: int
    properties: list[_PlyProperty]

    @property
    def has_lists(self) -> bool:
        return any(prop.count_type for prop in self.properties)


@dataclass(frozen=True)
class _PlyColumn:
    values: NDArray[np.generic]  # of all rows, one after the other
    sizes: Sequence[int] = ()  # values in each row of a list property; empty for a scalar property


_PlyColumns = dict[str, _PlyColumn]


def _read_ply(data: bytes) -> tuple[Positions, Triangles]:
    """Stanford PLY, text or binary of either byte order; only positions and face indices are looked at."""
    order, elements, offset = _ply_header(data)
    named = {element.name: element for element in elements}
    if "vertex" not in named or not {"x", "y", "z"} <= {p.name for p in named["vertex"].properties}:
        raise BadMesh("the PLY header has no vertex element with x, y and z")
    indexed = [p.name for p in named["face"].properties if _is_corner_list(p)] if "face" in named else []
    corners = indexed[0] if indexed else ""
    if not corners or not named["face"].count:
        kinds = {e.name: e.count for e in elements if e.name in {"edge", "tristrips"} and e.count}
        raise _no_faces(named["vertex"].count, Counter(kinds))
    wanted = {"vertex": ("x", "y", "z"), "face": (corners,)}
    columns = _ply_binary(data, offset, order, elements) if order else _ply_text(data[offset:], elements, wanted)
    if not all(axis in columns.get("vertex", {}) and not columns["vertex"][axis].sizes for axis in "xyz"):
        raise BadMesh("the PLY file has faces and no vertices")
    faces = columns["face"][corners]
    _require_triangles(faces.sizes)
    vertices = np.stack([columns["vertex"][axis].values.astype(np.float64) for axis in "xyz"], axis=1)
    return vertices, faces.values.astype(np.int64).reshape(-1, 3)


def _is_corner_list(prop: _PlyProperty) -> bool:
    return bool(prop.name in _PLY_CORNERS and prop.count_type and prop.type[0] != "f")


def _ply_header(data: bytes) -> tuple[str, list[_PlyElement], int]:
    """Byte order (empty for text), elements in file order, and where the body begins."""
    end = data.find(b"end_header", 0, _PLY_HEADER_LIMIT)
    newline = data.find(b"\n", end, end + 16)
    if data[:3] != b"ply" or end < 0 or newline < 0:
        raise BadMesh("not a PLY file: it does not begin with 'ply' … 'end_header'")
    order = None
    elements: list[_PlyElement] = []
    for line in data[:end].decode("latin-1").splitlines()[1:]:
        match line.split():
            case ["format", name, _] if name in _PLY_ORDERS:
                order = _PLY_ORDERS[name]
            case ["element", name, count] if count.isdecimal() and name not in {e.name for e in elements}:
                elements.append(_PlyElement(name, int(count), []))
            case ["property", "list", count_type, kind, name] if (
                elements and kind in _PLY_TYPES and _PLY_TYPES.get(count_type, "f")[0] != "f"
            ):
                elements[-1].properties.append(_PlyProperty(name, _PLY_TYPES[kind], _PLY_TYPES[count_type]))
            case ["property", kind, name] if elements and kind in _PLY_TYPES:
                elements[-1].properties.append(_PlyProperty(name, _PLY_TYPES[kind]))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise BadMesh(f"the PLY header has a line that is not understood: '{line[:60]}'")
    if order is None:
        raise BadMesh("the PLY header names no format")
    return order, elements, newline + 1


def _ply_text(
    body: bytes, elements: Sequence[_PlyElement], wanted: dict[str, tuple[str, ...]]
) -> dict[str, _PlyColumns]:
    """Read text rows, one line each, into {element: {property: column}}."""
    lines = [fields for line in body.splitlines() if (fields := line.split())]
    columns: dict[str, _PlyColumns] = {}
    for element in elements:
        _require_room(element.count, len(lines), f"lines of element '{element.name}'")
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
            values: NDArray[np.generic] = _integers(flat, sum(sizes)) if is_list[name] else _numbers(flat, sum(sizes))
            columns.setdefault(element.name, {})[name] = _PlyColumn(values, sizes if is_list[name] else ())
    return columns


def _ply_binary(data: bytes, offset: int, order: str, elements: Sequence[_PlyElement]) -> dict[str, _PlyColumns]:
    columns: dict[str, _PlyColumns] = {}
    for element in elements:
        smallest = sum(np.dtype(prop.count_type or prop.type).itemsize for prop in element.properties)
        _require_room(element.count * smallest, len(data) - offset, f"bytes of element '{element.name}'")
        if not smallest or not element.count:
            continue
        column, offset = _ply_uniform(data, offset, order, element) or _ply_ragged(data, offset, order, element)
        columns[element.name] = column
    return columns


def _ply_uniform(data: bytes, offset: int, order: str, element: _PlyElement) -> tuple[_PlyColumns, int] | None:
    """Read all rows at once, with lists as long as those of the first row; None if a later row differs."""
    fields: list[tuple[str, str] | tuple[str, str, int]] = []
    lengths: dict[str, int] = {}
    at = offset
    for number, prop in enumerate(element.properties):
        if prop.count_type:
            length = _ply_length(data, at, order + prop.count_type)
            lengths[prop.name] = length
            fields += [(f"n{number}", order + prop.count_type), (f"p{number}", order + prop.type, length)]
            at += np.dtype(prop.count_type).itemsize + length * np.dtype(prop.type).itemsize
        else:
            fields.append((f"p{number}", order + prop.type))
            at += np.dtype(prop.type).itemsize
    if offset + element.count * (at - offset) > len(data):
        return None  # only its first rows can be that long
    rows = np.frombuffer(data, np.dtype(fields), count=element.count, offset=offset)
    column: _PlyColumns = {}
    for number, prop in enumerate(element.properties):
        values = rows[f"p{number}"]
        if prop.count_type:
            if (rows[f"n{number}"] != lengths[prop.name]).any():
                return None
            column[prop.name] = _PlyColumn(values.reshape(-1), [lengths[prop.name]] * element.count)
        else:
            column[prop.name] = _PlyColumn(values)
    return column, offset + element.count * (at - offset)


def _ply_ragged(data: bytes, offset: int, order: str, element: _PlyElement) -> tuple[_PlyColumns, int]:
    """Walk rows whose lists differ in length; every length is checked against the file before it is used."""
    sizes: dict[str, list[int]] = {prop.name: [] for prop in element.properties}
    chunks: dict[str, list[bytes]] = {prop.name: [] for prop in element.properties}
    for _ in range(element.count):
        for prop in element.properties:
            length = 1
            if prop.count_type:
                length = _ply_length(data, offset, order + prop.count_type)
                offset += np.dtype(prop.count_type).itemsize
            end = offset + length * np.dtype(prop.type).itemsize
            if end > len(data):
                raise BadMesh(f"the rows of element '{element.name}' are cut off")
            sizes[prop.name].append(length)
            chunks[prop.name].append(data[offset:end])
            offset = end
    column: _PlyColumns = {}
    for prop in element.properties:
        values = np.frombuffer(b"".join(chunks[prop.name]), order + prop.type)
        column[prop.name] = _PlyColumn(values, sizes[prop.name] if prop.count_type else ())
    return column, offset


def _ply_length(data: bytes, offset: int, kind: str) -> int:
    length = int(np.frombuffer(data, kind, count=1, offset=offset)[0])
    if not 0 <= length <= len(data):
        raise BadMesh(f"a list declares {length} values")
    return length


def _positions(rows: list[list[bytes]]) -> Positions:
    if any(len(row) != 3 for row in rows):
        raise BadMesh(f"{sum(len(row) != 3 for row in rows)} vertex lines have fewer than three coordinates")
    return _numbers(chain.from_iterable(rows), 3 * len(rows)).reshape(-1, 3)


def _numbers(fields: Iterable[bytes], count: int) -> NDArray[np.float64]:
    return np.fromiter(map(float, _no_underscores(fields)), np.float64, count=count)


def _integers(fields: Iterable[bytes], count: int) -> NDArray[np.int64]:
    return np.fromiter(map(int, _no_underscores(fields)), np.int64, count=count)


def _no_underscores(fields: Iterable[bytes]) -> Iterator[bytes]:
    for field in fields:
        if b"_" in field:  # Python reads 1_0 as ten; a mesh file that has it is broken
            raise ValueError(f"not a number: {field[:20]!r}")
        yield field


def _require_triangles(sizes: Sequence[int]) -> None:
    others = sum(size != 3 for size in sizes)
    if others:
        raise BadMesh(f"{others} of {len(sizes)} faces are not triangles; triangulate the mesh first")


def _require_room(declared: int, available: int, what: str) -> None:
    if not 0 <= declared <= available:
        raise BadMesh(f"declares {declared} {what} and has {available}")


def _no_faces(n_points: int, other: Counter[str]) -> BadMesh:
    found = [f"{count} {what}" for what, count in [("points", n_points), *other.items()] if count]
    return BadMesh(f"no faces, only {' and '.join(found)}: not a surface" if found else "no faces and no points")


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]


_READERS: dict[str, Callable[[bytes], tuple[Positions, Triangles]]] = {
    ".obj": _read_obj,
    ".stl": _read_stl,
    ".ply": _read_ply,
    ".off": _read_off,
}
SUFFIXES = tuple(_READERS)
