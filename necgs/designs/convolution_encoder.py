"""The encoder of the ablation: a volume to its embedded features, by ConvNeXt blocks in three dimensions.

Training uses the encoder; the stream does not hold it, and decoding does not need it.
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

import torch
from torch import nn

from gcbench.necgs.designs.convolution import Convolution

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 64  # of all stages but the last, which has the features' channels (Sec. C.3, the authors' configuration)
_KERNEL = 7
_EXPANSION = 4
_LAYER_SCALE = 1e-6
_EPSILON = 1e-6
_DEVIATION = 0.02


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (batch, channels, D, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class _Block(nn.Module):
    """Depthwise 7³ convolution, normalisation, two pointwise layers with GELU between; added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv3d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.expand = nn.Linear(width, _EXPANSION * width)
        self.contract = nn.Linear(_EXPANSION * width, width)
        self.scale = nn.Parameter(torch.full((width,), _LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.norm(self.depthwise(x).permute(0, 2, 3, 4, 1))
        inner = self.scale * self.contract(nn.functional.gelu(self.expand(inner)))
        return x + inner.permute(0, 4, 1, 2, 3)


def strides(design: Convolution) -> tuple[int, ...]:
    """Downsampling of each stage: 4, then 2 as often as it takes to reach the features' resolution."""
    halvings = int(log2(design.resolution // design.feature_resolution))
    return (4, *[2] * (halvings - 2)) if halvings > 1 else (2,) * halvings


class Encoder(nn.Sequential):
    """Embedded features, not yet quantised, of volumes.

    Parameters
    ----------
    design : Convolution
        Resolutions and channels.
    generator : torch.Generator, optional
        Source of the first parameters; the global one if absent.

    Source: Sec. 4.3 and C.3; Liu et al., A ConvNet for the 2020s (2022).
    """

    def __init__(self, design: Convolution, generator: torch.Generator | None = None) -> None:
        stages: list[nn.Module] = []
        factors = strides(design)
        inputs = design.channels
        for i, factor in enumerate(factors):
            outputs = WIDTH if i < len(factors) - 1 else design.feature_channels
            down = nn.Conv3d(inputs, outputs, factor, stride=factor)
            norm = _ChannelNorm(inputs if i else outputs, eps=_EPSILON)
            stages += [norm, down] if i else [down, norm]
            stages.append(_Block(outputs))
            inputs = outputs
        super().__init__(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_DEVIATION, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
