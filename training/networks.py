"""Many small networks that are trained at once: each has its own loss, its own bound of the gradient, its own moments.

A network comes out the same whoever is trained beside it, up to the order of sums in a batched product.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gcbench.training import fused_kernels as kernels
from gcbench.training import loop
from gcbench.training.checkpoints import State, fill
from gcbench.training.perceptrons import InLoop, Quantise
from gcbench.training.progress import Progress, silent
from gcbench.training.schedules import learning_rate

#: Loss of each network, (B,), given which points of the pool to take, (P,), and how to quantise weights.
Loss = Callable[[Tensor, Quantise | None], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Parameters
    ----------
    steps : int
        Of the optimiser.
    batch : int
        Points a step, for each network.
    learning_rate : float
        Of Adam, at its highest: a linear warm-up over 2 % of the steps, then a cosine to 1 %.
    quantised_from : float
        Fraction of the steps after which weights are quantised in the loop; 1 is never.
    bits : int
        Of quantised weights.
    clip : float
        Largest norm of the gradient of one network.
    seconds : float
        Of wall time. Where they would not do for all steps, steps are left out, so that the learning rate and the
        quantiser go all their way in time; what comes out then depends on the machine and its load.
    """

    steps: int
    batch: int = 4096
    learning_rate: float = 5e-3
    quantised_from: float = 0.6
    bits: int = 8
    clip: float = 1.0
    seconds: float = math.inf

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        warm_up = max(1, round(0.02 * self.steps))
        return learning_rate(step, self.steps, peak=self.learning_rate, warm_up=warm_up, floor=0.01)


def train(
    parameters: Iterable[nn.Parameter],
    loss: Loss,
    pool: int,
    schedule: Schedule,
    *,
    seed: int,
    progress: Progress = silent,
    mask: Callable[[], None] | None = None,
    checkpoint: Path | None = None,
    every_s: float = loop.CHECKPOINT_EVERY_S,
) -> None:
    """Minimise the loss of every network.

    Parameters
    ----------
    parameters : iterable of Parameter
        First axis: networks.
    loss : callable
        See :data:`Loss`.
    pool : int
        Points of each network that ``loss`` can be asked for.
    schedule : Schedule
        How long and how fast.
    seed : int
        Of the order in which points are shown, which is the same for all networks.
    mask : callable, optional
        Called after every step, to put back to 0 what is to stay there.
    progress, checkpoint, every_s
        As of :func:`gcbench.training.loop.run`. A checkpoint that is torn or of another training is replaced. An
        interrupted training comes out bit for bit as if it had not been, if ``loss`` depends on its arguments alone.

    Raises
    ------
    CodecFailed
        A network's loss is not a number any more: neither are its weights, and there would be a stream of them.
    """
    training = _Training(list(parameters), loss, pool, schedule, seed=seed, mask=mask)
    loop.run(training, training.identity, checkpoint=checkpoint, anew=True, progress=progress, every_s=every_s)


