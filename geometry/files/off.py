"""Reader of Object File Format (OFF) files in text."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from gcbench.errors import BadMesh
from gcbench.geometry.files.fields import (
    Positions,
    Triangles,
    integers,
    no_faces,
    positions,
    require_room,
    require_triangles,
)


def read_off(data: bytes) -> tuple[Positions, Triangles]:
    """Read an OFF file; ignore colours, normals and texture coordinates after the positions."""
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
    n_points, n_faces = integers(counts[:2], 2).tolist()
    require_room(n_points + n_faces if min(n_points, n_faces) >= 0 else -1, len(body), "lines of vertices and faces")
    vertices = positions([fields[:3] for fields in body[:n_points]])
    if not n_faces:
        raise no_faces(n_points, Counter())
    polygons = body[n_points : n_points + n_faces]
    require_triangles(integers((fields[0] for fields in polygons), n_faces).tolist())
    if any(len(fields) < 4 for fields in polygons):
        raise BadMesh("a face line is cut off")
    return vertices, integers(chain.from_iterable(fields[1:4] for fields in polygons), 3 * n_faces).reshape(-1, 3)
