"""Draco (Google), the most used mesh codec: quantised positions, edgebreaker connectivity.

A stream is a Draco bitstream in the container of gcbench, which has the checksum that Draco lacks. The container takes
the place of Draco's five first bytes, so a stream has three bytes more than Draco's; ``b"DRACO" + stream[8:]`` is what
any Draco decoder reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from gcbench.codecs.arrays import checked_faces, decoded_mesh
from gcbench.codecs.base import Availability, Context, Effort, ModelCodec, Rate
from gcbench.entropy.budget import Budget, Work
from gcbench.entropy.container import Container, Fields
from gcbench.errors import BitstreamError, CodecFailed
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import ArrayLike

# Draco's "compression level" 10 is its speed 0: valence edgebreaker and constrained multi-parallelogram prediction.
# Level 10 reproduces the streams of the reference measurements byte for byte. On the same meshes, streams of level 9
# are −5 to +6 % larger, and streams of level 7 (the default of draco_encoder) −2 to +9 %.
COMPRESSION_LEVEL = 10

# The header of every bitstream of this codec: Draco 2.2, a triangle mesh, edgebreaker, no metadata.
_NAME = b"DRACO"
_HEADER = _NAME + b"\x02\x02\x01\x01\x00\x00"
_TRAVERSALS = {0, 2}  # standard, valence; encoders no longer write 1 (predictive)

# Draco allocates memory for the declared counts before it reads the data: a header of 20 bytes that declares 2^30 faces
# gets the process killed. Decoding takes 120 bytes for a face. The densest streams that we found have 683 faces per
# byte (a flat grid at one bit); streams of real meshes have fewer than 10. So any stream may declare 4096 faces per
# byte up to 2^21 faces, and then 64 per byte.
MAX_FACES = 1 << 24
MAX_FACES_PER_BYTE = 4096
_FREE_FACES, _FURTHER_FACES_PER_BYTE = 1 << 21, 64
_BYTES_OF_A_FACE = 128
BUDGET = Budget(memory=_BYTES_OF_A_FACE * MAX_FACES, voxels=0, multiply_adds=0, meshes=1, triangles=MAX_FACES)


class Draco(ModelCodec):
    """Positions quantised to ``q`` bits over the longest side, connectivity by edgebreaker, no other attribute.

    Draco merges equal positions, drops degenerate faces, and cuts edges with three or more faces by repeating their
    vertices. The codec drops unused vertices before the quantiser computes its range. In each coordinate, a decoded
    vertex is at most half a step from its original; a step is longest side / (2^q − 1).

    Draco has no checksum: 20 % of randomly damaged bitstreams decode to a wrong mesh. The container finds the damage.

    Source: J. Rossignac, "Edgebreaker", TVCG 1999; github.com/google/draco, bitstream 2.2.
    """

    name = "draco"
    packages = ("DracoPy",)
    container = Container(b"DRC", 1, name, BUDGET)
    decode_budget = BUDGET

    def version(self) -> str:
        """Version of the format, of this module and of DracoPy."""
        return source_version(self.container.version, __name__, packages=self.packages)

    def availability(self) -> Availability:
        """Whether DracoPy is installed."""
        if find_spec("DracoPy") is None:
            return Availability(ok=False, reason="the package DracoPy is not installed", remedy="pip install DracoPy")
        return Availability(ok=True)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """``q07`` to ``q14``; every second one for ``quick``."""
        bits = range(8, 15, 2) if effort == "quick" else range(7, 15)
        return [Rate(f"q{q:02d}", {"quantization_bits": q}) for q in bits]

    def prepare(self) -> None:
        """Import DracoPy."""
        super().prepare()
        import_module("DracoPy")

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Encode one mesh; see :func:`encode`."""
        return pack(self.container, encode(mesh.vertices, mesh.faces, int(rate.params["quantization_bits"])))

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh, with vertices and faces in Draco's order; see :func:`decode`."""
        return decode(unpack(self.container, stream))


def pack(container: Container, bitstream: bytes) -> bytes:
    """Put a Draco bitstream into a container, in place of Draco's name."""
    return container.pack(bitstream.removeprefix(_NAME))


def unpack(container: Container, stream: bytes) -> bytes:
    """The Draco bitstream of a stream. Raises BitstreamError if the stream is damaged or of another codec."""
    return _NAME + container.open(stream).rest()


@dataclass(frozen=True)
class StreamHeader:
    """The counts in an edgebreaker stream; :func:`read_header` checks them."""

    vertices: int
    faces: int
    symbols: int
    split_symbols: int


