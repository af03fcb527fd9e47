"""From exact blocks back to the surface, and the sign of places without blocks."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from gcbench.codecs.sirsnc.blocks import blocks_of, cut
from gcbench.codecs.sirsnc.surface import mesh_of, volume_of
from gcbench.entropy.budget import Budget, Work
from gcbench.errors import BitstreamError
from gcbench.geometry.grid import Grid


def ball(radius: float = 9.3, side: int = 32) -> np.ndarray:
    axes = np.stack(np.meshgrid(*[np.arange(side) - 15.2] * 3, indexing="ij"))
    return (np.sqrt((axes**2).sum(0)) - radius).astype(np.float32)


def test_exact_blocks_give_the_surface_of_the_volume():
    field = ball()
    blocks = cut(field)
    grid = Grid(32)
    found = mesh_of(volume_of(blocks.places, blocks.values, 32), grid, Work(Budget()))
    wanted = mesh_of(field, grid, Work(Budget()))
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    assert np.array_equal(found[1], wanted[1])


def test_a_sphere_is_a_closed_sphere():
    sphere = trimesh.creation.icosphere(4)
    blocks = blocks_of(sphere, 64)
    vertices, faces = mesh_of(volume_of(blocks.places, blocks.values, 64), Grid(64), Work(Budget()))
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi, rel=0.01)
    assert np.abs(np.linalg.norm(vertices, axis=1) - 1).max() < 0.1 * Grid(64).spacing


def test_a_cavity_takes_the_side_that_its_border_votes_for():
    """A ball in a ball: the shell between is inside, the middle is outside although blocks enclose it."""
    hollow = np.maximum(ball(13.1), -ball(6.2))
    blocks = cut(hollow)
    volume = volume_of(blocks.places, blocks.values, 32)
    assert ((volume < 0) == (hollow < 0)).all()


def test_noise_at_the_edge_of_the_blocks_makes_no_surface():
    """A vertex that touches a place without blocks has the sign of the place."""
    blocks = cut(ball())
    outer = blocks.values.copy()
    far = np.abs(blocks.values) > 3
    outer[far] *= -1
    volume = volume_of(blocks.places, outer, 32)
    kept = np.zeros((8, 8, 8), bool)
    kept[tuple(blocks.places.T)] = True
    kept = kept.repeat(4, 0).repeat(4, 1).repeat(4, 2)
    for axis in range(3):
        inside, of_block = np.moveaxis(volume < 0, axis, 0), np.moveaxis(kept, axis, 0)
        crossed = inside[1:] != inside[:-1]
        assert not (crossed & (of_block[1:] != of_block[:-1])).any()


def test_no_surface_and_too_many_triangles_are_refused():
    with pytest.raises(BitstreamError, match="no surface"):
        mesh_of(np.ones((8, 8, 8), np.float32), Grid(8), Work(Budget()))
    with pytest.raises(BitstreamError, match="triangles; the limit is 100"):
        mesh_of(ball(), Grid(32), Work(Budget(triangles=100)))
