"""The decoder of ``sparse``: dense convolutions up to 16³, then the values of blocks near the surface.

    latents 4³ × C → convolution → 8³ → convolution → 16³ → convolution ─┬→ of each 32³ block: mean value, and a score
                                                                         └→ 32³ → convolution at blocks → their values

A block with a positive score gets a value for each of its grid vertices; every other block has the sign of its mean.
A decoder with deformation has a second layer beside that of the values, for three more channels.
The convolution at a block computes what it needs of all 27 neighbours, so that the values of a block do not depend on
which other blocks were chosen: the choice decides what is computed, never what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gcbench.errors import BitstreamError
from gcbench.necgs.designs.base import Array, Decoder, Parameters
from gcbench.necgs.designs.sparse import BLOCKS, LATENT_LEVELS, LATENT_SIDE, THRESHOLD, WEIGHT_LEVELS, Sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Weights = Mapping[str, Tensor]

_TAPS = 27
_PART = 512  # voxels whose neighbours are gathered at once, so that they stay in the cache


def coarse(weights: Weights, latents: Tensor, precision: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """From latents to the 32³ blocks.

    Parameters
    ----------
    weights : mapping of str to Tensor
        By the names of ``Sparse.tensors``.
    latents : (B, C, 4, 4, 4) float32
    precision : torch.dtype
        Of the activations.

    Returns
    -------
    trunk : (B, F, 16, 16, 16)
        Features, in the precision.
    means, scores : (B, 32, 32, 32) float32
        Of each block.
    """
    x = latents.to(precision).contiguous(memory_format=torch.channels_last_3d)
    x = functional.silu(convolved(weights, "at4", x))
    for level in ("8", "16"):
        x = functional.silu(_doubled(weights, f"to{level}", x))
        x = functional.silu(x + convolved(weights, f"at{level}", x))
    near = _doubled(weights, "near", x.float())
    return x, near[:, 0] + _patches(weights, latents), near[:, 1]


def fine(
    weights: Weights, trunk: Tensor, means: Tensor, blocks: NDArray[np.int64], vertices: Tensor | None = None
) -> Tensor:
    """The channels of a volume at the grid vertices of some blocks.

    Parameters
    ----------
    weights : mapping of str to Tensor
    trunk : (B, F, 16, 16, 16)
    means : (B, 32, 32, 32) float32
        Both of :func:`coarse`. The values are those between the means, along straight lines, plus what the convolution
        knows better.
    blocks : (N,) int64
        Flat indices into (B, 32, 32, 32), each at most once.
    vertices : (V,) int64 or None
        Which of the s³ vertices of a block; None is all.

    Returns
    -------
    (channels, N, V) float32
        Signed distances over the truncation; and where there are weights for it, the deformation along x, y, z.
    """
    kind, device = trunk.dtype, trunk.device
    parents, rows, places, around, back = (torch.from_numpy(index).to(device) for index in _window(blocks, len(trunk)))
    voxels = _rows(trunk.permute(0, 2, 3, 4, 1).reshape(-1, trunk.shape[1]), parents)
    table = _octants(weights["to32.weight"], voxels)
    x = functional.silu(_rows(table, rows) + weights["to32.bias"].to(kind))
    h = _residual(x, weights["at32.weight"], around, back)
    h = functional.silu(h + weights["at32.bias"].to(kind))
    h = functional.silu(functional.linear(h, weights["hidden.weight"].to(kind), weights["hidden.bias"].to(kind)))
    h = h.float()
    last, bias = weights["values.weight"], weights["values.bias"]
    between = _between(round(len(weights["values.bias"]) ** (1 / 3)), device)
    if vertices is not None:
        last, bias, between = last[vertices], bias[vertices], between[vertices]
    known = torch.cat([means.reshape(-1).index_select(0, places), means.new_ones(1)])  # 1, outside, beyond the cube
    values = functional.linear(h, last, bias) + known[around] @ between.t()
    if "moves.weight" not in weights:
        return values[None]
    last, bias = weights["moves.weight"].reshape(3, -1, h.shape[1]), weights["moves.bias"].reshape(3, -1)
    if vertices is not None:
        last, bias = last[:, vertices], bias[:, vertices]
    moves = functional.linear(h, last.flatten(0, 1), bias.flatten())
    return torch.cat([values[None], moves.reshape(len(h), 3, -1).transpose(0, 1)])


class _Rows(torch.autograd.Function):
    """Rows of a matrix, each at most once: the gradient is a copy, where torch would add."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(table)
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient.new_zeros(ctx.count, gradient.shape[1]).index_copy_(0, rows, gradient), None


