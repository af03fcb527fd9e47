"""The search for faces and bits: targets are met, and hardly any pair on the grid gives a smaller stream."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import trimesh

from gcbench.codecs import decimation, draco, draco_qem
from gcbench.codecs.base import Context, Rate
from gcbench.codecs.draco_qem import DracoQem
from gcbench.codecs.meshopt_simplify import MeshoptSimplify
from gcbench.errors import CodecTimeout, UsageError
from gcbench.geometry.surface import Surface

needs_library = pytest.mark.skipif(not MeshoptSimplify().availability().ok, reason="libmeshoptimizer is not installed")


def bumpy() -> trimesh.Trimesh:
    """A closed mesh of 1280 faces without flat parts, normalised."""
    mesh = trimesh.creation.icosphere(3)
    radii = 1 + 0.2 * np.sin(4 * mesh.vertices).prod(1) + 0.05 * np.cos(9 * mesh.vertices[:, 2])
    vertices = mesh.vertices * radii[:, None]
    vertices -= (vertices.max(0) + vertices.min(0)) / 2
    return trimesh.Trimesh(vertices / np.abs(vertices).max(), mesh.faces, process=False)


def bracket() -> trimesh.Trimesh:
    """Flat parts and round holes, as on a CAD part: of 2496 faces, most lie in planes."""
    ring = trimesh.creation.annulus(0.5, 1, 0.4, sections=96).subdivide()
    box = trimesh.creation.box((2, 1, 0.2)).subdivide().subdivide().subdivide()
    mesh = trimesh.util.concatenate([ring, box.apply_translation((0, 0, 0.6))])
    vertices = mesh.vertices - (mesh.vertices.max(0) + mesh.vertices.min(0)) / 2
    return trimesh.Trimesh(vertices / np.abs(vertices).max(), mesh.faces, process=False)


def distance(one: trimesh.Trimesh, other: trimesh.Trimesh, samples: int = 40_000) -> float:
    """Mean point-to-surface distance in both directions, of samples that the encoder did not see."""
    a, b = Surface.of(one), Surface.of(other)
    rng = np.random.default_rng(17)
    there, back = a.distance(b.sample(samples, rng)[0]), b.distance(a.sample(samples, rng)[0])
    return float(there.mean() + back.mean()) / 2


def test_ladders():
    labels = [rate.label for rate in decimation.rates("distance", "standard")]
    assert labels == [f"d{d:04d}" for d in (1600, 800, 400, 280, 200, 140, 100, 70, 50, 25, 12)]
    assert [rate.label for rate in decimation.rates("distance", "quick")] == [
        "d1600",
        "d0400",
        "d0200",
        "d0100",
        "d0025",
    ]
    assert {rate.label: rate.params["distance"] for rate in DracoQem().rates("paper")}["d0280"] == pytest.approx(2.8e-3)
    assert next(iter(DracoQem("faces").rates("quick"))).label == "f00250q08"
    with pytest.raises(UsageError, match="unknown ladder 'best'; known: distance, faces"):
        DracoQem("best")


@pytest.mark.parametrize("make", [bumpy, pytest.param(bracket, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "codec", [DracoQem(), pytest.param(MeshoptSimplify(), marks=needs_library)], ids=lambda c: c.name
)
def test_every_target_is_met_and_bytes_rise(codec, make):
    mesh, sizes = make(), []
    for rate in codec.rates("quick"):
        stream = codec.encode_mesh(mesh, rate, Context())
        sizes.append(len(stream))
        assert distance(mesh, codec.decode_mesh(stream, Context())) <= 1.03 * rate.params["distance"]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 2 * sizes[0]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "target"), [(bumpy, 4e-3), (bracket, 4e-3), (bracket, 1e-3)])
def test_no_other_pair_is_much_smaller(make, target):
    mesh = make()
    budgets = np.rint(12 * 2 ** np.arange(0, 8.7, 0.25)).astype(int)
    fits = [
        len(stream)
        for budget, bits in itertools.product(budgets, range(7, 13))
        for arrays in [draco_qem.decimate(mesh.vertices, mesh.faces, int(budget))]
        for stream in [draco.encode(*arrays, bits)]
        if distance(mesh, draco.decode(stream), 10_000) <= target
    ]
    found = DracoQem().encode_mesh(mesh, Rate("x", {"distance": target}), Context())
    assert len(found) <= 1.08 * min(fits)


def test_the_size_of_the_mesh_does_not_matter():
    mesh, rate = bumpy(), Rate("x", {"distance": 4e-3})
    larger = trimesh.Trimesh(mesh.vertices * 1000, mesh.faces, process=False)
    one, other = (DracoQem().encode_mesh(m, rate, Context()) for m in (mesh, larger))
    assert abs(len(one) - len(other)) <= 0.25 * len(one)  # MeshLab has thresholds of its own: a budget more or less


def test_a_target_that_cannot_be_met_gives_the_most_exact_stream():
    mesh = bumpy()
    stream = DracoQem().encode_mesh(mesh, Rate("x", {"distance": 1e-9}), Context())
    assert draco.unpack(DracoQem.container, stream) == draco.encode(mesh.vertices, mesh.faces, 16)


def test_a_mesh_without_area_is_coded_without_a_search():
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], process=False)
    assert len(
        DracoQem().decode_mesh(DracoQem().encode_mesh(flat, Rate("x", {"distance": 0.1}), Context()), Context()).faces
    )


def test_a_mesh_too_large_to_measure_is_coded_at_the_most_bits():
    """Rounding moves a decoded position beyond the largest coordinate that a surface may have."""
    mesh = bumpy()
    huge = trimesh.Trimesh(mesh.vertices / np.abs(mesh.vertices).max() * 0.9999999e30, mesh.faces, process=False)
    stream = DracoQem().encode_mesh(huge, Rate("x", {"distance": 1e-3}), Context())
    assert len(DracoQem().decode_mesh(stream, Context()).faces) > 0


def test_the_deadline_ends_a_search():
    with pytest.raises(CodecTimeout):
        DracoQem().encode_mesh(bumpy(), Rate("x", {"distance": 1e-3}), Context(deadline=time.monotonic() - 1))
