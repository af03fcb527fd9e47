"""Deformable marching cubes: extracts the triangles of a volume's surface, differentiably, for NeCGS (Sec. 3.1)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from gcbench.geometry.marching_cubes_tables import triangle_table

if TYPE_CHECKING:
    from torch import Tensor

    from gcbench.geometry.grid import Grid

# Least divisor of the interpolation along an edge. It bounds the gradients, which would be huge or NaN where the two
# TSDF values differ by a rounding error only. Levels of quantised volumes are 2^-7 apart.
_SMALLEST_DIFFERENCE = 1e-6


class Topology(NamedTuple):
    """The topology of a surface, from the signs of a TSDF: the grid edges with vertices, and the triangles.

    Parameters
    ----------
    ends : (2, V) int64
        Flat indices, x K² + y K + z, of the two grid vertices around each vertex of the surface, in the direction of
        the axis. No edge occurs twice.
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
    """Compute the topology of the surface that separates TSDF < 0, inside, from the rest.

    The border of the grid always counts as outside, so that the surface is closed: for every directed edge of a
    triangle, one other triangle has the opposite edge.

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

    # Each doubling adds the neighbours along one axis to the pattern of a cell. In the flat array, the end of a row
    # also meets the start of the next row: both are border, hence outside, and the cells between them are empty.
    pattern = inside.reshape(-1)
    strides = (K * K, K, 1)
    for i, stride in enumerate(strides):
        pattern = torch.add(pattern[:-stride], pattern[stride:], alpha=1 << (1 << i))
    crossed = (pattern + 1) > 1  # a byte wraps: 255, all inside, has no surface, like 0
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
    """Positions of a surface's vertices: on deformed grid edges, where the linearly interpolated TSDF is 0.

    Parameters
    ----------
    values : (channels, 2, V) floating point
        The volume at the ends of the edges.
    ends : (2, V) int64
        Same as in :class:`Topology`.
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

    # One end is inside, the other outside. If the TSDF is negative at both ends, the outside end lies on the border.
    border = ((index == 0) | (index == K - 1)).any(dim=0)
    low, high = torch.where(border, values[0].abs(), values[0])
    difference = low - high
    bounded = difference.abs().clamp(min=_SMALLEST_DIFFERENCE)
    fraction = torch.where(difference < 0, -low, low) / bounded
    return torch.lerp(points[:, 0], points[:, 1], fraction).T


def extract(volume: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Extract the surface of a volume.

    Inside is TSDF < 0; an exact 0, which is frequent in quantised volumes, is outside. The surface then passes through
    the grid vertex itself, where up to six vertices coincide, and triangles between them have no area. The result
    includes these triangles, because the surface would not be closed without them.

    Parameters
    ----------
    volume : (channels, K, K, K) floating point, in [-1, 1]
        The TSDF and, in volumes of four channels, three channels of deformation.
    grid : Grid
        A grid with the same K.

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
    # gather, because its gradient is twice as fast as the gradient of volume[:, ends]
    values = volume.reshape(channels, -1).gather(1, ends.reshape(1, -1).expand(channels, -1))
    return positions(values.reshape(channels, 2, -1), ends, grid), faces
