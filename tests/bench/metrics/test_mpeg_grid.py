"""MPEG's D1 and D2 on a grid: closed forms, a second implementation in plain Python, and MPEG's own program."""

from __future__ import annotations

import math
import os
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.bench.metrics import mpeg_grid
from gcbench.bench.metrics.grid_sampling import LONGEST_SIDE, Frame, GridSamples, sample_grid
from gcbench.bench.metrics.mpeg_grid import CAP_DB, GRID_LINES, MOST_SAMPLES, MpegGrid, grid_psnr, mean_squares
from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.surface import Surface

STEP = 131_201  # the longest side 2^27 over 1023 intervals, rounded up
LINES_HIT = 1023  # so the 1024th line is beyond the box


def mesh_of(vertices, faces) -> trimesh.Trimesh:
    return trimesh.Trimesh(np.asarray(vertices, float), np.asarray(faces, int), process=False, validate=False)


def soup(corners) -> trimesh.Trimesh:
    """Triangles (F, 3, 3) that share no vertex."""
    corners = np.asarray(corners, float)
    return mesh_of(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3))


def square(z: float = 0.0, x: float = 0.0, cells: int = 1) -> trimesh.Trimesh:
    """The square [x, x + 2] × [0, 2] at a height, as 2 cells² triangles."""
    lines = np.linspace(0, 2, cells + 1)
    vertices = np.stack([*np.meshgrid(x + lines, lines, indexing="ij"), np.full((cells + 1,) * 2, z)], axis=-1)
    corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).reshape(-1)
    a, b, c, d = corner, corner + cells + 1, corner + cells + 2, corner + 1
    return mesh_of(vertices.reshape(-1, 3), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]))


def blob(subdivisions: int = 4) -> trimesh.Trimesh:
    """A bumpy ellipsoid."""
    mesh = trimesh.creation.icosphere(subdivisions)
    v = np.asarray(mesh.vertices)
    bumps = 1 + 0.1 * np.sin(9 * v[:, :1]) * np.cos(7 * v[:, 1:2])
    return mesh_of(v * bumps * [0.9, 0.4, 0.5], mesh.faces)


def quantised(mesh: trimesh.Trimesh, bits: int) -> trimesh.Trimesh:
    step = 2.0 / 2**bits
    return mesh_of(np.round(mesh.vertices / step) * step, mesh.faces)


def rotated(mesh: trimesh.Trimesh, seed: int) -> trimesh.Trimesh:
    rotation = np.asarray(trimesh.transformations.random_rotation_matrix(np.random.default_rng(seed).random(3)))
    return mesh_of(mesh.vertices @ rotation[:3, :3].T, mesh.faces)


def measured(original, decoded, lines: int = 200, threads: int = 1):
    """The suite on a grid that is coarser than MPEG's, so that a test takes a tenth of a second."""
    suite = MpegGrid()
    with mock.patch.object(mpeg_grid, "GRID_LINES", lines):
        reference = suite.reference(original, seed=0, threads=threads)
    return suite.measure(reference, decoded)


def on_grid(mesh, lines: int, frame: Frame | None = None) -> tuple[GridSamples, Frame]:
    surface = Surface.of(mesh)
    frame = frame or Frame.around(surface, lines)
    return sample_grid(surface, frame, MOST_SAMPLES), frame


def as_dict(samples: GridSamples) -> dict[tuple[int, ...], np.ndarray]:
    places = [tuple(int(x) for x in point) for point in samples.tree.primitives]
    assert len(set(places)) == len(places)
    return dict(zip(places, samples.normals, strict=True))


def assert_same_samples(a: GridSamples, b: GridSamples) -> None:
    a, b = as_dict(a), as_dict(b)
    assert a.keys() == b.keys()
    for place, normal in a.items():
        np.testing.assert_array_equal(normal, b[place])


# --- closed forms


