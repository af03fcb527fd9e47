"""Spacing, planes and orientation on surfaces where all three are known."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from gcbench.geometry.clouds import neighbours, normals_kernels
from gcbench.geometry.clouds.normals import oriented_normals, spacing
from gcbench.geometry.clouds.voxels import voxelise


def voxels(mesh: trimesh.Trimesh, bits: int = 6):
    return voxelise(mesh.vertices, mesh.faces, bits, 0) + 0.5


def cloud_of(points):
    cloud, _ = neighbours.columns(points - points.min(axis=0), 3 * spacing(points))
    return cloud


def half_sphere() -> trimesh.Trimesh:
    """The half of a sphere that is over a tilted plane through its centre; open."""
    sphere = trimesh.creation.icosphere(5, radius=0.9)
    keep = sphere.triangles_center @ np.array([0.36, 0.48, 0.8]) > 0
    return trimesh.Trimesh(sphere.vertices, sphere.faces[keep], process=False)


@pytest.mark.parametrize(("bits", "within"), [(5, 0.13), (7, 0.06), (8, 0.04)])
def test_the_spacing_of_voxels_is_their_side(bits, within):
    points = voxels(trimesh.creation.icosphere(4, radius=0.9), bits)
    for scale in (1e-3, 1.0, 8.0, 1e5):
        assert spacing(points * scale + 7) == pytest.approx(scale, rel=within)


def test_the_spacing_is_that_of_the_plane_and_not_of_the_nearest():
    plane = np.stack(np.meshgrid(np.arange(64.0), np.arange(64.0), [3.0]), -1).reshape(-1, 3)
    assert spacing(plane) == pytest.approx(1, rel=0.05)
    pairs = np.concatenate([plane * 4, plane * 4 + [0.01, 0, 0]])  # two points where there was one
    assert spacing(pairs) == pytest.approx(4 / np.sqrt(2), rel=0.05)
    assert spacing(np.zeros((1, 3))) == 1


def test_columns_hold_every_point_once_in_order():
    points = np.random.default_rng(0).uniform(0, 50, (3000, 3))
    cloud, order = neighbours.columns(points, 3.0)
    assert np.array_equal(cloud.points, points[order])
    assert np.array_equal(np.sort(order), np.arange(3000))
    assert (cloud.starts[0], cloud.starts[-1]) == (0, 3000)
    for column in range(cloud.nx * cloud.ny):
        part = cloud.points[cloud.starts[column] : cloud.starts[column + 1]]
        assert (part[:, :2] // 3.0 == [column // cloud.ny, column % cloud.ny]).all()
        assert (np.diff(part[:, 2]) >= 0).all()


def test_planes_are_those_of_the_weighted_covariance():
    points = np.random.default_rng(1).normal(size=(400, 3)) * [4, 3, 0.5] + 20
    cloud, _ = neighbours.columns(points, 1.7)
    normals = np.empty_like(points)
    radius = 2.5
    neighbours.fit_planes(cloud, radius, normals)
    for i in range(0, 400, 7):
        offset = cloud.points - cloud.points[i]
        weight = np.maximum(1 - (offset**2).sum(1) / radius**2, 0) ** 2
        if (weight > 0).sum() < 4:
            continue
        values, vectors = np.linalg.eigh(np.cov(offset.T, aweights=weight, ddof=0))
        if values[1] > 1.01 * values[0]:
            assert abs(vectors[:, 0] @ normals[i]) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(np.ones(400))


def test_overhang_is_nothing_amid_points_and_known_at_their_edge():
    x, y = np.meshgrid(np.arange(0, 40, 0.25), np.arange(0, 40, 0.25))
    cloud, _ = neighbours.columns(np.stack([x.ravel(), y.ravel(), np.full(x.size, 5.0)], 1), 3.0)
    edge = 39.75 + 0.125
    vertices = np.array([[20.0, 20, 5], [edge, 20, 5], [20, -0.125, 5], [edge + 1, 20, 5], [43, 20, 5], [20, 20, 8.1]])
    offset, gap = np.empty(len(vertices)), np.empty(len(vertices))
    neighbours.overhang(cloud, vertices, np.tile([0.0, 0, 1], (len(vertices), 1)), 3.0, offset, gap)
    assert offset[:3] == pytest.approx([0, 32 / (35 * np.pi), 32 / (35 * np.pi)], abs=2e-3)
    assert 0.45 < offset[3] < 0.7
    assert offset[4:].tolist() == [1, 1]
    assert gap.tolist() == pytest.approx([0, 0.125, 0.125, 1.125, 3, 3])
    # Straight above the midst of points there is no overhang: a rounded crease is not an edge.
    neighbours.overhang(cloud, vertices[:1] + [0, 0, 2.0], np.array([[0.0, 0, 1]]), 3.0, offset[:1], gap[:1])
    assert offset[0] == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize("bits", [5, 6, 8])
def test_normals_of_a_sphere_lead_out_of_it(bits):
    cloud = cloud_of(voxels(trimesh.creation.icosphere(5, radius=0.9), bits))
    normals = oriented_normals(cloud, 1.0)
    outward = cloud.points - cloud.points.mean(axis=0)
    cosine = (normals * outward).sum(1) / np.linalg.norm(outward, axis=1)
    assert cosine.min() > 0.8
    assert cosine.mean() > 0.98


def test_an_inner_shell_is_a_cavity():
    outer, inner = (trimesh.creation.icosphere(4, radius=radius) for radius in (0.9, 0.5))
    both = trimesh.util.concatenate([outer, inner])
    cloud = cloud_of(voxels(both))
    from_centre = cloud.points - cloud.points.mean(axis=0)
    radius = np.linalg.norm(from_centre, axis=1)
    sense = np.sign((oriented_normals(cloud, 1.0) * from_centre).sum(1))
    assert (sense == np.where(radius > 22, 1, -1)).all()


def test_a_half_sphere_has_one_sense_although_nothing_is_inside():
    cloud = cloud_of(voxels(half_sphere()))
    # Its centre is that of the bounding box of the whole sphere, which touches the cloud on the far side only.
    centre = np.array([32, 32, 32]) - (voxels(half_sphere()).min(axis=0))
    sense = np.sign((oriented_normals(cloud, 1.0) * (cloud.points - centre)).sum(1))
    assert abs(sense.mean()) > 0.999


def test_growth_follows_the_smallest_turns():
    """Over a sharp ridge the sign must come along the ridge's flanks, not straight through the sheet beside it."""
    x, y = np.meshgrid(np.arange(30.0), np.arange(30.0))
    lower = np.stack([x.ravel(), y.ravel(), np.zeros(900)], 1)
    points = np.concatenate([lower, lower + [0, 0, 1.9]])  # two sheets, nearer to each other than the radius
    cloud, _ = neighbours.columns(points, 3.0)
    normals = np.tile([0.0, 0.0, 1.0], (1800, 1))
    normals[::3] *= -1
    sign = np.zeros(1800, np.int8)
    below = cloud.points[:, 2] < 1
    sign[np.flatnonzero(below)[0]] = int(normals[np.flatnonzero(below)[0], 2])
    sign[np.flatnonzero(~below)[-1]] = -int(normals[np.flatnonzero(~below)[-1], 2])
    normals_kernels.grow(cloud, normals, 2.0, sign)
    assert (normals[below, 2] * sign[below] == 1).all()
    assert (normals[~below, 2] * sign[~below] == -1).all()


def test_growth_without_any_sign_reaches_everything():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 40, (500, 3))
    cloud, _ = neighbours.columns(points, 3.0)
    normals = rng.normal(size=(500, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    sign = np.zeros(500, np.int8)
    normals_kernels.grow(cloud, normals, 2.0, sign)
    assert set(sign.tolist()) <= {1, -1}


def test_the_majority_overrules_a_flipped_point():
    x, y = np.meshgrid(np.arange(20.0), np.arange(20.0))
    cloud, _ = neighbours.columns(np.stack([x.ravel(), y.ravel(), np.zeros(400)], 1), 3.0)
    normals = np.tile([0.0, 0.0, 1.0], (400, 1))
    sign = np.ones(400, np.int8)
    sign[[37, 200, 399]] = -1
    out = np.empty_like(sign)
    normals_kernels.agree(cloud, normals, 2.0, sign, out)
    assert (out == 1).all()
