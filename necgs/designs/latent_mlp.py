"""One perceptron from a grid vertex and the latent of a mesh to a TSDF-Def value: trained on a set, evaluated on grids.

Knows volumes and tensors; nothing of meshes or streams.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gcbench.necgs.designs.latent_mlp_stream import SKIP, SYMBOL_BITS, Architecture
from gcbench.training import straight_through
from gcbench.training.loop import Loss, Progress, Quantise, Schedule, train
from gcbench.training.perceptrons import Perceptrons, generators
from gcbench.training.precision import precision_of

Evaluate = Callable[[NDArray[np.int64]], NDArray[np.float32]]

#: Far vertices that are drawn for each one in the narrow band. Their value is ±1, whichever they are.
FAR_SHARE = 0.5
#: Weight of the mean absolute error of the deformation beside that of the TSDF.
DEFORMATION_WEIGHT = 0.3
#: Standard deviation of latents at the start. NeCGS starts its features at 1/3; with that and half the learning rate,
#: twelve shapes were twice as far after as many steps. 0.1 and 0.02 are as good.
START_DEVIATION = 0.1
#: |TSDF| from which a vertex counts as far from the surface. No surface is farther than √3 cells from a vertex of the
#: lattice of every second one, where the TSDF is at most √3 / 2.
_SETTLED = 0.95
_NARROW = 96  # below it, compiled loops in float32 are as fast as bfloat16
_CHUNK = 1 << 14  # vertices evaluated at a time


def _ignore() -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class Samples:
    """Grid vertices that are trained on.

    Parameters
    ----------
    mesh : (P,) int64
        Which mesh's volume a vertex is of.
    vertex : (P,) int64
        Flat index, x K² + y K + z.
    target : (P, 4) int16
        Symbols of the volume there.
    """

    mesh: Tensor
    vertex: Tensor
    target: Tensor

    def digest(self) -> str:
        """Name of the set."""
        digest = hashlib.sha256()
        for part in (self.mesh, self.vertex, self.target):
            digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def to(self, device: str) -> Samples:
        """The same elsewhere."""
        return Samples(self.mesh.to(device), self.vertex.to(device), self.target.to(device))


def draw(volumes: NDArray[np.int16], seed: int) -> Samples:
    """Draw all vertices of each narrow band, and as many far ones.

    Parameters
    ----------
    volumes : (n, 4, K, K, K) int16
        Symbols of TSDF-Def volumes, in [0, 2^N]; far is where the TSDF has the first or the last.
    seed : int
        Of the far ones.
    """
    rng = np.random.default_rng(seed)
    last = 1 << SYMBOL_BITS
    mesh, vertex, target = [], [], []
    for i, volume in enumerate(volumes.reshape(len(volumes), volumes.shape[1], -1)):
        saturated = (volume[0] <= 0) | (volume[0] >= last)
        near, far = np.flatnonzero(~saturated), np.flatnonzero(saturated)
        count = min(len(far), round(FAR_SHARE * len(near)) + 1)
        chosen = np.concatenate([near, rng.choice(far, count, replace=False)])
        mesh.append(np.full(len(chosen), i))
        vertex.append(chosen)
        target.append(volume[:, chosen].T)
    return Samples(*(torch.from_numpy(np.concatenate(parts)) for parts in (mesh, vertex, target)))


class Autodecoder:
    """The network of a set.

    Coordinates are those of grid vertices, (2 i − K) / K in [-1, 1): exact in bfloat16, unlike positions.

    Parameters
    ----------
    architecture : Architecture
    network : Perceptrons
        One, of the architecture's widths.
    """

    def __init__(self, architecture: Architecture, network: Perceptrons) -> None:
        self.architecture = architecture
        self.network = network

    @classmethod
    def fresh(cls, architecture: Architecture, generator: torch.Generator) -> Autodecoder:
        """A network as training finds it."""
        return cls(architecture, Perceptrons(1, architecture.widths, skip=SKIP, generators=[generator]))

    @classmethod
    def of(cls, architecture: Architecture, tensors: Sequence[NDArray[np.float32]]) -> Autodecoder:
        """The network with these weights and biases, layer by layer; frozen."""
        return cls(architecture, Perceptrons.of(tensors, architecture.widths, skip=SKIP).requires_grad_(False))

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

    def volume(self, latent: NDArray[np.int16], watch: Callable[[], None] = _ignore) -> NDArray[np.float32]:
        """The volume of a mesh, in float32, evaluated where a surface can be.

        Parameters
        ----------
        latent : (C,) int16
            Symbols.
        watch : callable, optional
            Called now and then; may raise to stop.

        Returns
        -------
        (4, K, K, K) float32
            In [-1, 1]. Where the field is not evaluated: ±1, and no deformation.
        """
        device = self.network.biases[0].device
        values = straight_through.values(torch.from_numpy(np.asarray(latent)).to(device), SYMBOL_BITS)

        def evaluate(vertices: NDArray[np.int64]) -> NDArray[np.float32]:
            shown = torch.from_numpy(vertices).to(device)
            with torch.inference_mode():
                parts = []
                for part in torch.split(shown, _CHUNK):
                    watch()
                    parts.append(self(part, values.expand(len(part), -1)))
                found: NDArray[np.float32] = torch.cat(parts).clamp(-1, 1).cpu().numpy()
            return found.T

        return sparse_volume(evaluate, self.architecture.resolution)

    def _encoded(self, vertices: Tensor) -> Tensor:
        side = self.architecture.resolution
        index = torch.stack([vertices // (side * side), vertices // side % side, vertices % side], dim=1)
        plain = (2 * index - side).to(torch.float32) / side
        if not self.architecture.octaves:
            return plain
        octaves = torch.pi * 2.0 ** torch.arange(self.architecture.octaves, device=plain.device)
        phases = (plain[..., None] * octaves).flatten(1)
        return torch.cat([plain, phases.sin(), phases.cos()], dim=1)


def fit_set(
    samples: Samples,
    count: int,
    architecture: Architecture,
    schedule: Schedule,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> tuple[list[NDArray[np.float32]], NDArray[np.int16]]:
    """Train the network and the latents of a set together.

    Parameters
    ----------
    samples : Samples
    count : int
        Meshes.
    architecture : Architecture
    schedule : Schedule
        Its bits are those of the architecture.
    seed : int
        Of the first weights and latents, and of the order of the samples.
    device : str
        As torch names devices.
    progress, checkpoint
        As of :func:`training.train`.

    Returns
    -------
    tensors : list of (rows, columns) float32
        Weights and biases, layer by layer, not quantised.
    latents : (count, C) int16
        Symbols.
    """
    (generator,) = generators([seed])
    autodecoder = Autodecoder.fresh(architecture, generator).to(device)
    start = START_DEVIATION * torch.randn(1, count, architecture.latent, generator=generator)
    latents = nn.Parameter(start.to(device))
    loss = _loss(autodecoder, latents, samples.to(device))
    trained = [*autodecoder.network.parameters(), latents]
    train(trained, loss, len(samples.mesh), schedule, seed=seed, progress=progress, checkpoint=checkpoint)
    return autodecoder.network.tensors(), _symbols(latents)


def fit_latent(
    autodecoder: Autodecoder,
    samples: Samples,
    candidates: NDArray[np.int16],
    schedule: Schedule,
    *,
    seed: int,
    progress: Progress | None = None,
) -> NDArray[np.int16]:
    """Find the latent of one more mesh for a network that stays as it is.

    A network that is fixed knows its own meshes: the search starts at the candidate that comes closest.

    Parameters
    ----------
    autodecoder : Autodecoder
        Frozen, with the weights that the stream has.
    samples : Samples
        Of one mesh.
    candidates : (n, C) int16
        Latents of the meshes in the stream.
    schedule : Schedule
    seed, progress
        As of :func:`fit_set`.

    Returns
    -------
    (C,) int16
    """
    device = str(autodecoder.network.biases[0].device)
    samples = samples.to(device)
    starts = straight_through.values(torch.from_numpy(candidates).to(device), SYMBOL_BITS)
    generator = torch.Generator().manual_seed(seed)
    shown = torch.randperm(len(samples.mesh), generator=generator)[: schedule.batch]
    with torch.inference_mode():
        losses = torch.cat([_loss(autodecoder, start[None, None], samples)(shown, None) for start in starts])
    latent = nn.Parameter(starts[losses.argmin()][None, None].clone())
    batch = min(schedule.batch, len(samples.mesh))
    train(
        [latent],
        _loss(autodecoder, latent, samples),
        len(samples.mesh),
        replace(schedule, batch=batch, quantised_from=1.0),
        seed=seed,
        progress=progress,
    )
    found: NDArray[np.int16] = _symbols(latent)[0]
    return found


def _loss(autodecoder: Autodecoder, latents: Tensor, samples: Samples) -> Loss:
    """Mean absolute error, of the TSDF only on the surface's side of ±1 where it is cut off (DeepSDF's clamped L1)."""
    device = latents.device

    def loss(where: Tensor, quantise: Quantise | None) -> Tensor:
        where = where.to(device)
        target = straight_through.values(samples.target[where], SYMBOL_BITS)
        levels = straight_through.quantise(latents[0], SYMBOL_BITS)
        of_mesh = nn.functional.embedding(samples.mesh[where], levels)
        with _precision(autodecoder.architecture, device):
            difference = autodecoder(samples.vertex[where], of_mesh, quantise) - target
        tsdf = target[:, 0]
        # Clamping both sides, as DeepSDF does, would leave what is beyond the wrong end without a gradient.
        signed = difference[:, 0] * tsdf.sign()
        error = torch.where(tsdf.abs() >= 1, (-signed).relu(), difference[:, 0].abs())
        return (error.mean() + DEFORMATION_WEIGHT * difference[:, 1:].abs().mean())[None]

    return loss


def _precision(architecture: Architecture, device: torch.device) -> AbstractContextManager[object]:
    precision = precision_of("auto", device)
    if architecture.width < _NARROW or precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, precision)


def _symbols(latents: Tensor) -> NDArray[np.int16]:
    symbols: NDArray[np.int16] = straight_through.symbols(latents[0], SYMBOL_BITS).cpu().numpy()
    return symbols


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
    """
    shape = (resolution,) * 3
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
    while cells.any():
        wanted = _corners_of(cells) & ~known
        volume.reshape(4, -1)[:, wanted.reshape(-1)] = evaluate(index[wanted])
        known |= wanted
        inside = volume[0] < 0
        crossed = _over_corners(inside, np.logical_or) & ~_over_corners(inside, np.logical_and)
        cells = crossed & ~_over_corners(known, np.logical_and)
    return volume


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
