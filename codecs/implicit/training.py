"""The training loop of many small networks at once: each sees its own points and has its own loss and optimiser state.

A network comes out the same whoever is trained beside it, up to the order of sums in a batched product. Knows tensors,
no meshes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gcbench.codecs.implicit.networks import InLoop

Quantise = Callable[[Tensor], Tensor]
#: Loss of each network, (B,), given which points of the pool to take, (P,), and how to quantise weights.
Loss = Callable[[Tensor, Quantise | None], Tensor]
Progress = Callable[[float, str], None]


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
    """

    steps: int
    batch: int = 4096
    learning_rate: float = 5e-3
    quantised_from: float = 0.6
    bits: int = 8
    clip: float = 1.0


def train(
    parameters: Iterable[nn.Parameter],
    loss: Loss,
    pool: int,
    schedule: Schedule,
    *,
    seed: int,
    progress: Progress | None = None,
    mask: Callable[[], None] | None = None,
) -> Tensor:
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
    progress : callable, optional
        Told of the fraction done, with the loss and the time left; may raise to stop.
    mask : callable, optional
        Called after every step, to put back to 0 what is to stay there.

    Returns
    -------
    (B,) float
        Mean loss of each network over the last tenth of the steps.
    """
    trained = list(parameters)
    optimiser = torch.optim.Adam(trained, lr=schedule.learning_rate, fused=True)
    generator = torch.Generator().manual_seed(seed)
    order, used = torch.randperm(pool, generator=generator), 0
    begin, said = time.monotonic(), -math.inf
    tail, counted = torch.zeros(trained[0].shape[0]), 0
    in_loop = InLoop(schedule.bits)
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, schedule)
        if used + schedule.batch > pool:
            order, used = torch.randperm(pool, generator=generator), 0
        points, used = order[used : used + schedule.batch], used + schedule.batch
        optimiser.zero_grad(set_to_none=True)
        losses = loss(points, in_loop if step >= schedule.quantised_from * schedule.steps else None)
        torch.autograd.backward(losses.sum())
        _clip(trained, schedule.clip)
        optimiser.step()
        if mask:
            mask()
        if step >= 0.9 * schedule.steps:
            tail, counted = tail + losses.detach().cpu(), counted + 1
        now = time.monotonic()
        if progress and (now - said > 0.5 or step == schedule.steps - 1):
            said, left = now, (now - begin) / (step + 1) * (schedule.steps - step - 1)
            progress((step + 1) / schedule.steps, f"loss {losses.mean().item():.2e}, {left:.0f} s left")
    return tail / max(counted, 1)


def _learning_rate(step: int, schedule: Schedule) -> float:
    warm_up = max(1, round(0.02 * schedule.steps))
    if step < warm_up:
        return schedule.learning_rate * (step + 1) / warm_up
    turn = (step - warm_up) / max(1, schedule.steps - warm_up)
    return schedule.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * turn)) / 2)


def _clip(parameters: list[nn.Parameter], largest: float) -> None:
    """Bound the norm of each network's gradient: a common norm would make one network's trouble everybody's."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squared = torch.stack([g.square().flatten(1).sum(1) for g in gradients]).sum(0)
    factor = (largest / squared.sqrt().clamp_min(1e-12)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))
