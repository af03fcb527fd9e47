"""The training loop of many small networks at once: each sees its own points and has its own loss and optimiser state.

A network comes out the same whoever is trained beside it, up to the order of sums in a batched product. Knows tensors,
no meshes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
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


def train(
    parameters: Iterable[nn.Parameter],
    loss: Loss,
    pool: int,
    schedule: Schedule,
    *,
    seed: int,
    progress: Progress | None = None,
    mask: Callable[[], None] | None = None,
    checkpoint: Path | None = None,
    checkpoint_s: float = 30.0,
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
    checkpoint : Path, optional
        A file to go on from if it is there, and to write to meanwhile; removed at the end. A training that was
        interrupted comes out bit for bit as if it had not been, if ``loss`` depends on its arguments alone.
    checkpoint_s : float
        Seconds between checkpoints.

    Returns
    -------
    (B,) float
        Mean loss of each network over the last tenth of the steps.

    Raises
    ------
    ValueError
        The checkpoint is of another training.
    """
    trained = list(parameters)
    # One training is known by what it is asked for: another one's checkpoint is not gone on from.
    name = f"{schedule} seed={seed} pool={pool} shapes={[tuple(p.shape) for p in trained]}"
    optimiser = torch.optim.Adam(trained, lr=schedule.learning_rate, fused=True)
    state = _State(pool, torch.Generator().manual_seed(seed), torch.zeros(len(trained[0])))
    if checkpoint and checkpoint.exists():
        state.restore(checkpoint, name, trained, optimiser)
    begin = time.monotonic() - state.seconds
    said, saved = -math.inf, time.monotonic()
    budget = max(schedule.seconds, 1e-9)  # what is spent already is enough for one step
    in_loop = InLoop(schedule.bits)
    while (step := state.step) < schedule.steps:
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, schedule)
        for parameter in trained:
            parameter.grad = None
        quantise = in_loop if step >= schedule.quantised_from * schedule.steps else None
        losses = loss(state.draw(schedule.batch), quantise)
        torch.autograd.backward(losses.sum())
        _clip(trained, schedule.clip)
        optimiser.step()
        if mask:
            mask()
        now = time.monotonic()
        state.seconds = now - begin
        state.step = max(step + 1, math.floor(schedule.steps * min(1.0, state.seconds / budget)))
        if state.step > 0.9 * schedule.steps:
            state.tail, state.counted = state.tail + losses.detach().cpu(), state.counted + 1
        if progress and (now - said > 0.5 or state.step == schedule.steps):
            said, done = now, state.step / schedule.steps
            left = state.seconds * (1 / done - 1)
            progress(done, f"loss {losses.mean().item():.2e}, {left:.0f} s left")
        if checkpoint and now - saved >= checkpoint_s:
            saved = now
            state.save(checkpoint, name, trained, optimiser)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return state.tail / max(state.counted, 1)


@dataclass
class _State:
    """Where a training is, beside its parameters and the optimiser's averages."""

    pool: int
    generator: torch.Generator
    tail: Tensor  # (B,), sum of the losses of the last tenth of the steps
    counted: int = 0  # of them
    step: int = 0  # the next
    seconds: float = 0.0
    used: int = 0  # of the order
    order: Tensor = field(init=False)  # (pool,)

    def __post_init__(self) -> None:
        self.order = torch.randperm(self.pool, generator=self.generator)

    def draw(self, count: int) -> Tensor:
        """Indices of the points of one step."""
        if self.used + count > self.pool:
            self.order, self.used = torch.randperm(self.pool, generator=self.generator), 0
        self.used += count
        return self.order[self.used - count : self.used]

    def save(self, path: Path, name: str, trained: list[nn.Parameter], optimiser: torch.optim.Adam) -> None:
        """Write everything that the rest of the training depends on, all or nothing."""
        tensors = {"order": self.order, "generator": self.generator.get_state(), "tail": self.tail}
        for index, parameter in enumerate(trained):
            tensors[f"{index}"] = parameter.detach()
            tensors |= {f"{index}.{key}": value for key, value in optimiser.state[parameter].items()}
        numbers = {"counted": self.counted, "step": self.step, "seconds": self.seconds, "used": self.used}
        beside = path.with_name(f"{path.name}.part")
        save_file(
            {key: tensor.contiguous() for key, tensor in tensors.items()},
            beside,
            {"training": name} | {key: repr(number) for key, number in numbers.items()},
        )
        beside.replace(path)

    def restore(self, path: Path, name: str, trained: list[nn.Parameter], optimiser: torch.optim.Adam) -> None:
        """Inverse of :meth:`save`."""
        with safe_open(path, "pt") as file:
            numbers = file.metadata()
            if numbers.get("training") != name:
                raise ValueError(f"{path} is a checkpoint of another training: {numbers.get('training')}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
        self.order, self.tail = tensors["order"], tensors["tail"]
        self.generator.set_state(tensors["generator"])
        self.counted, self.step, self.used = (int(numbers[key]) for key in ("counted", "step", "used"))
        self.seconds = float(numbers["seconds"])
        for index, parameter in enumerate(trained):
            with torch.no_grad():
                parameter.copy_(tensors[f"{index}"])
            optimiser.state[parameter] = {
                key: tensors[f"{index}.{key}"].to(parameter.device) for key in ("step", "exp_avg", "exp_avg_sq")
            }


def _learning_rate(step: int, schedule: Schedule) -> float:
    warm_up = max(1, round(0.02 * schedule.steps))
    if step < warm_up:
        return schedule.learning_rate * (step + 1) / warm_up
    turn = (step - warm_up) / max(1, schedule.steps - warm_up)
    return schedule.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * turn)) / 2)


def _clip(parameters: list[nn.Parameter], largest: float) -> None:
    """Bound the norm of each network's gradient: a common norm would make one network's trouble everybody's."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]).norm(dim=0)
    factor = (largest / norm.clamp_min(1e-12)).clamp_max(1)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))
