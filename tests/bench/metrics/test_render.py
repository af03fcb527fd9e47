"""Views against closed forms and Open3D's rays, SSIM against scikit-image, and what each column sees and does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trimesh
from common import rays_hit
from scipy.integrate import quad
from skimage.metrics import structural_similarity

from gcbench.bench.metrics import views
from gcbench.bench.metrics.render import CAP_DB, Render, compare, psnr
from gcbench.bench.metrics.similarity import RADIUS, sum_of_ssim
from gcbench.bench.metrics.views import HALF_WIDTH, PIXEL, RESOLUTION, VIEWS, cameras, draw
from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.surface import Surface

SUITE = Render()
SAME = {
    "render_normal_psnr": CAP_DB,
    "render_normal_ssim": 1.0,
    "render_depth_psnr": CAP_DB,
    "render_silhouette_mismatch": 0.0,
}


ALL = cameras()


@pytest.fixture(autouse=True)
def _few_views(monkeypatch):
    """Four cameras in place of sixteen, but where all of them are what is tested."""
    monkeypatch.setattr(views, "VIEWS", 4)


def mesh_of(vertices, faces) -> trimesh.Trimesh:
    return trimesh.Trimesh(np.asarray(vertices, dtype=np.float64), faces, process=False)


def sphere(radius: float, subdivisions: int = 6) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)


def bumpy(count: int = 4) -> trimesh.Trimesh:
    """A sphere with bumps: curved everywhere, and in front of itself in places."""
    mesh = sphere(0.45, count)
    bumps = 1 + 0.3 * np.sin(11 * mesh.vertices).prod(axis=1)
    return mesh_of(mesh.vertices * bumps[:, None], mesh.faces)


def measure(original: trimesh.Trimesh, decoded: trimesh.Trimesh, threads: int = 1) -> dict[str, float]:
    return dict(SUITE.measure(SUITE.reference(original, seed=0, threads=threads), decoded))


def views_of(mesh: trimesh.Trimesh):
    surface = Surface.of(mesh)
    return [(camera, draw(surface, camera)) for camera in cameras()]


def places(view) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the pixels of a view along its two image axes."""
    rows, columns = np.divmod(view.pixels, RESOLUTION)
    return (columns + 0.5) * PIXEL - HALF_WIDTH, (rows + 0.5) * PIXEL - HALF_WIDTH


# --- cameras and views -----------------------------------------------------------------------------------------------


def test_axes_of_cameras_are_orthonormal_right_handed_and_spread_over_the_sphere():
    axes = ALL
    assert axes.shape == (VIEWS, 3, 3)
    np.testing.assert_allclose(axes @ axes.transpose(0, 2, 1), np.tile(np.eye(3), (VIEWS, 1, 1)), atol=1e-14)
    right, down, towards = axes.transpose(1, 0, 2)
    np.testing.assert_allclose(np.cross(right, -down), towards, atol=1e-14)  # else images are mirrored

    assert np.linalg.norm(towards.mean(axis=0)) < 0.01
    np.testing.assert_allclose(towards.T @ towards / VIEWS, np.eye(3) / 3, atol=0.02)
    angles = np.arccos(np.clip(np.abs(towards @ towards.T) - 2 * np.eye(VIEWS), -1, 1))
    assert np.degrees(angles.min()) > 10  # an opposite camera would see the same outline


def test_a_box_has_no_edge_along_rows_or_columns():
    image_axes = ALL[:, :2]
    along = image_axes / np.linalg.norm(image_axes, axis=1, keepdims=True)  # of x, y and z, in each image
    assert np.degrees(np.arcsin(np.abs(along).min())) > 0.5


def test_every_view_shows_the_whole_cube_of_normalised_meshes():
    cube = Surface.of(trimesh.creation.box(extents=(2, 2, 2)))
    for camera in ALL:
        x, y = places(draw(cube, camera))
        assert max(np.abs(x).max(), np.abs(y).max()) < HALF_WIDTH - PIXEL


