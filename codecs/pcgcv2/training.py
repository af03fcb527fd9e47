"""Training of PCGCv2: occupancy at three scales against bits, each rate starting from its neighbour.

A run is a folder. It may be cut off at any time; the same call goes on where it was, and ends with the same weights as
if it had not been. Knows the network and its shapes, nothing of streams or of the codec.
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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gcbench.codecs.pcgcv2 import shapes
from gcbench.codecs.pcgcv2.network import PCGCv2, Reconstruction
from gcbench.codecs.pcgcv2.sparse import SparseTensor, Voxels
from gcbench.codecs.pcgcv2.weights import read_tensors, save_weights, write_tensors
from gcbench.errors import UsageError

log = logging.getLogger(__name__)

LAMBDAS: Mapping[str, float] = MappingProxyType(
    {"r1": 6.0, "r2": 3.0, "r3": 1.5, "r4": 0.75, "r5": 0.35, "r6": 0.15, "r7": 0.06}
)
"""Weight of the bits per point beside the occupancy loss in bits per candidate, low to high quality."""

FIRST_LAMBDA, FIRST_SHARE = 0.15, 1 / 3
"""A network that starts from nothing first learns to reconstruct: a third of its steps have at most this λ."""

RECENT = 0.02
"""Share of a step in the running means that progress reports."""

_HELD_OUT = ("human/samba", "human/crane-kick", "animal/cow-graze", "cad/gear")  # built-in meshes, for validation only
_GAP = 24  # voxels between patches: two at stride 8, so that no kernel reaches across
_CHECKPOINT_S = 60.0
_CLIP_NORM = 1.0


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    first_rate : str
        Where in the ladder to begin; the rate farthest from it is the last.
    steps : int
        Of the first rate.
    warm_share : float
        Steps of a rate that starts from another, as a share of those.
    learning_rate, warm_learning_rate : float
        Of Adam, at its highest; a cosine brings it to 2 %.
    patch_voxels : int
        Side of the cubes.
    patches : int
        Made once, then seen in the 48 ways to turn and mirror a cube.
    made_up : int
        Shapes to cut from, at most one for each patch.
    built_in : bool
        Whether every other patch is of one of the meshes given to :func:`train`.
    patches_per_step : int
        Batch size.
    validate_every : int
        Steps between validations.
    seed : int
        Of everything.
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
class Progress:
    """Where a training stands.

    Parameters
    ----------
    rate : str
        Label of the ladder.
    step, steps : int
        Done, and in all.
    loss, occupancy_bits, bits_per_point : float
        Means over recent steps: the loss, its occupancy part, and the rate.
    seconds_left : float
        Until all rates are done, at the present pace.
    """

    rate: str
    step: int
    steps: int
    loss: float
    occupancy_bits: float
    bits_per_point: float
    seconds_left: float


@dataclass(frozen=True)
class Validation:
    """What held-out patches give, with rounded features and top-k pruning.

    Parameters
    ----------
    occupancy_bits : tuple of float
        Mean cross-entropy per candidate at strides 4, 2 and 1.
    bits_per_point : float
        Ideal bits of the features over the number of points; coordinates not counted.
    d1_psnr : float
        Of the mean of the squared errors over all points, the worse direction, dB at a peak of 1023.
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
    meshes: Callable[[], Iterable[shapes.NamedMesh]] = tuple,
    earlier: Path | None = None,
    minutes: float = math.inf,
    device: str = "cpu",
    report: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train rates from one outwards, each starting from the nearest that is trained.

    Writes ``RATE.safetensors`` (weights), ``RATE.checkpoint.safetensors`` (about once a minute), ``patches.npz`` and
    ``log.jsonl`` into the folder.

    Parameters
    ----------
    out : Path
        Folder of the run, made if it is not there.
    rates : sequence of str
        Labels of `LAMBDAS`.
    settings : Settings
        Must be those of the checkpoints that are there.
    meshes : callable
        Makes meshes to cut patches from beside made-up shapes, where the settings want them; called once for a folder.
    earlier : Path, optional
        Folder of an earlier training: the first rate starts from the nearest that was trained there, not from nothing.
    minutes : float
        After which to stop with a checkpoint.
    device : str
        Of torch.
    report : callable
        Called after every step.

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
    training, held_out = _patches(out, settings, meshes)
    deadline = time.monotonic() + 60 * minutes
    pending = [label for label in _nearest(settings.first_rate) if label in rates]
    for position, label in enumerate(pending):
        later = sum(_steps(out, other, settings, started=True) for other in pending[position + 1 :])
        run = _Run(out, label, settings, device, earlier)
        if not run.go_on(training, held_out, deadline, later, report):
            return False
    return True


def _steps(out: Path, label: str, settings: Settings, *, started: bool) -> int:
    """How many steps a rate has: fewer if there is one to start from."""
    return math.ceil(settings.steps * settings.warm_share) if started or _start(out, label) else settings.steps


