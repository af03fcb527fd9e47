"""The training loop of many small networks at once: each sees its own points and has its own loss and optimiser state.

A network comes out the same whoever is trained beside it, up to the order of sums in a batched product. Knows tensors,
no meshes.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gcbench.errors import BenchError, CodecFailed
from gcbench.training import fused_kernels as kernels
from gcbench.training.perceptrons import InLoop

log = logging.getLogger(__name__)
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
        A file to go on from if it is there, and to write to meanwhile, when ``progress`` raises, and at the end. A
        training that was interrupted comes out bit for bit as if it had not been, if ``loss`` depends on its arguments
        alone. A file that is torn, or of another training, is replaced, with a warning in the log.
    checkpoint_s : float
        Seconds between checkpoints.

    Returns
    -------
    (B,) float
        Mean loss of each network over the last tenth of the steps.

    Raises
    ------
    CodecFailed
        A network's loss is not a number any more: neither are its weights, and there would be a stream of them.
    """
    trained = list(parameters)
    # One training is known by what it is asked for: another one's checkpoint is not gone on from.
    name = f"{schedule} seed={seed} pool={pool} shapes={[tuple(p.shape) for p in trained]}"
    optimiser = _Adam(trained)
    state = _State(pool, torch.Generator().manual_seed(seed), torch.zeros(len(trained[0])))
    if checkpoint and checkpoint.exists():
        try:
            state.restore(checkpoint, name, optimiser)
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            log.warning("training starts anew: %s cannot be gone on from: %s", checkpoint, error)
    begin = time.monotonic() - state.seconds
    said, saved = -math.inf, time.monotonic()
    budget = max(schedule.seconds, 1e-9)  # what is spent already is enough for one step
    in_loop = InLoop(schedule.bits)
    while (step := state.step) < schedule.steps:
        for parameter in trained:
            parameter.grad = None
        quantise = in_loop if step >= schedule.quantised_from * schedule.steps else None
        losses = loss(state.draw(schedule.batch), quantise)
        torch.autograd.backward(losses.sum())
        optimiser.step(_learning_rate(step, schedule), schedule.clip)
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
            try:
                progress(done, f"loss {losses.mean().item():.2e}, {left:.0f} s left")
            except BaseException:
                if checkpoint:
                    state.save(checkpoint, name, optimiser)
                raise
        if checkpoint and (now - saved >= checkpoint_s or state.step == schedule.steps):
            saved = now
            state.save(checkpoint, name, optimiser)
    tail = state.tail / max(state.counted, 1)
    if not tail.isfinite().all():
        raise CodecFailed(f"the training of network {int(tail.isfinite().int().argmin())} of {len(tail)} diverged")
    return tail


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

    def save(self, path: Path, name: str, optimiser: _Adam) -> None:
        """Write everything that the rest of the training depends on, all or nothing.

        Raises
        ------
        BenchError
            It cannot be written.
        """
        tensors = {"order": self.order, "generator": self.generator.get_state(), "tail": self.tail}
        for key, group in optimiser.tensors().items():
            tensors |= {f"{key}.{index}": tensor.detach() for index, tensor in enumerate(group)}
        numbers = {
            "counted": self.counted,
            "step": self.step,
            "seconds": self.seconds,
            "used": self.used,
            "adam": optimiser.steps,
        }
        beside = path.with_name(f"{path.name}.part")
        contents = {key: tensor.contiguous() for key, tensor in tensors.items()}
        facts = {"training": name} | {key: repr(number) for key, number in numbers.items()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(contents, beside, facts)
            beside.replace(path)
        except (OSError, SafetensorError) as error:
            raise BenchError(f"cannot write the checkpoint {path}: {error}") from error

    def restore(self, path: Path, name: str, optimiser: _Adam) -> None:
        """Inverse of :meth:`save`; what raises has changed nothing."""
        with safe_open(path, "pt") as file:
            numbers = file.metadata() or {}
            if numbers.get("training") != name:
                raise ValueError(f"it is of another training: {numbers.get('training')}")
            names = file.keys()
            tensors = {key: file.get_tensor(key) for key in names}
        counted, step, used, steps = (int(numbers[key]) for key in ("counted", "step", "used", "adam"))
        seconds = float(numbers["seconds"])
        moved = [
            (tensor, tensors[f"{key}.{index}"])
            for key, group in optimiser.tensors().items()
            for index, tensor in enumerate(group)
        ]
        order, tail = tensors["order"], tensors["tail"]
        if any(tensor.shape != kept.shape for tensor, kept in [*moved, (self.order, order), (self.tail, tail)]):
            raise ValueError("its tensors have other shapes")
        self.generator.set_state(tensors["generator"])
        self.counted, self.step, self.used, self.seconds = counted, step, used, seconds
        self.order, self.tail, optimiser.steps = order, tail, steps
        with torch.no_grad():
            for tensor, kept in moved:
                tensor.copy_(kept)


def _learning_rate(step: int, schedule: Schedule) -> float:
    warm_up = max(1, round(0.02 * schedule.steps))
    if step < warm_up:
        return schedule.learning_rate * (step + 1) / warm_up
    turn = (step - warm_up) / max(1, schedule.steps - warm_up)
    return schedule.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * turn)) / 2)


class _Adam:
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

    def tensors(self) -> dict[str, Sequence[Tensor]]:
        """Everything that a step depends on and changes, but for their number."""
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
