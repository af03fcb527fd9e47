"""Clouds compared: D1 by closed forms, against scipy, and against the numbers of the command that came before."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial
import trimesh

from gcbench.bench.metrics import SUITES, Cloud, clouds
from gcbench.bench.metrics.clouds import d1_psnr
from gcbench.bench.metrics.formulas import PSNR_MAX_DB
from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.clouds import voxels
from gcbench.geometry.clouds.voxels import voxelise
from gcbench.geometry.nearest import PointTree

BITS = 7


@pytest.fixture(scope="module")
def sphere() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=3)


def reference(mesh, seed=0, threads=1):
    return SUITES.create("points").reference(mesh, seed=seed, threads=threads)


def measure(mesh, points, bits=BITS, **options):
    return SUITES.create("points").measure(reference(mesh, **options), Cloud(np.asarray(points, np.float64), bits))


def d1(original, decoded, peak):
    return d1_psnr(PointTree(original), PointTree(decoded), peak)


def test_d1_of_a_shifted_lattice_is_the_shift():
    lattice = np.argwhere(np.ones((6, 6, 6), bool)) * 10.0
    for shift in (1.0, 2.5):
        expected = 10 * np.log10(3 * 1023**2 / shift**2)
        assert d1(lattice, lattice + [0, shift, 0], 1023) == pytest.approx(expected, abs=1e-9)


def test_d1_is_that_of_the_worse_direction():
    line = np.arange(100.0)[:, None] * [1, 0, 0]
    outlier = np.concatenate([line, [[50, 30, 0]]])
    expected = 10 * np.log10(3 * 255**2 / (30**2 / 101))
    assert d1(line, outlier, 255) == pytest.approx(expected, abs=1e-9)
    assert d1(outlier, line, 255) == pytest.approx(expected, abs=1e-9)


def test_d1_against_scipy(rng):
    a, b = rng.uniform(0, 100, (500, 3)), rng.uniform(0, 100, (400, 3))
    there, back = (scipy.spatial.cKDTree(y).query(x)[0] for x, y in ((a, b), (b, a)))
    expected = 10 * np.log10(3 * 1023**2 / max((there**2).mean(), (back**2).mean()))
    assert d1(a, b, 1023) == pytest.approx(expected, abs=1e-9)


@pytest.mark.long
def test_all_voxels_are_nothing_wrong(sphere):
    voxels = voxelise(sphere.vertices, sphere.faces, BITS, 3)
    found = measure(sphere, voxels + 0.5, seed=3)
    assert found["points_d1_psnr"] == found["points_d1_psnr_voxels"] == PSNR_MAX_DB
    assert found["points_in"] == found["points_out"] == len(voxels)


def test_cells_of_eight_voxels(sphere):
    """Of eight points around a cell's centre each is (½, ½, ½) away; in one voxel of the eight it is 0 to √3."""
    voxels = voxelise(sphere.vertices, sphere.faces, BITS, 0)
    cells = (np.unique(voxels >> 1, axis=0) + 0.5) * 2
    found = measure(sphere, cells)
    assert found["points_d1_psnr"] == pytest.approx(10 * np.log10(3 * 127**2 / 0.75), abs=0.3)
    assert found["points_d1_psnr_voxels"] < found["points_d1_psnr"] - 1
    assert found["points_out"] == len(cells) < found["points_in"]


def test_points_are_counted_as_they_came_and_voxels_are_what_they_are_in(sphere):
    voxels = voxelise(sphere.vertices, sphere.faces, BITS, 0)
    off_centre = np.concatenate([voxels + 0.5, voxels + [0.9, 0.1, 0.5]])
    found = measure(sphere, off_centre)
    assert found["points_out"] == 2 * len(voxels)
    assert found["points_d1_psnr_voxels"] == PSNR_MAX_DB
    assert found["points_d1_psnr"] == pytest.approx(10 * np.log10(3 * 127**2 / (0.32 / 2)), abs=0.5)


def test_voxels_of_a_grid_are_found_once(sphere, monkeypatch):
    asked = []

    def counting(vertices, faces, bits, seed):
        asked.append((bits, seed))
        return voxelise(vertices, faces, bits, seed)

    monkeypatch.setattr(voxels, "voxelise", counting)
    clouds._centres.cache_clear()
    suite, of = SUITES.create("points"), reference(sphere, seed=4)
    assert asked == [], "no cloud, no grid"
    for bits in (5, 5, 6, 5, 6):
        suite.measure(of, Cloud(np.full((1, 3), 8.0), bits))
    assert asked == [(5, 4), (6, 4)]


@pytest.mark.parametrize(
    ("points", "bits", "reason"),
    [
        (np.zeros((0, 3)), 7, "has no points"),
        (np.zeros((4, 2)), 7, "has no points: its shape is"),
        (np.full((2, 3), np.nan), 7, "not finite"),
        (np.zeros((2, 3)), 3, "grid of 3 bits"),
        (np.zeros((2, 3)), 40, "grid of 40 bits"),
    ],
)
def test_a_cloud_that_cannot_be_compared_is_the_codecs_fault(sphere, points, bits, reason):
    with pytest.raises(CodecFailed, match=reason):
        measure(sphere, points, bits)


def test_an_original_without_faces_is_nobodys_fault():
    with pytest.raises(BadMesh, match="the reference mesh has no faces"):
        reference(trimesh.Trimesh())
