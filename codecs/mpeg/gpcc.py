"""G-PCC (ISO/IEC 23090-9), octree and triangle soup: runs the reference program tmc3 with the options of each rate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gcbench.codecs.base import Availability, Context, Effort, Rate
from gcbench.codecs.mpeg.programs import TMC3, Bounds, found, work_folder
from gcbench.codecs.points import MAX_BITS, PointCodec
from gcbench.entropy.container import Container, Fields, Writer
from gcbench.errors import BitstreamError, CodecFailed, CodecUnavailable, UsageError
from gcbench.geometry.files.ply import read_points, write_points
from gcbench.versions import source_version

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A surface of the whole cube at 12 bits, six sides of 4096², is 1e8 points.
MAX_POINTS = 1 << 27
# A point of a text PLY takes up to 40 bytes.
_BYTES_OF_A_POINT = 40
DEFAULT_BITS = 10
SCALE_DENOMINATOR = 32  # of every position scale in use: 1/32 … 1

_OCTREE = (
    "--trisoupNodeSizeLog2=0",
    "--mergeDuplicatedPoints=1",
    "--neighbourAvailBoundaryLog2=8",
    "--intra_pred_max_node_size_log2=6",
    "--maxNumQtBtBeforeOt=4",
    "--minQtbtSizeLog2=0",
    "--planarEnabled=0",
    "--planarModeIdcmUse=0",
)
_LOSSLESS = (
    *(option for option in _OCTREE if not option.startswith("--mergeDuplicatedPoints")),
    "--mergeDuplicatedPoints=0",
    "--inferredDirectCodingMode=1",
    "--positionQuantizationScale=1",
)
_TRISOUP = (
    "--sliceMaxPointsTrisoup=1100000",
    "--sliceMaxPoints=1000000",
    "--sliceMinPoints=449000",
    "--neighbourAvailBoundaryLog2=8",
    "--intra_pred_max_node_size_log2=6",
    "--inferredDirectCodingMode=0",
    "--planarEnabled=0",
    "--planarModeIdcmUse=0",
    "--trisoupQuantizationBits=2",
    "--trisoupFineRayTracingEnabled=0",
    "--trisoupImprovedEncoderEnabled=1",
)

# Position scales of r01 … r06 by the bits of the grid.
# Source: common test conditions for G-PCC (N17995), lossy geometry, category 1, as in cfg/ of tmc13.
_SCALES: Mapping[int, tuple[float, ...]] = {
    10: (0.125, 0.25, 0.5, 0.75, 0.875, 0.9375),
    11: (0.0625, 0.125, 0.25, 0.5, 0.75, 0.875),
    12: (0.03125, 0.0625, 0.125, 0.25, 0.5, 0.75),
}
# Label → log2 of the node size in (scaled) voxels, position scale, and whether nodes have centroid and face vertices.
# r01 … r04 come from the test conditions; the others reach the rates of neural codecs, below r01.
# tmc3 silently codes an octree if the node size is below 4; if it is 128, tmc3 can write a cloud without points.
_NODES: Mapping[str, tuple[int, float, int]] = {
    "n6": (6, 1.0, 1),
    "n5s0.5": (5, 0.5, 1),
    "n4s0.5": (4, 0.5, 1),
    "r01": (5, 1.0, 1),
    "n3s0.5": (3, 0.5, 1),
    "r02": (4, 1.0, 1),
    "r03": (3, 1.0, 1),
    "r04": (2, 1.0, 0),
}


def encode_points(points: NDArray[np.int32], options: Sequence[str], ctx: Context) -> bytes:
    """Code integer points with tmc3.

    Parameters
    ----------
    points : (N, 3) int32
        Not negative; N ≥ 1.
    options : sequence of str
        Options of tmc3 that decide the rate.

    Raises
    ------
    CodecFailed
        tmc3 fails.
    """
    # tmc3 fails on an empty cloud, and codes coordinates outside the sequence's box as other coordinates.
    if not len(points) or points.min() < 0:
        raise CodecFailed("G-PCC codes points that are there and not negative")
    with work_folder(ctx) as folder:
        write_points(folder / "in.ply", points)
        arguments = ["--mode=0", "--uncompressedDataPath=in.ply", "--compressedStreamPath=out.bin", *options]
        TMC3.find().run(arguments, folder, ctx, outputs=["out.bin"], failure=CodecFailed)
        return (folder / "out.bin").read_bytes()


def decoder_bounds(bits: int) -> Bounds:
    """Limits of tmc3 for points on a grid of some bits.

    tmc3 decodes a million points in a second and 0.5 GiB. Points on a grid of 10 bits get 60 s and 3 GiB; those on a
    finer grid get four times as much for each bit, up to 12 GiB.
    """
    finer = 4 ** max(bits - DEFAULT_BITS, 0)
    return Bounds(
        seconds=min(60 * finer, 600), memory_bytes=min(3 * finer, 12) << 30, file_bytes=_BYTES_OF_A_POINT * MAX_POINTS
    )


def decode_points(stream: bytes, ctx: Context, bits: int = MAX_BITS) -> NDArray[np.float64]:
    """Decode a stream of tmc3 to positions in the units of the encoded points, on a grid of some bits.

    Raises
    ------
    BitstreamError
        tmc3 refuses the stream, crashes (as on most bad streams), does not end, or decodes no points.
    """
    if not stream:
        raise BitstreamError("the stream ends in its header")
    with work_folder(ctx) as folder:
        (folder / "in.bin").write_bytes(stream)
        arguments = [
            "--mode=1",
            "--compressedStreamPath=in.bin",
            "--reconstructedDataPath=out.ply",
            "--outputBinaryPly=1",
        ]
        TMC3.find().run(
            arguments, folder, ctx, outputs=["out.ply"], failure=BitstreamError, bounds=decoder_bounds(bits)
        )
        points = read_points((folder / "out.ply").read_bytes(), MAX_POINTS)
    if not len(points):  # tmc3 does not fail then, e.g. for a triangle soup of points that are far apart
        raise BitstreamError("the stream holds no points")
    return points


def encode_lossless(points: NDArray[np.int32], ctx: Context) -> bytes:
    """Code integer points so that :func:`decode_points` returns the same points, in another order."""
    return encode_points(points, _LOSSLESS, ctx)


def centres(positions: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Centre of the voxels that tmc3 codes as one position.

    tmc3 codes the corner x of a voxel as k = round(x S) and decodes k / S. The centre of k is the mean of x + ½ over
    all integers x with round(x S) = k. With S = ¾, for example, tmc3 decodes the voxels 0, 1, and 2 and 3 together as
    0, 1⅓ and 2⅔; their centres are ½, 1½ and 3. A constant shift would leave errors of a third of a voxel.
    Measured on two frames, points are shifted by less than 0.1 voxels on average for an octree; for a triangle soup,
    by less than 0.25 in nodes of up to 32 voxels and less than two in nodes of 64.

    Parameters
    ----------
    positions : array of float64
        Decoded coordinates.
    scale : float
        S, a multiple of 1/32 up to 1.
    """
    # round(x S) has the period 1/S · 32 S = 32 in x, and 32 S in k.
    x = np.arange(SCALE_DENOMINATOR)
    period = round(SCALE_DENOMINATOR * scale)
    k = np.floor(x * scale + 0.5).astype(np.int64)
    turns = k // period  # voxels below the end of a period may round to the next one
    sums = np.bincount(k % period, x + 0.5 - SCALE_DENOMINATOR * turns, period)
    mean = sums / np.bincount(k % period, minlength=period)
    turn, place = np.divmod(np.rint(positions * scale).astype(np.int64), period)
    return np.asarray(mean[place] + SCALE_DENOMINATOR * turn, np.float64)