class _Residual(torch.autograd.Function):
    """Voxels plus a convolution of 3³ of their neighbourhoods: gather, then one matrix product.

    Parameters
    ----------
    x : (R, F) features of the voxels that are read
    kernel : (F, F, 3, 3, 3) float32
    around : (N, 27) int64
        For each voxel that is computed, the rows of ``x`` around it; R where there is none.
    back : (R, 27) int64
        For each row of ``x`` and tap, the computed voxel that reads it by that tap; N where there is none.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, around: Tensor, back: Tensor) -> Tensor:
        matrix = kernel.reshape(*kernel.shape[:2], _TAPS).clone()
        matrix[:, :, _TAPS // 2] += torch.eye(len(kernel), device=x.device)
        matrix = matrix.to(x.dtype)
        taps_first = matrix.permute(2, 1, 0).reshape(-1, len(kernel))
        ctx.save_for_backward(x, matrix, around, back)
        y = x.new_empty(len(around), len(kernel))
        for part, patches in _gathered(x, around):
            torch.mm(patches, taps_first, out=y[part])
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, matrix, around, back = ctx.saved_tensors
        outputs, inputs, _ = matrix.shape
        y = gradients[0].contiguous()
        taps_first = matrix.permute(2, 0, 1).reshape(-1, inputs)
        dx = torch.empty_like(x)
        for part, patches in _gathered(y, back):
            torch.mm(patches, taps_first, out=dx[part])
        dkernel = torch.zeros(outputs, _TAPS * inputs, device=x.device)
        for part, patches in _gathered(x, around):
            dkernel += y[part].t() @ patches
        return dx, dkernel.reshape(outputs, _TAPS, inputs).transpose(1, 2).reshape(outputs, inputs, 3, 3, 3), None, None


_rows: Callable[[Tensor, Tensor], Tensor] = _Rows.apply
_residual: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = _Residual.apply


def _gathered(rows: Tensor, index: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Parts of the index, and for each the (n, 27 · channels) rows side by side; the row behind the last is 0.

    A part fits the cache. The tensor of a part is overwritten by the next one.
    """
    padded = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
    buffer = rows.new_empty(min(_PART, len(index)) * _TAPS, rows.shape[1])
    for start in range(0, len(index), _PART):
        part = slice(start, min(start + _PART, len(index)))
        count = part.stop - start
        patches = buffer[: count * _TAPS]
        torch.index_select(padded, 0, index[part].reshape(-1), out=patches)
        yield part, patches.reshape(count, -1)


@cache
def _between(side: int, device: torch.device) -> Tensor:
    """Weights of the 27 means around a block at each of its vertices, (side³, 27): trilinear interpolation."""
    # The vertices of a block lie at multiples of 1 / side from its corner, and their mean is the block's place.
    offset = (torch.arange(side) - (side - 1) / 2) / side
    along = torch.stack([(-offset).clamp_min(0), 1 - offset.abs(), offset.clamp_min(0)], 1)
    return torch.einsum("xi,yj,zk->xyzijk", along, along, along).reshape(side**3, _TAPS).to(device)


def _patches(weights: Weights, latents: Tensor) -> Tensor:
    """Means that follow from the latents along straight lines, each for the 8³ blocks under it: (B, 32, 32, 32)."""
    side = BLOCKS // LATENT_SIDE
    means = functional.linear(latents.permute(0, 2, 3, 4, 1), weights["patch.weight"], weights["patch.bias"])
    split = means.reshape(-1, *(LATENT_SIDE,) * 3, *(side,) * 3).permute(0, 1, 4, 2, 5, 3, 6)
    return split.reshape(-1, BLOCKS, BLOCKS, BLOCKS)


def convolved(weights: Weights, name: str, x: Tensor) -> Tensor:
    """A convolution of 3³ with padding, in the precision of its input, channels last."""
    weight = weights[f"{name}.weight"].to(x.dtype).contiguous(memory_format=torch.channels_last_3d)
    return functional.conv3d(x, weight, weights[f"{name}.bias"].to(x.dtype), padding=1)


def _octants(weight: Tensor, voxels: Tensor) -> Tensor:
    """Each voxel of (N, I) becomes eight, by a linear map for each octant: (N · 8, O)."""
    outputs, inputs = weight.shape[:2]
    matrix = weight.reshape(outputs, inputs, 8).permute(1, 2, 0).reshape(inputs, -1).to(voxels.dtype)
    return (voxels @ matrix).reshape(-1, outputs)


