"""Readers of OBJ, STL, PLY and OFF files: bytes of one file to positions and triangles, exactly as written.

The readers of trimesh triangulate polygons as fans, split vertices at texture seams and trust declared sizes. These
readers refuse polygons and impossible sizes, and keep vertices. `ply` also reads and writes clouds of points.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from gcbench.errors import BadMesh
from gcbench.geometry.files.fields import Positions, Triangles
from gcbench.geometry.files.obj import read_obj
from gcbench.geometry.files.off import read_off
from gcbench.geometry.files.ply import read_ply
from gcbench.geometry.files.stl import read_stl

_READERS: dict[str, Callable[[bytes], tuple[Positions, Triangles]]] = {
    ".obj": read_obj,
    ".stl": read_stl,
    ".ply": read_ply,
    ".off": read_off,
}
SUFFIXES = tuple(_READERS)


def read(data: bytes, suffix: str) -> tuple[Positions, Triangles]:
    """Parse the bytes of a mesh file.

    Memory stays proportional to ``len(data)``: the readers first compare every declared count with the data's length.

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


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]
