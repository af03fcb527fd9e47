"""Where a mesh lies: the similarity that takes the cube [-1, 1]³ of coding back to the coordinates of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import trimesh

from gcbench.errors import BadMesh

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAME = 1e-6  # of the cube: a mesh this close to normalised is taken as normalised, and its placement not stored


def placement(mesh: trimesh.Trimesh) -> NDArray[np.float32]:
    """Centre of the bounding box and half its longest side, (4,) float32: x, y, z, scale.

    Raises
    ------
    BadMesh
        No faces, positions that are not finite, or no extent.
    """
    if not len(mesh.faces):
        raise BadMesh("no faces")
    points = np.asarray(mesh.vertices, np.float64)[np.unique(mesh.faces)]
    if not np.isfinite(points).all():
        raise BadMesh("some vertices are NaN or infinite")
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2
    if not 0 < np.float32(half) < np.inf:
        raise BadMesh(f"the bounding box has the extent {2 * half:g}")
    return np.append((low + high) / 2, half).astype(np.float32)


def is_normalised(place: NDArray[np.float32]) -> bool:
    """Whether a mesh lies in the cube already, so that its placement need not be stored."""
    return bool(np.abs(place - np.array([0, 0, 0, 1])).max() <= _SAME)


def into_cube(mesh: trimesh.Trimesh, place: NDArray[np.float32]) -> trimesh.Trimesh:
    """A copy of the geometry, centred and scaled so that its longest side spans [-1, 1]."""
    vertices = (np.asarray(mesh.vertices, np.float64) - place[:3]) / float(place[3])
    return trimesh.Trimesh(vertices, mesh.faces, process=False, validate=False)


def out_of_cube(vertices: NDArray[np.float64], place: NDArray[np.float32]) -> NDArray[np.float64]:
    """Positions (V, 3) in the coordinates of the input."""
    return vertices * float(place[3]) + place[:3].astype(np.float64)
