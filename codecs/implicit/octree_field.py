"""The network of NGLOD: a signed distance computed from features on an octree by a small decoder.

Functions that use this module import it when they run, because it imports torch.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gcbench.codecs.implicit.octree import BASE, Octree
from gcbench.codecs.implicit.octree_features import decode_features, encode_features
from gcbench.entropy.container import Fields, Writer
from gcbench.entropy.tensors import Coding, decode, encode
from gcbench.entropy.voxel_features import LARGEST
from gcbench.errors import BitstreamError
from gcbench.geometry.marching_cubes import HALF_SIDE
from gcbench.training.perceptrons import Perceptrons, generators, shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.geometry.signed_distance import Field
    from gcbench.training.perceptrons import Quantise

STEP = 1 / 16  # step of a rounded feature, before its level's scale; Adam moves a feature by a small part of a step
_FIRST_SCALE = 2.0  # at first, the step of distances is an eighth of a finest voxel's side
_SPREAD = 0.01  # initial spread of all features but the first
_CLAMP = 4.0  # voxels: the decoder gets distances clamped to this
_KNEE = 0.5  # voxels: at this distance, an error's factor is half the factor on the surface
_LARGEST_SCALE = 1e4


class OctreeField(nn.Module):
    """Signed distance at points: the first feature plus the output of a decoder of all features and the point.

    Distances are in sides of the finest voxels: d(x) / side = z₀(x) + decoder(x, z(x)), where z(x) is the sum over
    levels of interpolated features, times a scale for each level and channel.

    Parameters
    ----------
    tree : Octree
        Its corners have the features.
    channels : int
        Numbers in a feature.
    width : int
        Width of the decoder's hidden layer.
    seed : int
        Seed of the decoder's weights, and of all features but the first.

    Attributes
    ----------
    features : (1, corners, C) Parameter
    log_scales : (1, levels, C) Parameter
    decoder : Perceptrons
        One network, 3 + C to width to 1; the last layer's initial weights are 0.
    """

    def __init__(self, tree: Octree, channels: int, width: int, *, seed: int = 0) -> None:
        super().__init__()
        (generator,) = generators([seed])
        self.tree = tree
        self.features = nn.Parameter(_SPREAD * torch.randn(1, tree.corner_count, channels, generator=generator))
        self.log_scales = nn.Parameter(torch.zeros(1, len(tree.corners), channels))
        self.decoder = Perceptrons(1, (3 + channels, width, 1), generators=[generator])
        with torch.no_grad():
            self.log_scales[..., 0] = np.log(_FIRST_SCALE)
            self.decoder.weights[-1].zero_()
            self.decoder.biases[-1].zero_()
        self._level_of = torch.from_numpy(np.repeat(np.arange(len(tree.corners)), np.diff(tree.starts)))

    def start_from(self, field: Field) -> None:
        """Set each corner's first feature to the signed distance minus the interpolation of the coarser levels."""
        places = [
            corners * (2 * HALF_SIDE / 2**level) - HALF_SIDE for level, corners in enumerate(self.tree.corners, BASE)
        ]
        wanted = torch.from_numpy(field(np.concatenate(places)))[:, None] / self.tree.side
        distance = torch.zeros_like(wanted)
        for (begin, end), place in zip(itertools.pairwise(self.tree.starts), places, strict=True):
            coarser = self.tree.interpolate(distance, torch.from_numpy(place.astype(np.float32)))
            distance[begin:end] = wanted[begin:end] - coarser
        with torch.no_grad():
            self.features[0, :, :1] = distance / _FIRST_SCALE

    def forward(self, points: Tensor, quantise: Quantise | None = None) -> Tensor:
        """Signed distances at points (P, 3): (P,). With a quantiser of weights, features are rounded too."""
        features = self.features[0]
        if quantise:
            features = features + (rounded(features) * STEP - features).detach()
        z = self.tree.interpolate(features * self.log_scales[0].exp()[self._level_of], points)
        shown = torch.cat([points, z[:, :1].clamp(-_CLAMP, _CLAMP), z[:, 1:]], dim=1)
        distance: Tensor = self.tree.side * (z[:, 0] + self.decoder(shown[None], quantise)[0, :, 0])
        return distance

    def error(self, points: Tensor, distances: Tensor, quantise: Quantise | None = None) -> Tensor:
        """Mean squared error in voxels, weighted by (1 + |d| / knee)⁻²: only errors near the surface move the mesh."""
        weighted = (self(points, quantise) - distances) / (self.tree.side + distances.abs() / _KNEE)
        squared: Tensor = weighted.square().mean()
        return squared

    def feature_bits(self) -> Tensor:
        """A differentiable estimate of the bits of the features.

        A Laplace variable of large mean magnitude m, rounded to integers, takes log2(2 e m) bits. The estimate is
        log2(1 + 2 e m), which is 0 if all features are 0.
        """
        bits = self.features.new_zeros(())
        for begin, end in itertools.pairwise(self.tree.starts):
            magnitudes = self.features[0, begin:end].abs().mean(0) / STEP
            bits = bits + (end - begin) * torch.log2(1 + 2 * math.e * magnitudes).sum()
        return bits

    def encode(self, coding: Coding, bits: int) -> bytes:
        """Code the features, the scales and the weights of the decoder."""
        scales = self.log_scales.detach()[0].exp().numpy()
        weights = self.decoder.tensors()
        if coding != "range":
            return encode([self.features.detach()[0].numpy(), scales, *weights], coding, bits)
        symbols = rounded(self.features.detach()[0]).numpy().astype(np.int64)
        levels = np.split(symbols, self.tree.starts[1:-1])
        writer = Writer().block(encode_features(levels, self.tree.corners)).floats(scales)
        return writer.raw(encode(weights, coding, bits)).data()

    def read(self, data: bytes, coding: Coding, bits: int) -> None:
        """Inverse of :meth:`encode`, for a field with the same tree and the same shape.

        Raises
        ------
        BitstreamError
            The data are not of a field of this tree and shape.
        """
        corners, channels = self.features.shape[1:]
        table, scale_table = (corners, channels), (len(self.tree.corners), channels)
        decoder = shapes(self.decoder.widths)
        if coding == "range":
            fields = Fields(data)
            levels = decode_features(fields.block("features"), self.tree.corners, channels)
            scales = fields.floats("scales of the features", len(self.tree.corners) * channels).reshape(scale_table)
            weights = decode(fields.rest(), decoder, coding, bits)
            features = (np.concatenate(levels) * STEP).astype(np.float32)
        else:
            features, scales, *weights = decode(data, [table, scale_table, *decoder], coding, bits)
        if not (scales > 0).all() or scales.max() > _LARGEST_SCALE:
            raise BitstreamError("a scale of features is not a number that training gives")
        with torch.no_grad():
            self.features[0] = torch.from_numpy(features)
            self.log_scales[0] = torch.from_numpy(scales).log()
        self.decoder = Perceptrons.of(weights, self.decoder.widths)

    @torch.inference_mode()
    def distance(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Signed distances at points (P, 3), negative inside: (P,)."""
        found: NDArray[np.float32] = self(torch.from_numpy(points)).numpy()
        return found


def rounded(features: Tensor) -> Tensor:
    """Features in whole steps, clamped to the range that can be coded."""
    return (features / STEP).round().clamp(-LARGEST, LARGEST)
