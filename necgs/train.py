"""Training of the decoder and the features, and of features alone against a decoder that stays as it is.

Knows volumes and tensors; nothing of meshes or streams. The order of the meshes follows from the seed and the epoch, so
that a training that goes on from a checkpoint ends exactly where an uninterrupted one does.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gcbench.errors import BenchError, CodecFailed, UsageError
from gcbench.necgs.designs.convolution import Decoder
from gcbench.necgs.designs.convolution_encoder import Encoder
from gcbench.necgs.loss import regression_loss
from gcbench.necgs.settings import Architecture, Training
from gcbench.training import straight_through
from gcbench.training.precision import precision_of
from gcbench.training.progress import Progress, silent
from gcbench.training.ranks import Ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

log = logging.getLogger(__name__)

START_DEVIATION = 1 / 3  # of the normal distribution in which features start (the authors' choice)
WARMUP_START = 0.1  # fraction of the learning rate with which the warm-up starts (the authors' choice)
CHECKPOINT_EVERY_S = 30.0  # so that little is lost; one takes some 20 ms
REPORT_EVERY_S = 1.0
# A training whose loss stays this much above its best for so many epochs has lost its way, and goes back. Decoders
# die now and then from a few bad steps at the highest learning rate: after that nothing moves any more.
LOST, PATIENCE = 1.6, 3
NORM_MEMORY = 0.02  # how much of the usual length of a gradient is that of the last one


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    Parameters
    ----------
    parameters : dict of str to int16 array
        Symbols of the decoder's parameters, as in ``Architecture.parameter_shapes``.
    features : (n, C, K', K', K') int16
        Symbols of every mesh's features.
    losses : (epochs,) float64
        Mean loss of each epoch, while it was trained.
    """

    parameters: dict[str, NDArray[np.int16]]
    features: NDArray[np.int16]
    losses: NDArray[np.float64]


def train(
    volumes: NDArray[np.float32] | NDArray[np.int16],
    architecture: Architecture,
    training: Training,
    *,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    checkpoint: Path | None = None,
    anew: bool = False,
    progress: Progress = silent,
) -> Trained:
    """Train decoder and features on volumes.

    Started by ``torchrun`` it shares the meshes among the processes, which must all be given the same volumes; each
    takes its part of every batch, at least one mesh, and all return the same.

    Parameters
    ----------
    volumes : (n, channels, K, K, K) float32 or int16
        Values in [-1, 1], or their symbols, which take half the memory. May be a memory map.
    architecture, training : Architecture, Training
        What is trained, and how.
    seed : int
        Of the first parameters and features and of the order: with the same number of threads on the same machine,
        the result is the same to the bit.
    threads : int
        Of torch, on the CPU.
    device : str
        As torch names devices.
    checkpoint : Path or None
        File that is replaced every half a minute, when ``progress`` raises, and at the end; if it is there, training
        goes on from it.
    anew : bool
        Whether a checkpoint that cannot be gone on from is replaced, with a warning in the log, by a training from the
        beginning. Else it is refused: it may be the work of days, and the settings a slip of the hand.
    progress : callable
        Takes the fraction done and a message with loss and time left; may raise, to stop. The first process calls it.

    Returns
    -------
    Trained
        The state after the last step.

    Raises
    ------
    CodecFailed
        The loss is not finite.
    UsageError
        The checkpoint is of other volumes or settings, or is none, and not to be replaced.
    ValueError
        The volumes are not the architecture's.
    """
    _check_shape(volumes, architecture)
    torch.set_num_threads(threads)
    ranks = Ranks.join(device)
    run = _Run(volumes, architecture, training, seed, ranks)
    identity = run.identity() if checkpoint else ""
    if checkpoint and checkpoint.exists():
        try:
            run.load(checkpoint, identity)
        except UsageError as error:
            if not anew:
                raise
            log.warning("training starts anew: %s", error.__cause__ or error)
            run = _Run(volumes, architecture, training, seed, ranks)
    clock = _Clock(progress if ranks.rank == 0 else silent, run.steps_done, run.steps)
    while run.steps_done < run.steps:
        loss, due = run.step(checkpoint_due=checkpoint is not None and clock.checkpoint_due())
        try:
            clock.report(run.steps_done, loss)
        except BaseException:
            if checkpoint and ranks.count == 1:
                run.save(checkpoint, identity)
            raise
        if checkpoint and (due or run.steps_done == run.steps):
            run.save(checkpoint, identity)
    return Trained(run.decoder.symbols(), run.feature_symbols(), np.array(run.losses))


