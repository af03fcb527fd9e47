"""Trains PCGCv2: minimises occupancy errors at three scales plus bits; each rate starts from its neighbour.

A run is a folder. If a run is stopped at any time, the same call continues it and ends with the weights of a run that
was not stopped.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gcbench.codecs.pcgcv2.network import PCGCv2, Reconstruction
from gcbench.codecs.pcgcv2.patches import batch, patches_of, turned
from gcbench.codecs.pcgcv2.weights import read_tensors, save_weights
from gcbench.errors import UsageError
from gcbench.training import checkpoints
from gcbench.training.checkpoints import State, adam_state, restore_adam
from gcbench.training.loop import run
from gcbench.training.progress import Progress, part, silent
from gcbench.training.schedules import learning_rate
from gcbench.training.sparse.meshes import NamedMesh
from gcbench.training.sparse.voxels import SparseTensor, Voxels

log = logging.getLogger(__name__)

LAMBDAS: Mapping[str, float] = MappingProxyType(
    {"r1": 6.0, "r2": 3.0, "r3": 1.5, "r4": 0.75, "r5": 0.35, "r6": 0.15, "r7": 0.06}
)
"""Weight of the bits per point beside the occupancy loss in bits per candidate, low to high quality."""

FIRST_LAMBDA, FIRST_SHARE = 0.15, 1 / 3
"""A network that starts from nothing first learns to reconstruct: a third of its steps have at most this λ."""

RECENT = 0.02
"""Share of a step in the running means that progress and the log report."""

_CLIP_NORM = 1.0
DTYPE = torch.bfloat16  # halves the memory traffic, which limits convolutions; parameters and moments stay float32


@dataclass(frozen=True)
class Settings:
    """Settings of a training run.

    Parameters
    ----------
    first_rate : str
        Rate to train first; the rate farthest from it is the last.
    steps : int
        Steps of the first rate.
    warm_share : float
        Steps of a rate that starts from another, as a share of `steps`.
    learning_rate, warm_learning_rate : float
        Highest learning rate of Adam for the first and the other rates; a cosine reduces it to 2 %.
    patch_voxels : int
        Side of the cubes.
    patches : int
        Number of patches; each is used in the 48 ways to turn and mirror a cube.
    made_up : int
        Synthetic shapes to cut from, at most one for each patch.
    built_in : bool
        Whether every other patch is cut from the meshes given to :func:`train`.
    patches_per_step : int
        Batch size.
    validate_every : int
        Steps between validations.
    seed : int
        Seed of all random choices.
    """

    first_rate: str = "r4"
    steps: int = 6000
    warm_share: float = 0.25
    learning_rate: float = 1e-3
    warm_learning_rate: float = 5e-4
    patch_voxels: int = 64
    patches: int = 1600
    made_up: int = 200
    built_in: bool = True
    patches_per_step: int = 1
    validate_every: int = 500
    seed: int = 0


@dataclass(frozen=True)
class Validation:
    """Results on held-out patches, with rounded features and top-k pruning.

    Parameters
    ----------
    occupancy_bits : tuple of float
        Mean cross-entropy per candidate at strides 4, 2 and 1.
    bits_per_point : float
        Ideal bits of the features over the number of points; coordinates not counted.
    d1_psnr : float
        From the mean squared error over all points in the worse direction; dB at a peak of 1023.
    """

    occupancy_bits: tuple[float, ...]
    bits_per_point: float
    d1_psnr: float


def occupancy_bits(scores: SparseTensor, truth: Voxels) -> Tensor:
    """Mean binary cross-entropy of the candidates' occupancy, in bits."""
    occupied = truth.contains(scores.voxels).float()
    return functional.binary_cross_entropy_with_logits(scores.features.squeeze(1).float(), occupied) / math.log(2)


def loss_terms(model: PCGCv2, result: Reconstruction) -> tuple[Tensor, Tensor]:
    """Occupancy bits per candidate, added over the three scales, and feature bits per point.

    Source: Wang et al., DCC 2021, Eq. 3 and 4.
    """
    occupancy = torch.stack([occupancy_bits(s, t) for s, t in zip(result.scores, result.truth, strict=True)]).sum()
    return occupancy, model.bottleneck.bits(result.y) / len(result.truth[-1])


