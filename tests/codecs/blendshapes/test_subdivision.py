"""Loop subdivision against trimesh's, which is of its own."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from gcbench.codecs.blendshapes.subdivision import subdivided


def opened() -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(2)
    mesh.update_faces(mesh.triangles_center[:, 2] < 0.5)
    mesh.remove_unreferenced_vertices()
    return mesh


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "mesh", [trimesh.creation.icosphere(1), trimesh.creation.box(), opened()], ids=["sphere", "box", "open"]
)
def test_vertices_are_those_of_trimesh(mesh, times):
    matrix, faces = subdivided(np.asarray(mesh.faces, np.int64), len(mesh.vertices), times)
    vertices, theirs = trimesh.remesh.subdivide_loop(mesh.vertices, mesh.faces, iterations=times)
    assert len(faces) == len(theirs) == len(mesh.faces) * 4**times

    def triangles(points, corners):
        centres = points[corners].mean(1)
        return centres[np.lexsort(np.round(centres, 6).T)]

    np.testing.assert_allclose(triangles(matrix @ mesh.vertices, faces), triangles(vertices, theirs), atol=1e-9)


def test_a_surface_stays_closed_and_turned_outwards():
    mesh = trimesh.creation.torus(0.7, 0.3, major_sections=8, minor_sections=6)
    matrix, faces = subdivided(np.asarray(mesh.faces, np.int64), len(mesh.vertices), 2)
    found = trimesh.Trimesh(matrix @ mesh.vertices, faces, process=False)
    assert found.is_watertight
    assert found.is_winding_consistent
    assert found.volume > 0


def test_rows_sum_to_one_and_no_subdivision_is_the_mesh_itself():
    mesh = opened()
    matrix, _ = subdivided(np.asarray(mesh.faces, np.int64), len(mesh.vertices), 2)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    matrix, faces = subdivided(np.asarray(mesh.faces, np.int64), len(mesh.vertices), 0)
    np.testing.assert_array_equal(matrix @ mesh.vertices, mesh.vertices)
    np.testing.assert_array_equal(faces, mesh.faces)


def test_an_edge_of_three_faces_is_a_border():
    vertices = np.array([[0, 0, 0], [2, 0, 0], [1, 1, 0], [1, -1, 0], [1, 0, 1.0]])
    faces = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    matrix, _ = subdivided(faces, len(vertices), 1)
    middles = (matrix @ vertices)[len(vertices) :]
    assert (np.abs(middles - [1, 0, 0]).max(1) < 1e-12).any()  # not drawn to any of the three
