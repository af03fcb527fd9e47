"""The octree of features: occupancy and corners by brute force, interpolation by closed forms, bytes there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.codecs.implicit import octree as octree_module
from gcbench.codecs.implicit.octree import BASE, MAX_DEPTH, Octree, voxels_of
from gcbench.codecs.implicit.octree_features import decode_features, encode_features
from gcbench.entropy import varints
from gcbench.entropy.voxel_features import LARGEST
from gcbench.errors import BitstreamError
from gcbench.geometry.marching_cubes import HALF_SIDE
from gcbench.geometry.surface import Surface

VOXELS = np.array([[0, 0, 0], [0, 0, 1], [7, 3, 4], [15, 15, 15]], np.int32)


@pytest.fixture(scope="module")
def tree():
    return Octree(VOXELS, 4)


def places(tree: Octree, level: int) -> np.ndarray:
    return tree.corners[level - BASE] * (2 * HALF_SIDE / 2**level) - HALF_SIDE


def test_corners_are_those_of_the_voxels_and_their_ancestors(tree):
    assert len(tree.corners[0]) == 5**3
    for level in (3, 4):
        corners = {
            (x + dx, y + dy, z + dz)
            for x, y, z in (VOXELS >> (4 - level)).tolist()
            for dx in (0, 1)
            for dy in (0, 1)
            for dz in (0, 1)
        }
        assert [tuple(c) for c in tree.corners[level - BASE].tolist()] == sorted(corners)
    assert tree.corner_count == 125 + 3 * 8 + (12 + 8 + 8)
    assert tree.starts.tolist() == [0, 125, 149, 177]


def test_a_linear_function_is_interpolated_exactly(tree):
    slope, points = np.array([0.3, -2, 1]), np.random.default_rng(0).uniform(-HALF_SIDE, HALF_SIDE, (500, 3))
    features = torch.zeros(tree.corner_count, 2)
    features[:125, 1] = torch.from_numpy(places(tree, 2) @ slope + 0.5)
    found = tree.interpolate(features, torch.from_numpy(points.astype(np.float32)))
    np.testing.assert_allclose(found[:, 1], points @ slope + 0.5, atol=1e-5)
    assert (found[:, 0] == 0).all()


def test_levels_add_up_at_a_corner_of_all_of_them(tree):
    lowest = torch.full((1, 3), -HALF_SIDE)
    features = torch.zeros(tree.corner_count, 1)
    features[tree.starts[:-1], 0] = torch.tensor([1.0, 10.0, 100.0])  # the corner (0, 0, 0) comes first in each level
    assert tree.interpolate(features, lowest).item() == 111
    beyond = torch.full((1, 3), -7.0)
    assert tree.interpolate(features, beyond).item() == 111


def test_the_interpolation_is_that_of_a_dense_grid_with_zeros(tree):
    from scipy.interpolate import RegularGridInterpolator

    rng = np.random.default_rng(1)
    features = rng.normal(size=(tree.corner_count, 1)).astype(np.float32)
    points = np.concatenate([rng.uniform(-HALF_SIDE, HALF_SIDE, (500, 3)), places(tree, 4) * 0.999])
    expected = np.zeros(len(points))
    for level, (begin, end) in zip((2, 3, 4), ((0, 125), (125, 149), (149, 177)), strict=True):
        dense = np.zeros((2**level + 1,) * 3)
        dense[tuple(tree.corners[level - BASE].T)] = features[begin:end, 0]
        axis = np.linspace(-HALF_SIDE, HALF_SIDE, 2**level + 1)
        expected += RegularGridInterpolator((axis,) * 3, dense)(points)
    found = tree.interpolate(torch.from_numpy(features), torch.from_numpy(points.astype(np.float32)))
    np.testing.assert_allclose(found[:, 0], expected, atol=2e-4)


def test_gradients_are_those_of_the_sum(tree):
    generator = torch.Generator().manual_seed(0)
    points = (2 * torch.rand(64, 3, generator=generator) - 1) * HALF_SIDE
    features = torch.randn(tree.corner_count, 3, generator=generator, requires_grad=True)
    cotangent = torch.randn(64, 3, generator=generator)
    torch.autograd.backward((tree.interpolate(features, points) * cotangent).sum())
    # The interpolation is linear in the features: <J f, c> = <f, Jᵀ c>.
    left = (tree.interpolate(features.detach(), points) * cotangent).sum()
    torch.testing.assert_close((features.detach() * features.grad).sum(), left, rtol=1e-4, atol=1e-4)
    one = torch.zeros(tree.corner_count, 3)
    one[7, 1] = 1
    torch.testing.assert_close(features.grad[7, 1], (tree.interpolate(one, points) * cotangent).sum())


def test_every_voxel_of_a_surface_is_in_the_tree():
    sphere = trimesh.creation.icosphere(4, 0.8)
    surface = Surface(np.asarray(sphere.vertices), np.asarray(sphere.faces))
    tree = Octree.around(surface, 5, 0)
    points, _ = surface.sample(20_000, np.random.default_rng(9))
    assert tree.holds(points).mean() > 0.995
    centres = (tree.voxels + 0.5) * tree.side - HALF_SIDE
    assert (np.abs(np.linalg.norm(centres, axis=1) - 0.8) < tree.side).all()
    assert tree.side == pytest.approx(2.1 / 32)


def test_a_tree_with_too_many_voxels_is_less_deep(monkeypatch):
    box = trimesh.creation.box((1.9, 1.9, 1.9))
    surface = Surface(np.asarray(box.vertices), np.asarray(box.faces))
    monkeypatch.setattr(octree_module, "MAX_VOXELS", 1000)
    tree = Octree.around(surface, 6, 0)
    assert tree.depth == 3
    assert len(tree.voxels) == 8**3 - 6**3


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(st.integers(BASE, 6), st.data())
def test_a_tree_comes_back(depth, data):
    cells = data.draw(st.sets(st.tuples(*[st.integers(0, 2**depth - 1)] * 3), min_size=1, max_size=40))
    tree = Octree(np.array(sorted(cells), np.int32), depth)
    again = Octree.decode(tree.encode(), depth)
    np.testing.assert_array_equal(again.voxels, tree.voxels)
    assert all(np.array_equal(a, b) for a, b in zip(again.corners, tree.corners, strict=True))


def test_foreign_trees_are_refused(tree):
    data = tree.encode()
    for depth in (0, 1, 3, 5, MAX_DEPTH + 1):
        with pytest.raises(BitstreamError):
            Octree.decode(data, depth)
    with pytest.raises(BitstreamError, match=f"number of voxels is {octree_module.MAX_VOXELS + 1}"):
        Octree.decode(varints.write([octree_module.MAX_VOXELS + 1]) + data[1:], 8)
    with pytest.raises(BitstreamError):
        Octree.decode(b"", 4)
    with pytest.raises(ValueError, match="depth"):
        Octree(VOXELS, MAX_DEPTH + 1)


def test_voxels_of_points():
    points = np.array([[-1.05, -1.05, 1.05], [0.01, -0.01, 9.0]])
    assert voxels_of(points, 2).tolist() == [[0, 0, 3], [2, 1, 3]]


# --- Features --------------------------------------------------------------------------------------------------------

SYMBOLS = arrays(np.int64, st.tuples(st.integers(1, 40), st.just(2)), elements=st.integers(-LARGEST, LARGEST))


def some_places(count: int) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(count), (16, 16, 16)), 1).astype(np.int32)


@pytest.mark.long
@settings(max_examples=30, deadline=None)
@given(st.lists(SYMBOLS, min_size=1, max_size=4))
def test_features_come_back(levels):
    corners = [some_places(len(level)) for level in levels]
    found = decode_features(encode_features(levels, corners), corners, 2)
    for got, level in zip(found, levels, strict=True):
        np.testing.assert_array_equal(got, level)


def test_features_that_are_zero_take_no_bytes_to_speak_of():
    corners = [some_places(500), some_places(3000)]
    data = encode_features([np.zeros((500, 1), np.int64), np.zeros((3000, 1), np.int64)], corners)
    assert len(data) < 30
    assert not np.concatenate(decode_features(data, corners, 1)).any()


def test_damaged_features_are_refused_or_cost_nothing():
    rng = np.random.default_rng(0)
    corners = [some_places(300)]
    data = encode_features([rng.integers(-5, 6, (300, 1))], corners)
    for length in range(0, len(data), 7):
        with pytest.raises(BitstreamError):
            decode_features(data[:length], corners, 1)
    for _ in range(100):
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            found = decode_features(bytes(changed), corners, 1)
        except BitstreamError:
            continue
        assert found[0].shape == (300, 1)
        assert np.abs(found[0]).max() <= LARGEST