def _nearest(label: str) -> list[str]:
    """The ladder by distance from a rate, the higher of two first."""
    labels = list(LAMBDAS)
    return sorted(labels, key=lambda other: (abs(labels.index(other) - labels.index(label)), -labels.index(other)))


def _start(out: Path, label: str) -> Path | None:
    """The checkpoint of the nearest rate that is trained."""
    for other in _nearest(label):
        path = out / f"{other}.checkpoint.safetensors"
        if path.exists() and _State.of(read_tensors(path)[1]).done:
            return path
    return None


def _earlier(folder: Path, label: str) -> dict[str, Tensor]:
    """Weights of the nearest rate in the folder of an earlier training, named as in a checkpoint."""
    for other in _nearest(label):
        path = folder / f"{other}.safetensors"
        if path.exists():
            return {f"model.{name}": value.float() for name, value in read_tensors(path)[0].items()}
    raise UsageError(f"{folder} has no weights to start from")


@dataclass(frozen=True)
class _State:
    """What a checkpoint says about itself."""

    label: str
    step: int
    steps: int
    start: str
    settings: dict[str, float | str]
    continued: bool = False  # whether the first weights are of an earlier training

    @property
    def done(self) -> bool:
        return self.step == self.steps

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> _State:
        return cls(**json.loads(metadata["state"]))