@pytest.mark.long
@pytest.mark.parametrize("original", [blob(), square(), soup(np.random.default_rng(1).random((9, 3, 3)))])
def test_an_identical_mesh_has_exactly_the_cap(original):
    values = measured(original, original.copy())
    assert values["mpeg_d1_psnr"] == values["mpeg_d2_psnr"] == CAP_DB == 99.99
    assert values["mpeg_points_in"] == values["mpeg_points_out"] > 10_000


def test_a_square_has_one_sample_for_each_crossing_of_grid_lines():
    reference = MpegGrid().reference(square(), seed=0, threads=1)
    assert reference.frame.step == STEP
    assert LINES_HIT == LONGEST_SIDE // STEP + 1
    assert len(reference.samples) == LINES_HIT**2


def test_a_cube_has_the_samples_of_six_squares_less_those_of_three_shared_edges_plus_a_corner():
    # Only the three faces at the lower corner lie on grid planes, so only their edges are hit from two sides.
    samples, frame = on_grid(trimesh.creation.box(), 64)
    n = LONGEST_SIDE // frame.step + 1
    assert n == 63
    assert len(samples) == 6 * n**2 - 3 * n + 1
    # Normals that meet at the corner are averaged and not made unit again.
    np.testing.assert_array_equal(as_dict(samples)[0, 0, 0], [-1 / 3, -1 / 3, -1 / 3])
    np.testing.assert_array_equal(as_dict(samples)[0, 0, frame.step], [-1 / 2, -1 / 2, 0])


def test_a_plane_shifted_along_its_normal_is_wrong_by_the_shift():
    shift = 2**-7
    values = measured(square(), square(z=shift), GRID_LINES)
    assert (
        values["mpeg_d1_psnr"] == values["mpeg_d2_psnr"] == pytest.approx(10 * math.log10(3 * 4 / shift**2), abs=1e-9)
    )
    assert values["mpeg_points_in"] == values["mpeg_points_out"] == LINES_HIT**2


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_plane_shifted_in_itself_is_wrong_at_the_border_only_and_only_for_d1(steps):
    values = measured(square(), square(x=2 * steps * STEP / LONGEST_SIDE), GRID_LINES)
    # The last `steps` columns of either have no partner: their neighbours are 1, 2, ... steps away.
    mse = STEP**2 * steps * (steps + 1) * (2 * steps + 1) / 6 / LINES_HIT
    assert values["mpeg_d1_psnr"] == pytest.approx(10 * math.log10(3 * LONGEST_SIDE**2 / mse), abs=1e-9)
    assert values["mpeg_d2_psnr"] == CAP_DB


@pytest.mark.slow
def test_a_tilted_plane_shifted_along_its_normal_is_wrong_by_the_shift_for_d2_and_by_no_less_for_d1():
    flat = square()
    flat.vertices[:, 2] = 0.3 * flat.vertices[:, 0] + 0.2 * flat.vertices[:, 1]
    normal = np.array([-0.3, -0.2, 1]) / math.sqrt(1.13)
    values = measured(flat, mesh_of(flat.vertices + 0.01 * normal, flat.faces), GRID_LINES)
    assert values["mpeg_d2_psnr"] == pytest.approx(10 * math.log10(3 * 4 / 1e-4), abs=1e-5)
    assert 0 < values["mpeg_d2_psnr"] - values["mpeg_d1_psnr"] < 0.1


def test_the_worse_direction_counts():
    cut = square(cells=2)
    cut.update_faces(cut.triangles_center[:, 0] < 1)  # half of the square is lost
    values = measured(square(), cut, GRID_LINES)
    # From the original, the columns beyond the cut are 1, 2, ... steps from the last column that is left.
    left = LONGEST_SIDE // 2 // STEP + 1
    lost = LINES_HIT - left
    mse = STEP**2 * lost * (lost + 1) * (2 * lost + 1) / 6 / LINES_HIT
    assert values["mpeg_d1_psnr"] == pytest.approx(10 * math.log10(3 * LONGEST_SIDE**2 / mse), abs=1e-9)
    assert values["mpeg_d2_psnr"] == CAP_DB
    assert values["mpeg_points_out"] == left * LINES_HIT


