"""A sparse octree: the voxels that a surface passes through, and the interpolation of features at their corners.

A point's feature is the sum, over levels, of the trilinear interpolation between the corners of its voxel. The coarsest
level is dense. Functions that use this module import it when they run, because it imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from gcbench.entropy.container import Fields
from gcbench.entropy.octree import decode_octree, encode_octree
from gcbench.errors import BitstreamError
from gcbench.geometry.marching_cubes import HALF_SIDE

if TYPE_CHECKING:
    from torch import Tensor

    from gcbench.geometry.surface import Surface

    Floats32 = NDArray[np.float32]
    Ints32 = NDArray[np.int32]

BASE = 2  # the dense level, of 4³ voxels as in the paper
MAX_DEPTH = 8
MAX_VOXELS = 1 << 19  # of the finest level: some 10^6 corners, and a few hundred megabytes to train or decode them
# Samples per area of a voxel's face. They miss voxels that hold little of the surface (0.3 % of a sphere's area). These
# voxels are not worth their bytes, because the corners that they share with other voxels are in the tree.
_SAMPLES_PER_VOXEL = 24
_MOST_SAMPLES = 8_000_000


class Octree:
    """Voxels of the cube of half side 1.05 at a depth, their ancestors, and the corners of all of them.

    Level l has 2^l voxels along a side. Corners are numbered by level, then x, y, z. Level ``BASE`` has all
    (2^BASE + 1)³ corners; finer levels have the corners of the voxels in the tree.

    A corner that is not in the tree has the feature 0. So the part of a level fades out within one voxel around the
    tree, and the interpolation is continuous everywhere.

    Parameters
    ----------
    voxels : (N, 3) int
        Distinct, in [0, 2^depth), N ≥ 1.
    depth : int
        ``BASE`` to ``MAX_DEPTH``.
    """

    def __init__(self, voxels: NDArray[np.integer], depth: int) -> None:
        if not BASE <= depth <= MAX_DEPTH:
            raise ValueError(f"a depth of {depth} is not in {BASE}…{MAX_DEPTH}")
        self.depth = depth
        self.voxels = np.asarray(voxels, np.int32)
        corners = [_grid(2**BASE + 1)]
        for level in range(BASE + 1, depth + 1):
            ancestors = np.unique(_key(self.voxels >> (depth - level), level))
            positions = _position(ancestors, level)[:, None] + _grid(2)
            corners.append(_position(np.unique(_key(positions.reshape(-1, 3), level)), level))
        self.corners = corners

    @classmethod
    def around(cls, surface: Surface, depth: int, seed: int) -> Octree:
        """The voxels that hold points of a surface in the cube; depth is reduced if there are more than MAX_VOXELS."""
        rng = np.random.default_rng(seed)
        side = 2 * HALF_SIDE / 2**depth
        count = min(_MOST_SAMPLES, max(1000, round(_SAMPLES_PER_VOXEL * surface.area / side**2)))
        points = np.concatenate([surface.sample_stratified(count, rng)[0], surface.vertices])
        keys = np.unique(_key(voxels_of(points, depth), depth))
        while len(keys) > MAX_VOXELS:
            keys, depth = np.unique(_key(_position(keys, depth) >> 1, depth - 1)), depth - 1
        return cls(_position(keys, depth), depth)

    @classmethod
    def decode(cls, data: bytes, depth: int) -> Octree:
        """Inverse of :meth:`encode`.

        Raises
        ------
        BitstreamError
            The data is not an octree of this depth, or has more than MAX_VOXELS voxels.
        """
        if not BASE <= depth <= MAX_DEPTH:
            raise BitstreamError(f"an octree of depth {depth}")
        return cls(decode_octree(data, depth, MAX_VOXELS), depth)

    @staticmethod
    def declared_voxels(data: bytes) -> int:
        """Number of voxels of the finest level that :meth:`decode` would read.

        Raises
        ------
        BitstreamError
            The data declares none, or more than MAX_VOXELS.
        """
        return Fields(data).number("number of voxels", 1, MAX_VOXELS)

    def encode(self) -> bytes:
        """Occupancy of the children of all nodes, with mixed contexts."""
        return encode_octree(self.voxels, self.depth)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(levels + 1,) number of the first corner of each level; the last entry counts all corners."""
        return np.cumsum([0, *map(len, self.corners)])

    @property
    def side(self) -> float:
        """Side of a voxel of the finest level."""
        return float(2 * HALF_SIDE / 2**self.depth)

    @property
    def corner_count(self) -> int:
        """Corners of all levels."""
        return int(self.starts[-1])

    def interpolate(self, features: Tensor, points: Tensor) -> Tensor:
        """Feature of each point: a sum over levels of trilinear interpolations.

        Parameters
        ----------
        features : (corners, C) float32
            On the CPU; gradients flow to the features, not to the points.
        points : (P, 3) float32
            Points outside the cube are moved to its border.

        Returns
        -------
        (P, C) float32
        """
        apply: Callable[[Tensor, Tensor, _Grids], Tensor] = _Interpolation.apply
        return apply(features, points, self._grids)

    def holds(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether points (P, 3) are in a voxel of the finest level: (P,)."""
        keys = _key(self.voxels, self.depth)
        return np.isin(_key(voxels_of(points, self.depth), self.depth), keys)

    @cached_property
    def _grids(self) -> _Grids:
        starts = np.cumsum([0, *[(2**level + 1) ** 3 for level in range(BASE, self.depth + 1)]])
        rows = np.full(int(starts[-1]), -1, np.int32)
        for i, corners in enumerate(self.corners):
            rows[starts[i] + _key(corners, BASE + i)] = np.arange(self.starts[i], self.starts[i + 1])
        return _Grids(rows, starts)


def voxels_of(points: NDArray[np.floating], depth: int) -> NDArray[np.int64]:
    """The voxels of a level that points (P, 3) are in: (P, 3)."""
    cells = np.floor((points + HALF_SIDE) * (2**depth / (2 * HALF_SIDE)))
    return np.asarray(np.clip(cells, 0, 2**depth - 1), np.int64)


def _key(positions: NDArray[np.integer], level: int) -> NDArray[np.int64]:
    """Numbers of a level's corners by x, then y, then z; a voxel has the number of its lowest corner."""
    side = 2**level + 1
    x, y, z = np.moveaxis(positions.astype(np.int64), -1, 0)
    return np.asarray((x * side + y) * side + z, np.int64)


def _position(keys: NDArray[np.int64], level: int) -> Ints32:
    side = 2**level + 1
    return np.stack([keys // side**2, keys // side % side, keys % side], axis=1).astype(np.int32)


def _grid(side: int) -> Ints32:
    return np.stack(np.meshgrid(*[np.arange(side, dtype=np.int32)] * 3, indexing="ij"), -1).reshape(-1, 3)


class _Grids(NamedTuple):
    """For each grid point of each level, the number of the corner there; -1 without a corner."""

    rows: Ints32  # of all levels
    starts: NDArray[np.int64]  # (levels + 1,)


class _Interpolation(torch.autograd.Function):
    """Gather and scatter, each in one pass over the points; with torch operators, a step takes ten times as long."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, points: Tensor, grids: _Grids) -> Tensor:
        ctx.save_for_backward(points)
        ctx.grids, ctx.shape = grids, features.shape
        out = torch.zeros(len(points), features.shape[1])
        _gather(points.numpy(), grids, features.detach().contiguous().numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (points,) = ctx.saved_tensors
        out = torch.zeros(ctx.shape)
        _scatter(points.numpy(), ctx.grids, gradient.contiguous().numpy(), out.numpy())
        return out, None, None


@njit(nogil=True, cache=True)
def _gather(points: Floats32, grids: _Grids, features: Floats32, out: Floats32) -> None:
    found, weights = np.zeros(8, np.int32), np.zeros(8, np.float32)
    channels = features.shape[1]
    for p in range(len(points)):
        for level in range(len(grids.starts) - 1):
            # If a level has no corner around the point, the finer levels have none either.
            if not _around(points[p], grids, level, found, weights):
                break
            for i in range(8):
                row = found[i]
                if row >= 0:
                    for c in range(channels):
                        out[p, c] += weights[i] * features[row, c]


@njit(nogil=True, cache=True)
def _scatter(points: Floats32, grids: _Grids, gradient: Floats32, out: Floats32) -> None:
    found, weights = np.zeros(8, np.int32), np.zeros(8, np.float32)
    channels = out.shape[1]
    for p in range(len(points)):
        for level in range(len(grids.starts) - 1):
            if not _around(points[p], grids, level, found, weights):
                break
            for i in range(8):
                row = found[i]
                if row >= 0:
                    for c in range(channels):
                        out[row, c] += weights[i] * gradient[p, c]


@njit(nogil=True, cache=True)
def _around(point: Floats32, grids: _Grids, level: int, found: Ints32, weights: Floats32) -> bool:
    """Find the corners around a point on a level (0: BASE) and their weights; return whether any corner exists."""
    cells = 1 << (level + BASE)
    side = cells + 1
    scale = np.float32(cells / (2 * HALF_SIDE))
    lowest = grids.starts[level]
    stride = side * side
    weights[:] = 1
    for axis in range(3):
        at = min(max((point[axis] + np.float32(HALF_SIDE)) * scale, np.float32(0)), np.float32(cells))
        cell = min(int(at), cells - 1)
        fraction = at - np.float32(cell)
        lowest += cell * stride
        stride //= side
        bit = 4 >> axis
        for i in range(8):
            weights[i] *= fraction if i & bit else np.float32(1) - fraction
    some = False
    for i in range(8):
        found[i] = grids.rows[lowest + ((i >> 2) * side + (i >> 1 & 1)) * side + (i & 1)]
        some |= found[i] >= 0
    return some
