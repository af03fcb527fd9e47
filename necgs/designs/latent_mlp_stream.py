"""The stream of a set coded by one network and a latent for each mesh: symbols and weights as bytes, and back.

    envelope · header · weights · entropy model of the latents · for each mesh: length (2), latent

Knows arrays of numbers and how large a network is; no tensors of torch, no meshes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gcbench.entropy import tensors as weights
from gcbench.entropy.container import Envelope, unpack
from gcbench.entropy.range_coder import RangeCoder
from gcbench.errors import BitstreamError
from gcbench.training.perceptrons import shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.entropy.coder import Model
    from gcbench.entropy.range_coder import RangeSink, RangeSource

ENVELOPE = Envelope(b"GCQD", 1)
LAYERS = 8  # fully connected ones, as published
SKIP = 4  # the layer that is shown the input again; DeepSDF's
CHANNELS = 4  # of a TSDF-Def value
SYMBOL_BITS = 8  # N of Eq. 5: latents and volumes have 2^N + 1 levels in [-1, 1]
RESOLUTIONS = (32, 64, 128, 256)
MIN_BITS, MAX_BITS = 4, 12
MAX_WIDTH, MAX_LATENT, MAX_OCTAVES, MAX_MESHES = 1024, 256, 8, 1 << 16
_LEVELS = (1 << SYMBOL_BITS) + 1
_HEADER = struct.Struct("<HHHBBIII")  # resolution, width, latent, octaves, bits, meshes, bytes of weights and of model
_MESHES_AT = 8  # in the header
_LENGTH = struct.Struct("<H")


@dataclass(frozen=True)
class Architecture:
    """The network, and the grid on which it is evaluated.

    Parameters
    ----------
    resolution : int
        K, grid vertices along each axis of a volume.
    width : int
        Of the hidden layers.
    latent : int
        C, numbers in the latent of a mesh.
    octaves : int
        Frequencies of the positional encoding beside the plain coordinates; 0 is none, as published.
    bits : int
        Of a weight.

    Raises
    ------
    ValueError
        A number out of range.
    """

    resolution: int
    width: int
    latent: int
    octaves: int = 0
    bits: int = 8

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            raise ValueError(f"a resolution of {self.resolution}; possible are {RESOLUTIONS}")
        for what, value, low, high in (
            ("width", self.width, 1, MAX_WIDTH),
            ("latent", self.latent, 1, MAX_LATENT),
            ("octaves", self.octaves, 0, MAX_OCTAVES),
            ("bits", self.bits, MIN_BITS, MAX_BITS),
        ):
            if not low <= value <= high:
                raise ValueError(f"{what}: {value} is not in [{low}, {high}]")

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the input, every hidden layer, and the output."""
        inputs = 3 * (1 + 2 * self.octaves) + self.latent
        return (inputs, *[self.width] * (LAYERS - 1), CHANNELS)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Shapes of weights and biases, layer by layer."""
        return shapes(self.widths, SKIP)


def write(architecture: Architecture, tensors: Sequence[NDArray[np.float32]], latents: NDArray[np.int16]) -> bytes:
    """Code a set.

    Parameters
    ----------
    architecture : Architecture
    tensors : sequence of (rows, columns) float32
        Weights and biases, of the shapes of the architecture.
    latents : (n, C) int16
        Symbols in [0, 256], n ≥ 1.

    Returns
    -------
    stream : bytes

    Raises
    ------
    ValueError
        Not of the architecture's shapes, a symbol out of range, no meshes or too many.
    """
    if [tensor.shape for tensor in tensors] != architecture.shapes:
        raise ValueError("the tensors are not those of the architecture")
    _check(latents, architecture, 0)
    coder = RangeCoder()
    model = coder.fit(latents.astype(np.int64).reshape(len(latents), *_axes(architecture)), _LEVELS, open_set=True)
    sink = coder.sink()
    model.write(sink)
    told = coder.finish(sink)
    coded = weights.encode(tensors, "range", architecture.bits)
    a = architecture
    numbers = (a.resolution, a.width, a.latent, a.octaves, a.bits)
    header = _HEADER.pack(*numbers, len(latents), len(coded), len(told))
    return ENVELOPE.seal(b"".join([header, coded, told, *_blocks(model, latents, architecture)]))


def append(stream: bytes, latents: NDArray[np.int16]) -> bytes:
    """Add meshes: what was in the stream stays, byte for byte, but for their number and the checksum.

    Parameters
    ----------
    stream : bytes
    latents : (n, C) int16
        Found against the stream's network, n ≥ 1.

    Raises
    ------
    BitstreamError
        The stream is none.
    ValueError
        As of :func:`write`.
    """
    reader = Reader(stream)
    _check(latents, reader.architecture, reader.mesh_count)
    body = bytearray(ENVELOPE.open(stream))
    struct.pack_into("<I", body, _MESHES_AT, reader.mesh_count + len(latents))
    return ENVELOPE.seal(bytes(body) + b"".join(_blocks(reader.model(), latents, reader.architecture)))


class Reader:
    """A stream, its header and the sizes in it checked; what it holds is decoded when it is asked for.

    Parameters
    ----------
    stream : bytes

    Attributes
    ----------
    architecture : Architecture
    mesh_count : int

    Raises
    ------
    BitstreamError
        The stream is short, long, corrupt, foreign, or of another version.
    """

    def __init__(self, stream: bytes) -> None:
        self._body = body = ENVELOPE.open(stream)
        self._length = len(stream)
        resolution, width, latent, octaves, bits, self.mesh_count, weight_bytes, model_bytes = unpack(_HEADER, body)
        try:
            self.architecture = Architecture(resolution, width, latent, octaves, bits)
        except ValueError as error:
            raise BitstreamError(f"the header describes no network: {error}") from error
        if not 1 <= self.mesh_count <= MAX_MESHES:
            raise BitstreamError(f"{self.mesh_count} meshes")
        self._model_at = _HEADER.size + weight_bytes
        start = self._model_at + model_bytes
        self._blocks: list[tuple[int, int]] = []
        for i in range(self.mesh_count):
            begin = start + _LENGTH.size
            if begin > len(body):
                raise BitstreamError(f"the stream ends before mesh {i}")
            start = begin + unpack(_LENGTH, body, start)[0]
            self._blocks.append((begin, start))
        if start != len(body):
            raise BitstreamError("the stream does not end with its last mesh")
        self._first = self._blocks[0][0] - _LENGTH.size

    def tensors(self) -> weights.Arrays:
        """Weights and biases, layer by layer, as the architecture has them.

        Raises
        ------
        BitstreamError
            They are corrupt in a way that the checksum does not tell.
        """
        coded = self._body[_HEADER.size : self._model_at]
        return weights.decode(coded, self.architecture.shapes, "range", self.architecture.bits)

    def latent(self, i: int) -> NDArray[np.int16]:
        """Symbols of the latent of mesh *i*, (C,); no other mesh is looked at.

        Raises
        ------
        IndexError
            There is no mesh *i*.
        BitstreamError
            As of :meth:`tensors`.
        """
        if not 0 <= i < self.mesh_count:
            raise IndexError(f"mesh {i} of {self.mesh_count}")
        begin, end = self._blocks[i]
        coder = RangeCoder()
        source = coder.source(self._body[begin:end])
        symbols = self.model().decode(source).reshape(-1)
        coder.check_exhausted(source)
        return symbols

    def model(self) -> Model[RangeSink, RangeSource]:
        """The entropy model that all latents share."""
        coder = RangeCoder()
        source = coder.source(self._body[self._model_at : self._first])
        model = coder.read(source, _axes(self.architecture), _LEVELS, open_set=True)
        coder.check_exhausted(source)
        return model

    def layout(self) -> tuple[int, tuple[int, ...]]:
        """Bytes that serve all meshes, and the bytes of each mesh; they sum to the length of the stream."""
        sizes = tuple(_LENGTH.size + end - begin for begin, end in self._blocks)
        return self._length - sum(sizes), sizes


def _axes(architecture: Architecture) -> tuple[int, int, int]:
    """Rows, columns and taps of a latent: a scale for each of its numbers."""
    return architecture.latent, 1, 1


def _blocks(
    model: Model[RangeSink, RangeSource], latents: NDArray[np.int16], architecture: Architecture
) -> Iterable[bytes]:
    coder = RangeCoder()
    for latent in latents:
        sink = coder.sink()
        model.encode(latent.reshape(_axes(architecture)), sink)
        coded = coder.finish(sink)
        yield _LENGTH.pack(len(coded)) + coded


def _check(latents: NDArray[np.int16], architecture: Architecture, present: int) -> None:
    if latents.ndim != 2 or latents.shape[1] != architecture.latent or latents.dtype != np.int16:
        raise ValueError(f"latents of {latents.dtype} {latents.shape}, not int16 (n, {architecture.latent})")
    if not 1 <= len(latents) <= MAX_MESHES - present:
        raise ValueError(f"{len(latents)} meshes more than {present}")
    if latents.min() < 0 or latents.max() >= _LEVELS:
        raise ValueError(f"latents outside [0, {_LEVELS - 1}]")
