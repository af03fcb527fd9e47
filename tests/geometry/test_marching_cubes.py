from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import trimesh

from gcbench.errors import BitstreamError
from gcbench.geometry.marching_cubes import HALF_SIDE, evaluate, surface


def mesh(distance, resolution):
    return surface(evaluate(distance, resolution))


def sphere(points):
    return np.linalg.norm(points, axis=1) - np.float32(0.7)


def torus(points):
    ring = np.linalg.norm(points[:, :2], axis=1) - 0.6
    return (np.hypot(ring, points[:, 2]) - 0.2).astype(np.float32)


@pytest.mark.parametrize("resolution", [16, 32, 64, 128])
def test_a_sphere(resolution):
    vertices, faces = mesh(sphere, resolution)
    made = trimesh.Trimesh(vertices, faces, process=False)
    assert made.is_watertight
    assert made.volume == pytest.approx(4 / 3 * np.pi * 0.7**3, rel=10 / resolution**2)
    assert np.abs(np.linalg.norm(vertices, axis=1) - 0.7).max() < (2 * HALF_SIDE / resolution) ** 2


def test_genus_and_orientation():
    made = trimesh.Trimesh(*mesh(torus, 64), process=False)
    assert (made.euler_number, made.is_watertight, made.body_count) == (0, True, 1)
    assert made.volume == pytest.approx(2 * np.pi**2 * 0.6 * 0.2**2, rel=0.01)


def test_the_same_mesh_as_on_the_full_grid_for_a_twentieth_of_the_points():
    from skimage.measure import marching_cubes

    seen = []

    def counted(points):
        seen.append(len(points))
        return torus(points)

    vertices, faces = mesh(counted, 128)
    axis = np.linspace(-HALF_SIDE, HALF_SIDE, 129)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    full, triangles, _, _ = marching_cubes(torus(grid).reshape([129] * 3), 0.0, method="lorensen")
    assert len(vertices) == len(full)
    assert len(faces) == len(triangles)
    np.testing.assert_allclose(np.sort(vertices, 0), np.sort(full * (2 * HALF_SIDE / 128) - HALF_SIDE, 0), atol=1e-5)
    assert sum(seen) < 129**3 / 10


def test_what_leaves_the_cube_is_closed_at_its_border():
    made = trimesh.Trimesh(*mesh(lambda p: p[:, 2].copy(), 32), process=False)
    assert made.is_watertight
    assert made.volume > 0


def test_no_surface():
    with pytest.raises(BitstreamError, match="no surface"):
        mesh(lambda p: np.ones(len(p), np.float32), 32)


def test_a_surface_through_grid_points_is_a_manifold():
    # |x| + |y| + |z| = 0.525 is a quarter of the cube: its corners, edges and half of its faces lie on grid points.
    made = trimesh.Trimesh(*mesh(lambda p: np.abs(p).sum(1) - np.float32(HALF_SIDE / 2), 32), process=False)
    made.merge_vertices(digits_vertex=7)
    assert made.is_watertight
    assert made.euler_number == 2
    assert made.volume == pytest.approx(4 / 3 * (HALF_SIDE / 2) ** 3, rel=1e-3)


@pytest.mark.parametrize("value", [1e-4, 9.0])  # a surface may be everywhere, or nowhere
def test_memory_is_a_few_times_that_of_the_volume(value):
    tracemalloc.start()
    try:
        volume = evaluate(lambda p: np.full(len(p), value, np.float32), 128)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * volume.nbytes
