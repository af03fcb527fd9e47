"""NGLOD from mesh to bytes to mesh, and a stream made by hand of weights that say what the surface is."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
import trimesh

from gcbench.codecs import Context, Rate
from gcbench.codecs.base import EFFORTS
from gcbench.codecs.implicit import nglod
from gcbench.codecs.implicit.nglod import Nglod
from gcbench.codecs.implicit.octree import BASE, Octree
from gcbench.codecs.implicit.octree_field import STEP, OctreeField
from gcbench.codecs.implicit.perceptron_codec import Fit
from gcbench.entropy.container import Writer
from gcbench.errors import BadMesh, BitstreamError, UsageError
from gcbench.geometry.marching_cubes import HALF_SIDE
from gcbench.geometry.signed_distance import Field


def rate(lod: int) -> Rate:
    return Rate("x", {"lod": lod, "effort": "quick"})


@pytest.fixture(scope="module", autouse=True)
def _few_samples():
    """Distances are most of the time that a short training takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(nglod.FITS, "quick", Fit(15_000, 60, 1024, 128))
        yield


@pytest.fixture(scope="module")
def sphere():
    return trimesh.creation.icosphere(4, 0.9)


@pytest.fixture(scope="module")
def stream(sphere):
    return Nglod(steps=60).encode_mesh(sphere, rate(1), Context())


@pytest.fixture(scope="module")
def plain():
    """A field on a small tree with all parts set by hand: the sphere of radius 1/2, in steps of a 16th voxel."""
    ball = trimesh.creation.icosphere(4, 0.5)
    distance = Field(ball)
    field = OctreeField(Octree.around(distance.surface, 4, 0), 2, 5)
    field.start_from(distance)
    return field


def test_a_sphere_comes_back(stream):
    mesh = Nglod().decode_mesh(stream, Context())
    assert mesh.is_watertight
    assert mesh.body_count == 1
    error = np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.9)
    assert error.mean() < 0.008  # the voxels' side is 0.13
    assert mesh.volume > 0
    assert len(stream) < 1000


def test_the_same_bytes_again_and_others_for_another_seed(sphere, stream):
    codec = Nglod(steps=60)
    assert codec.encode_mesh(sphere, rate(1), Context()) == stream
    assert codec.encode_mesh(sphere, rate(1), Context(seed=1)) != stream


def test_threads_do_not_change_a_bit():
    """On a tree of so many corners that torch shares their sums among threads, in an order of its own."""
    plane = np.stack([*np.indices((200, 200)).reshape(2, -1), np.full(200**2, 128)], 1)
    tree = Octree(plane, 8)
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(2000, 3, generator=generator) * 2 - 1) * torch.tensor([1, 1, 0.01])
    samples = points, torch.rand(2000, generator=generator) / 100
    trained = []
    before = torch.get_num_threads()
    for threads in (1, 2, 2, 2):
        torch.set_num_threads(threads)
        field = OctreeField(tree, 1, 4)
        Nglod()._fit(field, samples, Fit(2000, 20, 1000, 128), Context(threads=threads))
        trained.append([parameter.detach() for parameter in field.parameters()])
    torch.set_num_threads(before)
    for other in trained[1:]:
        for a, b in zip(trained[0], other, strict=True):
            assert torch.equal(a, b)


def test_more_levels_are_more_bytes_and_less_error():
    torus = trimesh.creation.torus(0.7, 0.25)
    surface = Field(torus).surface
    sizes, errors = [], []
    for lod in (1, 2):
        made = Nglod(steps=40).encode_mesh(torus, rate(lod), Context())
        vertices = Nglod().decode_mesh(made, Context()).vertices
        sizes.append(len(made))
        errors.append(np.linalg.norm(vertices - surface.closest(vertices)[0], axis=1).mean())
    assert sizes == sorted(sizes)
    assert errors[1] < errors[0] / 1.5


def test_before_training_the_field_is_the_interpolated_distance(plain):
    """Exact at the corners of the finest level, and close to the distance between them."""
    corners = plain.tree.corners[-1] * plain.tree.side - HALF_SIDE
    exact = np.linalg.norm(corners, axis=1) - 0.5
    found = plain.distance(corners.astype(np.float32))
    # The other feature is noise of 0.01, and the decoder's last layer is 0; the mesh is no ball by 0.001.
    np.testing.assert_allclose(found, exact, atol=2e-3)
    assert np.abs(plain.distance(np.zeros((1, 3), np.float32)) + 0.5) < 0.1


