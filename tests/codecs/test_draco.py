"""Draco streams: what is written, what comes back and how exactly, and that damaged streams do no harm."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import DracoPy
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.codecs import Context
from gcbench.codecs.draco import MAX_FACES, Draco, StreamHeader, decode, encode, read_header, unpack
from gcbench.errors import BitstreamError, CodecFailed

CODEC = Draco()
TRIANGLE = ([[-1, -0.5, 0], [1, -0.5, 0], [0, 0.5, 0]], [[0, 1, 2]])

# The triangle above at 8 bits, as DracoPy 2.2.0 writes it.
GOLDEN = bytes.fromhex(
    "445241434f020201010000000301000100000107ff011101ff000101000903000002010101000903551517ad2a03047081e9ff07f8ff070000000000ff000000000080bf000000bf000000000000004008"
)


def lattice_faces(mesh: trimesh.Trimesh, low: np.ndarray, step: float) -> Counter[tuple[tuple[int, ...], ...]]:
    """Count faces by the lattice points of their corners; the smallest corner first, orientation kept."""
    points = (np.asarray(mesh.vertices) - low) / step
    lattice = np.round(points).astype(int)
    assert np.abs(points - lattice).max() < 0.01
    faces = []
    for face in lattice[mesh.faces].tolist():
        corners = [tuple(corner) for corner in face]
        first = corners.index(min(corners))
        faces.append(tuple(corners[first:] + corners[:first]))
    return Counter(faces)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def with_counts(vertices: int, faces: int, symbols: int, splits: int = 0) -> bytes:
    """Put other counts into the golden stream."""
    return GOLDEN[:12] + varint(vertices) + varint(faces) + b"\0" + varint(symbols) + varint(splits) + GOLDEN[17:]


def test_golden_stream_decodes_to_the_triangle():
    mesh = decode(GOLDEN)
    up = 128 * 2 / 255  # half of the range is step 127.5, which Draco rounds up
    expected = [[-1, -0.5, 0], [1, -0.5, 0], [up - 1, up - 0.5, 0]]
    np.testing.assert_allclose(mesh.vertices[mesh.faces[0]], expected, atol=1e-7)


def test_what_is_written_is_the_golden_stream():
    """Fails when DracoPy writes other bytes: then stored results are stale, and the codec's version says so."""
    assert encode(*TRIANGLE, 8) == GOLDEN


def test_the_stream_is_one_that_any_draco_decoder_reads(torus):
    mesh = DracoPy.decode(encode(torus.vertices, torus.faces, 11))
    assert len(mesh.faces) == len(torus.faces)
    assert [attribute["attribute_type"] for attribute in mesh.attributes] == [DracoPy.AttributeType.POSITION]


def test_ladder():
    assert [rate.label for rate in CODEC.rates("standard")] == [f"q{q:02d}" for q in range(7, 15)]
    assert [rate.label for rate in CODEC.rates("quick")] == ["q08", "q10", "q12", "q14"]


@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(7, 14), n_faces=st.integers(1, 60))
@settings(max_examples=60)
def test_decoded_vertices_are_within_half_a_step(seed, bits, n_faces):
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-1, 1, (n_faces + 2, 3)).astype(np.float32).astype(float)
    faces = np.array([rng.choice(len(vertices), 3, replace=False) for _ in range(n_faces)])
    mesh = decode(encode(vertices, faces, bits))
    used = vertices[np.unique(faces)]
    half_step = 0.5 * np.ptp(used, axis=0).max() / (2**bits - 1)
    for one, other in ((mesh.vertices, used), (used, mesh.vertices)):
        to_nearest = np.abs(one[:, None] - other).max(2).min(1)
        assert to_nearest.max() <= half_step + 1e-6  # float32 at 1 is good to 6e-8
    assert len(mesh.faces) == n_faces


