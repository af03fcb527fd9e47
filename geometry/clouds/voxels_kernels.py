"""Compiled loops of `voxels`: mark the voxels of random samples, and list them. This module imports numba.

The sampler of `geometry.surface` would store millions of samples for a mesh, 56 for a square voxel. The loop here
draws each sample from a counter, marks the sample's voxel, and stores no sample.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gcbench.geometry.surface_kernels import folded

Floats = NDArray[np.float64]

# The grid is a table of bricks of 16³ voxels, one bit each; only bricks that a surface touches take memory: 64 words.
BRICK_BITS = 4
BRICK_WORDS = 1 << (3 * BRICK_BITS - 6)
_EDGE = 1 << BRICK_BITS
_INVERSE_2_32 = 2.0**-32


@njit(nogil=True, cache=True)
def _splitmix(state: np.uint64) -> np.uint64:
    """Scramble a counter into 64 random bits. Source: Steele, Lea, Flood, OOPSLA 2014, Fig. 16 (the mixer)."""
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def mark_samples(
    corners: Floats, areas: Floats, density: float, side: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Mark the voxels of uniform random samples on triangles.

    Parameters
    ----------
    corners : (F, 3, 3) float64
        Triangle, corner, coordinate, in voxels; samples outside [0, side) mark the nearest voxels.
    areas : (F,) float64
        Areas of the triangles. A face gets ``density · area`` samples, rounded up or down at random; for a face without
        samples, the function marks the voxels of its corners.
    density : float
        Samples per unit of area.
    side : int
        Voxels along the grid, a power of two, at least 16.
    seed : int
        Seed of the samples.

    Returns
    -------
    table : (side / 16)³ int32
        Number of each brick in `bricks`; -1 for an empty one.
    bricks : (B, 64) uint64
        A bit per voxel, z fastest.
    """
    along = side >> BRICK_BITS
    table = np.full(along * along * along, -1, np.int32)
    bricks = np.zeros((1024, BRICK_WORDS), np.uint64)
    used = 0
    golden = np.uint64(0x9E3779B97F4A7C15)
    state = _splitmix(np.uint64(seed) + golden)
    low = np.uint64(0xFFFFFFFF)
    for f in range(len(corners)):
        ax, ay, az = corners[f, 0, 0], corners[f, 0, 1], corners[f, 0, 2]
        ux, uy, uz = corners[f, 1, 0] - ax, corners[f, 1, 1] - ay, corners[f, 1, 2] - az
        vx, vy, vz = corners[f, 2, 0] - ax, corners[f, 2, 1] - ay, corners[f, 2, 2] - az
        state += golden
        count = int(density * areas[f] + float(_splitmix(state) >> np.uint64(32)) * _INVERSE_2_32)
        for i in range(count if count > 0 else 3):
            if count > 0:
                state += golden
                bits = _splitmix(state)
                u = float(bits >> np.uint64(32)) * _INVERSE_2_32
                v = float(bits & low) * _INVERSE_2_32
                u, v = folded(u, v)
            else:
                u = 1.0 if i == 1 else 0.0
                v = 1.0 if i == 2 else 0.0
            # Truncation serves as floor, because negative numbers are clipped to 0.
            x = min(max(int(ax + u * ux + v * vx), 0), side - 1)
            y = min(max(int(ay + u * uy + v * vy), 0), side - 1)
            z = min(max(int(az + u * uz + v * vz), 0), side - 1)
            cell = ((x >> BRICK_BITS) * along + (y >> BRICK_BITS)) * along + (z >> BRICK_BITS)
            brick = table[cell]
            if brick < 0:
                if used == len(bricks):
                    grown = np.zeros((2 * used, BRICK_WORDS), np.uint64)
                    grown[:used] = bricks
                    bricks = grown
                brick = used
                table[cell] = used
                used += 1
            bit = ((x & 15) << 8) | ((y & 15) << 4) | (z & 15)
            bricks[brick, bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
    return table, bricks[:used]


@njit(nogil=True, cache=True)
def sorted_voxels(table: NDArray[np.int32], bricks: NDArray[np.uint64], side: int) -> NDArray[np.int32]:
    """List the marked voxels (N, 3) by x, then y, then z."""
    along = side >> BRICK_BITS
    total = 0
    for brick in range(len(bricks)):
        for i in range(BRICK_WORDS):
            word = bricks[brick, i]
            while word:
                word &= word - np.uint64(1)
                total += 1
    voxels = np.empty((total, 3), np.int32)
    n = 0
    for x in range(side):
        for y in range(side):
            row = ((x >> BRICK_BITS) * along + (y >> BRICK_BITS)) * along
            bit = ((x & 15) << 8) | ((y & 15) << 4)
            for block in range(along):
                brick = table[row + block]
                if brick < 0:
                    continue
                word = (bricks[brick, bit >> 6] >> np.uint64(bit & 63)) & np.uint64(0xFFFF)
                for z in range(_EDGE):
                    if word & (np.uint64(1) << np.uint64(z)):
                        voxels[n, 0], voxels[n, 1], voxels[n, 2] = x, y, (block << BRICK_BITS) | z
                        n += 1
    return voxels