@pytest.mark.parametrize("coding", ["range", "float16", "float32"])
def test_a_field_comes_back(plain, coding):
    again = OctreeField(plain.tree, 2, 5, seed=8)
    again.read(plain.encode(coding, 9), coding, 9)
    points = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype(np.float32)
    tolerance = {"range": 0.5 * STEP * 2 * len(plain.tree.corners) * plain.tree.side, "float16": 2e-3, "float32": 1e-5}
    np.testing.assert_allclose(again.distance(points), plain.distance(points), atol=tolerance[coding])
    # What a decoder has is what the training loop rounds to.
    if coding == "range":
        looped = plain(torch.from_numpy(points), lambda weights: weights).detach().numpy()
        np.testing.assert_allclose(again.distance(points), looped, atol=1e-5)


def by_hand() -> OctreeField:
    """A field whose parts are all dyadic fractions: nothing in it depends on a machine."""
    cells = np.indices((32, 32)).reshape(2, -1)
    field = OctreeField(Octree(np.stack([*cells, (cells[0] + cells[1]) // 4 + 4], 1), 5), 2, 3)
    with torch.no_grad():
        numbers = torch.arange(field.features.numel()).reshape(field.features.shape)
        field.features.copy_((numbers * 2654435761 % 7 - 3) * (numbers % 5 == 0) * STEP)
        field.log_scales.zero_()
        for i, parameter in enumerate(field.decoder.parameters()):
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) / 4 - i)
    return field


def test_golden_stream():
    """Streams of version 1 stay readable: the bytes of a field made by hand."""
    field = by_hand()
    data = field.tree.encode() + field.encode("range", 9)
    assert (len(data), hashlib.sha256(data).hexdigest()[:16]) == (1079, "95e1b80601dc6e26")


def test_golden_stream_with_its_header():
    """The decoder says 2 z − 1/2, in voxels; a 16th is added at every third corner."""
    cells = np.indices((4, 4)).reshape(2, -1)
    field = OctreeField(Octree(np.stack([*cells, np.full(16, 2)], 1), BASE), 1, 2)
    decoder = field.decoder
    with torch.no_grad():
        field.features.zero_()
        field.features[0, ::3] = STEP
        field.log_scales.zero_()
        decoder.weights[0].copy_(torch.tensor([[0, 0], [0, 0], [2, -2], [0, 0]]))
        decoder.weights[1].copy_(torch.tensor([[1], [-1]]))
        decoder.biases[0].copy_(torch.tensor([-0.5, 0.5]))
        decoder.biases[1].zero_()
    golden = bytes.fromhex(
        "4e474c01a1e75ca60009020102000610aa297ef3220d0ab14bd66c245d56fb0d23de940000803f8180003c8180003b8180803b81"
        "8000000007f8020aef3d225bc58b92805645dd828378f9189b0d45037d1959"
    )
    occupancy = field.tree.encode()
    fields = Writer().byte(0, 9, BASE, 1, 2, 0).block(occupancy).raw(field.encode("range", 9))
    assert Nglod.container.pack(fields.data()) == golden
    mesh = Nglod().decode_mesh(golden, Context())
    assert mesh.is_watertight
    assert mesh.bounds[1, 2] == pytest.approx(0.25, abs=1e-4)
    assert mesh.volume == pytest.approx(5.4121, abs=1e-3)


def test_the_estimate_of_bits():
    """0 for nothing but zeros; for many Laplace variables, their entropy."""
    tree = Octree(np.zeros((1, 3), np.int32), BASE)
    field = OctreeField(tree, 1, 2)
    with torch.no_grad():
        field.features.zero_()
        assert field.feature_bits().item() == 0
        field.features.fill_(8 * STEP)
    assert field.feature_bits().item() == pytest.approx(125 * np.log2(1 + 16 * np.e))
    symbols = np.rint(np.random.default_rng(0).laplace(scale=8, size=100_000))
    _, counts = np.unique(symbols, return_counts=True)
    entropy = -(counts / counts.sum()) @ np.log2(counts / counts.sum())
    assert np.log2(1 + 2 * np.e * np.abs(symbols).mean()) == pytest.approx(entropy, rel=0.02)


def test_errors_count_most_at_the_surface(plain):
    points = torch.tensor([[0.5, 0, 0], [0.9, 0, 0]])
    found = plain(points).detach()
    near, far = (plain.error(points[i : i + 1], found[i : i + 1] + 0.01).item() for i in (0, 1))
    assert near == pytest.approx((0.01 / plain.tree.side) ** 2, rel=0.4)
    assert far < near / 20


def test_floats_count_as_the_paper_does(sphere):
    codec = Nglod(steps=3, channels=4, width=8, coding="float32")
    made = codec.encode_mesh(sphere, rate(1), Context())
    tree = Octree.around(Field(sphere).surface, 4, 0)
    numbers = 4 * tree.corner_count + 4 * len(tree.corners) + (7 + 1) * 8 + 8 + 1
    assert len(made) == 8 + 6 + 2 + len(tree.encode()) + 4 * numbers
    assert Nglod().decode_mesh(made, Context()).volume == pytest.approx(sphere.volume, rel=0.05)


def test_damaged_streams_are_refused(stream):
    rng = np.random.default_rng(0)
    for length in (*range(24), len(stream) - 1):
        with pytest.raises(BitstreamError):
            Nglod().decode_mesh(stream[:length], Context())
    for _ in range(100):
        changed = bytearray(stream)
        changed[rng.integers(len(stream))] ^= 1 << rng.integers(8)
        with pytest.raises(BitstreamError):
            Nglod().decode_mesh(bytes(changed), Context())


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 3), (1, 3), (2, 1), (2, 9), (2, 5), (3, 0), (3, 33), (4, 0), (5, 4), (6, 0), (7, 127)],
)
def test_fields_out_of_range_are_refused_behind_a_right_checksum(stream, at, value):
    body = bytearray(Nglod.container.open(stream).rest())
    body[at] = value
    with pytest.raises(BitstreamError):
        Nglod().decode_mesh(Nglod.container.pack(bytes(body)), Context())