def test_a_sphere_against_a_larger_one_is_wrong_by_the_difference_of_radii():
    original, frame = on_grid(trimesh.creation.icosphere(5), 256)
    larger, _ = on_grid(trimesh.creation.icosphere(5, radius=1.01), 256, frame)
    unit = 2 / LONGEST_SIDE
    for a, b in ((original, larger), (larger, original)):
        to_point, to_plane = mean_squares(a, b, 1)
        assert to_plane * unit**2 == pytest.approx(0.01**2, rel=2e-3)
        assert to_plane < to_point < 2 * to_plane


def test_psnr_is_capped():
    assert grid_psnr(0) == grid_psnr(1e-9) == CAP_DB
    assert grid_psnr(3 * LONGEST_SIDE**2) == 0
    assert grid_psnr(3e-5 * LONGEST_SIDE**2) == pytest.approx(50)


# --- what may not matter


def test_order_of_faces_vertices_and_corners_changes_no_sample():
    mesh = blob(3)
    rng = np.random.default_rng(5)
    vertex_order, face_order = rng.permutation(len(mesh.vertices)), rng.permutation(len(mesh.faces))
    faces = np.argsort(vertex_order)[mesh.faces][face_order]
    turns = rng.integers(0, 3, len(faces))
    faces = np.take_along_axis(faces, (np.arange(3) + turns[:, None]) % 3, axis=1)
    shuffled = mesh_of(np.asarray(mesh.vertices)[vertex_order], faces)
    samples, frame = on_grid(mesh, 120)
    assert_same_samples(samples, on_grid(shuffled, 120, frame)[0])
    coarse, again = measured(mesh, quantised(mesh, 7)), measured(shuffled, quantised(shuffled, 7))
    assert coarse == pytest.approx(again, rel=1e-12)


def test_orientation_changes_no_value():
    mesh = blob(3)
    turned = mesh_of(mesh.vertices, mesh.faces[:, ::-1])
    coarse = quantised(mesh, 7)
    assert measured(mesh, coarse) == pytest.approx(measured(turned, coarse), rel=1e-12)


def test_a_flat_face_that_is_split_has_the_same_samples():
    # Its new vertices are multiples of the unit. Where they are not, they are rounded, and samples move by a unit.
    samples, frame = on_grid(square(), 100)
    assert_same_samples(samples, on_grid(square(cells=16), 100, frame)[0])


def test_a_curved_mesh_that_is_split_has_the_same_samples_to_a_unit():
    mesh = blob(3)
    vertices, faces = trimesh.remesh.subdivide(np.asarray(mesh.vertices), np.asarray(mesh.faces))
    values = measured(mesh, mesh_of(vertices, faces))
    assert values["mpeg_d2_psnr"] == CAP_DB
    assert values["mpeg_d1_psnr"] == CAP_DB
    assert values["mpeg_points_out"] == pytest.approx(values["mpeg_points_in"], rel=1e-4)


