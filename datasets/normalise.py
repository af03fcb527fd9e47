"""Normalise meshes: merge vertices, centre and scale; and compute the sizes and the hash of the result."""

from __future__ import annotations

import hashlib
import math
import struct
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh

_DOMAIN = b"gcbench mesh 1\0"


def clean(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Merge vertices at exactly equal positions and drop those that no face uses.

    Faces are neither dropped nor reordered: degenerate, duplicate and non-manifold faces are part of the input that
    codecs must handle. Vertices keep the order of their first occurrence.

    Returns
    -------
    vertices : (n', 3) float64
        Distinct positions; −0 becomes 0.
    faces : (m, 3) int64
        The same triangles.

    Raises
    ------
    BadMesh
        There are no faces, an index is out of range, or a used position is NaN or infinite.
    """
    if not len(faces):
        raise BadMesh("no faces")
    if faces.min() < 0 or faces.max() >= len(vertices):
        wrong = int(((faces < 0) | (faces >= len(vertices))).any(axis=1).sum())
        raise BadMesh(f"{wrong} of {len(faces)} faces have an index outside the {len(vertices)} vertices")
    is_used = np.zeros(len(vertices), dtype=bool)
    is_used[faces] = True
    points = vertices[is_used] + 0.0  # −0 + 0 = 0, so that equal numbers are equal bits
    if not np.isfinite(points).all():
        wrong = int((~np.isfinite(points)).any(axis=1).sum())
        raise BadMesh(f"{wrong} of {len(points)} vertices are NaN or infinite")
    order = np.lexsort(points.T)  # stable: the first of a run of equals is the first in the file
    is_first = np.ones(len(points), dtype=bool)
    is_first[1:] = (points[order][1:] != points[order][:-1]).any(axis=1)
    representative = np.empty(len(points), dtype=np.int64)
    representative[order] = order[is_first][np.cumsum(is_first) - 1]
    kept = np.unique(representative)
    new_index = np.empty(len(points), dtype=np.int64)
    new_index[kept] = np.arange(len(kept))
    rank = np.cumsum(is_used) - 1
    return points[kept], new_index[representative[rank[faces]]]


def normalise(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Centre the bounding box at 0 and scale its longest side to exactly [−1, 1].

    Computed as ``2 (x − lo) / L − (hi − lo) / L``: the box is symmetric about 0 to the last bit, and the longest side
    ends at exactly −1 and 1, in spite of rounding.

    Parameters
    ----------
    vertices : (n, 3) float64
        Finite positions, all of them used.
    faces : (m, 3) int64
        Triangles, to refuse a mesh without area.

    Raises
    ------
    BadMesh
        The extent of the box is zero or overflows, or every face is degenerate.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    with np.errstate(over="ignore"):
        extent = high - low
    longest = float(extent.max())
    if not math.isfinite(longest):
        raise BadMesh("the bounding box is too large for floating-point numbers")
    if longest < np.finfo(np.float64).tiny:
        raise BadMesh("zero extent: all vertices are at one point")
    scaled: NDArray[np.float64] = 2.0 * ((vertices - low) / longest) - extent / longest
    edges = scaled[faces[:, 1:]] - scaled[faces[:, :1]]
    if not np.cross(edges[:, 0], edges[:, 1]).any():
        raise BadMesh(f"all {len(faces)} faces are degenerate: the surface has no area")
    return scaled


def content_sha256(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> str:
    """SHA-256 of positions as little-endian float64 and triangles as little-endian int64, with counts in front."""
    digest = hashlib.sha256(_DOMAIN + struct.pack("<QQ", len(vertices), len(faces)))
    digest.update(np.ascontiguousarray(vertices, dtype="<f8").data)
    digest.update(np.ascontiguousarray(faces, dtype="<i8").data)
    return digest.hexdigest()


def _least_double_printed_as(power: int) -> float:
    """The least x for which ``"%.6f" % x`` has ``power + 1`` digits before the point.

    This is the least double ≥ 10^power − 5·10⁻⁷. The bound itself is never a double, so there are no ties.
    """
    bound = 10**power - Fraction(5, 10**7)
    nearest = float(bound)
    return nearest if Fraction(nearest) >= bound else math.nextafter(nearest, math.inf)


_MORE_DIGITS = np.array([_least_double_printed_as(power) for power in range(1, 309)])
_POWERS_OF_TEN = 10 ** np.arange(1, 19, dtype=np.int64)


def obj_bytes(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> int:
    r"""Size of the mesh as an OBJ file of lines ``"v %.6f %.6f %.6f\n"`` and ``"f %d %d %d\n"``, without writing it.

    Positions are finite; a negative number that rounds to zero prints as ``-0.000000``, as in C. Indices from 0 are
    written from 1.
    """
    coordinate = len("0.000000")
    carried = np.searchsorted(_MORE_DIGITS, np.abs(vertices), side="right").sum()
    v_lines = len(vertices) * (len("v   \n") + 3 * coordinate) + int(np.signbit(vertices).sum()) + int(carried)
    f_lines = len(faces) * (len("f   \n") + 3) + int(np.searchsorted(_POWERS_OF_TEN, faces + 1, side="right").sum())
    return v_lines + f_lines


def raw_bytes(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> int:
    """12 V + 12 F: float32 positions and int32 triangles."""
    return 12 * len(vertices) + 12 * len(faces)
