"""Streams behind a right checksum that declare more than they may; each is built field by field.

A builder returns a stream that its decoder has to refuse, or to decode within its budget.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import zstandard
from common import STREAMS

from gcbench.codecs.draco import _HEADER, Draco, pack
from gcbench.codecs.implicit import nglod, octree
from gcbench.codecs.implicit.keyspheres import KeySpheres
from gcbench.codecs.implicit.ni import Ni
from gcbench.codecs.implicit.octree_field import OctreeField
from gcbench.codecs.implicit.perceptron_codec import CODINGS, RESOLUTIONS
from gcbench.codecs.implicit.pruned_mlp import PrunedMlp
from gcbench.codecs.implicit.spheres import MOST
from gcbench.codecs.raw_zstd import RawZstd
from gcbench.entropy.container import Container, Writer
from gcbench.entropy.range_coder import HistogramModel, RangeCoder, RangeSink
from gcbench.entropy.tensors import Coding, encode, levels
from gcbench.necgs import bitstream
from gcbench.necgs.designs.base import Parameters
from gcbench.necgs.designs.latent_mlp import LatentMlp
from gcbench.training.perceptrons import shapes

# Decoded, as they are within the budget, in more than a second.
SLOW = ("ni: noise", "quantdeepsdf: noise")
HOSTILE: dict[str, Callable[[], bytes]] = {}  # "codec: what" → builder


def hostile(name: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """List a builder under "codec: what"."""

    def add(builder: Callable[[], bytes]) -> Callable[[], bytes]:
        HOSTILE[name] = builder
        return builder

    return add


def golden(codec: str) -> list[bytes]:
    """The golden streams of a codec."""
    return [file.read_bytes() for file in sorted((STREAMS / codec).glob("*.bin"))]


def perceptron(
    container: Container,
    weights: bytes,
    *,
    coding: Coding = "range",
    layers: int = 4,
    width: int = 16,
    resolution: int = 256,
    condition: bytes = b"",
) -> bytes:
    """A stream of a codec with one perceptron, with fields as given."""
    writer = Writer().choice(coding, CODINGS).byte(9, layers).number(width)
    writer.choice(resolution, RESOLUTIONS).block(condition).raw(weights)
    return container.pack(writer.data())


def zero_weights(widths: tuple[int, ...], coding: Coding = "range") -> bytes:
    """Weights of a network that says 0 everywhere: the surface can pass through every cell."""
    if coding != "range":
        return encode([np.zeros(shape, np.float32) for shape in shapes(widths)], coding, 9)
    coder, sink = RangeCoder(), RangeSink()
    for rows, columns in shapes(widths):  # without RangeCoder.fit, which takes half a minute for 4 million weights
        model = HistogramModel((rows, columns, 1), levels(9), levels(9) // 2, np.ones(1, np.int64))
        model.write(sink)
        model.encode(np.full((rows, columns, 1), levels(9) // 2), sink)
    return Writer().floats([0.01] * len(shapes(widths))).raw(coder.finish(sink)).data()


@hostile("ni: 16 layers of 512")
def ni_wide() -> bytes:
    """4 million weights of 0, coded in next to nothing, on the finest grid: 10^14 multiply-adds."""
    return perceptron(Ni.container, zero_weights((3, *[512] * 16, 1)), layers=16, width=512)


def everywhere() -> bytes:
    """A network of an honest size that says 0 everywhere, so that no cell of the finest grid is passed over."""
    return perceptron(Ni.container, zero_weights((3, *[96] * 8, 1)), layers=8, width=96)


@hostile("ni: many weights on a coarse grid")
def ni_wide_and_coarse() -> bytes:
    """As above on a grid of 32 cells: the weights take the memory."""
    return perceptron(Ni.container, zero_weights((3, *[512] * 16, 1)), layers=16, width=512, resolution=32)


@hostile("pruned-mlp: width 512")
def pruned_wide() -> bytes:
    """Sparse weights of a network of 8 × 32 fit any width."""
    return perceptron(
        PrunedMlp.container, zero_weights((3, *[32] * 8, 1), "sparse"), coding="sparse", layers=8, width=512
    )


def gap_without_value() -> bytes:
    """Sparse weights of (3, 6, 1): the first tensor has one gap and no value."""
    coder, sink = RangeCoder(), RangeSink()
    gaps = np.full((1, 1, 1, 1), 255)
    model = coder.fit(gaps, 256)
    model.write(sink)
    model.encode(gaps[0], sink)
    return Writer().floats([0.01] * 4).number(1, 0, *[0] * 6).raw(coder.finish(sink)).data()


@hostile("ni: a gap without a value")
def ni_gap() -> bytes:
    """A run of zeros at the end of a tensor that no value follows: the encoder never writes it."""
    return perceptron(Ni.container, gap_without_value(), coding="sparse", layers=1, width=88)


@hostile("pruned-mlp: a gap without a value")
def pruned_gap() -> bytes:
    """The same."""
    return perceptron(PrunedMlp.container, gap_without_value(), coding="sparse", layers=1, width=100)


@hostile("keyspheres: 4096 spheres")
def many_spheres() -> bytes:
    """The distances to 4096 equal spheres, at every point of the finest grid."""
    condition = b"\0" + Writer().number(MOST).byte(0, 0).raw(b"\x60" + b"\0" * (MOST // 4)).data()
    return perceptron(KeySpheres.container, zero_weights((7, *[64] * 6, 1)), layers=6, width=64, condition=condition)


@hostile("keyspheres: 4096 inputs")
def many_inputs() -> bytes:
    """The same with an input for each sphere."""
    condition = b"\1" + Writer().number(MOST).byte(0, 0).raw(b"\x60" + b"\0" * (MOST // 4)).data()
    return perceptron(
        KeySpheres.container, zero_weights((MOST + 3, *[64] * 6, 1)), layers=6, width=64, condition=condition
    )


def noise_of_a_perceptron(seed: int = 0) -> bytes:
    """Large random weights: the surface passes through nearly all cells of the finest grid."""
    rng = np.random.default_rng(seed)
    tensors = [rng.normal(0, 30, shape).astype(np.float32) for shape in shapes((3, *[16] * 4, 1))]
    return perceptron(Ni.container, encode(tensors, "float32", 9), coding="float32")


@hostile("ni: noise")
def ni_noise() -> bytes:
    """A surface that passes through many cells of the finest grid."""
    return noise_of_a_perceptron()


def full_octree(side: int, depth: int) -> octree.Octree:
    """All voxels of a cube of a side."""
    return octree.Octree(np.indices((side,) * 3).reshape(3, -1).T, depth)


def octree_stream(tree: octree.Octree, channels: int, width: int, resolution: int = 256) -> bytes:
    """A stream of ``nglod`` with features of 0."""
    field = OctreeField(tree, channels, width)
    for parameter in field.parameters():
        parameter.requires_grad_(False).zero_()
    writer = Writer().choice("range", nglod.CODINGS).byte(9, tree.depth, channels).number(width)
    writer.choice(resolution, RESOLUTIONS).block(tree.encode()).raw(field.encode("range", 9))
    return nglod.Nglod.container.pack(writer.data())


@hostile("nglod: more voxels than the memory holds")
def nglod_features() -> bytes:
    """A cube of 40³ voxels with 32 features at each corner, whose number the header raises to 2^19."""
    tree = full_octree(8, 6).encode()
    block = Writer().number(1 << 19).raw(tree[2:]).data()
    writer = Writer().choice("range", nglod.CODINGS).byte(9, 8, 32).number(128).choice(256, RESOLUTIONS)
    return nglod.Nglod.container.pack(writer.block(block).raw(bytes(100)).data())


@hostile("nglod: width 256")
def nglod_wide() -> bytes:
    """A small octree on the finest grid, with a decoder that is wider than the paper's."""
    return octree_stream(full_octree(8, 6), 1, 256)


