"""Voxels of a surface: the voxels that contain at least one of many random samples of the surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gcbench.geometry.surface import Surface

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Samples per square voxel of surface. The reference results come from 40 million samples on a frame at 2^10, whatever
# its area: 51 per square voxel on one and 61 on the other.
SAMPLES_PER_SQUARE_VOXEL = 56.0


def voxelise(vertices: ArrayLike, faces: ArrayLike, bits: int, seed: int) -> NDArray[np.int32]:
    """Voxels that a surface in [-1, 1]³ passes through, on a grid of 2^bits.

    The function marks the voxels of uniform samples, 56 for each square voxel of area. A voxel that contains less than
    about a fiftieth of a square voxel of surface mostly stays empty. A face without a sample marks its corners' voxels.

    Parameters
    ----------
    vertices : (V, 3) float
        Positions; parts outside the cube mark the nearest voxels.
    faces : (F, 3) int
        Vertex indices, F ≥ 1.
    bits : int
        4 to 20.
    seed : int
        The same mesh and seed give the same voxels, on every machine.

    Returns
    -------
    (N, 3) int32
        Distinct, sorted by x, then y, then z; N ≥ 1. Voxel i covers [i, i + 1) of ``(x + 1) · 2^(bits - 1)``.
    """
    from gcbench.geometry.clouds import voxels_kernels as kernels

    scaled = Surface((np.asarray(vertices, np.float64) + 1.0) * 2.0 ** (bits - 1), np.asarray(faces))
    side = 1 << bits
    table, bricks = kernels.mark_samples(scaled.corners, scaled.areas, SAMPLES_PER_SQUARE_VOXEL, side, seed % 2**63)
    return kernels.sorted_voxels(table, bricks, side)