@pytest.mark.parametrize("radius", [0.3, 1.0])
def test_a_sphere_covers_a_disc(radius):
    mesh = sphere(radius)
    for _, view in views_of(mesh):
        area, perimeter = math.pi * radius**2 / PIXEL**2, 2 * math.pi * radius / PIXEL
        assert abs(len(view.pixels) - area) < 0.1 * perimeter
        x, y = places(view)
        # A chord of the icosphere is at most 2e-4 of the radius under it.
        np.testing.assert_array_less(np.hypot(x, y), radius)
        inner = np.hypot(x, y) < 0.9 * radius
        np.testing.assert_allclose(
            view.depths[inner], -np.sqrt(radius**2 - x[inner] ** 2 - y[inner] ** 2), atol=1e-3 * radius
        )
        np.testing.assert_allclose(view.normals[inner, 0], x[inner] / radius, atol=0.03)
        np.testing.assert_allclose(view.normals[inner, 1], y[inner] / radius, atol=0.03)


@pytest.mark.parametrize("flip", [False, True])
def test_points_of_a_plane_lie_on_it_and_its_normal_faces_the_camera(flip):
    normal, offset = np.array([2.0, -1.0, 2.0]) / 3, 0.2
    first = np.cross(normal, [0, 0, 1])
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    corners = [offset * normal + 0.6 * (i * first + j * second) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    for camera, view in views_of(mesh_of(corners, faces[:, ::-1] if flip else faces)):
        assert len(view.pixels) == pytest.approx(1.44 * abs(camera[2] @ normal) / PIXEL**2, rel=0.02)
        points = np.stack([*places(view), -view.depths], axis=1) @ camera
        np.testing.assert_allclose(points @ normal, offset, atol=1e-12)
        facing = camera @ normal
        facing *= np.sign(facing[2])
        np.testing.assert_allclose(view.normals, np.broadcast_to(facing, view.normals.shape), atol=1e-6)


def test_views_are_what_rays_meet():
    mesh = bumpy()
    for camera, view in views_of(mesh)[::2]:
        line = (np.arange(RESOLUTION) + 0.5) * PIXEL - HALF_WIDTH
        y, x = np.meshgrid(line, line, indexing="ij")
        origins = np.stack([x, y, np.full_like(x, 3.0)], axis=-1) @ camera
        face, distance = rays_hit(mesh, origins, np.broadcast_to(-camera[2], origins.shape))
        normals = np.asarray(mesh.face_normals)[face] @ camera.T

        covered = np.zeros(RESOLUTION**2, dtype=bool)
        covered[view.pixels] = True
        assert np.count_nonzero(covered != np.isfinite(distance)) <= 1e-4 * len(view.pixels)
        # Its rays are float32: at an edge they may take the neighbour, at an inner outline what is behind it.
        common = np.isfinite(distance[view.pixels])
        off = np.abs(view.depths - (distance[view.pixels] - 3.0))[common]
        assert np.quantile(off, 0.999) < 1e-5
        normals *= np.where(normals[:, 2:] < 0, -1, 1)
        turned = np.abs(view.normals - normals[view.pixels]).max(axis=1)[common]
        assert np.quantile(turned, 0.999) < 1e-4


# --- SSIM and PSNR ---------------------------------------------------------------------------------------------------


def test_ssim_is_that_of_scikit_image():
    rng = np.random.default_rng(5)
    first = rng.random((3, 40, 60)).astype(np.float32)
    first[:, 10:25, 10:30] = 0
    second = np.clip(first + 0.2 * rng.normal(size=first.shape), 0, 1).astype(np.float32)
    chosen = np.zeros((40, 60), dtype=bool)
    chosen[RADIUS:-RADIUS, RADIUS:-RADIUS] = rng.random((34, 54)) < 0.3
    _, expected = structural_similarity(
        first.astype(np.float64), second.astype(np.float64), channel_axis=0, data_range=1.0, full=True
    )
    assert sum_of_ssim(first, second, chosen) == pytest.approx(expected[:, chosen].sum(), rel=1e-12)
    assert sum_of_ssim(first, first, chosen) == 3 * chosen.sum()


def test_the_suite_takes_the_mean_of_ssim_over_what_either_covers():
    original, decoded = sphere(0.5, 2), trimesh.creation.box(extents=(0.9, 0.7, 1.1))
    total = count = 0.0
    for (_, first), (_, second) in zip(views_of(original), views_of(decoded), strict=True):
        images = np.zeros((2, RESOLUTION**2, 3))
        for image, view in zip(images, (first, second), strict=True):
            image[view.pixels] = view.normals / 2 + 0.5
        images = images.reshape(2, RESOLUTION, RESOLUTION, 3)[:, 200:-200, 200:-200]
        _, alike = structural_similarity(*images, channel_axis=2, data_range=1.0, full=True)
        either = (images > 0).any(axis=(0, 3))
        total, count = total + alike[either].mean(axis=1).sum(), count + np.count_nonzero(either)
    assert measure(original, decoded)["render_normal_ssim"] == pytest.approx(total / count, rel=1e-6)


def test_psnr_and_its_two_ends():
    assert psnr(4e-3 * 10, 10, peak=2.0) == pytest.approx(30.0)
    assert psnr(0.0, 10, peak=2.0) == psnr(1e-30, 10, peak=2.0) == CAP_DB
    assert psnr(90.0, 10, peak=2.0) == psnr(0.0, 0, peak=2.0) == 0.0


# --- columns ---------------------------------------------------------------------------------------------------------


def test_a_mesh_looks_like_itself_whatever_the_order_and_side_of_its_faces():
    mesh = bumpy()
    rng = np.random.default_rng(1)
    shuffled = mesh.faces[rng.permutation(len(mesh.faces))]
    vertices = rng.permutation(len(mesh.vertices))
    renumbered = mesh_of(mesh.vertices[vertices], np.argsort(vertices)[mesh.faces])
    for same in (mesh, mesh_of(mesh.vertices, shuffled), renumbered, mesh_of(mesh.vertices, mesh.faces[:, ::-1])):
        assert measure(mesh, same) == SAME


def test_subdivided_faces_look_the_same():
    mesh = bumpy()
    values = measure(mesh, mesh.subdivide())
    assert min(values["render_normal_psnr"], values["render_depth_psnr"]) > 90
    assert values["render_normal_ssim"] > 1 - 1e-6
    assert values["render_silhouette_mismatch"] < 1e-6


def test_a_sphere_and_a_larger_one_have_closed_forms():
    r, R = 0.6, 0.66
    values = measure(sphere(r), sphere(R))
    assert values["render_silhouette_mismatch"] == pytest.approx(1 - (r / R) ** 2, abs=2e-3)

    def depth_error(rho: float) -> float:
        return (math.sqrt(R**2 - rho**2) - math.sqrt(r**2 - rho**2)) ** 2

    def normal_error(rho: float) -> float:  # of n/2 + ½, mean of three channels
        along = math.sqrt(1 - (rho / r) ** 2) - math.sqrt(1 - (rho / R) ** 2)
        return ((rho / r - rho / R) ** 2 + along**2) / 12

    def decibels(error, peak: float) -> float:
        mean = quad(lambda rho: error(rho) * 2 * rho / r**2, 0, r)[0]
        return 10 * math.log10(peak**2 / mean)

    assert values["render_depth_psnr"] == pytest.approx(decibels(depth_error, 2.0), abs=0.05)
    assert values["render_normal_psnr"] == pytest.approx(decibels(normal_error, 1.0), abs=0.05)


def test_a_lost_finger_is_in_the_outline_and_leaves_depths_alone_where_it_hid_nothing():
    body = trimesh.creation.box(extents=(2.0, 1.0, 0.4))
    finger = trimesh.creation.cylinder(radius=0.03, height=0.5)
    finger.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, [1, 0, 0]))
    finger.apply_translation([0.0, 0.76, 0.0])
    whole = trimesh.util.concatenate([body, finger])

    lost = either = 0
    for (_, before), (_, after), (_, gone) in zip(views_of(whole), views_of(body), views_of(finger), strict=True):
        seen = compare(before, after)
        beside = np.setdiff1d(gone.pixels, after.pixels)
        assert seen.either - seen.both == len(beside)
        changed = before.depths[np.isin(before.pixels, after.pixels)] != after.depths
        assert np.isin(after.pixels[changed], gone.pixels).all()
        lost, either = lost + len(beside), either + seen.either
    values = measure(whole, body)
    assert values["render_silhouette_mismatch"] == lost / either > 0.005
    assert values["render_depth_psnr"] > 40

    # Half of an antenna is gone, and depths, where both are, are off by less than a percent of the longest side.
    antenna = trimesh.creation.cylinder(radius=0.02, height=2.0)
    half = trimesh.creation.cylinder(radius=0.02, height=1.0)
    values = measure(antenna, half)
    assert values["render_silhouette_mismatch"] == pytest.approx(0.5, abs=0.02)
    assert values["render_depth_psnr"] > 40


