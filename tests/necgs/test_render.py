"""The renderer against rays and closed forms, its gradients against differences, and the loss as a whole.

Rendering with nvdiffrast is exercised only where there is a GPU and nvdiffrast is installed.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from common import rays_hit

from gcbench.errors import CodecUnavailable
from gcbench.geometry.rasteriser import unique_edges, visible_faces
from gcbench.necgs.render import (
    FIELD_OF_VIEW,
    CpuRenderer,
    CudaRenderer,
    RenderObjective,
    _project,
    random_cameras,
)

R = 128


def cameras(count=2, radius=1.0, seed=0):
    return torch.as_tensor(random_cameras(count, radius, np.random.default_rng(seed)))


def tensors(mesh):
    return torch.tensor(np.array(mesh.vertices)), torch.tensor(np.array(mesh.faces, dtype=np.int64))


def bumpy(seed=0):
    """A closed mesh that hides parts of itself."""
    mesh = trimesh.creation.torus(0.65, 0.25, major_sections=48, minor_sections=24)
    mesh.vertices += np.random.default_rng(seed).normal(scale=0.01, size=mesh.vertices.shape)
    return mesh


def objective(mesh, **changes):
    settings = {"views": 2, "depth_weight": 10.0, "seed": 0, "device": "cpu", "threads": 1, "resolution": R}
    return RenderObjective(mesh, **{**settings, **changes})


# --- cameras -----------------------------------------------------------------------------------------------------


def test_cameras_look_at_the_origin_and_see_the_whole_sphere():
    radius = 1.3
    sphere = trimesh.creation.icosphere(3, radius=radius)
    clip = _project(torch.as_tensor(np.array(sphere.vertices)), cameras(50, radius))
    depth = clip[..., 3]
    assert (depth > 0).all()
    places = clip[..., :3] / depth[..., None]
    assert places.abs().max() <= 1
    assert places[..., :2].abs().max() > 0.9
    centre = _project(torch.zeros(1, 3, dtype=torch.float64), cameras(50, radius))
    torch.testing.assert_close(centre[..., :2], torch.zeros(50, 1, 2, dtype=torch.float64), atol=1e-12, rtol=0)


def test_cameras_are_spread_over_all_directions():
    towards = cameras(2000)[:, 3, :3]
    towards = towards / towards.norm(dim=1, keepdim=True)
    assert towards.mean(dim=0).abs().max() < 0.06  # 4.6 standard errors
    torch.testing.assert_close(towards.T @ towards / 2000, torch.eye(3).double() / 3, atol=0.04, rtol=0)


# --- visibility --------------------------------------------------------------------------------------------------


def test_edges_of_a_mesh():
    mesh = bumpy()
    edges, edge_of_side = unique_edges(np.array(mesh.faces, dtype=np.int64), len(mesh.vertices))
    np.testing.assert_array_equal(np.unique(edges, axis=0), np.unique(mesh.edges_sorted, axis=0))
    assert len(edges) == len(mesh.edges_unique)
    np.testing.assert_array_equal(edges[edge_of_side.reshape(-1)], mesh.edges_sorted)


def test_visible_faces_are_those_that_rays_hit():
    mesh = bumpy()
    vertices, faces = tensors(mesh)
    camera = cameras(1, float(vertices.norm(dim=1).max()))
    clip = _project(vertices, camera)[0].numpy()
    points = np.column_stack([(clip[:, :2] / clip[:, 3:] + 1) * R / 2, 1 / clip[:, 3]])
    ours = visible_faces(points, faces.numpy(), R)

    # The inverse of the camera turns two points of each ray back into space.
    column, row = np.meshgrid(*[(np.arange(R) + 0.5) * 2 / R - 1] * 2)
    back = np.linalg.inv(camera[0].numpy())
    near, far = (
        np.stack([column, row, np.full_like(row, z), np.ones_like(row)], axis=-1) @ back.T for z in (-1.0, 1.0)
    )
    near, far = near[..., :3] / near[..., 3:], far[..., :3] / far[..., 3:]
    theirs, away = (each.reshape(R, R) for each in rays_hit(mesh, near, far - near))
    assert (ours >= 0).mean() > 0.2
    assert (ours == theirs).mean() > 0.999

    # And the depth is where they hit it.
    depth = CpuRenderer(R)(_project(vertices, camera), faces).depth[0].numpy()
    same = (ours == theirs) & (ours >= 0)
    hit_at = near + np.where(same, away, 0)[..., None] * (far - near)
    along = hit_at[same] @ camera[0, 3, :3].numpy() + camera[0, 3, 3].item()
    np.testing.assert_allclose(depth[same], along, rtol=1e-4)


def test_no_gaps_between_neighbouring_triangles():
    """A square of 2 × 30 × 30 triangles, with vertices on pixel centres, covers all that is inside it."""
    side = np.linspace(4.5, 60.5, 31)
    x, y = np.meshgrid(side, side)
    points = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)])
    corner = (np.arange(30)[:, None] * 31 + np.arange(30)).ravel()
    faces = np.concatenate(
        [np.column_stack([corner, corner + 1, corner + 32]), np.column_stack([corner, corner + 32, corner + 31])]
    )
    visible = visible_faces(points, faces, 64)
    assert (visible[4:61, 4:61] >= 0).all()
    assert (visible >= 0).sum() == 57 * 57


# --- silhouette --------------------------------------------------------------------------------------------------


def square_in_clip(half, angle=0.0):
    """A square at depth 1 whose half side is ``half`` of the image's half side, (1, 4, 4)."""
    corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return torch.as_tensor(np.column_stack([corner @ turn.T, np.zeros(4), np.ones(4)]))[None]


