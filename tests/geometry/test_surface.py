"""Areas, samples and closest points of surfaces; meshes without a surface are refused with the reason."""

from __future__ import annotations

import igl
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from gcbench.geometry.surface import Surface, uniform_barycentrics


def seed(n: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(n))


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
    points, faces = surface.sample(5000, seed(1))
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
    points, faces = surface.sample(20_000, seed(2))
    assert points.shape == (20_000, 3)
    assert (np.diff(faces) >= 0).all()
    off_plane = np.einsum("ij,ij->i", points - surface.corners[faces, 0], surface.normals[faces])
    assert np.abs(off_plane).max() < 1e-15
    weights = trimesh.triangles.points_to_barycentric(surface.corners[faces], points)
    assert weights.min() > -1e-12


def test_numbers_per_face_are_multinomial_in_area():
    """Not only the mean: the scatter too. Stratified samples would fail from below, and lower the floor."""
    surface = Surface.of(trimesh.creation.capsule(count=[12, 12]))
    _, faces = surface.sample(100_000, seed(3))
    counts = np.bincount(faces, minlength=len(surface.areas))
    expected = 100_000 * surface.areas / surface.area
    chi_square = float((np.square(counts - expected) / expected).sum())
    p = stats.chi2.cdf(chi_square, len(counts) - 1)
    assert 1e-4 < p < 1 - 1e-4


def test_seeds():
    surface = Surface.of(trimesh.creation.box())
    np.testing.assert_array_equal(surface.sample(100, seed(1))[0], surface.sample(100, seed(1))[0])
    assert not np.isclose(surface.sample(100, seed(1))[0], surface.sample(100, seed(2))[0]).all(axis=1).any()


def test_golden_samples():
    """The very numbers: if these change, every measurement does."""
    points, faces = Surface.of(trimesh.creation.box()).sample(
        3, np.random.default_rng(np.random.SeedSequence(7, spawn_key=(0,)))
    )
    np.testing.assert_array_equal(faces, GOLDEN_FACES)
    np.testing.assert_allclose(points, GOLDEN_POINTS, rtol=0, atol=1e-15)


GOLDEN_FACES = [0, 3, 11]
GOLDEN_POINTS = [
    [-0.5, -0.3530576369254319, -0.03245544578958259],
    [-0.4034725721209461, -0.017028650924607813, -0.5],
    [0.5, 0.11332923735393807, 0.1772023606160006],
]


def turned_box() -> trimesh.Trimesh:
    turn = trimesh.transformations.rotation_matrix(0.5, [1, 2, 3])
    return trimesh.creation.box(extents=(2, 1, 0.5)).apply_transform(turn)


def test_stratified_samples_have_one_in_each_share_of_the_area():
    mesh = turned_box()
    surface = Surface(mesh.vertices, mesh.faces)
    points, face = surface.sample_stratified(12_000, np.random.default_rng(0))
    assert surface.area == pytest.approx(mesh.area)
    assert (np.diff(face) >= 0).all()
    # The count of a face is less than one at either end from its share.
    share = 12_000 * surface.areas / surface.area
    assert (np.abs(np.bincount(face, minlength=12) - share) < 2).all()
    assert surface.distance(points).max() < 1e-15
    largest = int(surface.areas.argmax())
    centre = points[face == largest].mean(axis=0)
    np.testing.assert_allclose(centre, surface.corners[largest].mean(axis=0), atol=0.03)


def test_samples_and_barycentrics_are_uniform_in_a_triangle():
    """Each barycentric coordinate u of a uniform point has the distribution 1 − (1 − u)²."""
    surface = Surface(np.eye(3), np.array([[0, 1, 2]]))  # coordinates are barycentric ones
    both = (surface.sample(50_000, seed(4))[0], uniform_barycentrics(50_000, seed(4)))
    for weights in both:
        assert weights.min() >= -1e-16
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        for u in weights.T:
            assert stats.kstest(u, lambda x: 1 - (1 - x) ** 2).pvalue > 1e-4


@pytest.mark.parametrize("spread", [0.0, 0.05, 3.0])
def test_closest_points_against_libigl(spread):
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.vertices *= [1, 0.6, 0.3]
    surface, rng = Surface(mesh.vertices, mesh.faces), np.random.default_rng(5)
    points = surface.sample(3000, rng)[0] + spread * rng.normal(size=(3000, 3))
    feet, face, weights = surface.closest(points)
    squared, _, expected = igl.point_mesh_squared_distance(points, surface.vertices, surface.faces)
    np.testing.assert_allclose(feet, expected, atol=1e-7 if spread else 1e-14)  # ties may be decided otherwise
    distance = np.linalg.norm(points - feet, axis=1)
    np.testing.assert_allclose(distance, np.sqrt(squared), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(surface.distance(points), distance, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(np.einsum("nc,ncx->nx", weights, surface.corners[face]), feet, atol=0)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-15)


@settings(max_examples=60, deadline=None)
@given(
    points=arrays(np.float64, (20, 3), elements=st.floats(-8, 8)),
    corners=arrays(np.float64, (7, 3, 3), elements=st.integers(-3, 3).map(float)),
)
def test_closest_points_of_overlapping_and_degenerate_triangles(points, corners):
    surface = Surface(corners.reshape(-1, 3), np.arange(21).reshape(-1, 3))
    feet, _, weights = surface.closest(points)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(points - feet, axis=1), surface.distance(points), rtol=1e-12, atol=1e-14)


def test_no_points_have_no_closest_points():
    feet, face, weights = Surface(np.eye(3), np.array([[0, 1, 2]])).closest(np.empty((0, 3)))
    assert feet.shape == weights.shape == (0, 3)
    assert face.shape == (0,)
