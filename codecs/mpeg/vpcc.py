"""V-PCC (ISO/IEC 23090-5): runs the reference programs PccAppEncoder and PccAppDecoder on one mesh or a set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcbench.codecs.base import Availability, Context, Effort, Rate, SetCodec, StreamLayout
from gcbench.codecs.mpeg import videos
from gcbench.codecs.mpeg.programs import PCC_APP_DECODER, PCC_APP_ENCODER, Bounds, available, found, work_folder
from gcbench.codecs.mpeg.videos import MAX_FRAMES, Video
from gcbench.codecs.points import PointCodec
from gcbench.entropy.container import Container
from gcbench.errors import BitstreamError, CodecFailed, CodecUnavailable, UsageError
from gcbench.geometry.files.ply import read_points, write_points
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

MODES = ("all-intra", "random-access")
DEFAULT_BITS = 10
BITS = (8, 9, DEFAULT_BITS)  # a coordinate of 1024 or more makes the encoder of the test conditions hang
MAX_POINTS = 1 << 24  # of a frame: a surface of the whole cube at 10 bits is 6e6 points, and V-PCC may have two layers
FRAMES_IN_GROUP = 32  # of random access, as in the test conditions
_GREY = 128  # the encoder crashes on points without colours, although colours are not coded
_OUTSIDE_VOXELS = 64  # smoothing may move a point this far out of the cube
_BYTES_OF_A_POINT = 64  # of a PLY, in text

# Files in cfg/ of the upstream repository. The sequence file sets the number of bits and how patches are made; the
# command line overrides its frame numbers and file names.
_COMMON = "common/ctc-common.cfg"
_SEQUENCE = "sequence/longdress_vox10.cfg"
_INVERSE_COLOURS = "hdrconvert/yuv420toyuv444_16bit.cfg"  # the decoder needs this file even without colours
_RATES = 5


class Vpcc(PointCodec, SetCodec):
    """V-PCC: patches of the surface projected onto the sides of a box, as depth and occupancy videos coded by HEVC.

    A stream holds V3C streams (:mod:`gcbench.codecs.mpeg.videos`).

    Parameters
    ----------
    mode : {"all-intra", "random-access"}
        Code each mesh separately; or a set: the frames of each sequence in it as one video, and each other mesh as a
        video of one frame.
    bits : {8, 9, 10}
        The grid has 2^bits voxels along a side.

    Source: ISO/IEC 23090-5; github.com/MPEGGroup/mpeg-pcc-tmc2; the ladder comes from its common test conditions.
    """

    name = "vpcc"
    container = Container(b"VPC", 3, name)
    uses_sequences = True

    def __init__(self, *, mode: str = "all-intra", bits: int = DEFAULT_BITS) -> None:
        for what, value, possible in (("mode", mode, MODES), ("bits", bits, BITS)):
            if value not in possible:
                raise UsageError(f"vpcc[{what}={value}]: possible are {', '.join(map(str, possible))}")
        self._mode = mode
        self._bits = bits
        self.kind = "set" if mode == "random-access" else "model"

    def version(self) -> str:
        """Version of the format, modules and packages, then of the programs and their configuration."""
        try:
            programs = f"{PCC_APP_ENCODER.find().identity}+{PCC_APP_DECODER.find().identity}"
            coder = f"{programs}+cfg-{self._configuration_sha256()[:12]}"
        except (CodecUnavailable, OSError):
            coder = "PccApp-missing"
        return f"{source_version(self.container.version, __name__, packages=self.packages)}+{coder}"

    def programs(self) -> Mapping[str, str]:
        """The installed encoder and decoder."""
        return found(PCC_APP_ENCODER, PCC_APP_DECODER)

    def availability(self) -> Availability:
        """Whether both programs, their configuration folder and the packages of the conversions are installed."""
        programs = available(PCC_APP_ENCODER, PCC_APP_DECODER)
        if not programs.ok:
            return programs
        try:
            _configuration()
        except CodecUnavailable as error:
            return Availability(ok=False, reason=error.reason, remedy=error.remedy)
        return super().availability()

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """``r1`` to ``r5`` (``b9r1`` on a grid of 2^9); without ``r3`` for ``quick``."""
        numbers = [n for n in range(1, _RATES + 1) if effort != "quick" or n != 3]
        grid = "" if self._bits == DEFAULT_BITS else f"b{self._bits}"
        return [Rate(f"{grid}r{n}", {"bits": self._bits, "ctc_rate": n}) for n in numbers]

    def prepare(self) -> None:
        """Find the programs and hash them."""
        super().prepare()
        PCC_APP_ENCODER.find()
        PCC_APP_DECODER.find()

    def encode(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> list[bytes]:
        """Encode each mesh separately, or the set in one stream."""
        if self.kind == "set":
            return [self.encode_set(meshes, rate, ctx)]
        return [self.encode_mesh(mesh, rate, ctx) for mesh in meshes]

    def decode(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every frame of a stream of either mode."""
        return self.decode_set(stream, ctx)

    def encode_set(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> bytes:
        """Encode meshes: the frames of each sequence of ``ctx`` as one video, each other mesh as a video of one frame.

        Raises
        ------
        CodecFailed
            The encoder fails, or there are no meshes, or more than 65535.
        """
        if not 1 <= len(meshes) <= MAX_FRAMES:
            raise CodecFailed(f"V-PCC codes 1 to {MAX_FRAMES} frames, not {len(meshes)}")
        frames = [self.sample(mesh, rate, ctx)[0] for mesh in meshes]
        with ctx.stage("coding"):
            groups = [frames[places.start : places.stop] for places in ctx.groups(len(meshes))]
            coded = videos.pack([self._encode_frames(group, rate, ctx) for group in groups])
            return self.wrap(coded, int(rate.params["bits"]))

    def decode_set(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode the frames of a stream and reconstruct the surface of each.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign.
        """
        with ctx.stage("coding"):
            contents, bits = self.unwrap(stream)
            frames = [frame for video in videos.unpack(contents) for frame in self._decode_frames(video, bits, ctx)]
        return [self.surface(points, bits, ctx) for points in frames]

    def layout(self, stream: bytes) -> StreamLayout:
        """The bytes of a video count in equal parts for its frames."""
        return videos.layout(len(stream), videos.unpack(self.unwrap(stream)[0]))

    def encode_points(self, voxels: NDArray[np.int32], bits: int, rate: Rate, ctx: Context) -> bytes:
        """Encode one frame.

        Raises
        ------
        CodecFailed
            The encoder fails.
        """
        return videos.pack([self._encode_frames([voxels], rate, ctx)])

    def decode_points(self, stream: bytes, bits: int, ctx: Context) -> NDArray[np.float64]:
        """Decode the points of a stream of one frame.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign, or has more than one frame.
        """
        (video, *others) = videos.unpack(stream)
        if others or video.frames != 1:
            raise BitstreamError("the stream has more than one frame")
        return self._decode_frames(video, bits, ctx)[0]

    def _encode_frames(self, frames: Sequence[NDArray[np.int32]], rate: Rate, ctx: Context) -> Video:
        # Negative coordinates crash the encoder, large ones make it hang, and it does not report an empty cloud.
        for points in frames:
            if not len(points) or points.min() < 0 or points.max() >= 1 << max(BITS):
                raise CodecFailed(f"V-PCC codes points with coordinates in 0…{(1 << max(BITS)) - 1}")
        encoder, cfg = PCC_APP_ENCODER.find(), _configuration()
        group = FRAMES_IN_GROUP if self.kind == "set" else 1
        with work_folder(ctx) as folder:
            for number, points in enumerate(frames):
                write_points(folder / f"in_{number:04d}.ply", points, grey=_GREY)
            arguments = [
                f"--configurationFolder={cfg}/",
                *(f"--config={cfg / name}" for name in self._configuration_files(int(rate.params["ctc_rate"]))),
                "--uncompressedDataPath=in_%04i.ply",
                "--startFrameNumber=0",
                f"--frameCount={len(frames)}",
                f"--groupOfFramesSize={group}",
                "--nbThread=1",
                "--colorTransform=0",
                "--computeMetrics=0",
                "--computeChecksum=0",  # with 1, the encoder writes a second file that the decoder needs
                "--noAttributes=1",
                "--compressedStreamPath=out.bin",
                "--reconstructedDataPath=rec_%04i.ply",
            ]
            encoder.run(arguments, folder, ctx, outputs=["out.bin"], failure=CodecFailed)
            return Video(len(frames), (folder / "out.bin").read_bytes())

    def _decode_frames(self, video: Video, bits: int, ctx: Context) -> list[NDArray[np.float64]]:
        decoder, cfg = PCC_APP_DECODER.find(), _configuration()
        with work_folder(ctx) as folder:
            (folder / "in.bin").write_bytes(video.stream)
            arguments = [
                "--compressedStreamPath=in.bin",
                "--reconstructedDataPath=out_%04i.ply",
                "--nbThread=1",
                "--colorTransform=0",
                "--computeMetrics=0",
                "--computeChecksum=0",  # with 1, the encoder writes a second file that the decoder needs
                "--startFrameNumber=0",
                f"--inverseColorSpaceConversionConfig={cfg / _INVERSE_COLOURS}",
            ]
            names = [f"out_{number:04d}.ply" for number in range(video.frames)]
            # Decoding takes three seconds and 0.3 GiB for a frame.
            bounds = Bounds(
                seconds=600 + 60 * video.frames,
                memory_bytes=(4 + min(video.frames, FRAMES_IN_GROUP)) << 30,
                file_bytes=_BYTES_OF_A_POINT * MAX_POINTS,
            )
            decoder.run(arguments, folder, ctx, outputs=names, failure=BitstreamError, bounds=bounds)
            return [_distinct(read_points((folder / name).read_bytes(), MAX_POINTS), bits) + 0.5 for name in names]

    def _configuration_files(self, ctc_rate: int) -> list[str]:
        return [_COMMON, f"condition/ctc-{self._mode}.cfg", _SEQUENCE, f"rate/ctc-r{ctc_rate}.cfg"]

    def _configuration_sha256(self) -> str:
        """Hash of every configuration file that an encoding may read."""
        cfg = _configuration()
        names = {name for rate in range(1, _RATES + 1) for name in self._configuration_files(rate)}
        names |= {f"hm/{path.name}" for path in (cfg / "hm").glob("*.cfg")}
        digest = hashlib.sha256()
        for name in sorted(names):
            digest.update(f"{name}\0".encode() + (cfg / name).read_bytes() + b"\0")
        return digest.hexdigest()


def _configuration() -> Path:
    """Folder ``cfg``, next to the folder of the encoder, as in the upstream repository.

    Raises
    ------
    CodecUnavailable
        There is no such folder.
    """
    encoder = PCC_APP_ENCODER.find().path
    for path in (encoder, encoder.resolve()):
        cfg = path.parent.parent / "cfg"
        if (cfg / _COMMON).is_file():
            return cfg
    raise CodecUnavailable(
        f"{encoder.parent.parent} has no cfg/{_COMMON}",
        f"let {PCC_APP_ENCODER.variable} name a folder with bin/ and cfg/ of {PCC_APP_ENCODER.upstream} (docs/mpeg.md)",
    )


def _distinct(points: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Sort points by x, then y, then z, and drop duplicates (V-PCC decodes 1.5 to 4 % of the points twice)."""
    if not len(points):
        raise BitstreamError("the stream holds no points")
    voxels = np.rint(points).astype(np.int64) + _OUTSIDE_VOXELS
    if voxels.min() < 0 or voxels.max() > (1 << bits) + 2 * _OUTSIDE_VOXELS:
        raise BitstreamError("the stream holds points outside of the cube")
    keys = np.unique((voxels[:, 0] << 40) | (voxels[:, 1] << 20) | voxels[:, 2])
    low = (1 << 20) - 1
    return np.stack([keys >> 40, keys >> 20 & low, keys & low], axis=1).astype(np.float64) - _OUTSIDE_VOXELS
