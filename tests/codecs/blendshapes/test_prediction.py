"""Predictions along the control mesh are undone exactly, and are right about what turns or stretches as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial import Delaunay

from gcbench.codecs.blendshapes.prediction import residuals, restored, rounds

MESHES = {
    "sphere": trimesh.creation.icosphere(3),
    "torus": trimesh.creation.torus(0.7, 0.3),
    "triangle": trimesh.Trimesh(np.eye(3), [[0, 1, 2]], process=False),
    "two": trimesh.util.concatenate([trimesh.creation.box(), trimesh.creation.box().apply_translation([3, 0, 0])]),
    "fan": trimesh.Trimesh(
        np.array([[0, 0, 0], *[[np.cos(a), np.sin(a), 0] for a in np.linspace(0, 6, 40)]]),
        [[0, i, i + 1] for i in range(1, 40)],
        process=False,
    ),
}


@pytest.fixture(params=MESHES)
def mesh(request):
    return MESHES[request.param]


def order_of(mesh):
    return rounds(np.asarray(mesh.faces, np.int64), np.asarray(mesh.vertices))


def test_predictions_are_undone(mesh):
    values = np.random.default_rng(0).integers(-1000, 1000, (5, len(mesh.vertices), 3))
    order = order_of(mesh)
    np.testing.assert_array_equal(restored(residuals(values, order), order), values)


def test_no_two_neighbours_leave_together_and_nobody_twice(mesh):
    edges = mesh.edges_unique
    left = np.ones(len(mesh.vertices), bool)
    for each in order_of(mesh):
        leaving = np.zeros(len(mesh.vertices), bool)
        leaving[each.vertices] = True
        assert not (leaving & ~left).any()
        assert not leaving[edges].all(axis=1).any()
        assert left[each.neighbours].all()
        assert not leaving[each.neighbours].any()
        np.testing.assert_allclose(np.add.reduceat(each.weights, each.starts), 1)
        left &= ~leaving
    assert left.sum() <= 12


def test_what_turns_and_stretches_as_a_whole_is_predicted():
    """Of a flat sheet of irregular triangles, an affine movement leaves a fraction of what equal weights leave."""
    points = np.random.default_rng(1).random((400, 2))
    template = np.column_stack([points, np.zeros(len(points))])
    movement = np.rint(1000 * (template @ np.random.default_rng(0).normal(size=(3, 3)) + 0.3)).astype(int)
    first = rounds(Delaunay(points).simplices.astype(np.int64), template)[0]
    found = movement[first.vertices] - first.predicted(movement)
    counts = np.diff(first.starts, append=len(first.neighbours))[:, None]
    equal = movement[first.vertices] - np.add.reduceat(movement[first.neighbours], first.starts) / counts
    assert np.abs(found).mean() < 0.4 * np.abs(equal).mean()


def test_what_moves_everywhere_alike_leaves_nothing(mesh):
    order = order_of(mesh)
    left = residuals(np.full((1, len(mesh.vertices), 3), 77), order)
    for each in order:
        assert not left[:, each.vertices].any()
