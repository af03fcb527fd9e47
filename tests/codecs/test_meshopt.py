"""meshoptimizer's codecs and simplifier: exact quantisation, orientation, budgets, hostile streams, another decoder."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import common
import meshopt as package
import numpy as np
import pytest
import trimesh
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.codecs import CODECS, Context
from gcbench.codecs.meshopt import Meshopt, decode, encode
from gcbench.codecs.meshopt_simplify import MeshoptSimplify, simplify
from gcbench.entropy.container import HEADER_BYTES, Writer
from gcbench.errors import BitstreamError, CodecFailed

CODEC = Meshopt()
CONTAINER = CODEC.container
needs_library = pytest.mark.skipif(not MeshoptSimplify().availability().ok, reason="libmeshoptimizer is not installed")


def triangles(mesh: trimesh.Trimesh, decimals: int = 9) -> set[tuple[tuple[float, ...], ...]]:
    """Corners of every triangle, rotated so that the smallest comes first."""
    found = set()
    for corners in np.round(mesh.vertices, decimals)[mesh.faces].tolist():
        rotations = [tuple(map(tuple, corners[k:] + corners[:k])) for k in range(3)]
        found.add(min(rotations))
    return found


@pytest.mark.parametrize("address", ["meshopt", pytest.param("meshopt-simplify", marks=needs_library)])
def test_round_trip_and_damage(address):
    stream = common.check_round_trip(address, distance=0.03)
    common.check_damage(address, stream)


@pytest.mark.parametrize("bits", [1, 7, 12, 16, 17, 24])
def test_positions_are_within_half_a_step_and_faces_keep_their_side(bits):
    mesh = common.torus()
    back = decode(CONTAINER, encode(CONTAINER, mesh.vertices, mesh.faces, bits))
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    origin = low.astype(np.float32).astype(float)
    step = float(np.float32((high - low).max() / (2**bits - 1)))
    expected = origin + step * np.clip(np.rint((mesh.vertices - origin) / step), 0, 2**bits - 1)
    assert np.abs(expected - mesh.vertices).max() <= 0.5 * step + 2e-7
    assert triangles(back) == triangles(trimesh.Trimesh(expected, mesh.faces, process=False))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 24), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_triangles_come_back(bits, count, seed):
    """Unused vertices, repeated faces, faces without area, vertices at one place."""
    rng = np.random.default_rng(seed)
    vertices = np.round(rng.normal(size=(count + 2, 3)), 1)
    faces = rng.integers(0, len(vertices), (count, 3))
    back = decode(CONTAINER, encode(CONTAINER, vertices, faces, bits))
    assert len(back.faces) == count
    assert len(back.vertices) == len(np.unique(faces))
    step = (np.ptp(vertices[np.unique(faces)], axis=0)).max() / (2**bits - 1)
    centres = [np.sort(mesh_vertices[mesh_faces].mean(1), axis=0) for mesh_vertices, mesh_faces in
               ((vertices, faces), (back.vertices, back.faces))]  # fmt: skip
    assert np.abs(centres[0] - centres[1]).max() <= 0.5 * step + 1e-6


@pytest.mark.parametrize(
    ("vertices", "faces", "why"),
    [
        (np.zeros((3, 3)), np.zeros((0, 3), int), "no faces"),
        (np.full((3, 3), np.nan), [[0, 1, 2]], "not finite"),
        (np.zeros((3, 3)), [[0, 1, 3]], "not among the 3"),
    ],
)
def test_what_cannot_be_coded(vertices, faces, why):
    with pytest.raises(CodecFailed, match=why):
        encode(CONTAINER, vertices, faces, 10)


def blocks(vertices: int = 3, faces: int = 1) -> tuple[bytes, bytes]:
    rows = np.arange(4 * vertices, dtype="<u2").reshape(-1, 4)
    rows[:, 3] = 0
    indices = np.arange(3 * faces, dtype=np.uint32) % vertices
    return package.encode_vertex_buffer_level(rows, 3, 1), package.encode_index_buffer(indices)


def stream(
    vertices: int = 3,
    faces: int = 1,
    *,
    bits: int = 10,
    step: float = 0.5,
    block: int | None = None,
    payload: bytes | None = None,
    size: bool = True,
) -> bytes:
    rows, indices = blocks()
    payload = rows + indices if payload is None else payload
    frame = zstandard.ZstdCompressor(write_content_size=size).compress(payload)
    head = Writer().number(vertices, faces).byte(bits).floats([0, 0, 0, step])
    return CONTAINER.pack(head.number(len(rows) if block is None else block).raw(frame).data())


def test_a_stream_made_by_hand():
    mesh = decode(CONTAINER, stream())
    np.testing.assert_array_equal(mesh.vertices, [[0, 0.5, 1], [2, 2.5, 3], [4, 4.5, 5]])
    assert triangles(mesh) == {((0, 0.5, 1), (2, 2.5, 3), (4, 4.5, 5))}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (stream(faces=1 << 30), "triangles in"),
        (stream(vertices=10), "vertices of 1 triangles"),
        (stream(bits=3), "more than 3 bits"),
        (stream(bits=25), "number of bits is 25"),
        (stream(step=0), "not positive"),
        (stream(step=-1), "not positive"),
        (stream(step=float("nan")), "not finite"),
        (stream(block=10_000), "the zstd frame has"),
        (stream(payload=bytes(1 << 20)), "the zstd frame has 1048576 bytes"),
        (stream(payload=bytes(100)), "meshoptimizer cannot decode"),
        (stream(size=False), "the zstd frame has -1 bytes"),
        (stream(payload=blocks()[0] + blocks(5, 3)[1], faces=3), "not among the 3"),
    ],
)
def test_hostile_streams(bad, why):
    with pytest.raises(BitstreamError, match=why):
        decode(CONTAINER, bad)


def test_blocks_that_are_cut_are_refused():
    """Every call of the package that the codec uses, on every prefix of its input."""
    rows, indices = blocks(50, 80)
    for block, read in (
        (rows, lambda data: package.decode_vertex_buffer(data, 50, 8)),
        (indices, lambda data: package.decode_index_buffer(data, 240, 4)),
    ):
        for end in range(len(block)):
            with pytest.raises((ValueError, RuntimeError)):
                read(block[:end])
        with pytest.raises((ValueError, RuntimeError)):
            read(block + b"\0")


@needs_library
@pytest.mark.parametrize("budget", [50, 100, 300, 766])
def test_a_closed_mesh_meets_its_budget_and_stays_closed(budget):
    mesh = trimesh.creation.torus(0.7, 0.3, major_sections=24, minor_sections=16)
    faces = simplify(mesh.vertices, mesh.faces, budget)
    assert budget - 2 <= len(faces) <= budget
    fewer = trimesh.Trimesh(mesh.vertices, faces)
    assert fewer.is_watertight
    assert fewer.euler_number == 0


@needs_library
def test_a_mesh_within_the_budget_is_coded_as_by_meshopt():
    mesh, ctx = common.torus(), Context()
    rates = {rate.label: rate for rate in MeshoptSimplify("faces").rates("standard")}
    simple = MeshoptSimplify("faces").encode_mesh(mesh, rates["f10000q12"], ctx)
    assert simple[HEADER_BYTES:] == encode(CONTAINER, mesh.vertices, mesh.faces, 12)[HEADER_BYTES:]


@needs_library
def test_a_flat_mesh_keeps_a_face():
    mesh = trimesh.creation.box().subdivide().subdivide()
    parts = trimesh.util.concatenate([mesh.copy().apply_translation((3 * k, 0, 0)) for k in range(9)])
    faces = simplify(parts.vertices, parts.faces, 1)
    assert 0 < len(faces) < len(parts.faces)


def test_without_the_library_the_codec_says_what_to_install(monkeypatch):
    from gcbench import native
    from gcbench.codecs import meshopt_simplify

    monkeypatch.setattr(native, "find_library", lambda _name: None)
    native.shared_library.cache_clear()
    meshopt_simplify._library.cache_clear()
    try:
        found = MeshoptSimplify().availability()
        assert not found.ok
        assert "libmeshoptimizer is not installed" in found.reason
        assert "apt-get install libmeshoptimizer2d" in found.remedy
        assert "libmeshoptimizer-missing" in MeshoptSimplify().version()
        assert CODECS.create("meshopt-simplify").decode(_simple_stream(), Context())
    finally:
        native.shared_library.cache_clear()


def _simple_stream() -> bytes:
    mesh = common.torus()
    return encode(MeshoptSimplify.container, mesh.vertices, mesh.faces, 10)


_JAVASCRIPT = """
import { readFileSync } from 'fs';
import { pathToFileURL } from 'url';
const { MeshoptDecoder } = await import(pathToFileURL(process.argv[2]));
await MeshoptDecoder.ready;
const given = JSON.parse(readFileSync(0));
const rows = Buffer.alloc(given.vertices * given.stride), indices = Buffer.alloc(given.triangles * 12);
MeshoptDecoder.decodeVertexBuffer(rows, given.vertices, given.stride, Buffer.from(given.block, 'hex'));
MeshoptDecoder.decodeIndexBuffer(indices, given.triangles * 3, 4, Buffer.from(given.indices, 'hex'));
console.log(JSON.stringify({ rows: rows.toString('hex'), indices: indices.toString('hex') }));
"""


@pytest.fixture(scope="session")
def javascript_decoder(tmp_path_factory) -> Path:
    """meshoptimizer's own decoder for node, from npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("npm")
    done = subprocess.run(
        [npm, "install", "--silent", "--prefix", str(folder), "meshoptimizer@1"],
        check=False, capture_output=True, timeout=120,
    )  # fmt: skip
    module = folder / "node_modules" / "meshoptimizer" / "meshopt_decoder.mjs"
    if done.returncode or not module.exists():
        pytest.skip(f"npm cannot install meshoptimizer: {done.stderr[-200:]!r}")
    return module