def fit_features(
    volumes: NDArray[np.float32] | NDArray[np.int16],
    parameters: Mapping[str, NDArray[np.int16]],
    architecture: Architecture,
    training: Training,
    *,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    start: NDArray[np.int16] | None = None,
    steps: int = 200,
    learning_rate: float = 0.1,
    progress: Progress = silent,
) -> NDArray[np.int16]:
    """Features of further meshes, for a decoder that stays as it is (Sec. 1: dynamic sets).

    Parameters
    ----------
    volumes : (n, channels, K, K, K) float32 or int16
        As in :func:`train`.
    parameters : mapping of str to int16 array
        Symbols of the decoder.
    architecture, training : Architecture, Training
        Of the loss, the batch and the precision.
    seed, threads, device, progress
        As in :func:`train`.
    start : (C, K', K', K') or (n, C, K', K', K') int16, or None
        Features to start from, of all or of each; None draws them as :func:`train` does.
    steps : int
        Steps of Adam for each mesh.
    learning_rate : float
        Of the first step; falls off as a cosine. A hundred times that of training, since nothing else moves: on further
        frames of a trained sequence 0.1 and 0.2 came closest after 50, 100 and 200 steps; 0.05 and 0.4 fell behind.

    Returns
    -------
    (n, C, K', K', K') int16

    Raises
    ------
    CodecFailed
        The loss is not finite.
    ValueError
        The volumes or the parameters are not the architecture's.
    """
    _check_shape(volumes, architecture)
    torch.set_num_threads(threads)
    where = torch.device(device)
    decoder = Decoder.from_symbols(architecture, parameters).to(where)
    precision = precision_of(training.precision, where)
    count = len(volumes)
    first = _first_features(count, architecture, torch.Generator().manual_seed(seed))
    if start is not None:
        first = straight_through.values(torch.from_numpy(start), architecture.bits).expand_as(first)
    fitted = np.empty((count, *architecture.feature_shape), dtype=np.int16)
    batches = [np.arange(i, min(i + training.batch, count)) for i in range(0, count, training.batch)]
    clock = _Clock(progress, 0, len(batches) * steps)
    for number, batch in enumerate(batches):
        target = _targets(volumes, batch, architecture, where)
        features = first[torch.from_numpy(batch)].to(where).clone().requires_grad_()
        optimizer = torch.optim.Adam([features], lr=learning_rate)
        for step in range(steps):
            _set_learning_rate(optimizer, learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps)))
            predicted = decoder(straight_through.quantise(features, architecture.bits), precision)
            loss = regression_loss(predicted, target, training.mask_weight, training.ssim_weight)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            clock.report(number * steps + step + 1, _finite(loss.item(), step))
        fitted[batch] = straight_through.symbols(features, architecture.bits).cpu().numpy()
    return fitted


