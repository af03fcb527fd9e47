"""What an entropy coder of integer tensors is: models that describe themselves, sinks of symbols and sources of them.

Two coders implement it: :mod:`gcbench.entropy.range_coder` and :mod:`gcbench.entropy.huffman`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Symbols: TypeAlias = NDArray[np.integer]

Shape3 = tuple[int, int, int]
Sink = TypeVar("Sink")
Source = TypeVar("Source")


class Model(ABC, Generic[Sink, Source]):
    """How likely each symbol is at each place of a tensor of shape (rows, columns, taps)."""

    @abstractmethod
    def write(self, sink: Sink) -> None:
        """Write the model itself, as :meth:`Coder.read` reads it."""

    @abstractmethod
    def encode(self, symbols: Symbols, sink: Sink) -> None:
        """Write a tensor of the model's shape."""

    @abstractmethod
    def decode(self, source: Source) -> NDArray[np.int16]:
        """Read a tensor of the model's shape."""

    @abstractmethod
    def cost_bits(self, symbols: Symbols) -> float:
        """Bits that tensors of the model's shape take, (..., rows, columns, taps), without the model itself."""


class Coder(ABC, Generic[Sink, Source]):
    """One way to turn integer tensors into bytes."""

    @abstractmethod
    def fit(self, symbols: Symbols, levels: int, *, open_set: bool = False) -> Model[Sink, Source]:
        """The model that takes the fewest bits, itself included.

        Parameters
        ----------
        symbols : ndarray of int
            (n, rows, columns, taps): n tensors that are to share the model, each symbol in [0, levels).
        levels : int
            Size of the alphabet.
        open_set : bool
            Tensors that are not here will be coded as well: every symbol must have a code.
        """

    @abstractmethod
    def read(self, source: Source, shape: Shape3, levels: int, *, open_set: bool = False) -> Model[Sink, Source]:
        """Read a model that was written.

        Raises
        ------
        BitstreamError
            What is there is no model, or none for an open set.
        """

    @abstractmethod
    def sink(self) -> Sink:
        """An empty sink."""

    @abstractmethod
    def source(self, data: bytes) -> Source:
        """A source at the start of what a sink gave."""

    @abstractmethod
    def finish(self, sink: Sink) -> bytes:
        """What the sink took, as bytes."""

    @abstractmethod
    def length_bits(self, sink: Sink) -> float:
        """Information that the sink took: the bits of :meth:`finish` without those that fill its last word or byte."""

    @abstractmethod
    def check_exhausted(self, source: Source) -> None:
        """Raise BitstreamError if the source has more than was read, or has less."""

    def model_bits(self, model: Model[Sink, Source]) -> float:
        """Bits that the model itself takes."""
        sink = self.sink()
        model.write(sink)
        return self.length_bits(sink)


def zero_order_entropy_bits(counts: NDArray[np.int64]) -> float:
    """Bits of symbols that occur so often, at the empirical entropy of that histogram: n · Σ -p log2 p.

    A bound for coders that know nothing but how often each symbol occurs, without what telling them that costs.
    """
    present = counts[counts > 0]
    return float((present * np.log2(present.sum() / present)).sum())
