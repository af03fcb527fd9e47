"""Winding numbers against libigl's exact ones, on closed, open, crossing and broken meshes."""

from __future__ import annotations

import igl
import numpy as np
import pytest
import trimesh

from gcbench.geometry import winding
from gcbench.geometry.shapes import made_up
from gcbench.geometry.winding import Winding


def sphere(*, holes=0.0, seed=0):
    mesh = trimesh.creation.icosphere(3)
    kept = np.random.default_rng(seed).random(len(mesh.faces)) >= holes
    return mesh.vertices.view(np.ndarray), mesh.faces[kept].view(np.ndarray).astype(np.int64)


def long_triangles():
    mesh = trimesh.creation.cylinder(1.0, 0.01, sections=200)
    return mesh.vertices.view(np.ndarray), mesh.faces.view(np.ndarray).astype(np.int64)


def crossing():
    (a, f), (b, g) = sphere(), sphere(holes=0.3)
    return np.concatenate([a, 0.8 * b + [0.7, 0, 0.1]]), np.concatenate([f, g + len(a)])


def doubled():
    """Each edge of the boundary belongs to two equal faces, so that it counts twice."""
    vertices, faces = sphere(holes=0.5)
    return vertices, np.concatenate([faces, faces])


MESHES = {
    "closed": sphere(),
    "a face": (np.eye(3), np.array([[0, 1, 2]])),
    "holes": sphere(holes=0.1),
    "half": sphere(holes=0.5),
    "long": long_triangles(),
    "crossing": crossing(),
    "doubled": doubled(),
    "box": (trimesh.creation.box().vertices.view(np.ndarray), trimesh.creation.box().faces.astype(np.int64)),
}


@pytest.mark.parametrize("name", MESHES)
def test_exact_numbers(name):
    vertices, faces = MESHES[name]
    points = np.random.default_rng(1).uniform(-1.5, 1.5, (3000, 3))
    np.testing.assert_allclose(
        Winding(vertices, faces)(points), np.abs(igl.winding_number(vertices, faces, points)), atol=1e-9
    )


@pytest.mark.parametrize("scale", [1e-9, 1e30])
def test_any_scale_and_distance(scale):
    vertices, faces = MESHES["half"]
    points = np.random.default_rng(1).uniform(-1.5, 1.5, (200, 3))
    points[::2] *= np.geomspace(1, 1e6, 100)[:, None]
    scaled, expected = Winding(vertices * scale, faces)(points * scale), Winding(vertices, faces)(points)
    np.testing.assert_allclose(scaled, expected, atol=1e-12)


def test_points_of_a_grid_in_the_walls_of_a_box():
    vertices, faces = MESHES["box"]
    axis = np.linspace(-1, 1, 17)  # planes of the grid contain the faces of the box
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    reach = np.abs(points).max(axis=1)
    inside = Winding(vertices, faces).inside(points)
    assert inside[reach < 0.5].all()
    assert not inside[reach > 0.5].any()


def test_many_boundary_edges_take_the_approximation(monkeypatch):
    vertices, faces = MESHES["half"]
    points = np.random.default_rng(1).uniform(-1.5, 1.5, (500, 3))
    exact = Winding(vertices, faces)(points)
    monkeypatch.setattr(winding, "_MOST_BOUNDARY_EDGES", 10)
    approximate = Winding(vertices, faces)(points)
    assert (approximate != exact).any()
    np.testing.assert_allclose(approximate, exact, atol=0.03)


def test_triangles_that_all_cover_all_columns_take_a_coarser_grid():
    """20 000 triangles as large as the mesh: a grid of 212 cells along a side would have 10⁹ members."""
    corners = np.random.default_rng(0).uniform(-1, 1, (60_000, 3))
    faces = np.arange(60_000).reshape(-1, 3)
    faces = np.concatenate([faces, faces[:, ::-1]])  # closed: no boundary
    columns = Winding(corners, faces)
    assert columns._members.nbytes < 64e6
    assert not columns(np.zeros((5, 3))).any()


def test_random_shapes_agree():
    points = np.random.default_rng(1).uniform(-1.1, 1.1, (500, 3))
    for shape in made_up(6, 0):
        vertices, faces = winding.merged_triangles(trimesh.Trimesh(shape.vertices, shape.faces, process=False))
        np.testing.assert_allclose(
            Winding(vertices, faces)(points), np.abs(igl.winding_number(vertices, faces, points)), atol=1e-9
        )
