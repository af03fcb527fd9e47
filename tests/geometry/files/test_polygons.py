"""Polygons to triangles: against areas in closed form, against the boundary of the polygon, and in every format."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.errors import BadMesh
from gcbench.geometry import files
from gcbench.geometry.files.ears import clip_ears
from gcbench.geometry.files.notes import FileNotes
from gcbench.geometry.files.polygons import MAX_CLIPPED, as_triangles


def cut(points, *, turn=None, polygons="triangulate"):
    """Cut one polygon, given by its points in the plane z = 0 or in space."""
    points = np.array([(*p, 0)[:3] for p in points], float)
    if turn is not None:
        points = points @ turn.T
    return as_triangles(points, np.arange(len(points)), [len(points)], polygons)


def areas(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a) / 2


def boundary(mesh):
    """Directed edges whose opposite is missing: those of the polygon, if the cut is right."""
    edges = {tuple(map(int, e)) for f in mesh.faces for e in zip(f, np.roll(f, -1), strict=True)}
    return {e for e in edges if e[::-1] not in edges}


def assert_covers(mesh, corners, area):
    """n - 2 triangles, all of one side, that together have the polygon's area and boundary."""
    assert len(mesh.faces) == corners - 2
    vectors = areas(mesh)
    total = vectors.sum(axis=0)
    assert np.linalg.norm(total) == pytest.approx(area, rel=1e-9)
    assert (vectors @ total > 0).all()
    assert boundary(mesh) == {(i, (i + 1) % corners) for i in range(corners)}
    assert (mesh.notes.polygons, mesh.notes.crossing) == (corners > 3, 0)


DART = [(0, 0), (2, 1), (0, 2), (0.5, 1)]  # the last corner is concave
L_SHAPE = [(0, 0), (3, 0), (3, 1), (1, 1), (1, 3), (0, 3)]
COMB = [(0, 0), (5, 0), (5, 3), (4, 3), (4, 1), (3, 1), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
MIDPOINTS = [(0, 0), (1, 0), (2, 0), (2, 2), (1, 2), (0, 2), (0, 1)]  # corners on straight edges


@pytest.mark.parametrize(("shape", "area"), [(DART, 1.5), (L_SHAPE, 5), (COMB, 11), (MIDPOINTS, 4)])
@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_concave_polygons_are_covered_from_any_first_corner(shape, area, first, mirrored, rng):
    shape = shape[first:] + shape[:first]
    if mirrored:
        shape = [(-x, y) for x, y in shape]
    assert_covers(cut(shape), len(shape), area)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if shape != MIDPOINTS and len(shape) != len(MIDPOINTS):  # turning bends straight edges by a rounding error
        assert_covers(cut(shape, turn=turn), len(shape), area)


def test_convex_polygons_are_fans_from_the_first_corner():
    circle = [(math.cos(a), math.sin(a)) for a in np.arange(7) * math.tau / 7]
    mesh = cut(circle)
    assert mesh.faces.tolist() == [[0, i, i + 1] for i in range(1, 6)]
    assert_covers(mesh, 7, 7 / 2 * math.sin(math.tau / 7))


@given(st.lists(st.floats(0.05, 1), min_size=4, max_size=24), st.floats(0, math.tau))
def test_polygons_around_a_point_are_covered(radii, angle):
    """A polygon that is seen whole from one point is simple, and its area has a closed form."""
    step = math.tau / len(radii)
    points = [(r * math.cos(angle + i * step), r * math.sin(angle + i * step)) for i, r in enumerate(radii)]
    area = math.sin(step) / 2 * sum(a * b for a, b in zip(radii, radii[1:] + radii[:1], strict=True))
    mesh = cut(points)
    assert np.linalg.norm(areas(mesh).sum(axis=0)) == pytest.approx(area)
    assert np.linalg.norm(areas(mesh), axis=1).sum() == pytest.approx(area)
    assert len(mesh.faces) == len(radii) - 2


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e300])
def test_scale_changes_nothing(scale):
    assert cut(np.array(L_SHAPE) * scale).faces.tolist() == cut(L_SHAPE).faces.tolist()


