"""The decoder: from the embedded features of a mesh to its volume.

The memory layout is the fastest one for training on a CPU: channels last, and the eight children of a voxel one after
the other along the channels, so that the pixel shuffle copies whole runs.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from gcbench.necgs.designs import base
from gcbench.necgs.designs.convolution import UPSCALING, Convolution
from gcbench.training import straight_through
from gcbench.training.quantise import HIGH, LOW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

_LAYOUT = torch.channels_last_3d


class _Convolution(nn.Module):
    """Weight and bias of a convolution, both uniform in ±1/√(inputs · 27): torch's own start, from one generator."""

    def __init__(self, outputs: int, inputs: int, kernel: tuple[int, ...], generator: torch.Generator | None) -> None:
        super().__init__()
        bound = (inputs * prod(kernel)) ** -0.5
        weight = torch.empty(outputs, inputs, *kernel).uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(weight.contiguous(memory_format=_LAYOUT))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound, generator=generator))

    def quantised(self, inputs: Tensor, bits: int) -> Tensor:
        """The convolution with Q(Θ), in the type of ``inputs``; the border counts as 0."""
        weight = straight_through.quantise(self.weight, bits).to(inputs.dtype)
        bias = straight_through.quantise(self.bias, bits).to(inputs.dtype)
        return nn.functional.conv3d(inputs, weight, bias, padding=self.weight.shape[-1] // 2)


def pixel_shuffle(inputs: Tensor) -> Tensor:
    """Every voxel's channels dealt out to its 2×2×2 children.

    Parameters
    ----------
    inputs : Tensor
        (batch, 8 · C, D, H, W); the channels of child (x, y, z) are the C from C · (4 x + 2 y + z) on.

    Returns
    -------
    Tensor
        (batch, C, 2 D, 2 H, 2 W), channels last.
    """
    s = UPSCALING
    batch, channels, depth, height, width = inputs.shape
    dealt = inputs.permute(0, 2, 3, 4, 1).reshape(batch, depth, height, width, s, s, s, channels // s**3)
    woven = dealt.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, s * depth, s * height, s * width, channels // s**3)
    return woven.permute(0, 4, 1, 2, 3)


class Decoder(nn.Module):
    """D of Eq. 2 and 4: modules of convolution, pixel shuffle and GELU, and a last convolution.

    Its state has the names, shapes and order of ``Convolution.parameter_shapes``. Parameters are kept unrounded and
    quantised whenever they are used (which changes nothing for parameters that are levels already).

    Parameters
    ----------
    design : Convolution
        Widths, resolutions and bits.
    generator : torch.Generator, optional
        Source of the first parameters; the global one if absent.

    Source: Sec. 3.2, Fig. 11.
    """

    def __init__(self, design: Convolution, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.design = design
        convolutions = [
            _Convolution(shape[0], shape[1], shape[2:], generator)
            for name, shape in design.parameter_shapes().items()
            if name.endswith("weight")
        ]
        self.upsampling = nn.ModuleList(convolutions[:-1])
        self.last = convolutions[-1]

    def forward(self, features: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """Volumes of features.

        Parameters
        ----------
        features : Tensor
            (batch, C, K', K', K'), quantised.
        precision : torch.dtype
            Of activations and convolutions. Levels of up to 8 bits are exact in bfloat16.

        Returns
        -------
        Tensor
            (batch, channels, K, K, K) float32, not clipped.
        """
        bits = self.design.bits
        x = features.to(precision).contiguous(memory_format=_LAYOUT)
        for module in self.upsampling:
            # GELU acts on each number alone and comes first, while its input is one contiguous run.
            x = pixel_shuffle(nn.functional.gelu(cast("_Convolution", module).quantised(x, bits)))
        return self.last.quantised(x, bits).float()

    def symbols(self) -> dict[str, NDArray[np.int16]]:
        """Q(Θ) as symbols, by name, in the order of ``Convolution.parameter_shapes``."""
        bits = self.design.bits
        return {
            name: np.ascontiguousarray(straight_through.symbols(parameter, bits).cpu().numpy())
            for name, parameter in self.named_parameters()
        }

    @classmethod
    def from_symbols(cls, design: Convolution, symbols: Mapping[str, NDArray[np.int16]]) -> Decoder:
        """The decoder with exactly these levels, frozen.

        Raises
        ------
        ValueError
            Names or shapes are not the design's.
        """
        shapes = design.parameter_shapes()
        if {name: array.shape for name, array in symbols.items()} != shapes:
            raise ValueError("the parameters are not those of the design")
        decoder = cls(design)
        with torch.no_grad():
            for name, parameter in decoder.named_parameters():
                parameter.copy_(straight_through.values(torch.from_numpy(symbols[name]), design.bits))
        return decoder.requires_grad_(False).eval()


class VolumeDecoder(base.Decoder):
    """The decoder of a stream, computed in float32 throughout.

    Parameters
    ----------
    design : Convolution
    parameters : base.Parameters
    device : str
        As torch names devices.
    """

    def __init__(self, design: Convolution, parameters: base.Parameters, device: str) -> None:
        self.resolution = design.resolution
        self.network = Decoder.from_symbols(design, parameters.tensors).to(device)

    def volume(self, features: base.Array, watch: Callable[[], None]) -> NDArray[np.float32]:
        """The volume of a mesh, all of it."""
        watch()
        return decode(self.network, features)


def decode(decoder: Decoder, features: NDArray[np.int16]) -> NDArray[np.float32]:
    """The volume of one mesh's features, computed in float32 throughout.

    Parameters
    ----------
    decoder : Decoder
        On any device.
    features : (C, K', K', K') int16
        Symbols.

    Returns
    -------
    (channels, K, K, K) float32
        In [-1, 1].
    """
    device = next(decoder.parameters()).device
    with torch.inference_mode():
        levels = straight_through.values(torch.from_numpy(np.asarray(features)).to(device), decoder.design.bits)
        volume = decoder(levels[None])[0].clamp_(LOW, HIGH)
    return np.ascontiguousarray(volume.cpu().numpy())