def test_the_farther_a_mesh_is_moved_the_worse_it_looks():
    mesh = bumpy()
    reference = SUITE.reference(mesh, seed=0, threads=1)
    direction = np.array([0.3, 0.5, -0.8])
    moved = [
        SUITE.measure(reference, mesh_of(mesh.vertices + voxels / 512 * direction, mesh.faces)) for voxels in range(6)
    ]
    for name, better in SAME.items():
        values = [of[name] for of in moved]
        assert values[0] == better
        assert np.all(np.diff(values) > 0 if name.endswith("mismatch") else np.diff(values) < 0), name


def test_what_is_beyond_the_image_is_cut_off():
    mesh = bumpy()
    far = sphere(1.0, 1)
    far.apply_translation([50.0, 50.0, 0.0])
    outside = trimesh.util.concatenate([mesh, far])
    hidden = [abs(camera[:2] @ [50, 50, 0]).max() > HALF_WIDTH + 1 for camera in ALL]
    assert all(hidden)
    assert measure(mesh, outside) == SAME


@pytest.mark.parametrize("size", [9.0, 1e9, 1e29])
def test_a_wall_of_any_size_fills_the_image(size):
    camera = ALL[3]
    right, down, towards = camera
    corners = [size * (-right - down), size * (2 * right - down), size * (2 * down - right)] + 0.25 * towards
    view = draw(Surface.of(mesh_of(corners, [[0, 1, 2]])), camera)
    assert len(view.pixels) == RESOLUTION**2
    if size == 9.0:
        np.testing.assert_allclose(view.depths, -0.25, atol=1e-12)
    assert np.isfinite(view.depths).all()