class _Run:
    """The training of one rate."""

    def __init__(self, out: Path, label: str, settings: Settings, device: str, earlier: Path | None = None) -> None:
        self.out, self.label, self.settings, self.device = out, label, settings, torch.device(device)
        self.path = out / f"{label}.checkpoint.safetensors"
        torch.manual_seed(settings.seed)
        self.model = PCGCv2().to(self.device)
        tensors: dict[str, Tensor] = {}
        if self.path.exists():
            tensors, metadata = read_tensors(self.path)
            self.state = _State.of(metadata)
            if self.state.settings != asdict(settings):
                raise UsageError(f"{self.path} was trained with other settings: {self.state.settings}")
        else:
            start = _start(out, label)
            if start:
                tensors = read_tensors(start)[0]
                tensors = {name: value for name, value in tensors.items() if name.startswith("model.")}
            steps = _steps(out, label, settings, started=start is not None)
            began = start.name.split(".")[0] if start else ""
            self.state = _State(label, 0, steps, began, asdict(settings), earlier is not None and not start)
            if self.state.continued and earlier:
                tensors = _earlier(earlier, label)
        if tensors:
            self.model.load_state_dict(_under("model.", tensors))
        # bfloat16 halves the memory traffic that convolutions wait for; parameters and moments stay float32.
        self.dtype = torch.bfloat16
        self.names = [name for name, _ in self.model.named_parameters()]
        self.optimizer = torch.optim.Adam(self.model.parameters())
        if _under("mean.", tensors):
            self.optimizer.load_state_dict(
                {
                    "state": {
                        index: {
                            "step": torch.tensor(float(self.state.step)),
                            "exp_avg": tensors[f"mean.{name}"],
                            "exp_avg_sq": tensors[f"square.{name}"],
                        }
                        for index, name in enumerate(self.names)
                    },
                    "param_groups": self.optimizer.state_dict()["param_groups"],
                }
            )

    def go_on(
        self,
        training: list[NDArray[np.int32]],
        held_out: list[NDArray[np.int32]],
        deadline: float,
        later: int,
        report: Callable[[Progress], None],
    ) -> bool:
        """Train until done or the deadline; True when done."""
        if self.state.done:
            return True
        log.info("%s: λ = %g, %d of %d steps", self.label, LAMBDAS[self.label], self.state.step, self.state.steps)
        recent = np.full(3, np.nan)
        began, first, saved = time.monotonic(), self.state.step, time.monotonic()
        while not self.state.done:
            terms = self._step(training)
            recent = np.where(np.isnan(recent), terms, recent + RECENT * (terms - recent))
            self.state = _State(**{**asdict(self.state), "step": self.state.step + 1})
            pace = (time.monotonic() - began) / (self.state.step - first)
            left = pace * (self.state.steps - self.state.step + later)
            loss, occupancy, rate = recent.tolist()
            report(Progress(self.label, self.state.step, self.state.steps, loss, occupancy, rate, left))
            if self.state.step % self.settings.validate_every == 0 or self.state.done:
                self._record(recent, validate(self.model, held_out, self.dtype))
            if time.monotonic() - saved > _CHECKPOINT_S or self.state.done or time.monotonic() > deadline:
                self._save()
                saved = time.monotonic()
            if time.monotonic() > deadline:
                break
        return self.state.done

    def _step(self, training: list[NDArray[np.int32]]) -> NDArray[np.float64]:
        settings, step = self.settings, self.state.step
        rng = np.random.default_rng((settings.seed, list(LAMBDAS).index(self.label), step))
        chosen = rng.choice(len(training), min(settings.patches_per_step, len(training)), replace=False)
        voxels = batch([_turned(training[i], settings.patch_voxels, rng) for i in chosen], settings.patch_voxels)
        voxels = Voxels(voxels.keys.to(self.device))
        noise = torch.from_numpy(rng.random((len(voxels.parent.parent.parent), 8), dtype=np.float32) - 0.5)
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        occupancy, rate = loss_terms(self.model, self.model(voxels, self.dtype, noise.to(self.device)))
        loss = occupancy + self._lambda() * rate
        loss.backward()  # type: ignore[no-untyped-call]  # torch's backward has no types
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP_NORM)
        self.optimizer.step()
        return np.array([loss.item(), occupancy.item(), rate.item()])

    def _lambda(self) -> float:
        reconstructing = (
            not self.state.start and not self.state.continued and self.state.step < FIRST_SHARE * self.state.steps
        )
        return min(LAMBDAS[self.label], FIRST_LAMBDA) if reconstructing else LAMBDAS[self.label]

    def _learning_rate(self) -> float:
        highest = self.settings.warm_learning_rate if self.state.start else self.settings.learning_rate
        warm_up = min(100, self.state.steps // 10)
        if self.state.step < warm_up:
            return highest * (self.state.step + 1) / warm_up
        share = (self.state.step - warm_up) / max(self.state.steps - warm_up, 1)
        return highest * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)

    def _record(self, recent: NDArray[np.float64], validation: Validation) -> None:
        row = {"rate": self.label, "lambda": self._lambda(), "step": self.state.step, "loss": recent[0]}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **asdict(validation)}) + "\n")
        log.info("%s, step %d: %s", self.label, self.state.step, validation)

    def _save(self) -> None:
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, name in enumerate(self.names):
            tensors[f"mean.{name}"] = moments[index]["exp_avg"]
            tensors[f"square.{name}"] = moments[index]["exp_avg_sq"]
        state = json.dumps(asdict(self.state))
        save_weights(self.out / f"{self.label}.safetensors", self.model, {"state": state})
        write_tensors(self.path, tensors, {"state": state})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def batch(patches: Sequence[NDArray[np.int32]], size: int) -> Voxels:
    """Put patches side by side, too far apart to see one another."""
    pitch = -(-(size + _GAP) // 8) * 8
    return Voxels.from_coordinates(
        torch.from_numpy(np.concatenate([patch + [pitch * i, 0, 0] for i, patch in enumerate(patches)]))
    )


def _turned(patch: NDArray[np.int32], size: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Turn and mirror a patch in one of the 48 ways of a cube."""
    turned = patch[:, rng.permutation(3)]
    return np.where(rng.random(3) < 0.5, size - 1 - turned, turned).astype(np.int32)


@torch.no_grad()
def validate(model: PCGCv2, patches: Sequence[NDArray[np.int32]], dtype: torch.dtype = torch.float32) -> Validation:
    """Code and decode patches one by one."""
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


def _patches(
    out: Path, settings: Settings, meshes: Callable[[], Iterable[shapes.NamedMesh]]
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
    """Training and validation patches of the run, made at the first call and kept in its folder."""
    path = out / "patches.npz"
    made_with = json.dumps(
        [settings.patches, settings.made_up, settings.built_in, settings.patch_voxels, settings.seed]
    )
    if not path.exists():
        training, held_out = make_patches(settings, meshes() if settings.built_in else ())
        together = training + held_out
        temporary = out / ".patches.npz"
        np.savez_compressed(
            temporary,
            voxels=np.concatenate(together).astype(np.uint8),
            sizes=np.array([len(p) for p in together]),
            training=len(training),
            made_with=made_with,
        )
        temporary.replace(path)
    with np.load(path, allow_pickle=False) as file:
        if str(file["made_with"]) != made_with:
            raise UsageError(f"{path} was made with other settings: {file['made_with']}")
        every = np.split(file["voxels"].astype(np.int32), np.cumsum(file["sizes"])[:-1])
        return every[: int(file["training"])], every[int(file["training"]) :]


def make_patches(
    settings: Settings, meshes: Iterable[shapes.NamedMesh] = ()
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
    """Cut training patches, half of given meshes and half of made-up shapes, and validation patches of others."""
    if settings.patch_voxels > 255:
        raise UsageError("patches are at most 255 voxels wide")
    known = shapes.given(meshes)
    kept = [shape for shape in known if shape.name not in _HELD_OUT]
    unseen = [shape for shape in known if shape.name in _HELD_OUT]
    rng = np.random.default_rng((settings.seed, 1))
    made = shapes.made_up(min(settings.made_up, settings.patches), settings.seed)
    training = [
        shapes.patch(pool[rng.integers(len(pool))], settings.patch_voxels, rng)
        for pool in (kept if i % 2 and kept else made for i in range(settings.patches))
    ]
    unseen = (unseen + shapes.made_up(8, settings.seed + 1)) * 2
    held_out = [shapes.patch(shape, settings.patch_voxels, rng) for shape in unseen]
    return training, held_out
