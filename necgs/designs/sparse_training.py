"""Training of ``sparse``: decoder and latents together, each bit at a price; or the latents of further meshes alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gcbench.necgs.designs import sparse_prior
from gcbench.necgs.designs.base import Array, Parameters, Symbols, Trained
from gcbench.necgs.designs.sparse import LATENT_LEVELS, PRICE_UNIT, WEIGHT_LEVELS, Sparse, Training
from gcbench.necgs.designs.sparse_coding import references
from gcbench.necgs.designs.sparse_loss import distortion
from gcbench.necgs.designs.sparse_network import weights_of
from gcbench.necgs.designs.sparse_rate import laplace_bits, tensor_bits
from gcbench.necgs.designs.sparse_targets import Target, Targets, targets
from gcbench.training import loop
from gcbench.training.checkpoints import fill
from gcbench.training.descent import Adam, Descent
from gcbench.training.precision import precision_of
from gcbench.training.schedules import learning_rate

if TYPE_CHECKING:
    import trimesh

    from gcbench.necgs.job import Job
    from gcbench.training.checkpoints import State

TARGET_SHARE = 0.1  # of the time to compress, for the progress
_ROUNDED_SHARE = 0.2  # of the steps, the last, in which symbols are rounded instead of given noise
_WARM_UP, _FLOOR = 0.05, 0.02  # shares of the steps, and of the learning rate
_FIRST_STEP = 0.1  # of a weight's quantiser, relative to the weight's size
_STEP_RATE = 0.01  # learning rate of the logarithm of a quantiser's step
_WARM_RATE = 0.4  # of the learning rate, from a decoder that was trained for these meshes
_LATENT_BETAS = (0.8, 0.95)  # a latent moves once an epoch
_MEAN_RATE = 0.02  # how fast the scales of latents follow, for each mesh that is looked at
_CHOICES = 12  # how often the parents of latents are chosen
_BETWEEN_CHOICES = 50  # steps, at least: a choice takes seconds
_LIMIT = LATENT_LEVELS // 2


def compressed(design: Sparse, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job) -> Trained:
    """Compute targets, and train decoder and latents on them."""
    with job.stage("volumes"):
        fit_steps = training.fit_steps if design.deformation else 0
        found = targets(meshes, design.resolution, job.part(0, TARGET_SHARE), fit_steps)
    torch.set_num_threads(job.threads)
    with job.stage("training"):
        state = SetTraining(design, found, training, job.seed, device=job.device, start=job.start)
        begun = "" if job.start is None else f" from {_digest(job.start)}"
        _run(state, found, f"{design} {training} {job.seed}{begun}", job.part(TARGET_SHARE, 1))
        return state.trained()


def added(
    design: Sparse,
    parameters: Parameters,
    present: Array,
    meshes: Sequence[trimesh.Trimesh],
    *,
    training: Training,
    job: Job,
) -> Array:
    """Fit latents to further meshes."""
    with job.stage("volumes"):
        fit_steps = training.fit_steps if design.deformation else 0
        found = targets(meshes, design.resolution, job.part(0, TARGET_SHARE), fit_steps)
    torch.set_num_threads(job.threads)
    with job.stage("training"):
        state = Adding(design, parameters, present, found, training=training, seed=job.seed, device=job.device)
        _run(state, found, f"adding {design} {training} {job.seed}", job.part(TARGET_SHARE, 1))
        return state.symbols()


def _digest(start: Trained) -> str:
    digest = hashlib.sha256(start.features.tobytes() + start.parameters.scales.tobytes())
    for symbols in start.parameters.tensors.values():
        digest.update(symbols.tobytes())
    return digest.hexdigest()[:16]


def _run(state: SetTraining | Adding, found: Targets, identity: str, job: Job) -> None:
    path = job.work / f"training-{found.identity}.safetensors" if job.work else None
    loop.run(state, identity, checkpoint=path, anew=job.anew, progress=job.progress)


class Latents:
    """The latents of a set in training, and what they cost.

    Parameters
    ----------
    features : Symbols
        Of one mesh.
    start : (n, C, 4, 4, 4) float32
    tree : bool
        Whether a mesh may be coded as the difference to others.
    generator : torch.Generator
        Of noise.
    """

    def __init__(self, features: Symbols, start: Tensor, tree: bool, generator: torch.Generator) -> None:
        self.values = start.clone().clamp_(-_LIMIT, _LIMIT)
        self._features, self._tree, self._generator = features, tree, generator
        self._adam = Adam(self.values, _LATENT_BETAS)
        # Mean absolute difference of each place, of meshes with none, one and two parents.
        self._scales = torch.ones(3, *start.shape[1:], device=start.device)
        self._seen = torch.zeros(3)
        self._parents = torch.full((len(start), 2), -1, device=start.device)
        self._weights = torch.zeros(len(start), start.shape[1], device=start.device)
        self._mean = torch.zeros(start.shape[1:], device=start.device)

    def choose_parents(self) -> None:
        """Find what each mesh is predicted from: the mean of the set, or one or two other meshes."""
        if not self._tree or len(self.values) < 2:
            return
        found = references(self._features, self.symbols())
        pairs = [(*parents, *parents, -1, -1)[:2] for parents in found.parents]  # one parent counts twice
        device = self.values.device
        self._parents = torch.tensor(pairs, device=device)
        self._weights = torch.tensor(found.weights, dtype=torch.float32, device=device)
        self._mean = torch.tensor(found.mean, dtype=torch.float32, device=device)

    def shown(self, own: Tensor, rows: Tensor, rounded: bool) -> tuple[Tensor, Tensor]:
        """What the decoder is shown of some meshes, and the bits of each mesh.

        Parameters
        ----------
        own : (B, C, 4, 4, 4) float32
            Their latents, which want a gradient.
        rows : (B,) int64
        rounded : bool
            Whether the decoder is shown rounded latents, or such with noise.
        """
        noise = self._noise(own)
        shown = own + (torch.round(own) - own).detach() if rounded else own + noise
        first, second = self._parents[rows].unbind(1)
        kinds = torch.where(first < 0, 0, torch.where(first == second, 1, 2))
        theirs = []  # both ends of a difference are rounded, each with an error of its own
        for parents in (first, second):
            latents = self.values[parents.clamp_min(0)]
            theirs.append(torch.round(latents) if rounded else latents + self._noise(own))
        two = (kinds == 2).reshape(-1, 1, 1, 1, 1)
        parent = torch.where(two, (theirs[0] + theirs[1]) / 2, theirs[0])
        weights = torch.where(kinds[:, None] > 0, self._weights[rows], 0.0)[:, :, None, None, None]
        difference = own + noise - (self._mean + weights * (parent - self._mean))
        with torch.no_grad():
            for kind in torch.unique(kinds).tolist():
                of_kind = kinds == kind
                count = int(of_kind.sum())
                self._seen[kind] += count
                share = max(1 - (1 - _MEAN_RATE) ** count, count / float(self._seen[kind]))
                self._scales[kind].lerp_(difference[of_kind].abs().mean(0), share)
        return shown, laplace_bits(difference, self._scales[kinds]).flatten(1).sum(1)

    @torch.no_grad()
    def move(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """One step of Adam on some meshes."""
        moved = self.values[rows] - rate * self._adam(gradient, rows)
        self.values[rows] = moved.clamp_(-_LIMIT, _LIMIT)

    def symbols(self) -> Array:
        """As a stream has them."""
        symbols: Array = (torch.round(self.values) + _LIMIT).to(torch.int16).cpu().numpy()
        return symbols

    def state(self) -> State:
        """What the rest of the training depends on."""
        return {
            "values": self.values,
            "adam": self._adam.state(),
            "scales": self._scales,
            "seen": self._seen,
            "parents": self._parents,
            "weights": self._weights,
            "mean": self._mean,
        }

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""
        self._adam.restore(state["adam"])
        own = self.state()
        for name in own.keys() - {"adam"}:
            fill(own[name], state[name])

    def _noise(self, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=self._generator, device=like.device) - 0.5


class _Order:
    """Which meshes a step looks at: each once an epoch, at random."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self._seed = count, min(batch, count), seed

    @property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch may have fewer meshes."""
        return -(-self.count // self.batch)

    def of(self, step: int) -> Tensor:
        """Meshes of a step."""
        epoch, part = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self._seed, epoch)).permutation(self.count)
        return torch.from_numpy(order[part * self.batch : (part + 1) * self.batch])


class SetTraining:
    """Decoder and latents of a set; see :class:`gcbench.training.loop.Trainable`.

    They start from the prior and the encoder's guess, or from what another training left.
    """

    def __init__(
        self,
        design: Sparse,
        found: Sequence[Target],
        training: Training,
        seed: int,
        *,
        device: str = "cpu",
        start: Trained | None = None,
    ) -> None:
        self._targets, self._training, self._seed = found, training, seed
        self._price = design.price * PRICE_UNIT
        self._precision = precision_of("auto", torch.device(device))
        self._device = device
        self._order = _Order(len(found), training.batch, seed)
        self.step, self.steps = 0, max(training.epochs * self._order.steps_per_epoch, training.least_steps)
        self._generator = torch.Generator(device)
        prior = sparse_prior.load()
        self._start = {name: t.to(device) for name, t in prior.decoder(design).items()}
        self._values = {name: t.clone().requires_grad_() for name, t in self._start.items()}
        sizes = {name: sparse_prior.size(tuple(t.shape)) for name, t in self._start.items()}
        self._log_steps = {
            name: torch.full((1,), math.log(_FIRST_STEP * size), device=device, requires_grad=True)
            for name, size in sizes.items()
        }
        self._learning_rate = training.learning_rate * (1 if start is None else _WARM_RATE)
        if start is None:
            latents = prior.latents(found)
        else:
            latents = torch.from_numpy(start.features.astype(np.float32)) - _LIMIT
            self._take(start.parameters)
        self._descent = Descent(self._values, sizes, training.optimiser)
        self._step_descent = Descent(self._log_steps, dict.fromkeys(sizes, 1.0), "adam")
        self.latents = Latents(design.features(), latents.to(device), training.tree, self._generator)
        self.report: dict[str, float] = {}

    @torch.no_grad()
    def _take(self, parameters: Parameters) -> None:
        """Weights and steps of another decoder."""
        for (name, symbols), step in zip(parameters.tensors.items(), parameters.scales, strict=True):
            difference = torch.from_numpy(symbols.astype(np.float32)) - WEIGHT_LEVELS // 2
            self._values[name].add_(difference.to(self._device), alpha=float(step))
            self._log_steps[name].fill_(math.log(float(step)))

    def advance(self) -> Tensor:
        """Do one step and return the loss."""
        training, count = self._training, len(self._targets)
        rounded = self.step >= (1 - _ROUNDED_SHARE) * self.steps
        self._generator.manual_seed((self._seed << 32) + self.step)
        if self.step % max(self._order.steps_per_epoch, self.steps // _CHOICES, _BETWEEN_CHOICES) == 0:
            self.latents.choose_parents()
        rows = self._order.of(self.step).to(self._device)
        weights, weight_bits = self._weights(rounded)
        own = self.latents.values[rows].requires_grad_()
        shown, latent_bits = self.latents.shown(own, rows, rounded)
        rng = np.random.default_rng((self._seed, 1, self.step))
        chosen = [self._targets[i] for i in rows.tolist()]
        fine, coarse = distortion(weights, shown, chosen, self._precision, rng)
        loss = fine + coarse + self._price * (latent_bits.mean() + weight_bits / count)
        tensors = [*self._values.values(), *self._log_steps.values(), own]
        gradients = torch.autograd.grad(loss, tensors)
        rate = learning_rate(self.step, self.steps, peak=1, warm_up=_WARM_UP * self.steps, floor=_FLOOR)
        names = list(self._values)
        self._descent.step(dict(zip(names, gradients, strict=False)), rate * self._learning_rate)
        self._step_descent.step(dict(zip(names, gradients[len(names) :], strict=False)), rate * _STEP_RATE)
        self.latents.move(rows, gradients[-1], rate * training.latent_rate)
        self.step += 1
        self.report = {
            "fine": fine.item(),
            "coarse": coarse.item(),
            "weights": weight_bits.item() / 8,
            "latents": latent_bits.mean().item() / 8,
        }
        return loss.detach()

    def _weights(self, rounded: bool) -> tuple[dict[str, Tensor], Tensor]:
        """What the decoder is made of in this step, and its bits."""
        weights, bits = {}, torch.zeros((), device=self._device)
        for name, value in self._values.items():
            step = self._log_steps[name].exp()
            symbols = (value - self._start[name]) / step
            noise = torch.rand(value.shape, generator=self._generator, device=self._device) - 0.5
            bits = bits + tensor_bits(symbols + noise)
            shown = symbols + (torch.round(symbols) - symbols).detach() if rounded else symbols + noise
            weights[name] = self._start[name] + shown * step
        return weights, bits

    def trained(self) -> Trained:
        """What a stream holds."""
        half = WEIGHT_LEVELS // 2
        with torch.no_grad():
            steps = {name: float(log_step.exp()) for name, log_step in self._log_steps.items()}
            symbols = {
                name: torch.round((value - self._start[name]) / steps[name]).clamp_(-half, half).cpu().numpy()
                for name, value in self._values.items()
            }
        tensors = {name: (values + half).astype(np.int16) for name, values in symbols.items()}
        return Trained(Parameters(tensors, np.array(list(steps.values()), np.float32)), self.latents.symbols())

    def state(self) -> State:
        """Everything that the rest of the training depends on."""
        return {
            "step": self.step,
            "decoder": self._descent.state(),
            "steps": self._step_descent.state(),
            "latents": self.latents.state(),
        }

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""
        self._descent.restore(state["decoder"])
        self._step_descent.restore(state["steps"])
        self.latents.restore(state["latents"])
        self.step = int(state["step"])


class Adding:
    """Latents of further meshes, for a decoder that stays as it is."""

    def __init__(
        self,
        design: Sparse,
        parameters: Parameters,
        present: Array,
        found: Sequence[Target],
        *,
        training: Training,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self._targets, self._training, self._seed = found, training, seed
        self._price = design.price * PRICE_UNIT
        self._device, self._precision = device, precision_of("auto", torch.device(device))
        self._weights = {name: t.to(device) for name, t in weights_of(design, parameters).items()}
        self._order = _Order(len(found), training.batch, seed)
        self.step, self.steps = 0, training.adding_steps * self._order.steps_per_epoch
        self._generator = torch.Generator(device)
        known = torch.from_numpy(present.astype(np.float32)) - _LIMIT
        start = torch.cat([known, sparse_prior.load().latents(found)])
        self._present = len(present)
        self.latents = Latents(design.features(), start.to(device), training.tree, self._generator)

    def advance(self) -> Tensor:
        """Do one step and return the loss."""
        rounded = self.step >= (1 - _ROUNDED_SHARE) * self.steps
        self._generator.manual_seed((self._seed << 32) + self.step)
        if self.step % max(self.steps // _CHOICES, _BETWEEN_CHOICES) == 0:
            self.latents.choose_parents()
        places = self._order.of(self.step)
        rows = places.to(self._device) + self._present
        own = self.latents.values[rows].requires_grad_()
        shown, bits = self.latents.shown(own, rows, rounded)
        rng = np.random.default_rng((self._seed, 1, self.step))
        chosen = [self._targets[i] for i in places.tolist()]
        fine, coarse = distortion(self._weights, shown, chosen, self._precision, rng)
        loss = fine + coarse + self._price * bits.mean()
        (gradient,) = torch.autograd.grad(loss, [own])
        rate = learning_rate(self.step, self.steps, peak=1, warm_up=_WARM_UP * self.steps, floor=_FLOOR)
        self.latents.move(rows, gradient, rate * self._training.latent_rate)
        self.step += 1
        return loss.detach()

    def symbols(self) -> Array:
        """As a stream has them."""
        return self.latents.symbols()[self._present :]

    def state(self) -> State:
        """Everything that the rest depends on."""
        return {"step": self.step, "latents": self.latents.state()}

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""
        self.latents.restore(state["latents"])
        self.step = int(state["step"])
