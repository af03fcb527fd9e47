"""The factorised entropy model of the latent features: a learnt cumulative distribution for each channel.

:mod:`gcbench.training.sparse.features` turns the distributions into the integer tables of a coder.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LIKELIHOOD_FLOOR = 1e-9


class FactorizedBottleneck(nn.Module):
    """A univariate, monotone network for each channel, whose sigmoid is a cumulative distribution.

    Parameters
    ----------
    channels : int
        C, the number of channels.
    filters : tuple of int
        Widths of the hidden layers.
    initial_scale : float
        Approximate width of the initial distributions.

    Source: Ballé et al., "Variational image compression with a scale hyperprior" (ICLR 2018), appendix 6.1.
    """

    def __init__(self, channels: int = 8, filters: tuple[int, ...] = (3, 3, 3), initial_scale: float = 8.0) -> None:
        super().__init__()
        widths = (1, *filters, 1)
        layers = len(widths) - 1
        scale = initial_scale ** (1 / layers)
        self.channels = channels
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        for narrow, wide in itertools.pairwise(widths):
            first = math.log(math.expm1(1 / scale / wide))
            self.matrices.append(nn.Parameter(torch.full((channels, wide, narrow), first)))
            self.biases.append(nn.Parameter(torch.empty(channels, wide, 1).uniform_(-0.5, 0.5)))
            # The last layer's factor is part of the published model.
            self.factors.append(nn.Parameter(torch.zeros(channels, wide, 1)))

    def cumulative_logits(self, values: Tensor) -> Tensor:
        """Logits of the cumulative distributions: (C, 1, M) values to (C, 1, M) logits that increase with them."""
        logits = values
        for matrix, bias, factor in zip(self.matrices, self.biases, self.factors, strict=True):
            logits = functional.softplus(matrix) @ logits + bias
            logits = logits + torch.tanh(factor) * torch.tanh(logits)
        return logits

    def likelihood(self, y: Tensor) -> Tensor:
        """Probability mass of the unit interval around each feature: (M, C) to (M, C), never below 1e-9."""
        values = y.t().unsqueeze(1)
        lower, upper = self.cumulative_logits(values - 0.5), self.cumulative_logits(values + 0.5)
        # The sign moves both sigmoids to the side where they are small, where their difference loses no digits.
        sign = -torch.sign(lower + upper).detach()
        mass = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        return _floored(mass).squeeze(1).t()

    def bits(self, y: Tensor) -> Tensor:
        """Bits that an ideal coder needs for (M, C) features: a scalar."""
        return -torch.log2(self.likelihood(y)).sum()

    @torch.no_grad()
    def cdf(self, first: int, last: int) -> Tensor:
        """Cumulative probabilities at the edges of the integers ``first`` … ``last``, computed in float64.

        Returns
        -------
        (C, last − first + 2) float64
            Entry i is the probability of a value below first + i − ½; non-decreasing along the second axis.
        """
        double = FactorizedBottleneck(self.channels, tuple(m.shape[1] for m in self.matrices)[:-1]).double().cpu()
        double.load_state_dict({name: value.double().cpu() for name, value in self.state_dict().items()})
        edges = torch.arange(first, last + 2, dtype=torch.float64) - 0.5
        return torch.sigmoid(double.cumulative_logits(edges.expand(self.channels, 1, -1)).squeeze(1))


class _Floor(torch.autograd.Function):
    """max(x, floor), with a gradient that can still raise an x below the floor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=LIKELIHOOD_FLOOR)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        return gradients[0] * ((x >= LIKELIHOOD_FLOOR) | (gradients[0] < 0))


def _floored(x: Tensor) -> Tensor:
    floored: Tensor = _Floor.apply(x)  # type: ignore[no-untyped-call]  # torch's apply has no types
    return floored
