"""A mesh codec to start from: positions on a grid, differences of neighbours, zlib.

Stream, little-endian: gcbench's container (magic, version, CRC-32), bits (1 byte), V and F (LEB128), origin
(3 × float64) and step (float64), then zlib over the planes of bytes of the differences.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import trimesh

from gcbench.codecs import Context, ModelCodec, Rate
from gcbench.codecs.base import Effort, decoded_mesh
from gcbench.entropy.budget import Budget
from gcbench.entropy.container import Container, Writer
from gcbench.errors import BitstreamError, CodecFailed

_VERSION = 1
_BUDGET = Budget(memory=256 << 20, triangles=1 << 22)
_CONTAINER = Container(b"XMP", _VERSION, "example-codec", budget=_BUDGET)
_PLACE = struct.Struct("<4d")
_BYTES_PER_ROW = 60  # while a row of three numbers is decoded: bytes of zlib, integers, float64
_ZLIB_MAX_EXPANSION = 1032  # Source: zlib technical details, "Maximum Compression Factor"


class ExampleCodec(ModelCodec):
    """Vertices on a grid of 2^bits steps and faces as they are, both as differences, through zlib."""

    name = "example-codec"
    decode_budget = _BUDGET

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
        return _packed(bits, len(vertices), len(faces), [*origin, step], payload)

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh from its stream. Raise BitstreamError if anything is wrong with the stream."""
        fields = _CONTAINER.open(stream)
        fields.byte("number of bits", 1, 30)
        n_vertices, n_faces = fields.number("number of vertices"), fields.number("number of faces")
        *origin, step = _PLACE.unpack(fields.raw("place", _PLACE.size))
        # Say what decoding costs before it takes memory: a forged stream can have a right checksum.
        fields.work.spend(memory=_BYTES_PER_ROW * (n_vertices + n_faces), triangles=n_faces)
        payload = fields.rest()
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


def _packed(bits: int, n_vertices: int, n_faces: int, place: list[float], payload: bytes) -> bytes:
    """Put the fields of a stream and the compressed differences into the container."""
    fields = Writer().byte(bits).number(n_vertices, n_faces).raw(_PLACE.pack(*place))
    return _CONTAINER.pack(fields.raw(payload).data())


def _pack(rows: np.ndarray) -> bytes:
    """Differences of successive rows, as zigzag codes, all lowest bytes first, which zlib compresses well."""
    delta = np.diff(rows, axis=0, prepend=np.zeros((1, 3), np.int32))
    zigzag = ((delta << 1) ^ (delta >> 31)).astype("<u4")
    return zigzag.reshape(-1, 1).view(np.uint8).T.tobytes()


def _unpack(data: bytes) -> np.ndarray:
    zigzag = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(4, -1).T).view("<u4").reshape(-1, 3)
    delta = (zigzag >> 1).astype(np.int32) ^ -(zigzag & 1).astype(np.int32)
    return np.cumsum(delta, axis=0, dtype=np.int32)
