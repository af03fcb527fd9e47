"""Sparse voxel tensors in plain torch: voxel sets in Morton order, their neighbour tables, and convolutions over them.

All functions run on the device of their tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

MAX_COORDINATE = 1 << 20
"""Coordinates are below this limit, so that Morton codes of voxels and of their neighbours fit 63 bits."""

NEIGHBOURS = 27
# Elements of neighbours to gather at a time: on a CPU, they fit the second-level cache; on a GPU, they keep it busy.
_CHUNK_CPU, _CHUNK_GPU = 1 << 19, 1 << 27


def _spread(x: Tensor) -> Tensor:
    """Put two zero bits between the bits of non-negative integers below 2^21."""
    x = (x | x << 32) & 0x1F00000000FFFF
    x = (x | x << 16) & 0x1F0000FF0000FF
    x = (x | x << 8) & 0x100F00F00F00F00F
    x = (x | x << 4) & 0x10C30C30C30C30C3
    return (x | x << 2) & 0x1249249249249249


def _gather(x: Tensor) -> Tensor:
    """Undo `_spread`."""
    x = x & 0x1249249249249249
    x = (x | x >> 2) & 0x10C30C30C30C30C3
    x = (x | x >> 4) & 0x100F00F00F00F00F
    x = (x | x >> 8) & 0x1F0000FF0000FF
    x = (x | x >> 16) & 0x1F00000000FFFF
    return (x | x >> 32) & 0x1FFFFF


def morton_keys(coordinates: Tensor) -> Tensor:
    """Interleave the bits of coordinates, x being the most significant of each three.

    Parameters
    ----------
    coordinates : (N, 3) integers
        In [0, 2^20).

    Returns
    -------
    (N,) int64
    """
    x, y, z = coordinates.long().unbind(1)
    return _spread(x) << 2 | _spread(y) << 1 | _spread(z)


def morton_coordinates(keys: Tensor) -> Tensor:
    """Invert `morton_keys`: (N,) int64 to (N, 3) int64."""
    return torch.stack([_gather(keys >> 2), _gather(keys >> 1), _gather(keys)], 1)


def _offsets(device: torch.device) -> Tensor:
    """(27, 3): the offsets of a 3³ kernel, z fastest; entry 26 − k is the negative of entry k."""
    axis = torch.arange(-1, 2, device=device)
    return torch.cartesian_prod(axis, axis, axis)


def _octants(device: torch.device) -> Tensor:
    """(8, 3): the offsets of a 2³ kernel, z fastest, which is Morton order."""
    axis = torch.arange(2, device=device)
    return torch.cartesian_prod(axis, axis, axis)


class Voxels:
    """A set of distinct voxels in Morton order; tables for convolutions are made on first use and kept.

    Coordinates are in voxels of this level. In Morton order the eight children of a voxel are neighbours in memory, so
    that going up or down a level moves no data.

    Parameters
    ----------
    keys : (N,) int64
        Morton codes, strictly increasing.
    """

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        self._neighbours: Tensor | None = None

    @classmethod
    def from_coordinates(cls, coordinates: Tensor) -> Voxels:
        """Make a set from (N, 3) integer coordinates in any order; repeated coordinates are merged.

        Raises
        ------
        ValueError
            A coordinate is negative, or 2^20 or more.
        """
        if len(coordinates) and not 0 <= int(coordinates.min()) <= int(coordinates.max()) < MAX_COORDINATE:
            raise ValueError(f"coordinates must be in [0, {MAX_COORDINATE})")
        return cls(torch.unique(morton_keys(coordinates)))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def coordinates(self) -> Tensor:
        """(N, 3) int64."""
        return morton_coordinates(self.keys)

    @cached_property
    def parent(self) -> Voxels:
        """The occupied voxels of the next coarser level."""
        return Voxels(torch.unique_consecutive(self.keys >> 3))

    @cached_property
    def slots(self) -> Tensor:
        """(N,) int64: each voxel's row among all children of the parents, 8 × row of its parent + its octant."""
        return torch.searchsorted(self.parent.keys, self.keys >> 3) * 8 + (self.keys & 7)

    def children(self) -> Voxels:
        """All eight children of every voxel, with their neighbours if the neighbours of this set are known."""
        octants = torch.arange(8, device=self.keys.device)
        kids = Voxels((self.keys[:, None] * 8 + octants).view(-1))
        if self._neighbours is not None:
            rows = torch.arange(8 * len(self), dtype=torch.int32, device=self.keys.device)
            kids._neighbours = _refine(self._neighbours, rows, None)
        return kids

    def subset(self, rows: Tensor) -> Voxels:
        """Keep the voxels of increasing rows (K,), with their neighbours if these are known."""
        kept = Voxels(self.keys[rows])
        if self._neighbours is not None:
            n = len(self)
            renumbered = torch.full((n + 1,), len(rows), dtype=torch.int32, device=rows.device)
            renumbered[rows] = torch.arange(len(rows), dtype=torch.int32, device=rows.device)
            kept._neighbours = renumbered[self._neighbours[rows]]
        return kept

    def rows_of(self, keys: Tensor) -> Tensor:
        """Find voxels by Morton code: (M,) int64 rows; N for a code that is not in the set."""
        rows = torch.searchsorted(self.keys, keys).clamp_(max=max(len(self) - 1, 0))
        return torch.where(self.keys[rows] == keys, rows, len(self)) if len(self) else rows

    def contains(self, other: Voxels) -> Tensor:
        """Tell which voxels of another set are in this one: (len(other),) bool."""
        return self.rows_of(other.keys) < len(self)

    def neighbours(self, levels: int = 3) -> Tensor:
        """Rows of the 27 neighbours of every voxel.

        The search is done ``levels`` levels up, where there are few voxels, and refined level by level without search.

        Returns
        -------
        (N, 27) int32
            N for a missing neighbour. Offsets run z fastest; entry 13 is the voxel itself.
        """
        if self._neighbours is None:
            if levels > 0 and len(self) > NEIGHBOURS:
                parents = self.parent.neighbours(levels - 1)
                places = torch.full((8 * len(self.parent) + 8,), len(self), dtype=torch.int32, device=self.keys.device)
                places[self.slots] = torch.arange(len(self), dtype=torch.int32, device=self.keys.device)
                self._neighbours = _refine(parents, places, self.slots)
            else:
                places = self.coordinates[:, None] + _offsets(self.keys.device)
                rows = self.rows_of(morton_keys(places.clamp(min=0).view(-1, 3))).view(-1, NEIGHBOURS)
                self._neighbours = torch.where((places >= 0).all(2), rows, len(self)).int()
        return self._neighbours


