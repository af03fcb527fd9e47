"""NI, weight-encoded neural implicits: one small perceptron for each mesh, whose weights are the stream.

The paper has 8 hidden layers of 32 with rectifiers and a tanh at the end, trained on 10⁶ points drawn with weights
exp(−β |d|), and counts float32 weights. Here the output is linear and distances are clamped (a tanh saturates only
far from the surface, where nothing is meshed); weights are quantised during training and range coded.
``ni[coding=float32]`` counts as the paper does. Rates differ in width and depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gcbench.codecs.base import Effort, Rate
from gcbench.codecs.implicit.efforts import implicit_budget, perceptron_size
from gcbench.codecs.implicit.perceptron_codec import PerceptronCodec, ladder
from gcbench.entropy.container import Container

if TYPE_CHECKING:
    from gcbench.geometry.signed_distance import Mixture

# (hidden layers, width), low to high quality; each rate takes about twice the bytes of the rate before.
_LADDER = ((4, 16), (4, 24), (4, 32), (8, 32), (4, 64), (8, 64), (8, 96))
_LARGEST = max(perceptron_size(3, *network) for network in _LADDER)
_OF_EFFORT: dict[Effort, Sequence[tuple[int, int]]] = {
    "quick": ((4, 16), (4, 48)),
    "standard": ((4, 16), (4, 32), (8, 32), (4, 64), (8, 64)),
    "paper": _LADDER,
}


class Ni(PerceptronCodec):
    """Weight-encoded neural implicits: a perceptron (x, y, z) → signed distance for each mesh; its size is the rate.

    Source: T. Davies, D. Nowrouzezahrai, A. Jacobson, "On the Effectiveness of Weight-Encoded Neural Implicit 3D
    Shapes", arXiv 2009.09808, 2020.
    """

    name = "ni"
    decode_budget = implicit_budget(_LARGEST, _LARGEST)
    container = Container(b"NIW", 1, name, decode_budget)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Hidden layers and width."""
        return ladder(_OF_EFFORT[effort], effort)

    def mixture(self) -> Mixture:
        """The mixture of the paper."""
        from gcbench.geometry.signed_distance import DAVIES

        return DAVIES
