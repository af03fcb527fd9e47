"""Optimisers whose step is relative to the size of each tensor: Muon for matrices, Adam for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from gcbench.training.checkpoints import fill

if TYPE_CHECKING:
    from gcbench.training.checkpoints import State

Optimiser = Literal["muon", "adam"]

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the iteration, as published
_ITERATIONS, _MOMENTUM = 5, 0.95


class Direction(Protocol):
    """Where a tensor goes next: a direction of about unit root mean square, from its gradients."""

    def __call__(self, gradient: Tensor) -> Tensor:
        """The direction after one more gradient."""

    def state(self) -> State:
        """What is kept between steps."""

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""


class Muon:
    """The orthogonal matrix nearest to the momentum; a tensor is a matrix of its first axis by the others.

    The iteration runs on the Gram matrix of the shorter side, which is at most as large as a layer is wide.

    Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._momentum = torch.zeros_like(tensor, memory_format=torch.contiguous_format)

    def __call__(self, gradient: Tensor) -> Tensor:
        """The direction after one more gradient."""
        self._momentum.mul_(_MOMENTUM).add_(gradient)
        matrix = torch.add(gradient, self._momentum, alpha=_MOMENTUM).reshape(len(gradient), -1)
        tall = len(matrix) > matrix.shape[1]
        matrix = matrix.t() if tall else matrix
        matrix = matrix / (matrix.norm() + torch.finfo(matrix.dtype).tiny)
        a, b, c = _NEWTON_SCHULZ
        gram, one = matrix @ matrix.t(), torch.eye(len(matrix), device=matrix.device)
        product = one
        for _ in range(_ITERATIONS):
            factor = a * one + b * gram + c * gram @ gram
            product, gram = factor @ product, factor @ gram @ factor
        step: Tensor = product @ matrix
        step = step.t() if tall else step
        return step.reshape(gradient.shape) * math.sqrt(gradient.numel() / len(one))

    def state(self) -> State:
        """The momentum."""
        return {"momentum": self._momentum}

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""
        fill(self._momentum, state["momentum"])


class Adam:
    """Adam on rows of a tensor, each with a count of its own: rows that a step leaves out stay as they are.

    Source: Kingma and Ba, Adam, 2015.
    """

    def __init__(self, tensor: Tensor, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        self._first, self._second = torch.zeros_like(tensor), torch.zeros_like(tensor)
        self._count = torch.zeros(len(tensor), device=tensor.device)
        self._betas = betas

    def __call__(self, gradient: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """The direction of some rows after one more gradient of them."""
        a, b = self._betas
        self._count[rows] += 1
        first = torch.lerp(self._first[rows], gradient, 1 - a)
        second = torch.lerp(self._second[rows], gradient * gradient, 1 - b)
        self._first[rows], self._second[rows] = first, second
        count = self._count[rows].reshape(-1, *[1] * (gradient.dim() - 1))
        return first / (1 - a**count) / ((second / (1 - b**count)).sqrt() + 1e-12)

    def state(self) -> State:
        """Moments and counts."""
        return {"first": self._first, "second": self._second, "count": self._count}

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""
        for name, tensor in self.state().items():
            fill(tensor, state[name])


class Descent:
    """Tensors that are optimised together.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Changed in place. Those with several axes are matrices.
    sizes : mapping of str to float
        The size of each tensor's values, which its step is relative to.
    optimiser : {"muon", "adam"}
        Of matrices.
    """

    def __init__(self, tensors: Mapping[str, Tensor], sizes: Mapping[str, float], optimiser: Optimiser) -> None:
        self.tensors, self._sizes = tensors, sizes
        self._directions: dict[str, Direction] = {
            name: Muon(tensor) if optimiser == "muon" and tensor.dim() > 1 else Adam(tensor)
            for name, tensor in tensors.items()
        }

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor | None], rate: float) -> None:
        """Change each tensor that has a gradient by ``rate`` times its size along its direction."""
        for name, tensor in self.tensors.items():
            gradient = gradients[name]
            if gradient is not None:
                tensor.sub_(self._directions[name](gradient), alpha=rate * self._sizes[name])

    def state(self) -> State:
        """Tensors, and what is kept between steps."""
        return {
            "tensors": {name: tensor.detach() for name, tensor in self.tensors.items()},
            "directions": {name: direction.state() for name, direction in self._directions.items()},
        }

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""
        for name, tensor in self.tensors.items():
            fill(tensor, state["tensors"][name])
            self._directions[name].restore(state["directions"][name])