class _Gpcc(PointCodec):
    """The base of octree and triangle soup: a stream holds one byte, 32 S, and the stream of tmc3."""

    def __init__(self, *, bits: int = DEFAULT_BITS) -> None:
        if bits not in _SCALES:
            raise UsageError(f"{self.name}[bits={bits}]: possible are {', '.join(map(str, _SCALES))}")
        self._bits = bits

    def label(self, name: str) -> str:
        """Label of a rate; on a grid that is not the default, the label starts with the bits: ``b11r01``."""
        return name if self._bits == DEFAULT_BITS else f"b{self._bits}{name}"

    @abstractmethod
    def options(self, rate: Rate) -> list[str]:
        """Options of tmc3 for a rate."""

    def version(self) -> str:
        """Version of the format, modules and packages, then the release of tmc3 and the start of its hash."""
        try:
            program = TMC3.find().identity
        except CodecUnavailable:
            program = "tmc3-missing"
        return f"{source_version(self.container.version, __name__, packages=self.packages)}+{program}"

    def programs(self) -> Mapping[str, str]:
        """The installed tmc3."""
        return found(TMC3)

    def availability(self) -> Availability:
        """Whether tmc3 and the packages of the conversions are installed."""
        program = TMC3.availability()
        return super().availability() if program.ok else program

    def prepare(self) -> None:
        """Find tmc3 and hash it."""
        super().prepare()
        TMC3.find()

    def encode_points(self, voxels: NDArray[np.int32], bits: int, rate: Rate, ctx: Context) -> bytes:
        """Code voxels at a rate of the ladder.

        Raises
        ------
        CodecFailed
            tmc3 fails.
        """
        scale = round(SCALE_DENOMINATOR * float(rate.params["scale"]))
        return Writer().byte(scale).raw(encode_points(voxels, self.options(rate), ctx)).data()

    def decode_points(self, stream: bytes, bits: int, ctx: Context) -> NDArray[np.float64]:
        """Decode points.

        Raises
        ------
        BitstreamError
            tmc3 cannot decode the stream, or decodes points outside the cube.
        """
        fields = Fields(stream)
        scale = fields.byte("position scale in 1/32", 1, SCALE_DENOMINATOR) / SCALE_DENOMINATOR
        positions = decode_points(fields.rest(), ctx, bits)
        reach = 1 / scale + 64  # rounding, and a triangle soup's largest node
        if not -reach <= positions.min() <= positions.max() <= 2**bits + reach:
            raise BitstreamError("the stream holds points outside of the cube")
        return centres(positions, scale)