class _Training:
    """Networks between two steps, and the order in which they see their points."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        loss: Loss,
        pool: int,
        schedule: Schedule,
        *,
        seed: int,
        mask: Callable[[], None] | None,
    ) -> None:
        self.loss, self.pool, self.schedule, self.mask = loss, pool, schedule, mask
        self.identity = f"{schedule} seed={seed} pool={pool} shapes={[tuple(p.shape) for p in parameters]}"
        self.adam = Adam(parameters)
        self.in_loop = InLoop(schedule.bits)
        self.step, self.steps = 0, schedule.steps
        self.began = time.monotonic()
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.randperm(pool, generator=self.generator)
        self.used = 0  # of the order

    def advance(self) -> Tensor:
        """One step; the loss of each network, (B,)."""
        schedule = self.schedule
        for parameter in self.adam.parameters:
            parameter.grad = None
        quantise = self.in_loop if self.step >= schedule.quantised_from * self.steps else None
        losses = self.loss(self._draw(schedule.batch), quantise)
        torch.autograd.backward(losses.sum())
        self.adam.step(schedule.rate(self.step), schedule.clip)
        if self.mask:
            self.mask()
        # Of a budget that is spent, one step is left.
        share = (time.monotonic() - self.began) / max(schedule.seconds, 1e-9)
        self.step = max(self.step + 1, math.floor(self.steps * min(1.0, share)))
        return losses.detach()

    def _draw(self, count: int) -> Tensor:
        """Indices of the points of one step."""
        if self.used + count > self.pool:
            self.order, self.used = torch.randperm(self.pool, generator=self.generator), 0
        self.used += count
        return self.order[self.used - count : self.used]

    def state(self) -> State:
        """Everything that the rest of the training depends on."""
        return {
            "step": self.step,
            "used": self.used,
            "seconds": time.monotonic() - self.began,
            "order": self.order,
            "generator": self.generator.get_state(),
            "adam": self.adam.state(),
        }

    def restore(self, state: State) -> None:
        """Go to a state."""
        self.adam.restore(state["adam"])
        fill(self.order, state["order"])
        self.generator.set_state(state["generator"])
        self.step, self.used = state["step"], state["used"]
        self.began = time.monotonic() - state["seconds"]


class Adam:
    """Adam, with a bound of the gradient of each network: a common one would make one's trouble everybody's.

    On the CPU it is a compiled loop: for a small network, torch's operators take longer than what they do.

    Source: D. Kingma, J. Ba, "Adam", ICLR 2015, Algorithm 1, with its constants.
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.means = [torch.zeros_like(p, memory_format=torch.contiguous_format) for p in parameters]
        self.squares = [torch.zeros_like(p, memory_format=torch.contiguous_format) for p in parameters]
        self.steps = 0

    def state(self) -> State:
        """Parameters and moments, each by the number of the parameter, and the number of steps."""
        tensors = {key: {str(i): tensor for i, tensor in enumerate(group)} for key, group in self._groups().items()}
        return {"steps": self.steps, **tensors}

    def restore(self, state: State) -> None:
        """Go to a state."""
        for key, group in self._groups().items():
            for index, tensor in enumerate(group):
                fill(tensor, state[key][str(index)])
        self.steps = state["steps"]

    def _groups(self) -> dict[str, Sequence[Tensor]]:
        return {"value": self.parameters, "mean": self.means, "square": self.squares}

    @torch.no_grad()
    def step(self, rate: float, clip: float) -> None:
        """Move every parameter that has a gradient."""
        self.steps += 1
        of_mean, of_square = (1 - beta**self.steps for beta in self.BETAS)
        rate, scale = rate / of_mean, 1 / math.sqrt(of_square)
        moved = [
            (p, p.grad, mean, square)
            for p, mean, square in zip(self.parameters, self.means, self.squares, strict=True)
            if p.grad is not None
        ]
        if all(p.device.type == "cpu" and p.dtype == torch.float32 and p.is_contiguous() for p in self.parameters):
            self._compiled([[_rows(t) for t in tensors] for tensors in moved], rate, scale, clip)
            return
        norm = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for _, g, _, _ in moved]).norm(dim=0)
        factor = (clip / norm.clamp_min(1e-12)).clamp_max(1)
        for parameter, gradient, mean, square in moved:
            clipped = gradient * factor.view(-1, *[1] * (gradient.dim() - 1))
            mean.lerp_(clipped, 1 - self.BETAS[0])
            square.lerp_(clipped.square(), 1 - self.BETAS[1])
            parameter.addcdiv_(mean, (square.sqrt() * scale).add_(self.EPSILON), value=-rate)

    def _compiled(self, moved: list[list[NDArray[np.float32]]], rate: float, scale: float, clip: float) -> None:
        squared = np.zeros(len(self.parameters[0]), np.float32)
        for _, gradient, _, _ in moved:
            kernels.add_squares(gradient, squared)
        factors = np.minimum(np.float32(clip) / np.maximum(np.sqrt(squared), np.float32(1e-12)), np.float32(1))
        constants = np.array([1 - self.BETAS[0], 1 - self.BETAS[1], rate, scale, self.EPSILON], np.float32)
        for value, gradient, mean, square in moved:
            kernels.adam(value, gradient, factors, mean, square, constants)


def _rows(tensor: Tensor) -> NDArray[np.float32]:
    """(B, n), of the same memory if that is contiguous."""
    rows: NDArray[np.float32] = tensor.detach().contiguous().view(len(tensor), -1).numpy()
    return rows
