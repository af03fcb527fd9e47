"""The simplest baseline: float32 positions and int32 triangles, compressed by zstd; lossless except for the float32.

The body of the container is V, F, then one zstd frame with content size. The frame holds V × 3 float32 positions and
F × 3 int32 vertex indices, little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from gcbench.codecs.arrays import checked_faces, decoded_mesh
from gcbench.codecs.base import Availability, Context, Effort, ModelCodec, Rate
from gcbench.entropy.budget import Budget, check_budget
from gcbench.entropy.container import Container, Writer
from gcbench.errors import BitstreamError, CodecFailed
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh

_ROW_BYTES = 12  # three float32, or three int32
MAX_PAYLOAD_BYTES = 1 << 31
_DECODED = 3  # bytes of all arrays for one of the payload: the payload itself, float64 positions, int64 indices
# A zstd block makes at most 128 KiB, and the smallest (run-length) takes 4 bytes. Source: RFC 8878, section 3.1.1.2.
_MAX_EXPANSION = (128 << 10) // 4
# So 33 kB of zstd can become 1 GiB. Meshes take a third to a twentieth of their arrays; beyond 64 MiB, a stream may be
# at most 64 times smaller than its arrays.
_FREE_BYTES, _MOST_EXPANSION = 1 << 26, 64


class RawZstd(ModelCodec):
    """The vertex and face arrays of a mesh, compressed by zstd; vertices and faces keep their order."""

    name = "raw-zstd"
    packages = ("zstandard",)
    decode_budget = Budget(
        memory=_DECODED * MAX_PAYLOAD_BYTES,
        voxels=0,
        multiply_adds=0,
        meshes=1,
        triangles=MAX_PAYLOAD_BYTES // _ROW_BYTES,
    )
    container = Container(b"RZS", 1, name, decode_budget)

    def version(self) -> str:
        """Version of the format, of this module, and of the package zstandard, which contains zstd."""
        return source_version(self.container.version, __name__, packages=self.packages)

    def availability(self) -> Availability:
        """Whether zstandard is installed."""
        if find_spec("zstandard") is None:
            return Availability(
                ok=False, reason="the package zstandard is not installed", remedy="pip install zstandard"
            )
        return Availability(ok=True)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """One rate, zstd level 19: the codec is lossless, and levels up to 22 take as many bytes (AMA frames)."""
        return [Rate("z19", {"level": 19})]

    def prepare(self) -> None:
        """Import zstandard."""
        super().prepare()
        import_module("zstandard")

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Encode one mesh.

        Raises
        ------
        CodecFailed
            The mesh has no faces or more than 2 GiB of arrays, a coordinate is not a finite float32, or a face uses a
            vertex that does not exist.
        """
        import zstandard

        vertices, faces = np.asarray(mesh.vertices, "<f4"), checked_faces(mesh.faces, len(mesh.vertices))
        payload_bytes = _ROW_BYTES * (len(vertices) + len(faces))
        if not len(faces):
            raise CodecFailed("the mesh has no faces")
        if not np.isfinite(vertices).all():
            raise CodecFailed("a coordinate is not finite")
        if payload_bytes > MAX_PAYLOAD_BYTES:
            raise CodecFailed(f"the mesh takes {payload_bytes} bytes; the format's limit is {MAX_PAYLOAD_BYTES}")
        # The container has a checksum: zstd's own would cost four more bytes.
        compressor = zstandard.ZstdCompressor(
            level=int(rate.params["level"]), write_checksum=False, write_content_size=True, threads=0
        )
        frame = compressor.compress(vertices.tobytes() + faces.astype("<i4").tobytes())
        if payload_bytes > most_payload_bytes(len(frame)):
            raise CodecFailed(
                f"{payload_bytes} bytes of arrays take {len(frame)} bytes: a decoder accepts only "
                f"{most_payload_bytes(len(frame))}"
            )
        return self.container.pack(Writer().number(len(vertices), len(faces)).raw(frame).data())

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt, foreign, followed by other bytes, or declares impossible sizes.
        """
        import zstandard

        fields = self.container.open(stream)
        n_vertices, n_faces = fields.number("number of vertices"), fields.number("number of faces")
        frame = fields.rest()
        payload_bytes = _ROW_BYTES * (n_vertices + n_faces)
        check_budget("bytes of arrays", payload_bytes, most_payload_bytes(len(frame)))
        fields.work.spend(memory=_DECODED * payload_bytes, meshes=1, triangles=n_faces)
        try:
            # zstd allocates as much memory as the frame declares. If the frame declares no size, the size here is -1.
            content_bytes = zstandard.frame_content_size(frame)
            if content_bytes != payload_bytes:
                raise BitstreamError(f"{payload_bytes} bytes are declared, the zstd frame has {content_bytes}")
            payload = zstandard.ZstdDecompressor().decompress(
                frame, max_output_size=payload_bytes, allow_extra_data=False
            )
        except zstandard.ZstdError as error:
            raise BitstreamError(f"zstd cannot decode the stream: {error}") from error
        if len(payload) != payload_bytes:
            raise BitstreamError(f"{payload_bytes} bytes are declared, {len(payload)} were decoded")
        vertices = np.frombuffer(payload, "<f4", 3 * n_vertices).reshape(-1, 3)
        faces = np.frombuffer(payload, "<i4", 3 * n_faces, _ROW_BYTES * n_vertices).reshape(-1, 3)
        return decoded_mesh(vertices, faces)


def most_payload_bytes(frame_bytes: int) -> int:
    """Bytes of arrays that a frame of this length may become."""
    return min(MAX_PAYLOAD_BYTES, _MAX_EXPANSION * frame_bytes, _FREE_BYTES + _MOST_EXPANSION * frame_bytes)
