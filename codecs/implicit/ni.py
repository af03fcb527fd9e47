"""NI, weight-encoded neural implicits: one small perceptron for each mesh, and its weights are the stream.

The paper has 8 hidden layers of 32 with rectifiers and a tanh at the end, trained on 10⁶ points drawn with weights
exp(−β |d|), and counts float32 weights. Here the output is linear and distances are clamped instead (a tanh saturates
only where nothing is meshed), weights are quantised in the training loop and range coded; ``ni[coding=float32]`` counts
as the paper does. Width and depth are the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gcbench.codecs.base import Effort, Rate
from gcbench.codecs.implicit.perceptron_codec import PerceptronCodec, ladder
from gcbench.entropy.container import Container

if TYPE_CHECKING:
    from gcbench.geometry.signed_distance import Mixture

# (hidden layers, width), low to high quality; each about twice the bytes of the one before.
_LADDER = ((4, 16), (4, 24), (4, 32), (8, 32), (4, 64), (8, 64), (8, 96))
_OF_EFFORT: dict[Effort, Sequence[tuple[int, int]]] = {
    "quick": ((4, 16), (4, 32), (8, 32)),
    "standard": ((4, 16), (4, 32), (8, 32), (4, 64), (8, 64)),
    "paper": _LADDER,
}


class Ni(PerceptronCodec):
    """Weight-encoded neural implicits: a perceptron (x, y, z) → signed distance for each mesh; width is rate.

    Source: T. Davies, D. Nowrouzezahrai, A. Jacobson, "On the Effectiveness of Weight-Encoded Neural Implicit 3D
    Shapes", arXiv 2009.09808, 2020.
    """

    name = "ni"
    container = Container(b"NIW", 1, name)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Hidden layers and width."""
        return ladder(_OF_EFFORT[effort], effort)

    def mixture(self) -> Mixture:
        """That of the paper."""
        from gcbench.geometry.signed_distance import DAVIES

        return DAVIES