def test_two_halves_of_a_flat_face_outvote_no_third_face():
    a, b = [0, 0, 0], [0, 2, 0]
    folded = soup([[a, [2, 0, 0], b], [a, b, [-2, 0, 0]], [a, [0, 0, 2], b]])
    samples, frame = on_grid(folded, 9)
    places = {place: normal for place, normal in as_dict(samples).items() if place[0] == LONGEST_SIDE // 2}
    edge = {place: normal for place, normal in places.items() if place[2] == 0}
    assert frame.step == LONGEST_SIDE // 8
    assert len(edge) == 5
    for normal in edge.values():
        np.testing.assert_array_equal(np.abs(normal), [1 / 2, 0, 1 / 2])


@pytest.mark.slow
def test_two_sheets_back_to_back_have_no_normal_as_in_mpegs_program():
    # D2 is blind there, whatever the distance: the reason to read it beside D1.
    sheet = square()
    double = mesh_of(sheet.vertices, np.concatenate([sheet.faces, sheet.faces[:, ::-1]]))
    values = measured(double, mesh_of(double.vertices + [0, 0, 0.25], double.faces), GRID_LINES)
    assert values["mpeg_points_in"] == LINES_HIT**2
    assert values["mpeg_d1_psnr"] == pytest.approx(10 * math.log10(3 * 4 / 0.25**2), abs=1e-9)
    assert values["mpeg_d2_psnr"] == CAP_DB


def test_turning_both_meshes_changes_little():
    mesh, coarse = blob(4), quantised(blob(4), 7)
    mse = []
    for pair in [(mesh, coarse), *((rotated(mesh, seed), rotated(coarse, seed)) for seed in (1, 2))]:
        side = np.ptp(pair[0].vertices, axis=0).max()  # D1 and D2 are relative to it, and turning changes it
        values = measured(*pair)
        mse.append([values[name] - 20 * math.log10(side) for name in ("mpeg_d1_psnr", "mpeg_d2_psnr")])
    assert np.ptp(mse, axis=0).max() < 0.15


def test_moving_and_scaling_both_meshes_changes_nothing():
    mesh, coarse = blob(3), quantised(blob(3), 7)
    moved = [mesh_of(8 * m.vertices - [16, 2, 0.5], m.faces) for m in (mesh, coarse)]
    assert measured(mesh, coarse) == pytest.approx(measured(*moved), rel=1e-9)


def test_threads_change_nothing():
    mesh, coarse = blob(3), quantised(blob(3), 7)
    assert measured(mesh, coarse, threads=3) == measured(mesh, coarse)


def test_faces_without_area_are_ignored():
    mesh = blob(2)
    needle = [[0, 0, 1], [0, 1, 1], [5, 5, 5]]
    values = measured(mesh, mesh_of(mesh.vertices, np.concatenate([needle, mesh.faces])))
    assert values == measured(mesh, mesh)


def test_a_mesh_is_not_changed():
    mesh = blob(2)
    before = mesh.vertices.copy(), mesh.faces.copy()
    measured(mesh, mesh)
    np.testing.assert_array_equal(mesh.vertices, before[0])
    np.testing.assert_array_equal(mesh.faces, before[1])


# --- what cannot be measured


@pytest.mark.parametrize(
    ("decoded", "reason"),
    [
        (mesh_of(np.zeros((0, 3)), np.zeros((0, 3))), "has no faces"),
        (mesh_of([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]]), "has no area"),
        (mesh_of([[0, 0, 0], [1, 0, 0], [0, math.nan, 0]], [[0, 1, 2]]), "not finite"),
        (mesh_of(np.asarray(blob(1).vertices) * 1e-12, blob(1).faces), "no samples on the grid"),
        (soup(np.random.default_rng(3).normal(0, 1e6, (40, 3, 3))), "more than 16777216"),
    ],
)
def test_a_decoded_mesh_that_cannot_be_measured_is_the_codecs_fault(decoded, reason):
    with pytest.raises(CodecFailed, match=f"the decoded mesh .*{reason}"):
        measured(blob(2), decoded)


def test_an_original_that_cannot_be_measured_is_nobodys_fault(monkeypatch):
    with pytest.raises(BadMesh, match="the reference mesh has no faces"):
        MpegGrid().reference(mesh_of(np.zeros((0, 3)), np.zeros((0, 3))), seed=0, threads=1)
    monkeypatch.setattr(mpeg_grid, "MOST_SAMPLES", 1000)
    with pytest.raises(BadMesh, match=r"has \d+ samples on the grid, more than 1000"):
        MpegGrid().reference(blob(2), seed=0, threads=1)


def test_a_vertex_that_is_far_away_counts_as_four_longest_sides_away():
    mesh = blob(2)
    spiked = [mesh.vertices.copy() for _ in range(2)]
    for vertices, distance in zip(spiked, (1e3, 1e6), strict=True):
        vertices[0] = distance
    values = [measured(mesh, mesh_of(vertices, mesh.faces), 50) for vertices in spiked]
    assert values[0] == values[1]
    assert 0 < values[0]["mpeg_d1_psnr"] < 20