def train(
    out: Path,
    rates: Sequence[str],
    settings: Settings,
    *,
    meshes: Callable[[], Iterable[NamedMesh]] = tuple,
    earlier: Path | None = None,
    minutes: float = math.inf,
    device: str = "cpu",
    progress: Progress = silent,
) -> bool:
    """Train rates from the first one outwards; each starts from the nearest trained rate.

    Writes ``RATE.safetensors`` (weights), ``RATE.checkpoint.safetensors``, ``patches.npz`` and ``log.jsonl`` into the
    folder.

    Parameters
    ----------
    out : Path
        Folder of the run; created if missing.
    rates : sequence of str
        Labels of `LAMBDAS`.
    settings : Settings
        Must equal the settings of existing checkpoints in the folder.
    meshes : callable
        Returns meshes to cut patches from if ``settings.built_in``; called once for a folder.
    earlier : Path, optional
        Folder of an earlier training: the first rate starts from the nearest rate there, not from random weights.
    minutes : float
        Time after which to stop with a checkpoint.
    device : str
        Device of torch.
    progress : callable
        Gets the rate, the step, running means and the remaining time of the rate, about once a second.

    Returns
    -------
    bool
        Whether all rates are done.

    Raises
    ------
    UsageError
        A rate is unknown, or the folder holds a run with other settings.
    """
    unknown = sorted({*rates, settings.first_rate} - set(LAMBDAS))
    if unknown or not rates:
        raise UsageError(f"no such rate: {', '.join(unknown) or 'none given'}; there are {', '.join(LAMBDAS)}")
    out.mkdir(parents=True, exist_ok=True)
    patches, held_out = patches_of(out, settings, meshes)
    deadline = time.monotonic() + 60 * minutes
    pending = [label for label in _nearest(settings.first_rate) if label in rates]
    for position, label in enumerate(pending):
        rate = _Rate(out, label, settings, device, patches=patches, held_out=held_out, earlier=earlier)
        log.info("%s: λ = %g", label, LAMBDAS[label])
        done = run(
            rate,
            json.dumps([label, asdict(settings)]),
            checkpoint=rate.path,
            progress=rate.told(part(progress, position / len(pending), (position + 1) / len(pending))),
            deadline=deadline,
        )
        save_weights(out / f"{label}.safetensors", rate.model, {"state": json.dumps(rate.facts())})
        if not done:
            return False
    return True


def _nearest(label: str) -> list[str]:
    """The ladder, sorted by distance from a rate; of two rates at equal distance, the higher is first."""
    labels = list(LAMBDAS)
    return sorted(labels, key=lambda other: (abs(labels.index(other) - labels.index(label)), -labels.index(other)))


def _start(out: Path, label: str) -> tuple[str, State] | None:
    """The nearest trained rate and the state of its network; None if no rate is trained."""
    for other in _nearest(label):
        path = _checkpoint(out, other)
        if path.exists():
            _, state = checkpoints.read(path)
            if state["step"] == state["steps"]:
                return other, state["model"]
    return None


def _checkpoint(out: Path, label: str) -> Path:
    return out / f"{label}.checkpoint.safetensors"


def _earlier(folder: Path, label: str) -> dict[str, Tensor]:
    """Weights of the nearest rate in the folder of an earlier training."""
    for other in _nearest(label):
        path = folder / f"{other}.safetensors"
        if path.exists():
            return {name: value.float() for name, value in read_tensors(path)[0].items()}
    raise UsageError(f"{folder} has no weights to start from")


