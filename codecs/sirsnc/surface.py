"""From decoded octants to a mesh: the sign of what was not decoded, then marching cubes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from gcbench.codecs.sirsnc.blocks import SIDE, vertices_of_a_block
from gcbench.entropy.budget import Work
from gcbench.errors import BitstreamError
from gcbench.geometry.grid import Grid
from gcbench.geometry.marching_cubes import crossings

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FAR = 2.0  # the value of a vertex in no block, in cells
_LEAST = 1e-3  # of a value's magnitude, in cells: no vertex of the mesh lies on a vertex of the grid


def volume_of(places: NDArray[np.integer], values: NDArray[np.float32], resolution: int) -> NDArray[np.float32]:
    """Put blocks into a dense volume; a region without blocks is on the side that the vertices around it vote for.

    No edge between a vertex of a block and a vertex of such a region is crossed, see :mod:`.blocks`. So the vertices of
    blocks that touch a region get its sign, whatever the network said.

    Parameters
    ----------
    places : (M, 3) int
        Blocks.
    values : (M, 64) float32
        Signed distances in cells, vertices in Morton order.
    resolution : int
        K, a multiple of 4.

    Returns
    -------
    (K, K, K) float32
        Negative inside; positive where a region meets the border of the grid. Nowhere 0.
    """
    side = resolution // SIDE
    empty = np.ones((side,) * 3, bool)
    empty[tuple(places.T)] = False
    region, count = ndimage.label(empty)
    blocks = np.zeros((side, side, side, SIDE, SIDE, SIDE), np.float32)
    x, y, z = vertices_of_a_block().T
    blocks[tuple(places.T)] = _in_order(values, x, y, z)
    sign = _sides(blocks, region, count)[region]
    blocks[empty] = (_FAR * sign[empty])[:, None, None, None]
    for axis in range(3):
        for step in (1, -1):
            beside = np.roll(region, -step, axis)
            np.moveaxis(beside, axis, 0)[-1 if step == 1 else 0] = 0
            touching = (region == 0) & (beside > 0)
            face = np.moveaxis(blocks, 3 + axis, 3)[..., -1 if step == 1 else 0, :, :]
            wanted = np.roll(sign, -step, axis)[touching][:, None, None]
            face[touching] = wanted * np.maximum(face[touching] * wanted, _LEAST)
    blocks = np.where(np.abs(blocks) < _LEAST, np.where(blocks < 0, -_LEAST, _LEAST), blocks).astype(np.float32)
    return np.ascontiguousarray(blocks.transpose(0, 3, 1, 4, 2, 5).reshape((resolution,) * 3))


def _in_order(
    values: NDArray[np.float32], x: NDArray[np.int32], y: NDArray[np.int32], z: NDArray[np.int32]
) -> NDArray[np.float32]:
    cubes = np.empty((len(values), SIDE, SIDE, SIDE), np.float32)
    cubes[:, x, y, z] = values
    return cubes


def _sides(blocks: NDArray[np.float32], region: NDArray[np.int32], count: int) -> NDArray[np.float32]:
    """The sign of each region, (count + 1,): that of the sum of the values at the vertices that touch it."""
    votes = np.zeros(count + 1)
    for axis in range(3):
        along, cubes = np.moveaxis(region, axis, 0), np.moveaxis(blocks, (axis, 3 + axis), (0, 3))
        for inner, outer, end in ((slice(None, -1), slice(1, None), -1), (slice(1, None), slice(None, -1), 0)):
            sums = np.clip(cubes[inner, :, :, end], -1, 1).sum((3, 4))
            touching = (along[inner] == 0) & (along[outer] > 0)
            votes += np.bincount(along[outer][touching], sums[touching], count + 1)
    for axis in range(3):
        border = np.moveaxis(region, axis, 0)[[0, -1]]
        votes[np.unique(border)] = np.inf
    return np.where(votes < 0, np.float32(-1), np.float32(1))


def mesh_of(volume: NDArray[np.float32], grid: Grid, work: Work) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Marching cubes.

    Returns
    -------
    vertices : (V, 3) float64
    faces : (F, 3) int64
        Closed; counter-clockwise seen from outside.

    Raises
    ------
    BitstreamError
        The volume has no surface, or more triangles than the budget allows.
    """
    import torch

    from gcbench.geometry.deformable_marching_cubes import positions, topology

    if not (volume[1:-1, 1:-1, 1:-1] < 0).any():
        raise BitstreamError("the decoded distance has no surface")
    crossed = crossings(volume < 0)
    work.spend(triangles=2 * crossed, memory=100 * crossed)
    field = torch.from_numpy(volume)
    ends, faces = topology(field)
    at = field.reshape(1, -1)[:, ends.reshape(-1)].reshape(1, 2, -1).double()
    return positions(at, ends, grid).numpy(), faces.numpy()
