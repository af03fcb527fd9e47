"""The compressed parts of a glTF file: Draco streams, and buffer views of meshoptimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh
from gcbench.geometry.files.notes import Positions

_MODES = ("ATTRIBUTES", "TRIANGLES", "INDICES")
_FILTERS = ("NONE", "OCTAHEDRAL", "QUATERNION", "EXPONENTIAL", "COLOR")
_LARGEST_ROW = 256
_DRACO_HEADER, _DRACO_MESH = 11, 1
_MOST_FACES_PER_BYTE = 4096  # the densest streams have 683: a flat grid at one bit


def from_draco(data: bytes, declared: int, identity: object) -> tuple[Positions, NDArray[np.int64]]:
    """Positions and corners of a Draco stream.

    Parameters
    ----------
    data : bytes
    declared : int
        Vertices that the glTF file declares for the stream.
    identity : int
        Number of the attribute that holds positions.

    Raises
    ------
    BadMesh
        Draco refuses the stream, or the stream holds something else than declared.
    """
    try:
        import DracoPy
    except ImportError as error:
        raise BadMesh("the file is compressed with Draco: pip install DracoPy") from error
    _require_possible(data, declared)
    try:
        mesh = DracoPy.decode(data)
        points, faces = np.asarray(mesh.points, np.float64), np.asarray(mesh.faces, np.int64)
    except Exception as error:  # the C++ decoder raises many types of exceptions for bad streams
        raise BadMesh(f"Draco cannot decode a part of the file: {error}") from error
    found = next((a for a in getattr(mesh, "attributes", []) if a.get("unique_id") == identity), None)
    if found is not None and np.shape(found.get("data")) == points.shape:
        points = np.asarray(found["data"], np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) != declared:
        raise BadMesh(f"a Draco stream has {len(points)} vertices, and the file declares {declared}")
    return points, faces.reshape(-1)


def _require_possible(data: bytes, declared: int) -> None:
    """Check the counts of a Draco stream, for which Draco allocates memory before it reads the data.

    Source: Draco bitstream specification 2.2, sections "Draco header", "Edgebreaker" and "Sequential connectivity".
    """
    if len(data) < _DRACO_HEADER or not data.startswith(b"DRACO") or data[7] != _DRACO_MESH:
        raise BadMesh("a part that should be a Draco mesh is none")
    edgebreaker, flags = data[8], data[10]
    if flags & 0x80 or edgebreaker > 1:
        raise BadMesh("a Draco mesh has metadata or an unknown coding, which are not read here")
    at = _DRACO_HEADER + edgebreaker  # a byte says how edgebreaker walked
    first, at = _leb128(data, at)
    second, _ = _leb128(data, at)
    faces = second if edgebreaker else first
    if not 0 < faces <= _MOST_FACES_PER_BYTE * len(data) or first > 3 * max(faces, declared):
        raise BadMesh(f"a Draco mesh of {len(data)} bytes declares {faces} faces")


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number at a position, and the position after it."""
    value = 0
    for place, byte in enumerate(data[at : at + 5]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise BadMesh("a Draco mesh is cut off in its counts")


def from_meshopt(data: bytes, count: int, stride: int, view: Mapping[str, Any]) -> bytes:
    """The bytes of a buffer view that meshoptimizer compressed.

    Parameters
    ----------
    data : bytes
        Compressed.
    count, stride : int
        Rows, and bytes of a row.
    view : mapping
        ``mode`` and ``filter`` of the extension.

    Raises
    ------
    BadMesh
        An unknown mode or filter, rows of another length, or data that do not decode.
    """
    mode, filtered = view.get("mode"), view.get("filter", "NONE")
    if mode not in _MODES or filtered not in _FILTERS:
        raise BadMesh(f"a compressed view has the mode {str(mode)[:20]!r} and the filter {str(filtered)[:20]!r}")
    if count < 1 or not 1 <= stride <= _LARGEST_ROW:
        raise BadMesh(f"a compressed view has {count} rows of {stride} bytes")
    try:
        import meshopt
    except ImportError as error:
        raise BadMesh("the file is compressed with meshoptimizer: pip install meshopt") from error
    try:
        rows: NDArray[Any] = meshopt.decode_gltf_buffer(data, count, stride, mode, filtered)
    except (ValueError, RuntimeError) as error:
        raise BadMesh(f"meshoptimizer cannot decode a part of the file: {error}") from error
    return rows.tobytes()
