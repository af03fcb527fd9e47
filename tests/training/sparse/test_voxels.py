"""Sparse convolutions against dense ones on the whole grid, and their gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gcbench.training.sparse.voxels import (
    MAX_COORDINATE,
    SparseTensor,
    Voxels,
    conv3,
    down2,
    largest,
    morton_coordinates,
    morton_keys,
    prune,
    up2,
)

SIDE = 12


def cloud(count: int = 300, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Distinct random voxels of a cube, in random order."""
    places = np.random.default_rng(seed).permutation(side**3)[:count]
    return np.stack(np.unravel_index(places, (side,) * 3), 1)


def sparse(channels: int, dtype: torch.dtype = torch.float32, **kwargs: int) -> SparseTensor:
    voxels = Voxels.from_coordinates(torch.from_numpy(cloud(**kwargs)))
    return SparseTensor(voxels, torch.randn(len(voxels), channels, dtype=dtype))


def dense(x: SparseTensor, side: int = SIDE) -> torch.Tensor:
    """(1, C, side, side, side), zero where there is no voxel."""
    grid = torch.zeros(1, x.features.shape[1], side, side, side, dtype=x.features.dtype)
    i, j, k = x.voxels.coordinates.unbind(1)
    grid[0, :, i, j, k] = x.features.t()
    return grid


def at(grid: torch.Tensor, voxels: Voxels) -> torch.Tensor:
    i, j, k = voxels.coordinates.unbind(1)
    return grid[0, :, i, j, k].t()


@given(st.lists(st.tuples(*[st.integers(0, MAX_COORDINATE - 1)] * 3), min_size=1, max_size=50, unique=True))
def test_morton_codes_interleave_bits(coordinates):
    places = torch.tensor(coordinates)
    keys = morton_keys(places)
    by_hand = [
        sum(((axis >> bit) & 1) << (3 * bit + 2 - i) for i, axis in enumerate(place) for bit in range(20))
        for place in coordinates
    ]
    assert keys.tolist() == by_hand
    assert torch.equal(morton_coordinates(keys), places)


def test_coordinates_out_of_range_are_refused():
    for bad in (-1, MAX_COORDINATE):
        with pytest.raises(ValueError, match="coordinates must be in"):
            Voxels.from_coordinates(torch.tensor([[0, 0, bad]]))


@pytest.mark.parametrize("side", [4, 12, 40])
def test_neighbours_by_refinement_are_those_by_search(side):
    places = cloud(side * 15, side=side)
    voxels = Voxels.from_coordinates(torch.from_numpy(places))
    row = {tuple(place): i for i, place in enumerate(voxels.coordinates.tolist())}
    expected = [
        [row.get((x + i, y + j, z + k), len(row)) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
        for x, y, z in row
    ]
    assert voxels.neighbours().tolist() == expected
    kids = voxels.children()
    assert torch.equal(kids.neighbours(), Voxels(kids.keys).neighbours(0))
    rows = torch.arange(0, len(kids), 3)
    assert torch.equal(kids.subset(rows).neighbours(), Voxels(kids.keys[rows]).neighbours(0))


def test_levels():
    voxels = Voxels.from_coordinates(torch.from_numpy(cloud()))
    parents = {tuple(place) for place in (voxels.coordinates // 2).tolist()}
    assert {tuple(place) for place in voxels.parent.coordinates.tolist()} == parents
    assert torch.equal(voxels.parent.children().keys[voxels.slots], voxels.keys)
    assert voxels.parent.children().contains(voxels).sum() == 0 or len(voxels.parent.children()) >= len(voxels)
    assert voxels.parent.children().contains(voxels).all()
    assert voxels.contains(voxels.parent.children()).sum() == len(voxels)


def test_conv3_is_the_dense_convolution_on_occupied_voxels():
    x, weight, bias = sparse(5), torch.randn(27, 5, 7), torch.randn(7)
    kernel = weight.view(3, 3, 3, 5, 7).permute(4, 3, 0, 1, 2)
    expected = at(functional.conv3d(dense(x), kernel, bias, padding=1), x.voxels)
    torch.testing.assert_close(conv3(x, weight, bias).features, expected, atol=1e-5, rtol=1e-5)


def test_down2_is_the_dense_convolution_at_stride_2():
    x, weight, bias = sparse(5), torch.randn(8, 5, 7), torch.randn(7)
    kernel = weight.view(2, 2, 2, 5, 7).permute(4, 3, 0, 1, 2)
    out = down2(x, weight, bias)
    expected = at(functional.conv3d(dense(x), kernel, bias, stride=2), out.voxels)
    torch.testing.assert_close(out.features, expected, atol=1e-5, rtol=1e-5)


def test_up2_is_the_dense_transposed_convolution():
    x, weight, bias = sparse(5), torch.randn(8, 5, 7), torch.randn(7)
    kernel = weight.view(2, 2, 2, 5, 7).permute(3, 4, 0, 1, 2)
    out = up2(x, weight, bias)
    assert len(out.voxels) == 8 * len(x.voxels)
    expected = at(functional.conv_transpose3d(dense(x), kernel, bias, stride=2), out.voxels)
    torch.testing.assert_close(out.features, expected, atol=1e-5, rtol=1e-5)


def test_blocks_of_a_large_convolution_fit_together():
    x = sparse(64, count=1500)  # 303 rows at a time
    weight, bias = torch.randn(27, 64, 3), torch.randn(3)
    kernel = weight.view(3, 3, 3, 64, 3).permute(4, 3, 0, 1, 2)
    expected = at(functional.conv3d(dense(x), kernel, bias, padding=1), x.voxels)
    torch.testing.assert_close(conv3(x, weight, bias).features, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("operation", "volume"), [(conv3, 27), (down2, 8), (up2, 8)])
def test_gradients(operation, volume):
    x = sparse(3, torch.float64, count=40, side=5)
    weight = torch.randn(volume, 3, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    features = x.features.requires_grad_()

    def call(features, weight, bias):
        return operation(x.with_features(features), weight, bias).features

    assert torch.autograd.gradcheck(call, (features, weight, bias))


def test_prune_keeps_rows_and_their_neighbours():
    x = sparse(4)
    keep = torch.rand(len(x.voxels)) < 0.4
    kept = prune(x, keep)
    assert torch.equal(kept.features, x.features[keep])
    assert torch.equal(kept.voxels.coordinates, x.voxels.coordinates[keep])


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=60), st.data())
def test_largest_resolves_ties_by_order(scores, data):
    count = data.draw(st.integers(0, len(scores)))
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count]
    assert largest(torch.tensor(scores).float(), count).nonzero().flatten().tolist() == sorted(expected)