def _doubled(weights: Weights, name: str, x: Tensor) -> Tensor:
    """The same with a bias, from (B, I, S, S, S) to (B, O, 2 S, 2 S, 2 S)."""
    batch, inputs, side, _, _ = x.shape
    voxels = x.permute(0, 2, 3, 4, 1).reshape(-1, inputs)
    octants = _octants(weights[f"{name}.weight"], voxels) + weights[f"{name}.bias"].to(x.dtype)
    grid = octants.reshape(batch, side, side, side, 2, 2, 2, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return grid.reshape(batch, 2 * side, 2 * side, 2 * side, -1).permute(0, 4, 1, 2, 3)


def weights_of(design: Sparse, parameters: Parameters) -> dict[str, Tensor]:
    """The weights of a stream: those of the prior, plus symbols times the step of each tensor."""
    from gcbench.necgs.designs import sparse_prior

    start = sparse_prior.load().decoder(design)
    found = {}
    for (name, symbols), step in zip(parameters.tensors.items(), parameters.scales, strict=True):
        difference = (symbols.astype(np.float32) - WEIGHT_LEVELS // 2) * step
        found[name] = start[name] + torch.from_numpy(difference)
    return found


class SparseDecoder(Decoder):
    """The decoder of one stream. It computes in float32 on every machine."""

    def __init__(self, design: Sparse, parameters: Parameters, device: str) -> None:
        self.resolution, self._channels = design.resolution, design.channels_of_volumes
        self._weights = {name: t.to(device) for name, t in weights_of(design, parameters).items()}
        self._device = device

    def volume(self, features: Array, watch: Callable[[], None]) -> NDArray[np.float32]:
        """Signed distances over the truncation, ±1 away from the surface; and deformation, 0 there."""
        watch()
        latents = torch.from_numpy(features.astype(np.float32) - LATENT_LEVELS // 2).to(self._device)
        with torch.inference_mode():
            trunk, means, scores = coarse(self._weights, latents[None], torch.float32)
            blocks = np.flatnonzero((scores > THRESHOLD).reshape(-1).cpu().numpy())
            values = fine(self._weights, trunk, means, blocks).clamp_(-1, 1).cpu().numpy()
        if not (np.isfinite(values).all() and bool(means.isfinite().all())):
            raise BitstreamError("the weights of the stream give values that are not finite")
        side = self.resolution // BLOCKS
        volume = np.zeros((self._channels, *(self.resolution,) * 3), np.float32)
        blocked = volume.reshape(self._channels, *(BLOCKS, side) * 3).transpose(0, 1, 3, 5, 2, 4, 6)  # the same memory
        blocked[0] = np.where(means[0, ..., None, None, None].cpu().numpy() < 0, -1, 1)
        x, y, z = np.unravel_index(blocks, (BLOCKS,) * 3)
        blocked[:, x, y, z] = values.reshape(self._channels, -1, side, side, side)
        return volume


@numba.njit(cache=True)
def _window(
    blocks: NDArray[np.int64], meshes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """What computing some blocks reads.

    Returns
    -------
    parents : (P,) voxels of 16³, flat
    rows : (R,) blocks that are read: eight times the number of the parent, plus the octant
    places : (R,) the same blocks, flat
    around : (N, 27) for each block to compute, the rows around it; R outside the cube
    back : (R, 27) the blocks to compute around a row; N for blocks that are not computed
    """
    half = BLOCKS // 2
    number_of_parent = np.full(meshes * half**3, -1, np.int32)
    row_of_block = np.full(meshes * BLOCKS**3, -1, np.int32)
    count = len(blocks)
    around = np.empty((count, 27), np.int64)
    rows = np.empty(min(27 * count, meshes * BLOCKS**3), np.int64)
    places = np.empty(len(rows), np.int64)
    parents = np.empty(min(27 * count, meshes * half**3), np.int64)
    read, known = 0, 0
    for n in range(count):
        block = blocks[n]
        z, y, x, mesh = block % BLOCKS, block // BLOCKS % BLOCKS, block // BLOCKS**2 % BLOCKS, block // BLOCKS**3
        for tap in range(27):
            i, j, k = x + tap // 9 - 1, y + tap // 3 % 3 - 1, z + tap % 3 - 1
            if not (0 <= i < BLOCKS and 0 <= j < BLOCKS and 0 <= k < BLOCKS):
                around[n, tap] = -1
                continue
            place = ((mesh * BLOCKS + i) * BLOCKS + j) * BLOCKS + k
            if row_of_block[place] < 0:
                row_of_block[place] = read
                parent = ((mesh * half + i // 2) * half + j // 2) * half + k // 2
                if number_of_parent[parent] < 0:
                    number_of_parent[parent] = known
                    parents[known] = parent
                    known += 1
                rows[read] = number_of_parent[parent] * 8 + (i % 2) * 4 + (j % 2) * 2 + k % 2
                places[read] = place
                read += 1
            around[n, tap] = row_of_block[place]
    back = np.full((read, 27), count, np.int64)
    for n in range(count):
        for tap in range(27):
            row = around[n, tap]
            if row < 0:
                around[n, tap] = read
            else:
                back[row, tap] = n
    return parents[:known].copy(), rows[:read].copy(), places[:read].copy(), around, back
