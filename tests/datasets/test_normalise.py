import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gcbench.datasets.normalise import clean, content_sha256, normalise, obj_bytes, raw_bytes
from gcbench.errors import BadMesh

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
ONE_FACE = np.array([[0, 1, 2]])


def test_clean_merges_equal_positions_and_keeps_first_occurrence_order():
    vertices = np.array([[9.0, 9, 9], [2, 0, 0], [0, 0, 0], [1, 1, 0], [2, 0, 0], [-0.0, 0, 0], [0, 3, 0]])
    faces = np.array([[4, 5, 3], [1, 2, 6], [2, 5, 1]])
    points, merged = clean(vertices, faces)
    assert points.tolist() == [[2, 0, 0], [0, 0, 0], [1, 1, 0], [0, 3, 0]]
    assert merged.tolist() == [[0, 1, 2], [0, 1, 3], [1, 1, 0]]  # the degenerate face stays
    assert not np.signbit(points).any()


@given(
    hnp.arrays(np.float64, (12, 3), elements=st.sampled_from([-0.0, 0.0, 1.0, 2.0])),
    hnp.arrays(np.int64, (9, 3), elements=st.integers(0, 11)),
)
def test_clean_against_a_dictionary(vertices, faces):
    used = sorted(set(faces.ravel().tolist()))
    index: dict[tuple[float, ...], int] = {}
    for v in used:
        index.setdefault(tuple(vertices[v].tolist()), len(index))
    points, merged = clean(vertices, faces)
    assert points.tolist() == [list(p) for p in index]
    assert merged.tolist() == [[index[tuple(vertices[v].tolist())] for v in face] for face in faces]


@pytest.mark.parametrize(
    ("vertices", "faces", "says"),
    [
        (TRIANGLE, np.empty((0, 3), int), "no faces"),
        (TRIANGLE, [[0, 1, 3]], "1 of 1 faces have an index outside the 3 vertices"),
        (TRIANGLE, [[0, 1, -1]], "1 of 1 faces have an index"),
        (np.empty((0, 3)), [[0, 0, 0]], "outside the 0 vertices"),
        ([[0, 0, 0], [1, 0, np.nan], [0, np.inf, 0]], ONE_FACE, "2 of 3 vertices are NaN or infinite"),
    ],
)
def test_clean_refuses(vertices, faces, says):
    with pytest.raises(BadMesh, match=says):
        clean(np.asarray(vertices, float), np.asarray(faces))


def test_an_unused_nan_vertex_is_dropped_with_the_other_unused_ones():
    points, _ = clean(np.vstack([TRIANGLE, [[np.nan] * 3]]), ONE_FACE)
    assert points.tolist() == TRIANGLE.tolist()


def test_normalise_in_closed_form():
    vertices = np.array([[10.0, 20, 30], [14, 20, 30], [10, 22, 30], [10, 20, 31]])
    faces = np.array([[0, 1, 2], [0, 1, 3]])
    expected = [[-1, -0.5, -0.25], [1, -0.5, -0.25], [-1, 0.5, -0.25], [-1, -0.5, 0.25]]
    assert normalise(vertices, faces).tolist() == expected


@given(hnp.arrays(np.float64, (6, 3), elements=st.floats(-1e6, 1e6)), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_normalised_box_is_exact_and_does_not_depend_on_scale_or_place(vertices, scale, shift):
    vertices = np.vstack([vertices, [[0, 0, 0], [2e6, 0, 0], [0, 2e6, 0]]])
    faces = np.array([[6, 7, 8]])
    scaled = normalise(vertices, faces)
    low, high = scaled.min(axis=0), scaled.max(axis=0)
    assert (low == -high).all()
    assert high.max() == 1.0
    np.testing.assert_allclose(normalise(vertices * scale + shift, faces), scaled, atol=1e-8)


@pytest.mark.parametrize(
    ("vertices", "says"),
    [
        (np.ones((3, 3)), "zero extent"),
        (np.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]]), "all 1 faces are degenerate"),
        (np.array([[-1.7e308, 0, 0], [1.7e308, 0, 0], [0, 1, 0]]), "too large"),
        (np.array([[0, 0, 0], [5e-324, 0, 0], [0, 5e-324, 0]]), "zero extent"),
    ],
)
def test_normalise_refuses(vertices, says):
    with pytest.raises(BadMesh, match=says):
        normalise(vertices, ONE_FACE)


def test_one_sound_face_is_enough():
    faces = np.array([[0, 0, 1], [0, 1, 2]])
    assert normalise(TRIANGLE, faces).max() == 1


def _written_size(vertices: np.ndarray, faces: np.ndarray) -> int:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}\n" for a, b, c in (faces + 1).tolist()]
    return len("".join(lines).encode())


TRICKY = [-0.0, -1e-9, -4.9999999e-7, -5e-7, 0.9999995, 0.9999994999999999, 0.99999949, 9.9999995, 9.999999499999999]
TRICKY += [99.9999995, 999999.9999995, 1e15 - 0.125, 1e22, 123456789012345680.0, 1e300, -9.9999996, 5e-324]


@settings(max_examples=100)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.just(3)),
        elements=st.one_of(
            st.floats(-1, 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from(TRICKY),
            st.sampled_from(TRICKY).map(lambda x: math.nextafter(x, math.inf)),
            st.sampled_from(TRICKY).map(lambda x: math.nextafter(x, -math.inf)),
        ),
    ),
    hnp.arrays(
        np.int64,
        (5, 3),
        elements=st.one_of(st.integers(0, 10**7), st.sampled_from([8, 9, 98, 99, 998, 999, 10**6 - 1])),
    ),
)
def test_obj_bytes_is_the_size_of_a_written_file(vertices, faces):
    assert obj_bytes(vertices, faces) == _written_size(vertices, faces)


def test_obj_bytes_of_negative_zero_and_of_a_carry():
    faces = np.array([[8, 9, 99]])  # written 9 10 100
    assert obj_bytes(np.array([[0.0, -0.0, 9.9999996]]), faces) == len("v 0.000000 -0.000000 10.000000\nf 9 10 100\n")


def test_raw_bytes():
    assert raw_bytes(np.zeros((7, 3)), np.zeros((5, 3), int)) == 12 * 7 + 12 * 5


def test_content_hash_is_fixed_and_tells_meshes_apart():
    assert content_sha256(TRIANGLE, ONE_FACE) == "186bdb15ef68149477674b5e0d7a1119b453dcf71c20daec9a6d458c9ac5bd01"
    assert (
        content_sha256(TRIANGLE.astype(">f8"), ONE_FACE.astype(np.int32))
        == "186bdb15ef68149477674b5e0d7a1119b453dcf71c20daec9a6d458c9ac5bd01"
    )
    assert content_sha256(TRIANGLE[::-1], ONE_FACE) != content_sha256(TRIANGLE, ONE_FACE)
    assert content_sha256(TRIANGLE, ONE_FACE[:, ::-1]) != content_sha256(TRIANGLE, ONE_FACE)
