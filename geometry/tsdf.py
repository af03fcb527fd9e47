"""The truncated signed distance of a mesh on a grid: exact distances near the surface, signs from winding numbers."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from gcbench.errors import BadMesh
from gcbench.geometry.nearest import PointTree, TriangleTree, nearest
from gcbench.geometry.winding import INSIDE, Winding, is_closed, merged_triangles, orient

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

    from gcbench.geometry.grid import Grid
    from gcbench.geometry.surface import Floats, Ints

_SLACK = 1 + 1e-5  # distances are float32
_LARGEST_BLOCK = 16  # vertices along its side; a power of two
_OCTANTS = np.indices((2, 2, 2)).reshape(3, 8).T
_WITNESSES = 16  # vertices that vote on the side of a far region, where winding numbers of open meshes vary


def tsdf(mesh: trimesh.Trimesh, grid: Grid, threads: int = 1) -> NDArray[np.float32]:
    """Truncated signed distance of a mesh at the vertices of a grid.

    The function computes distances only where they are under the truncation; the values equal the full distance field,
    clipped. The generalised winding number gives the sign, so that open, self-intersecting and globally inverted meshes
    also have an inside.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        Inside [-1, 1]³; need not be closed, manifold or coherently oriented.
    grid : Grid
        Grid of the result.
    threads : int
        Number of threads; it does not change any value. libigl keeps the number of the first call in a process.

    Returns
    -------
    (K, K, K) float32
        Distance over truncation distance, in [-1, 1], negative inside; positive on the border.

    Raises
    ------
    BadMesh
        No faces, coordinates that are not finite, or outside [-1, 1]³.

    Source: Sec. 3.1; signs after Barill et al., Fast Winding Numbers for Soups and Clouds (2018).
    """
    os.environ.setdefault("IGL_NUM_THREADS", str(threads))  # libigl reads it once, and takes all cores without it
    vertices, faces = merged_triangles(mesh)
    if np.abs(vertices).max() > 1 + grid.spacing / 4:
        raise BadMesh("the mesh reaches out of [-1, 1]³: normalise it first")
    distance = band_distance(vertices[faces], grid, threads)
    faces = orient(faces, vertices)
    # The winding number of a closed mesh changes only at the surface. The winding number of an open mesh changes
    # everywhere, and the function computes it wherever it computes the distance.
    reach = grid.spacing / 2 * _SLACK if is_closed(faces, len(vertices)) else grid.truncation
    inside = _inside(vertices, faces, grid, distance < min(reach, grid.truncation))
    values = (distance / grid.truncation).astype(np.float32)
    np.negative(values, out=values, where=inside)
    return values


def band_distance(corners: Floats, grid: Grid, threads: int = 1) -> NDArray[np.float32]:
    """Unsigned distance to triangles (F, 3, 3) at the vertices of a grid, clipped to the truncation: (K, K, K) float32.

    The function skips blocks of vertices whose centre is too far from all triangles, and halves other blocks down to
    single vertices.
    """
    K, tree = grid.resolution, TriangleTree(corners)
    distance = np.full((K, K, K), grid.truncation, np.float32)
    side = _LARGEST_BLOCK
    blocks = side * np.indices((-(-K // side),) * 3).reshape(3, -1).T  # first vertex of each
    while True:
        centres: Floats = grid.origin + grid.spacing * (blocks + np.float64((side - 1) / 2))
        found, _ = nearest(PointTree(centres), tree, threads)
        if side == 1:
            distance[tuple(blocks.T)] = np.minimum(found.astype(np.float32), distance.dtype.type(grid.truncation))
            return distance
        reach = grid.truncation + math.sqrt(3) * grid.spacing * (side - 1) / 2
        side //= 2
        blocks = (blocks[found <= reach * _SLACK][:, None] + side * _OCTANTS).reshape(-1, 3)
        blocks = blocks[(blocks < K).all(axis=1)]
        if not len(blocks):
            return distance


def _inside(vertices: Floats, faces: Ints, grid: Grid, band: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which grid vertices are inside: one by one in the band, region by region outside it."""
    # Neighbours outside the band are on the same side: a surface between them would be within half a cell of one of
    # them, and the band is at least half a cell wide.
    region, count = ndimage.label(~band)
    border = np.ones(band.shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    enclosed = np.ones(count + 1, bool)
    enclosed[0] = False
    enclosed[region[border]] = False  # regions at the border are outside

    near = np.flatnonzero(band & ~border)
    deep = np.flatnonzero(enclosed[region])
    deep = deep[np.argsort(region.ravel()[deep], kind="stable")]
    labels, starts = np.unique(region.ravel()[deep], return_index=True)
    ends = np.append(starts[1:], len(deep))
    witnesses = deep[np.linspace(starts, ends - 1, _WITNESSES, axis=1).astype(np.int64)]

    queries = np.concatenate([near, witnesses.ravel()])
    points = grid.axis()[np.stack(np.unravel_index(queries, band.shape), axis=1)]
    wound = Winding(vertices, faces)(points)
    verdict = np.zeros(count + 1, bool)
    verdict[labels] = wound[len(near) :].reshape(witnesses.shape).mean(axis=1) > INSIDE
    inside: NDArray[np.bool_] = verdict[region]
    inside.ravel()[near] = wound[: len(near)] > INSIDE
    return inside
