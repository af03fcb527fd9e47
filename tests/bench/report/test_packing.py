"""Packed meshes against a reader of the format written from its description."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.bench.report.packing import MAX_BITS, MIN_BITS, pack_errors, pack_mesh


def unpack(packed):
    """Quantised positions (V, 3), in units of the step from the lowest corner, and faces (F, 3)."""
    data = zlib.decompress(packed.data)
    n_vertices, n_faces, x, y, z, step = struct.unpack_from("<II4f", data)
    at = 24

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if not byte & 128:
                return value
            shift += 7

    hops = [varint() for _ in range(n_faces)]
    roots = hops.count(0)
    edges = list(data[at : at + n_faces - roots])
    at += n_faces - roots
    corners = [varint() for _ in range(n_faces + 2 * roots)]
    residual = np.array([[(v >> 1) ^ -(v & 1) for v in (varint() for _ in range(n_vertices))] for _ in range(3)]).T
    assert at == len(data), "the stream is not exhausted"

    grid, faces = [], []

    def corner(predict):
        code = corners.pop(0)
        if code:
            return len(grid) - code
        grid.append(predict() + residual[len(grid)])
        return len(grid) - 1

    for hop in hops:
        if not hop:
            faces.append([corner(lambda: grid[-1] if grid else np.zeros(3, int)) for _ in range(3)])
            continue
        parent, code = faces[len(faces) - hop], edges.pop(0)
        out = code // 2
        head, tail, opposite = parent[(out + 1) % 3], parent[(out + 2) % 3], parent[out]
        third = corner(lambda a=head, b=tail, c=opposite: grid[a] + grid[b] - grid[c])
        faces.append([third, head, tail] if code % 2 else [third, tail, head])
    return np.array(grid), np.array(faces), np.array([x, y, z]), step


def rotated(faces):
    """Faces as a sorted list, each turned so that its smallest corner is first: which way round is kept."""
    return sorted(tuple(np.roll(face, -int(np.argmin(face)))) for face in faces)


def check(vertices, faces, packed):
    grid, found, low, step = unpack(packed)
    vertices, faces = np.asarray(vertices, float), np.asarray(faces)
    a, b, c = faces.T
    kept = faces[(a != b) & (b != c) & (c != a)]
    assert rotated(packed.order[found]) == rotated(kept)
    assert len(found) == packed.faces == len(kept)
    off = np.abs(low + step * grid - vertices[packed.order])
    assert off.max() <= 0.5 * step * (1 + 1e-3) + 1e-6 * np.abs(vertices).max()
    extent = np.ptp(vertices[np.unique(kept)], axis=0).max()
    assert step == pytest.approx(extent / (2**packed.bits - 1), rel=1e-6)


@pytest.mark.parametrize(
    "mesh",
    [
        trimesh.creation.icosphere(3),
        trimesh.creation.torus(2, 0.5),
        trimesh.creation.box(),
        trimesh.util.concatenate([trimesh.creation.icosphere(1), trimesh.creation.box().apply_translation([3, 0, 0])]),
    ],
    ids=["sphere", "torus", "box", "two pieces"],
)
def test_faces_come_back_with_their_orientation_and_vertices_within_half_a_step(mesh):
    check(mesh.vertices, mesh.faces, pack_mesh(mesh.vertices, mesh.faces))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 7)] * 3), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_any_soup_of_triangles_comes_back(faces, seed):
    """Duplicates, flipped duplicates, three faces at an edge, faces of two corners, loose vertices."""
    faces = np.array(faces)
    vertices = np.random.default_rng(seed).uniform(-1, 1, (8, 3))
    if all(len(set(face)) < 3 for face in faces.tolist()):
        with pytest.raises(ValueError, match="no face"):
            pack_mesh(vertices, faces)
        return
    check(vertices, faces, pack_mesh(vertices, faces, bits=12))


def test_a_fine_mesh_gets_more_bits_than_a_coarse_one():
    coarse, fine = trimesh.creation.icosphere(1), trimesh.creation.icosphere(5)
    assert pack_mesh(coarse.vertices, coarse.faces).bits == MIN_BITS
    # Median edge ≈ 0.035 of an extent of 2: 64 steps to an edge want 3700 steps.
    assert pack_mesh(fine.vertices, fine.faces).bits == 12
    assert MIN_BITS < 12 < MAX_BITS


def test_a_smooth_closed_mesh_takes_less_than_five_bytes_for_each_vertex():
    mesh = trimesh.creation.icosphere(5)
    assert len(pack_mesh(mesh.vertices, mesh.faces, bits=12).data) < 5 * len(mesh.vertices)


def test_coordinates_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        pack_mesh([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]], [[0, 1, 2]])


def test_a_mesh_without_extent_is_packed():
    packed = pack_mesh(np.zeros((3, 3)), [[0, 1, 2]])
    grid, faces, _, _ = unpack(packed)
    assert not grid.any()
    assert len(faces) == 1


@given(st.lists(st.floats(0, 1e3), min_size=3, max_size=3))
def test_distances_come_back_within_a_code_in_the_order_of_the_packed_vertices(distances):
    packed = pack_mesh(np.eye(3), [[2, 0, 1]])
    data, largest = pack_errors(distances, packed)
    assert largest == max(distances)
    codes = np.cumsum(np.frombuffer(zlib.decompress(data), np.uint8), dtype=np.uint8)
    root = np.sqrt(np.array(distances)[packed.order] / (largest or 1))
    assert np.abs(codes / 255 - root).max() <= 0.5 / 255 + 1e-9
