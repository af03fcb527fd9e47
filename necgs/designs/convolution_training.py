"""Training of the published design: decoder and features, or features alone against a decoder that stays as it is.

The seed and the epoch decide the order of the meshes, so a training that resumes from a checkpoint ends with the same
bits as an uninterrupted one.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gcbench.errors import CodecFailed
from gcbench.necgs.designs.base import Array, Parameters, Trained
from gcbench.necgs.designs.convolution import Convolution, Training
from gcbench.necgs.designs.convolution_encoder import Encoder
from gcbench.necgs.designs.convolution_network import Decoder, decode
from gcbench.necgs.job import Job
from gcbench.necgs.loss import regression_loss
from gcbench.necgs.volumes import fit_set
from gcbench.training import loop, straight_through
from gcbench.training.checkpoints import State, adam_state, fill, restore_adam
from gcbench.training.precision import precision_of
from gcbench.training.quantise import dequantise
from gcbench.training.ranks import Ranks
from gcbench.training.schedules import learning_rate

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray
    from torch import Tensor

log = logging.getLogger(__name__)

FITTING_SHARE = 0.3  # of the time to compress, for the progress; measured at K = 64
START_DEVIATION = 1 / 3  # of the normal distribution in which features start (the authors' choice)
WARMUP_START = 0.1  # fraction of the learning rate with which the warm-up starts (the authors' choice)
# Of features that are added, at first; it falls off as a cosine. A hundred times that of training, since nothing else
# moves: on further frames of a trained sequence 0.1 and 0.2 came closest after 50, 100 and 200 steps; 0.05 and 0.4 fell
# behind.
ADDING_RATE = 0.1
# A training whose loss stays this much above its best for so many epochs has lost its way, and goes back. Decoders
# die now and then from a few bad steps at the highest learning rate: after that nothing moves any more.
LOST, PATIENCE = 1.6, 3
NORM_MEMORY = 0.02  # how much of the usual length of a gradient is that of the last one
_PROGRESS = ("step", "losses", "epoch_loss", "brake", "lost_epochs", "best")  # of a run, beside what its steps change


def compressed(design: Convolution, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job) -> Trained:
    """Fit volumes to meshes, and train on them."""
    volumes = _volumes(design, meshes, training, job)
    with job.stage("training"):
        return train(volumes, design, training, job.part(FITTING_SHARE, 1))


def added(decoder: Decoder, present: Array, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job) -> Array:
    """Fit volumes to further meshes, and features to them, from those of the nearest mesh in the stream."""
    volumes = _volumes(decoder.design, meshes, training, job)
    torch.set_num_threads(job.threads)
    with job.stage("training"):
        start = _nearest(decoder, present, volumes)
        return fit_features(volumes, decoder, training, job.part(FITTING_SHARE, 1), start=start)


def _volumes(design: Convolution, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job) -> Array:
    part = job.part(0, FITTING_SHARE)
    return fit_set(
        meshes,
        design.resolution,
        training.objective,
        part,
        deformation=design.deformation,
        bits=design.bits,
        steps=training.fit_steps,
    )


def _nearest(decoder: Decoder, present: Array, volumes: Array) -> Array:
    """For each volume the features of the mesh in the stream whose TSDF is nearest to it: where added ones start.

    A decoder that is fixed knows the poses of its own meshes. Two AMA frames that were added to 40 ended at CD 7.1e-3
    and 5.7e-3 from the nearest, at 11.3e-3 and 18.5e-3 from the mean of all.
    """
    nearest = np.zeros((len(volumes), *present.shape[1:]), np.int16)
    least = np.full(len(volumes), np.inf)
    for features in present:
        tsdf = decode(decoder, features)[0]
        for j, volume in enumerate(volumes):
            distance = float(np.abs(dequantise(volume[0], decoder.design.bits) - tsdf).mean())
            if distance < least[j]:
                least[j], nearest[j] = distance, features
    return nearest


def train(volumes: NDArray[np.float32] | Array, design: Convolution, training: Training, job: Job) -> Trained:
    """Train decoder and features on volumes.

    Started by ``torchrun`` it shares the meshes among the processes, which must all be given the same volumes; each
    takes its part of every batch, at least one mesh, and all return the same.

    Parameters
    ----------
    volumes : (n, channels, K, K, K) float32 or int16
        Values in [-1, 1], or their symbols, which take half the memory. May be a memory map.
    design, training : Convolution, Training
        What is trained, and how.
    job : Job
        A checkpoint in its folder is replaced every half a minute, when the progress raises, and at the end; if it is
        there, training goes on from it. The first process tells the progress.

    Raises
    ------
    CodecFailed
        The loss is not finite.
    UsageError
        The checkpoint is of other volumes or settings, or is none, and not to be replaced.
    ValueError
        The volumes are not the design's.
    """
    _check_shape(volumes, design)
    torch.set_num_threads(job.threads)
    ranks = Ranks.join(job.device)
    run = _Run(volumes, design, training, job.seed, ranks)
    checkpoint = job.work / "training.safetensors" if job.work else None
    identity = run.identity() if checkpoint else ""
    loop.run(run, identity, checkpoint=checkpoint, anew=job.anew, progress=job.progress, ranks=ranks)
    return Trained(Parameters(run.decoder.symbols()), run.feature_symbols(), np.array(run.losses))


def fit_features(
    volumes: NDArray[np.float32] | Array, decoder: Decoder, training: Training, job: Job, *, start: Array | None = None
) -> Array:
    """Features of further meshes, for a decoder that stays as it is (Sec. 1: dynamic sets).

    Parameters
    ----------
    volumes : (n, channels, K, K, K) float32 or int16
        As in :func:`train`.
    decoder : Decoder
        Frozen.
    training, job
        Of the loss, the batch, the precision and the steps.
    start : (C, K', K', K') or (n, C, K', K', K') int16, or None
        Features to start from, of all or of each; None draws them as :func:`train` does.

    Returns
    -------
    (n, C, K', K', K') int16

    Raises
    ------
    CodecFailed
        The loss is not finite.
    ValueError
        The volumes are not the design's.
    """
    design, steps = decoder.design, training.adding_steps
    _check_shape(volumes, design)
    torch.set_num_threads(job.threads)
    where = torch.device(job.device)
    precision = precision_of(training.precision, where)
    count = len(volumes)
    first = _first_features(count, design, torch.Generator().manual_seed(job.seed))
    if start is not None:
        first = straight_through.values(torch.from_numpy(start), design.bits).expand_as(first)
    fitted = np.empty((count, *design.feature_shape), dtype=np.int16)
    batches = [np.arange(i, min(i + training.batch, count)) for i in range(0, count, training.batch)]
    for number, batch in enumerate(batches):
        target = _targets(volumes, batch, design, where)
        features = first[torch.from_numpy(batch)].to(where).clone().requires_grad_()
        optimizer = torch.optim.Adam([features], lr=ADDING_RATE)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = learning_rate(step, steps, peak=ADDING_RATE)
            predicted = decoder(straight_through.quantise(features, design.bits), precision)
            loss = regression_loss(predicted, target, training.mask_weight, training.ssim_weight)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            if not math.isfinite(value := loss.item()):
                raise CodecFailed(f"adding diverged: the loss is {value} at step {step}")
            job.progress((number * steps + step + 1) / (len(batches) * steps), f"loss {value:.4g}")
        fitted[batch] = straight_through.symbols(features, design.bits).cpu().numpy()
    return fitted


class _Run:
    """A training between two steps: see :class:`gcbench.training.loop.Trainable`."""

    def __init__(self, volumes: NDArray[Any], design: Convolution, training: Training, seed: int, ranks: Ranks) -> None:
        self.volumes = volumes
        self.design = design
        self.training = training
        self.seed = seed
        self.ranks = ranks
        self.count = len(volumes)
        self.precision = precision_of(training.precision, ranks.device)
        generator = torch.Generator().manual_seed(seed)
        self.decoder = Decoder(design, generator).to(ranks.device)
        self.shared: list[Tensor] = list(self.decoder.parameters())
        self.encoder: Encoder | None = None
        self.features: Tensor | None = None
        if training.encoder == "autoencoder":
            self.encoder = Encoder(design, generator).to(ranks.device)
            self.shared += self.encoder.parameters()
            groups = [{"params": self.shared, "speed": 1.0}]
        else:
            first = _first_features(self.count, design, generator)[list(ranks.own(self.count))]
            self.features = first.to(ranks.device).requires_grad_()
            groups = [{"params": self.features, "speed": training.feature_speed}, {"params": self.shared, "speed": 1.0}]
        self.optimizer = torch.optim.Adam(groups, lr=training.learning_rate, fused=True)
        self.batch = -(-training.batch // ranks.count)
        self.steps_per_epoch = -(-len(range(0, self.count, ranks.count)) // self.batch)
        self.steps = training.epochs * self.steps_per_epoch
        self.step = 0
        self.losses: list[float] = []
        self.epoch_loss = 0.0
        self.usual_norm = 0.0
        self.brake = 1.0
        self.lost_epochs = 0
        self.best: State | None = None

    def advance(self) -> Tensor:
        """Do one step on this process's part of the batch; the loss is that of all processes."""
        epoch, i = divmod(self.step, self.steps_per_epoch)
        own, together = self._members(epoch, i)
        training = self.training
        rate = learning_rate(
            self.step / self.steps, 1, peak=training.learning_rate, warm_up=training.warmup, start=WARMUP_START
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.brake * group["speed"]
        for parameter in (*self.shared, *([] if self.features is None else [self.features])):
            parameter.grad = torch.zeros_like(parameter) if self.ranks.count > 1 else None
        loss = torch.zeros((), device=self.ranks.device)
        if len(own):
            target = _targets(self.volumes, own, self.design, self.ranks.device)
            embedded = straight_through.quantise(self._embedded(own, target), self.design.bits)
            predicted = self.decoder(embedded, self.precision)
            loss = regression_loss(predicted, target, training.mask_weight, training.ssim_weight)
            loss = loss * (len(own) / together)
            torch.autograd.backward(loss)
        loss = loss.detach()
        self.ranks.add_up([loss, *(p.grad for p in self.shared if p.grad is not None)])
        if training.clip:
            self._clip()
        self.optimizer.step()
        self.step += 1
        self.epoch_loss += loss.item() * together / self.count
        if i + 1 == self.steps_per_epoch:
            self.losses.append(self.epoch_loss)
            self.epoch_loss = 0.0
            if self.ranks.count == 1:
                self._keep_or_go_back()
        return loss

    def _keep_or_go_back(self) -> None:
        """At the end of an epoch: keep the state if it is the best, go back to that one if the way is lost."""
        loss = self.losses[-1]
        best = self.best["loss"] if self.best else math.inf
        if loss < best:
            self.best = {"loss": loss, **copy.deepcopy(self._trained())}
        self.lost_epochs = self.lost_epochs + 1 if loss > LOST * best else 0
        if self.best is None or self.lost_epochs < PATIENCE:
            return
        log.warning(
            "epoch %d: the loss is %.3f and was %.3f; going back, with half the learning rate",
            len(self.losses),
            loss,
            best,
        )
        self._train_on_from(self.best)
        self.lost_epochs = 0
        self.brake /= 2

    def _trained(self) -> State:
        """What steps change, as this process has it."""
        return {
            "decoder": self.decoder.state_dict(),
            "encoder": None if self.encoder is None else self.encoder.state_dict(),
            "features": None if self.features is None else self.features.detach(),
            "adam": adam_state(self.optimizer),
            "usual_norm": self.usual_norm,
        }

    def _train_on_from(self, trained: State) -> None:
        """Inverse of :meth:`_trained`."""
        self.decoder.load_state_dict(trained["decoder"])
        if self.encoder is not None:
            self.encoder.load_state_dict(trained["encoder"])
        if self.features is not None:
            fill(self.features, trained["features"])
        restore_adam(self.optimizer, trained["adam"])
        self.usual_norm = trained["usual_norm"]

    def state(self) -> State:
        """Everything that the rest of the training depends on: features of all processes, the rest as it is on each."""
        state = self._trained()
        for holder, name in self._of_features(state):
            holder[name] = self.ranks.gather(holder[name], self.count)
        return state | {name: getattr(self, name) for name in _PROGRESS}

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""
        own = torch.arange(self.count)[self.ranks.rank :: self.ranks.count]
        for holder, name in self._of_features(state):
            holder[name] = holder[name][own.to(holder[name].device)]
        self._train_on_from(state)
        for name in _PROGRESS:
            setattr(self, name, state[name])

    def _of_features(self, state: State) -> list[tuple[State, str]]:
        """Where a state has tensors with a row for each mesh."""
        if self.features is None:
            return []
        moments = state["adam"].get("0")  # features are the first parameter
        return [(state, "features"), *((moments, name) for name in ("exp_avg", "exp_avg_sq") if moments)]

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

    def feature_symbols(self) -> Array:
        """Symbols of the features of all meshes."""
        if self.features is not None:
            found = self.ranks.gather(self.features.detach(), self.count)
        else:
            each = []
            with torch.no_grad():
                for i in range(self.count):
                    one = np.array([i])
                    each.append(self._embedded(one, _targets(self.volumes, one, self.design, self.ranks.device)))
            found = torch.cat(each)
        return straight_through.symbols(found, self.design.bits).cpu().contiguous().numpy()

    def identity(self) -> str:
        """Digest of everything that decides the result: two runs with the same may share a checkpoint."""
        digest = hashlib.blake2b(digest_size=16)
        facts = (self.design, self.training, self.seed, self.ranks.count, str(self.precision))
        digest.update(repr(facts).encode())
        digest.update(repr((self.volumes.shape, self.volumes.dtype.str)).encode())
        for volume in self.volumes:
            digest.update(np.ascontiguousarray(volume).data)
        return digest.hexdigest()


def _first_features(count: int, design: Convolution, generator: torch.Generator) -> Tensor:
    return torch.randn(count, *design.feature_shape, generator=generator) * START_DEVIATION


def _targets(volumes: NDArray[Any], indices: NDArray[np.intp], design: Convolution, device: torch.device) -> Tensor:
    chosen = torch.from_numpy(np.ascontiguousarray(volumes[indices])).to(device)
    return chosen if chosen.is_floating_point() else straight_through.values(chosen, design.bits)


def _check_shape(volumes: NDArray[Any], design: Convolution) -> None:
    expected = (design.channels, *[design.resolution] * 3)
    if len(volumes) == 0 or volumes.shape[1:] != expected:
        raise ValueError(f"volumes of shape {volumes.shape} are not (n, {', '.join(map(str, expected))}), n > 0")
    if volumes.dtype not in (np.float32, np.int16):
        raise ValueError(f"volumes of {volumes.dtype}, not float32 or int16")