class GpccOctree(_Gpcc):
    """G-PCC octree: positions scaled by S, rounded, merged, and coded as occupancy of an octree.

    The rates differ in S; the common test conditions give S for each number of bits.

    Parameters
    ----------
    bits : {10, 11, 12}
        The grid has 2^bits voxels along a side.

    Source: ISO/IEC 23090-9; github.com/MPEGGroup/mpeg-pcc-tmc13.
    """

    name = "gpcc-octree"
    container = Container(b"GPO", 2, name)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """``r01`` to ``r06`` (``b11r01`` on 2^11); the first four, the useful rates for meshes, for ``quick``."""
        scales = _SCALES[self._bits][: 4 if effort == "quick" else None]
        return [
            Rate(self.label(f"r{i:02d}"), {"bits": self._bits, "scale": scale}) for i, scale in enumerate(scales, 1)
        ]

    def options(self, rate: Rate) -> list[str]:
        """Options of tmc3 for a rate."""
        return [*_OCTREE, f"--positionQuantizationScale={rate.params['scale']:g}"]


class GpccTrisoup(_Gpcc):
    """G-PCC triangle soup: an octree down to nodes of 2^N voxels, and the triangles that cross each node.

    The rates differ in N: 5, 4, 3, 2 as in the common test conditions (``r01`` to ``r04``); below and between them,
    N = 6, and N = 5, 4, 3 on a grid of half the resolution (``n6``, ``n5s0.5``, ``n4s0.5``, ``n3s0.5``).

    Parameters
    ----------
    bits : {10, 11, 12}
        The grid has 2^bits voxels along a side.

    Source: ISO/IEC 23090-9; github.com/MPEGGroup/mpeg-pcc-tmc13.
    """

    name = "gpcc-trisoup"
    container = Container(b"GPT", 2, name)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """All eight rates (``b11r01`` on 2^11); the four of the test conditions for ``quick``."""
        return [
            Rate(
                self.label(name),
                {"bits": self._bits, "node_size_log2": node, "scale": scale, "centroids": centroids},
            )
            for name, (node, scale, centroids) in _NODES.items()
            if effort != "quick" or name.startswith("r")
        ]

    def options(self, rate: Rate) -> list[str]:
        """Options of tmc3 for a rate."""
        return [
            *_TRISOUP,
            f"--positionQuantizationScale={rate.params['scale']:g}",
            f"--trisoupNodeSizeLog2={rate.params['node_size_log2']}",
            f"--trisoupCentroidResidualEnabled={rate.params['centroids']}",
            f"--trisoupFaceVertexEnabled={rate.params['centroids']}",
        ]
