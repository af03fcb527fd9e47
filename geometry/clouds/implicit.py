"""The surface of a signed distance that is interpolated from oriented points, on the grid nodes near the points.

The distance at a node is a weighted mean over the points within 2½ cells; where the surface is flat, over the points
within 5 cells, which hides the steps between voxels and the errors of decoded points. Marching cubes runs on the cells
whose eight nodes all have a distance, so open surfaces end near their last points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gcbench.geometry.marching_cubes_tables import triangle_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

# A smaller cell follows the steps between voxels, a larger one loses detail; docs/points.md has the numbers.
_CELL = 1.5  # in spacings
_RADIUS = 2.5  # in cells
_WIDE_RADIUS = 5.0  # in cells
# Cells before the least coordinate. The half puts walls along the axes halfway between nodes; on nodes, thin parts of
# CAD models break (1514499 at 2^7: p2s 9 % higher).
_MARGIN = _WIDE_RADIUS + 1.5
_BAND = 2.0  # height up to which nodes get the wide mean; the surface crosses none beyond
_BENT, _FLAT = 0.95, 0.99  # length of the mean normal within the wide radius
_NEAR, _FAR = 0.15, 0.3  # in cells: heights of both radii that differ by more are different surfaces
_LEAST_WEIGHT = 0.2  # a point has the weight 1 at a node that it coincides with; less weight gives islands
_MOST_CELLS = 1 << 10  # along the longest side: memory grows with the square


def implicit_surface(points: Floats, normals: Floats, step: float) -> tuple[Floats, Ints]:
    """Mesh the surface through oriented points.

    Parameters
    ----------
    points : (N, 3) float64
        N ≥ 1, not negative.
    normals : (N, 3) float64
        Unit normals, out of solids.
    step : float
        Spacing of the points.

    Returns
    -------
    vertices : (V, 3) float64
        In the units of the points. V and F are 0 if the points define no surface.
    faces : (F, 3) int64
        Counterclockwise seen from outside.

    Source: Kolluri, "Provably good moving least squares", SODA 2005 (distance as a weighted mean); the mean of both
    normals in :func:`gcbench.geometry.clouds.implicit_kernels.heights` is ours.
    """
    from gcbench.geometry.clouds import implicit_kernels as kernels

    cell = max(_CELL * step, float(points.max()) / _MOST_CELLS)
    placed = points / cell + _MARGIN
    bricks = np.full(((placed.max(axis=0) + _WIDE_RADIUS) / kernels.SIDE).astype(np.int64) + 2, -1, np.int32)
    count = kernels.find_bricks(placed, _RADIUS, bricks)
    there = np.argwhere(bricks >= 0)
    places = np.empty((count, 3), np.int64)
    places[bricks[tuple(there.T)]] = there
    sums = np.zeros((count * kernels.SIDE**3, 8), np.float32)
    active = np.ones(len(sums), bool)
    kernels.splat(placed, normals, np.ones(len(placed)), _RADIUS, bricks, active, sums)
    known, height = np.empty(len(sums), bool), np.empty(len(sums), np.float32)
    kernels.heights(sums, _LEAST_WEIGHT, known, height)
    np.logical_and(known, np.abs(height) < _BAND, out=active)
    centres, means, counts = np.empty_like(placed), np.empty_like(placed), np.empty(len(placed))
    count = kernels.merge(placed, normals, bricks, np.full(len(sums), -1, np.int32), centres, means, counts)
    sums.fill(0.0)
    kernels.splat(centres[:count], means[:count], counts[:count], _WIDE_RADIUS, bricks, active, sums)
    kernels.smooth(sums, active, _BENT, _FLAT, _NEAR, _FAR, height)
    del sums
    number = np.empty((len(known), 3), np.int32)
    grid = places, bricks, known, height, number
    vertices = np.empty((kernels.place_vertices(*grid, np.empty((0, 3))), 3))
    kernels.place_vertices(*grid, vertices)
    table = triangle_table()
    faces = np.empty((kernels.place_faces(*grid, *table, np.empty((0, 3), np.int64)), 3), np.int64)
    kernels.place_faces(*grid, *table, faces)
    used, index = np.unique(faces, return_inverse=True)
    return (vertices[used] - _MARGIN) * cell, index.reshape(-1, 3).astype(np.int64)
