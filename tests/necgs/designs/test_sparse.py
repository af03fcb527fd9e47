"""The design ``sparse``: its decoder against a dense one, targets, bits, and a set that is coded and added to."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh
from capsules import distance
from scipy.stats import laplace
from torch.nn import functional

from gcbench.entropy.container import Fields, Writer
from gcbench.entropy.range_coder import RangeCoder
from gcbench.errors import BitstreamError, UsageError
from gcbench.geometry.grid import Grid
from gcbench.geometry.tsdf import tsdf
from gcbench.necgs import designs
from gcbench.necgs.bitstream import Reader
from gcbench.necgs.compression import add, compress, decompress
from gcbench.necgs.designs import sparse_network, sparse_prior
from gcbench.necgs.designs.base import Parameters, Trained
from gcbench.necgs.designs.sparse import BLOCKS, TRUNCATION, Sparse
from gcbench.necgs.designs.sparse_loss import distortion
from gcbench.necgs.designs.sparse_prior_training import PriorTraining
from gcbench.necgs.designs.sparse_rate import laplace_bits, tensor_bits
from gcbench.necgs.designs.sparse_targets import UNIT, target, targets
from gcbench.necgs.designs.sparse_training import SetTraining
from gcbench.necgs.job import Job


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """A decoder with random weights: values vary everywhere."""
    return random_weights(Sparse(128, 160))


def random_weights(design: Sparse) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(size, generator=generator) * sparse_prior.size(size) * 1.5
        for name, size in design.parameter_shapes().items()
    }


# --- The decoder ------------------------------------------------------------------------------------------------------


def dense_values(
    weights: dict[str, torch.Tensor], trunk: torch.Tensor, means: torch.Tensor, blocks: np.ndarray
) -> torch.Tensor:
    """What the decoder computes, by torch's dense layers everywhere: (channels, blocks, 64)."""
    x = functional.conv_transpose3d(trunk, weights["to32.weight"].transpose(0, 1), weights["to32.bias"], stride=2)
    x = functional.silu(x)
    x = functional.silu(x + functional.conv3d(x, weights["at32.weight"], weights["at32.bias"], padding=1))
    rows = x.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1])[blocks]
    rows = functional.silu(functional.linear(rows, weights["hidden.weight"], weights["hidden.bias"]))
    between = functional.pad(means[:, None], (1,) * 6, value=1.0)
    between = functional.interpolate(between, scale_factor=4, mode="trilinear")[:, 0, 4:-4, 4:-4, 4:-4]
    between = between.reshape(-1, 32, 4, 32, 4, 32, 4).permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, 64)[blocks]
    channels = [between + functional.linear(rows, weights["values.weight"], weights["values.bias"])]
    if "moves.weight" in weights:
        moves = functional.linear(rows, weights["moves.weight"], weights["moves.bias"])
        channels += [moves[:, 64 * axis : 64 * (axis + 1)] for axis in range(3)]
    return torch.stack(channels)


@pytest.mark.parametrize("deformation", [False, True])
def test_values_are_those_of_a_dense_network(deformation):
    weights = random_weights(Sparse(128, 160, deformation))
    needing = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    latents = 2 * torch.randn(2, 16, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    blocks = np.random.default_rng(2).choice(2 * BLOCKS**3, 3000, replace=False).astype(np.int64)
    trunk, means, _ = sparse_network.coarse(needing, latents, torch.float32)
    found = sparse_network.fine(needing, trunk, means, blocks)
    wanted = dense_values(needing, trunk, means, blocks)
    assert torch.allclose(found, wanted, atol=1e-4)
    own = torch.autograd.grad(found.square().sum(), list(needing.values()), retain_graph=True, allow_unused=True)
    true = torch.autograd.grad(wanted.square().sum(), list(needing.values()), allow_unused=True)
    for name, a, b in zip(needing, own, true, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max())), name


