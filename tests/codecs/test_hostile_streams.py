"""Streams that declare more than they may: refused at once and in little memory, or decoded within the budget."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gcbench.codecs import CODECS, Context
from gcbench.codecs.base import EFFORTS, ModelCodec, bounded_decoding
from gcbench.codecs.draco import most_faces
from gcbench.codecs.implicit import keyspheres, nglod
from gcbench.codecs.implicit.efforts import FINEST, cost, perceptron_size
from gcbench.codecs.implicit.perceptron_codec import FITS
from gcbench.codecs.raw_zstd import most_payload_bytes
from gcbench.errors import BitstreamError, CodecFailed, CodecTimeout
from gcbench.geometry.marching_cubes import evaluated_points

sys.path.insert(0, str(Path(__file__).parent))
import hostile_streams

IMPLICIT = ("ni", "pruned-mlp", "keyspheres")


@pytest.fixture(scope="module", autouse=True)
def ready():
    """What a worker has imported before it sees a stream counts neither as time nor as memory."""
    for name in {name.partition(":")[0] for name in hostile_streams.HOSTILE}:
        CODECS.create(name).prepare()
        for golden in hostile_streams.golden(name):
            CODECS.create(name).decode(golden, Context())


@pytest.mark.parametrize("name", [name for name in hostile_streams.HOSTILE if name not in hostile_streams.SLOW])
def test_a_hostile_stream_is_refused_in_a_second_and_in_little_memory(name):
    codec = CODECS.create(name.partition(":")[0])
    stream = hostile_streams.HOSTILE[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    with pytest.raises(BitstreamError):
        codec.decode(stream, Context())
    assert time.process_time() - begin < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # KiB


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile_streams.SLOW)
def test_noise_is_decoded_within_the_budget_or_refused(name):
    codec = CODECS.create(name.partition(":")[0])
    try:
        (mesh,) = codec.decode(hostile_streams.HOSTILE[name](), Context(deadline=time.monotonic() + 120))
    except BitstreamError:
        return
    assert len(mesh.faces) <= codec.decode_budget.triangles
    assert np.isfinite(mesh.vertices).all()


@pytest.mark.parametrize("codec", IMPLICIT)
@pytest.mark.parametrize("effort", EFFORTS)
def test_every_rate_of_a_perceptron_is_within_half_the_budget(codec, effort):
    budget = CODECS.get(codec).decode_budget
    for rate in CODECS.create(codec).rates(effort):
        spheres = int(rate.params.get("spheres", 0))
        inputs = 4 + spheres if spheres else 3  # those of "distances", which has the most
        weights = perceptron_size(inputs, int(rate.params["layers"]), int(rate.params["width"]))
        for_a_point = weights + keyspheres._FOR_A_SPHERE * spheres
        needed = cost(FITS[effort].resolution, weights, for_a_point)
        assert needed.memory <= budget.memory
        assert needed.voxels <= budget.voxels
        assert 2 * needed.multiply_adds <= budget.multiply_adds


@pytest.mark.parametrize("effort", EFFORTS)
def test_every_octree_is_within_the_budget(effort):
    budget = nglod.Nglod.decode_budget
    for rate in nglod.Nglod().rates(effort):
        depth = int(rate.params["lod"]) + nglod._DEPTH_OF_LOD_0
        for channels, width in ((1, 16), (nglod.MAX_CHANNELS, nglod.MAX_WIDTH)):
            needed = cost(nglod.FITS[effort].resolution, 0, nglod._for_a_point(depth, channels, width))
            assert needed.voxels <= budget.voxels
            assert needed.multiply_adds <= budget.multiply_adds
    # The largest octree of one channel, which has some two corners for each voxel.
    voxels, corners = nglod_voxels(), 2 * nglod_voxels()
    most = cost(FINEST, 0, 1).memory + nglod._BYTES_OF_A_VOXEL * voxels
    assert most + (nglod._BYTES_OF_A_CORNER + nglod._BYTES_OF_A_FEATURE) * corners <= budget.memory


def nglod_voxels() -> int:
    from gcbench.codecs.implicit.octree import MAX_VOXELS

    return MAX_VOXELS


def test_points_of_an_evaluation_are_the_cells_of_all_levels_and_the_grid():
    assert evaluated_points(16) == 17**3
    assert evaluated_points(64) == 16**3 + 32**3 + 65**3


def test_the_arithmetic_of_expansions():
    assert most_payload_bytes(33_000) == (1 << 26) + 64 * 33_000  # less than the 1 GiB of a bomb
    assert most_payload_bytes(10) == 327_680
    assert most_payload_bytes(1 << 30) == 1 << 31
    assert most_faces(100) == 409_600
    assert most_faces(4226) == (1 << 21) + 64 * 4226
    assert most_faces(1 << 30) == 1 << 24


class Greedy(ModelCodec):
    """A decoder that raises what it is given."""

    name = "greedy"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def version(self):
        return "1"

    def rates(self, effort):
        return []

    def encode_mesh(self, mesh, rate, ctx):
        return b""

    def decode_mesh(self, stream, ctx):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((1 << 60,), np.dtype(np.uint8)),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_a_failed_allocation_is_a_bad_stream(error):
    with pytest.raises(BitstreamError, match="more memory than the process may have"):
        Greedy(error).decode(b"", Context())


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), IndexError("9"), CodecTimeout("late")])
def test_other_errors_of_a_decoder_stay_what_they_are(error):
    with pytest.raises(type(error)), bounded_decoding():
        raise error


def test_an_allocation_of_torch_that_fails_is_a_bad_stream():
    import torch

    with pytest.raises(BitstreamError, match="more memory than the process may have"), bounded_decoding():
        torch.empty(1 << 58)


def test_the_deadline_is_looked_at_while_a_field_is_evaluated():
    codec = CODECS.create("ni")
    begin = time.monotonic()
    with pytest.raises(CodecTimeout):
        codec.decode(hostile_streams.everywhere(), Context(deadline=time.monotonic() + 0.3))
    assert time.monotonic() - begin < 10


def test_raw_zstd_does_not_write_what_it_would_not_read():
    import trimesh

    from gcbench.codecs.base import Rate
    from gcbench.codecs.raw_zstd import RawZstd

    faces = np.zeros((6_000_000, 3), np.int32) + np.arange(3, dtype=np.int32)
    mesh = trimesh.Trimesh(np.eye(3), faces, process=False, validate=False)
    with pytest.raises(CodecFailed, match="a decoder accepts only"):
        RawZstd().encode_mesh(mesh, Rate("z1", {"level": 1}), Context())
