"""Training of ``latent_mlp`` on grid vertices near the surfaces: network and latents together, or one latent alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gcbench.entropy.tensors import levels, quantise
from gcbench.necgs.designs.base import Array, Parameters, Trained
from gcbench.necgs.designs.latent_mlp import SYMBOL_BITS, LatentMlp, Training
from gcbench.necgs.designs.latent_mlp_network import Autodecoder
from gcbench.necgs.volumes import fit_set
from gcbench.training import straight_through
from gcbench.training.networks import Loss, Schedule, train
from gcbench.training.perceptrons import Quantise, generators
from gcbench.training.precision import precision_of

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

    from gcbench.necgs.job import Job

FITTING_SHARE = 0.4  # of the time to compress, for the progress
#: Far vertices that are drawn for each one in the narrow band. Their value is ±1, whichever they are.
FAR_SHARE = 0.5
#: Weight of the mean absolute error of the deformation beside that of the TSDF.
DEFORMATION_WEIGHT = 0.3
#: Standard deviation of latents at the start. NeCGS starts its features at 1/3; with that and half the learning rate,
#: twelve shapes were twice as far after as many steps. 0.1 and 0.02 are as good.
START_DEVIATION = 0.1
_NARROW = 96  # width below which compiled loops in float32 are as fast as bfloat16


def compressed(design: LatentMlp, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job) -> Trained:
    """Fit volumes to meshes, and train on samples of them."""
    samples = draw(_volumes(design, meshes, training, job), job.seed)
    torch.set_num_threads(job.threads)
    size = len(samples.mesh)
    batch = min(training.batch, size)
    steps = max(training.epochs * size // batch, training.least_steps)
    schedule = Schedule(
        steps, batch, learning_rate=0.05 / design.width**0.5, bits=design.bits, seconds=training.seconds
    )
    with job.stage("training"):
        return train_set(samples, len(meshes), design, schedule, job.part(FITTING_SHARE, 1))


def added(
    autodecoder: Autodecoder, present: Array, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job
) -> Array:
    """Fit volumes to further meshes, and a latent to each."""
    volumes = _volumes(autodecoder.design, meshes, training, job)
    torch.set_num_threads(job.threads)
    schedule = Schedule(training.adding_steps, training.adding_batch, training.adding_rate, seconds=training.seconds)
    rest, latents = job.part(FITTING_SHARE, 1), []
    with job.stage("training"):
        for i, volume in enumerate(volumes):
            part = rest.part(i / len(volumes), (i + 1) / len(volumes))
            latents.append(fit_latent(autodecoder, draw(volume[None], job.seed), present, schedule, part))
    return np.stack(latents)


def _volumes(design: LatentMlp, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job) -> Array:
    part = job.part(0, FITTING_SHARE)
    return fit_set(
        meshes,
        design.resolution,
        training.objective,
        part,
        deformation=True,
        bits=SYMBOL_BITS,
        steps=training.fit_steps,
    )


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


def draw(volumes: Array, seed: int) -> Samples:
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


def train_set(samples: Samples, count: int, design: LatentMlp, schedule: Schedule, job: Job) -> Trained:
    """Train the network and the latents of a set together.

    Parameters
    ----------
    samples : Samples
    count : int
        Meshes.
    design : LatentMlp
    schedule : Schedule
        Its bits are those of the design.
    job : Job
        Its seed is that of the first weights and latents, and of the order of the samples.
    """
    (generator,) = generators([job.seed])
    autodecoder = Autodecoder.fresh(design, generator).to(job.device)
    start = START_DEVIATION * torch.randn(1, count, design.latent, generator=generator)
    latents = nn.Parameter(start.to(job.device))
    checkpoint = job.work / f"training-{samples.digest()}.safetensors" if job.work else None
    train(
        [*autodecoder.network.parameters(), latents],
        _loss(autodecoder, latents, samples.to(job.device)),
        len(samples.mesh),
        schedule,
        seed=job.seed,
        progress=job.progress,
        checkpoint=checkpoint,
    )
    return Trained(quantised(design, autodecoder.network.tensors()), _symbols(latents))


def quantised(design: LatentMlp, tensors: Sequence[NDArray[np.float32]]) -> Parameters:
    """Symbols and steps of weights and biases, layer by layer."""
    half = levels(design.bits) // 2
    found = [quantise(tensor, design.bits) for tensor in tensors]
    symbols = {name: (q + half).astype(np.int16) for name, (q, _) in zip(design.tensors(), found, strict=True)}
    return Parameters(symbols, np.array([step for _, step in found], np.float32))


def fit_latent(autodecoder: Autodecoder, samples: Samples, candidates: Array, schedule: Schedule, job: Job) -> Array:
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
    job : Job

    Returns
    -------
    (C,) int16
    """
    device = str(autodecoder.network.biases[0].device)
    samples = samples.to(device)
    starts = straight_through.values(torch.from_numpy(candidates).to(device), SYMBOL_BITS)
    generator = torch.Generator().manual_seed(job.seed)
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
        seed=job.seed,
        progress=job.progress,
    )
    found: Array = _symbols(latent)[0]
    return found


def _loss(autodecoder: Autodecoder, latents: Tensor, samples: Samples) -> Loss:
    """Mean absolute error, of the TSDF only on the surface's side of ±1 where it is cut off (DeepSDF's clamped L1)."""
    device = latents.device

    def loss(where: Tensor, quantise: Quantise | None) -> Tensor:
        where = where.to(device)
        target = straight_through.values(samples.target[where], SYMBOL_BITS)
        levels = straight_through.quantise(latents[0], SYMBOL_BITS)
        of_mesh = nn.functional.embedding(samples.mesh[where], levels)
        with _precision(autodecoder.design, device):
            difference = autodecoder(samples.vertex[where], of_mesh, quantise) - target
        tsdf = target[:, 0]
        # Clamping both sides, as DeepSDF does, would leave what is beyond the wrong end without a gradient.
        signed = difference[:, 0] * tsdf.sign()
        error = torch.where(tsdf.abs() >= 1, (-signed).relu(), difference[:, 0].abs())
        return (error.mean() + DEFORMATION_WEIGHT * difference[:, 1:].abs().mean())[None]

    return loss


def _precision(design: LatentMlp, device: torch.device) -> AbstractContextManager[object]:
    precision = precision_of("auto", device)
    if design.width < _NARROW or precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, precision)


def _symbols(latents: Tensor) -> Array:
    symbols: Array = straight_through.symbols(latents[0], SYMBOL_BITS).cpu().numpy()
    return symbols
