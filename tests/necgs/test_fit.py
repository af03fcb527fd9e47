"""What the fit minimises has exact gradients; what it returns is better than the TSDF, quantised and reproducible."""

from dataclasses import replace

import igl
import numpy as np
import pytest
import torch
import trimesh

from gcbench.errors import BadMesh
from gcbench.geometry.deformable_marching_cubes import extract
from gcbench.geometry.grid import Grid
from gcbench.geometry.surface import Surface
from gcbench.geometry.tsdf import tsdf
from gcbench.necgs.closest_points import ClosestPoints
from gcbench.necgs.fit import DIRECT, Schedule, fit, minimise


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def box(extents, angle=0.5):
    turn = trimesh.transformations.rotation_matrix(angle, [1, 2, 3])
    mesh = trimesh.creation.box(extents=extents).apply_transform(turn)
    mesh.vertices /= np.abs(mesh.vertices).max()
    return mesh


def surface_of(volume, grid):
    vertices, faces = extract(torch.from_numpy(volume), grid)
    return trimesh.Trimesh(vertices.numpy().astype(np.float64), faces.numpy(), process=False)


def two_sided_distance(a, b):
    """Mean distance between samples of each surface and the other surface, exact."""
    directed = []
    for source, target in ((a, b), (b, a)):
        samples, _ = trimesh.sample.sample_surface(source, 5000, seed=0)
        squared, _, _ = igl.point_mesh_squared_distance(samples, target.vertices, target.faces)
        directed.append(np.sqrt(squared).mean())
    return sum(directed) / 2


# --- the loss


def shifted_square(height, requires_grad=True):
    """A square of side 0.2 over the middle of the square of side 2 at z = 0."""
    vertices = 0.1 * torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=torch.float64)
    vertices[:, 2] = height
    return vertices.requires_grad_(requires_grad), torch.tensor([[0, 1, 2], [0, 2, 3]])


def square():
    return Surface(np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))


def test_loss_of_parallel_squares():
    """Every point of the small one is at the same distance; normals agree. Cost: 2k (√(d² + k²) - k), k = 0.1."""
    target = ClosestPoints(square(), scale=0.1, density=1.0, normal_weight=1.0, seed=0)
    vertices, faces = shifted_square(0.05)
    cost = 2 * 0.1 * ((0.5**2 + 0.1**2) ** 0.5 - 0.1)
    loss = target._to_mesh(vertices, faces)
    assert loss.item() == pytest.approx(cost * 0.04 / 4, rel=1e-6)  # its share of the area


def test_loss_of_equal_surfaces_is_zero():
    mesh = box((2, 1, 0.5))
    target = ClosestPoints(Surface(mesh.vertices, mesh.faces), scale=0.05, density=1.0, normal_weight=1.0, seed=0)
    assert target(torch.tensor(mesh.vertices), torch.tensor(mesh.faces), 0).item() == pytest.approx(0, abs=1e-6)


def test_tilt_costs_one_minus_the_cosine():
    target = ClosestPoints(square(), scale=1e6, density=1.0, normal_weight=1.0, seed=0)  # distances count for nothing
    vertices, faces = shifted_square(0.0, requires_grad=False)
    tilted = vertices @ torch.tensor([[np.cos(0.3), 0, np.sin(0.3)], [0, 1, 0], [-np.sin(0.3), 0, np.cos(0.3)]])
    assert target._to_mesh(tilted, faces).item() == pytest.approx((1 - np.cos(0.3)) * 0.01, rel=1e-6)
    inverted = target._to_mesh(tilted, faces[:, [0, 2, 1]]).item()
    assert inverted == pytest.approx((1 - np.cos(0.3)) * 0.01, rel=1e-6)


