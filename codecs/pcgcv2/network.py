"""The multiscale sparse autoencoder of PCGCv2: voxels to latent features at an eighth of the resolution, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gcbench.training.sparse.bottleneck import FactorizedBottleneck
from gcbench.training.sparse.layers import Convolution, Generation, relu
from gcbench.training.sparse.voxels import SparseTensor, Voxels, conv3, largest, morton_keys, prune

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STRIDE = 8
"""Of the latent features, in voxels."""

LATENT_CHANNELS = 8
_SCORE_GAIN = 0.02  # of the classifiers' initial weights, so that initial probabilities are near ½
_LATENT_GAIN = 0.1  # of the last convolution's initial weights, so that latent features start at a few units


class InceptionResNet(nn.Module):
    """Two branches (3³ 3³ and 1³ 3³ 1³), concatenated and added to the input.

    Source: Wang et al., DCC 2021, Fig. 2b.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter, half = channels // 4, channels // 2
        self.conv0_0 = Convolution(27, channels, quarter)
        self.conv0_1 = Convolution(27, quarter, half)
        self.conv1_0 = Convolution(1, channels, quarter)
        self.conv1_1 = Convolution(27, quarter, quarter)
        self.conv1_2 = Convolution(1, quarter, half)
        for last in (self.conv0_1, self.conv1_2):  # otherwise features grow too large after nine blocks
            last.weight.data.mul_(0.5)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Apply.

        Gathering neighbours takes most of the time, so both branches share one gathering: a 1³ kernel becomes the
        middle of a 3³ kernel, and two kernels become one kernel with zero blocks off the diagonal.
        """
        dtype = x.features.dtype
        first = torch.cat([self.conv0_0.weight, functional.pad(self.conv1_0.weight, (0, 0, 0, 0, 13, 13))], 2)
        wide, deep = self.conv0_1.weight, self.conv1_1.weight
        second = torch.cat(
            [functional.pad(wide, (0, 0, 0, deep.shape[1])), functional.pad(deep, (0, 0, wide.shape[1], 0))], 2
        )
        first_bias = torch.cat([self.conv0_0.bias, self.conv1_0.bias])
        second_bias = torch.cat([self.conv0_1.bias, self.conv1_1.bias])
        inner = conv3(x, first.to(dtype), first_bias.to(dtype))
        both = conv3(relu(inner), second.to(dtype), second_bias.to(dtype)).features
        half = wide.shape[2]
        deep_out = self.conv1_2(x.with_features(functional.relu(both[:, half:])))
        return x.with_features(torch.cat([both[:, :half], deep_out.features], 1) + x.features)


def _blocks(channels: int) -> nn.Sequential:
    return nn.Sequential(*(InceptionResNet(channels) for _ in range(3)))


class Encoder(nn.Module):
    """Channels 1, 16, 32, 64, 32, 8; three levels down."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.down0, self.block0 = Convolution(27, 1, 16), Convolution(8, 16, 32), _blocks(32)
        self.conv1, self.down1, self.block1 = Convolution(27, 32, 32), Convolution(8, 32, 64), _blocks(64)
        self.conv2, self.down2, self.block2 = Convolution(27, 64, 64), Convolution(8, 64, 32), _blocks(32)
        self.conv3 = Convolution(27, 32, LATENT_CHANNELS)
        self.conv3.weight.data.mul_(_LATENT_GAIN)

    def forward(self, voxels: Voxels, dtype: torch.dtype) -> SparseTensor:
        """Encode occupied voxels to latent features of the voxels three levels up."""
        ones = torch.ones(len(voxels), 1, dtype=dtype, device=voxels.keys.device)
        x = self.block0(relu(self.down0(relu(self.conv0(SparseTensor(voxels, ones))))))
        x = self.block1(relu(self.down1(relu(self.conv1(x)))))
        x = self.block2(relu(self.down2(relu(self.conv2(x)))))
        y: SparseTensor = self.conv3(x)
        return y


class Decoder(nn.Module):
    """Channels 8, 64, 32, 16; three levels up, each with a classifier of the generated voxels."""

    def __init__(self) -> None:
        super().__init__()
        self.up0, self.conv0, self.block0 = Generation(LATENT_CHANNELS, 64), Convolution(27, 64, 64), _blocks(64)
        self.conv0_cls = Convolution(27, 64, 1)
        self.up1, self.conv1, self.block1 = Generation(64, 32), Convolution(27, 32, 32), _blocks(32)
        self.conv1_cls = Convolution(27, 32, 1)
        self.up2, self.conv2, self.block2 = Generation(32, 16), Convolution(27, 16, 16), _blocks(16)
        self.conv2_cls = Convolution(27, 16, 1)
        for classifier in (self.conv0_cls, self.conv1_cls, self.conv2_cls):
            classifier.weight.data.mul_(_SCORE_GAIN)

    def forward(
        self, y: SparseTensor, counts: Sequence[int], truth: Sequence[Voxels] | None = None
    ) -> tuple[Voxels, list[SparseTensor]]:
        """Decode; at each level keep the ``counts`` likeliest voxels, and the voxels of the truth if it is given.

        Parameters
        ----------
        y : SparseTensor
            (M, 8) latent features.
        counts : sequence of int
            Voxels to keep at strides 4, 2 and 1.
        truth : sequence of Voxels, optional
            The occupied voxels at strides 4, 2 and 1, in training.

        Returns
        -------
        voxels : Voxels
            At stride 1.
        scores : list of SparseTensor
            (candidates, 1) logits of occupancy at strides 4, 2 and 1.
        """
        x, scores = y, []
        for level in range(3):
            up, conv = getattr(self, f"up{level}"), getattr(self, f"conv{level}")
            x = getattr(self, f"block{level}")(relu(conv(relu(up(x)))))
            score = getattr(self, f"conv{level}_cls")(x)
            scores.append(score)
            keep = largest(score.features.detach().squeeze(1), counts[level])
            if truth is not None:
                keep |= truth[level].contains(x.voxels)
            if level < 2:
                x = prune(x, keep)
        return x.voxels.subset(keep.nonzero().squeeze(1)), scores


