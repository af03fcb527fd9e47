"""Pruned perceptrons: global magnitude pruning of a trained implicit network in one step, with or without retraining.

The paper (for radiance fields) sets the smallest 30, 50, 70 or 90 % of all weights to 0 with one threshold for all
layers, and retrains for 500 iterations. The paper counts the remaining weights; here the stream codes the gaps between
them. The output layer is not pruned: its weights are small, as distances are, and pruning 90 % would remove them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gcbench.codecs.base import Effort, Rate, as_effort
from gcbench.codecs.implicit.efforts import implicit_budget, perceptron_size
from gcbench.codecs.implicit.perceptron_codec import PerceptronCodec, Train
from gcbench.entropy.container import Container
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.geometry.signed_distance import Mixture
    from gcbench.training.networks import Schedule
    from gcbench.training.perceptrons import Perceptrons

# (hidden layers, width); in a short training, few layers come nearer to the surface.
_NETWORK: dict[Effort, tuple[int, int]] = {"quick": (4, 48), "standard": (8, 48), "paper": (8, 128)}
_LARGEST = max(perceptron_size(3, *network) for network in _NETWORK.values())
_RETRAIN: dict[Effort, int] = {"quick": 200, "standard": 500, "paper": 500}
_SPARSITY = (90, 70, 50, 30, 0)  # percent of the weights that are 0, low to high quality: the paper's, and 0


class PrunedMlp(PerceptronCodec):
    """A network of ``ni``, pruned; the rate is the share of weights that are 0.

    Parameters
    ----------
    retrain : int
        Iterations after pruning, 0 for none; -1 takes the effort's, which is the paper's 500 but for ``quick``.
    bits : int
        Bits of a quantised weight.
    steps : int
        Training steps before pruning; 0 takes the effort's.
    seconds : int
        Limit of the wall time of training, and again of retraining; 0: none. When the limit ends training, bytes depend
        on the machine and its load.

    Source: B. Isik, "Neural 3D Scene Compression via Model Compression", arXiv 2105.03120, 2021.
    """

    name = "pruned-mlp"
    decode_budget = implicit_budget(_LARGEST, _LARGEST)
    container = Container(b"PMP", 1, name, decode_budget)

    def __init__(self, *, retrain: int = -1, bits: int = 9, steps: int = 0, seconds: int = 0) -> None:
        super().__init__(coding="sparse", bits=bits, steps=steps, seconds=seconds)
        if retrain < -1:
            raise UsageError("pruned-mlp: retrain is a number of iterations, or -1")
        self._retrain = retrain

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Percent of the weights that are 0."""
        # With 90 % pruned, a network of this size and so short a training may have no surface.
        chosen, mark = ((70, 0), "q") if effort == "quick" else (_SPARSITY, "")
        layers, width = _NETWORK[effort]
        network = {"layers": layers, "width": width, "effort": effort}
        return [Rate(f"w{width}s{s:02d}{mark}", {**network, "sparsity": s}) for s in chosen]

    def mixture(self) -> Mixture:
        """The mixture of ``ni``."""
        from gcbench.geometry.signed_distance import DAVIES

        return DAVIES

    def finish(self, networks: Perceptrons, rate: Rate, schedule: Schedule, train: Train) -> None:
        """Prune the hidden layers' weights but no biases, then retrain; pruned weights stay 0."""
        import torch

        sparsity = int(rate.params["sparsity"]) / 100
        if not sparsity:
            return
        with torch.no_grad():
            pruned = networks.weights[:-1]
            magnitudes = torch.cat([w.abs().flatten(1) for w in pruned], dim=1)
            rank = max(1, round(sparsity * magnitudes.shape[1]))
            threshold = magnitudes.kthvalue(rank, dim=1).values[:, None, None]
            masks = [(w.abs() > threshold).to(w.dtype) for w in pruned]

        def prune() -> None:
            with torch.no_grad():
                for weight, mask in zip(pruned, masks, strict=True):
                    weight.mul_(mask)

        prune()
        steps = _RETRAIN[as_effort(str(rate.params["effort"]))] if self._retrain < 0 else self._retrain
        if steps:
            # The learning rate that training had after three fifths of its steps.
            again = replace(schedule, steps=steps, learning_rate=schedule.learning_rate / 3, quantised_from=0.0)
            train(again, prune)
