"""Shared volume and squared CD: closed forms for balls and cubes, open and inverted meshes, the frame, its ball."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.optimize
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.bench.metrics.solids import BALL_RADIUS, VolumeReference, Volumes, enclosing_radius
from gcbench.errors import BadMesh, CodecFailed

FEW = {"seed": 0, "uniform": 20_000, "samples": 4_000}


def compare(original, decoded, **options) -> Volumes:
    return VolumeReference(original, **{**FEW, **options}).compare(decoded)


def ball(radius, subdivisions=4):
    return trimesh.creation.icosphere(subdivisions, radius)


def moved(mesh, scale=1.0, by=(0, 0, 0)):
    return trimesh.Trimesh(mesh.vertices * scale + by, mesh.faces, process=False)


def without(mesh, faces):
    return trimesh.Trimesh(mesh.vertices, np.delete(mesh.faces, faces, axis=0), process=False)


def four_sigma(giou, points):
    return 4 * np.sqrt(giou * (1 - giou) / points)


@pytest.mark.parametrize(("inner", "outer"), [(0.9, 1.0), (0.5, 1.0)])
def test_concentric_balls_share_the_cube_of_the_ratio_of_their_radii(inner, outer):
    """In either order: the decoded one is inside the box of the original, or reaches out of it on all sides."""
    exact = (inner / outer) ** 3
    shrunk = compare(ball(outer), ball(inner), uniform=40_000)
    assert shrunk.giou == pytest.approx(exact, abs=four_sigma(exact, shrunk.union_points))
    grown = compare(ball(inner), ball(outer), uniform=40_000)
    assert grown.giou == pytest.approx(exact, abs=four_sigma(exact, grown.union_points))


def test_the_points_of_the_union_are_those_of_the_volume():
    """A ball fills π / 6 of its box; points are binomial."""
    found = compare(ball(1, 5), ball(1, 5), uniform=50_000)
    share = np.pi / 6
    assert found.union_points / 50_000 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 50_000) + 2e-3)


def test_a_mesh_shares_all_with_itself_and_nothing_with_one_beside_it():
    torus = trimesh.creation.torus(1, 0.3)
    assert compare(torus, torus).giou == 1
    assert compare(torus, moved(torus, by=(5, 0, 0))).giou == 0
    ring = compare(torus, ball(0.65))  # in the hole, boxes overlapping
    assert ring.giou == 0


def test_volume_beyond_the_box_of_the_original_counts():
    cube = trimesh.creation.box((2, 2, 2))
    speck = trimesh.util.concatenate([cube, trimesh.creation.box((2, 2, 2)).apply_translation([10, 0, 0])])
    assert compare(cube, speck).giou == pytest.approx(1 / 2, abs=four_sigma(1 / 2, 20_000 / 6))
    assert compare(cube, trimesh.creation.box((4, 2, 2))).giou == pytest.approx(1 / 2, abs=four_sigma(0.5, 20_000))


def test_an_open_cube_encloses_what_the_closed_one_does():
    """Without one side the winding number is over ½ exactly where the hole is seen under less than half the sphere."""
    cube = trimesh.creation.box((2, 2, 2))
    top = np.flatnonzero(cube.face_normals[:, 2] > 0.5)
    opened = without(cube, top)
    assert len(opened.faces) == 10
    assert compare(cube, opened).giou > 0.999
    assert compare(opened, cube).giou > 0.999
    assert compare(opened, opened).giou == 1


def test_orientation_does_not_matter(rng):
    torus = trimesh.creation.torus(1, 0.4)
    inverted = trimesh.Trimesh(torus.vertices, torus.faces[:, ::-1], process=False)
    assert compare(torus, inverted).giou == 1
    flipped = torus.faces.copy()
    some = rng.choice(len(flipped), len(flipped) // 5, replace=False)
    flipped[some] = flipped[some, ::-1]
    assert compare(torus, trimesh.Trimesh(torus.vertices, flipped, process=False)).giou == 1
    soup = trimesh.Trimesh(
        torus.triangles.reshape(-1, 3), np.arange(3 * len(torus.faces)).reshape(-1, 3), process=False
    )
    assert compare(torus, soup).giou == 1


def test_a_ball_and_a_torus_against_their_formulas(rng):
    """They overlap in part; the signs of the formulas are taken at points of the test's own."""
    points = rng.uniform(-1.4, 1.4, (200_000, 3))
    in_ball = np.linalg.norm(points, axis=1) < 1
    in_torus = (np.hypot(points[:, 0], points[:, 1]) - 1) ** 2 + points[:, 2] ** 2 < 0.4**2
    expected = (in_ball & in_torus).sum() / (in_ball | in_torus).sum()
    torus = trimesh.creation.torus(1, 0.4, major_sections=256, minor_sections=128)
    found = compare(ball(1, 5), torus)
    bound = four_sigma(expected, (in_ball | in_torus).sum()) + four_sigma(expected, found.union_points)
    assert 0.1 < expected < 0.5
    assert found.giou == pytest.approx(expected, abs=bound)


