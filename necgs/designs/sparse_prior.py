"""The decoder that ships with ``sparse``, and its encoder: trained once, on generated shapes, for all sets.

A stream holds the differences of its decoder to this one. The file therefore decides what streams mean: a stream names
the file by a hash, and a new file needs a new hash.
``sparse_prior_training`` makes the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gcbench.errors import BenchError
from gcbench.necgs.designs import sparse_encoder
from gcbench.necgs.designs.sparse import BLOCKS, PRIOR, Sparse
from gcbench.training import weights

if TYPE_CHECKING:
    from gcbench.necgs.designs.sparse_targets import Target

RESOLUTION = 128
_SIDE = RESOLUTION // BLOCKS  # grid vertices along a block of the prior
ENCODER = "encoder."


class Prior:
    """Decoder and encoder, read from a file.

    Raises
    ------
    BenchError
        The file is missing or torn, or has a value that is not finite.
    """

    def __init__(self, path: Path) -> None:
        try:
            tensors, _ = weights.read(path)
            self._tensors = weights.require(tensors, {name: tensor.shape for name, tensor in tensors.items()})
        except ValueError as error:
            raise BenchError(f"the prior of sparse, {path.name}, {error}") from error

    def decoder(self, design: Sparse) -> dict[str, Tensor]:
        """Parameters of a design's decoder by name.

        The prior has values at 4³ vertices of a block. A coarser grid has every second of them, or the first; a finer
        one has values between, along straight lines. The prior displaces no vertex.
        """
        found = {name: self._tensors[name] for name in design.parameter_shapes() if name in self._tensors}
        if design.deformation:
            found |= {name: torch.zeros(design.parameter_shapes()[name]) for name in ("moves.weight", "moves.bias")}
        if missing := design.parameter_shapes().keys() - found.keys():
            raise BenchError(f"the prior of sparse has no tensor {min(missing)}")
        side = design.resolution // BLOCKS
        places = torch.arange(side) * (_SIDE / side)
        low = places.floor().clamp_max(_SIDE - 2)
        along = torch.zeros(side, _SIDE)
        along[torch.arange(side), low.long()] = 1 - (places - low)
        along[torch.arange(side), low.long() + 1] = places - low
        for name in ("values.weight", "values.bias"):
            cube = found[name].reshape(_SIDE, _SIDE, _SIDE, -1)
            cube = torch.einsum("xi,yj,zk,ijkc->xyzc", along, along, along, cube)
            found[name] = cube.reshape(design.vertices_per_block, *found[name].shape[1:])
        return found

    def latents(self, targets: Sequence[Target]) -> Tensor:
        """The encoder's guess of the latents of meshes, (n, C, 4, 4, 4) float32."""
        encoder = {name[len(ENCODER) :]: t for name, t in self._tensors.items() if name.startswith(ENCODER)}
        with torch.inference_mode():
            parts = [
                sparse_encoder.encode(encoder, targets[i : i + 8], torch.float32) for i in range(0, len(targets), 8)
            ]
            return torch.cat(parts).clone()


@cache
def load() -> Prior:
    """The prior that ships."""
    return Prior(PRIOR)


def size(shape: tuple[int, ...]) -> float:
    """Size of the values of a layer at the start: 1 over the root of the number of inputs that an output sums."""
    if len(shape) == 1:
        return 0.05
    taps = 1 if shape[2:] == (2, 2, 2) else math.prod(shape[2:])  # a doubling sums the inputs of one voxel
    return 1 / math.sqrt(shape[1] * taps)
