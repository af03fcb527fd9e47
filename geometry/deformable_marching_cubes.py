"""Deformable marching cubes: from a volume to the triangles of its surface, differentiably (Sec. 3.1).

Knows grids and tensors; neither how a volume came about nor what becomes of the mesh.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from gcbench.geometry.marching_cubes_tables import triangle_table

if TYPE_CHECKING:
    from torch import Tensor

    from gcbench.geometry.grid import Grid

# Below this difference of the TSDF along an edge, the vertex moves with a bounded slope: two values a rounding error
# apart would otherwise send gradients of any size, or NaN, through the division. Volumes have 2^-7 between levels.
_SMALLEST_DIFFERENCE = 1e-6


class Topology(NamedTuple):
    """What the signs of a TSDF decide: on which grid edges the surface has vertices, and how they are connected.

    Parameters
    ----------
    ends : (2, V) int64
        Flat indices, x K² + y K + z, of the grid vertices between which each vertex of the surface lies; in the
        direction of the axis. No edge occurs twice.
    faces : (F, 3) int64
        Vertices of each triangle, counter-clockwise seen from outside.
    """

    ends: Tensor
    faces: Tensor


@cache
def _table(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    starts, counts, corners, axes = (torch.as_tensor(array, device=device) for array in triangle_table())
    return starts, counts, corners, axes


def topology(tsdf: Tensor) -> Topology:
    """The topology of the surface that separates TSDF < 0, inside, from the rest.

    The border of the grid counts as outside whatever its values, so that the surface is closed: every directed edge of
    a triangle is met by its opposite in one other triangle.

    Parameters
    ----------
    tsdf : (K, K, K) floating point

    Returns
    -------
    Topology
        Ordered by cell; empty if nothing is inside.
    """
    K = tsdf.shape[0]
    device = tsdf.device
    inside = torch.zeros((K, K, K), dtype=torch.uint8, device=device)
    inside[1:-1, 1:-1, 1:-1] = tsdf.detach()[1:-1, 1:-1, 1:-1] < 0

    # Each doubling adds the neighbours along one axis to the pattern of a cell. Over the flat array this also joins
    # the end of each row to the start of the next: both are border, hence outside, and such cells come out empty.
    pattern = inside.reshape(-1)
    strides = (K * K, K, 1)
    for i, stride in enumerate(strides):
        pattern = torch.add(pattern[:-stride], pattern[stride:], alpha=1 << (1 << i))
    crossed = (pattern + 1) > 1  # a byte wraps: 255, all inside, counts as nothing to do, like 0
    cells = torch.nonzero(crossed).reshape(-1)
    patterns = pattern[cells].long()

    # A crossed edge belongs to the cell at its lower end, which always is an active one.
    steps = torch.tensor(strides, device=device)
    bits = patterns[:, None] >> torch.tensor([0, 1, 2, 4], device=device) & 1
    owner, owner_axis = torch.nonzero(bits[:, 1:] != bits[:, :1], as_tuple=True)
    lower = cells[owner]
    ends = torch.stack([lower, lower + steps[owner_axis]])
    vertex_of_edge = torch.empty((cells.numel(), 3), dtype=torch.int64, device=device)
    vertex_of_edge[owner, owner_axis] = torch.arange(owner.numel(), device=device)
    rank_of_cell = torch.empty(K**3, dtype=torch.int64, device=device)
    rank_of_cell[cells] = torch.arange(cells.numel(), device=device)

    starts, counts, corners, axes = _table(device)
    count = counts[patterns]
    cell = torch.repeat_interleave(torch.arange(cells.numel(), device=device), count)
    within_cell = torch.arange(cell.numel(), device=device) - (count.cumsum(0) - count)[cell]
    triangle = starts[patterns[cell]] + within_cell
    corner = corners[triangle]
    offset = (corner & 1) * steps[0] + (corner >> 1 & 1) * steps[1] + (corner >> 2) * steps[2]
    faces = vertex_of_edge[rank_of_cell[cells[cell, None] + offset], axes[triangle]]
    return Topology(ends, faces)


def positions(values: Tensor, ends: Tensor, grid: Grid) -> Tensor:
    """Where the vertices of a surface lie: on the deformed grid edge, where the TSDF is linearly interpolated to 0.

    Parameters
    ----------
    values : (channels, 2, V) floating point
        The volume at the ends of the edges.
    ends : (2, V) int64
        As in :class:`Topology`.
    grid : Grid

    Returns
    -------
    (V, 3) of the same type
        Differentiable in ``values``.
    """
    K = grid.resolution
    index = torch.stack([ends // (K * K), ends // K % K, ends % K]).to(values.dtype)
    points = grid.origin + grid.spacing * index
    if values.shape[0] > 1:
        points = points + grid.deformation * values[1:]

    # One end is inside, and the other is not. Where it is negative nevertheless, it lies on the border.
    border = ((index == 0) | (index == K - 1)).any(dim=0)
    low, high = torch.where(border, values[0].abs(), values[0])
    difference = low - high
    bounded = difference.abs().clamp(min=_SMALLEST_DIFFERENCE)
    fraction = torch.where(difference < 0, -low, low) / bounded
    return torch.lerp(points[:, 0], points[:, 1], fraction).T


def extract(volume: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The surface of a volume.

    Inside is TSDF < 0; an exact 0, which quantised volumes have often, is outside. The surface then passes through the
    grid vertex itself, up to six vertices fall together there, and triangles between them have no area. They are kept:
    without them, the surface would not be closed.

    Parameters
    ----------
    volume : (channels, K, K, K) floating point, in [-1, 1]
        The TSDF, and its three channels of deformation where there are four.
    grid : Grid
        Of the same K.

    Returns
    -------
    vertices : (V, 3)
        In space, float32 or wider; differentiable in ``volume``.
    faces : (F, 3) int64
        Counter-clockwise seen from outside. Closed, and every edge has two triangles.

    Raises
    ------
    ValueError
        The volume is not of the grid's resolution, or has neither 1 nor 4 channels.

    Source: Sec. 3.1 and Fig. 2 of the paper; marching cubes after Lorensen and Cline, 1987.
    """
    K = grid.resolution
    if volume.shape not in {(1, K, K, K), (4, K, K, K)}:
        raise ValueError(f"the volume is {tuple(volume.shape)}, not (1 or 4, {K}, {K}, {K})")
    volume = volume.to(torch.promote_types(volume.dtype, torch.float32))
    ends, faces = topology(volume[0])
    channels = volume.shape[0]
    # gather, because its gradient is the fastest of all ways to index: twice as fast as that of volume[:, ends]
    values = volume.reshape(channels, -1).gather(1, ends.reshape(1, -1).expand(channels, -1))
    return positions(values.reshape(channels, 2, -1), ends, grid), faces
