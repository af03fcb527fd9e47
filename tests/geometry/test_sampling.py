"""Samples lie on the surface, in proportion to area, in face order; what has no surface is refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy import stats

from gcbench.geometry.sampling import Surface, sample


def seed(n: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(n)


def box_with_slivers() -> trimesh.Trimesh:
    """A box with two faces without area: a repeated vertex, and three vertices on one line."""
    box = trimesh.creation.box((1, 2, 3))
    vertices = np.vstack([box.vertices, box.vertices[0] + [[0, 0, 0.1], [0, 0, 0.2]]])
    faces = np.vstack([[[0, 0, 1]], box.faces, [[0, len(vertices) - 2, len(vertices) - 1]]])
    return trimesh.Trimesh(vertices, faces, process=False)


def test_surface_of_a_box():
    surface = Surface.of(trimesh.creation.box((1, 2, 3)))
    assert surface.area == pytest.approx(2 * (2 + 3 + 6), rel=1e-15)
    np.testing.assert_array_equal(np.abs(surface.normals).sum(axis=1), 1)
    outward = np.einsum("ij,ij->i", surface.normals, surface.corners.mean(axis=1))
    assert (outward > 0).all()


def test_faces_without_area_are_left_out():
    surface = Surface.of(box_with_slivers())
    assert len(surface.areas) == 12
    assert np.isfinite(surface.normals).all()
    assert len(surface.vertices) == 8
    points, faces = sample(surface, 5000, seed(1))
    assert np.isfinite(points).all()
    assert faces.max() == 11


@pytest.mark.parametrize(
    ("vertices", "faces", "reason"),
    [
        (np.zeros((3, 3)), np.zeros((0, 3)), "no faces"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no faces"),
        (np.zeros((3, 3)), [[0, 1, 2]], "no area"),
        ([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], "no area"),
        ([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]], [[0, 1, 2]], "1 of 3 vertices .* not finite"),
        ([[0, 0, 0], [np.inf, 0, 0], [0, 1, 0]], [[0, 1, 2]], "not finite"),
        ([[0, 0, 0], [1e40, 0, 0], [0, 1, 0]], [[0, 1, 2]], "coordinates up to 1e\\+40"),
        ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 3]], "outside 0..2"),
        ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, -1]], "outside 0..2"),
    ],
)
def test_refuses_meshes_without_a_surface(vertices, faces, reason):
    mesh = trimesh.Trimesh(np.asarray(vertices, float), np.asarray(faces, int), process=False, validate=False)
    with pytest.raises(ValueError, match=reason):
        Surface.of(mesh)


def test_samples_lie_on_their_faces_in_face_order():
    mesh = trimesh.creation.icosphere(subdivisions=3)
    surface = Surface.of(mesh)
    points, faces = sample(surface, 20_000, seed(2))
    assert points.shape == (20_000, 3)
    assert (np.diff(faces) >= 0).all()
    off_plane = np.einsum("ij,ij->i", points - surface.corners[faces, 0], surface.normals[faces])
    assert np.abs(off_plane).max() < 1e-15
    weights = trimesh.triangles.points_to_barycentric(surface.corners[faces], points)
    assert weights.min() > -1e-12


def test_numbers_per_face_are_multinomial_in_area():
    """Not only the mean: the scatter too. Stratified samples would fail from below, and lower the floor."""
    surface = Surface.of(trimesh.creation.capsule(count=[12, 12]))
    _, faces = sample(surface, 100_000, seed(3))
    counts = np.bincount(faces, minlength=len(surface.areas))
    expected = 100_000 * surface.areas / surface.area
    chi_square = float((np.square(counts - expected) / expected).sum())
    p = stats.chi2.cdf(chi_square, len(counts) - 1)
    assert 1e-4 < p < 1 - 1e-4


def test_uniform_in_a_triangle():
    surface = Surface.of(trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False))
    points, _ = sample(surface, 50_000, seed(4))
    # Each barycentric coordinate u of a uniform point has distribution 1 − (1 − u)².
    for u in (points[:, 0], points[:, 1], 1 - points[:, 0] - points[:, 1]):
        assert stats.kstest(u, lambda x: 1 - (1 - x) ** 2).pvalue > 1e-4


def test_seeds():
    surface = Surface.of(trimesh.creation.box())
    np.testing.assert_array_equal(sample(surface, 100, seed(1))[0], sample(surface, 100, seed(1))[0])
    assert not np.isclose(sample(surface, 100, seed(1))[0], sample(surface, 100, seed(2))[0]).all(axis=1).any()


def test_golden_samples():
    """The very numbers: if these change, every measurement does."""
    points, faces = sample(Surface.of(trimesh.creation.box()), 3, np.random.SeedSequence(7, spawn_key=(0,)))
    np.testing.assert_array_equal(faces, GOLDEN_FACES)
    np.testing.assert_allclose(points, GOLDEN_POINTS, rtol=0, atol=1e-15)


GOLDEN_FACES = [0, 3, 11]
GOLDEN_POINTS = [
    [-0.5, -0.3530576369254319, -0.03245544578958259],
    [-0.4034725721209461, -0.017028650924607813, -0.5],
    [0.5, 0.11332923735393807, 0.1772023606160006],
]
