"""Training patches are what a full voxelisation of their shape has."""

from __future__ import annotations

import numpy as np
import pytest

from gcbench.codecs.pcgcv2.patches import cut_from
from gcbench.geometry.clouds.voxels import voxelise
from gcbench.geometry.shapes import Shape, rotation

PLANE = Shape("plane", np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]]))


def test_patch_of_a_plane_is_a_digital_plane():
    """The centre of a voxel that a plane passes through is at most half a diagonal away from it."""
    rng = np.random.default_rng(4)
    for _ in range(5):
        voxels = cut_from(PLANE, 48, rng)
        assert voxels.dtype == np.int32
        assert voxels.min() >= 0
        assert voxels.max() < 48
        assert len(np.unique(voxels, axis=0)) == len(voxels) > 200
        normal = np.linalg.svd(voxels - voxels.mean(0), full_matrices=False)[2][2]
        assert np.abs((voxels - voxels.mean(0)) @ normal).max() < np.sqrt(3) / 2 + 0.1  # for the fitted plane's error


def test_patches_are_as_dense_as_voxelised_meshes():
    """A plane's voxels per area, cut from a patch, are those of the codec's own sampling."""
    rng = np.random.default_rng(0)
    found = [len(cut_from(PLANE, 64, rng)) for _ in range(16)]
    turned = []
    for _ in range(4):
        vertices = (PLANE.vertices * 0.5) @ rotation(rng).T
        turned.append(len(voxelise(vertices, PLANE.faces, 8, 0)) / 128**2)
    # A random plane near the middle of a cube cuts about 64² of area out of it; edges of the plane take some away.
    assert np.mean(found) / 64**2 == pytest.approx(np.mean(turned), rel=0.3)
    assert 1.3 < np.mean(turned) < 1.7  # 3/2 for uniformly random directions