def test_a_polygon_that_crosses_itself_is_a_fan_and_counted():
    mesh = cut([(0, 0), (2, 0), (0, 1), (2, 1.5)])
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.notes == FileNotes(1, 1, (), ("polygons that cross themselves and are cut as fans: 1 of 1",))


@pytest.mark.parametrize("points", [[(0, 0)] * 5, [(0, 0), (1, 0), (2, 0), (3, 0)], [(0, 0), (1, 0), (1, 0), (0, 1)]])
def test_polygons_without_area_keep_all_corners(points):
    mesh = cut(points)
    assert len(mesh.faces) == len(points) - 2
    assert set(mesh.faces.ravel().tolist()) == set(range(len(points)))


def test_faces_keep_their_order_among_triangles():
    square, faces = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0.0)]), [(0, 1, 2), (0, 1, 2, 3), (1, 2, 3)]
    mesh = as_triangles(square, np.concatenate(faces), [3, 4, 3], "triangulate")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3], [1, 2, 3]]


def test_what_is_refused():
    with pytest.raises(BadMesh, match="1 face is larger than a triangle; polygons are refused"):
        cut(L_SHAPE, polygons="refuse")
    cut(L_SHAPE[:3], polygons="refuse")
    with pytest.raises(BadMesh, match="1 of 1 faces have fewer than three corners"):
        cut(L_SHAPE[:2])
    with pytest.raises(BadMesh, match="1 of 2 faces have an index outside the 4 vertices"):
        as_triangles(np.eye(4, 3), np.array([0, 1, 2, 0, 1, 4, 2]), [3, 4], "triangulate")
    zigzag = [(i, i % 2) for i in range(MAX_CLIPPED)] + [(i, 2 + i % 2) for i in reversed(range(MAX_CLIPPED))]
    with pytest.raises(BadMesh, match=f"a concave face has {2 * MAX_CLIPPED} corners, more than {MAX_CLIPPED}"):
        cut(zigzag)


def test_the_largest_polygon_takes_seconds_at_most():
    half = MAX_CLIPPED // 2
    zigzag = np.array([(i, i % 2) for i in range(half)] + [(i, 2 + i % 2) for i in reversed(range(half))], float)
    start = time.process_time()
    clip_ears(zigzag[:8])  # compiles
    assert len(clip_ears(zigzag)) == MAX_CLIPPED - 2
    assert time.process_time() - start < 20
    start = time.process_time()
    cut([(math.cos(a), math.sin(a)) for a in np.arange(100_000) * math.tau / 100_000])
    assert time.process_time() - start < 20


_POINTS = "0 0 0\n3 0 0\n3 1 0\n1 1 0\n1 3 0\n0 3 0\n"
_FORMATS = {
    ".obj": "".join(f"v {line}\n" for line in _POINTS.splitlines()) + "f 1 2 3 4 5 6\n",
    ".off": f"OFF\n6 1 0\n{_POINTS}6 0 1 2 3 4 5\n",
    ".ply": "ply\nformat ascii 1.0\nelement vertex 6\nproperty float x\nproperty float y\nproperty float z\n"
    f"element face 1\nproperty list uchar int vertex_indices\nend_header\n{_POINTS}6 0 1 2 3 4 5\n",
    ".stl": "solid\nfacet normal 0 0 1\nouter loop\n"
    + "".join(f"vertex {line}\n" for line in _POINTS.splitlines())
    + "endloop\nendfacet\nendsolid\n",
}


@pytest.mark.parametrize("suffix", _FORMATS)
def test_every_format_has_polygons(suffix):
    assert_covers(files.read(_FORMATS[suffix].encode(), suffix), 6, 5)
    with pytest.raises(BadMesh, match="polygons are refused"):
        files.read(_FORMATS[suffix].encode(), suffix, polygons="refuse")
