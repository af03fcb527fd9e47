"""Streams of clouds behind right checksums that declare more work than their bytes justify; written field by field."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest

from gcbench.codecs import CODECS, Context
from gcbench.codecs.pcgcv2 import ladder
from gcbench.codecs.pcgcv2.codec import MAX_BLOCK_VOXELS, _encode_features
from gcbench.codecs.pcgcv2.stream import BUDGET, MAX_BLOCKS, MAX_COARSEST, Cloud, check_work
from gcbench.entropy.container import Writer
from gcbench.entropy.octree import encode_octree
from gcbench.errors import BitstreamError, CodecTimeout

SECONDS, KIBIBYTES = 2.0, 256 << 10


@pytest.fixture
def codec(untrained):
    made = CODECS.create("pcgcv2")
    made.prepare()
    return made


def grid(points: int, bits: int) -> np.ndarray:
    """The first places of a cube, in the order of x, y, z."""
    index = np.arange(points)
    return np.stack([index >> 2 * bits, index >> bits & (1 << bits) - 1, index & (1 << bits) - 1], 1).astype(np.int32)


def stream(codec, points: int, counts, bits: int = 10) -> bytes:
    """A stream of zero features, with these numbers of voxels."""
    path = ladder.files()["r1"]
    weights = ladder.load(path)
    places = grid(points, bits - 3)
    latent = np.zeros((points, len(weights.tables)), np.int64)
    features = _encode_features("tables", latent, places, weights)
    return codec.wrap(
        Cloud(ladder.fingerprint(path), "tables", tuple(counts), encode_octree(places, bits - 3), features).pack(), bits
    )


def refused(codec, hostile: bytes, words: str) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(BitstreamError, match=words):
        codec.decode(hostile, Context())
    assert time.perf_counter() - started < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KIBIBYTES


def test_many_blocks_of_few_voxels(codec):
    refused(
        codec, stream(codec, 4096, [(4, 4, 4)] * MAX_BLOCKS), f"{MAX_BLOCKS} blocks are declared of only 4096 voxels"
    )
    refused(codec, stream(codec, 4096, [(4, 4, 4)] * 2 * MAX_BLOCKS), "number of blocks is 2048")


def test_more_candidates_than_memory(codec):
    """Voxels at stride 2 that are as many as those at stride 1: eight candidates for each."""
    points = MAX_BLOCK_VOXELS // 16
    counts = (8 * points, MAX_BLOCK_VOXELS, MAX_BLOCK_VOXELS)
    refused(codec, stream(codec, points, [counts]), "bytes of memory; the limit is")


def test_more_voxels_than_the_budget(codec):
    blocks = [(8, 64, MAX_BLOCK_VOXELS)] * 32
    refused(codec, stream(codec, 4096, blocks), "declares 48000000 voxels; the limit is")


def test_a_block_that_is_too_large(codec):
    refused(codec, stream(codec, 4096, [(8, 64, MAX_BLOCK_VOXELS + 1)]), "a block of 1500001 voxels is declared")


def test_more_coordinates_than_the_network_takes(codec):
    cloud = Cloud(
        ladder.fingerprint(ladder.files()["r1"]),
        "tables",
        ((1, 1, 1),),
        Writer().number(MAX_COARSEST + 1).raw(bytes(9000)).data(),
        b"",
    )
    refused(codec, codec.wrap(cloud.pack(), 12), "number of voxels is 1048577")


def test_children_without_parents(codec):
    refused(codec, stream(codec, 100, [(801, 801, 801)]), "801 voxels are declared in 100 of twice the size")
    refused(codec, stream(codec, 100, [(100, 99, 99)]), "99 voxels are declared in 100 of twice the size")


def test_a_cube_of_the_effort_paper_is_within_the_budget():
    """Its faces have 6 · 4^bits voxels; a block of a quarter of them has a quarter at each scale."""
    blocks = 8
    coarsest, *counts = (6 * 4**bits // blocks for bits in (7, 8, 9, 10))
    check_work([coarsest] * blocks, [tuple(counts)] * blocks)
    assert BUDGET.voxels >= 2 * 6 * 4**10


def test_the_deadline_is_looked_at(codec):
    with pytest.raises(CodecTimeout):
        codec.decode(stream(codec, 100, [(100, 100, 100)]), Context(deadline=time.monotonic() - 1))