def test_gradient_is_that_of_finite_differences():
    """Held nearest points and all: against the loss itself, nearest points searched anew."""
    rng = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.8)
    rough = trimesh.creation.icosphere(subdivisions=1, radius=0.75)
    base = torch.tensor(rough.vertices + rng.normal(scale=0.02, size=rough.vertices.shape))
    faces = torch.tensor(rough.faces)

    def loss(vertices):
        target = ClosestPoints(Surface(ball.vertices, ball.faces), scale=0.1, density=20.0, normal_weight=0.0, seed=3)
        return target._from_mesh(vertices, faces)

    vertices = base.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(vertices), [vertices])
    direction = torch.tensor(rng.normal(size=base.shape))
    step = 1e-5
    difference = (loss(base + step * direction) - loss(base - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=2e-3)


# --- the fit


def test_none_is_the_quantised_tsdf():
    mesh, grid = box((2, 1, 0.5)), Grid(32)
    volume = fit(mesh, grid, "none", bits=8)
    assert volume.shape == (4, 32, 32, 32)
    np.testing.assert_array_equal(volume[0], np.round(tsdf(mesh, grid) * 128) / 128)
    assert not volume[1:].any()


@pytest.mark.parametrize(("deformation", "least_gain"), [(True, 2.5), (False, 1.3)])
def test_beats_the_tsdf(deformation, least_gain):
    """A box in general position: its edges and corners are what a TSDF cuts off."""
    mesh, grid = box((2, 1, 0.5)), Grid(32)
    plain = fit(mesh, grid, "none", deformation=deformation)
    fitted = fit(mesh, grid, schedule=replace(DIRECT, steps=60), deformation=deformation)
    assert fitted.shape[0] == (4 if deformation else 1)
    before = two_sided_distance(surface_of(plain, grid), mesh)
    after = two_sided_distance(surface_of(fitted, grid), mesh)
    assert after < before / least_gain
    assert surface_of(fitted, grid).is_watertight


def test_thin_plate_is_found_again():
    """Thinner than a cell: the TSDF has holes where no grid vertex is inside; the fit fills them."""
    mesh, grid = box((2, 1.5, 0.05), angle=0.3), Grid(32)
    plain = surface_of(fit(mesh, grid, "none"), grid)
    fitted = surface_of(fit(mesh, grid, schedule=replace(DIRECT, steps=100)), grid)
    assert two_sided_distance(fitted, mesh) < two_sided_distance(plain, mesh) / 4
    samples, _ = trimesh.sample.sample_surface(mesh, 5000, seed=0)
    squared, _, _ = igl.point_mesh_squared_distance(samples, fitted.vertices, fitted.faces)
    assert np.sqrt(squared).max() < grid.spacing


@pytest.mark.parametrize("bits", [4, 8])
def test_volume_is_on_the_levels(bits):
    volume = fit(box((2, 1, 0.5)), Grid(32), schedule=replace(DIRECT, steps=10), bits=bits)
    assert volume.dtype == np.float32
    levels = (volume + 1) * 2 ** (bits - 1)
    np.testing.assert_array_equal(levels, np.round(levels))
    assert levels.min() >= 0
    assert levels.max() <= 2**bits


def test_same_seed_same_volume():
    mesh, grid = box((2, 1, 0.5)), Grid(32)
    once, again, other = (fit(mesh, grid, schedule=replace(DIRECT, steps=10), seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_far_vertices_keep_their_tsdf():
    mesh, grid = box((2, 1, 0.5)), Grid(32)
    values = tsdf(mesh, grid)
    volume = fit(mesh, grid, schedule=replace(DIRECT, steps=30))
    far = np.abs(values) == 1
    assert far.any()
    np.testing.assert_array_equal(volume[0][far], values[far])
    assert not volume[1:, far].any()


def test_progress_ends_at_one():
    told = []
    fit(
        box((2, 1, 0.5)),
        Grid(32),
        schedule=replace(DIRECT, steps=20),
        progress=lambda done, message: told.append((done, message)),
    )
    assert [done for done, _ in told] == [0.5, 1.0]
    assert "loss" in told[-1][1]


def test_own_objective():
    """The interface: an objective that draws the surface of a ball outward makes it larger."""
    grid = Grid(32)
    ball = torch.from_numpy(tsdf(trimesh.creation.icosphere(subdivisions=3, radius=0.7), grid)[None])

    def objective(vertices, faces, step):
        return (vertices.norm(dim=1) - 0.75).square().sum()

    schedule = Schedule(steps=100, learning_rate=0.02, decay=0.1, deformation_l1=0.0, tsdf_l1=0.0)
    volume = minimise(objective, ball, grid, schedule)
    vertices, _ = extract(volume, grid)
    np.testing.assert_allclose(vertices.norm(dim=1), 0.75, atol=0.01)


def test_l1_leaves_idle_vertices_in_place():
    """With a weight far above the gain, nothing is deformed."""
    volume = fit(box((2, 1, 0.5)), Grid(32), schedule=replace(DIRECT, steps=10, deformation_l1=1e3))
    assert np.abs(volume[1:]).max() <= 2 * DIRECT.learning_rate


@pytest.mark.parametrize(
    ("vertices", "faces", "complaint"),
    [
        (np.eye(3), np.empty((0, 3)), "no faces"),
        (np.full((3, 3), np.nan), [[0, 1, 2]], "finite"),
        (np.zeros((3, 3)), [[0, 1, 2]], "area"),
    ],
)
def test_bad_meshes(vertices, faces, complaint):
    with pytest.raises(BadMesh, match=complaint):
        fit(trimesh.Trimesh(vertices, faces, process=False), Grid(32))


@pytest.mark.parametrize("objective", ["none", "closest-point"])
def test_a_sheet_that_encloses_nothing_becomes_a_thin_shell_around_it(objective):
    sheet = trimesh.Trimesh([[-1, -1, 0.3], [1, -1, 0.3], [1, 1, 0.3], [-1, 1, 0.3]], [[0, 1, 2], [0, 2, 3]])
    grid = Grid(32)
    volume = fit(sheet, grid, objective)
    vertices, faces = extract(torch.from_numpy(volume), grid)
    shell = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert shell.is_watertight
    distance = np.abs(shell.vertices[:, 2] - 0.3).max()
    assert distance <= (0.75 if objective == "none" else 0.5) * grid.spacing
    np.testing.assert_allclose(shell.bounds[:, :2], [[-1, -1], [1, 1]], atol=grid.spacing)
