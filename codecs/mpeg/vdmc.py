"""V-DMC (ISO/IEC 23090-29): runs the test model's programs encode and decode on one mesh or on the motions of a set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcbench.codecs.arrays import checked_faces, decoded_mesh
from gcbench.codecs.base import Availability, Context, Effort, ModelCodec, Rate, SetCodec, StreamLayout
from gcbench.codecs.mpeg import videos
from gcbench.codecs.mpeg.programs import VMESH_DECODER, VMESH_ENCODER, Bounds, available, found, work_folder
from gcbench.codecs.mpeg.videos import MAX_FRAMES, Video
from gcbench.entropy.container import Container
from gcbench.errors import BadMesh, BitstreamError, CodecFailed, CodecUnavailable, UsageError
from gcbench.geometry.files.ply import read_ply
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

MODES = ("intra", "inter")
BITS = 12  # of the input, as for most sequences of the test conditions
FRAMES_IN_GROUP = 32
_LARGEST = (1 << BITS) - 1
_OUTSIDE = 1 << (BITS - 2)  # displacements may move a vertex this far out of the cube
_MOST_FILE_BYTES = 1 << 30  # of one decoded mesh: 2e7 vertices and 4e7 triangles in the binary PLY of the decoder

# Rates of `basketball_player`: target ratio of triangles, bits of the base mesh, QP of the displacements along the
# normal. Source: common test conditions, cfg/cfg-cond-ai.yaml and cfg-cond-ld.yaml of mpeg-vmesh-tm, release 14.0.
_RATES: Mapping[str, tuple[float, int, int]] = {
    "r1": (0.03, 10, 32),
    "r2": (0.03, 11, 28),
    "r3": (0.06, 11, 22),
    "r4": (0.12, 11, 23),
    "r5": (0.12, 11, 22),
}
_TANGENT_QP = 12  # more than along the normal
# Source: cfg/cfg-tools.yaml of release 14.0, without what concerns textures.
_COMMON = (
    "--ai_subdivIt=3",
    "--ai_sdeform=1",
    "--ai_forceNormalDisp=0",
    "--ai_unifyVertices=1",
    "--ai_deformNormalThres=-2.0",
    "--ai_deformNNCount=1",
    "--ai_deformFlipThres=-2.0",
    "--ai_useInitialGeom=1",
    "--ai_smoothMotion=0",
    "--ai_smoothMethod=1",
    "--invertOrientation=0",
    f"--gofMaxSize={FRAMES_IN_GROUP}",
    "--liftingBias=0.3333,0.3333333333333333,0.3333333333333333",
    "--unifyVertices=0",
    "--subBlocksPerLoD=1,1,20,80",
    "--LoDSubdiv=0,0,1,1",
    "--lodAdaptiveSubdivisionFlag=1",
    "--sml0=0",
    "--sml1=0",
    "--sml2=1",
    "--log2LevelOfDetailInverseScale=1,1,1",
    "--lodDisplacementQuantizationFlag=0",
    "--lossless=0",
)
# Geometry alone: no texture is read, none is made, and displacements are coded arithmetically, not as a video.
_GEOMETRY_ALONE = (
    "--videoAttributeCount=0",
    "--encodeTextureVideo=0",
    "--textureParameterizationType=-1",
    "--encodeDisplacements=1",
    "--dequantizeUV=0",
    "--reconstructNormals=0",
    "--checksum=0",  # with 1, the encoder writes a second file that the decoder needs
)
# Frames of equal connectivity are predicted from each other (condition "low delay"), or no frame is ("all intra").
_OF_MODE = {"intra": ("--analyzeGof=0",), "inter": ("--analyzeGof=1", "--adaptiveScale=160,160,160")}


class Vdmc(ModelCodec, SetCodec):
    """V-DMC: a decimated base mesh, subdivided, and displacements; little tried with MPEG's program (docs/mpeg.md).

    A stream holds streams of the program (:mod:`gcbench.codecs.mpeg.videos`). Positions are rounded to 12 bits.

    Parameters
    ----------
    mode : {"intra", "inter"}
        Code each mesh separately; or a set: the frames of each sequence in it together, and each other mesh by itself.

    Source: ISO/IEC 23090-29; the ladder comes from the common test conditions.
    """

    name = "vdmc"
    container = Container(b"VDM", 1, name)
    packages = ("numba",)  # reads PLY files
    uses_sequences = True

    def __init__(self, *, mode: str = "intra") -> None:
        if mode not in MODES:
            raise UsageError(f"vdmc[mode={mode}]: possible are {', '.join(MODES)}")
        self._mode = mode
        self.kind = "set" if mode == "inter" else "model"

    def version(self) -> str:
        """Version of the format and modules, then of the programs."""
        try:
            programs = f"{VMESH_ENCODER.find().identity}+{VMESH_DECODER.find().identity}"
        except (CodecUnavailable, OSError):
            programs = "vmesh-missing"
        return f"{source_version(self.container.version, __name__, packages=self.packages)}+{programs}"

    def programs(self) -> Mapping[str, str]:
        """The installed encoder and decoder."""
        return found(VMESH_ENCODER, VMESH_DECODER)

    def availability(self) -> Availability:
        """Whether both programs are installed."""
        return available(VMESH_ENCODER, VMESH_DECODER)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """``r1`` to ``r5``; without ``r4`` for ``quick``."""
        return [
            Rate(label, {"target": target, "base_bits": bits, "lifting_qp": qp})
            for label, (target, bits, qp) in _RATES.items()
            if effort != "quick" or label != "r4"
        ]

    def prepare(self) -> None:
        """Find the programs and hash them."""
        super().prepare()
        VMESH_ENCODER.find()
        VMESH_DECODER.find()

    def encode(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> list[bytes]:
        """Encode each mesh separately, or the set in one stream."""
        if self.kind == "set":
            return [self.encode_set(meshes, rate, ctx)]
        return [self.encode_mesh(mesh, rate, ctx) for mesh in meshes]

    def decode(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh in a stream of either mode."""
        return self.decode_set(stream, ctx)

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Encode one mesh. Raises CodecFailed if the mesh cannot be given to the encoder, or the encoder fails."""
        return self.container.pack(videos.pack([self._encode([mesh], rate, ctx)]))

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode a stream of one mesh. Raises BitstreamError, also if the stream has more than one."""
        (video, *others) = self._videos(stream)
        if others or video.frames != 1:
            raise BitstreamError("the stream has more than one mesh")
        return self._decode(video, ctx)[0]

    def encode_set(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> bytes:
        """Encode a set: the frames of each sequence of ``ctx`` together, each other mesh by itself.

        Raises
        ------
        CodecFailed
            The encoder fails, or there are no meshes, or more than 65535.
        """
        if not 1 <= len(meshes) <= MAX_FRAMES:
            raise CodecFailed(f"V-DMC codes 1 to {MAX_FRAMES} meshes, not {len(meshes)}")
        groups = [meshes[places.start : places.stop] for places in ctx.groups(len(meshes))]
        return self.container.pack(videos.pack([self._encode(group, rate, ctx) for group in groups]))

    def decode_set(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh. Raises BitstreamError for a stream that is short, corrupt or foreign."""
        return [mesh for video in self._videos(stream) for mesh in self._decode(video, ctx)]

    def layout(self, stream: bytes) -> StreamLayout:
        """The bytes of a sequence count in equal parts for its frames."""
        return videos.layout(len(stream), self._videos(stream))

    def _videos(self, stream: bytes) -> list[Video]:
        return videos.unpack(self.container.open(stream).rest())

    def _encode(self, frames: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> Video:
        encoder, qp = VMESH_ENCODER.find(), int(rate.params["lifting_qp"])
        tangent = qp + _TANGENT_QP
        with work_folder(ctx) as folder, ctx.stage("coding"):
            for number, mesh in enumerate(frames):
                (folder / f"in_{number:04d}.obj").write_bytes(_obj(mesh, numbered=self._mode == "inter"))
            arguments = [
                *_COMMON,
                *_GEOMETRY_ALONE,
                *_OF_MODE[self._mode],
                "--srcMesh=in_%04d.obj",
                "--startFrameIndex=0",
                f"--frameCount={len(frames)}",
                f"--positionBitDepth={BITS}",
                "--minPosition=0,0,0",
                f"--maxPosition={_LARGEST},{_LARGEST},{_LARGEST}",
                f"--target={rate.params['target']:g}",
                f"--baseMeshPositionBitDepth={rate.params['base_bits']}",
                f"--liftingQP={qp},{tangent},{tangent}",
                "--compressed=out.vmesh",
            ]
            encoder.run(arguments, folder, ctx, outputs=["out.vmesh"], failure=CodecFailed)
            return Video(len(frames), (folder / "out.vmesh").read_bytes())

    def _decode(self, video: Video, ctx: Context) -> list[trimesh.Trimesh]:
        decoder = VMESH_DECODER.find()
        names = [f"out_{number:04d}.ply" for number in range(video.frames)]
        bounds = Bounds(
            seconds=300 + 30 * video.frames,
            memory_bytes=(4 << 30) + (min(video.frames, FRAMES_IN_GROUP) << 28),
            file_bytes=_MOST_FILE_BYTES,
        )
        with work_folder(ctx) as folder, ctx.stage("coding"):
            (folder / "in.vmesh").write_bytes(video.stream)
            arguments = [
                "--compressed=in.vmesh",
                "--decMesh=out_%04d.ply",
                "--decTex=out_%04d.png",  # the decoder wants a name, even without textures
                "--startFrameIndex=0",
                "--dequantizeUV=0",
                "--reconstructNormals=0",
                "--checksum=0",
            ]
            decoder.run(arguments, folder, ctx, outputs=names, failure=BitstreamError, bounds=bounds)
            if (folder / f"out_{video.frames:04d}.ply").exists():
                raise BitstreamError(f"the stream holds more than the {video.frames} meshes that it declares")
            return [_read(folder / name) for name in names]


def _obj(mesh: trimesh.Trimesh, *, numbered: bool) -> bytes:
    """A mesh as OBJ with positions from 0 to 4095.

    Parameters
    ----------
    mesh : Trimesh
    numbered : bool
        Whether each vertex has a texture coordinate made of its number, equal in all frames. The encoder crashes in its
        search for frames of equal connectivity without one for each vertex. The coordinates are not coded.

    Raises
    ------
    CodecFailed
        No faces, a position that is not finite or outside of [-1, 1], or a face that uses a missing vertex.
    """
    faces = checked_faces(mesh.faces, len(mesh.vertices))
    if not len(faces):
        raise CodecFailed("the mesh has no faces")
    if not np.isfinite(mesh.vertices).all():
        raise CodecFailed("a coordinate is not finite")
    points = np.rint((mesh.vertices + 1) / 2 * _LARGEST).astype(np.int64)
    if points.min() < 0 or points.max() > _LARGEST:
        raise CodecFailed("a coordinate is outside of [-1, 1]")
    if not numbered:
        return (_lines("v %d %d %d\n", points) + _lines("f %d %d %d\n", faces + 1)).encode("ascii")
    numbers = np.arange(len(points))[:, None] / len(points)
    corners = np.repeat(faces + 1, 2, axis=1)
    text = _lines("v %d %d %d\n", points) + _lines("vt %.9g 0\n", numbers)
    return (text + _lines("f %d/%d %d/%d %d/%d\n", corners)).encode("ascii")


def _lines(form: str, rows: NDArray[np.int64] | NDArray[np.float64]) -> str:
    return form * len(rows) % tuple(rows.ravel().tolist())


def _read(path: Path) -> trimesh.Trimesh:
    """A decoded mesh, in [-1, 1]. Raises BitstreamError unless the file is a mesh in the cube."""
    try:
        read = read_ply(path.read_bytes(), "refuse")
    except BadMesh as error:
        raise BitstreamError(f"the decoded mesh cannot be read: {error}") from error
    mesh = decoded_mesh(read.vertices / _LARGEST * 2 - 1, read.faces)
    if not -_OUTSIDE <= read.vertices.min() <= read.vertices.max() <= _LARGEST + _OUTSIDE:
        raise BitstreamError("the stream holds vertices outside of the cube")
    return mesh