def encode(vertices: ArrayLike, faces: ArrayLike, quantization_bits: int) -> bytes:
    """Encode positions and triangles as a Draco stream.

    Parameters
    ----------
    vertices : (V, 3) float
        Positions; unused vertices are dropped.
    faces : (F, 3) int
        Triangles.
    quantization_bits : int
        1 to 30 bits for the longest side of the bounding box.

    Raises
    ------
    CodecFailed
        Every face is degenerate, a face uses a vertex that does not exist, there are more than 2^24 faces, Draco
        refuses the mesh, or the stream is too short for so many faces.
    """
    import DracoPy

    points = np.asarray(vertices, np.float64)
    triangles = checked_faces(faces, len(points))
    if not len(triangles):
        raise CodecFailed("the mesh has no face with three different corners")
    if len(triangles) > MAX_FACES:
        raise CodecFailed(f"{len(triangles)} faces are more than the {MAX_FACES} that the decoder accepts")
    used = np.zeros(len(points), bool)
    used[triangles] = True
    if not used.all():
        points, triangles = points[used], (np.cumsum(used) - 1)[triangles]
    try:
        stream = DracoPy.encode(
            points,
            triangles,
            quantization_bits=quantization_bits,
            compression_level=COMPRESSION_LEVEL,
            quantization_range=-1,
            quantization_origin=None,
            create_metadata=False,
            preserve_order=False,
        )
    except (DracoPy.EncodingFailedException, ValueError) as error:
        if _all_degenerate(points, triangles):
            raise CodecFailed("every face has two corners at one position: Draco drops such faces") from error
        raise CodecFailed(f"Draco refuses the mesh: {error}") from error
    if len(triangles) > most_faces(len(stream)):
        raise CodecFailed(f"{len(triangles)} faces take {len(stream)} bytes: a decoder accepts fewer faces for a byte")
    return bytes(stream)


def decode(stream: bytes) -> trimesh.Trimesh:
    """Decode a Draco stream.

    Raises
    ------
    BitstreamError
        The stream is not an edgebreaker mesh in bitstream 2.2, has impossible counts, or Draco refuses it.
    """
    import DracoPy

    read_header(stream)
    try:
        mesh = DracoPy.decode(stream)
        points, faces = mesh.points, mesh.faces
    except MemoryError:
        raise
    except Exception as error:  # the C++ decoder raises many types of exceptions for bad streams
        raise BitstreamError(f"Draco cannot decode the stream: {error}") from error
    return decoded_mesh(points, faces)


def read_header(stream: bytes) -> StreamHeader:
    """Read the counts at the start of a stream, and check them before a decoder allocates memory for them.

    Raises
    ------
    BitstreamError
        The stream is not an edgebreaker mesh in bitstream 2.2, or has impossible counts.

    Source: Draco bitstream specification 2.2, sections "Draco header" and "Edgebreaker connectivity".
    """
    if not stream.startswith(_HEADER):
        raise BitstreamError("not a Draco 2.2 edgebreaker mesh without metadata")
    fields = Fields(stream, len(_HEADER))
    if fields.byte("edgebreaker traversal") not in _TRAVERSALS:
        raise BitstreamError("unknown edgebreaker traversal")
    vertices, faces = fields.number("number of vertices"), fields.number("number of faces")
    fields.byte("number of attribute seams")
    symbols, splits = fields.number("number of symbols"), fields.number("number of split symbols")
    header = StreamHeader(vertices, faces, symbols, splits)
    limit = most_faces(len(stream))
    if not 0 < header.faces <= limit:
        raise BitstreamError(f"{header.faces} faces are declared in {len(stream)} bytes; the limit is {limit}")
    if not (3 <= header.vertices <= 3 * header.faces and header.split_symbols <= header.symbols <= header.faces):
        raise BitstreamError("the declared counts contradict each other")
    Work(BUDGET).spend(memory=_BYTES_OF_A_FACE * faces, meshes=1, triangles=faces)
    return header


def most_faces(stream_bytes: int) -> int:
    """Faces that a stream of this length may declare."""
    return min(MAX_FACES, MAX_FACES_PER_BYTE * stream_bytes, _FREE_FACES + _FURTHER_FACES_PER_BYTE * stream_bytes)


def _all_degenerate(points: np.ndarray, triangles: np.ndarray) -> bool:
    a, b, c = (points[triangles[:, k]].astype(np.float32) for k in range(3))
    return bool(((a == b).all(1) | (b == c).all(1) | (a == c).all(1)).all())
