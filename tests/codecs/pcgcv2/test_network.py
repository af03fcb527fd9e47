"""The architecture of the paper, and that what it decodes depends on nothing but its arguments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcbench.codecs.pcgcv2.network import InceptionResNet, PCGCv2
from gcbench.training.sparse.voxels import SparseTensor, Voxels


@pytest.fixture(scope="module")
def model() -> PCGCv2:
    torch.manual_seed(0)
    return PCGCv2().eval()


@pytest.fixture(scope="module")
def sphere() -> np.ndarray:
    """Voxels of a shell of radius 20 around (25, 25, 25)."""
    places = np.argwhere(np.ones((50, 50, 50), bool))
    radius = np.linalg.norm(places + 0.5 - 25, axis=1)
    return places[np.abs(radius - 20) < 0.5].astype(np.int32)


def test_parameters_are_those_of_the_paper(model):
    assert sum(p.numel() for p in model.parameters()) == 778_487

    def conv(volume, c_in, c_out):
        return volume * c_in * c_out + c_out

    def blocks(c):
        quarter, half = c // 4, c // 2
        wide = conv(27, c, quarter) + conv(27, quarter, half)
        return 3 * (wide + conv(1, c, quarter) + conv(27, quarter, quarter) + conv(1, quarter, half))

    def down(c_in, c_out):
        return conv(27, c_in, c_in if c_in > 1 else 16) + conv(8, max(c_in, 16), c_out) + blocks(c_out)

    def up(c_in, c_out):
        return conv(8, c_in, c_out) + conv(27, c_out, c_out) + blocks(c_out) + conv(27, c_out, 1)

    assert {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()} == {
        "encoder": down(1, 32) + down(32, 64) + down(64, 32) + conv(27, 32, 8),
        "decoder": up(8, 64) + up(64, 32) + up(32, 16),
        "bottleneck": 8 * ((3 + 9 + 9 + 3) + 2 * (3 + 3 + 3 + 1)),
    }


def test_block_is_two_branches_on_a_shortcut(model):
    voxels = Voxels.from_coordinates(torch.randint(0, 8, (200, 3)))
    block = InceptionResNet(16)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = SparseTensor(voxels, torch.randn(len(voxels), 16))
    relu = torch.nn.functional.relu

    def inner(conv, features):
        return conv(x.with_features(features)).features

    wide = inner(block.conv0_1, relu(inner(block.conv0_0, x.features)))
    deep = inner(block.conv1_2, relu(inner(block.conv1_1, relu(inner(block.conv1_0, x.features)))))
    torch.testing.assert_close(block(x).features, torch.cat([wide, deep], 1) + x.features, atol=1e-4, rtol=1e-4)


def test_encode_gives_sorted_coarsest_voxels_and_counts(model, sphere):
    coarsest, y, counts = model.encode(np.random.default_rng(0).permutation(sphere))
    assert np.array_equal(coarsest, np.unique(sphere // 8, axis=0))
    assert coarsest.dtype == np.int32
    assert y.shape == (len(coarsest), 8)
    assert y.dtype == np.float32
    assert counts == tuple(len(np.unique(sphere // stride, axis=0)) for stride in (4, 2, 1))
    again = model.encode(sphere)
    assert np.array_equal(y, again[1])


def test_features_see_a_shift_by_the_stride_alone(model, sphere):
    """Moving a cloud by eight voxels moves its features and changes none."""
    _, y, _ = model.encode(sphere, torch.float32)
    coarsest, moved, _ = model.encode(sphere + [8, 16, 800], torch.float32)
    assert np.array_equal(coarsest, np.unique(sphere // 8, axis=0) + [1, 2, 100])
    np.testing.assert_allclose(moved, y, atol=1e-4)


def test_decode_keeps_as_many_as_there_were_in_any_order(model, sphere):
    coarsest, y, counts = model.encode(sphere)
    decoded = model.decode(coarsest, y.round(), counts)
    assert decoded.shape == (counts[2], 3)
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, np.unique(decoded, axis=0))
    assert len(np.unique(decoded // 4, axis=0)) <= counts[0]
    order = np.random.default_rng(1).permutation(len(coarsest))
    assert np.array_equal(model.decode(coarsest[order], y.round()[order], counts), decoded)


def test_no_score_decides_for_the_first_in_morton_order(model):
    flat = PCGCv2()
    for parameter in flat.parameters():
        parameter.data.zero_()
    assert flat.decode(np.array([[3, 1, 2]]), np.zeros((1, 8)), (1, 2, 3)).tolist() == [
        [24, 8, 16],
        [24, 8, 17],
        [24, 9, 16],
    ]


@pytest.mark.parametrize(
    ("coarsest", "features", "counts", "message"),
    [
        ([[0, 0, 0]], (1, 8), (9, 9, 9), "9 voxels cannot be children of 1"),
        ([[0, 0, 0]], (1, 8), (1, 1, 0), "0 voxels cannot be children of 1"),
        ([[0, 0, 0]], (2, 8), (1, 1, 1), "features of shape"),
        ([[0, 0, 0]], (1, 8), (1, 1), "2 counts"),
        ([[0, 0, 0], [0, 0, 0]], (2, 8), (1, 1, 1), "coordinates repeat"),
        ([[0, 0, -1]], (1, 8), (1, 1, 1), "coordinates must be in"),
    ],
)
def test_decode_refuses_what_cannot_be(model, coarsest, features, counts, message):
    with pytest.raises(ValueError, match=message):
        model.decode(np.array(coarsest), np.zeros(features), counts)


def test_half_the_digits_give_about_the_same(model, sphere):
    coarsest, y, counts = model.encode(sphere, torch.float32)
    _, rough, _ = model.encode(sphere, torch.bfloat16)
    assert np.abs(y).max() > 1
    np.testing.assert_allclose(rough, y, atol=0.05 * np.abs(y).max())
    exact, quick = (model.decode(coarsest, y.round(), counts, d) for d in (torch.float32, torch.bfloat16))
    same = {tuple(v) for v in exact.tolist()} & {tuple(v) for v in quick.tolist()}
    assert len(same) > 0.9 * len(exact)
