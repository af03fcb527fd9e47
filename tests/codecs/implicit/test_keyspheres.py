"""Key spheres as inputs of a perceptron: what a network is shown, and meshes through bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from gcbench.codecs import Context, Rate
from gcbench.codecs.implicit.keyspheres import ARCHITECTURES, KeySpheres, direct, distances, latent
from gcbench.codecs.implicit.spheres import pack
from gcbench.entropy.container import Writer
from gcbench.entropy.tensors import encode
from gcbench.errors import BitstreamError, UsageError

SMALL = Rate("x", {"spheres": 16, "layers": 2, "width": 16, "effort": "quick"})
FLOAT32 = 3


def sealed(condition, tensors, layers, width):
    """A stream of a grid of 32, the first of the resolutions."""
    fields = Writer().byte(FLOAT32, 9, layers, width, 0).block(condition).raw(encode(tensors, "float32", 9))
    return KeySpheres.container.pack(fields.data())


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 50, 3, generator=generator) * 2 - 1
    spheres = torch.rand(2, 9, 4, generator=generator)
    away = (points[:, :, None] - spheres[:, None, :, :3]).norm(dim=-1)
    return points, spheres, away


# --- What networks are shown ------------------------------------------------------------------------------------------


def test_direct_is_one_linear_layer_of_the_papers(drawn):
    points, spheres, away = drawn
    generator = torch.Generator().manual_seed(1)
    sphere_layer, bias = torch.randn(4, 29, generator=generator), torch.randn(29, generator=generator)
    first = torch.randn(32, 32, generator=generator)
    blended = (away / away.sum(-1, keepdim=True)) @ (spheres @ sphere_layer + bias)
    theirs = torch.cat([points, blended], -1) @ first
    merged = torch.cat([first[:3], sphere_layer @ first[3:]])
    ours = torch.cat([points, direct(points, spheres)], -1) @ merged + bias @ first[3:]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_latent_is_one_linear_layer_of_the_papers(drawn):
    points, spheres, away = drawn
    latents = torch.randn(2, 9, 29, generator=torch.Generator().manual_seed(1))
    theirs = (away / away.sum(-1, keepdim=True)) @ latents
    ours = latent(points, spheres) @ (latents / (9 * 0.2)) + latents.mean(1, keepdim=True)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_distances_are_all_distances(drawn):
    points, spheres, away = drawn
    shown = distances(points, spheres)
    assert shown.shape == (2, 50, 10)
    signed = shown[..., :1] + shown[..., 1:] / 0.2
    torch.testing.assert_close(signed, away - spheres[:, None, :, 3], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("features", [direct, latent, distances])
def test_the_centre_of_a_lone_sphere_is_a_place_like_others(features):
    assert features(torch.zeros(1, 1, 3), torch.tensor([[[0, 0, 0, 0.5]]])).isfinite().all()


def test_many_points_are_shown_in_parts_as_a_few_are(monkeypatch):
    spheres = np.random.default_rng(0).integers(1, 120, (7, 4)) / 128
    conditions = [bytes([2]) + pack(spheres.astype(np.float32))]
    points = torch.rand(1, 100, 3, generator=torch.Generator().manual_seed(0))
    whole = KeySpheres().shown(conditions, "cpu")(points)
    monkeypatch.setattr("gcbench.codecs.implicit.keyspheres._DISTANCES_AT_ONCE", 7 * 33)
    torch.testing.assert_close(KeySpheres().shown(conditions, "cpu")(points), whole, atol=1e-5, rtol=0)


# --- Bytes and meshes -------------------------------------------------------------------------------------------------


def by_hand():
    """A stream whose network says the mean distance to one sphere, of radius 0.5 around the origin."""
    condition = bytes([ARCHITECTURES.index("distances")]) + pack(np.array([[0, 0, 0, 0.5]], np.float32))
    first = np.zeros((5, 2), np.float32)
    first[3] = 1, -1
    tensors = [first, np.zeros((1, 2), np.float32), np.array([[1], [-1]], np.float32), np.zeros((1, 1), np.float32)]
    return condition, tensors, sealed(condition, tensors, 1, 2)


def test_a_stream_made_by_hand_is_the_sphere_that_it_holds():
    condition, _, stream = by_hand()
    assert condition.hex(" ") == "02 01 17 07 b0 00 00 60 00"
    assert stream[:4] == b"KSP\x01"
    assert stream[8:14].hex(" ") == "03 09 01 02 00 09"
    assert len(stream) == 8 + 6 + len(condition) + 4 * 15
    mesh = KeySpheres().decode_mesh(stream, Context())
    assert mesh.is_watertight
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=5e-3)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi / 8, rel=0.03)


def test_a_decoder_holds_few_inputs_at_a_time(monkeypatch):
    """A stream of 8 kB may have 4096 spheres, of which each point of a chunk of the grid is shown all."""
    _, _, stream = by_hand()
    whole = KeySpheres().decode_mesh(stream, Context())
    real, seen = distances, []

    def features(points, spheres):
        seen.append(points.shape[1])
        return real(points, spheres)

    monkeypatch.setattr("gcbench.codecs.implicit.keyspheres.distances", features)
    monkeypatch.setattr("gcbench.codecs.implicit.perceptron_codec._NUMBERS_AT_ONCE", 5 * 1000)
    mesh = KeySpheres().decode_mesh(stream, Context())
    assert max(seen) == 1000
    np.testing.assert_allclose(mesh.vertices, whole.vertices, atol=1e-6)


@pytest.mark.parametrize(
    "architecture", [ARCHITECTURES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES[1:])]
)
def test_a_mesh_comes_back_from_every_architecture(architecture):
    torus = trimesh.creation.torus(0.7, 0.3)
    stream = KeySpheres(architecture=architecture, steps=500).encode_mesh(torus, SMALL, Context())
    body = bytearray(KeySpheres.container.open(stream).rest())
    body[4] = 0  # the resolution: 32, less than the effort's, for speed
    assert body[6] == ARCHITECTURES.index(architecture)
    mesh = KeySpheres().decode_mesh(KeySpheres.container.pack(bytes(body)), Context())
    assert mesh.volume == pytest.approx(torus.volume, rel=0.15)


def test_damaged_streams_are_refused():
    _, _, stream = by_hand()
    rng = np.random.default_rng(0)
    for length in range(len(stream)):
        with pytest.raises(BitstreamError):
            KeySpheres().decode_mesh(stream[:length], Context())
    for _ in range(100):
        changed = bytearray(stream)
        changed[rng.integers(len(stream))] ^= 1 << rng.integers(8)
        with pytest.raises(BitstreamError):
            KeySpheres().decode_mesh(bytes(changed), Context())


def test_conditions_that_are_none_are_refused_behind_a_right_checksum():
    condition, tensors, _ = by_hand()
    wrong = [
        b"",
        bytes([len(ARCHITECTURES)]) + condition[1:],
        bytes([ARCHITECTURES.index("direct")]) + condition[1:],  # has 7 inputs; the weights are for 5
        condition[:-1],
        condition + b"\0",
    ]
    for one in wrong:
        with pytest.raises(BitstreamError):
            KeySpheres().decode_mesh(sealed(one, tensors, 1, 2), Context())


def test_ladders_have_the_papers_network_and_labels_of_one_meaning():
    codec, meanings = KeySpheres(), {}
    for effort in ("quick", "standard", "paper"):
        rates = codec.rates(effort)
        assert {"spheres": 128, "layers": 6, "width": 32, "effort": effort} in [dict(rate.params) for rate in rates]
        for rate in rates:
            assert meanings.setdefault(rate.label, rate) == rate


def test_unknown_architectures_are_refused():
    with pytest.raises(UsageError, match="direct, latent, distances"):
        KeySpheres(architecture="both")
