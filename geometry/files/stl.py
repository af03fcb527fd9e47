"""Reader of STL files, binary and text.

Source: 3D Systems, "Stereolithography Interface Specification", 1989.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh
from gcbench.geometry.files.fields import no_faces, numbers, require_text, shown
from gcbench.geometry.files.notes import FileMesh, Polygons, Positions
from gcbench.geometry.files.polygons import as_triangles

_HEADER = 84
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
# A solid's name ends with its line, or where a facet begins if the whole file is one line.
_NAME = re.compile(rb"solid\b[^\r\n]*?(?=\sfacet\s+(?:normal|outer)\s|\ssolid\x01|[\r\n]|$)")
_WORDS = {0: b"facet", 1: b"normal", 5: b"outer", 6: b"loop", 19: b"endloop", 20: b"endfacet"} | dict.fromkeys(
    (7, 11, 15), b"vertex"
)


def is_exact_binary(data: bytes) -> bool:
    """Whether the size is exactly what the count of a binary STL file asks for."""
    if len(data) <= _HEADER:
        return False
    return bool(len(data) == _HEADER + struct.unpack_from("<I", data, 80)[0] * _FACET.itemsize)


def read_stl(data: bytes, polygons: Polygons) -> FileMesh:
    """Read an STL file. Many binary files also begin with ``solid``, so the reader tests the size first."""
    if not is_exact_binary(data) and data[:512].lstrip()[:5].lower() == b"solid" and b"\0" not in data[:4096]:
        return _read_text(data, polygons)
    if len(data) < _HEADER:
        raise BadMesh(f"{len(data)} bytes are too short for a binary STL file, and it is not a text one")
    declared = struct.unpack_from("<I", data, 80)[0]
    held, beyond = divmod(len(data) - _HEADER, _FACET.itemsize)
    if declared > held:
        raise BadMesh(f"declares {declared} triangles and has room for {held}: cut off, or not an STL file")
    if not held:
        raise no_faces(0, Counter())
    remarks: tuple[str, ...] = ()
    if declared == 0 and not beyond:  # a program that writes to a pipe cannot go back to fill in the count
        declared = held
        remarks = (f"the header counts 0 facets, the file holds {held}",)
    if declared < held:
        raise BadMesh(f"declares {declared} triangles and holds {held}: the count is wrong; write the file again")
    if beyond:
        remarks = (f"{beyond} bytes follow the facets",)
    facets = np.frombuffer(data, _FACET, count=declared, offset=_HEADER)
    return _mesh(facets["corners"].reshape(-1, 3).astype(np.float64), np.full(declared, 3), polygons, remarks)


def _read_text(data: bytes, polygons: Polygons) -> FileMesh:
    require_text(data)
    text = data.lower().replace(b"endsolid", b"solid\1")
    names: list[bytes] = _NAME.findall(text)
    fields = _NAME.sub(b"", text).split()
    if not names[-1].startswith(b"solid\1"):
        raise BadMesh("the file ends without 'endsolid': it is cut off")
    if not fields:
        raise no_faces(0, Counter())
    if len(fields) % 21 == 0 and all(set(fields[at::21]) == {word} for at, word in _WORDS.items()):
        columns = [fields[at::21] for at in (8, 9, 10, 12, 13, 14, 16, 17, 18)]
        points = np.stack([numbers(column) for column in columns], axis=1).reshape(-1, 3)
        return _mesh(points, np.full(len(points) // 3, 3), polygons)
    return _mesh(*_facets(fields), polygons)


def _facets(fields: list[bytes]) -> tuple[Positions, list[int]]:
    """Read facets word by word: facets without normals, and with more than three corners."""
    points: list[bytes] = []
    sizes: list[int] = []
    at = 0

    def expect(*words: bytes) -> None:
        nonlocal at
        for word in words:
            if at >= len(fields):
                raise BadMesh("the last facet is cut off")
            if fields[at] != word:
                raise BadMesh(f"facet {len(sizes)} has '{shown(fields[at])}' where '{word.decode()}' is due")
            at += 1

    while at < len(fields):
        expect(b"facet")
        if at < len(fields) and fields[at] == b"normal":
            at += 4
        expect(b"outer", b"loop")
        size = 0
        while at < len(fields) and fields[at] == b"vertex":
            points += fields[at + 1 : at + 4]
            at += 4
            size += 1
        expect(b"endloop", b"endfacet")
        sizes.append(size)
    return numbers(points).reshape(-1, 3), sizes


def _mesh(
    points: Positions, sizes: Sequence[int] | NDArray[np.int64], polygons: Polygons, remarks: tuple[str, ...] = ()
) -> FileMesh:
    return as_triangles(points, np.arange(len(points), dtype=np.int64), sizes, polygons, remarks=remarks)