def _refine(parents: Tensor, places: Tensor, slots: Tensor | None) -> Tensor:
    """Neighbours of children from the neighbours of their parents.

    Parameters
    ----------
    parents : (M, 27) int32
        Neighbours of the parents, M for a missing neighbour.
    places : (8 M,) or (8 M + 8,) int32
        The row of each child; absent children, and the eight at the end if given, have the number of children.
    slots : (N,) int64, optional
        The existing ones of the 8 M children; all if omitted.
    """
    device = parents.device
    position = _octants(device)[:, None] + _offsets(device)  # (8, 27, 3) in [-1, 2], in children
    direction = ((position >> 1) + 1) @ torch.tensor([9, 3, 1], device=device)
    octant = (position & 1) @ torch.tensor([4, 2, 1], device=device)
    n = len(places) if slots is None else len(slots)
    if len(places) == 8 * len(parents):
        places = torch.cat([places, places.new_full((8,), n)])
    out = torch.empty(n, NEIGHBOURS, dtype=torch.int32, device=device)
    step = 1 << 16  # bounds the 64-bit intermediates
    for first in range(0, n, step):
        child = (
            torch.arange(first, min(first + step, n), device=device) if slots is None else slots[first : first + step]
        )
        parent, which = child >> 3, child & 7
        beside = torch.gather(parents[parent], 1, direction[which]).long()
        out[first : first + step] = places[beside * 8 + octant[which]]
    return out


@dataclass(frozen=True)
class SparseTensor:
    """Features on a set of voxels.

    Parameters
    ----------
    voxels : Voxels
        N voxels.
    features : (N, C) float
        Features in the order of the voxels.
    """

    voxels: Voxels
    features: Tensor

    def with_features(self, features: Tensor) -> SparseTensor:
        """Other features on the same voxels."""
        return SparseTensor(self.voxels, features)


def _padded(x: Tensor) -> Tensor:
    """Append a row of zeros for missing neighbours."""
    return torch.cat([x, x.new_zeros(1, x.shape[1])])