SQUARE = torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("half", [0.5, 0.5 + 0.3 / R, 0.5 + 0.7 / R, 0.5 + 1.3 / R])
def test_silhouette_of_an_upright_square_is_its_exact_coverage(half):
    silhouette = CpuRenderer(R)(square_in_clip(half), SQUARE).silhouette[0]
    reach = (half * R / 2 - (np.arange(R) - R / 2)).clip(0, 1)  # coverage of pixels right of the centre, along a row
    np.testing.assert_allclose(silhouette[R // 2, R // 2 :], reach[R // 2 :], atol=1e-9)
    assert silhouette.sum().item() == pytest.approx((half * R) ** 2, abs=2)  # but for the corners


@pytest.mark.parametrize("angle", [0.1, 0.5, 0.7])
def test_silhouette_has_the_area_of_a_turned_square(angle):
    image = CpuRenderer(R)(square_in_clip(0.5, angle), SQUARE)
    assert image.silhouette.sum().item() == pytest.approx((0.5 * R) ** 2, rel=3e-4)
    assert image.silhouette.min() >= 0
    assert image.silhouette.max() <= 1


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_gradient_of_the_silhouette_is_the_growth_of_the_area(angle):
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    clip = square_in_clip(0.5 + 0.3 / R, angle) * torch.stack([scale, scale, *torch.ones(2)])
    CpuRenderer(R)(clip, SQUARE).silhouette.sum().backward()
    assert scale.grad.item() == pytest.approx(2 * (0.5 * R + 0.3) ** 2, rel=0.02)


def test_silhouette_of_a_sphere_ignores_its_inner_edges():
    vertices, faces = tensors(trimesh.creation.icosphere(4))
    images = CpuRenderer(256)(_project(vertices, cameras(3)), faces)
    distance = 1.05 / np.sin(FIELD_OF_VIEW / 2)
    radius = np.tan(np.arcsin(1 / distance)) / np.tan(FIELD_OF_VIEW / 2) * 128
    for silhouette in images.silhouette:
        assert silhouette.sum().item() == pytest.approx(np.pi * radius**2, rel=2e-3)
        assert ((silhouette == 0) | (silhouette == 1)).double().mean() > 0.97


def test_an_edge_of_an_open_mesh_is_outline():
    triangle = torch.tensor([[[-0.5, -0.5, 0, 1], [0.5, -0.5, 0, 1], [0.0, 0.6, 0, 1]]], dtype=torch.float64)
    silhouette = CpuRenderer(R)(triangle, torch.tensor([[0, 1, 2]])).silhouette
    assert silhouette.sum().item() == pytest.approx(0.5 * 1.1 / 4 * R * R, rel=2e-3)


# --- gradients ---------------------------------------------------------------------------------------------------


def test_depth_gradients_are_finite_differences():
    vertices, faces = tensors(trimesh.creation.icosphere(1))
    renderer, to_clip = CpuRenderer(24), cameras(2)
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(2, 24, 24, dtype=torch.float64, generator=generator)
    # Only where the triangle that is seen stays the same while differentiating: away from its edges.
    inner = torch.as_tensor(
        np.all(
            [
                renderer(_project(vertices + shift * 1e-5, to_clip), faces).covered.numpy()
                for shift in torch.randn(8, *vertices.shape, dtype=torch.float64, generator=generator)
            ],
            axis=0,
        )
    )

    def loss(points):
        return (renderer(_project(points, to_clip), faces).depth * weights * inner).sum()

    assert torch.autograd.gradcheck(loss, vertices.requires_grad_(), eps=1e-7, atol=1e-3, rtol=1e-3)


def test_silhouette_gradients_are_finite_differences():
    vertices, faces = tensors(trimesh.creation.icosphere(1))
    renderer, to_clip = CpuRenderer(24), cameras(2)
    weights = torch.rand(2, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(points):
        return (renderer(_project(points, to_clip), faces).silhouette * weights).sum()

    assert torch.autograd.gradcheck(loss, vertices.requires_grad_(), eps=1e-7, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("size", "depth_weight"), [(0.9, 0.0), (1.1, 0.0), (0.97, 10.0), (1.03, 10.0)])
def test_descent_leads_to_the_mesh(size, depth_weight):
    sphere = trimesh.creation.icosphere(3)
    vertices, faces = tensors(sphere)
    scale = torch.tensor(size, dtype=torch.float64, requires_grad=True)
    objective(sphere, depth_weight=depth_weight)(vertices * scale, faces, 0).backward()
    assert scale.grad.sign().item() == np.sign(size - 1)


def test_a_displaced_mesh_is_pulled_back():
    mesh = bumpy()
    vertices, faces = tensors(mesh)
    shift = torch.tensor([0.03, -0.02, 0.01], dtype=torch.float64, requires_grad=True)
    loss = objective(mesh, views=4)
    before = loss(vertices + shift, faces, 0)
    before.backward()
    step = shift.detach() - 0.02 * shift.grad / shift.grad.norm()
    assert loss(vertices + step, faces, 0) < 0.7 * before
    assert torch.nn.functional.cosine_similarity(shift.grad, shift.detach(), dim=0) > 0.9


# --- the objective -----------------------------------------------------------------------------------------------


def test_a_mesh_has_no_loss_against_itself():
    mesh = bumpy()
    assert objective(mesh)(*tensors(mesh), 3).item() == 0


def test_loss_of_a_smaller_sphere_is_the_share_of_the_ring_in_the_image():
    vertices, faces = tensors(trimesh.creation.icosphere(4))
    loss = objective(trimesh.creation.icosphere(4), depth_weight=0.0, resolution=256)(0.8 * vertices, faces, 0).item()
    distance = 1.05 / np.sin(FIELD_OF_VIEW / 2)
    large, small = (np.tan(np.arcsin(radius / distance)) / np.tan(FIELD_OF_VIEW / 2) for radius in (1.0, 0.8))
    assert loss == pytest.approx(np.pi / 4 * (large**2 - small**2), rel=5e-3)


def test_seed_and_step_decide():
    mesh = bumpy()
    vertices, faces = tensors(mesh)
    moved = (1.02 * vertices).float()
    one = objective(mesh)
    first, second = one(moved, faces, 0), one(moved, faces, 1)
    assert first.dtype == torch.float32
    assert first != second
    again = objective(mesh, threads=2)
    assert again(moved, faces, 1) == second  # in any order, with any number of threads
    assert again(moved, faces, 0) == first
    assert objective(mesh, seed=1)(moved, faces, 0) != first


def test_gradients_are_finite_for_degenerate_faces_and_loose_vertices():
    mesh = bumpy()
    vertices, faces = tensors(mesh)
    vertices = (torch.cat([vertices, vertices[:2]]) * 1.01).requires_grad_()
    faces = torch.cat([faces, torch.tensor([[0, 0, 1], [0, len(vertices) - 2, 1]])])
    objective(mesh)(vertices, faces, 0).backward()
    assert vertices.grad.isfinite().all()


def test_cuda_without_cuda_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CodecUnavailable, match="no CUDA device"):
        CudaRenderer(64, "cuda")


@pytest.mark.benchmark
def test_a_step_at_512(benchmark):
    """Four views of 20 480 triangles that fill the images, forward and backward: more than an AMA frame covers."""
    vertices, faces = tensors(trimesh.creation.icosphere(5))
    loss = objective(trimesh.creation.icosphere(5), views=4, resolution=512)
    moved = (0.99 * vertices).float().requires_grad_()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        benchmark(lambda: torch.autograd.grad(loss(moved, faces, 0), moved))
    finally:
        torch.set_num_threads(threads)
    assert benchmark.stats.stats.median < 0.4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nvdiffrast_renders_the_same_images():
    pytest.importorskip("nvdiffrast")
    vertices, faces = tensors(bumpy())
    clip = _project(vertices, cameras(2))
    ours = CpuRenderer(R)(clip, faces)
    theirs = CudaRenderer(R, "cuda")(clip.cuda(), faces.cuda())
    assert (ours.covered == theirs.covered.cpu()).double().mean() > 0.999
    both = ours.covered & theirs.covered.cpu()
    assert (ours.depth - theirs.depth.cpu())[both].abs().median() < 1e-5
    assert (ours.silhouette - theirs.silhouette.cpu()).abs().mean() < 5e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nvdiffrast_leads_to_the_mesh():
    pytest.importorskip("nvdiffrast")
    sphere = trimesh.creation.icosphere(3)
    vertices, faces = (tensor.cuda() for tensor in tensors(sphere))
    for size in (0.9, 1.1):
        scale = torch.tensor(size, device="cuda", requires_grad=True)
        objective(sphere, device="cuda")(vertices.float() * scale, faces, 0).backward()
        assert scale.grad.sign().item() == np.sign(size - 1)