@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(7, 14), n_faces=st.integers(1, 60))
@settings(max_examples=60)
def test_every_face_comes_back_with_its_orientation(seed, bits, n_faces):
    """On vertices that the quantiser hits exactly, the faces are equal as a multiset, manifold or not."""
    rng = np.random.default_rng(seed)
    top = 2**bits - 1
    lattice = np.unique(np.concatenate([rng.integers(0, top + 1, (n_faces + 2, 3)), [[0] * 3, [top] * 3]]), axis=0)
    rng.shuffle(lattice)
    step = 2 / top
    ends = [int(np.flatnonzero((lattice == value).all(1))[0]) for value in (0, top)]
    faces = [rng.choice(len(lattice), 3, replace=False) for _ in range(n_faces)]
    faces.append([*ends, next(k for k in range(len(lattice)) if k not in ends)])
    mesh = trimesh.Trimesh(lattice * step - 1, faces, process=False)
    low = np.full(3, -1.0)
    assert lattice_faces(decode(encode(mesh.vertices, mesh.faces, bits)), low, step) == lattice_faces(mesh, low, step)


@pytest.mark.parametrize("bits", range(7, 15))
def test_topology_of_a_manifold_is_kept(torus, bits):
    far = torus.copy()
    far.apply_translation([3, 0, 0])
    pair = trimesh.util.concatenate([torus, far])
    mesh = decode(encode(pair.vertices, pair.faces, bits))
    assert (len(mesh.vertices), len(mesh.faces)) == (len(pair.vertices), len(pair.faces))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert (mesh.body_count, mesh.euler_number) == (2, 0)


def test_unused_vertices_do_not_coarsen_the_quantiser(torus):
    vertices = np.concatenate([[[50.0, 0, 0]], torus.vertices])
    assert encode(vertices, torus.faces + 1, 10) == encode(torus.vertices, torus.faces, 10)


def test_dirty_meshes_keep_their_surface(dirty, ctx):
    """Every face with three different corners is there, and nothing else."""
    (rate,) = (rate for rate in CODEC.rates("standard") if rate.label == "q14")
    mesh = CODEC.decode_mesh(CODEC.encode_mesh(dirty, rate, ctx), ctx)
    corners = dirty.vertices.astype(np.float32)[dirty.faces]
    distinct = sum(len(np.unique(face, axis=0)) == 3 for face in corners)
    assert len(mesh.faces) == distinct
    assert mesh.area == pytest.approx(dirty.area, rel=2e-3)


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (TRIANGLE[0], np.zeros((0, 3), int), "no face with three different corners"),
        (TRIANGLE[0], [[0, 0, 1], [2, 2, 2]], "Draco drops such faces"),
        (np.zeros((3, 3)), [[0, 1, 2]], "Draco drops such faces"),
        ([[np.nan, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], "Draco refuses"),
    ],
)
def test_what_cannot_be_coded_is_said(vertices, faces, message):
    with pytest.raises(CodecFailed, match=message):
        encode(vertices, faces, 10)


def test_header_is_read(torus):
    header = read_header(encode(torus.vertices, torus.faces, 10))
    assert (header.vertices, header.faces) == (len(torus.vertices), len(torus.faces))
    assert read_header(GOLDEN) == StreamHeader(vertices=3, faces=1, symbols=1, split_symbols=0)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "not a Draco"),
        (b"PK\3\4" + bytes(100), "not a Draco"),
        (GOLDEN[:6] + b"\1" + GOLDEN[7:], "not a Draco 2.2"),
        (DracoPy.encode(np.eye(3), quantization_bits=8), "not a Draco 2.2 edgebreaker mesh"),  # a point cloud
        (DracoPy.encode(np.eye(3), [[0, 1, 2]], compression_level=0), "edgebreaker"),  # sequential connectivity
        (DracoPy.encode(np.eye(3), [[0, 1, 2]], create_metadata=True), "without metadata"),
        (GOLDEN[:11], "ends in its edgebreaker traversal"),
        (GOLDEN[:14], "ends in its number of"),
        (GOLDEN[:11] + b"\1" + GOLDEN[12:], "traversal"),
        (GOLDEN[:12] + b"\xff" * 6 + GOLDEN[18:], "more than 5 bytes"),
        (with_counts(3, 0, 0), "0 faces are declared"),
        (with_counts(1 << 30, 1 << 30, 1 << 30), "faces are declared"),
        (with_counts(1000, 1 << 20, 1 << 20), "faces are declared"),
        (with_counts(3, MAX_FACES + 1, 1) + bytes(1 << 15), "faces are declared"),
        (with_counts(2, 1, 1), "contradict"),
        (with_counts(4, 1, 1), "contradict"),
        (with_counts(3, 1, 2), "contradict"),
        (with_counts(3, 1, 1, 2), "contradict"),
    ],
)
def test_bad_headers_are_refused_before_draco_sees_them(stream, message, monkeypatch):
    monkeypatch.setattr(DracoPy, "decode", None)
    with pytest.raises(BitstreamError, match=message):
        decode(stream)


