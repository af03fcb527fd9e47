from __future__ import annotations

import numpy as np
import pytest
import trimesh

from gcbench.errors import BadMesh
from gcbench.geometry.signed_distance import DAVIES, TAKIKAWA, Field, Mixture, draw


@pytest.fixture(scope="module")
def field():
    return Field(trimesh.creation.icosphere(4, 0.7))


@pytest.mark.parametrize("mixture", [DAVIES, TAKIKAWA, Mixture(1.0)])
def test_distances_are_signed_and_right(field, mixture):
    points, distance = draw(field, 4000, mixture, seed=0)
    assert points.dtype == distance.dtype == np.float32
    assert points.shape == (4000, 3)
    assert np.abs(points).max() <= np.float32(mixture.half_side)
    # The icosphere lies inside its sphere by at most 0.7 (1 − cos of half an edge).
    np.testing.assert_allclose(distance, np.linalg.norm(points, axis=1) - 0.7, atol=2.5e-3)
    again = draw(field, 4000, mixture, seed=0)
    np.testing.assert_array_equal(points, again[0])
    assert (draw(field, 4000, mixture, seed=1)[0] != points).any()


def test_weighted_points_have_the_density_of_the_paper(field):
    # Weights in the cube would give (R + d)² exp(−β |d|) around a sphere of radius R; ours have no square.
    distance = draw(field, 40_000, Mixture(0.0, weighted=((1.0, 30.0),)), seed=2)[1]
    for side in (distance[distance > 0], -distance[distance < 0]):
        assert side.mean() == pytest.approx(1 / 30, rel=0.05)
        assert (side > 0.1).mean() == pytest.approx(np.exp(-3), rel=0.1)
    assert (distance > 0).mean() == pytest.approx(0.5, abs=0.02)


def test_open_and_turned_meshes_have_a_sign():
    sphere = trimesh.creation.icosphere(4, 0.7)
    turned = sphere.faces.copy()
    turned[::3] = turned[::3, ::-1]
    holed = sphere.faces[np.random.default_rng(0).random(len(turned)) > 0.05]
    for faces in (turned, holed, sphere.faces[:, ::-1]):
        sign = Field(trimesh.Trimesh(sphere.vertices, faces, process=False))(np.array([[0, 0, 0], [0.9, 0, 0.0]]))
        assert sign[0] < 0 < sign[1]


def test_shares_must_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        Mixture(0.5, near=((0.4, 0.1),))


@pytest.mark.parametrize("scale", [1.1, 1e30, 1e300])
def test_what_reaches_out_of_the_cube_is_refused(scale):
    sphere = trimesh.creation.icosphere(2)
    with pytest.raises(BadMesh, match="normalise"):
        Field(trimesh.Trimesh(sphere.vertices * scale, sphere.faces, process=False))


def test_a_point_is_no_surface():
    with pytest.raises(BadMesh, match="point"):
        Field(trimesh.Trimesh([[0.1, 0.2, 0.3]] * 3, [[0, 1, 2], [0, 0, 0]], process=False))


def test_vertices_of_no_face_may_lie_anywhere():
    corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1e9, 0, 0]]
    assert Field(trimesh.Trimesh(corners, [[0, 1, 2]], process=False))(np.zeros((1, 3))) == 0
