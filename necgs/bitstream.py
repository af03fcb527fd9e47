"""The stream of a set: everything that a process needs to decode the set, as bytes.

This module works on integer symbols, before they become values. ``docs/necgs-bitstream.md`` describes the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.entropy import blocks
from gcbench.entropy.budget import check_budget
from gcbench.entropy.coder import Coder, Model, Shape3, zero_order_entropy_bits
from gcbench.entropy.container import Container, Writer
from gcbench.entropy.huffman import HuffmanCoder
from gcbench.entropy.range_coder import RangeCoder
from gcbench.errors import BitstreamError
from gcbench.necgs import designs
from gcbench.necgs.budget import BUDGET, budget_of, most_symbols
from gcbench.necgs.designs.base import Array, Design, FeatureCoding, Parameters, Present
from gcbench.necgs.settings import Coder as CoderName

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CONTAINER = Container(b"NCG", 1, "necgs", BUDGET, of_blocks=True)
MAX_SCALE = 1e6  # no training gives more, and networks stay finite
_FIT_SYMBOLS = 2**22
_KEPT_SYMBOLS = 2**22  # of decoded meshes that a reader keeps, where meshes refer to each other

_BACKENDS: dict[CoderName, Coder[Any, Any]] = {"range": RangeCoder(), "huffman": HuffmanCoder()}
_CODERS = tuple(_BACKENDS)


@dataclass(frozen=True, eq=False)
class Contents:
    """What a stream holds.

    Parameters
    ----------
    design : Design
    parameters : Parameters
        The decoder's, exactly ``design.tensors()``.
    features : ndarray of int16
        (n, *design.features().shape), n ≥ 1.
    placements : (n, 4) float32 or None
        Centre x, y, z and scale that take a mesh from the cube [-1, 1]³ to where its input was: x · scale + centre.
        None where the inputs filled the cube already.
    """

    design: Design[Any]
    parameters: Parameters
    features: Array
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
        Arrays that are not the design's, symbols out of range, no mesh, numbers that are not finite.
    """
    design, parameters, features = contents.design, contents.parameters, contents.features
    tensors = design.tensors()
    if list(parameters.tensors) != list(tensors):
        raise ValueError(f"parameters {list(parameters.tensors)} where the design has {list(tensors)}")
    for name, kind in tensors.items():
        kind.check(name, parameters.tensors[name])
    scales = parameters.scales
    if scales.shape != (design.scale_count,) or not (np.abs(scales) <= MAX_SCALE).all():
        raise ValueError(f"scales {scales} where {design.scale_count} numbers up to {MAX_SCALE:g} belong")
    _check_features(design, features)

    backend = _BACKENDS[coder]
    sink = backend.sink()
    coding = design.feature_coding().fit(backend, design.features(), features)
    coding.write(sink)
    for name, kind in tensors.items():
        symbols = parameters.tensors[name].reshape(1, *_three_axes(kind.shape))
        model = backend.fit(symbols, kind.levels)
        model.write(sink)
        model.encode(symbols[0], sink)
    head = Writer().choice(coder, _CODERS)
    designs.write(design, head)
    head.floats(scales).raw(backend.finish(sink))
    bodies = _bodies(backend, coding, features, contents.placements, Present())
    return blocks.pack(CONTAINER, head.data(), bodies)


def append(stream: bytes, features: Array, placements: NDArray[np.float32] | None = None) -> bytes:
    """Add meshes to a stream; head and blocks of the old meshes stay as they are, byte for byte.

    Parameters
    ----------
    stream : bytes
    features : ndarray of int16
        (n, *design.features().shape), n ≥ 1, found against the stream's decoder.
    placements : (n, 4) float32 or None
        As of :class:`Contents`.

    Raises
    ------
    BitstreamError
        The stream is damaged.
    ValueError
        As of :func:`write`.
    """
    reader = Reader(stream)
    old = reader.mesh_count
    _check_features(reader.design, features)
    present = Present(old, reader.features, reader.needs)
    return reader.blocks.with_added(
        _bodies(_BACKENDS[reader.coder], reader.feature_coding, features, placements, present)
    )


