"""PCGCv2 as a codec of the benchmark: it selects the weights of a rate, cuts large clouds, and writes streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench import extras
from gcbench.codecs.base import Availability, Context, Effort, Rate
from gcbench.codecs.pcgcv2 import ladder
from gcbench.codecs.pcgcv2.stream import BUDGET, FEATURE_CODERS, MAX_COARSEST, Cloud, check_work, unpack
from gcbench.codecs.points import PointCodec
from gcbench.entropy.container import Container
from gcbench.errors import BitstreamError, CodecFailed, UsageError
from gcbench.training.placement import placed
from gcbench.training.weight_files import fingerprint
from gcbench.versions import source_version

if TYPE_CHECKING:
    from gcbench.codecs.pcgcv2.ladder import Weights

STRIDE_BITS = 3  # the coarsest voxels have 2³ to the side
MAX_BLOCK_VOXELS = 1_500_000  # coded at once; PCGCv2Codec gives the memory that this takes
_SMALLEST_SHARE = 32  # of MAX_BLOCK_VOXELS in the mean block, where there are several; an encoder writes a third or so
DEFAULT_BITS = 10
_COARSE_BITS, _COARSE_LABELS = 8, ("r2", "r5")  # further rates on a coarser grid, also for quick


class PCGCv2Codec(PointCodec):
    """PCGCv2: a sparse convolutional autoencoder over three scales, its latent features coded with learnt tables.

    encode: voxels → network → coordinates at stride 8 (octree) + 8 features each (rounded, arithmetic code) + counts;
    decode: coordinates, features, counts → network, which keeps the likeliest voxels at each scale, as many as counted.

    Each of the rates ``r1`` … ``rN`` has a file of weights; two rates below them code a coarser grid. The environment
    variable GCBENCH_PCGCV2_WEIGHTS names a folder of other weights (an address cannot name it: a decoder gets no
    parameters). A stream names its weights by a fingerprint; only a machine with these weights can decode the stream.

    Entropy decoding uses integers only, so that every machine decodes the same numbers. The network after it is not
    exact to the last bit: if two machines round differently (or one has no bfloat16), they may choose differently
    between voxels of almost the same likelihood; the number of voxels at each scale never differs.

    Coordinates at stride 8 are coded by our own octree, also if tmc3 is installed: our streams are 14 % smaller
    (2 122 and 1 654 bytes for the two frames of the reference measurements, tmc3 2 454 and 1 967), and do not depend on
    the programs that a machine has.

    A cloud of more than 1.5 million voxels is cut into blocks, coded one after the other. Measured on a CPU, a million
    voxels take 1.1 GB to encode and 1.8 GB to decode; four blocks instead of one cost 1 % of the bytes and 0.06 dB.

    Parameters
    ----------
    bits : int
        The grid has 2^bits voxels along a side; 7 to 12.
    features : {"tables", "mixed"}
        How features are coded: "tables" has one table for each channel, as published; "mixed", our own, mixes the
        tables with neighbours, other channels and occupied places, which only makes streams 17 to 30 % smaller.

    Source: Wang, Ding, Li, Ma, "Multiscale Point Cloud Geometry Compression", DCC 2021, arXiv 2011.03799.
    """

    name = "pcgcv2"
    container = Container(b"PCG", 2, name, BUDGET)
    decode_budget = BUDGET
    deterministic = False
    packages = ("torch", "constriction", *PointCodec.packages)
    decoder_bytes = max((path.stat().st_size for path in ladder.files().values()), default=0)  # one rate's

    def __init__(self, *, bits: int = DEFAULT_BITS, features: str = "tables") -> None:
        if not 7 <= bits <= 12:
            raise UsageError(f"pcgcv2[bits={bits}]: possible are 7 to 12")
        if features not in FEATURE_CODERS:
            raise UsageError(f"pcgcv2[features={features}]: possible are {', '.join(FEATURE_CODERS)}")
        self._bits = bits
        self._features = features

    def version(self) -> str:
        """Version of the format, modules and packages, and the fingerprint of each file of weights."""
        weights = "".join(f"-{fingerprint(path).hex()}" for path in ladder.files().values())
        return f"{source_version(self.container.version, __name__, packages=self.packages)}+weights{weights}"

    def availability(self) -> Availability:
        """Whether torch, weights and the packages of the conversions are installed."""
        if missing := extras.first_missing((*self.packages, "safetensors")):
            return Availability(False, *missing)
        if not ladder.files():
            return Availability(
                False,
                f"there are no weights in {ladder.folder()}",
                "train them with python -m gcbench.codecs.pcgcv2.command, and name their folder in "
                f"{ladder.ENVIRONMENT}",
            )
        return super().availability()

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """``b8r2``, ``b8r5``: weights r2 and r5 on a grid of 2^8, also for ``quick``; then ``r1`` … ``rN``.

        A cloud of 2^10 takes a minute of a CPU, a cloud of 2^8 two seconds. With other `bits`, all labels name them.
        """
        labels = list(ladder.files())
        fine = [_rate(self._bits, label) for label in labels]
        coarse = [
            _rate(_COARSE_BITS, label) for label in _COARSE_LABELS if label in labels and self._bits == DEFAULT_BITS
        ]
        if effort == "quick":
            return coarse or fine[1::2][:2] or fine
        return coarse + fine

    def prepare(self) -> None:
        """Import torch, compile the coders (or load the compiled ones), and read all weights."""
        super().prepare()
        from gcbench.entropy.octree import decode_octree, encode_octree

        point = np.zeros((1, 3), np.int32)
        decode_octree(encode_octree(point, 2), 2)
        for path in ladder.files().values():
            weights = ladder.load(path)
            one = np.zeros((1, len(weights.tables)), np.int32)
            for coder in FEATURE_CODERS:
                _decode_features(coder, _encode_features(coder, one, point, weights), point, weights)

    def encode_points(self, voxels: NDArray[np.int32], bits: int, rate: Rate, ctx: Context) -> bytes:
        """Encode occupied voxels.

        Raises
        ------
        CodecFailed
            The network's features are not finite, or there are too many voxels.
        UsageError
            There are no weights for this rate.
        """
        from gcbench.entropy.octree import encode_octree
        from gcbench.entropy.voxel_features import LARGEST

        path = ladder.files().get(str(rate.params["weights"]))
        if path is None:
            raise UsageError(f"pcgcv2 has no weights {rate.params['weights']!r} in {ladder.folder()}")
        weights = ladder.load(path)
        key = _keys(voxels >> STRIDE_BITS)
        coarsest, owner, sizes = np.unique(key, return_inverse=True, return_counts=True)
        if len(coarsest) > MAX_COARSEST or len(voxels) > BUDGET.voxels:
            raise CodecFailed(f"{len(voxels)} voxels are too many")
        coordinates = _positions(coarsest)
        blocks = _cut_for(coordinates, sizes)
        counts, latent = [], np.zeros((len(coarsest), len(weights.tables)), np.int64)
        for done, block in enumerate(blocks):
            ctx.check_deadline()
            ctx.progress(done / len(blocks), f"block {done + 1} of {len(blocks)}")
            inside = np.zeros(len(coarsest), bool)
            inside[block] = True
            with placed(weights.model, ctx.device, ctx.threads) as model:
                found, y, count = model.encode(voxels[inside[owner]] if len(blocks) > 1 else voxels)
            if not np.isfinite(y).all():
                raise CodecFailed("the network gives features that are not finite")
            assert np.array_equal(found, coordinates[block])
            latent[block] = np.rint(y).clip(-LARGEST, LARGEST)
            counts.append(count)
        try:
            check_work([len(block) for block in blocks], counts)
        except BitstreamError as error:
            raise CodecFailed(f"a decoder would refuse the cloud: {error}") from error
        return Cloud(
            fingerprint(path),
            self._features,
            tuple(counts),
            encode_octree(coordinates, bits - STRIDE_BITS),
            _encode_features(self._features, latent, coordinates, weights),
        ).pack()

    def decode_points(self, stream: bytes, bits: int, ctx: Context) -> NDArray[np.float64]:
        """Decode points.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign, or its weights are missing.
        """
        from gcbench.entropy.octree import decode_octree

        cloud = unpack(stream)
        _check_blocks(cloud.counts)
        path = ladder.fingerprints().get(cloud.fingerprint)
        if path is None:
            raise BitstreamError(
                f"the stream was made with weights {cloud.fingerprint.hex()}, which are not in {ladder.folder()}"
            )
        weights = ladder.load(path)
        coordinates = decode_octree(cloud.coordinates, bits - STRIDE_BITS, MAX_COARSEST)
        blocks = _cut(coordinates, len(cloud.counts))
        check_work([len(block) for block in blocks], cloud.counts)
        ctx.check_deadline()
        latent = _decode_features(cloud.coder, cloud.features, coordinates, weights)
        decoded = []
        for done, (block, count) in enumerate(zip(blocks, cloud.counts, strict=True)):
            ctx.check_deadline()
            ctx.progress(done / len(blocks), f"block {done + 1} of {len(blocks)}")
            with placed(weights.model, ctx.device, ctx.threads) as model:
                decoded.append(model.decode(coordinates[block], latent[block].astype(np.float32), count))
        return np.concatenate(decoded).astype(np.float64) + 0.5


def _rate(bits: int, weights: str) -> Rate:
    return Rate(weights if bits == DEFAULT_BITS else f"b{bits}{weights}", {"bits": bits, "weights": weights})


def _encode_features(
    coder: str, features: NDArray[np.integer], coordinates: NDArray[np.int32], weights: Weights
) -> bytes:
    from gcbench.entropy import voxel_features
    from gcbench.training.sparse.features import ESCAPE, encode_features

    if coder == "mixed":
        return voxel_features.encode_features(
            [features], [voxel_features.Level(coordinates, weights.tables[:, :ESCAPE])]
        )
    return encode_features(features, weights.tables)


def _decode_features(coder: str, stream: bytes, coordinates: NDArray[np.int32], weights: Weights) -> NDArray[np.int32]:
    from gcbench.entropy import voxel_features
    from gcbench.training.sparse.features import ESCAPE, decode_features

    if coder == "mixed":
        levels = [voxel_features.Level(coordinates, weights.tables[:, :ESCAPE])]
        return voxel_features.decode_features(stream, levels)[0]
    return decode_features(stream, len(coordinates), weights.tables)


def _check_blocks(counts: Sequence[tuple[int, int, int]]) -> None:
    """Refuse blocks that are too large, and many blocks of few voxels: the network takes a while for any block."""
    sizes = [voxels for _, _, voxels in counts]
    if max(sizes) > MAX_BLOCK_VOXELS:
        raise BitstreamError(f"a block of {max(sizes)} voxels is declared; the limit is {MAX_BLOCK_VOXELS}")
    if len(sizes) > 1 and sum(sizes) < len(sizes) * (MAX_BLOCK_VOXELS // _SMALLEST_SHARE):
        raise BitstreamError(f"{len(sizes)} blocks are declared of only {sum(sizes)} voxels")


def _cut_for(coordinates: NDArray[np.int32], sizes: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Cut the coarsest voxels into the fewest blocks (a power of two) of at most MAX_BLOCK_VOXELS voxels each."""
    blocks = 1
    while True:
        cut = _cut(coordinates, blocks)
        if max(sizes[block].sum() for block in cut) <= MAX_BLOCK_VOXELS:
            return cut
        blocks *= 2


