"""Point clouds as PLY: written in the one form that both MPEG programs read, read in the forms that they write.

tmc3 reads binary int32 as zeros and does not know ``property double``; V-PCC crashes without colours. So: float32.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BitstreamError

MAX_HEADER_BYTES = 1 << 14
_TYPES = {
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
}


def write_points(path: Path, points: NDArray[np.int32], *, grey: int | None = None) -> None:
    """Write integer points as float32 coordinates.

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
    """Read the vertices of a PLY, ASCII or binary little-endian; what follows them is not looked at.

    Parameters
    ----------
    data : bytes
        The file.
    max_points : int
        More are not believed.

    Returns
    -------
    (N, 3) float64

    Raises
    ------
    BitstreamError
        Not such a file, cut short, more points than allowed, or a coordinate that is not finite.
    """
    ascii_numbers, count, fields, begin = _header(data)
    if count > max_points:
        raise BitstreamError(f"the PLY declares {count} points; the limit is {max_points}")
    # In ASCII a number takes a digit and a space.
    least = count * (2 * len(fields) if ascii_numbers else np.dtype(fields).itemsize) - ascii_numbers
    if len(data) - begin < least:
        raise BitstreamError(f"the PLY declares {count} points, which {len(data) - begin} bytes cannot hold")
    if not count:
        return np.zeros((0, 3))
    if ascii_numbers:
        points = _ascii(data[begin:], count, [name for name, _ in fields])
    else:
        table = np.frombuffer(data, np.dtype(fields), count, begin)
        points = np.stack([table[name] for name in "xyz"], axis=1).astype(np.float64)
    if not np.isfinite(points).all():
        raise BitstreamError("the PLY has a coordinate that is not finite")
    return points


def _ascii(body: bytes, count: int, names: list[str]) -> NDArray[np.float64]:
    if body.isspace():  # of which loadtxt would only warn
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


def _header(data: bytes) -> tuple[bool, int, list[tuple[str, str]], int]:
    """Whether it is ASCII, the count of vertices, their properties, and where they begin."""
    end = data.find(b"\nend_header\n", 0, MAX_HEADER_BYTES)
    if not data.startswith(b"ply\n") or end < 0:
        raise BitstreamError("not a PLY file")
    try:
        lines = [line.split() for line in data[:end].decode("ascii").splitlines()[1:]]
    except UnicodeDecodeError:
        raise BitstreamError("the header of the PLY is not ASCII") from None
    lines = [line for line in lines if line and line[0] not in {"comment", "obj_info"}]
    formats = [["format", one, "1.0"] for one in ("binary_little_endian", "ascii")]
    if not lines or lines[0] not in formats:
        raise BitstreamError("the PLY is neither ascii nor binary_little_endian 1.0")
    element = lines[1] if len(lines) > 1 else []
    if len(element) != 3 or element[:2] != ["element", "vertex"] or not _is_count(element[2]):
        raise BitstreamError("the PLY does not begin with vertices")
    fields: list[tuple[str, str]] = []
    for line in lines[2:]:
        if line[0] == "element":
            break
        if len(line) != 3 or line[0] != "property" or line[1] not in _TYPES:
            raise BitstreamError(f"the PLY has an unusual line in its header: {' '.join(line)[:80]}")
        fields.append((line[2], _TYPES[line[1]]))
    names = [name for name, _ in fields]
    if len(set(names)) != len(names) or not {"x", "y", "z"} <= set(names):
        raise BitstreamError("the vertices of the PLY have no x, y and z, or have something twice")
    return lines[0] == formats[1], int(element[2]), fields, end + len(b"\nend_header\n")


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12
