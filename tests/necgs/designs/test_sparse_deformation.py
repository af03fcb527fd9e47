"""The design ``sparse`` with ``representation=tsdf-def``: surface, targets, and a set that is coded and added to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from capsules import distance

from gcbench.errors import UsageError
from gcbench.geometry.deformable_marching_cubes import extract
from gcbench.geometry.grid import Grid
from gcbench.geometry.tsdf import tsdf
from gcbench.necgs import designs
from gcbench.necgs.bitstream import Reader
from gcbench.necgs.compression import add, compress, decompress
from gcbench.necgs.designs import sparse_prior
from gcbench.necgs.designs.base import Parameters
from gcbench.necgs.designs.sparse import BLOCKS, Sparse
from gcbench.necgs.designs.sparse_targets import UNIT, Target, blocks_of, target
from gcbench.necgs.designs.sparse_training import SetTraining
from gcbench.necgs.job import Job


def untrained(design: Sparse) -> Parameters:
    """The weights of the prior."""
    tensors = {name: np.full(kind.shape, kind.levels // 2, np.int16) for name, kind in design.tensors().items()}
    return Parameters(tensors, np.ones(design.scale_count, np.float32))


def test_a_decoder_that_has_learned_no_deformation_gives_the_mesh_of_the_plain_one(shapes):
    latents = sparse_prior.load().latents([target(shapes[0], 64)])[0]
    features = (latents.round() + 127).numpy().astype(np.int16)
    plain, deformed = (Sparse(64, 160, deformation) for deformation in (False, True))
    wanted = plain.decoder(untrained(plain)).surface(features, Job())
    parameters = untrained(deformed)
    found = deformed.decoder(parameters).surface(features, Job())
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1])
    half_cell = Grid(64).deformation
    bias = parameters.tensors["moves.bias"]
    bias[8:16] += 2  # along y, far more than half a cell
    moved = deformed.decoder(parameters).surface(features, Job())
    assert np.array_equal(moved[1], wanted[1])
    shifted = np.abs(moved[0] - wanted[0] - [0, half_cell, 0]).max(1) < 1e-6
    assert shifted.mean() > 0.98  # but for edges that lead out of the blocks that have values


def test_the_target_of_a_deformed_volume_has_the_moves_of_crossed_blocks(shapes):
    rng = np.random.default_rng(0)
    volume = tsdf(shapes[0], Grid(64, 1.5), 1)
    moves = rng.uniform(-1, 1, (3, 64, 64, 64)).astype(np.float32)
    found, plain = blocks_of(volume, *moves), blocks_of(volume)
    assert np.array_equal(found.values, plain.values)
    assert plain.moves is None
    for number, block in enumerate(found.near[found.crossed]):
        x, y, z = (2 * i for i in np.unravel_index(block, (BLOCKS,) * 3))
        wanted = moves[:, x : x + 2, y : y + 2, z : z + 2].reshape(3, 8)
        assert np.abs(found.moves[number] / UNIT - wanted).max() <= 0.51 / UNIT


def test_a_fitted_target_is_nearer_than_the_plain_one():
    box = trimesh.creation.box((2, 1.7, 1.3))

    def surface(target: Target) -> trimesh.Trimesh:
        """The surface of a target of one vertex a block."""
        volume = np.zeros((4, BLOCKS**3), np.float32)
        volume[0] = np.sign(target.mean_of_blocks)
        volume[0, target.near] = target.values[:, 0] / UNIT
        if target.moves is not None:
            volume[1:, target.near[target.crossed]] = target.moves[..., 0].T / UNIT
        vertices, faces = extract(torch.from_numpy(volume.reshape(4, 32, 32, 32)), Grid(32))
        return trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)

    plain, fitted = target(box, 32), target(box, 32, fit_steps=20)
    assert np.abs(fitted.moves).max() > 0.1 * UNIT
    assert distance(surface(fitted), box) < 0.6 * distance(surface(plain), box)


@pytest.mark.long
def test_training_learns_a_deformation(shapes):
    """Vertices left and right of the plane x = 0 are displaced in opposite directions."""
    volume = tsdf(shapes[0], Grid(64, 1.5), 1)
    moves = np.zeros((3, 64, 64, 64), np.float32)
    moves[0, :32], moves[0, 32:] = -0.6, 0.6
    plan = designs.plan("sparse[representation=tsdf-def]", "quick", k=64, price=1, epochs=60)
    settings = replace(plan.training, learning_rate=0.02)
    training = SetTraining(plan.design, [blocks_of(volume, *moves)], settings, 0)
    while training.step < training.steps:
        training.advance()
    trained = training.trained()
    found = plan.design.decoder(trained.parameters).volume(trained.features[0], lambda: None)
    near = np.abs(volume) < 0.5
    assert np.abs(found[1] - moves[0])[near].mean() < 0.3
    assert np.abs(found[2:])[:, near].mean() < 0.1


@pytest.fixture(scope="module")
def deformed_stream(shapes) -> bytes:
    plan = designs.plan("sparse[representation=tsdf-def]", "quick", k=32, price=100, epochs=8)
    return compress(shapes[:2], plan, Job())


@pytest.mark.long
def test_a_deformed_set_is_coded_and_added_to(shapes, deformed_stream, tmp_path):
    assert Reader(deformed_stream).design == Sparse(32, 100, deformation=True)
    training = designs.plan("sparse", "quick", adding_steps=5).training
    longer = add(deformed_stream, shapes[2:3], training, Job(work=tmp_path))
    assert add(deformed_stream, shapes[2:3], training, Job(work=tmp_path)) == longer
    meshes = dict(decompress(longer))
    assert all(mesh.is_watertight for mesh in meshes.values())
    for i, mesh in [*decompress(deformed_stream), *decompress(longer, [2])]:
        assert np.array_equal(mesh.vertices, meshes[i].vertices)
        assert np.array_equal(mesh.faces, meshes[i].faces)
    assert distance(shapes[0], meshes[0]) < 0.04
    with pytest.raises(UsageError, match="another network"):
        compress(shapes[:2], designs.plan("sparse", "quick", k=32), start=deformed_stream)