def test_a_decoded_mesh_out_of_sight_has_nothing_right():
    values = measure(sphere(0.5, 2), mesh_of([[60, 60, 0], [61, 60, 0], [60, 61, 0]], [[0, 1, 2]]))
    assert values["render_normal_psnr"] == values["render_depth_psnr"] == 0.0
    assert values["render_silhouette_mismatch"] == 1.0
    assert 0 < values["render_normal_ssim"] < 0.1


def test_threads_and_seeds_change_nothing():
    mesh, other = bumpy(), sphere(0.7, 3)
    once = measure(mesh, other)
    assert measure(mesh, other, threads=3) == once
    assert dict(SUITE.measure(SUITE.reference(mesh, seed=7, threads=2), other)) == once


# --- what cannot be measured -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mesh", "reason"),
    [
        (mesh_of(np.zeros((0, 3)), np.zeros((0, 3), dtype=int)), "has no faces"),
        (mesh_of([[0, 0, 0], [1, 1, 1], [2, 2, 2]], [[0, 1, 2]]), "has no area"),
        (mesh_of([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]], [[0, 1, 2]]), "not finite"),
    ],
)
def test_a_mesh_without_surface_is_refused(mesh, reason):
    with pytest.raises(BadMesh, match=f"the reference mesh .*{reason}"):
        SUITE.reference(mesh, seed=0, threads=1)
    reference = SUITE.reference(sphere(0.5, 1), seed=0, threads=1)
    with pytest.raises(CodecFailed, match=f"the decoded mesh .*{reason}"):
        SUITE.measure(reference, mesh)


def test_an_original_that_covers_no_pixel_is_refused():
    needle = mesh_of([[-1, 0, 0], [1, 0, 0], [1, 1e-12, 0]], [[0, 1, 2]])
    with pytest.raises(BadMesh, match="covers no pixel"):
        SUITE.reference(needle, seed=0, threads=1)


def test_values_that_cannot_be_are_named():
    assert not list(SUITE.implausible(SAME))
    for name, wrong in [
        ("render_normal_psnr", 100.0),
        ("render_normal_ssim", 1.1),
        ("render_depth_psnr", -1.0),
        ("render_silhouette_mismatch", 1.5),
    ]:
        (line,) = SUITE.implausible({**SAME, name: wrong})
        assert name in line


def test_every_column_has_a_finite_value():
    values = measure(bumpy(3), sphere(0.7, 2))
    assert list(values) == [column.name for column in SUITE.columns]
    assert not list(SUITE.implausible(values))


def test_the_version_depends_on_what_decides_the_values():
    from gcbench.versions import module_digest, source_version

    assert SUITE.version() != source_version(1)
    assert "numba-" in SUITE.version()
    assert module_digest("gcbench.bench.metrics.similarity") != module_digest("gcbench.bench.metrics.views")