class _Run:
    """A training between two steps: everything that a checkpoint holds, and how to go one step further."""

    def __init__(
        self, volumes: NDArray[Any], architecture: Architecture, training: Training, seed: int, ranks: Ranks
    ) -> None:
        self.volumes = volumes
        self.architecture = architecture
        self.training = training
        self.seed = seed
        self.ranks = ranks
        self.count = len(volumes)
        self.precision = precision_of(training.precision, ranks.device)
        generator = torch.Generator().manual_seed(seed)
        self.decoder = Decoder(architecture, generator).to(ranks.device)
        self.shared: list[Tensor] = list(self.decoder.parameters())
        self.encoder: Encoder | None = None
        self.features: Tensor | None = None
        if training.encoder == "autoencoder":
            self.encoder = Encoder(architecture, generator).to(ranks.device)
            self.shared += self.encoder.parameters()
            groups = [{"params": self.shared, "speed": 1.0}]
        else:
            first = _first_features(self.count, architecture, generator)[list(ranks.own(self.count))]
            self.features = first.to(ranks.device).requires_grad_()
            groups = [{"params": self.features, "speed": training.feature_speed}, {"params": self.shared, "speed": 1.0}]
        self.optimizer = torch.optim.Adam(groups, lr=training.learning_rate, fused=True)
        self.batch = -(-training.batch // ranks.count)
        self.steps_per_epoch = -(-len(range(0, self.count, ranks.count)) // self.batch)
        self.steps = training.epochs * self.steps_per_epoch
        self.steps_done = 0
        self.losses: list[float] = []
        self.epoch_loss = 0.0
        self.usual_norm = 0.0
        self.brake = 1.0
        self.lost_epochs = 0
        self.best: dict[str, Any] | None = None

    def step(self, *, checkpoint_due: bool) -> tuple[float, bool]:
        """One step on this process's part of the batch: the loss of all, and whether anyone wants a checkpoint."""
        epoch, i = divmod(self.steps_done, self.steps_per_epoch)
        own, together = self._members(epoch, i)
        schedule = _schedule(self.steps_done / self.steps, self.training.warmup)
        _set_learning_rate(self.optimizer, self.training.learning_rate * schedule * self.brake)
        for parameter in (*self.shared, *([] if self.features is None else [self.features])):
            parameter.grad = torch.zeros_like(parameter) if self.ranks.count > 1 else None
        loss = torch.zeros((), device=self.ranks.device)
        if len(own):
            target = _targets(self.volumes, own, self.architecture, self.ranks.device)
            embedded = straight_through.quantise(self._embedded(own, target), self.architecture.bits)
            predicted = self.decoder(embedded, self.precision)
            loss = regression_loss(predicted, target, self.training.mask_weight, self.training.ssim_weight)
            loss = loss * (len(own) / together)
            torch.autograd.backward(loss)
        note = torch.stack((loss.detach(), loss.new_tensor(float(checkpoint_due))))
        self.ranks.add_up([note, *(p.grad for p in self.shared if p.grad is not None)])
        value = _finite(note[0].item(), self.steps_done)
        if self.training.clip:
            self._clip()
        self.optimizer.step()
        self.steps_done += 1
        self.epoch_loss += value * together / self.count
        if i + 1 == self.steps_per_epoch:
            self.losses.append(self.epoch_loss)
            self.epoch_loss = 0.0
            if self.ranks.count == 1:
                self._keep_or_go_back()
        return value, bool(note[1].item())

    def _keep_or_go_back(self) -> None:
        """At the end of an epoch: keep the state if it is the best, go back to that one if the way is lost."""
        loss = self.losses[-1]
        best = self.best["loss"] if self.best else math.inf
        if loss < best:
            self.best = {"loss": loss, **copy.deepcopy(self._state())}
        self.lost_epochs = self.lost_epochs + 1 if loss > LOST * best else 0
        if self.best is None or self.lost_epochs < PATIENCE:
            return
        log.warning(
            "epoch %d: the loss is %.3f and was %.3f; going back, with half the learning rate",
            len(self.losses),
            loss,
            best,
        )
        self._restore(copy.deepcopy(self.best))
        self.lost_epochs = 0
        self.brake /= 2

    def _state(self) -> dict[str, Any]:
        """What steps change, as this process has it."""
        return {
            "decoder": self.decoder.state_dict(),
            "encoder": None if self.encoder is None else self.encoder.state_dict(),
            "features": None if self.features is None else self.features.detach(),
            "adam": self.optimizer.state_dict(),
            "usual_norm": self.usual_norm,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Go to a state."""
        self.decoder.load_state_dict(state["decoder"])
        if self.encoder is not None:
            self.encoder.load_state_dict(state["encoder"])
        if self.features is not None:
            with torch.no_grad():
                self.features.copy_(state["features"])
        self.optimizer.load_state_dict(state["adam"])
        self.usual_norm = state["usual_norm"]

    def _clip(self) -> None:
        """Shorten the decoder's gradient to a multiple of its usual length: one odd mesh must not end the training."""
        gradients = [p.grad for p in self.shared if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        self.usual_norm = self.usual_norm or norm
        limit = self.training.clip * self.usual_norm
        if norm > limit:
            for gradient in gradients:
                gradient.mul_(limit / norm)
        self.usual_norm += NORM_MEMORY * (min(norm, limit) - self.usual_norm)

    def _members(self, epoch: int, i: int) -> tuple[NDArray[np.intp], int]:
        """Meshes of this process in step ``i`` of an epoch, and how many all processes have."""
        together = 0
        own = np.empty(0, dtype=np.intp)
        for rank in range(self.ranks.count):
            meshes = np.arange(rank, self.count, self.ranks.count)
            order = np.random.default_rng((self.seed, epoch, rank)).permutation(meshes)
            members = order[i * self.batch : (i + 1) * self.batch]
            together += len(members)
            if rank == self.ranks.rank:
                own = members
        return own, together

    def _embedded(self, meshes: NDArray[np.intp], volumes: Tensor) -> Tensor:
        """Features of some of this process's meshes, not yet quantised."""
        if self.features is not None:
            return self.features[meshes // self.ranks.count]
        assert self.encoder is not None
        # Stays in float32: its kernels in bfloat16 do not give the same result twice.
        embedded: Tensor = self.encoder(volumes)
        return embedded

    def feature_symbols(self) -> NDArray[np.int16]:
        """Symbols of the features of all meshes."""
        if self.features is not None:
            found = self.ranks.gather(self.features.detach(), self.count)
        else:
            each = []
            with torch.no_grad():
                for i in range(self.count):
                    one = np.array([i])
                    each.append(self._embedded(one, _targets(self.volumes, one, self.architecture, self.ranks.device)))
            found = torch.cat(each)
        return straight_through.symbols(found, self.architecture.bits).cpu().contiguous().numpy()

    def identity(self) -> str:
        """Digest of everything that decides the result: two runs with the same may share a checkpoint."""
        digest = hashlib.blake2b(digest_size=16)
        facts = (self.architecture, self.training, self.seed, self.ranks.count, str(self.precision))
        digest.update(repr(facts).encode())
        digest.update(repr((self.volumes.shape, self.volumes.dtype.str)).encode())
        for volume in self.volumes:
            digest.update(np.ascontiguousarray(volume).data)
        return digest.hexdigest()

    def save(self, path: Path, identity: str) -> None:
        """Write a checkpoint; every process must call, the first one writes."""
        state = self._state()
        if self.features is not None:
            state["features"] = self.ranks.gather(self.features.detach(), self.count)
            moments = state["adam"]["state"][0]
            gathered = {name: self.ranks.gather(moments[name], self.count) for name in ("exp_avg", "exp_avg_sq")}
            state["adam"]["state"][0] = {**moments, **gathered}
        if self.ranks.rank:
            return
        state |= {
            "identity": identity,
            "steps_done": self.steps_done,
            "losses": self.losses,
            "epoch_loss": self.epoch_loss,
            "brake": self.brake,
            "lost_epochs": self.lost_epochs,
            "best": self.best,
        }
        unfinished = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as the latter
            raise BenchError(f"cannot write the checkpoint {path}: {error}") from error

    def load(self, path: Path, identity: str) -> None:
        """Go to the state of a checkpoint."""
        try:
            state = torch.load(path, map_location=self.ranks.device, weights_only=True)
            found = state["identity"]
        except Exception as error:
            raise UsageError(f"{path} is not a checkpoint of a training; delete it to start anew") from error
        if found != identity:
            raise UsageError(f"{path} is a checkpoint of other meshes or settings; delete it to start anew")
        try:
            self._go_to(state)
        except (KeyError, IndexError, RuntimeError, ValueError) as error:
            raise UsageError(f"{path} is not a whole checkpoint of a training; delete it to start anew") from error
        log.info("going on from %s, step %d of %d", path, self.steps_done, self.steps)

    def _go_to(self, state: dict[str, Any]) -> None:
        if self.features is not None:
            own = torch.arange(self.ranks.rank, self.count, self.ranks.count, device=self.ranks.device)
            state["features"] = state["features"][own]
            for name in ("exp_avg", "exp_avg_sq"):
                state["adam"]["state"][0][name] = state["adam"]["state"][0][name][own]
        self._restore(state)
        self.steps_done = state["steps_done"]
        self.losses = state["losses"]
        self.epoch_loss = state["epoch_loss"]
        self.brake = state["brake"]
        self.lost_epochs = state["lost_epochs"]
        self.best = state["best"]


class _Clock:
    """When to report and to write a checkpoint, and how much time is left."""

    def __init__(self, progress: Progress, done: int, steps: int) -> None:
        self.progress = progress
        self.first = done
        self.steps = steps
        self.started = self.reported = self.kept = time.monotonic()

    def report(self, done: int, loss: float) -> None:
        """Tell loss and time left, not too often."""
        now = time.monotonic()
        if now - self.reported < REPORT_EVERY_S and done < self.steps:
            return
        self.reported = now
        left = (now - self.started) / (done - self.first) * (self.steps - done)
        minutes, seconds = divmod(round(left), 60)
        self.progress(done / self.steps, f"loss {loss:.4f}, {minutes}:{seconds:02d} left")

    def checkpoint_due(self) -> bool:
        """If the last checkpoint is old; asking starts the interval anew."""
        now = time.monotonic()
        due = now - self.kept >= CHECKPOINT_EVERY_S
        if due:
            self.kept = now
        return due


def _schedule(done: float, warmup: float) -> float:
    """Learning rate over its peak: a line from 0.1 to 1 during the warm-up, then half a cosine to 0."""
    if done < warmup:
        return WARMUP_START + (1 - WARMUP_START) * done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def _set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("speed", 1.0)


def _first_features(count: int, architecture: Architecture, generator: torch.Generator) -> Tensor:
    return torch.randn(count, *architecture.feature_shape, generator=generator) * START_DEVIATION


def _targets(
    volumes: NDArray[Any], indices: NDArray[np.intp], architecture: Architecture, device: torch.device
) -> Tensor:
    chosen = torch.from_numpy(np.ascontiguousarray(volumes[indices])).to(device)
    return chosen if chosen.is_floating_point() else straight_through.values(chosen, architecture.bits)


def _check_shape(volumes: NDArray[Any], architecture: Architecture) -> None:
    expected = (architecture.channels, *[architecture.resolution] * 3)
    if len(volumes) == 0 or volumes.shape[1:] != expected:
        raise ValueError(f"volumes of shape {volumes.shape} are not (n, {', '.join(map(str, expected))}), n > 0")
    if volumes.dtype not in (np.float32, np.int16):
        raise ValueError(f"volumes of {volumes.dtype}, not float32 or int16")


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise CodecFailed(f"training diverged: the loss is {loss} at step {step}")
    return loss