class _Rate:
    """The state of the training of one rate between two steps.

    Without a checkpoint, training starts from the nearest trained rate (named ``start``), else from an earlier training
    (``continued``), else from random weights. A checkpoint includes ``start`` and ``continued``.
    """

    def __init__(
        self,
        out: Path,
        label: str,
        settings: Settings,
        device: str,
        *,
        patches: Sequence[NDArray[np.int32]],
        held_out: Sequence[NDArray[np.int32]],
        earlier: Path | None,
    ) -> None:
        self.out, self.label, self.settings, self.device = out, label, settings, torch.device(device)
        self.patches, self.held_out = patches, held_out
        self.path = _checkpoint(out, label)
        self.recent = np.full(3, np.nan)  # running means of the loss and its two terms
        self.step, self.steps, self.start, self.continued = 0, settings.steps, "", False
        torch.manual_seed(settings.seed)
        self.model = PCGCv2().to(self.device)
        self.adam = torch.optim.Adam(self.model.parameters())
        if self.path.exists():
            return
        if found := _start(out, label):
            self.start, weights = found
            self.steps = math.ceil(settings.steps * settings.warm_share)
            self.model.load_state_dict(weights)
        elif earlier:
            self.continued = True
            self.model.load_state_dict(_earlier(earlier, label))

    def facts(self) -> dict[str, Any]:
        """The facts about the training that the file of weights carries as metadata."""
        own = {name: getattr(self, name) for name in ("label", "step", "steps", "start", "continued")}
        return {**own, "settings": asdict(self.settings)}

    def state(self) -> State:
        """The state on which the rest of the training depends."""
        return {**self.facts(), "model": self.model.state_dict(), "adam": adam_state(self.adam)}

    def restore(self, state: State) -> None:
        """Continue from a state."""
        self.model.load_state_dict(state["model"])
        restore_adam(self.adam, state["adam"])
        self.step, self.steps = state["step"], state["steps"]
        self.start, self.continued = state["start"], state["continued"]

    def told(self, progress: Progress) -> Progress:
        """A callback that adds the rate and the running means of the two loss terms to progress messages."""

        def tell(done: float, message: str) -> None:
            _, occupancy, rate = self.recent
            terms = f"occupancy {occupancy:.4f} bits, {rate:.4f} bits/point"
            progress(done, f"{self.label} {self.step}/{self.steps}: {terms}, {message}")

        return tell

    def advance(self) -> Tensor:
        """Do one step and return the running mean of the loss."""
        terms = self._step()
        self.recent = np.where(np.isnan(self.recent), terms, self.recent + RECENT * (terms - self.recent))
        self.step += 1
        if self.step % self.settings.validate_every == 0 or self.step == self.steps:
            self._record(validate(self.model, self.held_out, DTYPE))
        return torch.tensor(self.recent[0])

    def _step(self) -> NDArray[np.float64]:
        settings = self.settings
        rng = np.random.default_rng((settings.seed, list(LAMBDAS).index(self.label), self.step))
        chosen = rng.choice(len(self.patches), min(settings.patches_per_step, len(self.patches)), replace=False)
        voxels = batch([turned(self.patches[i], settings.patch_voxels, rng) for i in chosen], settings.patch_voxels)
        voxels = Voxels(voxels.keys.to(self.device))
        noise = torch.from_numpy(rng.random((len(voxels.parent.parent.parent), 8), dtype=np.float32) - 0.5)
        self.model.train()
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(
                self.step,
                self.steps,
                peak=settings.warm_learning_rate if self.start else settings.learning_rate,
                warm_up=min(100, self.steps // 10),
                floor=0.02,
            )
        self.adam.zero_grad(set_to_none=True)
        occupancy, rate = loss_terms(self.model, self.model(voxels, DTYPE, noise.to(self.device)))
        loss = occupancy + self._lambda() * rate
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP_NORM)
        self.adam.step()
        return np.array([loss.item(), occupancy.item(), rate.item()])

    def _lambda(self) -> float:
        reconstructing = not self.start and not self.continued and self.step < FIRST_SHARE * self.steps
        return min(LAMBDAS[self.label], FIRST_LAMBDA) if reconstructing else LAMBDAS[self.label]

    def _record(self, validation: Validation) -> None:
        row = {"rate": self.label, "lambda": self._lambda(), "step": self.step, "loss": self.recent[0]}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **asdict(validation)}) + "\n")
        log.info("%s, step %d: %s", self.label, self.step, validation)


@torch.no_grad()
def validate(model: PCGCv2, patches: Sequence[NDArray[np.int32]], dtype: torch.dtype = torch.float32) -> Validation:
    """Encode and decode patches one by one."""
    from scipy.spatial import cKDTree

    model.eval()
    device = model.encoder.conv0.weight.device
    occupancy, bits, points, errors, decoded_points = np.zeros(3), 0.0, 0, np.zeros(2), 0
    for patch in patches:
        voxels = Voxels.from_coordinates(torch.as_tensor(patch, device=device))
        y = model.encoder(voxels, dtype)
        rounded = y.features.float().round()
        truth = [voxels.parent.parent, voxels.parent, voxels]
        decoded, scores = model.decoder(y.with_features(rounded.to(dtype)), [len(level) for level in truth])
        occupancy += [occupancy_bits(s, t).item() for s, t in zip(scores, truth, strict=True)]
        bits += model.bottleneck.bits(rounded).item()
        original, recovered = voxels.coordinates.cpu().numpy(), decoded.coordinates.cpu().numpy()
        points, decoded_points = points + len(original), decoded_points + len(recovered)
        errors += (
            (cKDTree(recovered).query(original)[0] ** 2).sum(),
            (cKDTree(original).query(recovered)[0] ** 2).sum(),
        )
    worse = max(errors[0] / points, errors[1] / decoded_points, 1e-12)
    return Validation(tuple((occupancy / len(patches)).tolist()), bits / points, 10 * math.log10(3 * 1023**2 / worse))
