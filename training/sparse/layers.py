"""Sparse convolutions as modules of torch; weights take the precision of the features."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from gcbench.training.sparse.voxels import SparseTensor, conv3, down2, multiply, up2

_OCCUPANCY = 0.45  # occupied share of the 27 places around a voxel of a surface; sets the size of initial weights
_OCTANTS = 8


def _uniform(places: int, c_in: int, c_out: int, occupied: float) -> nn.Parameter:
    """Random initial weights that keep the variance of rectified features."""
    bound = (6 / (max(places * occupied, 1) * c_in)) ** 0.5
    return nn.Parameter(torch.empty(places, c_in, c_out).uniform_(-bound, bound))


class Convolution(nn.Module):
    """A convolution with a 3³ (``volume`` 27) or 1³ kernel, or with a 2³ kernel (8) to the next coarser level.

    Weights are (volume, C_in, C_out), with z fastest in the volume, and the bias is (C_out,).
    """

    def __init__(self, volume: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = _uniform(volume, c_in, c_out, _OCCUPANCY)
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Apply; weights take the precision of the features."""
        weight, bias = self.weight.to(x.features.dtype), self.bias.to(x.features.dtype)
        if len(weight) == 1:
            return x.with_features(multiply(x.features, weight[0], bias))
        return (down2 if len(weight) == _OCTANTS else conv3)(x, weight, bias)


class Generation(nn.Module):
    """A transposed convolution with a 2³ kernel that generates all children. Weights are (8, C_in, C_out)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = _uniform(1, c_in, 8 * c_out, 1.0)
        self.weight.data = self.weight.data.view(c_in, 8, c_out).transpose(0, 1).contiguous()
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Apply; weights take the precision of the features."""
        return up2(x, self.weight.to(x.features.dtype), self.bias.to(x.features.dtype))


def relu(x: SparseTensor) -> SparseTensor:
    """Rectify."""
    return x.with_features(functional.relu(x.features))
