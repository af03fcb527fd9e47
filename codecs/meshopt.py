"""meshoptimizer: the compression of glTF that decodes fastest. Quantised vertices and triangles, then zstd.

The body of the container, after which nothing follows:

    number of vertices V · number of triangles T · bits · origin (3 float32) · step (float32)
    · length of the vertex block · zstd frame with content size

The frame holds a vertex block and an index block of meshoptimizer. The vertex block has V rows of four uint16 (x, y, z
and 0) for up to 16 bits, of three uint32 beyond. A position is ``origin + step * row``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gcbench.codecs.arrays import checked_faces, decoded_mesh
from gcbench.codecs.base import Availability, Context, Effort, ModelCodec, Rate
from gcbench.entropy.budget import check_budget
from gcbench.entropy.container import Container, Fields, Writer
from gcbench.errors import BitstreamError, CodecFailed
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import ArrayLike, NDArray

MAX_BITS = 24  # a float32 holds such a position exactly
# On 3 AMA frames, 5 animals and 3 models of Thingi10K at 12 bits, level 3 and codec version 1 save 7 % over level 2 and
# version 0, which EXT_meshopt_compression uses; KHR_meshopt_compression allows version 1.
_VERTEX_LEVEL, _VERTEX_VERSION, _ZSTD_LEVEL = 3, 1, 19

# zstd makes a gigabyte from 33 kB, and a decoded triangle takes some 50 bytes. The densest honest stream that we found
# (a part of equal teeth, Thingi10K 1514499) has 3 triangles for each byte.
_SMALL_TRIANGLES, _TRIANGLES_PER_BYTE, MAX_TRIANGLES = 1 << 20, 64, 1 << 24


class Meshopt(ModelCodec):
    """Positions quantised to ``q`` bits over the longest side; vertex and index codecs of meshoptimizer; zstd.

    Triangles come in the order of a strip, and vertices in the order of their first use, which is what meshoptimizer
    recommends for small files. Its other order, for the vertex cache of a GPU, takes 1.2 times the bytes; triangles
    sorted along a space-filling curve take 1.5 times. A stream has 1.5–1.9 times the bytes of a Draco stream at equal
    bits on organic meshes, and decodes about 10 times faster. In each coordinate, a decoded vertex is at most half a
    step from its original; a step is longest side / (2^q − 1). Unused vertices are dropped.

    Source: A. Kapoulkine, meshoptimizer 1.3; glTF extension KHR_meshopt_compression.
    """

    name = "meshopt"
    packages = ("meshopt", "zstandard")
    container = Container(b"MSO", 1, name)
    decode_budget = container.budget

    def version(self) -> str:
        """Version of the format, of this module, and of the packages."""
        return source_version(self.container.version, __name__, packages=self.packages)

    def availability(self) -> Availability:
        """Whether the packages meshopt and zstandard are installed."""
        for package in self.packages:
            if find_spec(package) is None:
                return Availability(
                    ok=False, reason=f"the package {package} is not installed", remedy=f"pip install {package}"
                )
        return Availability(ok=True)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """``q07`` to ``q14``, as those of ``draco``; every second one for ``quick``."""
        bits = range(8, 15, 2) if effort == "quick" else range(7, 15)
        return [Rate(f"q{q:02d}", {"quantization_bits": q}) for q in bits]

    def prepare(self) -> None:
        """Import meshopt and zstandard."""
        super().prepare()
        import_module("meshopt")
        import_module("zstandard")

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Encode one mesh; see :func:`encode`."""
        return encode(self.container, mesh.vertices, mesh.faces, int(rate.params["quantization_bits"]))

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh; see :func:`decode`."""
        return decode(self.container, stream)


class _Head(NamedTuple):
    """Fields before the frame."""

    vertices: int
    triangles: int
    bits: int
    origin: NDArray[np.float32]
    step: np.float32
    block_bytes: int


def encode(container: Container, vertices: ArrayLike, faces: ArrayLike, bits: int) -> bytes:
    """Encode positions and triangles.

    Parameters
    ----------
    container : Container
        Of the codec.
    vertices : (V, 3) float
        Positions; unused vertices are dropped.
    faces : (F, 3) int
        Triangles. Their order is not kept; the order of corners in a triangle is, up to rotation.
    bits : int
        1 to 24 bits for the longest side of the bounding box.

    Raises
    ------
    CodecFailed
        No face, a coordinate that is not finite, a face that uses a vertex that does not exist, or more faces than a
        decoder accepts.
    """
    import meshopt
    import zstandard

    points = np.asarray(vertices, np.float64)
    triangles = checked_faces(faces, len(points)).astype(np.uint32)
    if not len(triangles):
        raise CodecFailed("the mesh has no faces")
    indices, places, used = meshopt.reorder_mesh(triangles.reshape(-1), triangles=True, optsize=True)
    ordered = np.empty((used, 3))
    ordered[places[places < used]] = points[: len(places)][places < used]  # it counts vertices up to the last used one
    if not np.isfinite(ordered).all():
        raise CodecFailed("a coordinate is not finite")
    origin = ordered.min(0).astype("<f4")
    step = np.float32((ordered.max(0) - ordered.min(0)).max() / (2**bits - 1)) or np.float32(1)
    kind, width = _row(bits)
    rows = np.zeros((used, width), kind)
    rows[:, :3] = np.clip(np.rint((ordered - origin) / float(step)), 0, 2**bits - 1)
    block = meshopt.encode_vertex_buffer_level(rows, _VERTEX_LEVEL, _VERTEX_VERSION)
    # The container has a checksum: zstd's own would cost four more bytes.
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=False, write_content_size=True, threads=0)
    head = Writer().number(used, len(triangles)).byte(bits).floats([*origin, step]).number(len(block))
    stream = container.pack(head.raw(compressor.compress(block + meshopt.encode_index_buffer(indices))).data())
    if len(triangles) > _most_triangles(len(stream)):
        raise CodecFailed(f"the mesh has {len(triangles)} faces in {len(stream)} bytes: more than the decoder accepts")
    return stream


def decode(container: Container, stream: bytes) -> trimesh.Trimesh:
    """Decode one mesh, with vertices and triangles in the order of the stream.

    Raises
    ------
    BitstreamError
        The stream is short, corrupt, foreign, or declares impossible sizes.
    """
    import meshopt

    fields = container.open(stream)
    head = _read_head(fields, len(stream))
    kind, width = _row(head.bits)
    payload = _decompressed(fields.rest(), head, kind.itemsize * width)
    try:
        rows = meshopt.decode_vertex_buffer(payload[: head.block_bytes], head.vertices, kind.itemsize * width)
        indices = meshopt.decode_index_buffer(payload[head.block_bytes :], 3 * head.triangles, 4)
    except (ValueError, RuntimeError) as error:
        raise BitstreamError(f"meshoptimizer cannot decode the stream: {error}") from error
    places = rows.view(kind).reshape(head.vertices, width)
    if places.max() >= 2**head.bits or places[:, 3:].any():
        raise BitstreamError(f"a position has more than {head.bits} bits")
    positions = head.origin.astype(np.float64) + float(head.step) * places[:, :3]
    return decoded_mesh(positions, indices.reshape(-1, 3))


def _read_head(fields: Fields, stream_bytes: int) -> _Head:
    vertices = fields.number("number of vertices", 1)
    triangles = fields.number("number of triangles", 1)
    bits = fields.byte("number of bits", 1, MAX_BITS)
    *origin, step = fields.floats("origin and step", 4)
    block_bytes = fields.number("length of the vertex block", 1)
    check_budget(f"triangles in {stream_bytes} bytes", triangles, _most_triangles(stream_bytes))
    check_budget(f"vertices of {triangles} triangles", vertices, 3 * triangles)
    if not step > 0:
        raise BitstreamError(f"the step is {step}, which is not positive")
    return _Head(vertices, triangles, bits, np.asarray(origin), step, block_bytes)


def _decompressed(frame: bytes, head: _Head, row_bytes: int) -> bytes:
    """The two blocks of meshoptimizer."""
    import zstandard

    try:
        # zstd allocates what the frame declares. If the frame declares no size, the size here is -1.
        content_bytes = zstandard.frame_content_size(frame)
        # A row takes at most its bytes and a bit for each; a triangle at most 16 bytes. The rest is heads and tails.
        most = 2 * row_bytes * head.vertices + 16 * head.triangles + 1024
        if not head.block_bytes < content_bytes <= most:
            raise BitstreamError(f"the zstd frame has {content_bytes} bytes, which is not in {head.block_bytes}…{most}")
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=content_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BitstreamError(f"zstd cannot decode the stream: {error}") from error


def _row(bits: int) -> tuple[np.dtype[Any], int]:
    """Type and length of a row of the vertex block."""
    return (np.dtype("<u2"), 4) if bits <= 16 else (np.dtype("<u4"), 3)


def _most_triangles(stream_bytes: int) -> int:
    return min(MAX_TRIANGLES, _SMALL_TRIANGLES + _TRIANGLES_PER_BYTE * stream_bytes)