def test_cd_of_parallel_squares_is_their_distance_squared():
    """Thin slabs, one above the other: every nearest point is 0.3 up, give or take the floor of the samples."""
    slab = trimesh.creation.box((2, 2, 1e-6))
    lifted = moved(slab, by=(0, 0, 0.3))
    reference = VolumeReference(slab, seed=0, samples=50_000)
    per_unit = BALL_RADIUS / np.sqrt(2)
    found = reference.compare(lifted).squared_cd
    assert found == pytest.approx(2 * 0.09 * per_unit**2 + reference.floor, rel=0.02)


def test_the_floor_is_that_of_a_poisson_process():
    samples = 20_000
    sphere = ball(2.5, 5)
    reference = VolumeReference(sphere, seed=1, samples=samples, uniform=1_000)
    area = sphere.area * (BALL_RADIUS / 2.5) ** 2
    assert reference.floor == pytest.approx(2 * area / (np.pi * samples), rel=0.03)
    # Standard deviation of a mean of exponentials is 1 / √samples of it, of dependent ones a little more.
    assert reference.compare(sphere).squared_cd == pytest.approx(reference.floor, rel=0.03)
    assert reference.compare(sphere).squared_cd != reference.floor, "samplings of their own"


def test_moving_and_scaling_both_changes_nothing():
    original, decoded = trimesh.creation.torus(1, 0.3), trimesh.creation.torus(1, 0.33)
    here, there = compare(original, decoded), compare(*(moved(m, 250.0, (300, -20, 7)) for m in (original, decoded)))
    assert there.squared_cd == pytest.approx(here.squared_cd, rel=1e-9)
    assert there.giou == pytest.approx(here.giou, abs=2e-4), "two points on the edge may change sides"


def test_the_same_seed_gives_the_same_numbers_and_threads_do_not_matter():
    original, decoded = trimesh.creation.torus(1, 0.3), trimesh.creation.torus(1, 0.33)
    once = compare(original, decoded)
    assert compare(original, decoded) == compare(original, decoded, threads=2) == once
    assert compare(original, decoded, seed=1) != once


def test_meshes_without_a_surface_or_an_inside_are_refused():
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    with pytest.raises(BadMesh, match="has no inside"):
        VolumeReference(flat, **FEW)
    with pytest.raises(BadMesh, match="has no faces"):
        VolumeReference(trimesh.Trimesh(), **FEW)
    with pytest.raises(CodecFailed, match="has no faces"):
        compare(ball(1), trimesh.Trimesh())
    assert compare(ball(1), flat).giou == 0, "a decoded mesh without an inside shares nothing"


def brute_force_radius(points):
    """Of all balls through two, three and four points, the smallest that holds all."""
    best = np.inf
    for count in (2, 3, 4):
        for some in itertools.combinations(points, count):
            sides = np.array(some[1:]) - some[0]
            centre = some[0] + np.linalg.pinv(2 * sides) @ (sides**2).sum(axis=1)
            best = min(best, np.linalg.norm(points - centre, axis=1).max())
    return best


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, (7, 3), elements=st.integers(-6, 6).map(float)))
def test_the_smallest_ball_against_all_balls(points):
    """Whole numbers, so that there are many points in a line, on a circle, or at the same place."""
    assert enclosing_radius(points) == pytest.approx(brute_force_radius(points), rel=1e-9, abs=1e-9)


def test_the_smallest_ball_of_shapes():
    assert enclosing_radius(np.zeros((4, 3))) == 0
    assert enclosing_radius(np.array([[0.0, 0, 0], [10, 0, 0], [4, 1, 0]])) == pytest.approx(5), "an obtuse triangle"
    assert enclosing_radius(trimesh.creation.box((2, 4, 6)).vertices + 1000.0) == pytest.approx(np.sqrt(14))
    assert enclosing_radius(ball(3.0).vertices) == pytest.approx(3)
    cylinder = trimesh.creation.cylinder(3, 8, sections=64)
    assert enclosing_radius(cylinder.vertices) == pytest.approx(5)
    points = np.random.default_rng(5).normal(size=(300, 3))
    # As a quadratic program: r² = z + |c|² is least, z ≥ |p|² − 2 p·c for every point.
    best = scipy.optimize.minimize(
        lambda x: x[3] + x[:3] @ x[:3],
        [0, 0, 0, 100],
        jac=lambda x: np.append(2 * x[:3], 1),
        constraints={
            "type": "ineq",
            "fun": lambda x: x[3] + 2 * points @ x[:3] - (points**2).sum(axis=1),
            "jac": lambda _: np.hstack([2 * points, np.ones((len(points), 1))]),
        },
    )
    assert best.success
    assert enclosing_radius(points) == pytest.approx(np.sqrt(best.fun), rel=1e-6)
