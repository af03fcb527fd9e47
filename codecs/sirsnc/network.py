"""The sparse autoencoder of SIR-SNC: signed distances of blocks to 16 latent features for each block, and back.

Encoder and the first part of the decoder are linear, so that :mod:`.fit` finds the best ones without descent:

    latent = gain of the rate · (values · analysis − what the sides around the block let one expect)
    values = sides around the block · A + 3³ convolution of the latents with B; A and B of the rate

A network of sparse convolutions then corrects the values; :mod:`.training` trains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from gcbench.codecs.sirsnc.blocks import AROUND, TRUNCATION
from gcbench.training.precision import precision_of
from gcbench.training.sparse.layers import Convolution, Generation, relu
from gcbench.training.sparse.voxels import SparseTensor, Voxels, conv3, largest, morton_keys, prune

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gcbench.codecs.sirsnc.blocks import Blocks

LATENT_CHANNELS = 16
VALUES = 64  # of a block
SIDES = AROUND + 1  # what is known of the sides around a block, and 1
_COARSE, _FINE = 32, 24  # channels at stride 4 and at stride 2
_OCTANTS = 8
_ROUNDING = 0.4  # added to a magnitude before its fraction is cut; 8 % fewer bytes than 0.5 at equal error
_SCORE_SLOPE, _SCORE_MIDDLE = 3.0, 1.0  # an octant is probably in the band if a value is below one cell
_FAR, _NEAR, _FAR_WEIGHT, _SMOOTH = 2.0, 1.25, 0.1, 0.05  # of the loss, in cells


class Linear(nn.Module):
    """The linear encoder and decoders; zero until they are fitted.

    Parameters
    ----------
    rates : int
    """

    def __init__(self, rates: int) -> None:
        super().__init__()
        self.analysis = nn.Parameter(torch.zeros(VALUES, LATENT_CHANNELS))
        self.expected = nn.Parameter(torch.zeros(SIDES, LATENT_CHANNELS))
        self.gains = nn.Parameter(torch.ones(rates))
        self.by_sides = nn.Parameter(torch.zeros(rates, SIDES, VALUES))
        self.by_latents = nn.Parameter(torch.zeros(rates, 27, LATENT_CHANNELS, VALUES))

    def encode(self, values: Tensor, around: Tensor, rate: int) -> Tensor:
        """Latent features in steps of the quantiser: (M, 64), (M, 125) to (M, 16)."""
        return self.gains[rate] * (values @ self.analysis - with_one(around) @ self.expected)

    def decode(self, y: SparseTensor, around: Tensor, rate: int) -> Tensor:
        """Values from quantised features: (M, 16), (M, 125) to (M, 64)."""
        scaled = y.with_features(y.features / self.gains[rate])
        return (
            conv3(scaled, self.by_latents[rate], y.features.new_zeros(VALUES)).features
            + with_one(around) @ self.by_sides[rate]
        )


def quantised(latents: Tensor) -> Tensor:
    """Round, but 0.6 becomes 1 and less does not: fewer bits cost little accuracy."""
    return latents.sign() * (latents.abs() + _ROUNDING).floor()


def with_one(around: Tensor) -> Tensor:
    """The sides around blocks, and a column of ones: (M, 125) to (M, 126)."""
    return torch.cat([around, around.new_ones(len(around), 1)], 1)


class Residual(nn.Module):
    """x + a 3³ convolution of x rectified."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Convolution(27, channels, channels)
        self.conv.weight.data.mul_(0.5)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Apply."""
        return x.with_features(x.features + self.conv(relu(x)).features)


@dataclass(frozen=True)
class Decoded:
    """What the decoder says.

    Parameters
    ----------
    values : (8 M, 8) float
        Signed distances at the vertices of each octant, in cells.
    scores : (8 M,) float
        Logit of an octant's being in the band.
    keep : (8 M,) bool
        Octants whose values have the fine correction.
    """

    values: Tensor
    scores: Tensor
    keep: Tensor


class Correction(nn.Module):
    """Convolutions at stride 4; a generative convolution to all octants; top-k pruning; convolutions at stride 2.

    Parameters
    ----------
    rates : int
        Each rate has biases of its own in the first layer.
    """

    def __init__(self, rates: int) -> None:
        super().__init__()
        self.mix = Convolution(1, VALUES + LATENT_CHANNELS, _COARSE)
        self.biases = nn.Parameter(torch.zeros(rates, _COARSE))
        self.coarse = Residual(_COARSE)
        self.up = Generation(_COARSE, _FINE)
        self.score = Convolution(1, _FINE, 1)
        self.fine = Residual(_FINE)
        self.values = Convolution(1, _FINE, _OCTANTS)
        for last in (self.score, self.values):
            last.weight.data.zero_()

    def forward(
        self,
        y: SparseTensor,
        values: Tensor,
        *,
        rate: int,
        count: int,
        dtype: torch.dtype,
        truth: Tensor | None = None,
    ) -> Decoded:
        """Correct the values (M, 64); see :meth:`SirSnc.reconstruct`."""
        known = torch.cat([values / TRUNCATION, y.features / 4], 1).to(dtype)
        x = self.mix(y.with_features(known))
        x = self.coarse(x.with_features(x.features + self.biases[rate].to(dtype)))
        x = self.up(relu(x))
        octants = values.view(-1, _OCTANTS)
        nearest = octants.detach().abs().amin(1)
        scores = _SCORE_SLOPE * (_SCORE_MIDDLE - nearest) + self.score(_single(relu(x))).features.squeeze(1)
        keep = largest(scores.detach(), count)
        if truth is not None:
            keep |= truth
        correction = self.values(_single(relu(self.fine(prune(x, keep))))).features
        rows = keep.nonzero().squeeze(1)
        return Decoded(octants.index_add(0, rows, correction), scores, keep)


def _single(x: SparseTensor) -> SparseTensor:
    return x.with_features(x.features.float())


class SirSnc(nn.Module):
    """Linear encoder and decoders, and the network that corrects the values.

    Parameters
    ----------
    rates : int
        Number of rates that the weights serve.
    """

    def __init__(self, rates: int) -> None:
        super().__init__()
        self.linear, self.correction = Linear(rates), Correction(rates)

    @property
    def _device(self) -> torch.device:
        return self.linear.analysis.device

    def reconstruct(
        self,
        y: SparseTensor,
        around: Tensor,
        *,
        rate: int,
        count: int,
        dtype: torch.dtype,
        truth: Tensor | None = None,
    ) -> Decoded:
        """Decode rounded features.

        Parameters
        ----------
        y : SparseTensor
            (M, 16) float32.
        around : (M, 125) float32
        rate : int
        count : int
            Octants to keep: those with the largest scores.
        dtype : torch.dtype
            Of the convolutions of the correction.
        truth : (8 M,) bool, optional
            In training: octants to keep too.
        """
        values = self.linear.decode(y, around, rate)
        found: Decoded = self.correction(y, values, rate=rate, count=count, dtype=dtype, truth=truth)
        return found

    @torch.inference_mode()
    def encode(self, blocks: Blocks, rate: int) -> NDArray[np.float32]:
        """Quantised latent features of blocks, in their order: (M, 16) float32."""
        values, around = (torch.from_numpy(a).to(self._device) for a in (blocks.values, blocks.around))
        found: NDArray[np.float32] = quantised(self.linear.encode(values, around.float(), rate)).cpu().numpy()
        return found

    @torch.inference_mode()
    def decode(
        self, places: NDArray[np.int32], around: NDArray[np.int8], y_hat: NDArray[np.float32], rate: int, count: int
    ) -> NDArray[np.float32]:
        """Signed distances at the vertices of blocks.

        Parameters
        ----------
        places : (M, 3) int32
            Distinct, in Morton order.
        around : (M, 125) int8
            See :func:`gcbench.codecs.sirsnc.blocks.around`.
        y_hat : (M, 16) float32
            Rounded latent features.
        rate : int
        count : int
            Octants to keep.

        Returns
        -------
        (M, 64) float32
            In cells, vertices in Morton order.
        """
        places_, around_, latent = (torch.from_numpy(a).to(self._device) for a in (places, around, y_hat))
        y = SparseTensor(Voxels(morton_keys(places_)), latent)
        decoded = self.reconstruct(y, around_.float(), rate=rate, count=count, dtype=precision_of("auto", self._device))
        found: NDArray[np.float32] = decoded.values.view(-1, VALUES).cpu().numpy()
        return found


def distance_loss(values: Tensor, target: Tensor) -> Tensor:
    """Mean error of signed distances in cells, smooth near 0; far from the surface only the side counts."""
    far = target.abs() >= _FAR
    error = torch.where(far, functional.relu(_FAR - values * target.sign()), values - target)
    weight = torch.where(target.abs() < _NEAR, 1.0, _FAR_WEIGHT)
    return (weight * ((error * error + _SMOOTH**2).sqrt() - _SMOOTH)).sum() / weight.sum()
