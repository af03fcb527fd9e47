"""A mesh codec to start from: positions on a grid, differences of neighbours, zlib.

Stream, little-endian: magic (4 bytes), version and bits (1 byte each), V and F (uint32), origin (3 × float64), step
(float64), CRC-32 of everything else (uint32), then zlib over the planes of bytes of the differences.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import trimesh

from gcbench.codecs import Context, ModelCodec, Rate
from gcbench.codecs.base import Effort, decoded_mesh
from gcbench.errors import BitstreamError, CodecFailed

_MAGIC, _VERSION = b"XMPL", 1
_HEADER = struct.Struct("<4sBBII4d")
_CHECKSUM = struct.Struct("<I")
_ZLIB_MAX_EXPANSION = 1032  # Source: zlib technical details, "Maximum Compression Factor"


class ExampleCodec(ModelCodec):
    """Vertices on a grid of 2^bits steps and faces as they are, both as differences, through zlib."""

    name = "example-codec"

    def version(self) -> str:
        """Change this when the bytes or the decoded meshes change; stored results are then computed again."""
        return f"{_VERSION}"

    def rates(self, effort: Effort) -> list[Rate]:
        """From low to high quality. Labels are keys in results, so never change the meaning of a label."""
        bits = range(8, 15, 2) if effort == "quick" else range(7, 15)
        return [Rate(f"q{b:02d}", {"bits": b}) for b in bits]

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Encode one mesh. Raise CodecFailed if that is impossible; never change ``mesh``."""
        vertices, faces, bits = np.asarray(mesh.vertices), np.asarray(mesh.faces), int(rate.params["bits"])
        if not len(faces):
            raise CodecFailed("the mesh has no faces")
        if not np.isfinite(vertices).all():
            raise CodecFailed("a position is not finite")
        origin = vertices.min(axis=0)
        step = float(np.ptp(vertices, axis=0).max()) / (2**bits - 1) or 1.0
        grid = np.rint((vertices - origin) / step).astype(np.int32)
        payload = zlib.compress(_pack(grid) + _pack(faces.astype(np.int32)), 9)
        header = _HEADER.pack(_MAGIC, _VERSION, bits, len(vertices), len(faces), *origin, step)
        return header + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(header))) + payload

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh from its stream. Raise BitstreamError if anything is wrong with the stream."""
        start = _HEADER.size + _CHECKSUM.size
        if len(stream) < start or not stream.startswith(_MAGIC):
            raise BitstreamError("not an example-codec stream")
        _, version, _, n_vertices, n_faces, *origin, step = _HEADER.unpack_from(stream)
        if version != _VERSION:
            raise BitstreamError(f"version {version} is not version {_VERSION}, the one known here")
        payload = stream[start:]
        if _CHECKSUM.unpack_from(stream, _HEADER.size) != (zlib.crc32(payload, zlib.crc32(stream[: _HEADER.size])),):
            raise BitstreamError("the checksum is wrong")
        # Check sizes before memory is allocated: a forged stream can have a right checksum.
        grid_bytes, size = 12 * n_vertices, 12 * (n_vertices + n_faces)
        if size > _ZLIB_MAX_EXPANSION * len(payload):
            raise BitstreamError(f"{size} bytes are declared, {len(payload)} bytes of zlib cannot hold as many")
        try:
            inflate = zlib.decompressobj()
            data = inflate.decompress(payload, size + 1)
        except zlib.error as error:
            raise BitstreamError(f"zlib cannot decode the stream: {error}") from error
        if len(data) != size or not inflate.eof or inflate.unused_data:
            raise BitstreamError(f"{size} bytes are declared, the stream holds others")
        return decoded_mesh(_unpack(data[:grid_bytes]) * step + origin, _unpack(data[grid_bytes:]))


def _pack(rows: np.ndarray) -> bytes:
    """Differences of successive rows, as zigzag codes, all lowest bytes first, which zlib compresses well."""
    delta = np.diff(rows, axis=0, prepend=np.zeros((1, 3), np.int32))
    zigzag = ((delta << 1) ^ (delta >> 31)).astype("<u4")
    return zigzag.reshape(-1, 1).view(np.uint8).T.tobytes()


def _unpack(data: bytes) -> np.ndarray:
    zigzag = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(4, -1).T).view("<u4").reshape(-1, 3)
    delta = (zigzag >> 1).astype(np.int32) ^ -(zigzag & 1).astype(np.int32)
    return np.cumsum(delta, axis=0, dtype=np.int32)
