"""Nearest points and triangles against SciPy, libigl, point-cloud-utils, Open3D, and on inputs that break trees."""

from __future__ import annotations

import igl
import numpy as np
import point_cloud_utils as pcu
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import cKDTree

from gcbench.geometry.nearest import PointTree, TriangleTree, nearest

RNG = np.random.default_rng(20)

# A coarse lattice makes duplicates and ties common; the wide floats bring huge offsets and huge ratios of scale.
lattice = st.integers(-3, 3).map(float)
anywhere = st.floats(-1e12, 1e12, allow_subnormal=False)
clouds = st.integers(1, 60).flatmap(
    lambda n: st.one_of(arrays(np.float64, (n, 3), elements=lattice), arrays(np.float64, (n, 3), elements=anywhere))
)


def brute_force(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    apart = queries[:, None] - points[None]
    x, y, z = np.moveaxis(apart, -1, 0)
    return np.sqrt((x * x + y * y + z * z).min(axis=1))


@settings(max_examples=80, deadline=None)
@given(queries=clouds, points=clouds)
def test_agrees_to_the_last_bit_with_brute_force_and_scipy(queries, points):
    distance, index = nearest(PointTree(queries), PointTree(points))
    np.testing.assert_array_equal(distance, brute_force(queries, points))
    np.testing.assert_array_equal(distance, cKDTree(points).query(queries)[0])
    # The index is that of a nearest point, in the numbering of the input.
    at_index = queries - points[index]
    np.testing.assert_array_equal(distance, np.sqrt(at_index[:, 0] ** 2 + at_index[:, 1] ** 2 + at_index[:, 2] ** 2))


def gaussian(count: int) -> np.ndarray:
    return RNG.normal(size=(count, 3))


ADVERSARIAL = {
    "one point": (gaussian(5000), gaussian(1)),
    "one query": (gaussian(1), gaussian(5000)),
    "all the same": (np.ones((5000, 3)), np.ones((5000, 3))),
    "duplicates": (gaussian(5000), np.repeat(gaussian(50), 100, axis=0)),
    "a line": (gaussian(5000) * [1, 0, 0], gaussian(5000) * [1, 0, 0]),
    "a plane": (gaussian(5000) * [1, 1, 0], gaussian(5000) * [1, 1, 0]),
    "far apart": (gaussian(5000) + np.array([1e6, 0, 0]), gaussian(5000)),
    "both far away": (gaussian(5000) + 1e9, gaussian(5000) + 1e9),
    "outliers": (np.r_[gaussian(5000), [[1e9, 0, 0]]], np.r_[gaussian(5000), [[-1e9, 3, 0]]]),
    "heavy tails": (RNG.standard_cauchy((5000, 3)), RNG.standard_cauchy((5000, 3))),
    "scales apart": (gaussian(5000) * 1e6, gaussian(5000)),
    "tiny": (gaussian(5000) * 1e-12, gaussian(5000) * 1e-12),
    "unsorted lattice": (RNG.integers(0, 9, (5000, 3)) * 1.0, RNG.integers(0, 9, (5000, 3)) * 1.0),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_clouds(name):
    queries, points = ADVERSARIAL[name]
    distance, _ = nearest(PointTree(queries), PointTree(points))
    np.testing.assert_array_equal(distance, cKDTree(points).query(queries)[0])


@pytest.mark.parametrize("count", [1, 15, 16, 17, 31, 32, 33, 47, 257])
def test_sizes_around_blocks_and_leaves(count):
    queries, points = gaussian(count), gaussian(count)
    distance, index = nearest(PointTree(queries), PointTree(points))
    expected, at = cKDTree(points).query(queries)
    np.testing.assert_array_equal(distance, expected)
    np.testing.assert_array_equal(index, at)


def test_threads_do_not_change_results():
    queries, points = (
        PointTree(RNG.integers(0, 30, (20_000, 3)) * 1.0),
        PointTree(RNG.integers(0, 30, (20_000, 3)) * 1.0),
    )
    one = nearest(queries, points, threads=1)
    for threads in (2, 5):
        many = nearest(queries, points, threads=threads)
        np.testing.assert_array_equal(one[0], many[0])
        np.testing.assert_array_equal(one[1], many[1])


def test_tree_boxes_hold_their_points_and_halve_them():
    tree = PointTree(gaussian(1000))
    assert sorted(tree.order) == list(range(1000))
    leaves = -(-1000 // tree.leaf)

    def check(node: int, first: int, last: int) -> None:
        inside = tree.primitives[first * tree.leaf : last * tree.leaf]
        np.testing.assert_array_equal(tree.boxes[node], [*inside.min(axis=0), *inside.max(axis=0)])
        if last - first > 1:
            middle = (first + last) // 2
            check(node + 1, first, middle)
            check(node + 2 * (middle - first), middle, last)

    check(0, 0, leaves)


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.array([[0, 0, np.nan]]), np.array([[0, np.inf, 0]])])
def test_refuses_what_has_no_nearest(bad):
    with pytest.raises(ValueError, match=r"at least one|finite"):
        PointTree(bad)


def bumpy(seed: int) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    mesh.vertices += 0.02 * np.random.default_rng(seed).normal(size=mesh.vertices.shape)
    return mesh


@pytest.mark.parametrize("spread", [0.0, 0.3, 50.0])
def test_triangles_against_three_libraries(spread):
    mesh = bumpy(1)
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    queries = np.asarray(bumpy(2).vertices) + spread * gaussian(len(vertices))
    distance, face = nearest(PointTree(queries), TriangleTree(vertices[faces]))

    squared, _, _ = igl.point_mesh_squared_distance(queries, vertices, faces)
    np.testing.assert_allclose(distance, np.sqrt(squared), rtol=1e-12, atol=1e-14)
    pcu_distance, _, _ = pcu.closest_points_on_mesh(queries, vertices, faces)
    np.testing.assert_allclose(distance, pcu_distance, rtol=1e-12, atol=1e-14)
    on_named_face = trimesh.triangles.closest_point(vertices[faces][face], queries)
    np.testing.assert_allclose(np.linalg.norm(queries - on_named_face, axis=1), distance, rtol=1e-9, atol=1e-12)


def test_every_region_of_a_triangle():
    corners = np.array([[[0.0, 0, 0], [4, 0, 0], [0, 3, 0]]])
    expected = {
        (1, 1, 2): 2.0,  # face
        (1, 1, 0): 0.0,  # in it
        (2, -3, 4): 5.0,  # edge a-b
        (-5, 1, 12): 13.0,  # edge c-a
        (2 + 3, 1.5 + 4, 0): 5.0,  # edge b-c, whose normal is (3, 4) / 5
        (-3, -4, 0): 5.0,  # corner a
        (7, -4, 0): 5.0,  # corner b
        (-4, 6, 0): 5.0,  # corner c
    }
    for flipped in (corners, corners[:, ::-1], np.roll(corners, 1, axis=1)):
        distance, _ = nearest(PointTree(np.array(list(expected), dtype=float)), TriangleTree(flipped))
        np.testing.assert_allclose(distance, list(expected.values()), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("height", [0.0, 1e-200, 1e-16, 1e-13, 1e-11, 1e-9, 1e-6])
def test_needles_and_segments(height):
    """The distance to a triangle thinner than rounding error is that to its longest edge, within its height."""
    direction = np.array([0.48, 0.6, 0.64])
    side = np.cross(direction, [0.0, 0, 1])
    side /= np.linalg.norm(side)
    base = np.array([0.3, -0.7, 0.1])
    corners = np.array([[base, base + direction, base + 0.37 * direction + height * side]])
    queries = base + gaussian(3000)
    along = np.clip((queries - base) @ direction, 0, 1)
    to_segment = np.linalg.norm(queries - base - along[:, None] * direction, axis=1)
    distance, _ = nearest(PointTree(queries), TriangleTree(corners))
    np.testing.assert_allclose(distance, to_segment, rtol=1e-9, atol=1.01 * height + 1e-12)


def test_degenerate_triangles_are_points():
    distance, _ = nearest(PointTree(np.array([[3.0, 4, 0]])), TriangleTree(np.zeros((7, 3, 3))))
    np.testing.assert_array_equal(distance, 5.0)


triangle_soup = st.integers(1, 20).flatmap(
    lambda n: arrays(np.float64, (n, 3, 3), elements=st.integers(-4, 4).map(float))
)


@settings(max_examples=60, deadline=None)
@given(queries=arrays(np.float64, (20, 3), elements=st.floats(-8, 8)), corners=triangle_soup)
def test_triangle_soup_against_igl(queries, corners):
    """Overlapping triangles, many of them without area."""
    distance, _ = nearest(PointTree(queries), TriangleTree(corners))
    faces = np.arange(3 * len(corners)).reshape(-1, 3)
    squared, _, _ = igl.point_mesh_squared_distance(queries, corners.reshape(-1, 3), faces)
    np.testing.assert_allclose(distance, np.sqrt(squared), rtol=1e-9, atol=1e-9)
