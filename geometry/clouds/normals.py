"""Normals of points that lie densely on a surface, with consistent signs.

Two methods find the signs, the more reliable one first. Dense points divide space into regions, and a wall of points
between two regions separates inside from outside: normals there point from inside to outside. Where both sides of a
wall are the same region, as on open surfaces, signs spread from point to point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.geometry.clouds.neighbours import Columns

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Signs = NDArray[np.int8]

# In spacings of the points (see `spacing`).
_PLANE_RADIUS = 3.0
_GROWTH_RADIUS = 2.0
_FINEST_CELL = 2.0
# Labelling a grid of 256³ cells takes a second. Coarser grids may decide the signs of closed surfaces that have gaps on
# the finest grid.
_MOST_CELLS = 254
_LEAST_CELLS = 12
_GRIDS = 3
_POINTS_PER_CELL = 16  # least average for measuring the spacing


def spacing(points: Floats) -> float:
    """Spacing of points on a surface: the side of voxels such that each voxel of the surface has one point.

    The function measures the area with cells that hold 16 points or more on average, so that the arrangement within a
    cell has no effect. For the voxels of a surface, the result is 1 within a few per cent.

    Parameters
    ----------
    points : (N, 3) float64
        N ≥ 1.
    """
    low, extent = points.min(axis=0), float(np.ptp(points, axis=0).max())
    if extent == 0:
        return 1.0
    level = max(1, int(np.log2(len(points)) / 2) + 1)
    cells = np.minimum(((points - low) * (2.0**level / extent)).astype(np.int64), 2**level - 1)
    while True:
        key = np.sort((cells[:, 0] << 2 * level) | (cells[:, 1] << level) | cells[:, 2])
        first = np.diff(key, prepend=-1) > 0
        key = key[first]
        if len(points) >= _POINTS_PER_CELL * len(key) or level == 1:
            return float(extent / 2**level * np.sqrt(len(key) / len(points)))
        mask = (1 << level) - 1
        cells = np.stack([key >> 2 * level, (key >> level) & mask, key & mask], axis=1) >> 1
        level -= 1


def oriented_normals(cloud: Columns, step: float) -> Floats:
    """Unit normals of points, (N, 3): they point out of solids, and to one side along open surfaces.

    Parameters
    ----------
    cloud : Columns
        The points.
    step : float
        Their spacing.
    """
    from gcbench.geometry.clouds import neighbours
    from gcbench.geometry.clouds import normals_kernels as kernels

    normals = np.empty_like(cloud.points)
    neighbours.fit_planes(cloud, _PLANE_RADIUS * step, normals)
    sign = _votes(cloud, normals, step)
    kernels.grow(cloud, normals, _GROWTH_RADIUS * step, sign)
    majority = np.empty_like(sign)
    kernels.agree(cloud, normals, _GROWTH_RADIUS * step, sign, majority)
    normals *= majority[:, None]
    return normals


def _votes(cloud: Columns, normals: Floats, step: float) -> Signs:
    """Signs from regions: 1 or -1 where a point sees solid on one side and space on the other, else 0."""
    # Where both sides are the same kind of region, a gap may connect them: the next, coarser grid may close the gap. A
    # coarser grid does not help where one side is blocked.
    from gcbench.geometry.clouds import normals_kernels as kernels

    sign = np.zeros(len(normals), np.int8)
    extent = float(cloud.points.max())
    cell = max(_FINEST_CELL * step, extent / _MOST_CELLS)
    asked = np.arange(len(normals))
    for _ in range(_GRIDS):
        if extent / cell < _LEAST_CELLS or not len(asked):
            break
        label, solid = _regions(cloud, normals, cell)
        seen = np.empty((len(asked), 2), np.int64)
        kernels.look(cloud, normals, asked, label, cell, seen)
        along, against = solid[seen].T
        sign[asked] = (against - along) // 2 * (along * against != 0)
        asked = asked[(along == against) & (along != 0)]
        cell *= 2
    return sign


def _regions(cloud: Columns, normals: Floats, cell: float) -> tuple[NDArray[np.int32], Signs]:
    """Label the empty regions of a grid; returns labels and, by label, 1 for solid, -1 for space, 0 for neither."""
    # The outermost region is space. Solid and space alternate along a spanning tree of the walls that most points see.
    from scipy.ndimage import label as connect
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    from gcbench.geometry.clouds import normals_kernels as kernels

    side = int(cloud.points.max() / cell) + 3
    empty = np.ones((side, side, side), bool)
    x, y, z = (cloud.points / cell + 1.0).astype(np.int64).T
    empty[x, y, z] = False
    label, count = connect(empty, output=np.int32)
    witnesses = np.arange(0, len(cloud.points), 1 + len(cloud.points) // 200_000)
    seen = np.empty((len(witnesses), 2), np.int64)
    kernels.look(cloud, normals, witnesses, label, cell, seen)
    outside = int(label[0, 0, 0])
    solid = np.zeros(count + 1, np.int8)
    solid[outside] = -1
    seen = np.sort(seen[(seen.min(axis=1) > 0) & (seen[:, 0] != seen[:, 1])], axis=1)
    if len(seen):
        pairs, often = np.unique(seen, axis=0, return_counts=True)
        walls = coo_array((1.0 / often, (pairs[:, 0], pairs[:, 1])), shape=(count + 1, count + 1)).tocsr()
        reached, before = breadth_first_order(minimum_spanning_tree(walls), outside, directed=False)
        for region in reached[1:]:
            solid[region] = -solid[before[region]]
    return label, solid
