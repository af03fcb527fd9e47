"""The perceptron of ``latent_mlp``, and the volumes that it makes: evaluated only where a surface can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcbench.entropy.tensors import dequantise, levels
from gcbench.errors import BitstreamError
from gcbench.necgs.designs.base import Array, Decoder, Parameters
from gcbench.necgs.designs.latent_mlp import SKIP, SYMBOL_BITS, LatentMlp
from gcbench.training import straight_through
from gcbench.training.perceptrons import Perceptrons

if TYPE_CHECKING:
    from gcbench.training.perceptrons import Quantise

Evaluate = Callable[[NDArray[np.int64]], NDArray[np.float32]]

#: |TSDF| from which a vertex counts as far from the surface. No surface is farther than √3 cells from a vertex of the
#: lattice of every second one, where the TSDF is at most √3 / 2.
_SETTLED = 0.95
_CHUNK = 1 << 14  # vertices evaluated at a time
_MOST_ROUNDS = 64  # in which a surface is followed; shapes take two. A surface of noise can take thousands.
_NEAR_SQUARES = 64  # vertices near the surface, in units of K²; a sphere has 11 K², the largest surfaces some 45 K²


class Autodecoder(Decoder):
    """The network of a set.

    Coordinates are those of grid vertices, (2 i − K) / K in [-1, 1): exact in bfloat16, unlike positions.

    Parameters
    ----------
    design : LatentMlp
    network : Perceptrons
        One, of the design's widths.
    """

    def __init__(self, design: LatentMlp, network: Perceptrons) -> None:
        self.design = design
        self.resolution = design.resolution
        self.network = network

    @classmethod
    def fresh(cls, design: LatentMlp, generator: torch.Generator) -> Autodecoder:
        """A network as training finds it."""
        return cls(design, Perceptrons(1, design.layer_widths, skip=SKIP, generators=[generator]))

    @classmethod
    def of(cls, design: LatentMlp, parameters: Parameters) -> Autodecoder:
        """The network with these weights and biases; frozen."""
        half = levels(design.bits) // 2
        tensors = [
            dequantise(symbols - np.int16(half), float(step))
            for symbols, step in zip(parameters.tensors.values(), parameters.scales, strict=True)
        ]
        return cls(design, Perceptrons.of(tensors, design.layer_widths, skip=SKIP).requires_grad_(False))

    def to(self, device: str) -> Autodecoder:
        """The same elsewhere."""
        self.network.to(device)
        return self

    def __call__(self, vertices: Tensor, latents: Tensor, quantise: Quantise | None = None) -> Tensor:
        """Evaluate.

        Parameters
        ----------
        vertices : (P,) int64
            Flat indices.
        latents : (P, C) float32
            Of the mesh of each vertex, quantised.
        quantise : callable, optional
            Applied to weights.

        Returns
        -------
        (P, 4) float32
            TSDF and deformation, not clipped.
        """
        shown = torch.cat([self._encoded(vertices), latents], dim=1)
        found: Tensor = self.network(shown[None], quantise)
        return found[0].float()

    def volume(self, features: Array, watch: Callable[[], None]) -> NDArray[np.float32]:
        """The volume of a mesh, in float32, evaluated where a surface can be.

        Parameters
        ----------
        features : (C,) int16
            Symbols.
        watch : callable, optional
            Called now and then; may raise to stop.

        Returns
        -------
        (4, K, K, K) float32
            In [-1, 1]. Where the field is not evaluated: ±1, and no deformation.
        """
        device = self.network.biases[0].device
        values = straight_through.values(torch.from_numpy(np.asarray(features)).to(device), SYMBOL_BITS)

        def evaluate(vertices: NDArray[np.int64]) -> NDArray[np.float32]:
            shown = torch.from_numpy(vertices).to(device)
            with torch.inference_mode():
                parts = []
                for part in torch.split(shown, _CHUNK):
                    watch()
                    parts.append(self(part, values.expand(len(part), -1)))
                found: NDArray[np.float32] = torch.cat(parts).clamp(-1, 1).cpu().numpy()
            if not np.isfinite(found).all():
                raise BitstreamError("the network of the stream overflows: a value of the volume is not finite")
            return found.T

        return sparse_volume(evaluate, self.design.resolution)

    def _encoded(self, vertices: Tensor) -> Tensor:
        side = self.design.resolution
        index = torch.stack([vertices // (side * side), vertices // side % side, vertices % side], dim=1)
        plain = (2 * index - side).to(torch.float32) / side
        if not self.design.octaves:
            return plain
        octaves = torch.pi * 2.0 ** torch.arange(self.design.octaves, device=plain.device)
        phases = (plain[..., None] * octaves).flatten(1)
        return torch.cat([plain, phases.sin(), phases.cos()], dim=1)


def sparse_volume(evaluate: Evaluate, resolution: int) -> NDArray[np.float32]:
    """A volume that is evaluated only where a surface can be: first at every second vertex, then around what is near.

    Every surface that is found is followed to its end: a cell with a change of sign has all its corners evaluated.

    Parameters
    ----------
    evaluate : callable
        (P,) int64 flat indices of vertices to (4, P) float32 values in [-1, 1].
    resolution : int
        K, even.

    Returns
    -------
    (4, K, K, K) float32

    Raises
    ------
    BitstreamError
        A surface comes near to more vertices than a shape's does, or is too long to be followed.
    """
    shape = (resolution,) * 3
    left = resolution**3 // 8 + _NEAR_SQUARES * resolution**2
    index = np.arange(resolution**3).reshape(shape)
    known = np.zeros(shape, bool)
    known[::2, ::2, ::2] = True
    coarse = evaluate(index[known]).reshape(4, *[resolution // 2] * 3)
    volume = np.zeros((4, *shape), np.float32)
    volume[0] = np.where(coarse[0] < 0, np.float32(-1), np.float32(1)).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    volume[:, ::2, ::2, ::2] = coarse

    corners = np.pad(coarse[0], (0, 1), mode="edge")
    settled = (_over_corners(corners, np.minimum) >= _SETTLED) | (_over_corners(corners, np.maximum) <= -_SETTLED)
    cells = (~settled).repeat(2, 0).repeat(2, 1).repeat(2, 2)[:-1, :-1, :-1]
    for _ in range(_MOST_ROUNDS):
        if not cells.any():
            return volume
        wanted = _corners_of(cells) & ~known
        left -= int(np.count_nonzero(wanted))
        if left < 0:
            raise BitstreamError("the surface comes near to more of the volume than the surface of a shape does")
        volume.reshape(4, -1)[:, wanted.reshape(-1)] = evaluate(index[wanted])
        known |= wanted
        inside = volume[0] < 0
        crossed = _over_corners(inside, np.logical_or) & ~_over_corners(inside, np.logical_and)
        cells = crossed & ~_over_corners(known, np.logical_and)
    raise BitstreamError(f"the surface does not end after {_MOST_ROUNDS} steps")


def _over_corners(values: NDArray[Any], reduce: np.ufunc) -> NDArray[Any]:
    """Reduce the eight corners of each cell: (K, K, K) to (K - 1, K - 1, K - 1)."""
    for axis in range(3):
        along = np.moveaxis(values, axis, 0)
        values = np.moveaxis(reduce(along[:-1], along[1:]), 0, axis)
    return values


def _corners_of(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the corners of marked cells: (K - 1, K - 1, K - 1) to (K, K, K)."""
    marks = np.pad(cells, ((1, 1),) * 3)
    return _over_corners(marks, np.logical_or)
