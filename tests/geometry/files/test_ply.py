"""The PLY that MPEG's programs read and write, against another reader and writer, and against hostile files."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.errors import BitstreamError
from gcbench.geometry.files.ply import MAX_HEADER_BYTES, read_points, write_points

LIMIT = 10_000
INTEGERS = arrays(np.int32, st.tuples(st.integers(0, 30), st.just(3)), elements=st.integers(0, 1 << 24))
FLOATS = arrays(
    np.float64, st.tuples(st.integers(0, 30), st.just(3)), elements=st.floats(-1e9, 1e9, allow_subnormal=False)
)


def header(count, *properties, form="binary_little_endian", more=""):
    lines = "".join(f"property {p}\n" for p in properties or ("float x", "float y", "float z"))
    return f"ply\nformat {form} 1.0\nelement vertex {count}\n{lines}{more}end_header\n".encode()


@given(INTEGERS, st.none() | st.integers(0, 255))
def test_written_points_are_read_back(tmp_path_factory, points, grey):
    path = tmp_path_factory.mktemp("ply") / "points.ply"
    write_points(path, points, grey=grey)
    np.testing.assert_array_equal(read_points(path.read_bytes(), LIMIT), points)


def test_the_bytes_that_the_programs_are_known_to_read(tmp_path):
    path = tmp_path / "points.ply"
    write_points(path, np.array([[1, 2, 1023]], np.int32), grey=128)
    assert path.read_bytes() == (
        b"ply\nformat binary_little_endian 1.0\nelement vertex 1\n"
        b"property float x\nproperty float y\nproperty float z\n"
        b"property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
        + np.array([1, 2, 1023], "<f4").tobytes()
        + b"\x80\x80\x80"
    )


def test_trimesh_reads_what_is_written(tmp_path, rng):
    points = rng.integers(0, 1024, (100, 3), dtype=np.int32)
    write_points(tmp_path / "points.ply", points, grey=7)
    loaded = trimesh.load(tmp_path / "points.ply")
    np.testing.assert_array_equal(loaded.vertices, points)
    assert (loaded.colors[:, :3] == 7).all()


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_what_trimesh_writes_is_read(encoding, rng):
    cloud = trimesh.PointCloud(rng.integers(0, 1024, (50, 3)), colors=rng.integers(0, 255, (50, 4), dtype=np.uint8))
    data = cloud.export(file_type="ply", encoding=encoding)
    np.testing.assert_array_equal(read_points(data, LIMIT), cloud.vertices)


@given(FLOATS)
def test_as_tmc3_writes_it(points):
    faces = "element face 0\nproperty list uint8 int32 vertex_index\n"
    data = header(len(points), "float64 x", "float64 y", "float64 z", more=faces) + points.astype("<f8").tobytes()
    np.testing.assert_array_equal(read_points(data, LIMIT), points)


@given(FLOATS)
def test_as_v_pcc_writes_it(points):
    faces = "element face 0\nproperty list uint8 int32 vertex_index\n"
    rows = "".join(f"{x:.17g} {y:.17g} {z:.17g} 128 128 128\n" for x, y, z in points)
    colours = ("uchar red", "uchar green", "uchar blue")
    data = header(len(points), "float x", "float y", "float z", *colours, form="ascii", more=faces) + rows.encode()
    np.testing.assert_array_equal(read_points(data, LIMIT), points)


def test_properties_are_taken_by_name_and_type():
    data = header(2, "uchar red", "int z", "short y", "double x")
    row = np.dtype([("red", "u1"), ("z", "<i4"), ("y", "<i2"), ("x", "<f8")])
    table = np.array([(9, -3, 2, 1.5), (9, 30, 20, 10.5)], row)
    np.testing.assert_array_equal(read_points(data + table.tobytes(), LIMIT), [[1.5, 2, -3], [10.5, 20, 30]])


def test_comments_and_what_follows_the_vertices_do_not_matter():
    data = header(1, more="comment hello\nobj_info 3\nelement face 7\nproperty list uchar int what\n")
    data += np.array([1, 2, 3], "<f4").tobytes() + b"anything"
    np.testing.assert_array_equal(read_points(data, LIMIT), [[1, 2, 3]])


THREE = bytes(12)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a PLY"),
        (b"ply\n", "not a PLY"),
        (b"plx\n" + header(1)[4:] + THREE, "not a PLY"),
        (header(1)[:-1] + bytes(20), "not a PLY"),
        (header(1, more="comment " + "x" * MAX_HEADER_BYTES + "\n") + THREE, "not a PLY"),
        (header(1, form="binary_big_endian") + THREE, "neither ascii nor"),
        (b"ply\nend_header\n", "names no format"),
        (b"ply\nformat ascii 1.0\nend_header\n", "does not begin with vertices"),
        (header(-1), "not understood"),
        (header("1e3"), "not understood"),
        (header("٣"), "not understood"),
        (header("9" * 13), "the limit is"),
        (header("9" * 5000), "the limit is"),
        (header("9" * 12), "the limit is"),
        (header(LIMIT + 1) + THREE * (LIMIT + 1), "the limit is"),
        (header(2) + THREE + THREE[:-1], "cannot hold"),
        (header(10, form="ascii") + b"1 2 3\n" * 9, "cannot hold"),
        (header(2, form="ascii") + b"1000 2000 3000\n", "declares 2 points and has 1"),
        (header(1, form="ascii") + b"\n" * 20, "declares 1 points and has none"),
        (header(1, form="ascii") + b"1 2 x\n", "something else than numbers"),
        (header(2, form="ascii") + b"1 2 3\n1 2 \n", "something else than numbers"),
        (header(1, form="ascii") + b"1 2 nan\n", "not finite"),
        (header(1, form="ascii") + b"1 2 1e999\n", "not finite"),
        (header(1) + np.array([1, np.inf, 2], "<f4").tobytes(), "not finite"),
        (header(1, "float x", "float y") + THREE, "no x, y and z"),
        (header(1, "float x", "float y", "float z", "float x") + THREE * 2, "something twice"),
        (header(1, "float x", "float y", "quad z") + THREE, "not understood"),
        (header(1, "float x", "float y", "float z", "list uchar int n") + THREE, "or a list"),
        (header(1, more="property\n") + THREE, "not understood"),
        (header(1, more="whatever\n") + THREE, "not understood"),
    ],
)
def test_hostile_files_are_refused(data, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BitstreamError, match=message):
            read_points(data, LIMIT)


def test_no_points():
    for form in ("ascii", "binary_little_endian"):
        assert read_points(header(0, form=form), LIMIT).shape == (0, 3)


@given(st.data())
def test_damage_is_refused_or_gives_points(data):
    points = np.arange(30, dtype=np.float64).reshape(-1, 3)
    text = io.BytesIO()
    np.savetxt(text, points, "%g")
    whole = data.draw(
        st.sampled_from([header(10, form="ascii") + text.getvalue(), header(10) + points.astype("<f4").tobytes()])
    )
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, min(begin + 9, len(whole))))
    damaged = whole[:begin] + data.draw(st.binary(max_size=9)) + whole[end:]
    try:
        read = read_points(damaged, LIMIT)
    except BitstreamError:
        return
    assert read.shape[1] == 3
    assert len(read) <= LIMIT
    assert np.isfinite(read).all()
