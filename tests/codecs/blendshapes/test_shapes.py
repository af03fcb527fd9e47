"""Poses, grids and principal components: exact where they should be, and bounded everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from bending import motion
from hypothesis import given
from hypothesis import strategies as st

from gcbench.codecs.blendshapes.shapes import (
    BOUND,
    GAINS_PER_OCTAVE,
    Components,
    Shapes,
    is_crowded,
    on_grid,
    posed,
    poses,
    unposed,
)

RNG = np.random.default_rng(0)


def test_poses_are_undone():
    positions = RNG.normal(size=(5, 20, 3))
    numbers = RNG.integers(-BOUND, BOUND, (5, 7)).astype(float)
    numbers[:, 6] /= 4  # scales from e^-½ to e^½
    np.testing.assert_allclose(unposed(posed(positions, numbers), numbers), positions, atol=1e-9)


def test_a_pose_is_a_rotation_then_a_scale_then_a_translation():
    quarter = np.pi / 2 * 2**8  # about z, in steps of 2^-8
    numbers = np.array([[0, 0, quarter, 512, 0, 0, np.log(2) * 2**9]])
    np.testing.assert_allclose(posed(np.array([[[1.0, 0, 0]]]), numbers), [[[1, 2, 0]]], atol=1e-9)


def test_meshes_that_differ_by_their_pose_are_one_mesh():
    base = RNG.normal(size=(40, 3)) * 0.3
    numbers = np.concatenate([RNG.integers(-300, 300, (6, 6)), RNG.integers(-60, 60, (6, 1))], 1).astype(float)
    _, found, aligned = poses(posed(np.repeat(base[None], 6, 0), numbers))
    assert np.abs(aligned - aligned.mean(0)).max() < 0.006  # steps of 2^-8 rad and 2^-9
    assert np.abs(found).max() <= BOUND


def test_a_mirrored_mesh_is_not_a_pose():
    base = RNG.normal(size=(40, 3))
    _, _, aligned = poses(np.stack([base, base * [1, 1, -1]]))
    assert np.abs(aligned[0] - aligned[1]).max() > 0.1


@given(st.integers(5, 12), st.integers(1, 200), st.integers(0, 9))
def test_positions_on_a_grid_are_distinct_near_and_in_order(bits, count, seed):
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(count, 3)).round(1)  # many are equal
    if not np.ptp(positions, axis=0).any():
        return
    step, grid, order = on_grid(positions, bits)
    assert len(np.unique(grid, axis=0)) == count
    np.testing.assert_array_equal(np.lexsort(grid.T[::-1]), np.arange(count))
    assert sorted(order.tolist()) == list(range(count))
    assert np.ptp(grid, axis=0).max() < 2**bits + 12
    far = np.abs(grid * step - positions[order]).max(1)
    assert (far < 0.51 * step).sum() >= len(np.unique(np.rint(positions / step), axis=0))


def test_a_grid_is_crowded_by_more_vertices_than_a_surface_has_places():
    assert not is_crowded(1024, 5)
    assert is_crowded(1025, 5)


@pytest.mark.parametrize("step", [1e-2, 1e-3, 1e-4])
def test_components_come_back_within_a_few_steps(step):
    frames = np.stack([mesh.vertices for mesh in motion(12)])
    _, _, aligned = poses(frames)
    gains, shapes, weights = Components(aligned, aligned.mean(0)).quantised(step)
    assert np.abs(shapes).max() <= BOUND
    assert np.abs(weights).max() <= BOUND
    found = aligned.mean(0) + np.tensordot(weights * np.exp2(-gains / GAINS_PER_OCTAVE), shapes.astype(float), 1)
    assert np.sqrt(((found - aligned) ** 2).mean()) < step * np.sqrt(1 + len(gains))


def test_as_many_components_as_there_are_movements():
    base, moves = RNG.normal(size=(30, 3)), RNG.normal(size=(2, 30, 3))
    meshes = base + np.tensordot(RNG.normal(size=(9, 2)), moves, 1)
    gains, shapes, weights = Components(meshes, meshes.mean(0)).quantised(1e-3)
    assert len(gains) == 2
    assert (shapes.shape, weights.shape) == ((2, 30, 3), (9, 2))


def test_equal_meshes_have_no_component():
    meshes = np.repeat(RNG.normal(size=(1, 30, 3)), 4, 0)
    gains, shapes, weights = Components(meshes, meshes[0]).quantised(1e-3)
    assert (len(gains), shapes.shape, weights.shape) == (0, (0, 30, 3), (4, 0))


def test_a_mesh_alone_has_its_template():
    shapes = Shapes(0.5, np.array([[1, 2, 3]]), np.zeros(0, int), np.zeros((0, 1, 3), int), np.zeros((1, 0), int))
    np.testing.assert_array_equal(shapes.positions(0), [[0.5, 1.0, 1.5]])
