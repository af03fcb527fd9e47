"""The stream of NeCGS: everything that a process needs to decode a set, as bytes, and nothing that it must believe.

Knows symbols, not values: no tensors of torch, no meshes. The format is described in ``docs/necgs-bitstream.md``.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from math import log2, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.entropy.coder import Coder, Model, Shape3, zero_order_entropy_bits
from gcbench.entropy.huffman import HuffmanCoder
from gcbench.entropy.range_coder import RangeCoder
from gcbench.errors import BitstreamError
from gcbench.necgs.settings import Architecture
from gcbench.necgs.settings import Coder as CoderName

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import ArrayLike, NDArray

MAGIC = b"NCGS"
VERSION = 1
MAX_PARAMETERS = 2**23  # four times the largest decoder of the paper
MAX_FEATURE_SYMBOLS = 2**26  # of all meshes together; the paper's largest set has 2^20
_FIT_SYMBOLS = 2**22

_CODERS: dict[CoderName, Coder[Any, Any]] = {"range": RangeCoder(), "huffman": HuffmanCoder()}
_HUFFMAN, _DEFORMATION = 1, 2  # flags
_FIXED = struct.Struct("<4sBBBBB")  # magic, version, flags, log2 K and log2 K', N, C - 1
_CRC = struct.Struct("<I")
_PLACEMENT = struct.Struct("<4f")
_SMALLEST_BLOCK = 1 + _CRC.size


@dataclass(frozen=True, eq=False)
class Contents:
    """What a stream holds.

    Parameters
    ----------
    architecture : Architecture
    parameters : mapping of str to ndarray of int16
        The decoder's, exactly ``architecture.parameter_shapes()``; symbols in [0, 2^N].
    features : ndarray of int16
        (n, C, K', K', K'), n ≥ 1; symbols in [0, 2^N].
    placements : (n, 4) float32 or None
        Centre x, y, z and scale that take a mesh from the cube [-1, 1]³ to where its input was: x · scale + centre.
        None where the inputs filled the cube already.
    """

    architecture: Architecture
    parameters: Mapping[str, NDArray[np.int16]]
    features: NDArray[np.int16]
    placements: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Share:
    """What one tensor, or the features of all meshes, take of a stream.

    Parameters
    ----------
    name : str
        The parameter's name in torch; ``features``; or ``framing``: header, sizes, checksums, placements, padding.
    symbols : int
        How many there are.
    coded_bytes : float
        What they take, their entropy model included; the shares of a stream sum to its length.
    entropy_bytes : float
        Empirical zero-order entropy, without the histogram that a decoder would have to know.
    other_bytes : float
        What they would take under the other coder, its model included.
    """

    name: str
    symbols: int
    coded_bytes: float
    entropy_bytes: float
    other_bytes: float

    @property
    def gap(self) -> float:
        """Coded size over entropy, minus 1; below 0 where the model knows more than the histogram does."""
        return self.coded_bytes / self.entropy_bytes - 1.0 if self.entropy_bytes else float("nan")


def write(contents: Contents, coder: CoderName = "range") -> bytes:
    """Code a set.

    Parameters
    ----------
    contents : Contents
    coder : {"range", "huffman"}

    Returns
    -------
    stream : bytes

    Raises
    ------
    ValueError
        Shapes that are not the architecture's, symbols out of range, no mesh, placements that are not finite.
    """
    architecture = contents.architecture
    _check_size(architecture, len(contents.features), ValueError)
    shapes = architecture.parameter_shapes()
    if list(contents.parameters) != list(shapes):
        raise ValueError(f"parameters {list(contents.parameters)} where the architecture has {list(shapes)}")
    for name, shape in shapes.items():
        _check_symbols(contents.parameters[name], shape, architecture, name)

    backend = _CODERS[coder]
    sink = backend.sink()
    features = _features(contents.features, architecture)
    feature_model = backend.fit(features, architecture.levels, open_set=True)
    feature_model.write(sink)
    for name, shape in shapes.items():
        symbols = contents.parameters[name].reshape(1, *_three_axes(shape))
        model = backend.fit(symbols, architecture.levels)
        model.write(sink)
        model.encode(symbols[0], sink)
    decoder = backend.finish(sink)

    header = _Header(architecture, coder, len(features), len(decoder))
    checksum = zlib.crc32(decoder)
    blocks = _blocks(backend, feature_model, features, contents.placements, first=0, decoder_checksum=checksum)
    return b"".join([header.pack(), decoder, _CRC.pack(checksum), *blocks])


def append(stream: bytes, features: NDArray[np.int16], placements: NDArray[np.float32] | None = None) -> bytes:
    """Add meshes to a stream; the decoder and the blocks of the old meshes stay as they are, byte for byte.

    Parameters
    ----------
    stream : bytes
    features : ndarray of int16
        (n, C, K', K', K'), n ≥ 1, found against the stream's decoder.
    placements : (n, 4) float32 or None
        As of :class:`Contents`.

    Raises
    ------
    BitstreamError
        The stream is none.
    ValueError
        As of :func:`write`.
    """
    reader = Reader(stream)
    old = reader.mesh_count
    if len(features) == 0:
        raise ValueError("there is no mesh to add")
    _check_size(reader.architecture, old + len(features), ValueError)
    flat = _features(features, reader.architecture)
    blocks = _blocks(
        _CODERS[reader.coder],
        reader.feature_model(),
        flat,
        placements,
        first=old,
        decoder_checksum=reader.decoder_checksum,
    )
    header = replace(reader.header, mesh_count=old + len(flat))
    return b"".join([header.pack(), stream[reader.header_bytes :], *blocks])


class Reader:
    """A stream, its header and the sizes in it checked; everything else is decoded when it is asked for.

    Parameters
    ----------
    stream : bytes

    Attributes
    ----------
    architecture : Architecture
    coder : {"range", "huffman"}
    mesh_count : int
    decoder_checksum : int
        CRC-32 of the decoder: the same for every stream that :func:`append` makes of one.

    Raises
    ------
    BitstreamError
        The stream is short, long, corrupt, foreign, or of a later version.
    """

    def __init__(self, stream: bytes) -> None:
        self._stream = stream
        self.header, self.header_bytes = _Header.parse(stream)
        self.architecture = self.header.architecture
        self.coder = self.header.coder
        self.mesh_count = self.header.mesh_count
        decoder_end = self.header_bytes + self.header.decoder_bytes
        if decoder_end + _CRC.size + self.mesh_count * _SMALLEST_BLOCK > len(stream):
            raise BitstreamError(f"the stream is cut short: {len(stream)} bytes cannot hold what the header says")
        self._decoder = stream[self.header_bytes : decoder_end]
        (self.decoder_checksum,) = _CRC.unpack_from(stream, decoder_end)
        if zlib.crc32(self._decoder) != self.decoder_checksum:
            raise BitstreamError("the decoder's checksum is wrong")
        self._blocks: list[_Block] = []
        start = decoder_end + _CRC.size
        for i in range(self.mesh_count):
            self._blocks.append(_Block.parse(stream, start, i))
            start = self._blocks[-1].stop
        if start != len(stream):
            raise BitstreamError(f"{len(stream) - start} bytes follow the last mesh")

    def parameters(self) -> dict[str, NDArray[np.int16]]:
        """Symbols of the decoder's parameters, by name.

        Raises
        ------
        BitstreamError
            They are corrupt in a way that the checksum does not tell.
        """
        return {name: symbols for name, symbols, _ in self._tensors()}

    def features(self, i: int) -> NDArray[np.int16]:
        """Symbols of mesh *i*'s embedded feature, (C, K', K', K'); no other mesh is touched.

        Raises
        ------
        IndexError
            There is no mesh *i*.
        BitstreamError
            Its block is corrupt.
        """
        return self._features(i, self.feature_model())

    def placement(self, i: int) -> NDArray[np.float32] | None:
        """Centre and scale of mesh *i*, (4,), or None where it fills the cube [-1, 1]³ in its own coordinates.

        Raises
        ------
        IndexError
            There is no mesh *i*.
        BitstreamError
            Its block is corrupt.
        """
        block = self._checked(i)
        if not block.placed:
            return None
        placement = np.array(_PLACEMENT.unpack_from(self._stream, block.body), np.float32)
        if not np.isfinite(placement).all() or placement[3] <= 0:
            raise BitstreamError(f"mesh {i} is placed at {placement.tolist()}")
        return placement

    def layout(self) -> tuple[int, tuple[int, ...]]:
        """Bytes that serve all meshes, and the bytes of each mesh; they sum to the length of the stream."""
        sizes = tuple(block.stop - block.start for block in self._blocks)
        return len(self._stream) - sum(sizes), sizes

    def feature_model(self) -> Model[Any, Any]:
        """The entropy model that the features of all meshes share."""
        return self._open()[1]

    def report(self) -> list[Share]:
        """What each parameter, the features, and the framing take, beside entropy and the other coder.

        Raises
        ------
        BitstreamError
            Something in the stream is corrupt.
        """
        shares = [
            self._share(name, [symbols.reshape(_three_axes(symbols.shape))], model)
            for name, symbols, model in self._tensors()
        ]
        model, shape = self.feature_model(), _feature_axes(self.architecture)
        meshes = [self._features(i, model).reshape(shape) for i in range(self.mesh_count)]
        shares.append(self._share("features", meshes, model))
        rest = len(self._stream) - sum(share.coded_bytes for share in shares)
        return [*shares, Share("framing", 0, rest, 0.0, rest)]

    def _share(self, name: str, tensors: list[NDArray[np.int16]], model: Model[Any, Any]) -> Share:
        levels = self.architecture.levels
        other = _CODERS["huffman" if self.coder == "range" else "range"]
        sample = max(1, _FIT_SYMBOLS // tensors[0].size)  # fitting takes forty times the memory of the symbols
        other_model = other.fit(np.stack(tensors[:sample]), levels, open_set=name == "features")
        coded_bits = _CODERS[self.coder].model_bits(model) + sum(map(model.cost_bits, tensors))
        other_bits = other.model_bits(other_model) + sum(map(other_model.cost_bits, tensors))
        counts = sum(np.bincount(symbols.reshape(-1), minlength=levels) for symbols in tensors)
        entropy_bits = zero_order_entropy_bits(np.asarray(counts))
        size = sum(symbols.size for symbols in tensors)
        return Share(name, size, coded_bits / 8, entropy_bits / 8, other_bits / 8)

    def _open(self) -> tuple[Any, Model[Any, Any]]:
        """The decoder's bytes, read up to behind the model of the features."""
        backend = _CODERS[self.coder]
        source = backend.source(self._decoder)
        axes, levels = _feature_axes(self.architecture), self.architecture.levels
        return source, backend.read(source, axes, levels, open_set=True)

    def _tensors(self) -> Iterator[tuple[str, NDArray[np.int16], Model[Any, Any]]]:
        backend = _CODERS[self.coder]
        source, _ = self._open()
        for name, shape in self.architecture.parameter_shapes().items():
            model = backend.read(source, _three_axes(shape), self.architecture.levels)
            yield name, model.decode(source).reshape(shape), model
        backend.check_exhausted(source)

    def _features(self, i: int, model: Model[Any, Any]) -> NDArray[np.int16]:
        block = self._checked(i)
        backend = _CODERS[self.coder]
        source = backend.source(self._stream[block.payload : block.stop])
        symbols = model.decode(source).reshape(self.architecture.feature_shape)
        backend.check_exhausted(source)
        return symbols

    def _checked(self, i: int) -> _Block:
        if not 0 <= i < self.mesh_count:
            raise IndexError(f"mesh {i} of {self.mesh_count}")
        block = self._blocks[i]
        if _block_checksum(self._stream[block.body : block.stop], i, self.decoder_checksum) != block.checksum:
            raise BitstreamError(f"the checksum of mesh {i} is wrong")
        return block


# --- Format ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    architecture: Architecture
    coder: CoderName
    mesh_count: int
    decoder_bytes: int

    def pack(self) -> bytes:
        architecture = self.architecture
        sides = int(log2(architecture.resolution)) << 4 | int(log2(architecture.feature_resolution))
        flags = _HUFFMAN * (self.coder == "huffman") | _DEFORMATION * architecture.deformation
        packed = b"".join(
            [
                _FIXED.pack(MAGIC, VERSION, flags, sides, architecture.bits, architecture.feature_channels - 1),
                struct.pack(f"<{len(architecture.widths)}H", *architecture.widths),
                _varint(self.mesh_count),
                _varint(self.decoder_bytes),
            ]
        )
        return packed + _CRC.pack(zlib.crc32(packed))

    @staticmethod
    def parse(stream: bytes) -> tuple[_Header, int]:
        """Header, and how many bytes it takes."""
        if stream[: len(MAGIC)] != MAGIC:
            raise BitstreamError("this is no NeCGS stream")
        if len(stream) < _FIXED.size:
            raise BitstreamError("the stream is cut short in its header")
        _, version, flags, sides, bits, channels = _FIXED.unpack_from(stream)
        if version != VERSION:
            raise BitstreamError(f"the stream has version {version}; this program reads version {VERSION}")
        if flags & ~(_HUFFMAN | _DEFORMATION):
            raise BitstreamError(f"the stream has unknown flags {flags:#x}")
        doublings = max(0, (sides >> 4) - (sides & 15))
        at = _FIXED.size + 2 * doublings
        if len(stream) < at:
            raise BitstreamError("the stream is cut short in its header")
        widths = struct.unpack_from(f"<{doublings}H", stream, _FIXED.size)
        mesh_count, at = _parse_varint(stream, at)
        decoder_bytes, at = _parse_varint(stream, at)
        if len(stream) < at + _CRC.size:
            raise BitstreamError("the stream is cut short in its header")
        if _CRC.unpack_from(stream, at) != (zlib.crc32(stream[:at]),):
            raise BitstreamError("the header's checksum is wrong")
        try:
            architecture = Architecture(
                resolution=1 << (sides >> 4),
                widths=widths,
                feature_resolution=1 << (sides & 15),
                feature_channels=channels + 1,
                bits=bits,
                deformation=bool(flags & _DEFORMATION),
            )
        except ValueError as error:
            raise BitstreamError(f"the header describes no decoder: {error}") from error
        _check_size(architecture, mesh_count, BitstreamError)
        coder: CoderName = "huffman" if flags & _HUFFMAN else "range"
        return _Header(architecture, coder, mesh_count, decoder_bytes), at + _CRC.size


@dataclass(frozen=True)
class _Block:
    """Where the parts of a mesh's block lie: [start, ...; checksum; body: placement, payload; stop)."""

    start: int
    body: int
    payload: int
    stop: int
    checksum: int

    @property
    def placed(self) -> bool:
        return self.payload > self.body

    @staticmethod
    def parse(stream: bytes, start: int, i: int) -> _Block:
        size, at = _parse_varint(stream, start)
        body = at + _CRC.size
        payload = body + (size & 1) * _PLACEMENT.size
        stop = payload + (size >> 1)
        if stop > len(stream):
            raise BitstreamError(f"the stream is cut short in mesh {i}")
        (checksum,) = _CRC.unpack_from(stream, at)
        return _Block(start, body, payload, stop, checksum)


def _blocks(
    backend: Coder[Any, Any],
    model: Model[Any, Any],
    features: NDArray[np.int16],
    placements: ArrayLike | None,
    *,
    first: int,
    decoder_checksum: int,
) -> Iterator[bytes]:
    """The block of each mesh; ``first`` is the index of the first in the stream."""
    places: list[bytes] = [b""] * len(features)
    if placements is not None:
        table = np.asarray(placements, np.float32)
        if table.shape != (len(features), 4) or not np.isfinite(table).all() or not (table[:, 3] > 0).all():
            raise ValueError("a placement is a finite centre x, y, z and a positive scale, one for each mesh")
        places = [_PLACEMENT.pack(*row) for row in table.tolist()]
    for i, (symbols, place) in enumerate(zip(features, places, strict=True), start=first):
        sink = backend.sink()
        model.encode(symbols, sink)
        payload = backend.finish(sink)
        body = place + payload
        size = _varint(2 * len(payload) + bool(place))
        yield size + _CRC.pack(_block_checksum(body, i, decoder_checksum)) + body


def _block_checksum(body: bytes, i: int, decoder_checksum: int) -> int:
    """CRC-32 that also fails for a block that stands in another's place, or behind another decoder."""
    return zlib.crc32(body, zlib.crc32(_CRC.pack(i), decoder_checksum))


def _varint(value: int) -> bytes:
    """LEB128: seven bits a byte, least significant first."""
    packed = bytearray()
    while value > 127:
        packed.append(value & 127 | 128)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def _parse_varint(stream: bytes, at: int) -> tuple[int, int]:
    """Value, and where it ends."""
    value = 0
    for i in range(5):
        if at + i >= len(stream):
            raise BitstreamError("the stream is cut short in a size")
        byte = stream[at + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            if byte == 0 and i > 0:
                raise BitstreamError("a size is not written in the shortest way")
            return value, at + i + 1
    raise BitstreamError("a size is out of bounds")


# --- Shapes ----------------------------------------------------------------------------------------------------------


def _three_axes(shape: tuple[int, ...]) -> Shape3:
    """(Output channels, input channels, taps) of a parameter."""
    return shape[0], shape[1] if len(shape) > 1 else 1, prod(shape[2:])


def _feature_axes(architecture: Architecture) -> Shape3:
    """(Channels, 1, voxels) of a feature."""
    channels, *voxels = architecture.feature_shape
    return channels, 1, prod(voxels)


def _features(features: NDArray[np.int16], architecture: Architecture) -> NDArray[np.int16]:
    """Features as (n, channels, 1, voxels), checked."""
    _check_symbols(features, (len(features), *architecture.feature_shape), architecture, "features")
    return features.reshape(len(features), *_feature_axes(architecture))


def _check_symbols(symbols: NDArray[np.int16], shape: tuple[int, ...], architecture: Architecture, name: str) -> None:
    if symbols.shape != shape or symbols.dtype != np.int16:
        raise ValueError(f"{name}: {symbols.dtype} {symbols.shape} where int16 {shape} belongs")
    if symbols.min() < 0 or symbols.max() >= architecture.levels:
        raise ValueError(f"{name}: symbols outside [0, {architecture.levels - 1}]")


def _check_size(architecture: Architecture, mesh_count: int, error: type[ValueError | BitstreamError]) -> None:
    """Refuse what would take more memory than a decoder should have to offer."""
    if architecture.parameter_count() > MAX_PARAMETERS:
        raise error(f"{architecture.parameter_count()} parameters; at most {MAX_PARAMETERS} are possible")
    if mesh_count < 1:
        raise error("there is no mesh")
    if mesh_count * prod(architecture.feature_shape) > MAX_FEATURE_SYMBOLS:
        raise error(f"{mesh_count} meshes of {prod(architecture.feature_shape)} symbols are too many")
