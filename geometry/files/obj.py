"""Reader of Wavefront OBJ files."""

from __future__ import annotations

from collections import Counter

import numpy as np

from gcbench.errors import BadMesh
from gcbench.geometry.files.fields import Positions, Triangles, integers, no_faces, positions, require_triangles


def read_obj(data: bytes) -> tuple[Positions, Triangles]:
    """Read ``v`` and ``f`` lines; ignore normals, texture coordinates, groups and materials."""
    points: list[list[bytes]] = []
    polygons: list[list[bytes]] = []
    points_before: list[int] = []  # vertices read before each face; negative indices count back from here
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
    vertices = positions(points)
    if not polygons:
        raise no_faces(len(points), other)
    require_triangles([len(corners) for corners in polygons])
    corners = (corner.partition(b"/")[0] for polygon in polygons for corner in polygon)
    indices = integers(corners, 3 * len(polygons)).reshape(-1, 3)
    if not indices.all():
        raise BadMesh("a face has index 0; OBJ counts from 1")
    relative = np.array(points_before, dtype=np.int64)[:, None]
    if (indices < -relative).any():
        raise BadMesh("a face has a negative index that reaches before the first vertex")
    return vertices, np.where(indices > 0, indices - 1, indices + relative)
