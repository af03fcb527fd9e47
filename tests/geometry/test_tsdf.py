"""Distances against brute force over the full grid, signs against shapes whose inside is known."""

import igl
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gcbench.errors import BadMesh
from gcbench.geometry.grid import Grid
from gcbench.geometry.tsdf import band_distance, tsdf
from gcbench.geometry.winding import Winding, merged_triangles, orient


def grid_points(grid):
    return np.stack(np.meshgrid(*[grid.axis()] * 3, indexing="ij"), axis=-1)


def full_tsdf(mesh, grid):
    """Exact distances and exact (not fast) winding numbers, everywhere."""
    points = grid_points(grid).reshape(-1, 3)
    squared, _, _ = igl.point_mesh_squared_distance(points, mesh.vertices, mesh.faces)
    wound = igl.winding_number(mesh.vertices, mesh.faces, points)
    clipped = np.minimum(np.sqrt(squared) / grid.truncation, 1.0)
    return np.where(np.abs(wound) > 0.5, -clipped, clipped).reshape((grid.resolution,) * 3)


def fit_in_cube(mesh):
    mesh = mesh.copy()
    mesh.vertices -= mesh.bounds.mean(axis=0)
    mesh.vertices /= np.abs(mesh.vertices).max()
    return mesh


def rotated_box():
    """Twelve faces, each much longer than the band is wide, in general position."""
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3])
    return fit_in_cube(trimesh.creation.box(extents=(2, 0.9, 0.3)).apply_transform(turn))


def cavity():
    outer, inner = trimesh.creation.icosphere(subdivisions=3), trimesh.creation.icosphere(subdivisions=3, radius=0.6)
    inner.invert()
    return trimesh.util.concatenate([outer, inner])


CLOSED = {
    "sphere": trimesh.creation.icosphere(subdivisions=3),
    "box": trimesh.creation.box(extents=(2, 2, 2)),
    "rotated box": rotated_box(),
    "torus": fit_in_cube(trimesh.creation.torus(1.0, 0.2)),
    "needle": fit_in_cube(trimesh.creation.cylinder(radius=0.03, height=3, sections=50)),
    "cavity": cavity(),
    "two bodies": fit_in_cube(
        trimesh.util.concatenate(
            [trimesh.creation.icosphere(subdivisions=2), trimesh.creation.box().apply_translation([3, 0, 0])]
        )
    ),
}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("resolution", [32, pytest.param(49, marks=pytest.mark.slow)])
def test_equals_the_full_grid(name, resolution):
    grid = Grid(resolution)
    values = tsdf(CLOSED[name], grid)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, full_tsdf(CLOSED[name], grid), rtol=0, atol=1e-6)


def test_far_regions_have_the_right_sign():
    """Band, hollow and solid regions, all of which must exist for this test to mean anything."""
    grid = Grid(64)
    values = tsdf(cavity(), grid)
    radius = np.linalg.norm(grid_points(grid), axis=-1)
    assert (values[radius < 0.6 - grid.truncation * 1.2] == 1).all()
    assert (values[np.abs(radius - 0.8) < 0.01] == -1).all()
    assert (values[radius > 1 + grid.truncation * 1.2] == 1).all()


@pytest.mark.parametrize("truncation", [0.6, 1.0, 3.5])
def test_other_truncations(truncation):
    grid = Grid(32, truncation)
    mesh = rotated_box()
    np.testing.assert_allclose(tsdf(mesh, grid), full_tsdf(mesh, grid), rtol=0, atol=2e-6)


corners = hnp.arrays(np.float64, (4, 3, 3), elements=st.floats(-1, 1, width=16))


@settings(max_examples=30, deadline=None)
@given(corners=corners, degenerate=st.sampled_from(["no", "segment", "point"]))
def test_distance_to_any_triangles(corners, degenerate):
    """Triangles of any shape; also segments and points, which have no plane."""
    if degenerate != "no":
        corners[:2, 2] = corners[:2, 1]
    if degenerate == "point":
        corners[:2, 1] = corners[:2, 2] = corners[:2, 0]
    grid = Grid(16)
    points = grid_points(grid).reshape(-1, 3)
    expected = np.full(len(points), np.inf)
    for a, b, c in corners:
        expected = np.minimum(expected, triangle_distance(points, a, b, c))
    found = band_distance(corners, grid).ravel()
    np.testing.assert_allclose(found, np.minimum(expected, grid.truncation), rtol=0, atol=1e-6)


def triangle_distance(points, a, b, c):
    """Distance to the plane where the foot is inside, by barycentrics; to the nearest edge where it is not."""
    nearest = np.full(len(points), np.inf)
    for p, q in ((a, b), (b, c), (c, a)):
        direction = q - p
        length = direction @ direction
        t = np.clip((points - p) @ direction / length, 0, 1) if length > 0 else np.zeros(len(points))
        nearest = np.minimum(nearest, np.linalg.norm(points - p - t[:, None] * direction, axis=1))
    basis = np.stack([b - a, c - a], axis=1)
    if np.linalg.svd(basis, compute_uv=False)[-1] < 1e-9:
        return nearest
    weights = (points - a) @ np.linalg.pinv(basis).T
    inside = (weights >= 0).all(axis=1) & (weights.sum(axis=1) <= 1)
    foot = np.linalg.norm(points - a - weights @ basis.T, axis=1)
    return np.where(inside, np.minimum(nearest, foot), nearest)


