"""Where a mesh was before it was normalised, so that a decoded mesh can go back there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.anime import AnimeFile
from gcbench.datasets.base import MeshSource
from gcbench.datasets.mesh_bytes import MeshBytes
from gcbench.datasets.normalise import clean
from gcbench.errors import BadMesh


@dataclass(frozen=True)
class Placement:
    """Centre of a bounding box, and half of its longest side: the inverse of `normalise.normalise`.

    Parameters
    ----------
    centre : tuple of float
        x, y, z.
    half_side : float
        Positive.
    """

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    half_side: float = 1.0

    def restore(self, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Normalised positions (V, 3) in the coordinates of the file."""
        placed: NDArray[np.float64] = vertices * self.half_side + np.array(self.centre)
        return placed


def placement_of(source: MeshSource) -> Placement:
    """Read a mesh file and find its bounding box, over the vertices that faces use.

    Raises
    ------
    BadMesh
        The file is not a mesh, or cannot be read.
    """
    try:
        points, _ = clean(*_arrays(source.path, source.frame))
    except BadMesh as error:
        raise BadMesh(f"{source.path}: {error}") from error
    except OSError as error:
        raise BadMesh(f"{source.path} cannot be read: {error.strerror or error}") from error
    low, high = points.min(axis=0), points.max(axis=0)
    x, y, z = (float(value) for value in low / 2 + high / 2)
    return Placement((x, y, z), float((high - low).max()) / 2)


def _arrays(path: Path, frame: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    suffix = path.suffix.lower()
    if suffix == ".anime":
        found = AnimeFile(path).frame(frame)
        return found.vertices, found.faces
    read = MeshBytes.of(path).read()
    return read.vertices, read.faces
