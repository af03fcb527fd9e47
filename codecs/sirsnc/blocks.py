"""The signed distance of a mesh, kept in blocks of 4³ grid vertices near the surface: what the network codes.

A block is kept if one of its vertices is in the band: less than one cell from the surface, or at an edge of the grid
that the surface crosses. So every crossed edge has both ends in kept blocks; a region without blocks is on one side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from gcbench.errors import BadMesh
from gcbench.geometry.grid import Grid
from gcbench.geometry.tsdf import band_distance, tsdf
from gcbench.geometry.winding import is_closed, merged_triangles

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

SIDE = 4  # vertices along a block
TRUNCATION = 4.0  # cells; values are clipped here
BAND = 1.0  # cells from the surface
REACH = 2  # blocks in each direction whose sides are known to the network
AROUND = (2 * REACH + 1) ** 3
_SHELL_CELLS = 0.75  # half the thickness of the shell that stands for a mesh without an inside
_LEAST_INSIDE, _LEAST_INSIDE_OPEN = 0.05, 1 / 3  # of the vertices less than a cell from a mesh; usual is about a half


@dataclass(frozen=True)
class Blocks:
    """The blocks of one mesh.

    Parameters
    ----------
    places : (M, 3) int32
        Coordinates in blocks, distinct, in Morton order (x most significant).
    values : (M, 64) float32
        Signed distance in cells, clipped to ±4. Vertices in Morton order: the eight vertices of an octant of 2³ are
        neighbours.
    band : (M, 8) bool
        Octants with a vertex in the band.
    around : (M, 125) int8
        See :func:`around`.
    """

    places: NDArray[np.int32]
    values: NDArray[np.float32]
    band: NDArray[np.bool_]
    around: NDArray[np.int8]


def blocks_of(mesh: trimesh.Trimesh, resolution: int, threads: int = 1) -> Blocks:
    """Compute the blocks of a mesh in [-1, 1]³; a mesh with next to no inside becomes a thin shell.

    A sheet has no inside, or a piece of one where it is bent; a plate may be thinner than a cell.

    Parameters
    ----------
    mesh : trimesh.Trimesh
    resolution : int
        Vertices along each side of the grid, a multiple of 4.

    Raises
    ------
    BadMesh
        The mesh has no faces, a coordinate is not finite, a vertex is outside [-1, 1]³, or the mesh is smaller
        than a cell of the grid.
    """
    grid = Grid(resolution, TRUNCATION)
    volume = tsdf(mesh, grid, threads)
    vertices, faces = merged_triangles(mesh)
    # The shell of a longer mesh has grid vertices inside; one of a point may have none, or lose them to the quantiser.
    if np.ptp(vertices, axis=0).max() < grid.spacing:
        raise BadMesh(f"the mesh is smaller than a cell of a grid of {resolution}³ vertices")
    inside = (volume[np.abs(volume) < BAND / TRUNCATION] < 0).mean()
    if inside < (_LEAST_INSIDE if is_closed(faces, len(vertices)) else _LEAST_INSIDE_OPEN):
        shell = band_distance(vertices[faces], grid, threads) - np.float32(_SHELL_CELLS * grid.spacing)
        volume = (shell / np.float32(grid.truncation)).clip(-1, 1)
    return cut(volume * np.float32(TRUNCATION))


def cut(volume: NDArray[np.float32]) -> Blocks:
    """The blocks of a dense volume (K, K, K) of signed distances in cells."""
    near = np.abs(volume) < BAND
    inside = volume < 0
    for axis in range(3):
        a, b = np.moveaxis(inside, axis, 0), np.moveaxis(near, axis, 0)
        crossed = a[1:] != a[:-1]
        b[1:] |= crossed
        b[:-1] |= crossed
    side = len(volume) // SIDE
    kept = np.argwhere(near.reshape(side, SIDE, side, SIDE, side, SIDE).any((1, 3, 5))).astype(np.int32)
    kept = kept[np.argsort(morton(kept), kind="stable")]
    at = tuple(np.moveaxis(SIDE * kept[:, None] + vertices_of_a_block(), -1, 0))
    values = volume[at].clip(-TRUNCATION, TRUNCATION)
    return Blocks(kept, values, near[at].reshape(-1, 8, 8).any(2), around(kept))


def around(places: NDArray[np.int32]) -> NDArray[np.int8]:
    """What the coordinates of all blocks say about the 5³ places around each block; a decoder knows it too.

    Parameters
    ----------
    places : (M, 3) int32
        Blocks.

    Returns
    -------
    (M, 125) int8
        0 for a block; 1 for a place that is connected to the outside of the grid past all blocks, hence outside; -1 for
        a place that blocks enclose, which is mostly inside. The last axis runs over x, y, z, z fastest.
    """
    empty = np.ones((int(places.max()) + 1 + 2 * REACH,) * 3, bool)
    empty[tuple((places + REACH).T)] = False
    region, _ = ndimage.label(empty)
    sides = np.where(region == region[0, 0, 0], np.int8(1), np.int8(-1))
    sides[~empty] = 0
    steps = np.stack(np.meshgrid(*[np.arange(2 * REACH + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    found: NDArray[np.int8] = sides[tuple(np.moveaxis(places[:, None] + steps, -1, 0))]
    return found


def morton(places: NDArray[np.integer]) -> NDArray[np.int64]:
    """Interleave the bits of coordinates (..., 3) below 2^10, x being the most significant of each three."""
    found = np.zeros(places.shape[:-1], np.int64)
    for bit in range(10):
        for axis in range(3):
            found |= (places[..., axis].astype(np.int64) >> bit & 1) << (3 * bit + 2 - axis)
    return found


def vertices_of_a_block() -> NDArray[np.int32]:
    """(64, 3): positions of a block's vertices in the block, in Morton order."""
    every = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return every[np.argsort(morton(every))].astype(np.int32)