def _chunk(x: Tensor, columns: int) -> int:
    """Number of voxels to gather at a time."""
    return max((_CHUNK_GPU if x.is_cuda else _CHUNK_CPU) // columns, 1)


def _rounded_up(rows: int, limit: int = 1 << 62) -> int:
    """Round up to one of four numbers in each octave, at most the limit."""
    step = max(1 << max(rows.bit_length() - 3, 0), 16)
    return min(-(-rows // step) * step, limit)


def _fixed(x: Tensor) -> bool:
    """Whether to use few sizes of products, since oneDNN takes about a millisecond to compile a kernel for each."""
    return x.dtype == torch.bfloat16 and not x.is_cuda


def _gathered(source: Tensor, table: Tensor, first: int, step: int) -> Tensor:
    """Neighbours of up to ``step`` voxels from ``first`` on, one row per voxel; rows of zeros may follow."""
    rows = table[first : first + step]
    if len(rows) < step and _fixed(source):
        missing = _rounded_up(len(rows), step) - len(rows)
        rows = torch.cat([rows, rows.new_full((missing, NEIGHBOURS), len(source) - 1)])
    return source.index_select(0, rows.reshape(-1)).view(len(rows), -1)


def multiply(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x @ weight + bias``: (N, C_in) by (C_in, C_out)."""
    if not _fixed(x):
        return torch.addmm(bias, x, weight)
    return torch.addmm(bias, functional.pad(x, (0, 0, 0, _rounded_up(len(x)) - len(x))), weight)[: len(x)]


def _convolve(x: Tensor, table: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Gather the neighbours of a block of voxels into one matrix and multiply: (N, C_in) to (N, C_out)."""
    source, matrix = _padded(x), weight.reshape(-1, weight.shape[2])
    out = x.new_empty(len(x), weight.shape[2])
    step = _chunk(x, len(matrix))
    for first in range(0, len(x), step):
        part = out[first : first + step]
        part.copy_((_gathered(source, table, first, step) @ matrix)[: len(part)])
    return out if bias is None else out.add_(bias)


class _Convolution(torch.autograd.Function):
    """A 3³ convolution and its gradients without a scatter.

    The table is symmetric (if b is neighbour k of a, a is neighbour 26 − k of b). So the gradient of the input is a
    convolution of the gradient of the output with the mirrored, transposed kernel; the neighbours gathered for this
    convolution also give the gradient of the kernel.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, table)
        return _convolve(x, table, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, table = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        c_in, c_out = weight.shape[1:]
        source, matrix = _padded(gradient), weight.flip(0).transpose(1, 2).reshape(-1, c_in)
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        d_mirrored = torch.zeros(c_in, NEIGHBOURS * c_out, dtype=wide, device=x.device)
        step = _chunk(x, len(matrix))
        for first in range(0, len(x), step):
            gathered, part = _gathered(source, table, first, step), x[first : first + step]
            if d_x is not None:
                d_x[first : first + step] = (gathered @ matrix)[: len(part)]
            d_mirrored += functional.pad(part, (0, 0, 0, len(gathered) - len(part))).t() @ gathered
        d_weight = d_mirrored.view(c_in, NEIGHBOURS, c_out).transpose(0, 1).flip(0).to(weight.dtype)
        return d_x, d_weight, gradient.sum(0, dtype=wide).to(weight.dtype), None


def conv3(x: SparseTensor, weight: Tensor, bias: Tensor) -> SparseTensor:
    """Convolve with a 3³ kernel; the output has the voxels of the input, and missing neighbours count as zero.

    Parameters
    ----------
    x : SparseTensor
        (N, C_in).
    weight : (27, C_in, C_out) float
        Offsets −1, 0, 1 with z fastest: entry 9(dx+1) + 3(dy+1) + dz+1 multiplies the feature at voxel + (dx, dy, dz).
    bias : (C_out,) float
        Added.

    Source: Choy et al., "4D Spatio-Temporal ConvNets" (CVPR 2019), Eq. 3.
    """
    features: Tensor = _Convolution.apply(x.features, weight, bias, x.voxels.neighbours())  # type: ignore[no-untyped-call]  # torch's apply has no types
    return x.with_features(features)


def down2(x: SparseTensor, weight: Tensor, bias: Tensor) -> SparseTensor:
    """Convolve with a 2³ kernel at stride 2; the output has the parents as voxels.

    Parameters
    ----------
    x : SparseTensor
        (N, C_in).
    weight : (8, C_in, C_out) float
        Octants in Morton order, z fastest.
    bias : (C_out,) float
        Added.
    """
    coarse = x.voxels.parent
    children = x.features.new_zeros(8 * len(coarse), weight.shape[1]).index_copy(0, x.voxels.slots, x.features)
    matrix = weight.reshape(-1, weight.shape[2])
    return SparseTensor(coarse, multiply(children.view(len(coarse), -1), matrix, bias))


def up2(x: SparseTensor, weight: Tensor, bias: Tensor) -> SparseTensor:
    """Transposed convolution with a 2³ kernel at stride 2 that generates all eight children of every voxel.

    Parameters
    ----------
    x : SparseTensor
        (N, C_in).
    weight : (8, C_in, C_out) float
        Octants in Morton order, z fastest.
    bias : (C_out,) float
        Added.
    """
    matrix = weight.transpose(0, 1).reshape(weight.shape[1], -1)
    features = multiply(x.features, matrix, bias.repeat(8)).view(-1, weight.shape[2])
    x.voxels.neighbours()  # so that the children need no search
    return SparseTensor(x.voxels.children(), features)


def prune(x: SparseTensor, keep: Tensor) -> SparseTensor:
    """Keep the voxels for which ``keep``, (N,) bool, is true."""
    rows = keep.nonzero().squeeze(1)
    return SparseTensor(x.voxels.subset(rows), x.features.index_select(0, rows))


def largest(scores: Tensor, count: int) -> Tensor:
    """Mark the ``count`` largest of (N,) scores, of equal scores the first: (N,) bool."""
    keep = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    keep[torch.sort(scores, descending=True, stable=True).indices[:count]] = True
    return keep
