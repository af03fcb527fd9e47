"""An encoder that guesses the latents of a mesh from its target: a start for training, and for meshes that are added.

The encoder is no part of any stream. It ships with the prior, with which it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gcbench.necgs.designs.sparse import BLOCKS, LATENT_SIDE, Sparse
from gcbench.necgs.designs.sparse_network import convolved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.necgs.designs.sparse_targets import Target

_WIDTHS = (32, 64, 64)  # at 16³, 8³, 4³
_PATCH = (BLOCKS // LATENT_SIDE) ** 3
_START_SPREAD = 2.0


def shapes() -> dict[str, tuple[int, ...]]:
    """Shape of every parameter, outputs first."""
    found: dict[str, tuple[int, ...]] = {}
    inputs = 8
    for side, width in zip((16, 8, 4), _WIDTHS, strict=True):
        found[f"to{side}.weight"], found[f"to{side}.bias"] = (width, 8 * inputs), (width,)
        found[f"at{side}.weight"], found[f"at{side}.bias"] = (width, width, 3, 3, 3), (width,)
        inputs = width
    found["latents.weight"], found["latents.bias"] = (Sparse.channels, inputs), (Sparse.channels,)
    found["patch.weight"], found["patch.bias"] = (Sparse.channels, _PATCH), (Sparse.channels,)
    return found


def encode(weights: Mapping[str, Tensor], targets: Sequence[Target], precision: torch.dtype) -> Tensor:
    """Latents, (B, C, 4, 4, 4) float32, not rounded, on the device of the weights."""
    means = np.stack([target.means for target in targets])
    device = weights["latents.bias"].device
    x = torch.from_numpy(means).to(device).to(precision).div_(127)
    x = x.reshape(len(targets), *(BLOCKS,) * 3, 8)
    for side in (16, 8, 4):
        x = _halved(x) @ weights[f"to{side}.weight"].t().to(precision) + weights[f"to{side}.bias"].to(precision)
        x = functional.silu(x)
        grid = x.permute(0, 4, 1, 2, 3)
        x = functional.silu(grid + convolved(weights, f"at{side}", grid)).permute(0, 2, 3, 4, 1)
    x = functional.linear(x.float(), weights["latents.weight"], weights["latents.bias"])
    patches = torch.from_numpy(patches_of(targets)).to(device)
    x = x + functional.linear(patches, weights["patch.weight"], weights["patch.bias"]).reshape(x.shape)
    return x.permute(0, 4, 1, 2, 3).reshape(len(targets), -1, *(LATENT_SIDE,) * 3)


def patches_of(targets: Sequence[Target]) -> NDArray[np.float32]:
    """The means of the 8³ blocks under each latent, (B · 4³, 8³)."""
    side = BLOCKS // LATENT_SIDE
    means = np.stack([target.mean_of_blocks for target in targets]) / np.float32(127)
    split = means.reshape(-1, LATENT_SIDE, side, LATENT_SIDE, side, LATENT_SIDE, side)
    return split.transpose(0, 1, 3, 5, 2, 4, 6).reshape(-1, _PATCH)


def principal(targets: Sequence[Target]) -> tuple[Tensor, Tensor, Tensor]:
    """Starts of the encoder's ``patch.weight``, and of the decoder's ``patch.weight`` and ``patch.bias``.

    They are the principal directions of patches, scaled so that latents vary by ±2, and back.
    """
    patches = patches_of(targets)
    mean = patches.mean(0)
    centred = patches - mean
    _, directions = np.linalg.eigh(centred.T @ centred)
    matrix = directions[:, : -1 - Sparse.channels : -1].T.astype(np.float32)
    spread = (centred @ matrix.T).std() / _START_SPREAD
    forth, back = torch.from_numpy(matrix / spread), torch.from_numpy(np.ascontiguousarray(matrix.T * spread))
    return forth, back, torch.from_numpy(mean)


def _halved(x: Tensor) -> Tensor:
    """(B, S, S, S, C) to (B, S/2, S/2, S/2, 8 C)."""
    batch, side, _, _, channels = x.shape
    half = side // 2
    split = x.reshape(batch, half, 2, half, 2, half, 2, channels)
    return split.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, half, half, half, 8 * channels)
