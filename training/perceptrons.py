"""Multilayer perceptrons of rectifiers, many at once: B networks of one shape, whose parameters are one tensor.

On the CPU, narrow networks go through `fused`, in half the time or less; wide networks, and all networks on a GPU, in
float64 and under autocast, take one batched product for each layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gcbench.entropy.tensors import levels
from gcbench.training.fused import AbsoluteError, Outputs, narrow
from gcbench.training.straight_through import quantise_in_loop

Quantise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class InLoop:
    """Quantisation in the training loop: see :func:`~gcbench.training.straight_through.quantise_in_loop`.

    Parameters
    ----------
    bits : int
        Of a symbol.
    """

    bits: int

    def __call__(self, tensor: Tensor) -> Tensor:
        """Quantise each network's tensor to its own scale; gradients pass as if nothing had happened."""
        return quantise_in_loop(tensor, self.bits)


class Perceptrons(nn.Module):
    """B independent multilayer perceptrons of the same shape, with rectifiers between their layers.

    Parameters
    ----------
    networks : int
        B.
    widths : sequence of int
        Of the input, every hidden layer, and the output.
    skip : int or None
        Hidden layer whose input has the network's input appended (DeepSDF's fourth, Park et al., 2019).
    generators : sequence of torch.Generator
        One for each network: a network starts the same, whoever is trained beside it.

    Attributes
    ----------
    flat : Parameter
        (B, n): for each layer weights (fan in, fan out), then bias.
    """

    def __init__(
        self,
        networks: int,
        widths: Sequence[int],
        *,
        skip: int | None = None,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.skip = skip
        if len(generators) != networks:
            raise ValueError(f"{len(generators)} generators for {networks} networks")
        if skip is not None and not 0 < skip < len(self.widths) - 1:
            raise ValueError(f"layer {skip} cannot be shown the input again")
        drawn = []
        for layer, (fan_in, fan_out) in enumerate(self._fans()):
            drawn.append(_uniform(fan_in * fan_out, self._bound(layer, fan_in), generators))
            drawn.append(_uniform(fan_out, 1 / math.sqrt(fan_in), generators))
        self.flat = nn.Parameter(torch.cat(drawn, dim=1))

    @property
    def weights(self) -> list[Tensor]:
        """Views of the weights of each layer, (B, fan in, fan out)."""
        return [weight for weight, _ in self._layers()]

    @property
    def biases(self) -> list[Tensor]:
        """Views of the biases of each layer, (B, 1, fan out)."""
        return [bias for _, bias in self._layers()]

    def _layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        begin = 0
        for fan_in, fan_out in self._fans():
            middle, end = begin + fan_in * fan_out, begin + (fan_in + 1) * fan_out
            yield self.flat[:, begin:middle].view(-1, fan_in, fan_out), self.flat[:, None, middle:end]
            begin = end

    @classmethod
    def of(
        cls, tensors: Sequence[NDArray[np.float32]], widths: Sequence[int], *, skip: int | None = None
    ) -> Perceptrons:
        """One network with given weights and biases: the inverse of :meth:`tensors`."""
        made = cls(1, widths, skip=skip, generators=generators([0]))
        with torch.no_grad():
            for parameter, tensor in zip(itertools.chain(*made._layers()), tensors, strict=True):
                parameter.copy_(torch.from_numpy(tensor)[None])
        return made

    def tensors(self, network: int = 0) -> list[NDArray[np.float32]]:
        """Weights and biases of one network, layer by layer, of the shapes that :func:`shapes` says."""
        return [parameter[network].detach().cpu().numpy() for pair in self._layers() for parameter in pair]

    def _fans(self) -> list[tuple[int, int]]:
        return shapes(self.widths, self.skip)[::2]

    def _bound(self, layer: int, fan_in: int) -> float:
        last = layer == len(self.widths) - 2
        return math.sqrt((3 if last else 6) / fan_in)  # Kaiming for rectifiers; nothing rectifies the output

    def forward(self, inputs: Tensor, quantise: Quantise | None = None) -> Tensor:
        """Evaluate all networks.

        Parameters
        ----------
        inputs : (B, P, widths[0]) float
            P points for each network, or (1, P, widths[0]) for the same points for all.
        quantise : callable, optional
            Applied to each layer's weights and biases before use: quantisation in the loop.

        Returns
        -------
        (B, P, widths[-1]) float
            Differentiable by parameters and inputs.
        """
        if not self._fusible(inputs, quantise):
            return self._layer_by_layer(inputs, quantise)
        apply: Callable[..., Tensor] = Outputs.apply
        return apply(self.flat, self._quantised(quantise), self._shown(inputs), self.widths, self.skip)

    def absolute_error(
        self, inputs: Tensor, targets: Tensor, quantise: Quantise | None = None, *, clamp: float = math.inf
    ) -> Tensor:
        """Mean absolute error of each network.

        Parameters
        ----------
        inputs, quantise
            As for :meth:`forward`.
        targets : (B, P, widths[-1]) float
            What networks should say; no gradient is passed to them.
        clamp : float
            Where a target is at least as far from 0, it only matters that the network's answer is too, on the same
            side.

        Returns
        -------
        (B,) float
            Differentiable by parameters and inputs.
        """
        if self._fusible(inputs, quantise):
            apply: Callable[..., Tensor] = AbsoluteError.apply
            shown, used = self._shown(inputs), self._quantised(quantise)
            return apply(self.flat, used, shown, targets, self.widths, self.skip, clamp)
        error = self._layer_by_layer(inputs, quantise) - targets
        beyond = (targets.abs() >= clamp) & (error * targets > 0)
        return error.abs().masked_fill(beyond, 0.0).mean((1, 2))

    def _fusible(self, inputs: Tensor, quantise: Quantise | None) -> bool:
        # Who asks for autocasting has wide layers, which go 2 to 3 times as fast in bfloat16.
        return (
            (quantise is None or isinstance(quantise, InLoop))
            and not torch.is_autocast_enabled("cpu")
            and narrow(self.widths, self.skip)
            and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (inputs, self.flat))
        )

    def _shown(self, inputs: Tensor) -> Tensor:
        if inputs.dim() != 3 or len(inputs) not in {1, len(self.flat)} or inputs.shape[2] != self.widths[0]:
            raise ValueError(f"inputs of shape {tuple(inputs.shape)} for {len(self.flat)} networks of {self.widths}")
        return inputs.expand(len(self.flat), -1, -1)

    def _quantised(self, quantise: Quantise | None) -> Tensor:
        """Parameters after quantisation: of all tensors at once, since one by one takes as long as the network."""
        if not isinstance(quantise, InLoop):
            return self.flat
        flat, half = self.flat.detach().numpy(), np.float32(levels(quantise.bits) // 2)
        sizes = [rows * columns for rows, columns in shapes(self.widths, self.skip)]
        peaks = np.maximum.reduceat(np.abs(flat), np.cumsum([0, *sizes[:-1]]), axis=1)
        step = np.repeat(np.maximum(peaks, np.finfo(np.float32).tiny) / half, sizes, axis=1)
        return torch.from_numpy(np.clip(np.rint(flat / step), -half, half) * step)

    def _layer_by_layer(self, inputs: Tensor, quantise: Quantise | None) -> Tensor:
        q = quantise or _as_it_is
        start = x = inputs.expand(len(self.flat), -1, -1)
        last = len(self.widths) - 2
        for layer, (weight, bias) in enumerate(self._layers()):
            if layer == self.skip:
                x = torch.cat([x, start], dim=-1)
            x = torch.baddbmm(q(bias), x, q(weight))
            if layer < last:
                x = torch.relu(x)
        return x

    def parameter_count(self) -> int:
        """Parameters of one network."""
        return self.flat.shape[1]

    @staticmethod
    def count(widths: Sequence[int]) -> int:
        """Parameters of a network of these widths, without a skip."""
        return sum((a + 1) * b for a, b in itertools.pairwise(widths))


def shapes(widths: Sequence[int], skip: int | None = None) -> list[tuple[int, int]]:
    """Shapes of weights (fan in, fan out) and biases (1, fan out) of a network, layer by layer."""
    return [
        shape
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths))
        for shape in ((fan_in + (widths[0] if layer == skip else 0), fan_out), (1, fan_out))
    ]


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator for each seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _uniform(count: int, bound: float, generators: Sequence[torch.Generator]) -> Tensor:
    return torch.stack([(2 * torch.rand(count, generator=g) - 1) * bound for g in generators])


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
