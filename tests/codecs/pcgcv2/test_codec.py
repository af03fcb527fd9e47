"""The codec, with weights that were never trained: what it writes, what it refuses, blocks, the contract."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from gcbench.codecs import CODECS, Context, Rate
from gcbench.codecs.base import EFFORTS
from gcbench.codecs.pcgcv2 import codec as codec_module
from gcbench.codecs.pcgcv2 import ladder
from gcbench.codecs.pcgcv2.codec import PCGCv2Codec
from gcbench.codecs.pcgcv2.stream import unpack
from gcbench.codecs.points import PointCodec
from gcbench.errors import BitstreamError, CodecFailed, CodecTimeout, UsageError

BITS = 7


@pytest.fixture
def codec(untrained) -> PCGCv2Codec:
    made = CODECS.create("pcgcv2")
    assert isinstance(made, PCGCv2Codec)
    made.prepare()
    return made


@pytest.fixture(scope="module")
def voxels() -> np.ndarray:
    """A tilted plane and a sphere, some 5 000 voxels at 2^7."""
    grid = np.argwhere(np.ones((128,) * 3, bool))
    x, y, z = grid.T
    sphere = np.abs(np.sqrt((x - 50) ** 2 + (y - 60) ** 2 + (z - 64) ** 2) - 16) < 0.5
    plane = x + 2 * y + 3 * z
    return grid[sphere | ((plane >= 600) & (plane < 603))].astype(np.int32)


def fine(codec: PCGCv2Codec) -> list[Rate]:
    """One rate for each file of weights."""
    return [rate for rate in codec.rates("paper") if rate.label.startswith("r")]


def rows(array: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(map(int, row)) for row in array}


def coded(codec: PCGCv2Codec, voxels: np.ndarray, ctx: Context, rate: int = 0) -> bytes:
    return codec.wrap(codec.encode_points(voxels, BITS, fine(codec)[rate], ctx), BITS)


def test_the_contract(codec):
    assert isinstance(codec, PointCodec)
    assert (codec.name, codec.kind, codec.container.magic) == ("pcgcv2", "model", b"PCG")
    assert codec.availability().ok
    assert not codec.deterministic
    assert re.match(r"2\+[0-9a-f]{8}\+torch-\S+\+constriction-\S+\+weights(-[0-9a-f]{8}){3}$", codec.version())
    ladders = {effort: codec.rates(effort) for effort in EFFORTS}
    assert [rate.label for rate in ladders["paper"]] == ["b8r2", "r1", "r2", "r3"]
    assert [rate.params["bits"] for rate in ladders["paper"]] == [8, 10, 10, 10]
    assert [rate.label for rate in ladders["quick"]] == ["b8r2"]
    assert [rate.label for rate in PCGCv2Codec(bits=9).rates("quick")] == ["b9r2"]
    assert ladders["quick"][0] in PCGCv2Codec(bits=8).rates("paper"), "one label, one meaning"
    assert {rate.params["bits"] for rate in PCGCv2Codec(bits=9).rates("paper")} == {9}
    for rates in ladders.values():
        assert all(rate in ladders["paper"] for rate in rates)
        assert all(json.loads(json.dumps(dict(rate.params))) == dict(rate.params) for rate in rates)


def test_version_names_the_weights(codec, untrained, tmp_path, monkeypatch):
    before = codec.version()
    monkeypatch.setenv(ladder.ENVIRONMENT, str(tmp_path))
    (tmp_path / "r1.safetensors").write_bytes((untrained / "r2.safetensors").read_bytes())
    assert codec.version() != before


def test_without_weights_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv(ladder.ENVIRONMENT, str(tmp_path))
    start = time.perf_counter()
    availability = PCGCv2Codec().availability()
    assert time.perf_counter() - start < 1
    assert not availability.ok
    assert str(tmp_path) in availability.reason
    assert "gcbench.codecs.pcgcv2.command" in availability.remedy
    assert PCGCv2Codec().rates("paper") == []


def test_feature_coders_that_are_not_offered():
    with pytest.raises(UsageError, match="tables, mixed"):
        PCGCv2Codec(features="huffman")


@pytest.mark.parametrize("bits", [6, 13])
def test_grids_that_are_not_offered(bits):
    with pytest.raises(UsageError, match="7 to 12"):
        PCGCv2Codec(bits=bits)


@pytest.mark.parametrize("rate", range(3))
def test_as_many_points_as_there_were_inside_coarsest_voxels(codec, voxels, ctx, rate):
    stream = coded(codec, voxels, ctx, rate)
    points, bits = codec.decode_cloud(stream, ctx)
    assert bits == BITS
    assert points.dtype == np.float64
    assert len(points) == len(np.unique(points, axis=0)) == len(voxels)
    cells = np.floor(points)
    np.testing.assert_array_equal(points, cells + 0.5)
    assert rows(cells // 8) <= rows(voxels >> 3)
    assert ctx.stage_s == {}


def test_counts_and_fingerprint_are_in_the_stream(codec, voxels, ctx):
    cloud = unpack(codec.unwrap(coded(codec, voxels, ctx))[0])
    assert cloud.counts == (tuple(len(np.unique(voxels >> shift, axis=0)) for shift in (2, 1, 0)),)
    assert cloud.fingerprint == ladder.fingerprint(ladder.files()["r1"])


def test_a_few_voxels_at_the_corners(codec, ctx):
    corners = np.array([[0, 0, 0], [0, 127, 127], [127, 127, 126], [127, 127, 127]], np.int32)
    points, _ = codec.decode_cloud(coded(codec, corners, ctx), ctx)
    assert len(points) == 4
    assert rows(points // 8) <= rows(corners >> 3)


def test_mixed_features_decode_to_the_same_cloud(codec, voxels, ctx):
    mixed = CODECS.create("pcgcv2[features=mixed]")
    streams = [coded(made, voxels, ctx) for made in (codec, mixed)]
    assert [unpack(codec.unwrap(stream)[0]).coder for stream in streams] == ["tables", "mixed"]
    assert streams[0] != streams[1]
    # A decoder has no parameters: the stream says how.
    np.testing.assert_array_equal(*(codec.decode_cloud(stream, ctx)[0] for stream in streams))


def test_decoded_again_they_are_the_same(codec, voxels, ctx):
    stream = coded(codec, voxels, ctx)
    first, _ = codec.decode_cloud(stream, ctx)
    np.testing.assert_array_equal(first, CODECS.create("pcgcv2").decode_cloud(stream, ctx)[0])


@pytest.mark.slow
def test_a_mesh_comes_back_from_a_mesh(untrained, torus, ctx):
    codec = PCGCv2Codec(bits=7)
    (stream,) = codec.encode([torus], codec.rates("quick")[0], ctx)
    (mesh,) = PCGCv2Codec().decode(stream, ctx)
    assert len(mesh.faces) > 0
    assert np.abs(mesh.vertices).max() < 1.1
    assert {"sampling", "coding"} <= ctx.stage_s.keys()


_ENCODE = """
import hashlib, sys
import numpy as np
from gcbench.codecs import CODECS, Context, Rate
codec = CODECS.create("pcgcv2")
voxels = np.load(sys.argv[1])
streams = [codec.encode_points(voxels, 7, rate, Context()) for rate in reversed(codec.rates("paper"))][::-1]
sys.stdout.write(hashlib.sha256(b"".join(streams)).hexdigest())
"""


@pytest.mark.long
def test_same_bytes_in_a_fresh_process(codec, voxels, ctx, tmp_path):
    some = voxels[:600]
    np.save(tmp_path / "voxels.npy", some)
    other = subprocess.run(
        [sys.executable, "-c", _ENCODE, str(tmp_path / "voxels.npy")],
        env=os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    streams = [codec.encode_points(some, BITS, rate, ctx) for rate in codec.rates("paper")]
    assert hashlib.sha256(b"".join(streams)).hexdigest() == other.stdout


def test_threads_are_as_before_after_a_call(codec, voxels, tmp_path):
    before = torch.get_num_threads()
    coded(codec, voxels[:9], Context(threads=before + 1, scratch=tmp_path))
    assert torch.get_num_threads() == before


def test_large_clouds_are_coded_in_blocks(codec, voxels, ctx, monkeypatch):
    monkeypatch.setattr(codec_module, "MAX_BLOCK_VOXELS", len(voxels) // 3)
    seen = []
    ctx.progress = lambda done, message: seen.append((done, message))
    stream = coded(codec, voxels, ctx)
    cloud = unpack(codec.unwrap(stream)[0])
    assert len(cloud.counts) == 4
    assert sum(count[2] for count in cloud.counts) == len(voxels)
    assert max(count[2] for count in cloud.counts) <= len(voxels) // 3
    assert seen[-1] == (0.75, "block 4 of 4")
    points, _ = codec.decode_cloud(stream, ctx)
    assert len(np.unique(points, axis=0)) == len(voxels)
    assert rows(points // 8) <= rows(voxels >> 3)


def test_the_deadline_is_looked_at(codec, voxels, tmp_path):
    late = Context(deadline=time.monotonic() - 1, scratch=tmp_path)
    with pytest.raises(CodecTimeout):
        coded(codec, voxels, late)
    stream = coded(codec, voxels, Context(scratch=tmp_path))
    with pytest.raises(CodecTimeout):
        codec.decode_cloud(stream, late)


def test_streams_of_other_weights_are_refused(codec, voxels, ctx, untrained, tmp_path, monkeypatch):
    stream = coded(codec, voxels, ctx, rate=1)
    (tmp_path / "r2.safetensors").write_bytes((untrained / "r1.safetensors").read_bytes())
    monkeypatch.setenv(ladder.ENVIRONMENT, str(tmp_path))
    with pytest.raises(BitstreamError, match=f"{ladder.fingerprint(untrained / 'r2.safetensors').hex()}.*not in"):
        codec.decode_cloud(stream, ctx)
    (tmp_path / "r9.safetensors").write_bytes((untrained / "r2.safetensors").read_bytes())
    assert len(codec.decode_cloud(stream, ctx)[0]) == len(voxels), "under any label"


def test_an_unknown_rate_is_refused(codec, voxels, ctx):
    with pytest.raises(UsageError, match="r7"):
        codec.encode_points(voxels, BITS, Rate("r7", {"weights": "r7"}), ctx)


def test_features_that_are_not_finite_are_an_error(codec, voxels, ctx, untrained, tmp_path, monkeypatch):
    from gcbench.training.checkpoints import read_tensors, write_tensors

    tensors, card = read_tensors(untrained / "r1.safetensors")
    tensors["encoder.conv3.weight"] = torch.full(tensors["encoder.conv3.weight"].shape, 3e38)
    write_tensors(tmp_path / "r1.safetensors", tensors, card)
    monkeypatch.setenv(ladder.ENVIRONMENT, str(tmp_path))
    with pytest.raises(CodecFailed, match="finite"):
        coded(codec, voxels, ctx)


def test_streams_that_contradict_themselves_are_refused(codec, voxels, ctx):
    cloud = unpack(codec.unwrap(coded(codec, voxels, ctx))[0])
    ((a, b, c),) = cloud.counts
    coarsest = len(np.unique(voxels >> 3, axis=0))
    for counts in (
        ((8 * coarsest + 1, b, c),),
        ((coarsest - 1, b, c),),
        ((a, a - 1, c),),
        ((a, b, 8 * b + 1),),
        ((a, b, 0),),
        ((a, b, c),) * 3,
        ((1, 1, 1),) * 2048,
    ):
        with pytest.raises(BitstreamError):
            codec.decode_points(replace(cloud, counts=counts).pack(), BITS, ctx)
    for coordinates, features in (
        (b"", cloud.features),
        (cloud.coordinates[:-3], cloud.features),
        (cloud.coordinates, b""),
        (cloud.coordinates, cloud.features[: len(cloud.features) // 2]),
        (cloud.features, cloud.coordinates),
    ):
        with pytest.raises(BitstreamError):
            codec.decode_points(replace(cloud, coordinates=coordinates, features=features).pack(), BITS, ctx)


def test_a_block_that_is_too_large_is_refused(codec, voxels, ctx, monkeypatch):
    stream = coded(codec, voxels, ctx)
    monkeypatch.setattr(codec_module, "MAX_BLOCK_VOXELS", len(voxels) - 1)
    with pytest.raises(BitstreamError, match="limit"):
        codec.decode_cloud(stream, ctx)


def check_damage(codec, voxels, ctx, rounds):
    stream, rng = coded(codec, voxels, ctx), np.random.default_rng(0)
    for length in range(0, len(stream), max(len(stream) // 100, 1)):
        with pytest.raises(BitstreamError):
            codec.decode_cloud(stream[:length], ctx)
    for _ in range(rounds):
        bad = bytearray(stream)
        bad[rng.integers(len(bad))] ^= rng.integers(1, 256)
        with pytest.raises(BitstreamError):
            codec.decode_cloud(bytes(bad), ctx)


def test_damaged_streams_are_refused(codec, voxels, ctx):
    check_damage(codec, voxels, ctx, 500)


@pytest.mark.slow
def test_many_damaged_streams_are_refused(codec, voxels, ctx):
    check_damage(codec, voxels, ctx, 20_000)


def test_a_stream_read_on_another_grid_is_refused(codec, voxels, ctx):
    contents, _ = codec.unwrap(coded(codec, voxels, ctx))
    for bits in (4, 5, 6, 8, 10, 12):
        with pytest.raises(BitstreamError):
            codec.decode_points(contents, bits, ctx)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_streams_decode_on_the_cpu(codec, voxels, tmp_path):
    stream = coded(codec, voxels, Context(device="cuda", scratch=tmp_path))
    on_cpu, _ = codec.decode_cloud(stream, Context(scratch=tmp_path))
    on_gpu, _ = codec.decode_cloud(stream, Context(device="cuda", scratch=tmp_path))
    both = {tuple(p) for p in on_cpu} & {tuple(p) for p in on_gpu}
    assert len(both) > 0.99 * len(voxels)
