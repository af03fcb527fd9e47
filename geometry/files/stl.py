"""Reader of STL files, binary and text."""

from __future__ import annotations

import struct
from collections import Counter

import numpy as np

from gcbench.errors import BadMesh
from gcbench.geometry.files.fields import Positions, Triangles, no_faces, positions, require_triangles

_HEADER = 84
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(data: bytes) -> tuple[Positions, Triangles]:
    """Read an STL file. Many binary files also begin with ``solid``, so the reader tests the size first."""
    declared = struct.unpack_from("<I", data, 80)[0] if len(data) >= _HEADER else None
    room = (len(data) - _HEADER) // _FACET.itemsize
    exact = declared is not None and len(data) == _HEADER + declared * _FACET.itemsize
    if not exact and data[:512].lstrip()[:5].lower() == b"solid" and b"facet" in data[:4096].lower():
        return _read_text(data)
    if declared is None:
        raise BadMesh(f"{len(data)} bytes are too short for a binary STL file, and it is not a text one")
    if declared > room:
        raise BadMesh(f"declares {declared} triangles and has room for {room}: cut off, or not an STL file")
    if declared == 0:
        raise no_faces(0, Counter())
    facets = np.frombuffer(data, _FACET, count=declared, offset=_HEADER)
    return _corners(facets["corners"].reshape(-1, 3).astype(np.float64))


def _read_text(data: bytes) -> tuple[Positions, Triangles]:
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
        raise no_faces(0, Counter())
    require_triangles(loop_sizes)
    return _corners(positions(points))


def _corners(points: Positions) -> tuple[Positions, Triangles]:
    return points, np.arange(len(points), dtype=np.int64).reshape(-1, 3)