def same_for_fewer_blocks(weights: dict[str, torch.Tensor], fine) -> bool:
    """Whether the values of a block are the same, whichever other blocks are computed."""
    latents = 2 * torch.randn(1, 16, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    trunk, means, _ = sparse_network.coarse(weights, latents, torch.float32)
    blocks = np.sort(np.random.default_rng(2).choice(BLOCKS**3, 2000, replace=False)).astype(np.int64)
    some = blocks[::3]
    return torch.allclose(fine(weights, trunk, means, blocks)[:, ::3], fine(weights, trunk, means, some), atol=1e-4)


def test_no_set_leaks_into_values(weights, monkeypatch):
    """Sets tell where the surface is: a decoder whose values depend on them would be trained on more than it has."""
    assert same_for_fewer_blocks(weights, sparse_network.fine)

    window = sparse_network._window

    def leaking(blocks, meshes):  # reads only neighbours that are in the set
        parents, rows, places, around, back = window(blocks, meshes)
        outside = ~np.isin(places, blocks)
        around[np.append(outside, False)[around]] = len(rows)
        return parents, rows, places, around, back

    monkeypatch.setattr(sparse_network, "_window", leaking)
    assert not same_for_fewer_blocks(weights, sparse_network.fine), "the check would not see a leak"


def test_training_compares_what_the_decoder_computes(weights, shapes, monkeypatch):
    """The target says which blocks are compared. The values compared are those that a decoder has for these blocks."""
    seen = []
    real = sparse_network.fine

    def spied(weights, trunk, means, blocks, vertices=None):
        seen.append((trunk, means, blocks, vertices, real(weights, trunk, means, blocks, vertices)))
        return seen[-1][-1]

    monkeypatch.setattr(sparse_network, "fine", spied)
    latents = 2 * torch.randn(1, 16, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    for mesh in shapes[:2]:
        distortion(weights, latents, [target(mesh, 128)], torch.float32, np.random.default_rng(0))
    trunk, means, _ = sparse_network.coarse(weights, latents, torch.float32)
    everywhere = real(weights, trunk, means, np.arange(BLOCKS**3))
    for own_trunk, own_means, blocks, vertices, values in seen:
        assert torch.equal(own_trunk, trunk)
        assert torch.equal(own_means, means)
        wanted = everywhere[:, torch.from_numpy(blocks)][:, :, vertices]
        assert torch.allclose(values, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("deformation", [False, True])
def test_weights_that_overflow_are_an_error(deformation):
    design = Sparse(64, 160, deformation)
    tensors = {name: np.full(kind.shape, 510, np.int16) for name, kind in design.tensors().items()}
    decoder = design.decoder(Parameters(tensors, np.full(design.scale_count, 1e6, np.float32)))
    with pytest.raises(BitstreamError, match="not finite"):
        decoder.volume(np.full(design.features().shape, 200, np.int16), lambda: None)


# --- Targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [32, 64, 128, pytest.param(256, marks=pytest.mark.slow)])
def test_target_is_the_dense_distance(shapes, resolution):
    found = target(shapes[0], resolution)
    side = resolution // BLOCKS
    dense = tsdf(shapes[0], Grid(resolution, TRUNCATION * side), 1)
    blocks = dense.reshape((BLOCKS, side) * 3).transpose(0, 2, 4, 1, 3, 5).reshape(BLOCKS**3, -1)
    assert np.abs(found.values / UNIT - blocks[found.near]).max() <= 1.01 / UNIT
    far = np.setdiff1d(np.arange(BLOCKS**3), found.near)
    assert (np.abs(blocks[far]).min(1) > 1 - 0.5 / UNIT).all()
    assert np.array_equal(np.sign(found.mean_of_blocks[far]), np.sign(blocks[far, 0]))
    signs = np.pad(dense < 0, 1, mode="edge")
    crossed = np.zeros(dense.shape, bool)
    for axis in range(3):
        for step in (-1, 1):
            crossed |= np.roll(signs, step, axis)[1:-1, 1:-1, 1:-1] != (dense < 0)
    by_block = crossed.reshape((BLOCKS, side) * 3).transpose(0, 2, 4, 1, 3, 5).reshape(BLOCKS**3, -1).any(1)
    assert np.array_equal(np.flatnonzero(by_block), found.near[found.crossed])


def test_turned_target_is_that_of_the_turned_mesh(shapes):
    mesh = shapes[1]
    turned = trimesh.Trimesh(mesh.vertices[:, [2, 0, 1]] * [1, -1, 1], mesh.faces, process=False)
    found, wanted = target(mesh, 64).turned([2, 0, 1], [False, True, False]), target(turned, 64)
    assert np.array_equal(found.near, wanted.near)
    assert np.abs(found.values.astype(int) - wanted.values).max() <= 1
    assert np.abs(found.means.astype(int) - wanted.means).max() <= 1


def test_a_sheet_becomes_a_shell():
    sheet = trimesh.Trimesh([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    assert (target(sheet, 64).values < 0).any()


# --- Bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 0.7, 5.0])
def test_bits_are_those_of_the_laplace_distribution(scale):
    values = np.array([-7.0, -1.0, -0.3, 0.0, 0.2, 0.5, 3.4])
    low = -np.abs(values)  # in the lower tail, where the difference of the two is exact
    mass = laplace.cdf(low + 0.5, scale=scale) - laplace.cdf(low - 0.5, scale=scale)
    found = laplace_bits(torch.from_numpy(values), torch.tensor(scale, dtype=torch.float64))
    assert np.allclose(found.numpy(), -np.log2(mass))


def test_bits_are_those_of_the_coder():
    """What training pays for a tensor is what the range coder takes for its symbols, when they are as assumed."""
    rng = np.random.default_rng(0)
    symbols = np.rint(rng.laplace(scale=rng.uniform(0.5, 4, (32, 1)), size=(32, 600))).astype(int)
    levels = 2 * np.abs(symbols).max() + 1
    shaped = symbols.reshape(1, 32, 600, 1) + levels // 2
    taken = RangeCoder().fit(shaped, levels).cost_bits(shaped)
    noisy = torch.from_numpy(symbols + rng.uniform(-0.5, 0.5, symbols.shape)).float()
    assert tensor_bits(noisy).item() == pytest.approx(taken, rel=0.1)


def test_bits_of_a_tensor_and_their_gradient():
    values = torch.randn(30, 200, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 4, 30)[:, None]
    quick = values.clone().requires_grad_()
    slow = values.double().requires_grad_()
    a, b = tensor_bits(quick), laplace_bits(slow, slow.abs().mean(1, keepdim=True)).sum()
    assert a.item() == pytest.approx(b.item(), rel=1e-5)
    (own,), (true,) = torch.autograd.grad(a, quick), torch.autograd.grad(b, slow)
    assert torch.allclose(own.double(), true, atol=1e-5)


# --- The prior --------------------------------------------------------------------------------------------------------


def test_coarser_grids_have_every_second_value_of_the_prior():
    prior = sparse_prior.load()
    fine, coarse = (prior.decoder(Sparse(k, 160))["values.weight"] for k in (128, 64))
    assert torch.allclose(coarse.reshape(2, 2, 2, -1), fine.reshape(4, 4, 4, -1)[::2, ::2, ::2])


def test_finer_grids_have_values_between():
    prior = sparse_prior.load()
    fine, own = (prior.decoder(Sparse(k, 160))["values.bias"] for k in (256, 128))
    fine, own = fine.reshape(8, 8, 8), own.reshape(4, 4, 4)
    assert torch.allclose(fine[::2, ::2, ::2], own, atol=1e-6)
    assert torch.allclose(fine[1, 0, 0], (own[0, 0, 0] + own[1, 0, 0]) / 2, atol=1e-6)


def test_the_coarsest_grid_has_the_first_value_of_each_block():
    prior = sparse_prior.load()
    assert torch.equal(
        prior.decoder(Sparse(32, 160))["values.bias"], prior.decoder(Sparse(128, 160))["values.bias"][:1]
    )


@pytest.mark.slow
def test_a_prior_learns_and_goes_on_where_it_was(shapes):
    def fresh() -> PriorTraining:
        return PriorTraining([target(mesh, 128) for mesh in shapes[:3]], 60, batch=3)

    training = fresh()
    losses = [training.advance().item() for _ in range(9)]  # the first share trains means and scores only
    assert losses[-1] < 0.8 * losses[0]
    again = fresh()
    again.restore(training.state())
    assert again.advance().item() == training.advance().item()


# --- A set ------------------------------------------------------------------------------------------------------------


def coded(meshes: list[trimesh.Trimesh], price: int, job: Job = Job()) -> bytes:
    return compress(meshes, designs.plan("sparse", "quick", k=64, price=price, epochs=8), job)


@pytest.fixture(scope="module")
def stream(shapes) -> bytes:
    return coded(shapes[:3], 100)


def contents(stream: bytes) -> Trained:
    reader = Reader(stream)
    return Trained(reader.parameters(), np.stack([reader.features(i) for i in range(reader.mesh_count)]))


def test_a_set_comes_back_closed_and_near(shapes, stream):
    for i, decoded in decompress(stream):
        assert decoded.is_watertight
        assert distance(shapes[i], decoded) < 0.03


@pytest.mark.slow
def test_the_learning_rate_is_that_of_the_address():
    chosen = designs.plan("sparse[price=80,learning_rate=0.003]", "standard", epochs=220)
    assert (chosen.training.learning_rate, chosen.training.epochs, chosen.design.price) == (0.003, 220, 80)
    assert designs.plan("sparse", "standard").training.learning_rate == 0.004


def test_a_lower_price_gives_more_bytes(shapes, stream):
    assert len(coded(shapes[:3], 1)) > len(stream)


def test_added_meshes_leave_the_others_as_they_are(shapes, stream):
    longer = add(stream, shapes[3:], designs.plan("sparse", "quick", adding_steps=20).training)
    old, new = dict(decompress(stream)), dict(decompress(longer))
    for i, mesh in old.items():
        assert np.array_equal(mesh.vertices, new[i].vertices)
        assert np.array_equal(mesh.faces, new[i].faces)
    assert distance(shapes[3], new[3]) < 0.04


class Stop(Exception):
    pass


def test_stopped_training_goes_on_to_the_same_bytes(shapes, stream, tmp_path):
    def stop(done: float, message: str) -> None:
        if done > 0.4:
            raise Stop

    with pytest.raises(Stop):
        coded(shapes[:3], 100, Job(work=tmp_path, progress=stop))
    assert list(tmp_path.glob("training-*.safetensors"))
    assert coded(shapes[:3], 100, Job(work=tmp_path)) == stream


@pytest.mark.slow
def test_training_starts_from_another_stream(shapes, stream):
    shapes = shapes[:3]
    plan = designs.plan("sparse", "quick", k=64, epochs=1, price=400)
    state = SetTraining(plan.design, targets(shapes, 64, Job()), plan.training, 0, start=contents(stream))
    went_on = state.trained()  # before the first step: what the stream holds
    for name, symbols in contents(stream).parameters.tensors.items():
        np.testing.assert_array_equal(went_on.parameters.tensors[name], symbols)
    np.testing.assert_array_equal(went_on.features, contents(stream).features)
    warm, cold = compress(shapes, plan, start=stream), compress(shapes, plan)
    assert warm != cold
    assert len(list(decompress(warm))) == len(shapes)


def test_a_start_of_other_meshes_or_another_network_is_refused(shapes, stream):
    shapes = shapes[:3]
    plan = designs.plan("sparse", "quick", k=64, epochs=1)
    with pytest.raises(UsageError, match=f"holds {len(shapes)} meshes, not 2"):
        compress(shapes[:2], plan, start=stream)
    with pytest.raises(UsageError, match="another network"):
        compress(shapes, designs.plan("sparse", "quick", k=32, epochs=1), start=stream)
    with pytest.raises(UsageError, match="'convolution' cannot start"):
        compress(shapes, designs.plan("convolution", "quick"), start=stream)
    with pytest.raises(BitstreamError):
        compress(shapes, plan, start=stream[:-3])


@pytest.mark.slow
def test_a_process_that_has_only_the_bytes_decodes_the_same(stream, tmp_path):
    (tmp_path / "set.necgs").write_bytes(stream)
    code = (
        "import sys, numpy as np; from gcbench.necgs.compression import decompress\n"
        "mesh = next(decompress(open(sys.argv[1], 'rb').read(), [1]))[1]\n"
        "np.savez(sys.argv[2], vertices=mesh.vertices, faces=mesh.faces)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "set.necgs", tmp_path / "one.npz"], check=True, timeout=120)
    found, here = np.load(tmp_path / "one.npz"), dict(decompress(stream, [1]))[1]
    assert np.array_equal(found["vertices"], here.vertices)
    assert np.array_equal(found["faces"], here.faces)


def test_another_prior_is_refused(stream, monkeypatch):
    monkeypatch.setattr("gcbench.necgs.designs.sparse.prior_digest", lambda: b"\0\1\2\3")
    with pytest.raises(BitstreamError, match="another prior"):
        Reader(stream)


def test_choices_out_of_range_are_refused():
    for choice in (
        {"price": -1},
        {"price": 10**6},
        {"learning_rate": -0.1},
        {"learning_rate": float("nan")},
        {"learning_rate": 2.0},
        {"width": 3},
        {"objective": "render"},
        {"k": 48},
        {"representation": "sdf"},
        {"representation": "tsdf-def", "objective": "none"},
    ):
        with pytest.raises(UsageError):
            designs.plan("sparse", "quick", **choice)


def test_the_header_says_resolution_and_representation_in_one_byte():
    for number, (deformation, k) in enumerate((d, k) for d in (False, True) for k in (32, 64, 128, 256)):
        head = Writer()
        Sparse(k, 160, deformation).write(head)
        assert head.data()[0] == number
        assert Sparse.read(Fields(head.data())) == Sparse(k, 160, deformation)
    with pytest.raises(BitstreamError, match="resolution and representation"):
        Sparse.read(Fields(b"\x08" + head.data()[1:]))
