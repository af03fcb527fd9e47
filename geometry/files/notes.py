"""What a reader returns: the mesh of a file, and notes on what the reader did beyond copying numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Polygons = Literal["triangulate", "refuse"]
Positions = NDArray[np.float64]
Triangles = NDArray[np.int64]


@dataclass(frozen=True)
class FileNotes:
    """What a reader did to a file's content; everything empty for a file of triangles and positions alone.

    Parameters
    ----------
    polygons : int
        Faces with more than three corners, which were cut into triangles.
    crossing : int
        Those of them that cross themselves when seen from the front; a fan from the first corner stands for them.
    dropped : tuple of str
        Content beside positions and faces that was left out, such as ``("colours", "normals", "texture coordinates")``.
    remarks : tuple of str
        Clauses on content that the reader had to interpret, such as ``the header counts 0 facets, the file holds 80``.
    """

    polygons: int = 0
    crossing: int = 0
    dropped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileMesh:
    """The mesh of one file.

    Parameters
    ----------
    vertices : (n, 3) float64
        Positions as written.
    faces : (m, 3) int64
        Triangles, indices from 0, all below ``n``.
    notes : FileNotes
        What the reader did.
    """

    vertices: Positions
    faces: Triangles
    notes: FileNotes = FileNotes()