def _cut(coordinates: NDArray[np.int32], blocks: int) -> list[NDArray[np.int64]]:
    """Cut voxels recursively into halves of equal number, across the longest side.

    Parameters
    ----------
    coordinates : (M, 3) int
        Distinct, sorted by x, then y, then z.
    blocks : int
        A power of two, at most M.

    Returns
    -------
    list of (M_i,) int
        Ascending rows of `coordinates`.

    Raises
    ------
    BitstreamError
        `blocks` is not a power of two, or exceeds M.
    """
    if blocks.bit_count() != 1 or blocks > len(coordinates):
        raise BitstreamError(f"{blocks} blocks are declared of {len(coordinates)} voxels")
    cut = [np.arange(len(coordinates))]
    while len(cut) < blocks:
        halves = []
        for block in cut:
            axis = int(np.argmax(np.ptp(coordinates[block], axis=0)))
            order = block[np.argsort(coordinates[block, axis], kind="stable")]
            middle = len(order) // 2
            halves += [np.sort(order[:middle]), np.sort(order[middle:])]
        cut = halves
    return cut


def _keys(positions: NDArray[np.int32]) -> NDArray[np.int64]:
    x, y, z = positions.T.astype(np.int64)
    return np.asarray(x << 32 | y << 16 | z)


def _positions(keys: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.stack([keys >> 32, keys >> 16 & 0xFFFF, keys & 0xFFFF], axis=1).astype(np.int32)