def test_every_column_has_a_finite_value_and_impossible_ones_are_named():
    suite = MpegGrid()
    values = measured(blob(2), quantised(blob(2), 6))
    assert values.keys() == {column.name for column in suite.columns}
    assert all(math.isfinite(value) for value in values.values())
    assert list(suite.implausible(values)) == []
    for wrong in ({"mpeg_d2_psnr": 1.0}, {"mpeg_d1_psnr": 100.0, "mpeg_d2_psnr": 101.0}, {"mpeg_points_out": 0}):
        assert list(suite.implausible({**values, **wrong}))


# --- a second implementation


def slow_samples(mesh, frame: Frame) -> dict[tuple[int, ...], np.ndarray]:
    """Every ray against every triangle, in Python's integers and fractions."""
    met: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    scale = LONGEST_SIDE / frame.longest_side
    for triangle in np.asarray(mesh.vertices)[mesh.faces]:
        a, b, c = ([int(x) for x in np.rint((corner - frame.corner) * scale)] for corner in triangle)
        u, v = [q - p for p, q in zip(a, b, strict=True)], [q - p for p, q in zip(a, c, strict=True)]
        normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
        if not any(normal):
            continue
        main = max(range(3), key=lambda k: abs(normal[k]))  # the first of equal ones
        length = math.sqrt(sum(x * x for x in normal))
        unit = tuple(round(x / length * 2**30) for x in normal)
        s, t = (k for k in range(3) if k != main)
        corners = [(p[s], p[t]) for p in (a, b, c)]
        most = max(max(p) for p in corners) // frame.step + 1
        least = min(min(p) for p in corners) // frame.step
        for i in range(least, most + 1):
            for j in range(least, most + 1):
                x, y = i * frame.step, j * frame.step
                sides = [
                    (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])
                    for p, q in zip(corners, corners[1:] + corners[:1], strict=True)
                ]
                if min(sides) < 0 < max(sides):
                    continue
                height = a[main] - Fraction(normal[s] * (x - a[s]) + normal[t] * (y - a[t]), normal[main])
                place = [0, 0, 0]
                place[main], place[s], place[t] = round(height), x, y
                met.setdefault(tuple(place), set()).add(unit)
    return {place: np.mean([np.array(n) / 2**30 for n in sorted(units)], axis=0) for place, units in met.items()}


def slow_mean_squares(a: dict, b: dict) -> tuple[float, float]:
    """Every sample against every other, with all that are nearest."""
    others, normals = np.array(list(b), dtype=float), np.array(list(b.values()))
    to_point, to_plane = [], []
    for place in a:
        apart = np.array(place, dtype=float) - others
        squared = (apart**2).sum(axis=1)
        nearest = squared == squared.min()
        to_point.append(squared.min())
        to_plane.append(((apart[nearest] * normals[nearest]).sum(axis=1) ** 2).mean())
    return math.fsum(to_point) / len(a), math.fsum(to_plane) / len(a)


# 17 lines cut the box at powers of two: boxes and squares then have corners, edges and ties everywhere.
@pytest.mark.parametrize("lines", [17, 20])
@pytest.mark.parametrize(
    ("original", "decoded"),
    [
        (
            trimesh.creation.box(),
            mesh_of(np.asarray(trimesh.creation.box().vertices) + 1 / 16, trimesh.creation.box().faces),
        ),
        (trimesh.creation.icosphere(2), quantised(trimesh.creation.icosphere(2), 4)),
        (blob(2), rotated(blob(2), 7)),
        (soup(np.random.default_rng(0).random((12, 3, 3))), soup(np.random.default_rng(1).random((12, 3, 3)))),
    ],
    ids=["box", "sphere", "blob", "soup"],
)
def test_a_slow_implementation_has_the_same_samples_and_the_same_numbers(original, decoded, lines):
    samples, frame = on_grid(original, lines)
    others, _ = on_grid(decoded, lines, frame)
    slow, slow_others = slow_samples(original, frame), slow_samples(decoded, frame)
    for fast, expected in ((samples, slow), (others, slow_others)):
        found = as_dict(fast)
        assert found.keys() == expected.keys()
        for place, normal in expected.items():
            np.testing.assert_allclose(found[place], normal, rtol=0, atol=2**-29)
    np.testing.assert_allclose(mean_squares(samples, others, 1), slow_mean_squares(slow, slow_others), rtol=1e-9)
    np.testing.assert_allclose(mean_squares(others, samples, 1), slow_mean_squares(slow_others, slow), rtol=1e-9)


