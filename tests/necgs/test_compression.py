"""The whole road: meshes → stream → meshes, what is added to a stream, and what a damaged one decodes to."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from gcbench.errors import BadMesh, BitstreamError, UsageError
from gcbench.geometry.deformable_marching_cubes import extract
from gcbench.geometry.grid import Grid
from gcbench.necgs.bitstream import Reader
from gcbench.necgs.compression import add, compress, decompress
from gcbench.necgs.designs.convolution import Decoder
from gcbench.necgs.settings import Settings, effort_settings

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.necgs"))


def tiny(**changes: object) -> Settings:
    return effort_settings("quick").with_(**({"top": 8, "objective": "none", "epochs": 100} | changes))


@pytest.fixture(scope="module")
def meshes() -> list[trimesh.Trimesh]:
    shapes = [trimesh.creation.icosphere(3), trimesh.creation.torus(0.7, 0.3), trimesh.creation.box((2, 1.4, 1))]
    return [trimesh.Trimesh(mesh.vertices, mesh.faces, process=False) for mesh in shapes]


@pytest.fixture(scope="module")
def stream(meshes) -> bytes:
    return compress(meshes, tiny())


def decoded(stream: bytes) -> list[trimesh.Trimesh]:
    return [mesh for _, mesh in decompress(stream)]


def test_meshes_come_back(stream, meshes):
    for mesh, original in zip(decoded(stream), meshes, strict=True):
        assert mesh.is_watertight
        distance, _ = cKDTree(original.sample(20_000, seed=1)).query(mesh.vertices)
        assert np.median(distance) < 0.02  # so short a training leaves floating parts


def test_a_seed_decides_every_byte(stream, meshes):
    assert compress(meshes, tiny()) == stream
    assert compress(meshes, tiny(), seed=1) != stream


def test_normalised_meshes_cost_no_placement(stream, meshes):
    moved = [mesh.copy() for mesh in meshes]
    moved[0].apply_translation((5, 0, 0))
    placed = Reader(compress(moved, tiny(epochs=1)))
    plain = Reader(stream)
    assert [plain.placement(i) for i in range(3)] == [None] * 3
    np.testing.assert_allclose(placed.placement(0), (5, 0, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "changes", [{"deformation": False}, {"encoder": "autoencoder"}, {"ssim_weight": 0.0}, {"coder": "huffman"}]
)
def test_every_ablation_ends_in_meshes(meshes, changes):
    stream = compress(meshes[:2], tiny(**changes, epochs=60))
    reader = Reader(stream)
    assert reader.architecture.deformation == changes.get("deformation", True)
    assert reader.coder == changes.get("coder", "range")
    assert all(len(mesh.faces) for mesh in decoded(stream))


def test_coders_carry_the_same_symbols(stream, meshes):
    other = compress(meshes, tiny(coder="huffman"))
    assert other != stream
    for ours, theirs in zip(decoded(stream), decoded(other), strict=True):
        np.testing.assert_array_equal(ours.vertices, theirs.vertices)
        np.testing.assert_array_equal(ours.faces, theirs.faces)


def test_adding_changes_nothing_that_was_there(stream, meshes):
    new = trimesh.creation.icosphere(3)
    new.apply_scale((1, 0.8, 0.9))
    longer = add(stream, [new], fitting=tiny().fitting, training=tiny().training, steps=60)
    shared, each = Reader(stream).layout()
    longer_shared, longer_each = Reader(longer).layout()
    assert longer_each[:3] == each
    assert longer_shared == shared
    *old, added = decoded(longer)
    for before, after in zip(decoded(stream), old, strict=True):
        np.testing.assert_array_equal(before.vertices, after.vertices)
        np.testing.assert_array_equal(before.faces, after.faces)
    distance, _ = cKDTree(new.sample(20_000, seed=1)).query(added.vertices)
    assert distance.mean() < 0.05


def test_other_arithmetic_moves_vertices_by_a_hundred_thousandth_of_the_cube(stream):
    """What another machine may do: the network in float64, or with another number of threads.

    A vertex may cross from one grid edge to the next where the TSDF is within rounding error of 0, so that surfaces are
    compared, not arrays.
    """
    reader = Reader(stream)
    decoder = Decoder.from_symbols(reader.architecture, reader.parameters())
    symbols = reader.features(0)
    exact = decoder.double()(torch.from_numpy(symbols.astype(np.float64) / 128 - 1)[None], torch.float64)[0]
    vertices, _ = extract(exact.detach().clamp(-1, 1), Grid(32))
    ours = decoded(stream)[0].vertices
    for a, b in ((vertices.numpy(), ours), (ours, vertices.numpy())):
        distance, _ = cKDTree(b).query(a)
        assert np.quantile(distance, 0.99) < 1e-5
        assert distance.mean() < 1e-4
    (_, two), *_ = decompress(stream, [0], threads=2)
    assert cKDTree(ours).query(two.vertices)[0].mean() < 1e-4


def test_a_bad_mesh_is_named(meshes):
    nothing = trimesh.Trimesh(np.zeros((3, 3)), [[0, 1, 2]], process=False, validate=False)
    with pytest.raises(BadMesh, match="mesh 1: "):
        compress([meshes[0], nothing], tiny())


def test_nothing_to_do_is_refused(stream):
    with pytest.raises(UsageError, match="no meshes"):
        compress([], tiny())
    with pytest.raises(UsageError, match="no meshes"):
        add(stream, [])
    with pytest.raises(UsageError, match="there is no mesh 3"):
        next(decompress(stream, [3]))
    with pytest.raises(UsageError, match="there is no mesh -1"):
        next(decompress(stream, [-1]))


def mutated(stream: bytes, rng: np.random.Generator) -> bytes:
    match rng.integers(4):
        case 0:  # a flip
            data = bytearray(stream)
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            return bytes(data)
        case 1:
            return stream[: rng.integers(len(stream))]
        case 2:  # a hole, or bytes that were not there
            at, size = rng.integers(len(stream)), int(rng.integers(1, 64))
            return stream[:at] + (rng.bytes(size) if rng.random() < 0.5 else b"") + stream[at + size :]
        case _:  # part of another place
            at, source = rng.integers(len(stream), size=2)
            size = int(rng.integers(1, 256))
            return stream[:at] + stream[source : source + size] + stream[at + size :]


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_streams_end_in_an_error_or_a_mesh(count):
    """Never in a crash, a hang, or a GiB (the issue's 10 000)."""
    rng = np.random.default_rng(5)
    streams = [path.read_bytes() for path in GOLDEN]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for i in range(count):
        start = time.perf_counter()
        try:
            for _, mesh in decompress(mutated(streams[i % len(streams)], rng)):
                assert isinstance(mesh, trimesh.Trimesh)
        except BitstreamError:
            refused += 1
        assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB
    assert refused > 0.9 * count
