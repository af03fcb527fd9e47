"""Streams behind right checksums that declare more than their bytes justify: refused before anything is allocated.

Each is written field by field, with range-coded zeros where the decoder's parameters belong.
"""

import resource
import time

import numpy as np
import pytest

from gcbench.codecs import CODECS, Context
from gcbench.entropy import blocks
from gcbench.entropy.budget import Budget
from gcbench.entropy.container import HEADER_BYTES, resealed
from gcbench.errors import BitstreamError, CodecTimeout
from gcbench.necgs import bitstream, budget
from gcbench.necgs.bitstream import CONTAINER, Contents, Reader, write
from gcbench.necgs.compression import decompress
from gcbench.necgs.designs import base
from gcbench.necgs.designs.base import Decoder, Parameters, crossings
from gcbench.necgs.designs.convolution import Convolution
from gcbench.necgs.designs.latent_mlp import LatentMlp
from gcbench.necgs.designs.sparse import Sparse
from gcbench.necgs.job import Job

SECONDS, KIBIBYTES = 2.0, 256 << 10


def likely(design, meshes):
    """A stream of the middle symbol alone, which takes almost no bytes for a symbol."""
    tensors = {n: np.full(kind.shape, kind.levels // 2, np.int16) for n, kind in design.tensors().items()}
    kind = design.features()
    features = np.full((meshes, *kind.shape), kind.levels // 2, np.int16)
    return write(Contents(design, Parameters(tensors, np.zeros(design.scale_count, np.float32)), features))


def with_head(design, meshes, rest=b""):
    """A head that declares a design, with almost nothing behind it."""
    head = bytes([0, design.tag])
    writer = bitstream.Writer()
    design.write(writer)
    scales = np.zeros(design.scale_count, "<f4").tobytes()
    return blocks.pack(CONTAINER, head + writer.data() + scales + rest, [b"\0"] * meshes)


HOSTILE = {
    "a layer of 34 GB": lambda: with_head(Convolution(256, (1, 1, 1, 1, 1, 512)), 1),
    "a layer of 4 GB and right symbols": lambda: likely(Convolution(256, (1, 1, 1, 1, 1, 64)), 1),
    "a volume of a gigabyte": lambda: likely(LatentMlp(256, width=1, latent=1), 1),
    "eight million parameters": lambda: with_head(
        Convolution(32, (151,), feature_resolution=16, feature_channels=256), 1
    ),
    "a million feature symbols in each of 60 meshes": lambda: with_head(
        Convolution(32, (1,), feature_resolution=16, feature_channels=256), 60
    ),
    "64 meshes at K = 256": lambda: likely(Sparse(256, 160), 64),
    "deformed values of every vertex at K = 256": lambda: likely(Sparse(256, 160, deformation=True), 1),
    "64 dense meshes at K = 128": lambda: likely(Convolution(128, (16, 16, 16, 16, 16)), 64),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_stream_that_declares_too_much_is_refused_at_once(what):
    stream = HOSTILE[what]()
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(BitstreamError, match=r"the stream declares .*; the limit is"):
        next(decompress(stream))
    assert time.perf_counter() - started < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KIBIBYTES


def test_one_mesh_of_many_is_decoded_at_the_work_of_one():
    stream = likely(Sparse(256, 160), 64)
    with pytest.raises(BitstreamError, match="voxels"):
        CODECS.create("necgs").decode(stream, Context())
    reader = Reader(stream)
    reader.spend(1)
    assert CODECS.create("necgs").layout(stream).mesh_bytes[0] < 64


def test_five_hundred_meshes_of_the_effort_paper_are_within_the_budget():
    """Bytes of the decoder and of a mesh as trained streams have them; the limits leave a factor of 1.4 or more."""
    sets = (
        (Convolution(128, (64, 48, 32, 24, 16)), 500_000, 450),
        (Convolution(128, (16, 12, 8, 6, 4)), 40_000, 400),
        (LatentMlp(128, 64), 25_000, 25),
        (LatentMlp(128, 384), 900_000, 25),
        (Sparse(128, 500), 2000, 60),
        (Sparse(256, 500), 2000, 200),
        (Sparse(128, 500, deformation=True), 2000, 60),
    )
    for design, shared, a_mesh in sets:
        cost, most = design.cost(), budget.budget_of(shared + 500 * a_mesh)
        assert cost.memory <= most.memory, design
        assert 1.4 * 500 * cost.voxels <= most.voxels, design
        assert 1.4 * 500 * cost.multiply_adds <= most.multiply_adds, design


def test_the_budget_grows_with_the_stream_up_to_that_of_the_codec():
    small, large = budget.budget_of(0), budget.budget_of(1 << 40)
    assert small.memory == 256 << 20
    assert large == budget.BUDGET == CODECS.create("necgs").decode_budget == CONTAINER.budget


def test_the_work_of_a_convolution_counted_by_hand():
    cost = Convolution(32, (2, 3, 5), feature_channels=7).cost()
    adds = 27 * (4**3 * 7 * 16 + 8**3 * 2 * 24 + 16**3 * 3 * 40 + 32**3 * 5 * 4)
    assert (cost.voxels, cost.multiply_adds) == (32**3, adds)


# --- Surfaces of noise ------------------------------------------------------------------------------------------------


class _Noise(Decoder):
    resolution = 32

    def volume(self, features, watch):
        return np.random.default_rng(0).choice([-1, 1], (1, 32, 32, 32)).astype(np.float32)


def test_crossings_are_the_vertices_of_the_surface():
    vertices, _ = _Noise().surface(np.zeros(1, np.int16), Job())
    assert crossings(_Noise().volume(None, None)[0]) == len(vertices)


def test_a_volume_of_noise_is_refused_before_its_triangles_are_made(monkeypatch):
    monkeypatch.delattr("gcbench.geometry.deformable_marching_cubes.positions")
    with pytest.raises(BitstreamError, match="triangles; the limit is 50000"):
        _Noise().surface(np.zeros(1, np.int16), Job(), 50_000)


def test_the_triangles_of_all_meshes_are_bounded(monkeypatch):
    stream = likely(Convolution(32, (1, 1, 1)), 3)
    monkeypatch.setattr(Convolution, "decoder", lambda *_: _Noise())
    monkeypatch.setattr("gcbench.necgs.compression.most_triangles", lambda _: 150_000)
    meshes = decompress(stream)
    assert len(next(meshes)[1].faces) > 60_000
    with pytest.raises(BitstreamError, match="triangles of all meshes; the limit is 150000"):
        list(meshes)


class _NotFinite(Decoder):
    resolution = 32

    def volume(self, features, watch):
        volume = np.ones((4, 32, 32, 32), np.float32)
        volume[0, 8:24, 8:24, 8:24] = -1
        volume[1] = np.nan
        return volume


def test_positions_that_are_not_finite_are_refused(monkeypatch):
    monkeypatch.setattr(Convolution, "decoder", lambda *_: _NotFinite())
    with pytest.raises(BitstreamError, match="mesh 0 has a position that is not finite"):
        list(decompress(likely(Convolution(32, (1, 1, 1)), 1)))


def test_the_deadline_is_looked_at_for_every_mesh():
    stream = likely(Convolution(32, (1, 1, 1)), 3)
    meshes = iter(decompress(stream, job=Job(watch=_after(4))))
    with pytest.raises(CodecTimeout):
        list(meshes)


def _after(calls):
    left = [calls]

    def watch():
        left[0] -= 1
        if left[0] < 0:
            raise CodecTimeout("the deadline has passed")

    return watch


# --- Checksums made right again ---------------------------------------------------------------------------------------


def test_a_changed_stream_gets_all_its_checksums_again():
    stream = likely(Convolution(32, (1, 1, 1)), 3)
    assert resealed(stream) == stream
    changed = bytearray(stream)
    changed[-1] ^= 1
    with pytest.raises(BitstreamError, match="checksum of mesh 2"):
        Reader(bytes(changed)).placement(2)
    Reader(resealed(bytes(changed))).placement(2)
    changed = bytearray(stream)
    changed[HEADER_BYTES + 1] = 1  # the coder, in the head: the checksums of the meshes change too
    assert Reader(resealed(bytes(changed))).coder == "huffman"
    assert Reader(resealed(bytes(changed))).placement(2) is None


def test_a_stream_that_is_cut_is_sealed_as_far_as_it_goes():
    stream = likely(Convolution(32, (1, 1, 1)), 3)
    for length in range(HEADER_BYTES, len(stream)):
        assert len(resealed(stream[:length])) == length


def test_blocks_count_their_meshes_against_the_budget():
    with pytest.raises(BitstreamError, match="declares 3 meshes; the limit is 2"):
        blocks.Blocks(CONTAINER, likely(Convolution(32, (1, 1, 1)), 3), Budget(meshes=2))


def test_all_designs_say_what_a_mesh_costs():
    for design in (Convolution(32, (1, 1, 1)), LatentMlp(32, 5), Sparse(32, 160), Sparse(32, 160, True)):
        cost = design.cost()
        assert isinstance(cost, base.Cost)
        assert min(cost.memory, cost.voxels, cost.multiply_adds) > 0