few = st.integers(1, 70).flatmap(
    lambda n: arrays(np.int64, (n, 3), elements=st.integers(-4, 4)).map(lambda a: np.unique(a, axis=0).astype(float))
)


@settings(max_examples=80, deadline=None)
@given(queries=few, points=few, seed=st.integers(0, 2**32 - 1))
def test_all_nearest_points_count_where_several_are(queries, points, seed):
    normals = np.random.default_rng(seed).normal(size=points.shape)
    there = mean_squares(GridSamples.of(queries, np.zeros_like(queries)), GridSamples.of(points, normals), 1)
    a = {tuple(p): np.zeros(3) for p in queries}
    b = {tuple(p): n for p, n in zip(points, normals, strict=True)}
    np.testing.assert_allclose(there, slow_mean_squares(a, b), rtol=1e-12)


# --- MPEG's own program


@pytest.fixture(scope="module")
def mm() -> Path:
    """The program ``mm`` of MPEG's mmetric 1.1.7, built outside the repository."""
    if not os.environ.get("GCBENCH_MM"):
        pytest.skip("needs MPEG's mmetric: set GCBENCH_MM to its program mm")
    return Path(os.environ["GCBENCH_MM"]).resolve()


@pytest.mark.slow
@pytest.mark.parametrize("bits", [7, 9, 11])
@pytest.mark.parametrize("original", [blob(5), rotated(trimesh.creation.torus(1, 0.3), 3)], ids=["blob", "torus"])
def test_mpegs_program_finds_the_same(mm, tmp_path, original, bits):
    """Within 0.02 dB: ``mm`` computes in float32, so rays near edges may fall to the other side."""
    side = 2048  # LONGEST_SIDE is this, with 16 bits after the point
    corner, scale = original.vertices.min(axis=0), side / np.ptp(original.vertices, axis=0).max()
    decoded = quantised(original, bits)
    for name, mesh in (("a", original), ("b", decoded)):
        lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in (mesh.vertices - corner) * scale]
        lines += [f"f {a} {b} {c}" for a, b, c in np.asarray(mesh.faces) + 1]
        (tmp_path / f"{name}.obj").write_text("\n".join(lines) + "\n")
    upper = " ".join(f"{x:.9g}" for x in (original.vertices.max(axis=0) - corner) * scale)
    command = [str(mm)]
    for name in "ab":
        command += ["reindex", "--sort", "oriented", "-i", f"{name}.obj", "-o", f"ID:{name}", "END"]
        command += ["sample", "-i", f"ID:{name}", "-o", f"ID:{name}s", "--mode", "grid", "--gridSize", str(GRID_LINES)]
        command += ["--useNormal", "--useFixedPoint", "--minPos", "0 0 0", "--maxPos", upper, "--hideProgress", "END"]
    command += ["compare", "--mode", "pcc", "--inputModelA", "ID:as", "--inputModelB", "ID:bs"]
    done = subprocess.run(
        [*command, "--resolution", str(side)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    values = measured(original, decoded, GRID_LINES)
    for name, label in (("mpeg_d1_psnr", "p2point"), ("mpeg_d2_psnr", "p2plane")):
        (theirs,) = re.findall(rf"mseF, PSNR\({label}\) Mean=(\S+)", done.stdout)
        assert values[name] == pytest.approx(float(theirs), abs=0.02)
    ((points_in, points_out),) = re.findall(r"scaling ratio: (\d+), (\d+)", done.stdout)
    assert values["mpeg_points_in"] == pytest.approx(int(points_in), rel=1e-3)
    assert values["mpeg_points_out"] == pytest.approx(int(points_out), rel=1e-3)