def latent_mlp(step: float, **sizes: int) -> bytes:
    """A set of one mesh of the design ``latent_mlp``, whose weights all are large."""
    design = LatentMlp(**sizes)
    tensors = {
        name: np.random.default_rng(0).integers(0, kind.levels, kind.shape).astype(np.int16)
        for name, kind in design.tensors().items()
    }
    parameters = Parameters(tensors, np.full(design.scale_count, step, np.float32))
    kind = design.features()
    return bitstream.write(bitstream.Contents(design, parameters, np.zeros((1, *kind.shape), np.int16)))


@hostile("quantdeepsdf: values that are not finite")
def overflowing() -> bytes:
    """Weights up to 10^8: the network overflows to infinity, and infinity minus infinity is not a number."""
    return latent_mlp(1e6, resolution=32, width=16, latent=4)


@hostile("quantdeepsdf: noise")
def latent_noise() -> bytes:
    """Eight octaves under large weights: the surface passes through most cells."""
    return latent_mlp(0.5, resolution=128, width=16, latent=4, octaves=8)


def zstd(vertices: int, faces: int, payload: bytes, *, content_size: bool = True) -> bytes:
    """A stream of ``raw-zstd`` with the counts as given."""
    frame = zstandard.ZstdCompressor(level=19, write_content_size=content_size).compress(payload)
    return RawZstd.container.pack(Writer().number(vertices, faces).raw(frame).data())


@hostile("raw-zstd: 1 GiB")
def zstd_bomb() -> bytes:
    """33 kB that become 1 GiB of zeros: faces without an area at one vertex."""
    size = 1 << 30
    compressor = zstandard.ZstdCompressor(level=1).compressobj(size=size // 12 * 12)
    zeros = bytes(12 << 16)
    parts = [compressor.compress(zeros) for _ in range(size // 12 // (1 << 16))]
    parts.append(compressor.compress(bytes(size // 12 % (1 << 16) * 12)))
    frame = b"".join(parts) + compressor.flush()
    return RawZstd.container.pack(Writer().number(1, size // 12 - 1).raw(frame).data())


@hostile("raw-zstd: no content size")
def zstd_without_size() -> bytes:
    """A frame that does not say what it becomes."""
    return zstd(3, 1, bytes(48), content_size=False)


@hostile("draco: 2^24 faces")
def draco_faces() -> bytes:
    """Counts of 16 million in a stream of 4 kB."""
    count = (1 << 24) - 1
    body = Writer().byte(0).number(count, count).byte(0).number(count - 1, 0).raw(bytes(4200)).data()
    return pack(Draco.container, _HEADER + body)


@hostile("draco: faces that no bytes describe")
def draco_no_symbols() -> bytes:
    """Counts of a million in a stream of 300 bytes."""
    count = 1 << 20
    body = Writer().byte(0).number(count // 2, count).byte(0).number(count, 0).raw(bytes(300)).data()
    return pack(Draco.container, _HEADER + body)
