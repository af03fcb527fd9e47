"""Reader of Object File Format (OFF) files in text.

Source: Geomview manual, "OFF Files". PyMeshLab writes positions, colours, normals, in this order, under ``NCOFF``.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh
from gcbench.geometry.files.fields import integers, no_faces, numbers, require_text, shown, without_comments
from gcbench.geometry.files.notes import FileMesh, Polygons, Positions
from gcbench.geometry.files.polygons import as_triangles

_KEYWORD = re.compile(rb"((?:ST|C|N)*)(4?n?)OFF([0-9]*)")
_COLOUR = {0, 1, 3, 4}  # values of a colour: none, an index, red green blue, and alpha
_Lines = list[list[bytes]]
_Parsed = tuple[Positions, NDArray[np.int64], NDArray[np.int64], bool]  # positions, corners, sizes, are there colours


def read_off(data: bytes, polygons: Polygons) -> FileMesh:
    """Read an OFF file; leave out colours, normals and texture coordinates.

    Where each vertex and each face has a line, lines may end in colours. Elsewhere the values are read one after the
    other, and must be as many as the counts ask for.
    """
    if b"BINARY" in data[:64].split():
        raise BadMesh("binary OFF is not read; convert it to text OFF or PLY")
    require_text(data)
    kinds, lines = _keyword([fields for line in without_comments(data).splitlines() if (fields := line.split())])
    n_points, n_faces, body = _counts(lines)
    if not n_faces:
        raise no_faces(n_points, Counter())
    parsed = _by_lines(body, kinds, n_points, n_faces) or _by_values(body, kinds, n_points, n_faces)
    vertices, corners, sizes, has_colours = parsed
    dropped = {
        *(("colours",) if has_colours or b"C" in kinds else ()),
        *(("normals",) if b"N" in kinds else ()),
        *(("texture coordinates",) if b"ST" in kinds else ()),
    }
    return as_triangles(vertices, corners, sizes, polygons, dropped=tuple(sorted(dropped)))


def _keyword(lines: _Lines) -> tuple[bytes, _Lines]:
    """What vertices have beside positions, such as ``NC``; and the lines after the keyword."""
    if not lines:
        raise BadMesh("the file has no values")
    found = _KEYWORD.fullmatch(lines[0][0])
    if not found:
        raise BadMesh(f"not an OFF file: the first word is '{shown(lines[0][0])}' and not OFF, COFF, NOFF or the like")
    kinds, dimensions, glued = found.groups()
    if dimensions:
        raise BadMesh(f"'{shown(lines[0][0])}' has coordinates in another number of dimensions; only 3-D OFF is read")
    first = ([glued] if glued else []) + lines[0][1:]  # ModelNet has files that begin with "OFF490 518 0"
    return kinds, [first, *lines[1:]] if first else lines[1:]


def _counts(lines: _Lines) -> tuple[int, int, _Lines]:
    """Vertices, faces, and the lines after the counts. The third count, of edges, may be missing, and is not used."""
    values = list(chain.from_iterable(lines[:3]))
    if len(values) < 2:
        raise BadMesh("has no counts of vertices and faces after the word OFF")
    n_points, n_faces = integers(values[:2]).tolist()
    if min(n_points, n_faces) < 0:
        raise BadMesh(f"declares {n_points} vertices and {n_faces} faces")
    if len(lines[0]) == 2 and len(lines) > 1 and len(lines[1]) > 1:
        return n_points, n_faces, lines[1:]
    taken = 0
    while lines and taken + len(lines[0]) <= 3:
        taken += len(lines[0])
        lines = lines[1:]
    return n_points, n_faces, [lines[0][3 - taken :], *lines[1:]] if taken < 3 and lines else lines


def _by_lines(body: _Lines, kinds: bytes, n_points: int, n_faces: int) -> _Parsed | None:
    """Read one line for each vertex and face; None if the lines do not fit."""
    plain = 3 + 3 * (b"N" in kinds) + 2 * (b"ST" in kinds)
    widths = set(map(len, body[:n_points]))
    if len(body) != n_points + n_faces or len(widths) != 1 or not widths <= {3, plain, plain + 3, plain + 4}:
        return None
    faces = body[n_points:]
    sizes = integers([fields[0] for fields in faces])
    beyond = np.fromiter(map(len, faces), np.int64, count=n_faces) - 1 - sizes
    if not set(beyond.tolist()) <= _COLOUR or (sizes < 0).any():
        return None
    width = widths.pop()
    vertices = numbers(list(chain.from_iterable(body[:n_points]))).reshape(n_points, width)
    corners = integers(list(chain.from_iterable(f[1 : 1 + n] for f, n in zip(faces, sizes.tolist(), strict=True))))
    return np.ascontiguousarray(vertices[:, :3]), corners, sizes, bool(beyond.any()) or width > plain


def _by_values(body: _Lines, kinds: bytes, n_points: int, n_faces: int) -> _Parsed:
    """Read values one after the other, wherever lines end; no face has a colour then."""
    fields = list(chain.from_iterable(body))
    if b"C" in kinds:
        raise BadMesh("the lines do not fit the counts, and colours can only be told from faces by lines")
    width = 3 + 3 * (b"N" in kinds) + 2 * (b"ST" in kinds)
    end = n_points * width
    if end + n_faces > len(fields):
        raise BadMesh(
            f"declares {n_points} vertices and {n_faces} faces and has {len(fields)} values, which are too few: "
            "the file is cut off, or a count is wrong"
        )
    vertices = numbers(fields[:end]).reshape(n_points, width)
    values = integers(fields[end:])
    sizes = np.empty(n_faces, np.int64)
    at = 0
    for face in range(n_faces):
        if at >= len(values) or values[at] < 0:
            break
        sizes[face] = values[at]
        at += 1 + int(values[at])
    else:
        face = n_faces
    if face < n_faces or at > len(values):
        raise BadMesh(f"declares {n_faces} faces; the values end, or do not fit, at face {face}: the file is cut off")
    if at < len(values):
        raise BadMesh(f"{len(values) - at} values follow the {n_faces} faces that the file declares: a count is wrong")
    is_corner = np.ones(len(values), bool)
    is_corner[np.cumsum(sizes + 1) - sizes - 1] = False
    return np.ascontiguousarray(vertices[:, :3]), values[is_corner], sizes, False