@pytest.mark.slow
@pytest.mark.parametrize("bits", [12, 20])
def test_the_javascript_decoder_gives_the_same_vertices(javascript_decoder, bits, tmp_path):
    mesh = trimesh.creation.icosphere(4)
    coded = encode(CONTAINER, mesh.vertices, mesh.faces, bits)
    fields = CONTAINER.open(coded)
    vertices, count, _ = fields.number("vertices"), fields.number("triangles"), fields.byte("bits")
    *origin, step = fields.floats("origin and step", 4)
    block_bytes = fields.number("block")
    payload = zstandard.ZstdDecompressor().decompress(fields.rest())
    stride = 8 if bits <= 16 else 12
    (tmp_path / "decode.mjs").write_text(_JAVASCRIPT)
    given = {"vertices": vertices, "triangles": count, "stride": stride}
    given |= {"block": payload[:block_bytes].hex(), "indices": payload[block_bytes:].hex()}
    done = subprocess.run(
        ["node", str(tmp_path / "decode.mjs"), str(javascript_decoder)],
        input=json.dumps(given).encode(), capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    rows = np.frombuffer(bytes.fromhex(answer["rows"]), "<u2" if bits <= 16 else "<u4").reshape(vertices, -1)
    back = decode(CONTAINER, coded)
    np.testing.assert_array_equal(back.vertices, np.asarray(origin, float) + float(step) * rows[:, :3])
    np.testing.assert_array_equal(back.faces.ravel(), np.frombuffer(bytes.fromhex(answer["indices"]), "<u4"))


def test_golden_streams():
    common.check_golden("meshopt")
    common.check_golden("meshopt-simplify")
