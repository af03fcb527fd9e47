from __future__ import annotations

import numpy as np
import pytest
import trimesh

from gcbench.codecs.implicit.samples import DAVIES, TAKIKAWA, Field, Mixture, draw


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


def test_importance_prefers_the_surface_by_the_weight_of_the_paper(field):
    wide = Mixture(1.0, importance=0.0)
    points = draw(field, 200_000, wide, seed=1)[1]
    kept = draw(field, 20_000, Mixture(1.0, importance=5.0, oversampling=40), seed=2)[1]
    # Kept over drawn, in bins of the distance, goes like exp(−5 |d|) where little is exhausted.
    bins = np.linspace(0.0, 0.6, 7)
    drawn_share = np.histogram(np.abs(points), bins)[0] / len(points)
    kept_share = np.histogram(np.abs(kept), bins)[0] / len(kept)
    slope = np.polyfit((bins[1:] + bins[:-1]) / 2, np.log(kept_share / drawn_share), 1)[0]
    assert slope == pytest.approx(-5, rel=0.08)


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