class Reader:
    """A stream, its head and the sizes in it checked; everything else is decoded when it is asked for.

    A stream declares little more than its bytes justify, see :mod:`gcbench.necgs.budget`.

    Parameters
    ----------
    stream : bytes

    Attributes
    ----------
    design : Design
    coder : {"range", "huffman"}
    mesh_count : int
    blocks : Blocks
    work : Work
        What decoding the stream may take; :meth:`spend` adds to it.

    Raises
    ------
    BitstreamError
        The stream is short, long, corrupt, foreign, or of another version.
    """

    def __init__(self, stream: bytes) -> None:
        self._length = len(stream)
        self.blocks = blocks.Blocks(CONTAINER, stream, budget_of(len(stream)))
        self.work = self.blocks.work
        self.mesh_count = len(self.blocks)
        head = self.blocks.head()
        self.coder: CoderName = head.choice("entropy coder", _CODERS)
        self.design = designs.read(head)
        _check_symbols(self.design, self.mesh_count, len(stream))
        self._scales = head.floats("scales", self.design.scale_count)
        if (np.abs(self._scales) > MAX_SCALE).any():
            raise BitstreamError(f"a scale of the parameters is {np.abs(self._scales).max():g}")
        self._run = head.rest()
        self._kept: dict[int, tuple[Array, frozenset[int]]] = {}

    def spend(self, meshes: int) -> None:
        """Add the work of decoding so many meshes, one after the other; call this before the work.

        Raises
        ------
        BitstreamError
            Decoding would take more memory or time than a stream of this length may.
        """
        cost = self.design.cost()
        self.work.spend(memory=cost.memory, voxels=meshes * cost.voxels, multiply_adds=meshes * cost.multiply_adds)

    def parameters(self) -> Parameters:
        """The decoder's.

        Raises
        ------
        BitstreamError
            They are corrupt in a way that the checksum does not tell.
        """
        return Parameters({name: symbols for name, symbols, _ in self._tensors()}, self._scales)

    def features(self, i: int) -> Array:
        """Symbols of mesh *i*'s features; no other mesh is touched, but for those that it refers to.

        Raises
        ------
        IndexError
            There is no mesh *i*.
        BitstreamError
            Its block is corrupt.
        """
        return self._decoded(i)[0].copy()

    def needs(self, i: int) -> frozenset[int]:
        """The other meshes whose features are decoded for those of mesh *i*.

        Raises
        ------
        IndexError
            There is no mesh *i*.
        BitstreamError
            A block is corrupt.
        """
        return self._decoded(i)[1]

    def placement(self, i: int) -> NDArray[np.float32] | None:
        """Centre and scale of mesh *i*, (4,), or None where it fills the cube [-1, 1]³ in its own coordinates.

        Raises
        ------
        IndexError
            There is no mesh *i*.
        BitstreamError
            Its block is corrupt.
        """
        return self._body(i)[0]

    def layout(self) -> tuple[int, tuple[int, ...]]:
        """Bytes that serve all meshes, and the bytes of each mesh; they sum to the length of the stream."""
        return self.blocks.layout()

    @cached_property
    def feature_coding(self) -> FeatureCoding:
        """What the features of all meshes share."""
        return self._open()[1]

    def report(self) -> list[Share]:
        """What each parameter, the features, and the framing take, beside entropy and the other coder.

        Raises
        ------
        BitstreamError
            Something in the stream is corrupt.
        """
        shares = [self._share_of_tensor(name, symbols, model) for name, symbols, model in self._tensors()]
        shares.append(self._share_of_features())
        rest = self._length - sum(share.coded_bytes for share in shares)
        return [*shares, Share("framing", 0, rest, 0.0, rest)]

    @property
    def _other(self) -> Coder[Any, Any]:
        return _BACKENDS["huffman" if self.coder == "range" else "range"]

    def _share_of_tensor(self, name: str, symbols: Array, model: Model[Any, Any]) -> Share:
        levels = self.design.tensors()[name].levels
        shaped = symbols.reshape(_three_axes(symbols.shape))
        other = self._other.fit(shaped[None], levels)
        coded_bits = _BACKENDS[self.coder].model_bits(model) + model.cost_bits(shaped)
        other_bits = self._other.model_bits(other) + other.cost_bits(shaped)
        entropy_bits = zero_order_entropy_bits(np.bincount(symbols.reshape(-1), minlength=levels))
        return Share(name, symbols.size, coded_bits / 8, entropy_bits / 8, other_bits / 8)

    def _share_of_features(self) -> Share:
        kind = self.design.features()
        meshes = np.stack([self.features(i) for i in range(self.mesh_count)])
        sample = meshes[: max(1, _FIT_SYMBOLS // kind.size)]  # fitting takes forty times the memory of the symbols
        other = self.design.feature_coding().fit(self._other, kind, sample)
        coded_bits = _bits(_BACKENDS[self.coder], self.feature_coding, meshes)
        entropy_bits = zero_order_entropy_bits(np.bincount(meshes.reshape(-1), minlength=kind.levels))
        other_bits = _bits(self._other, other, meshes)
        return Share("features", meshes.size, coded_bits / 8, entropy_bits / 8, other_bits / 8)

    def _open(self) -> tuple[Any, FeatureCoding]:
        """The shared run of the entropy coder, read up to behind what the features share."""
        backend = _BACKENDS[self.coder]
        source = backend.source(self._run)
        return source, self.design.feature_coding().read(backend, self.design.features(), source)

    def _tensors(self) -> Iterator[tuple[str, Array, Model[Any, Any]]]:
        backend = _BACKENDS[self.coder]
        source, _ = self._open()
        for name, kind in self.design.tensors().items():
            model = backend.read(source, _three_axes(kind.shape), kind.levels)
            yield name, model.decode(source).reshape(kind.shape), model
        backend.check_exhausted(source)

    def _decoded(self, i: int, waiting: frozenset[int] = frozenset()) -> tuple[Array, frozenset[int]]:
        """Features of a mesh, and the other meshes that they need; some meshes wait for it."""
        if i in self._kept:
            return self._kept[i]
        coding = self.feature_coding
        waiting |= {i}
        needs: set[int] = set()

        def known(j: int) -> Array:
            if j not in waiting and len(waiting) <= coding.most_references and 0 <= j < self.mesh_count:
                symbols, further = self._decoded(j, waiting)
                needs.update({j}, further)
                if len(needs) <= coding.most_references:
                    return symbols
            raise BitstreamError(f"mesh {i} refers to mesh {j}, which is too far or is not there")

        backend = _BACKENDS[self.coder]
        source = backend.source(self._body(i)[1])
        symbols = coding.decode(i, source, known)
        backend.check_exhausted(source)
        found = symbols, frozenset(needs)
        if coding.most_references:
            if len(self._kept) * symbols.size >= _KEPT_SYMBOLS:
                self._kept.clear()
            self._kept[i] = found
        return found

    def _body(self, i: int) -> tuple[NDArray[np.float32] | None, bytes]:
        """Placement, and the run of the entropy coder."""
        fields = self.blocks.body(i)
        placed = fields.byte(f"flag of mesh {i}", 0, 1)
        placement = fields.floats(f"placement of mesh {i}", 4) if placed else None
        if placement is not None and placement[3] <= 0:
            raise BitstreamError(f"mesh {i} is placed at {placement.tolist()}")
        return placement, fields.rest()


def _bodies(
    backend: Coder[Any, Any],
    coding: FeatureCoding,
    features: Array,
    placements: ArrayLike | None,
    present: Present,
) -> Iterable[bytes]:
    """The block of each mesh."""
    table = None if placements is None else np.asarray(placements, np.float32)
    if table is not None and not (
        table.shape == (len(features), 4) and np.isfinite(table).all() and (table[:, 3] > 0).all()
    ):
        raise ValueError("a placement is a finite centre x, y, z and a positive scale, one for each mesh")
    for i, sink in enumerate(coding.encode_all(features, backend.sink, present)):
        body = Writer().byte(table is not None)
        if table is not None:
            body.floats(table[i])
        yield body.raw(backend.finish(sink)).data()


def _bits(backend: Coder[Any, Any], coding: FeatureCoding, meshes: Array) -> float:
    """Information of the features of meshes, and of what they share."""
    sink = backend.sink()
    coding.write(sink)
    bits = backend.length_bits(sink)
    return bits + sum(backend.length_bits(sink) for sink in coding.encode_all(meshes, backend.sink, Present()))


def _three_axes(shape: tuple[int, ...]) -> Shape3:
    """(Output channels, input channels, taps) of a parameter."""
    return shape[0], shape[1] if len(shape) > 1 else 1, prod(shape[2:])


def _check_features(design: Design[Any], features: Array) -> None:
    kind = design.features()
    if not len(features):
        raise ValueError("there is no mesh")
    if features.shape[1:] != kind.shape or features.dtype != np.int16:
        raise ValueError(f"features: {features.dtype} {features.shape} where int16 (n, *{kind.shape}) belongs")
    if features.min() < 0 or features.max() >= kind.levels:
        raise ValueError(f"features: symbols outside [0, {kind.levels - 1}]")


def _check_symbols(design: Design[Any], mesh_count: int, stream_bytes: int) -> None:
    """Refuse more symbols than so many bytes justify: a likely symbol takes almost nothing of a stream."""
    most = most_symbols(stream_bytes)
    check_budget("parameters", sum(kind.size for kind in design.tensors().values()), most)
    check_budget("feature symbols", mesh_count * design.features().size, most)
