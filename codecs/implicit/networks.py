"""Multilayer perceptrons, many at once: B networks of one shape are one batched product for each layer.

On small networks most of a training step is the cost of calling operators, which B networks then share. Knows
tensors; what goes in and what comes out is the codecs' business.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Activation = Literal["relu", "sine", "softplus"]


class Perceptrons(nn.Module):
    """B independent multilayer perceptrons of the same shape.

    Parameters
    ----------
    networks : int
        B.
    widths : sequence of int
        Of the input, every hidden layer, and the output.
    activation : {"relu", "sine", "softplus"}
        Between layers; sine has the frequency and the initial weights of SIREN (Sitzmann et al., 2020, section 3.2).
    skip : int or None
        Hidden layer whose input has the network's input appended (DeepSDF's fourth, Park et al., 2019).
    generators : sequence of torch.Generator
        One for each network: a network starts the same, whoever is trained beside it.

    Attributes
    ----------
    weights : list of Parameter
        (B, fan in, fan out) for each layer.
    biases : list of Parameter
        (B, 1, fan out) for each layer.
    """

    OMEGA = 30.0

    def __init__(
        self,
        networks: int,
        widths: Sequence[int],
        *,
        activation: Activation = "relu",
        skip: int | None = None,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.activation: Activation = activation
        self.skip = skip
        weights, biases = [], []
        for layer, (fan_in, fan_out) in enumerate(self._fans()):
            bound = self._bound(layer, fan_in)
            weights.append(_uniform((fan_in, fan_out), bound, generators))
            biases.append(_uniform((1, fan_out), 1 / math.sqrt(fan_in), generators))
        if len(generators) != networks:
            raise ValueError(f"{len(generators)} generators for {networks} networks")
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList(biases)

    @classmethod
    def of(cls, tensors: Sequence[NDArray[np.float32]], widths: Sequence[int]) -> Perceptrons:
        """One network of rectifiers with given weights and biases, layer by layer."""
        made = cls(1, widths, generators=generators([0]))
        with torch.no_grad():
            for index, (weight, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
                made.weights[index].copy_(torch.from_numpy(weight)[None])
                made.biases[index].copy_(torch.from_numpy(bias)[None])
        return made

    def _fans(self) -> list[tuple[int, int]]:
        return [
            (fan_in + (self.widths[0] if layer == self.skip else 0), fan_out)
            for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(self.widths))
        ]

    def _bound(self, layer: int, fan_in: int) -> float:
        if self.activation == "sine":
            return 1 / fan_in if layer == 0 else math.sqrt(6 / fan_in) / self.OMEGA
        last = layer == len(self.widths) - 2
        return math.sqrt((3 if last else 6) / fan_in)  # Kaiming for rectifiers; nothing rectifies the output

    def forward(self, inputs: Tensor, quantise: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Evaluate all networks.

        Parameters
        ----------
        inputs : (B, P, widths[0]) float
            P points for each network, or (1, P, widths[0]) for the same points for all.
        quantise : callable, optional
            Applied to weights and biases before use: quantisation in the loop.

        Returns
        -------
        (B, P, widths[-1]) float
        """
        q = quantise or _as_it_is
        x = inputs.expand(self.biases[0].shape[0], -1, -1)
        start = x
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer == self.skip:
                x = torch.cat([x, start], dim=-1)
            x = torch.baddbmm(q(bias), x, q(weight))
            if layer < last:
                x = self._activate(x)
        return x

    def _activate(self, x: Tensor) -> Tensor:
        if self.activation == "relu":
            return torch.relu(x)
        return torch.sin(self.OMEGA * x) if self.activation == "sine" else nn.functional.softplus(x, beta=100)

    def parameter_count(self) -> int:
        """Parameters of one network."""
        return sum(math.prod(p.shape[1:]) for p in self.parameters())

    @staticmethod
    def count(widths: Sequence[int]) -> int:
        """Parameters of a network of these widths, without a skip."""
        return sum((a + 1) * b for a, b in itertools.pairwise(widths))


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator for each seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _uniform(shape: tuple[int, int], bound: float, generators: Sequence[torch.Generator]) -> nn.Parameter:
    draws = [(2 * torch.rand(shape, generator=g) - 1) * bound for g in generators]
    return nn.Parameter(torch.stack(draws))


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
