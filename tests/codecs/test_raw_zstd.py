"""The raw-zstd format: golden bytes, and every way in which a stream can be wrong."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
import trimesh
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gcbench.codecs import Context
from gcbench.codecs.raw_zstd import MAX_PAYLOAD_BYTES, RawZstd
from gcbench.entropy.container import Container, Writer
from gcbench.errors import BitstreamError, CodecFailed

CODEC = RawZstd()
(RATE,) = CODEC.rates("standard")
VERTICES = np.array([[-1, -0.5, 0], [1, -0.5, 0], [0, 0.5, 0]], "<f4")
FACES = np.array([[0, 1, 2]], "<i4")
PAYLOAD = VERTICES.tobytes() + FACES.tobytes()

# Container "RZS", version 1, checksum; V = 3, F = 1; then a zstd frame: magic, descriptor (single segment), content
# size 48, and one raw block of 48 bytes that is the last (48 << 3 | 1).
GOLDEN = bytes.fromhex(
    "525a53 01 1ed4221c 03 01"
    "28b52ffd 20 30 810100"
    "000080bf 000000bf 00000000  0000803f 000000bf 00000000  00000000 0000003f 00000000"
    "00000000 01000000 02000000"
)


def frame(payload: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(level=3, **options).compress(payload)


def stream_of(frame: bytes, n_vertices: int = 3, n_faces: int = 1) -> bytes:
    return CODEC.container.pack(Writer().number(n_vertices, n_faces).raw(frame).data())


def frame_header(content_bytes: int) -> bytes:
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", content_bytes)


def decode(stream: bytes) -> trimesh.Trimesh:
    return CODEC.decode_mesh(stream, Context())


def test_golden_stream_decodes():
    mesh = decode(GOLDEN)
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.faces, FACES)


def test_golden_header_is_what_is_written(ctx):
    stream = CODEC.encode_mesh(trimesh.Trimesh(VERTICES, FACES, process=False), RATE, ctx)
    assert (stream[:4], stream[8:10]) == (GOLDEN[:4], GOLDEN[8:10])
    parameters = zstandard.get_frame_parameters(stream[10:])
    assert (parameters.content_size, parameters.has_checksum) == (48, False)
    assert zstandard.ZstdDecompressor().decompress(stream[10:]) == PAYLOAD


@given(data=st.data(), n_vertices=st.integers(1, 40), n_faces=st.integers(1, 40))
def test_round_trip_is_exact_and_keeps_the_order(data, n_vertices, n_faces):
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(n_vertices, 3)).astype(np.float32)
    faces = rng.integers(0, n_vertices, (n_faces, 3))
    stream = CODEC.encode_mesh(trimesh.Trimesh(vertices, faces, process=False), RATE, Context())
    mesh = decode(stream)
    np.testing.assert_array_equal(mesh.vertices, vertices)
    np.testing.assert_array_equal(mesh.faces, faces)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "too short"),
        (Container(b"RZT", 1, "foreign").pack(frame(PAYLOAD)), "not a stream of raw-zstd but of foreign"),
        (CODEC.container.pack(b""), "ends in its number of vertices"),
        (stream_of(b""), "declares 48 bytes of arrays; the limit is 0"),
        (stream_of(frame(PAYLOAD), 4, 1), "60 bytes are declared, the zstd frame has 48"),
        (stream_of(frame(PAYLOAD, write_content_size=False)), "the zstd frame has -1"),
        (stream_of(frame(PAYLOAD[:-1])), "the zstd frame has 47"),
        (stream_of(PAYLOAD), "zstd cannot"),
        (stream_of(frame(PAYLOAD) + b"\0"), "zstd cannot"),
        (stream_of(frame(PAYLOAD) + frame(b"more")), "zstd cannot"),
        (stream_of(frame(PAYLOAD), 2**35 - 1, 2**35 - 1), "the limit is"),
        (stream_of(frame(PAYLOAD), 4, 0), "no faces"),
        (stream_of(frame(PAYLOAD[:-4] + struct.pack("<i", 3))), "uses a vertex that is not among the 3"),
        (stream_of(frame(PAYLOAD[:-4] + struct.pack("<i", -1))), "uses a vertex"),
        (stream_of(frame(struct.pack("<f", np.nan) + PAYLOAD[4:])), "not finite"),
        (stream_of(frame(struct.pack("<f", np.inf) + PAYLOAD[4:])), "not finite"),
    ],
)
def test_bad_streams_are_refused(stream, message):
    with pytest.raises(BitstreamError, match=message):
        decode(stream)


def test_every_flipped_bit_is_refused():
    for bit in range(8 * len(GOLDEN)):
        damaged = bytearray(GOLDEN)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            decode(bytes(damaged))


def test_a_bomb_takes_no_memory():
    """Frames that claim more than the format allows, and more than so few bytes can expand to."""
    rows = MAX_PAYLOAD_BYTES // 12 + 1
    bombs = [
        stream_of(frame_header(12 * rows) + bytes(1 << 17), rows, 0),
        stream_of(frame_header(12 * ((1 << 30) // 12 + 1)) + bytes(17), (1 << 30) // 12, 1),
    ]
    tracemalloc.start()
    for bomb in bombs:
        with pytest.raises(BitstreamError, match="the limit is"):
            decode(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_mesh_without_faces_is_refused(ctx):
    with pytest.raises(CodecFailed, match="no faces"):
        CODEC.encode_mesh(trimesh.Trimesh(VERTICES, np.zeros((0, 3), int), process=False), RATE, ctx)


def test_dirty_meshes_come_back_as_they_are(dirty, ctx):
    mesh = decode(CODEC.encode_mesh(dirty, RATE, ctx))
    np.testing.assert_array_equal(mesh.vertices, dirty.vertices.astype(np.float32))
    np.testing.assert_array_equal(mesh.faces, dirty.faces)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_the_decoder_would_refuse_is_not_encoded(value, torus, ctx):
    vertices = torus.vertices.copy()
    vertices[3, 1] = value
    broken = trimesh.Trimesh(vertices, torus.faces, process=False)
    with pytest.raises(CodecFailed, match="not finite"):
        RawZstd().encode_mesh(broken, RawZstd().rates("quick")[0], ctx)
