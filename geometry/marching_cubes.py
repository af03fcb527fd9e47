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
        value = _at_centres(distance, cells, step, spacing)
        near = np.abs(value) <= slope * spacing * step * np.sqrt(3) / 2
        blocks = volume[:-1, :-1, :-1].reshape(*[resolution // step, step] * 3, copy=False)
        x, y, z = cells[~near].T // step
        blocks[x, :, y, :, z] = value[~near, None, None, None]
        cells = cells[near]
        step //= 2
        if step > 1:  # else the cells keep a side of 2: their children would take a gigabyte if all cells are near
            cells = (cells[:, None] + _corners(2) * np.int16(step)).reshape(-1, 3)
    _evaluate_corners(distance, volume, cells, 2 if resolution > _COARSEST else 1, spacing)
    for axis in range(3):
        border = np.moveaxis(volume, axis, 0)
        border[[0, -1]] = np.maximum(border[[0, -1]], spacing)
    # If a grid point lay on the surface, the vertices on all its edges would coincide: the mesh would be no manifold.
    least = np.float32(_LEAST * spacing)
    for plane in volume:  # plane by plane, because temporary arrays of the whole volume would double the memory
        np.copyto(plane, np.where(plane < 0, -least, least), where=np.abs(plane) < least)
    return volume


def evaluated_points(resolution: int) -> int:
    """The most points at which :func:`evaluate` evaluates a distance: where the surface can pass through every cell."""
    centres, step = 0, resolution // _COARSEST
    while step > 1:
        centres, step = centres + (resolution // step) ** 3, step // 2
    return centres + (resolution + 1) ** 3


def crossings(inside: NDArray[np.bool_]) -> int:
    """Number of grid edges with one end inside: the vertices of the surface, which has some two triangles for each."""
    along = (inside, inside.transpose(1, 0, 2), inside.transpose(2, 0, 1))
    return sum(int(np.count_nonzero(one[1:] != one[:-1])) for one in along)


def surface(
    volume: NDArray[np.float32], most_triangles: int = 1 << 23
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mesh the surface where the distance is 0.

    Parameters
    ----------
    volume : (resolution + 1, ...) float32
        Result of :func:`evaluate`.
    most_triangles : int
        A volume of noise has millions of triangles; they are counted before they are made.

    Returns
    -------
    vertices : (V, 3) float64
        In the cube of half side 1.05.
    faces : (F, 3) int64
        Triangles with outward normals.

    Raises
    ------
    BitstreamError
        The volume has no surface, or a surface of more triangles.
    """
    from skimage.measure import marching_cubes

    if not volume.min() < 0 < volume.max():
        raise BitstreamError("the decoded distance has no surface")
    if (triangles := 2 * crossings(volume < 0)) > most_triangles:
        raise BitstreamError(f"the decoded surface has some {triangles} triangles; the limit is {most_triangles}")
    # Lorensen's method places all vertices on edges of the grid; Lewiner's method does not.
    vertices, faces, _, _ = marching_cubes(volume, 0.0, method="lorensen", gradient_direction="descent")
    spacing = 2 * HALF_SIDE / (len(volume) - 1)
    return vertices.astype(np.float64) * spacing - HALF_SIDE, faces.astype(np.int64)


def _corners(side: int) -> NDArray[np.int16]:
    """Points of a grid, (side³, 3), in int16 to save memory; there may be millions, of at most 256 along a side."""
    return np.stack(np.meshgrid(*[np.arange(side, dtype=np.int16)] * 3, indexing="ij"), -1).reshape(-1, 3)


def _at_centres(distance: Distance, cells: NDArray[np.int16], step: int, spacing: float) -> NDArray[np.float32]:
    """Distance at the centre of each cell, given by its lowest corner (n, 3): (n,)."""
    values = np.empty(len(cells), np.float32)
    for begin in range(0, len(cells), _CHUNK):
        centres = (cells[begin : begin + _CHUNK] + step / 2) * spacing - HALF_SIDE
        values[begin : begin + _CHUNK] = distance(centres.astype(np.float32))
    return values


def _evaluate_corners(
    distance: Distance, volume: NDArray[np.float32], cells: NDArray[np.int16], side: int, spacing: float
) -> None:
    """Evaluate the distance at all grid points of cells of a side, given by their lowest corners (n, 3)."""
    wanted = np.zeros(volume.shape, bool)
    for begin in range(0, len(cells), _CHUNK):
        part = cells[begin : begin + _CHUNK].astype(np.int64)
        for corner in _corners(side + 1):
            wanted[tuple((part + corner).T)] = True
    flat, values = wanted.reshape(-1), volume.reshape(-1)
    waiting = np.zeros(0, np.int64)
    for begin in range(0, flat.size, _CHUNK):  # places of all points at once would take more memory than the volume
        waiting = np.concatenate([waiting, begin + np.flatnonzero(flat[begin : begin + _CHUNK])])
        while len(waiting) >= _CHUNK or (len(waiting) and begin + _CHUNK >= flat.size):
            points, waiting = waiting[:_CHUNK], waiting[_CHUNK:]
            where = np.stack(np.unravel_index(points, volume.shape), -1)
            values[points] = distance((where * spacing - HALF_SIDE).astype(np.float32))
