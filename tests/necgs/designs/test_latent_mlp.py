"""The design ``latent_mlp``: the network against DeepSDF's formulas, sparse volumes, and what is learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from gcbench.errors import CodecTimeout
from gcbench.geometry.deformable_marching_cubes import extract
from gcbench.geometry.grid import Grid
from gcbench.necgs.designs.base import Parameters
from gcbench.necgs.designs.latent_mlp import LatentMlp
from gcbench.necgs.designs.latent_mlp_network import Autodecoder, sparse_volume
from gcbench.necgs.designs.latent_mlp_training import draw, fit_latent, quantised, train_set
from gcbench.necgs.job import Job
from gcbench.training.networks import Schedule
from gcbench.training.perceptrons import Perceptrons, generators
from gcbench.training.quantise import quantise

SMALL = LatentMlp(resolution=32, width=5, latent=3)


def ignore() -> None:
    pass


def volumes_of(radii: list[float], side: int = 32) -> np.ndarray:
    """Symbols of the volumes of spheres, without deformation."""
    grid = Grid(side)
    axis = grid.axis()
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    volumes = np.zeros((len(radii), 4, side, side, side))
    for volume, radius in zip(volumes, radii, strict=True):
        volume[0] = np.clip((distance - radius) / grid.truncation, -1, 1)
    return quantise(volumes, 8)


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_weights_are_the_nearest_multiples_of_a_step_of_their_tensor(bits):
    design = replace(SMALL, bits=bits)
    tensors = [np.random.default_rng(i).normal(size=shape).astype(np.float32) for i, shape in enumerate(design.shapes)]
    parameters = quantised(design, tensors)
    half = 2 ** (bits - 1) - 1
    network = Autodecoder.of(design, parameters).network
    for found, tensor, step in zip(network.tensors(), tensors, parameters.scales, strict=True):
        assert step == pytest.approx(np.abs(tensor).max() / half)
        np.testing.assert_allclose(found, np.rint(tensor / step) * step, atol=1e-6)
        assert np.abs(found - tensor).max() <= 0.5001 * step


def test_the_shapes_are_those_of_the_network():
    for design in (SMALL, LatentMlp(32, 9, 4, octaves=3)):
        network = Perceptrons(1, design.layer_widths, skip=4, generators=generators([0]))
        pairs = zip(network.weights, network.biases, strict=True)
        assert [tuple(p.shape[1:]) for pair in pairs for p in pair] == design.shapes


def test_the_network_is_deepsdfs():
    tensors = [np.random.default_rng(0).normal(size=shape).astype(np.float32) / 3 for shape in SMALL.shapes]
    network = Perceptrons.of(tensors, SMALL.layer_widths, skip=4)
    symbols = np.array([3, 250, 128], np.int16)
    vertices = np.array([0, 5, 31 * 1024 + 16 * 32 + 2])
    index = np.stack(np.unravel_index(vertices, (32, 32, 32)), axis=1)
    start = np.concatenate([index / 16 - 1, np.tile(symbols / 128 - 1, (3, 1))], axis=1)
    x = start
    for layer in range(8):
        x = np.concatenate([x, start], axis=1) if layer == 4 else x
        x = x @ tensors[2 * layer] + tensors[2 * layer + 1]
        x = np.maximum(x, 0) if layer < 7 else x
    levels = torch.from_numpy(symbols / np.float32(128) - 1).expand(3, -1)
    found = Autodecoder(SMALL, network)(torch.from_numpy(vertices), levels)
    np.testing.assert_allclose(found.detach().numpy(), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [32, 64])
def test_a_sparse_volume_has_the_surface_of_the_full_one(side):
    grid = Grid(side)
    rng = np.random.default_rng(0)
    centres, radii = rng.uniform(-0.7, 0.7, (9, 3)), rng.uniform(0.6, 4, 9) * grid.spacing
    axis = grid.axis()
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 1, 3)
    distance = (np.linalg.norm(points - centres, axis=2) - radii).min(axis=1)
    full = np.zeros((4, side**3), np.float32)
    full[0] = np.clip(distance / grid.truncation, -1, 1)
    full[1:] = rng.uniform(-1, 1, (3, side**3))
    asked = []

    def evaluate(vertices):
        asked.append(vertices)
        return full[:, vertices]

    volume = sparse_volume(evaluate, side)
    vertices = np.concatenate(asked)
    assert len(np.unique(vertices)) == len(vertices) < 0.6 * side**3
    np.testing.assert_array_equal(volume.reshape(4, -1)[:, vertices], full[:, vertices])
    for got, expected in zip(
        extract(torch.from_numpy(volume), grid),
        extract(torch.from_numpy(full.reshape(4, side, side, side)), grid),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)


def test_a_surface_is_followed_where_the_lattice_does_not_see_it():
    """A rod one vertex thick between lattice vertices, which all say 1, but for the one at its end."""
    field = np.ones((4, 32, 32, 32), np.float32)
    field[1:] = 0
    field[0, 5:25, 7, 7] = -0.5
    field[0, 4, 6, 6] = 0.3
    volume = sparse_volume(lambda vertices: field.reshape(4, -1)[:, vertices], 32)
    np.testing.assert_array_equal(volume[0], field[0])


def test_all_of_the_band_and_some_far_vertices_are_drawn():
    volumes = volumes_of([0.5, 0.8])
    samples = draw(volumes, 0)
    for i in range(2):
        flat = volumes[i].reshape(4, -1)
        of_mesh = samples.mesh == i
        vertices = samples.vertex[of_mesh].numpy()
        np.testing.assert_array_equal(samples.target[of_mesh].numpy(), flat[:, vertices].T)
        band = np.flatnonzero((flat[0] > 0) & (flat[0] < 256))
        assert set(band) <= set(vertices)
        assert len(set(vertices)) == len(vertices)
        far = flat[0, vertices[len(band) :]]
        assert set(far) == {0, 256}
    again = draw(volumes, 1)
    assert not torch.equal(samples.vertex, again.vertex)


def test_a_latent_says_which_sphere():
    """Three radii in one network; a fourth between them by its latent alone."""
    radii = [0.5, 0.65, 0.8]
    design = LatentMlp(32, 24, 4)
    trained = train_set(draw(volumes_of(radii), 0), 3, design, Schedule(400, 512, 1e-2), Job())
    autodecoder = Autodecoder.of(design, trained.parameters)
    schedule = Schedule(100, 1024, 0.02)
    added = fit_latent(autodecoder, draw(volumes_of([0.72]), 0), trained.features, schedule, Job())
    grid = Grid(32)
    for radius, latent in zip([*radii, 0.72], [*trained.features, added], strict=True):
        vertices, faces = extract(torch.from_numpy(autodecoder.volume(latent, ignore)), grid)
        assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
        distance = np.linalg.norm(vertices.numpy(), axis=1) - radius
        assert np.abs(distance).mean() < 0.25 * grid.spacing


def test_a_seed_decides_every_weight():
    samples, schedule = draw(volumes_of([0.6]), 0), Schedule(3, 64)
    one, same, other = (train_set(samples, 1, SMALL, schedule, Job(seed=seed)) for seed in (0, 0, 1))
    for name, symbols in one.parameters.tensors.items():
        np.testing.assert_array_equal(symbols, same.parameters.tensors[name])
    assert not np.array_equal(one.parameters.tensors["0.weight"], other.parameters.tensors["0.weight"])


def silent() -> Parameters:
    """Weights of 0."""
    tensors = {name: np.full(kind.shape, 127, np.int16) for name, kind in SMALL.tensors().items()}
    return Parameters(tensors, np.ones(SMALL.scale_count, np.float32))


def test_a_volume_may_be_stopped():
    def stop():
        raise CodecTimeout

    with pytest.raises(CodecTimeout):
        SMALL.decoder(silent()).volume(np.zeros(3, np.int16), stop)


def test_a_volume_without_a_surface_is_a_mesh_without_faces():
    parameters = silent()
    parameters.tensors["7.bias"][0, 0] = 128
    _, faces = SMALL.decoder(parameters).surface(np.zeros(3, np.int16), Job())
    assert len(faces) == 0