def test_mutations_behind_a_right_checksum_give_a_mesh_or_an_error(stream):
    rng = np.random.default_rng(3)
    outcomes = set()
    for _ in range(25):
        body = bytearray(Nglod.container.open(stream).rest())
        body[rng.integers(8, len(body))] = rng.integers(256)
        try:
            mesh = Nglod().decode_mesh(Nglod.container.pack(bytes(body)), Context())
        except BitstreamError:
            outcomes.add("refused")
        else:
            outcomes.add("mesh")
            assert np.abs(mesh.vertices).max() <= HALF_SIDE
    assert "refused" in outcomes


def test_a_header_that_asks_for_much_memory_is_refused(monkeypatch, stream):
    monkeypatch.setattr(nglod, "_BYTES_OF_A_FEATURE", 1 << 30)
    with pytest.raises(BitstreamError, match="bytes of memory; the limit is"):
        Nglod().decode_mesh(stream, Context())


def test_components_that_no_voxel_can_hold_are_dropped():
    tree = Octree(np.array([[4, 4, 4], [4, 4, 5]], np.int32), 3)
    parts = [trimesh.creation.icosphere(1, radius) for radius in (0.2, 0.2, 0.05)]
    for part, place in zip(parts, ([-0.5, 0, 0], [0.2, 0.2, 0.2], [0.13, 0.13, 0.4]), strict=True):
        part.apply_translation(place)  # outside the tree, in it and larger than a voxel of 0.26, in it and smaller
    both = trimesh.util.concatenate(parts)
    vertices, faces = nglod._kept(tree, np.asarray(both.vertices), np.asarray(both.faces))
    np.testing.assert_array_equal(vertices, parts[1].vertices)
    np.testing.assert_array_equal(faces, parts[1].faces)
    both = trimesh.util.concatenate([parts[0], parts[2]])
    vertices, _ = nglod._kept(tree, np.asarray(both.vertices), np.asarray(both.faces))
    np.testing.assert_array_equal(vertices, parts[2].vertices)


@pytest.mark.parametrize("scale", [np.nan, 1e30])
def test_coordinates_that_cannot_be_used(scale, sphere):
    with pytest.raises(BadMesh):
        Nglod(steps=1).encode_mesh(
            trimesh.Trimesh(sphere.vertices * scale, sphere.faces, process=False), rate(1), Context()
        )


@pytest.mark.parametrize("faces", [slice(0, 1), slice(0, 1500)])
def test_open_meshes_do_not_crash(sphere, faces):
    open_mesh = trimesh.Trimesh(sphere.vertices, sphere.faces[faces], process=False)
    made = Nglod(steps=5).encode_mesh(open_mesh, rate(1), Context())
    try:
        assert Nglod().decode_mesh(made, Context()).is_watertight
    except BitstreamError:  # one triangle has no inside
        assert faces == slice(0, 1)


def test_wrong_parameters():
    for wrong in ({"coding": "zip"}, {"bits": 3}, {"steps": -1}, {"channels": 0}, {"width": 0}, {"coding": "sparse"}):
        with pytest.raises(UsageError):
            Nglod(**wrong)


@pytest.mark.parametrize("steps", [0, 40])
def test_labels_are_unique(steps):
    labels = [rate.label for effort in EFFORTS for rate in Nglod(steps=steps).rates(effort)]
    assert len(set(labels)) == len(labels)


def test_rates_are_levels_of_detail():
    for effort in ("quick", "standard", "paper"):
        lods = [int(r.params["lod"]) for r in Nglod().rates(effort)]
        assert lods == sorted(lods)
        assert all(r.label.startswith(f"lod{n}s") for r, n in zip(Nglod().rates(effort), lods, strict=True))
