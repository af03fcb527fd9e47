"""Trains SIR-SNC: fits the linear coder, counts its tables, then trains the network that corrects the decoded values.

A run is a folder. If a run is stopped at any time, the same call continues it and ends with the weights of a run that
was not stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gcbench.codecs.sirsnc.blocks import Blocks
from gcbench.codecs.sirsnc.fit import count_tables, fit
from gcbench.codecs.sirsnc.network import SirSnc, distance_loss, quantised
from gcbench.codecs.sirsnc.samples import Batch, batch, cropped, samples_of, turned
from gcbench.codecs.sirsnc.weights import LABELS, write
from gcbench.training.checkpoints import State
from gcbench.training.descent import Descent
from gcbench.training.loop import run
from gcbench.training.precision import precision_of
from gcbench.training.progress import Progress, silent
from gcbench.training.schedules import learning_rate
from gcbench.training.sparse.meshes import NamedMesh
from gcbench.training.sparse.voxels import SparseTensor

STEPS: Mapping[str, float] = MappingProxyType(dict(zip(LABELS, (10.0, 5.0, 2.5, 1.25), strict=True)))
"""Step of the quantiser of the latent features, in cells, low to high quality."""

_RECENT = 0.02  # share of a step in the running means that progress and the log report
_SCORE_WEIGHT = 0.03
_KERNEL = ".weight"
_BIAS_SIZE = 0.25
_OCCUPIED = 0.45  # share of the 27 places around a voxel of a surface


@dataclass(frozen=True)
class Settings:
    """Settings of a training run.

    Parameters
    ----------
    steps : int
        Of the descent.
    learning_rate : float
        Highest step of a tensor, relative to the size of its values; a cosine reduces it to 2 %.
    least_blocks : int
        In a step.
    made_up : int
        Synthetic shapes beside the given meshes.
    built_in : bool
        Whether the meshes given to :func:`train` are used.
    validate_every : int
        Steps between validations.
    seed : int
        Seed of all random choices.
    """

    steps: int = 8_000
    learning_rate: float = 0.012
    least_blocks: int = 600
    made_up: int = 60
    built_in: bool = True
    validate_every: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Terms:
    """The terms of the loss.

    Parameters
    ----------
    distance : scalar
        Mean error of the signed distance near the surface, in cells.
    score : scalar
        Cross-entropy of the choice of octants, in bits.
    """

    distance: Tensor
    score: Tensor

    def loss(self) -> Tensor:
        """The weighted sum."""
        return self.distance + _SCORE_WEIGHT * self.score


def terms(model: SirSnc, samples: Batch, rate: int, dtype: torch.dtype) -> Terms:
    """Encode, round and decode a batch."""
    with torch.no_grad():
        latents = quantised(model.linear.encode(samples.values, samples.around, rate))
        y = SparseTensor(samples.voxels, latents)
    band = samples.band.view(-1)
    truth = band if model.training else None
    decoded = model.reconstruct(y, samples.around, rate=rate, count=int(band.sum()), dtype=dtype, truth=truth)
    score = functional.binary_cross_entropy_with_logits(decoded.scores, band.float()) / math.log(2)
    return Terms(distance_loss(decoded.values, samples.values.view(-1, 8)), score)


def train(
    out: Path,
    settings: Settings,
    *,
    meshes: Callable[[], Iterable[NamedMesh]] = tuple,
    minutes: float = math.inf,
    progress: Progress = silent,
) -> bool:
    """Train all rates; writes ``weights.safetensors``, ``checkpoint.safetensors``, ``samples.npz`` and ``log.jsonl``.

    Parameters
    ----------
    out : Path
        Folder of the run; created if missing.
    settings : Settings
        Must equal the settings of an existing checkpoint in the folder.
    meshes : callable
        Returns the meshes if ``settings.built_in``; called once for a folder.
    minutes : float
        Time after which to stop with a checkpoint.
    progress : callable
        Gets the step, running means and the remaining time, about once a second.

    Returns
    -------
    bool
        Whether all steps are done.

    Raises
    ------
    UsageError
        The folder holds a run with other settings, or there are too few shapes.
    """
    out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * minutes
    samples, held_out = samples_of(out, settings, meshes, progress)
    training = Training(settings, samples, held_out, out / "log.jsonl")
    done = run(
        training,
        json.dumps(asdict(settings)),
        checkpoint=out / "checkpoint.safetensors",
        progress=training.told(progress),
        deadline=deadline,
    )
    facts = {"step": str(training.step), "settings": json.dumps(asdict(settings)), "steps": json.dumps(dict(STEPS))}
    write(out / "weights.safetensors", training.model, training.tables, facts)
    return done


class Training:
    """A training between two steps; see :class:`gcbench.training.loop.Trainable`.

    The linear coder is fitted when the object is made, the same each time.
    """

    def __init__(
        self, settings: Settings, samples: Sequence[Blocks], held_out: Sequence[Blocks], journal: Path
    ) -> None:
        self.settings, self._samples, self._journal = settings, samples, journal
        self.step, self.steps = 0, settings.steps
        self._recent = np.full(3, np.nan)
        self._dtype = precision_of("auto", torch.device("cpu"))
        rng = np.random.default_rng((settings.seed, 4))
        self._held_out = [batch([cropped(sample, rng)]) for sample in held_out]
        torch.manual_seed(settings.seed)
        self.model = SirSnc(len(LABELS))
        batches = [batch([_turned(sample, rng)]) for sample in samples]
        fit(self.model.linear, batches, list(STEPS.values()))
        self.tables = np.stack([count_tables(self.model.linear, batches, rate) for rate in range(len(LABELS))])
        tensors = {name: _matrix(name, p) for name, p in self._parameters().items()}
        self._descent = Descent(tensors, {name: _size(name, p) for name, p in self._parameters().items()}, "muon")

    def _parameters(self) -> dict[str, torch.nn.Parameter]:
        return dict(self.model.correction.named_parameters())

    def state(self) -> State:
        """Everything that the rest of the training depends on."""
        return {"descent": self._descent.state(), "step": self.step}

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""
        self._descent.restore(state["descent"])
        self.step = int(state["step"])

    def told(self, progress: Progress) -> Progress:
        """A callback that adds the running means of the loss's terms to progress messages."""

        def tell(done: float, message: str) -> None:
            _, distance, score = self._recent
            progress(done, f"{self.step}/{self.steps}: distance {distance:.4f}, score {score:.3f} bits, {message}")

        return tell

    def advance(self) -> Tensor:
        """Do one step and return the running mean of the loss."""
        if not self.step:
            self._record()
        found = self._step()
        self._recent = np.where(np.isnan(self._recent), found, self._recent + _RECENT * (found - self._recent))
        self.step += 1
        if self.step % self.settings.validate_every == 0 or self.step == self.steps:
            self._record()
        return torch.tensor(self._recent[0])

    def _step(self) -> NDArray[np.float64]:
        rng = np.random.default_rng((self.settings.seed, 3, self.step))
        rate = int(rng.integers(len(LABELS)))
        self.model.train()
        found = terms(self.model, self._drawn(rng), rate, self._dtype)
        loss = found.loss()
        parameters = self._parameters()
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        named = {n: None if g is None else _matrix(n, g) for n, g in zip(parameters, gradients, strict=True)}
        peak = self.settings.learning_rate
        step = learning_rate(self.step, self.steps, peak=peak, warm_up=min(50, self.steps // 10), floor=0.02)
        self._descent.step(named, step)
        return np.array([t.item() for t in (loss, found.distance, found.score)])

    def _drawn(self, rng: np.random.Generator) -> Batch:
        chosen: list[Blocks] = []
        least = self.settings.least_blocks
        while sum(len(sample.places) for sample in chosen) < least:
            sample = cropped(self._samples[int(rng.integers(len(self._samples)))], rng, 2 * least)
            chosen.append(_turned(sample, rng))
        return batch(chosen)

    @torch.no_grad()
    def _record(self) -> None:
        self.model.eval()
        rows = {}
        for rate, label in enumerate(LABELS):
            found = [terms(self.model, sample, rate, self._dtype) for sample in self._held_out]
            rows[label] = {
                name: round(float(np.mean([getattr(f, name).item() for f in found])), 5)
                for name in ("distance", "score")
            }
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.step, "loss": float(self._recent[0]), "held_out": rows}) + "\n")


def _turned(sample: Blocks, rng: np.random.Generator) -> Blocks:
    return turned(sample, [int(axis) for axis in rng.permutation(3)], [bool(flip) for flip in rng.random(3) < 0.5])


def _matrix(name: str, tensor: Tensor) -> Tensor:
    """A kernel (places, C_in, C_out) as a matrix of (places · C_in, C_out), any other tensor as a vector."""
    tensor = tensor.detach()
    return tensor.flatten(0, 1) if name.endswith(_KERNEL) else tensor.flatten()


def _size(name: str, tensor: Tensor) -> float:
    """The size of a tensor's values: for a kernel, that which keeps the variance of rectified features."""
    if not name.endswith(_KERNEL):
        return _BIAS_SIZE
    places = {27: 27 * _OCCUPIED, 8: 1.0, 1: 1.0}[len(tensor)]
    return float((2 / (places * tensor.shape[1])) ** 0.5)
