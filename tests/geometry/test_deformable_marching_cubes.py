"""Marching cubes against independent implementations, closed forms, and what must hold of any volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.geometry.deformable_marching_cubes import extract, topology
from gcbench.geometry.grid import Grid
from gcbench.geometry.marching_cubes_tables import surface_loops, triangle_table, triangulate


def sampled(grid, distance):
    """The TSDF of a signed distance function of (..., 3), as a float64 volume of four channels, undeformed."""
    axis = torch.as_tensor(grid.axis())
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    tsdf = (distance(points) / grid.truncation).clamp(-1, 1)
    return torch.cat([tsdf[None], torch.zeros(3, *tsdf.shape, dtype=torch.float64)])


def sphere(points, radius=0.8):
    return points.norm(dim=-1) - radius


def torus(points, major=0.65, minor=0.25):
    return torch.stack([points[..., :2].norm(dim=-1) - major, points[..., 2]]).norm(dim=0) - minor


def noise(resolution, seed, channels=4, levels=None):
    generator = torch.Generator().manual_seed(seed)
    volume = 2 * torch.rand(channels, *[resolution] * 3, generator=generator) - 1
    return volume if levels is None else (volume * levels).round() / levels


def times_of_directed_edges(faces):
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    unique, times = edges.unique(dim=0, return_counts=True)
    return {(a, b): count for (a, b), count in zip(unique.tolist(), times.tolist(), strict=True)}


def assert_closed_manifold(faces):
    """Every directed edge once, and its opposite once: no cracks, two triangles at each edge, one orientation."""
    times = times_of_directed_edges(faces)
    assert set(times.values()) <= {1}
    assert {(b, a) for a, b in times} == set(times)


def as_mesh(volume, grid):
    vertices, faces = extract(volume, grid)
    return trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)


# --- the table ---------------------------------------------------------------------------------------------------


def test_table_of_the_simplest_patterns():
    table = triangle_table()
    assert table.counts[0] == table.counts[255] == 0
    assert table.counts[1] == 1
    # Corner 0 inside: seen from outside, from (1, 1, 1), its edges along x, y and z are counter-clockwise.
    first = table.starts[1]
    assert table.corners[first].tolist() == [0, 0, 0]
    assert table.axes[first].tolist() == [0, 1, 2]


def test_table_has_at_most_five_triangles_and_820_in_all():
    count = triangle_table().counts
    assert count.max() == 5  # as in the table of Lorensen and Cline
    assert count.sum() == 820


def test_loops_run_through_all_crossed_edges_once():
    for pattern in range(256):
        crossed = {
            (corner, axis)
            for corner in range(8)
            for axis in range(3)
            if not corner >> axis & 1 and (pattern >> corner & 1) != (pattern >> (corner | 1 << axis) & 1)
        }
        edges = [tuple(edge) for loop in surface_loops(pattern) for edge in loop]
        assert sorted(edges) == sorted(crossed), pattern


def test_no_diagonal_lies_within_a_side():
    for loop in {loop for pattern in range(256) for loop in surface_loops(pattern)}:
        borders = {frozenset(pair) for pair in zip(loop, (*loop[1:], loop[0]), strict=True)}
        for a, b, c in triangulate(loop):
            for pair in (frozenset({a, b}), frozenset({b, c}), frozenset({c, a})):
                assert pair in borders or not set.intersection(*(edge.sides for edge in pair))


# --- surfaces ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [sphere, torus])
def test_same_vertices_and_surface_as_scikit_image(shape):
    from skimage.measure import marching_cubes

    grid = Grid(32)
    volume = sampled(grid, shape)
    ours = as_mesh(volume, grid)
    vertices, faces, _, _ = marching_cubes(volume[0].numpy(), 0.0, method="lorensen")
    theirs = trimesh.Trimesh(grid.origin + grid.spacing * vertices, faces[:, ::-1], process=False)
    order, their_order = (np.lexsort(mesh.vertices.round(5).T) for mesh in (ours, theirs))
    np.testing.assert_allclose(ours.vertices[order], theirs.vertices[their_order], atol=1e-6)
    assert ours.faces.shape == theirs.faces.shape
    # The polygons of the cells are the same, but not all of their diagonals.
    assert ours.volume == pytest.approx(abs(theirs.volume), rel=2e-3)
    assert ours.area == pytest.approx(theirs.area, rel=2e-3)


@pytest.mark.parametrize("levels", [None, 8])
def test_same_vertices_as_libigl_on_a_deformed_random_volume(levels):
    igl = pytest.importorskip("igl")
    grid = Grid(32)
    volume = noise(32, seed=1, levels=levels).double()
    volume[0, [0, -1]] = volume[0, :, [0, -1]] = volume[0, :, :, [0, -1]] = 1.0
    axis = torch.as_tensor(grid.axis())
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")) + grid.deformation * volume[1:]
    # libigl has x first, and an exact 0 inside: a value just above 0 is outside for both.
    values = volume[0].where(volume[0] != 0, 1e-9).permute(2, 1, 0).reshape(-1).numpy()
    places = points.permute(3, 2, 1, 0).reshape(-1, 3).numpy()
    theirs = igl.marching_cubes(values.copy(), places.copy(), 32, 32, 32, 0.0)[0]
    ours = extract(volume, grid)[0].numpy()
    assert len(ours) == len(theirs)
    from scipy.spatial import cKDTree

    # A vertex may coincide with others, so the sets are compared both ways.
    assert cKDTree(theirs).query(ours)[0].max() < 1e-6
    assert cKDTree(ours).query(theirs)[0].max() < 1e-6


@pytest.mark.parametrize(
    ("shape", "volume", "area", "euler"),
    [
        (sphere, 4 / 3 * np.pi * 0.8**3, 4 * np.pi * 0.8**2, 2),
        (torus, 2 * np.pi**2 * 0.65 * 0.25**2, 4 * np.pi**2 * 0.65 * 0.25, 0),
    ],
)
def test_closed_forms(shape, volume, area, euler):
    mesh = as_mesh(sampled(Grid(64), shape), Grid(64))
    assert mesh.volume == pytest.approx(volume, rel=5e-3)
    assert mesh.area == pytest.approx(area, rel=3e-3)
    assert mesh.euler_number == euler


def test_the_deformation_moves_vertices_by_half_a_cell():
    grid = Grid(32)
    volume = sampled(grid, sphere)
    still, faces = extract(volume, grid)
    volume[1:] = torch.tensor([1.0, -1.0, 0.5])[:, None, None, None]
    moved, same_faces = extract(volume, grid)
    assert torch.equal(faces, same_faces)
    shift = torch.tensor([0.5, -0.5, 0.25]) * grid.spacing
    torch.testing.assert_close(moved - still, shift.double().expand_as(still))


def test_one_inside_vertex_is_an_octahedron():
    grid = Grid(8)
    volume = torch.ones(1, 8, 8, 8)
    volume[0, 3, 4, 5] = -1.0
    mesh = as_mesh(volume, grid)
    centre = grid.axis()[[3, 4, 5]]
    assert len(mesh.faces) == 8
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - centre, axis=1), grid.spacing / 2, rtol=1e-5)
    assert mesh.volume == pytest.approx(8 / 6 * (grid.spacing / 2) ** 3, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_surface_is_zero_faces(value):
    vertices, faces = extract(torch.full((4, 8, 8, 8), value), Grid(8))
    assert vertices.shape == (0, 3)
    assert faces.shape == (0, 3)
    assert faces.dtype == torch.int64


def test_the_border_is_outside_whatever_its_values():
    grid = Grid(8)
    mesh = as_mesh(torch.full((1, 8, 8, 8), -1.0), grid)
    assert_closed_manifold(torch.as_tensor(mesh.faces))
    assert mesh.volume > 0
    # -1 on the border is taken for +1: the surface lies half a cell within it
    np.testing.assert_allclose(np.abs(mesh.vertices).max(axis=1), -grid.origin - grid.spacing / 2, rtol=1e-5)


def test_exact_zero_is_outside():
    grid = Grid(8)
    volume = torch.ones(1, 8, 8, 8)
    volume[0, 3, 3, 3] = 0.0
    assert extract(volume, grid)[1].shape == (0, 3)
    volume[0, 3, 3, 4] = -0.5  # next to the 0, which now is the end of one of its edges
    vertices, faces = extract(volume, grid)
    assert len(faces) == 8
    np.testing.assert_allclose(grid.axis()[3], vertices[:, 2].min(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type(dtype):
    grid = Grid(16)
    vertices, faces = extract(sampled(grid, sphere).to(dtype), grid)
    assert vertices.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (vertices.norm(dim=1) - 0.8).abs().max() < 0.02
    assert_closed_manifold(faces)


def test_a_volume_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 16, 16, 16\), not \(1 or 4, 8, 8, 8\)"):
        extract(torch.zeros(4, 16, 16, 16), Grid(8))
    with pytest.raises(ValueError, match="1 or 4"):
        extract(torch.zeros(3, 8, 8, 8), Grid(8))


# --- any volume --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    resolution=st.integers(4, 12),
    levels=st.sampled_from([None, 1, 2, 128]),
    share=st.floats(0.02, 0.98),
)
def test_any_volume_gives_a_closed_manifold(seed, resolution, levels, share):
    volume = noise(resolution, seed, levels=levels)
    volume[0] = volume[0] + 1 - 2 * share
    vertices, faces = extract(volume, Grid(resolution))
    assert_closed_manifold(faces)
    assert vertices.isfinite().all()
    assert faces.unique().tolist() == list(range(len(vertices)))  # none is left over
    ends = topology(volume[0]).ends
    assert ends.unique(dim=1).shape == ends.shape  # one vertex per grid edge


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_no_cracks_at_maximal_deformation(seed):
    grid = Grid(16)
    volume = sampled(grid, torus).float()
    still = as_mesh(volume, grid)
    volume[1:] = noise(16, seed, channels=3).sign()
    vertices, faces = extract(volume, grid)
    assert_closed_manifold(faces)
    assert torch.equal(faces, torch.as_tensor(still.faces))
    moved = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert moved.volume == pytest.approx(still.volume, rel=0.25)  # an inside-out surface would be negative


# --- gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 4])
def test_gradients_in_tsdf_and_deformation(channels):
    grid = Grid(6)
    volume = noise(6, seed=3, channels=channels).double()
    volume[0] = volume[0].sign() * volume[0].abs().clamp(min=0.05)  # no sign changes within the difference step
    assert torch.autograd.gradcheck(lambda v: extract(v, grid)[0], volume.requires_grad_())


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e-42])
def test_no_gradient_is_nan_at_zeros_and_tiny_values(scale):
    grid = Grid(12)
    volume = (noise(12, seed=5, levels=2) * scale).requires_grad_()
    vertices, _ = extract(volume, grid)
    assert vertices.isfinite().all()
    vertices.square().sum().backward()
    assert volume.grad.isfinite().all()


def test_the_gradient_moves_the_surface_where_it_should_go():
    grid = Grid(16)
    volume = sampled(grid, sphere).requires_grad_()
    vertices, _ = extract(volume, grid)
    vertices.norm(dim=1).sum().backward()
    tsdf = volume.grad[0][volume.grad[0] != 0]
    assert (tsdf < 0).all()  # more distance is a smaller sphere


# --- speed -------------------------------------------------------------------------------------------------------


@pytest.mark.benchmark
def test_extraction_at_128(benchmark):
    """A sphere of 24 000 faces: about the size of an AMA frame at this resolution."""
    grid = Grid(128)
    volume = sampled(grid, lambda points: sphere(points, 0.4)).float()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, faces = benchmark(extract, volume, grid)
    finally:
        torch.set_num_threads(threads)
    assert len(faces) > 20_000
    assert benchmark.stats.stats.median < 0.05
