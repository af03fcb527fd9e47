"""The octree coder: lossless for any set, small on surfaces, and an error for anything that is not its stream."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.entropy import varints
from gcbench.entropy.octree import MAX_POINTS, decode_octree, encode_octree
from gcbench.errors import BitstreamError


def shell(bits: int) -> np.ndarray:
    """Voxels within half a voxel of a sphere, sorted: integer arithmetic only."""
    half = 1 << (bits - 1)
    offsets = 2 * np.arange(1 << bits) + 1 - 2 * half
    squared = (offsets**2)[:, None, None] + (offsets**2)[None, :, None] + (offsets**2)[None, None, :]
    radius = 2 * half - 3
    return np.argwhere((squared >= (radius - 1) ** 2) & (squared < (radius + 1) ** 2)).astype(np.int32)


@st.composite
def voxel_sets(draw):
    bits = draw(st.integers(0, 10))
    side = 1 << bits
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(1, 300))
    spread = draw(st.integers(0, bits))  # from one clump to all over the grid
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, side, 3)
    points = (centre + rng.integers(0, 1 << spread, (count, 3))) % side
    return bits, np.unique(points, axis=0).astype(np.int32), seed


@settings(deadline=None, max_examples=60)
@given(voxel_sets())
def test_any_set_comes_back_sorted(case):
    bits, points, seed = case
    shuffled = np.random.default_rng(seed).permutation(points)
    stream = encode_octree(shuffled, bits)
    assert stream == encode_octree(points, bits), "a set has no order"
    decoded = decode_octree(stream, bits)
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, points)


@pytest.mark.parametrize("bits", range(5))
def test_full_cube(bits):
    cube = np.argwhere(np.ones((1 << bits,) * 3, bool)).astype(np.int32)
    stream = encode_octree(cube, bits)
    np.testing.assert_array_equal(decode_octree(stream, bits), cube)
    assert len(stream) <= 4 + 8 * bits


@pytest.mark.parametrize("corner", [(0, 0, 0), (1023, 1023, 1023), (1023, 0, 512)])
def test_one_point_at_the_border(corner):
    stream = encode_octree(np.array([corner]), 10)
    np.testing.assert_array_equal(decode_octree(stream, 10), [corner])
    assert len(stream) <= 4 + 8  # 30 bits at most, and what the contexts cost before they have learnt


def test_deepest_grid():
    points = np.array([[0, 4095, 1], [4095, 0, 2], [4095, 4095, 4095]], np.int32)
    np.testing.assert_array_equal(decode_octree(encode_octree(points, 12), 12), points)


GOLDEN = (
    "b00400c53d6b52d145d9bd95da80e6f6b0272ae8eb0766e189d58dbdbfbaa586117d1c25168f697cbe91e73ff2aa"
    "1a23ee9a82e79ee2987a63be97dc12304fc12785078733921e6210319d4a1f8271f43de6f3070f2fa14edf82dc70970e"
    "21ea14eb158c98b279e91db14bf68531b8064f0d92d5afcef3e467d2e01042e7d7f3f08de9ab1783f716320a0d86cc"
)


def test_golden_stream():
    assert encode_octree(shell(4), 4).hex() == GOLDEN
    np.testing.assert_array_equal(decode_octree(bytes.fromhex(GOLDEN), 4), shell(4))


def test_a_sphere_is_smaller_than_by_occupancy_alone():
    # Order-0 entropy of the occupancy bytes is what an octree coder without contexts would reach.
    points = shell(6)
    without = 0.0
    for depth in range(6):
        children = np.unique(points >> (5 - depth), axis=0)
        _, owner = np.unique(children >> 1, axis=0, return_inverse=True)
        occupancy = np.bincount(owner, 1 << ((children & 1) @ [4, 2, 1])).astype(int)
        share = np.bincount(occupancy) / len(occupancy)
        without -= len(occupancy) * (share[share > 0] * np.log2(share[share > 0])).sum() / 8
    assert len(encode_octree(points, 6)) < 0.45 * without


@pytest.mark.parametrize(
    ("points", "bits", "message"),
    [
        (np.zeros((0, 3), int), 4, "0 points"),
        (np.zeros((2, 3), int), 4, "twice"),
        ([[0, 0, 16]], 4, "not in"),
        ([[0, -1, 0]], 4, "not in"),
        ([[0, 0, 1]], 0, "not in"),
        ([[0, 0]], 4, "not a set"),
        ([0, 0, 0], 4, "not a set"),
        ([[0, 0, 0]], 13, "not a set"),
        (np.zeros((MAX_POINTS + 1, 3), np.int8), 4, "points are not"),
    ],
)
def test_what_is_not_a_set_of_voxels_is_refused(points, bits, message):
    with pytest.raises(ValueError, match=message):
        encode_octree(np.asarray(points), bits)


def test_a_stream_cut_anywhere_is_refused():
    stream = encode_octree(shell(4), 4)
    for length in range(len(stream) - 1):  # the last byte may be one that the decoder can do without
        with pytest.raises(BitstreamError):
            decode_octree(stream[:length], 4)


def test_a_stream_with_more_behind_it_is_refused():
    with pytest.raises(BitstreamError):
        decode_octree(encode_octree(shell(4), 4) + bytes(9), 4)


@pytest.mark.parametrize("count", [0, 2**32 - 1, MAX_POINTS + 1, 4097])
def test_counts_that_cannot_be_are_refused_at_once(count):
    start = time.perf_counter()
    with pytest.raises(BitstreamError, match=f"number of voxels is {count}"):
        decode_octree(varints.write([count]) + b"\xff" * 9, 4)
    assert time.perf_counter() - start < 0.1


def check_mutations(rounds: int) -> None:
    stream = encode_octree(shell(5), 5)
    rng = np.random.default_rng(3)
    for _ in range(rounds):
        bad = bytearray(stream)
        for position in rng.integers(0, len(bad), rng.integers(1, 4)):
            bad[position] = rng.integers(256)
        try:
            points = decode_octree(bytes(bad), 5)
        except BitstreamError:
            continue
        # The coder has no checksum of its own: what comes back is a set of as many voxels as declared.
        assert len(np.unique(points, axis=0)) == len(points) == varints.read(bad, 0)[0]
        assert points.min() >= 0
        assert points.max() < 32


def test_damaged_streams_are_refused_or_are_sets():
    check_mutations(200)


@pytest.mark.slow
def test_many_damaged_streams_are_refused_or_are_sets():
    check_mutations(5000)


# tmc3 release-v23.0-rc2, lossless, of the frames at 2^10 divided by 8. Source: shared/reference/mpeg.md.
TMC3_BYTES = {"crane_0000": 2454, "samba_0000": 1967}


@pytest.mark.slow
@pytest.mark.parametrize("name", TMC3_BYTES)
def test_smaller_than_tmc3_on_the_reference_frames(name, reference_frames):
    from gcbench.geometry.clouds.voxels import voxelise

    mesh = reference_frames[name]
    points = np.unique(voxelise(mesh.vertices, mesh.faces, 10, 0) >> 3, axis=0)
    stream = encode_octree(points, 7)
    np.testing.assert_array_equal(decode_octree(stream, 7), points)
    assert len(stream) < 0.88 * TMC3_BYTES[name]


@pytest.mark.benchmark
def test_speed(benchmark):
    points = shell(7)  # 24 000 voxels
    benchmark.pedantic(lambda: decode_octree(encode_octree(points, 7), 7), rounds=5, warmup_rounds=1)
    assert benchmark.stats["median"] < 1