@dataclass(frozen=True)
class Reconstruction:
    """The results from which a training step computes its loss.

    Parameters
    ----------
    scores : list of SparseTensor
        Logits of the candidates at strides 4, 2 and 1.
    truth : list of Voxels
        Occupied voxels at the same strides.
    y : (M, 8) float
        Latent features, with noise or rounded.
    """

    scores: list[SparseTensor]
    truth: list[Voxels]
    y: Tensor


class PCGCv2(nn.Module):
    """Encoder, decoder and entropy model: 778 487 parameters.

    Source: Wang et al., "Multiscale Point Cloud Geometry Compression" (DCC 2021), Fig. 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.bottleneck = FactorizedBottleneck(LATENT_CHANNELS)

    @property
    def _device(self) -> torch.device:
        return self.encoder.conv0.weight.device

    def inference_dtype(self) -> torch.dtype:
        """bfloat16 if the processor multiplies bfloat16, which takes half the time; float32 otherwise.

        On whole frames of a million points, the D1 PSNR of the two types differs by at most 0.002 dB.
        """
        quick = torch.cuda.is_bf16_supported() if self._device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if quick else torch.float32

    @torch.no_grad()
    def encode(
        self, coordinates: NDArray[np.integer], dtype: torch.dtype | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], tuple[int, int, int]]:
        """Encode a cloud.

        Parameters
        ----------
        coordinates : (N, 3) integers
            In [0, 2^20), in any order, N ≥ 1.
        dtype : torch.dtype, optional
            Type of the features inside the network; see `inference_dtype`.

        Returns
        -------
        coarsest : (M, 3) int32
            Coordinates at stride 8 (floor of x / 8), sorted by x, then y, then z.
        y : (M, 8) float32
            Latent features at these coordinates, not rounded.
        counts : tuple of three int
            Number of voxels at strides 4, 2 and 1 (the last counts distinct coordinates).
        """
        voxels = Voxels.from_coordinates(torch.as_tensor(coordinates, device=self._device))
        y = self.encoder(voxels, dtype or self.inference_dtype())
        coarsest = y.voxels.coordinates.int().cpu().numpy()
        order = np.lexsort(coarsest.T[::-1])
        counts = (len(voxels.parent.parent), len(voxels.parent), len(voxels))
        return coarsest[order], y.features.float().cpu().numpy()[order], counts

    @torch.no_grad()
    def decode(
        self,
        coarsest: NDArray[np.integer],
        y_hat: NDArray[np.floating],
        counts: Sequence[int],
        dtype: torch.dtype | None = None,
    ) -> NDArray[np.int32]:
        """Decode a cloud; of voxels with equal scores, the first in Morton order are kept.

        Parameters
        ----------
        coarsest : (M, 3) integers
            Distinct coordinates at stride 8, in any order.
        y_hat : (M, 8) float
            Rounded latent features in the same order.
        counts : sequence of three int
            Number of voxels at strides 4, 2 and 1.
        dtype : torch.dtype, optional
            Type of the features inside the network; see `inference_dtype`.

        Returns
        -------
        (N, 3) int32
            N = counts[2], sorted by x, then y, then z.

        Raises
        ------
        ValueError
            Coordinates repeat or are out of range, sizes do not fit, or a count is impossible.
        """
        if y_hat.shape != (len(coarsest), LATENT_CHANNELS) or len(counts) != 3:
            raise ValueError(f"{len(coarsest)} coordinates with features of shape {y_hat.shape}, {len(counts)} counts")
        places = len(coarsest)
        for count in counts:
            if not 1 <= count <= 8 * places:
                raise ValueError(f"{count} voxels cannot be children of {places}")
            places = count
        coordinates = torch.as_tensor(coarsest, device=self._device)
        voxels = Voxels.from_coordinates(coordinates)
        if len(voxels) != len(coarsest):
            raise ValueError("coordinates repeat")
        features = torch.as_tensor(y_hat, device=self._device).to(dtype or self.inference_dtype())[
            torch.argsort(morton_keys(coordinates))
        ]
        decoded, _ = self.decoder(SparseTensor(voxels, features), counts)
        found: NDArray[np.int32] = decoded.coordinates.int().cpu().numpy()
        return found[np.lexsort(found.T[::-1])]

    def forward(
        self, voxels: Voxels, dtype: torch.dtype = torch.float32, noise: Tensor | None = None
    ) -> Reconstruction:
        """Encode and decode for training.

        `noise` (M, 8), uniform in [−½, ½), is added to the latent features; without noise, they are rounded.
        """
        y = self.encoder(voxels, dtype)
        exact = y.features.float()
        latent = exact.round() if noise is None else exact + noise
        truth = [voxels.parent.parent, voxels.parent, voxels]
        _, scores = self.decoder(
            y.with_features(latent.to(dtype)), [len(level) for level in truth], truth if self.training else None
        )
        return Reconstruction(scores, truth, latent)
