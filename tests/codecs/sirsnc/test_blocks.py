"""Blocks of a signed distance: which are kept, in which order, and what their coordinates say of the places around."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import trimesh

from gcbench.codecs.sirsnc.blocks import TRUNCATION, around, blocks_of, cut, morton, vertices_of_a_block
from gcbench.codecs.sirsnc.samples import batch, cropped, turned
from gcbench.errors import BadMesh


def volume(side: int = 24) -> np.ndarray:
    """Signed distance, about, of a cut cylinder that is nowhere symmetric on the grid."""
    x, y, z = np.stack(np.meshgrid(*[np.arange(side) - 11.3] * 3, indexing="ij"))
    return np.maximum(np.abs(x) - 7.1, np.sqrt((0.8 * y) ** 2 + (z - 1) ** 2) - 6).astype(np.float32)


def test_morton_order_interleaves_bits():
    assert morton(np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [3, 3, 3], [0, 0, 2]])).tolist() == [1, 2, 4, 63, 8]
    assert vertices_of_a_block()[[0, 1, 7, 8, 63]].tolist() == [[0, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 2], [3, 3, 3]]


def test_blocks_have_the_values_of_the_volume():
    field = volume()
    blocks = cut(field)
    assert (np.diff(morton(blocks.places)) > 0).all()
    for place, values in zip(blocks.places, blocks.values, strict=True):
        for vertex, value in zip(vertices_of_a_block(), values, strict=True):
            assert value == np.clip(field[tuple(4 * place + vertex)], -TRUNCATION, TRUNCATION)


def test_every_crossed_edge_has_both_ends_in_octants_of_the_band():
    """Also where the distance jumps, as it does at the rim of an open mesh."""
    field = volume()
    field[:, 12:][field[:, 12:] < 0] = 3.5  # half of the inside becomes outside, far from any surface
    blocks = cut(field)
    band = np.zeros((12, 12, 12), bool)
    octants = vertices_of_a_block()[::8] // 2
    for place, flags in zip(blocks.places, blocks.band, strict=True):
        band[tuple((2 * place + octants).T)] = flags
    band = band.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    for axis in range(3):
        inside, kept = np.moveaxis(field < 0, axis, 0), np.moveaxis(band, axis, 0)
        crossed = inside[1:] != inside[:-1]
        assert crossed.any()
        assert kept[1:][crossed].all()
        assert kept[:-1][crossed].all()


def test_around_tells_outside_from_enclosed():
    shell = np.argwhere(np.ones((5, 5, 5), bool)).astype(np.int32)
    shell = shell[np.abs(shell - 2).max(1) == 2]  # a hollow cube
    found = around(shell).reshape(-1, 5, 5, 5)
    corner = found[(shell == 0).all(1)][0]
    assert (corner[:2] == 1).all()
    assert corner[2, 2, 2] == 0
    assert corner[3, 3, 3] == -1
    beside = found[(shell == [0, 2, 2]).all(1)][0]
    assert (beside[3, 1:4, 1:4] == -1).all()
    assert (beside[2] == 0).all()


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, False), (False, True, True)])
def test_turned_blocks_are_the_blocks_of_the_turned_volume(axes, flips):
    field = volume().transpose(axes)
    field = np.flip(field, [axis for axis in range(3) if flips[axis]])
    wanted, found = cut(np.ascontiguousarray(field)), turned(cut(volume()), axes, flips)
    wanted_order = np.argsort(morton(wanted.places - wanted.places.min(0)))
    found_order = np.argsort(morton(found.places - found.places.min(0)))
    for name in ("values", "band", "around"):
        assert np.array_equal(getattr(wanted, name)[wanted_order], getattr(found, name)[found_order])


def test_samples_side_by_side_keep_their_distance():
    sample = cut(volume())
    together = batch([sample, sample])
    assert len(together.voxels) == 2 * len(sample.places)
    assert np.array_equal(together.values[: len(sample.places)], together.values[len(sample.places) :])
    neighbours = together.voxels.neighbours()
    half = len(sample.places)
    inner = neighbours[:half]
    assert ((inner < half) | (inner == 2 * half)).all()


def test_a_crop_is_a_cube_of_blocks():
    sample = cut(volume())
    rng = np.random.default_rng(0)
    part = cropped(sample, rng, 30)
    assert 0 < len(part.places) <= 30
    assert cropped(sample, rng, len(sample.places)) is sample
    assert {tuple(p) for p in part.places} <= {tuple(p) for p in sample.places}


def test_a_sheet_becomes_a_shell():
    sheet = trimesh.Trimesh([[-1, -1, 0], [1, -1, 0.1], [1, 1, 0], [-1, 1, 0.1]], [[0, 1, 2], [0, 2, 3]], process=False)
    blocks = blocks_of(sheet, 32)
    assert (blocks.values < 0).any()
    assert (blocks.values > 0).any()


@pytest.mark.parametrize("size", [0.0, 1e-3], ids=["coinciding vertices", "smaller than a cell"])
def test_a_mesh_between_the_vertices_of_the_grid_is_refused(size):
    """Its stream would have no surface, so that the decoder would refuse what the encoder made."""
    speck = trimesh.Trimesh(size * np.eye(3), [[0, 1, 2]], process=False)
    with pytest.raises(BadMesh, match="smaller than a cell of a grid of 64"):
        blocks_of(speck, 64)
