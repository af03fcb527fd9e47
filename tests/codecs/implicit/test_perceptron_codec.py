"""NI and pruned perceptrons from mesh to bytes to mesh, on a sphere and a torus, with short trainings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh

from gcbench.codecs import CODECS, Context, Rate
from gcbench.codecs.implicit import perceptron_codec
from gcbench.codecs.implicit.ni import Ni
from gcbench.codecs.implicit.perceptron_codec import Fit, PerceptronCodec
from gcbench.codecs.implicit.pruned_mlp import PrunedMlp
from gcbench.entropy.tensors import decode
from gcbench.errors import BitstreamError, CodecTimeout, UsageError
from gcbench.training import networks as training
from gcbench.training.perceptrons import Perceptrons, generators

SMALL = {"layers": 2, "width": 16, "effort": "quick"}


@pytest.fixture(scope="module")
def sphere():
    return trimesh.creation.icosphere(3, 1.0)


@pytest.fixture(scope="module")
def stream(sphere):
    return Ni(steps=600).encode_mesh(sphere, Rate("x", SMALL), Context())


def test_a_sphere_comes_back(stream):
    mesh = Ni().decode_mesh(stream, Context())
    assert mesh.is_watertight
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).mean() < 0.02
    assert len(stream) < 700  # 353 weights of 9 bits, less what the range coder saves, plus scales and models


def test_the_same_bytes_again_and_others_for_another_seed(sphere, stream):
    codec, rate = Ni(steps=600), Rate("x", SMALL)
    assert codec.encode_mesh(sphere, rate, Context()) == stream
    assert codec.encode_mesh(sphere, rate, Context(seed=1)) != stream


def test_networks_side_by_side_are_what_they_are_alone(sphere, stream):
    torus = trimesh.creation.torus(0.7, 0.3)
    codec = Ni(steps=600)
    both = codec.encode([torus, sphere], Rate("x", SMALL), Context(threads=2))
    assert both[1] == stream
    # 353 weights after 600 steps are a coarse torus, here 24 % too large (1.52 for 1.23); by the processor, too.
    assert codec.decode_mesh(both[0], Context()).volume == pytest.approx(torus.volume, rel=0.35)


def test_no_meshes_are_no_streams():
    assert Ni().encode([], Rate("x", SMALL), Context()) == []


def test_a_deadline_is_looked_at_after_each_mesh(sphere):
    ctx = Context(deadline=0.0)
    with pytest.raises(CodecTimeout):
        Ni().encode([sphere] * 1000, Rate("x", SMALL), ctx)  # to draw points for all would take minutes


@pytest.mark.parametrize("coding", ["sparse", "float16"])
def test_other_codings_carry_the_same_field(sphere, stream, coding):
    other = Ni(steps=600, coding=coding).encode_mesh(sphere, Rate("x", SMALL), Context())
    mesh = Ni().decode_mesh(other, Context())
    assert mesh.volume == pytest.approx(Ni().decode_mesh(stream, Context()).volume, rel=0.05)
    if coding != "sparse":
        assert len(other) == 8 + 6 + 2 * Perceptrons.count((3, 16, 16, 1))


# Streams of version 1 of a network that says |x| + |y| + |z| − 1/2.
GOLDEN = {
    "ni": (
        "4e495701596577050009010600008180803b818000008180803b8180003b0007f800160cfd24a4637e5871cd224b10c3"
        "3eb3a096518ff30bc1ca4c782bbdc097c30e"
    ),
    "ni[coding=float16]": (
        "4e495701fe81abe3020901060000003c00bc000000000000000000000000003c00bc000000000000000000000000003c"
        "00bc000000000000000000000000003c003c003c003c003c003c00b8"
    ),
    "pruned-mlp": (
        "504d5001b77ce1c30109010600008180803b818000008180803b8180003b0606000006060101080010009b9300192045"
        "2acd6ac303b490859f4cac79dee36975648e00004c7c00417443"
    ),
}


@pytest.mark.parametrize("address", GOLDEN)
def test_golden_streams(address):
    first = np.stack([[1, -1, 0, 0, 0, 0], [0, 0, 1, -1, 0, 0], [0, 0, 0, 0, 1, -1]]).astype(np.float32)
    tensors = [first, np.zeros((1, 6), np.float32), np.ones((6, 1), np.float32), np.full((1, 1), -0.5, np.float32)]
    codec = CODECS.create(address)
    assert isinstance(codec, PerceptronCodec)
    (written,) = codec._write(Perceptrons.of(tensors, (3, 6, 1)), [b""], 32)
    assert written.hex() == GOLDEN[address]
    mesh = codec.decode_mesh(bytes.fromhex(GOLDEN[address]), Context())
    assert mesh.is_watertight
    np.testing.assert_allclose(np.abs(mesh.vertices).sum(1), 0.5, atol=2e-3 * 2.1 / 32)


def test_damaged_streams_are_refused(stream):
    rng = np.random.default_rng(0)
    for length in (*range(24), len(stream) - 1):
        with pytest.raises(BitstreamError):
            Ni().decode_mesh(stream[:length], Context())
    for _ in range(200):
        changed = bytearray(stream)
        changed[rng.integers(len(stream))] ^= 1 << rng.integers(8)
        with pytest.raises(BitstreamError):
            Ni().decode_mesh(bytes(changed), Context())
    with pytest.raises(BitstreamError, match="not a stream of pruned-mlp but of ni"):
        PrunedMlp().decode_mesh(stream, Context())


@pytest.mark.parametrize(("at", "value"), [(0, 9), (1, 1), (2, 0), (2, 99), (3, 0), (3, 255), (4, 4), (5, 5), (5, 255)])
def test_fields_out_of_range_are_refused_behind_a_right_checksum(stream, at, value):
    body = bytearray(Ni.container.open(stream).rest())
    body[at] = value
    with pytest.raises(BitstreamError):
        Ni().decode_mesh(Ni.container.pack(bytes(body)), Context())


def test_pruning_prunes_and_saves_bytes(sphere):
    sizes = []
    for sparsity in (90, 50, 0):
        made = PrunedMlp(steps=120, retrain=40).encode_mesh(
            sphere, Rate("x", SMALL | {"sparsity": sparsity}), Context()
        )
        body = PrunedMlp.container.open(made).rest()
        shapes = [(3, 16), (1, 16), (16, 16), (1, 16), (16, 1), (1, 1)]
        weights = np.concatenate([t.ravel() for t in decode(body[6:], shapes, "sparse", 9)[::2]])
        assert (weights == 0).mean() == pytest.approx(max(sparsity / 100, 0), abs=0.06)
        sizes.append(len(made))
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.6 * sizes[-1]


@pytest.mark.long
@pytest.mark.parametrize("name", ["ni", pytest.param("keyspheres", marks=pytest.mark.slow), "pruned-mlp", "nglod"])
def test_seconds_bound_every_training(name, sphere, monkeypatch):
    budgets: list[float] = []
    monkeypatch.setitem(perceptron_codec.FITS, "quick", Fit(1000, 10, 100, 32))
    monkeypatch.setattr(training, "train", lambda _p, _l, _n, schedule, **_: budgets.append(schedule.seconds))
    rate = Rate("x", SMALL | {"spheres": 8, "sparsity": 50, "lod": 1})
    for parameters in ("", "[seconds=7]"):
        CODECS.create(name + parameters).encode([sphere], rate, Context())
    count = len(budgets) // 2  # pruned networks are trained twice
    assert budgets == [math.inf] * count + [7] * count
    assert count == (2 if name == "pruned-mlp" else 1)


def test_wrong_parameters():
    for wrong in ({"coding": "zip"}, {"bits": 3}, {"steps": -1}, {"seconds": -1}):
        with pytest.raises(UsageError):
            Ni(**wrong)
    with pytest.raises(UsageError):
        PrunedMlp(retrain=-2)


def test_perceptrons_are_independent():
    alone = Perceptrons(1, (3, 8, 8, 1), generators=generators([5]))
    beside = Perceptrons(3, (3, 8, 8, 1), generators=generators([4, 5, 6]))
    x = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(beside(x)[1], alone(x)[0])
    assert alone.parameter_count() == Perceptrons.count((3, 8, 8, 1)) == 4 * 8 + 9 * 8 + 9
    assert Perceptrons.count((3, *[32] * 8, 1)) == 7553  # the 30 kB of NI in the key-sphere paper, as float32
    beside(x)[0].sum().backward()
    assert beside.flat.grad[0].abs().sum() > 0
    assert beside.flat.grad[1:].abs().sum() == 0