def test_threads_change_nothing():
    mesh, grid = CLOSED["torus"], Grid(40)
    np.testing.assert_array_equal(tsdf(mesh, grid, threads=1), tsdf(mesh, grid, threads=3))


def test_inverted_mesh():
    mesh = CLOSED["torus"].copy()
    expected = tsdf(mesh, Grid(32))
    mesh.invert()
    np.testing.assert_allclose(tsdf(mesh, Grid(32)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.45])
def test_faces_reversed_at_random(share):
    mesh = CLOSED["sphere"].copy()
    expected = tsdf(mesh, Grid(32))
    wrong = np.random.default_rng(0).random(len(mesh.faces)) < share
    wrong[0] = True  # an orientation that starts at the first face must not follow it
    faces = mesh.faces.copy()
    faces[wrong] = faces[wrong][:, ::-1]
    np.testing.assert_array_equal(tsdf(trimesh.Trimesh(mesh.vertices, faces, process=False), Grid(32)), expected)


def test_triangle_soup():
    """Faces that share no vertices, as in STL."""
    mesh = CLOSED["torus"]
    soup = trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3), process=False)
    wrong = np.arange(len(soup.faces)) % 5 == 0
    soup.faces[wrong] = soup.faces[wrong][:, ::-1]
    np.testing.assert_allclose(tsdf(soup, Grid(32)), tsdf(mesh, Grid(32)), rtol=0, atol=1e-6)


def test_open_mesh_keeps_its_inside():
    mesh, grid = CLOSED["sphere"], Grid(48)
    torn = trimesh.Trimesh(
        mesh.vertices, mesh.faces[np.random.default_rng(1).random(len(mesh.faces)) > 0.1], process=False
    )
    radius = np.linalg.norm(grid_points(grid), axis=-1)
    values = tsdf(torn, grid)
    assert (values[radius < 0.9] < 0).all()
    assert (values[radius > 1.1] > 0).all()
    assert (values[radius < 0.8] == -1).all()


def test_overlapping_bodies_are_one():
    left, right = (trimesh.creation.icosphere(subdivisions=3).apply_translation([x, 0, 0]) for x in (-0.5, 0.5))
    mesh, grid = fit_in_cube(trimesh.util.concatenate([left, right])), Grid(48)
    scale = 1 / 1.5
    points = grid_points(grid)
    reach = np.minimum(*(np.linalg.norm(points - [x * scale, 0, 0], axis=-1) for x in (-0.5, 0.5)))
    values = tsdf(mesh, grid)
    clear = np.abs(reach - scale) > 0.01
    np.testing.assert_array_equal((values < 0)[clear], (reach < scale)[clear])


def test_border_is_outside():
    """The cube itself, whose faces are one cell from the border: all of the border is in the band."""
    values = tsdf(CLOSED["box"], Grid(32))
    for axis in range(3):
        assert (values.take([0, -1], axis) > 0).all()
    np.testing.assert_allclose(values[0, 5:-5, 5:-5], 0.5, atol=1e-6)


def test_orient_follows_the_larger_area():
    mesh = rotated_box()
    vertices, faces = merged_triangles(mesh)
    area = trimesh.triangles.area(vertices[faces])
    large = area > 0.9 * area.max()
    assert area[large].sum() > area[~large].sum()
    mixed = np.where(large[:, None], faces, faces[:, ::-1])
    wound = Winding(vertices, orient(mixed, vertices))(np.zeros((1, 3)))
    assert wound[0] == pytest.approx(1, abs=1e-6)
    volume = trimesh.Trimesh(vertices, orient(mixed, vertices), process=False).volume
    assert volume == pytest.approx(mesh.volume)
    inverted = trimesh.Trimesh(vertices, orient(mixed[:, ::-1], vertices), process=False).volume
    assert inverted == pytest.approx(-mesh.volume)


def test_orient_leaves_coherent_faces_alone():
    vertices, faces = merged_triangles(cavity())
    assert orient(faces, vertices) is faces


@pytest.mark.parametrize(
    ("vertices", "faces", "complaint"),
    [
        (np.eye(3), np.empty((0, 3)), "no faces"),
        (np.full((3, 3), np.nan), [[0, 1, 2]], "finite"),
        (np.array([[0, 0, 0], [0, 1, 0], [np.inf, 0, 0]]), [[0, 1, 2]], "finite"),
        (np.eye(3) * 1.5, [[0, 1, 2]], "normalise"),
    ],
)
def test_bad_meshes(vertices, faces, complaint):
    with pytest.raises(BadMesh, match=complaint):
        tsdf(trimesh.Trimesh(vertices, faces, process=False), Grid(32))
