"""The interface of entropy coders for integer tensors: a coder fits models, and writes them and symbols to a sink.

Two coders implement this interface: :mod:`gcbench.entropy.range_coder` and :mod:`gcbench.entropy.huffman`.
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
    """Probabilities of the symbols at each place of a tensor of shape (rows, columns, taps)."""

    @abstractmethod
    def write(self, sink: Sink) -> None:
        """Write the model itself, in the format of :meth:`Coder.read`."""

    @abstractmethod
    def encode(self, symbols: Symbols, sink: Sink) -> None:
        """Write a tensor of the model's shape."""

    @abstractmethod
    def decode(self, source: Source) -> NDArray[np.int16]:
        """Read a tensor of the model's shape."""

    @abstractmethod
    def cost_bits(self, symbols: Symbols) -> float:
        """Bits of the codes of tensors of the model's shape, (..., rows, columns, taps), without the model itself."""


class Coder(ABC, Generic[Sink, Source]):
    """A coder of integer tensors."""

    @abstractmethod
    def fit(self, symbols: Symbols, levels: int, *, open_set: bool = False) -> Model[Sink, Source]:
        """Find the model with the fewest bits for model and symbols together.

        Parameters
        ----------
        symbols : ndarray of int
            (n, rows, columns, taps): n tensors that share the model, each symbol in [0, levels).
        levels : int
            Size of the alphabet.
        open_set : bool
            The model will also code other tensors, so every symbol of the alphabet must have a code.
        """

    @abstractmethod
    def read(self, source: Source, shape: Shape3, levels: int, *, open_set: bool = False) -> Model[Sink, Source]:
        """Read a model that :meth:`Model.write` wrote.

        Raises
        ------
        BitstreamError
            The source has no valid model, or the model does not fit an open set.
        """

    @abstractmethod
    def sink(self) -> Sink:
        """An empty sink."""

    @abstractmethod
    def source(self, data: bytes) -> Source:
        """A source at the start of bytes from :meth:`finish`."""

    @abstractmethod
    def finish(self, sink: Sink) -> bytes:
        """The sink's content as bytes."""

    @abstractmethod
    def length_bits(self, sink: Sink) -> float:
        """Information in the sink: the bits of :meth:`finish` without the filling of the last word or byte."""

    @abstractmethod
    def check_exhausted(self, source: Source) -> None:
        """Raise BitstreamError if the source does not end where the reads ended."""

    def model_bits(self, model: Model[Sink, Source]) -> float:
        """Bits of the model itself."""
        sink = self.sink()
        model.write(sink)
        return self.length_bits(sink)


def zero_order_entropy_bits(counts: NDArray[np.int64]) -> float:
    """Bits of symbols with these counts at the empirical entropy of the histogram: n · Σ -p log2 p.

    This is a bound for coders that use the histogram alone, and does not include the cost of the histogram.
    """
    present = counts[counts > 0]
    return float((present * np.log2(present.sum() / present)).sum())
