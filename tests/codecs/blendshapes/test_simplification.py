"""Joint simplification: what one pose gives, what poses change, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from bending import tube

from gcbench.codecs.blendshapes.simplification import _best, _planes, simplify
from gcbench.geometry.surface import Surface


def simplified(meshes: list[trimesh.Trimesh], *goals: int):
    return simplify(np.stack([mesh.vertices for mesh in meshes]), np.asarray(meshes[0].faces, np.int64), goals)


def sheet(side: int) -> trimesh.Trimesh:
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(side * side)], 1)
    i, j = np.divmod(np.arange((side - 1) ** 2), side - 1)
    a = i * side + j
    faces = np.concatenate([np.stack([a, a + 1, a + side], 1), np.stack([a + 1, a + side + 1, a + side], 1)])
    return trimesh.Trimesh(points, faces, process=False)


def test_a_flat_square_becomes_its_four_corners():
    (found,) = simplified([sheet(9)], 4)
    corners = found.poses[0][np.lexsort(np.rint(found.poses[0]).T)]
    np.testing.assert_allclose(corners, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], atol=5e-3)
    assert len(found.faces) == 2


@pytest.mark.parametrize("mesh", [trimesh.creation.icosphere(3), trimesh.creation.torus(0.7, 0.3)], ids=["0", "1"])
def test_topology_stays(mesh):
    before = mesh.euler_number
    for found in simplified([mesh], 300, 100, 30):
        left = trimesh.Trimesh(found.poses[0], found.faces, process=False)
        assert left.is_watertight
        assert left.is_winding_consistent
        assert left.euler_number == before


def test_goals_are_met_and_the_surface_stays_near():
    mesh = trimesh.creation.icosphere(4)
    coarse, fine = (Surface(found.poses[0], found.faces) for found in simplified([mesh], 640, 160)[::-1])
    assert (len(fine.vertices), len(coarse.vertices)) == (640, 160)
    points = mesh.vertices
    assert fine.distance(points).mean() < 0.006
    assert 2.5 < coarse.distance(points).mean() / fine.distance(points).mean() < 6  # the error of facets is that of h²


def test_one_vertex_more_never_needs_another_order():
    """A pass with several goals gives what a pass with one goal gives."""
    meshes = [tube(0.0), tube(1.0)]
    several = simplified(meshes, 400, 200, 50)
    for goal, found in zip((400, 200, 50), several, strict=True):
        (alone,) = simplified(meshes, goal)
        np.testing.assert_array_equal(alone.poses, found.poses)
        np.testing.assert_array_equal(alone.faces, found.faces)


def test_a_joint_that_bends_keeps_vertices():
    straight, bent = tube(0.0), tube(1.4)
    (of_both,) = simplified([straight, bent], 60)
    (of_one,) = simplified([straight], 60)

    def at_joint(poses):
        return int((np.abs(poses[0][:, 0] - straight.vertices[:, 0].mean()) < 0.3).sum())

    assert at_joint(of_both.poses) > at_joint(of_one.poses)
    assert Surface(of_both.poses[1], of_both.faces).distance(bent.vertices).mean() < 0.03


def test_the_best_place_is_where_the_planes_meet():
    rng = np.random.default_rng(0)
    normals, point = rng.normal(size=(6, 3)), rng.normal(size=3)
    planes = _planes(normals, np.broadcast_to(point, (6, 3)))
    ends = point + rng.normal(size=(2, 3)) * 1e-3
    place = np.empty(3)
    error = _best(planes[:3].sum(0), planes[3:].sum(0), *ends, place)
    np.testing.assert_allclose(place, point, atol=2e-5)
    assert error < 1e-9


def test_a_quadric_is_the_area_times_the_squared_distance_to_the_plane():
    plane = _planes(np.array([0.0, 0.0, 2.0]), np.array([5.0, 6.0, 1.0]))
    x = np.array([0.3, 0.4, 4.0])
    xx, xy, xz, yy, yz, zz, *linear, rest = plane
    matrix = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    assert x @ matrix @ x + 2 * np.array(linear) @ x + rest == pytest.approx(2 * 3.0**2)


def test_what_cannot_collapse_is_left():
    tetrahedra = trimesh.util.concatenate(
        [trimesh.creation.icosahedron().apply_translation([3 * i, 0, 0]) for i in range(3)]
    )
    (found,) = simplified([tetrahedra], 2)
    assert len(found.poses[0]) >= 9  # a closed component keeps a surface
    assert trimesh.Trimesh(found.poses[0], found.faces, process=False).is_watertight