def test_the_densest_stream_is_within_the_limit():
    """A flat grid at one bit: 683 faces per byte with a million quads."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 200)] * 2), -1).reshape(-1, 2)
    index = np.arange(200 * 200).reshape(200, 200)
    a, b, c, d = (index[i : i + 199, j : j + 199].ravel() for i in (0, 1) for j in (0, 1))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    stream = encode(np.pad(grid, ((0, 0), (0, 1))), faces, 1)
    assert len(faces) / len(stream) > 100
    assert len(decode(stream).faces) == len(faces)


def test_a_stream_is_three_bytes_more_than_draco_and_holds_a_bitstream_that_draco_reads(torus):
    (rate,) = (rate for rate in CODEC.rates("quick") if rate.label == "q10")
    stream, plain = CODEC.encode_mesh(torus, rate, Context()), encode(torus.vertices, torus.faces, 10)
    assert len(stream) == len(plain) + 3
    assert unpack(Draco.container, stream) == b"DRACO" + stream[8:] == plain
    assert len(DracoPy.decode(b"DRACO" + stream[8:]).faces) == len(torus.faces)


@pytest.mark.parametrize("at", [3, 5, 9, 20, -1])
def test_every_changed_byte_is_found(torus, at):
    stream = bytearray(CODEC.encode_mesh(torus, CODEC.rates("quick")[0], Context()))
    stream[at] ^= 1
    with pytest.raises(BitstreamError):
        CODEC.decode_mesh(bytes(stream), Context())
    with pytest.raises(BitstreamError):
        CODEC.decode_mesh(bytes(stream) + b"\0", Context())


_FUZZ = """
import resource, sys
import numpy as np, trimesh
from gcbench.codecs.draco import decode, encode
from gcbench.errors import BitstreamError
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
mesh = trimesh.creation.torus(0.7, 0.3, major_sections=32, minor_sections=12)
stream = encode(mesh.vertices, mesh.faces, 10)
refused = 0
for seed in range(int(sys.argv[1])):
    rng = np.random.default_rng(seed)
    damaged = bytearray(stream)
    at, length = int(rng.integers(11, len(stream))), int(rng.integers(1, 33))
    if seed % 4 == 0:
        damaged[at] ^= 1 << int(rng.integers(8))
    elif seed % 4 == 1:
        damaged[at : at + length] = rng.bytes(len(damaged[at : at + length]))
    elif seed % 4 == 2:
        damaged[at:at] = rng.bytes(length)
    else:
        damaged[11 + at % 40] = int(rng.integers(256))
    try:
        decode(bytes(damaged))
    except BitstreamError:
        refused += 1
sys.stdout.write(str(refused))
"""


@pytest.mark.parametrize("streams", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_damaged_streams_neither_crash_nor_hang_nor_eat_memory(streams):
    """In a process of its own with limits; whatever is not refused has come back as a valid mesh."""
    result = subprocess.run(
        [sys.executable, "-c", _FUZZ, str(streams)], capture_output=True, text=True, timeout=180, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 0.6 * streams


def test_the_right_error_when_draco_is_missing(monkeypatch):
    monkeypatch.setattr("gcbench.codecs.draco.find_spec", lambda _name: None)
    availability = Draco().availability()
    assert (availability.ok, availability.remedy) == (False, "pip install DracoPy")


def test_decoding_needs_no_parameters(torus):
    (rate,) = (rate for rate in CODEC.rates("quick") if rate.label == "q10")
    stream = CODEC.encode_mesh(torus, rate, Context())
    assert len(Draco().decode(stream, Context())) == 1
