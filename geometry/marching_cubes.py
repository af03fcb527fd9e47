"""Triangles of the surface of a signed distance function, which is evaluated on a grid from coarse to fine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BitstreamError

HALF_SIDE = 1.05  # half side of the meshed cube: meshes span [-1, 1], and the border should not touch them
_COARSEST = 16  # cells along a side
_CHUNK = 1 << 17
_LEAST = 1e-3  # cells between a grid point and the surface

Distance = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def evaluate(distance: Distance, resolution: int, *, slope: float = 2.0) -> NDArray[np.float32]:
    """Evaluate a distance on a grid, near its surface only.

    The function divides a cell only if the surface can pass through the cell: if the distance at the centre is at most
    ``slope`` times the half diagonal. Grid points of undivided cells get the distance at the centre.

    Parameters
    ----------
    distance : callable
        (n, 3) float32 points to (n,) float32 distances, negative inside.
    resolution : int
        Cells along a side of the cube, a power of two, at least 16.
    slope : float
        Bound of the gradient's length, which is 1 for a distance and near 1 for a network.

    Returns
    -------
    (resolution + 1, resolution + 1, resolution + 1) float32
        Positive on the border, so that every surface is closed, and nowhere 0.
    """
    spacing = 2 * HALF_SIDE / resolution
    volume = np.ones((resolution + 1,) * 3, np.float32)
    step = resolution // _COARSEST
    cells = _corners(_COARSEST) * np.int16(step)  # the lowest corner of each cell
    while step > 1:
        centre = (cells + step / 2) * spacing - HALF_SIDE
        value = _evaluate(distance, centre)
        near = np.abs(value) <= slope * spacing * step * np.sqrt(3) / 2
        blocks = volume[:-1, :-1, :-1].reshape(*[resolution // step, step] * 3, copy=False)
        x, y, z = cells[~near].T // step
        blocks[x, :, y, :, z] = value[~near, None, None, None]
        step //= 2
        cells = (cells[near][:, None] + _corners(2) * np.int16(step)).reshape(-1, 3)
    # Each remaining cell has side 1, and is stored as its lowest corner: all eight corners need a value.
    wanted = np.zeros(volume.shape, bool)
    for corner in _corners(2):
        wanted[tuple((cells + corner).T)] = True
    points = np.flatnonzero(wanted)
    for part in np.split(points, range(_CHUNK, len(points), _CHUNK)):
        where = np.stack(np.unravel_index(part, volume.shape), -1)
        volume.reshape(-1)[part] = _evaluate(distance, where * spacing - HALF_SIDE)
    for axis in range(3):
        border = np.moveaxis(volume, axis, 0)
        border[[0, -1]] = np.maximum(border[[0, -1]], spacing)
    # If a grid point lay on the surface, the vertices on all its edges would coincide: the mesh would be no manifold.
    least = np.float32(_LEAST * spacing)
    np.copyto(volume, np.where(volume < 0, -least, least), where=np.abs(volume) < least)
    return volume


def surface(volume: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mesh the surface where the distance is 0.

    Parameters
    ----------
    volume : (resolution + 1, ...) float32
        Result of :func:`evaluate`.

    Returns
    -------
    vertices : (V, 3) float64
        In the cube of half side 1.05.
    faces : (F, 3) int64
        Triangles with outward normals.

    Raises
    ------
    BitstreamError
        The volume has no surface.
    """
    from skimage.measure import marching_cubes

    if not volume.min() < 0 < volume.max():
        raise BitstreamError("the decoded distance has no surface")
    # Lorensen's method places all vertices on edges of the grid; Lewiner's method does not.
    vertices, faces, _, _ = marching_cubes(volume, 0.0, method="lorensen", gradient_direction="descent")
    spacing = 2 * HALF_SIDE / (len(volume) - 1)
    return vertices.astype(np.float64) * spacing - HALF_SIDE, faces.astype(np.int64)


def _corners(side: int) -> NDArray[np.int16]:
    """Points of a grid, (side³, 3), in int16 to save memory; there may be millions, of at most 256 along a side."""
    return np.stack(np.meshgrid(*[np.arange(side, dtype=np.int16)] * 3, indexing="ij"), -1).reshape(-1, 3)


def _evaluate(distance: Distance, points: NDArray[np.floating]) -> NDArray[np.float32]:
    single = points.astype(np.float32)
    parts = [distance(single[begin : begin + _CHUNK]) for begin in range(0, len(single), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
