"""Two clouds of points on one grid: the voxels of an original mesh, and points that a codec decoded.

The voxels are those that codecs of points are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gcbench.bench.metrics.formulas import psnr_db, worse_mean_square
from gcbench.geometry.nearest import PointTree, nearest
from gcbench.geometry.surface import Floats, Ints

MIN_BITS, MAX_BITS = 4, 20
"""Grids that `gcbench.geometry.clouds.voxels.voxelise` can make."""


@dataclass(frozen=True, eq=False)
class VoxelisedMesh:
    """An original whose voxels are found when a grid is asked for: which one, only a decoded cloud says.

    Parameters
    ----------
    vertices : (V, 3) float64
        Of the normalised mesh.
    faces : (F, 3) int64
        At least one.
    seed : int
        Of the samples that mark voxels. A codec that is given the same seed codes these very voxels.
    threads : int
        Threads for the searches; they do not change any value.
    """

    vertices: Floats
    faces: Ints
    seed: int
    threads: int


@dataclass(frozen=True)
class ComparedClouds:
    """Decoded points against the voxels of the original.

    Parameters
    ----------
    d1_psnr : float
        dB, with decoded points where the codec puts them.
    d1_psnr_voxels : float
        dB, with decoded points in the middle of the voxels that they are in: clouds of integers.
    original, decoded : int
        Number of voxels of the original, and of points as they came back: positions that occur twice count twice.
    """

    d1_psnr: float
    d1_psnr_voxels: float
    original: int
    decoded: int


def compare_clouds(mesh: VoxelisedMesh, points: Floats, bits: int) -> ComparedClouds:
    """Compare decoded points with the voxels of the original on the same grid, whose peak is 2^bits − 1.

    Parameters
    ----------
    mesh : VoxelisedMesh
        The original.
    points : (N, 3) float64
        Decoded, in voxels, finite; N ≥ 1.
    bits : int
        Of the grid, `MIN_BITS` to `MAX_BITS`.
    """
    voxels, peak = _centres(mesh, bits), 2.0**bits - 1
    return ComparedClouds(
        d1_psnr=d1_psnr(voxels, PointTree(points), peak, mesh.threads),
        d1_psnr_voxels=d1_psnr(voxels, PointTree(np.floor(points) + 0.5), peak, mesh.threads),
        original=len(voxels),
        decoded=len(points),
    )


def d1_psnr(original: PointTree, decoded: PointTree, peak: float, threads: int = 1) -> float:
    """PSNR of the distances to the nearest point of the other cloud, the worse of both directions, in dB.

    Parameters
    ----------
    original, decoded : PointTree
        Positions, in the units of `peak`.

    Source: MPEG ``pc_error`` (point-to-point, symmetric): 10 log10(3 peak² / MSE).
    """
    there, back = nearest(original, decoded, threads)[0], nearest(decoded, original, threads)[0]
    return psnr_db(worse_mean_square(there, back), peak)


@lru_cache(maxsize=2)  # a grid of 2^12 may have 50 million voxels, so no more; rates of one mesh follow each other
def _centres(mesh: VoxelisedMesh, bits: int) -> PointTree:
    """Centres of the voxels of the original."""
    from gcbench.geometry.clouds.voxels import voxelise

    return PointTree(voxelise(mesh.vertices, mesh.faces, bits, mesh.seed).astype(np.float64) + 0.5)
