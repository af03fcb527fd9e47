"""Deterministic samples of a surface: where rays of one fixed grid hit its triangles, in fixed point.

No randomness: the same surface gives the same samples, whatever the order of its faces and vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gcbench.geometry.nearest import Floats, Ints, PointTree
from gcbench.geometry.surface import Surface

LONGEST_SIDE = 2**27
"""Longest side of the frame's box, in units: 2048 times 2^16. Coordinates are integers of these units.

Source: mmetric keeps 16 bits after the point (``--useFixedPoint``), on meshes that span about 2048, as MPEG's do.
"""

# Beyond this, products of differences of coordinates would not fit 64 bits; four longest sides from the box's corner.
_FARTHEST = 4 * LONGEST_SIDE
# Normals are multiples of this, so that sums of up to 2^23 of them are exact, in whatever order.
_NORMAL_UNIT = 2.0**-30


@dataclass(frozen=True, eq=False)
class Frame:
    """The grid that two surfaces share: it starts at the lower corner of a box, in units of its longest side.

    Parameters
    ----------
    corner : (3,) float64
        Lower corner of the box: where the grid begins.
    longest_side : float
        Of the box, in the coordinates of the meshes.
    lines : int
        Grid lines along the longest side, both ends included.
    """

    corner: Floats
    longest_side: float
    lines: int

    @classmethod
    def around(cls, surface: Surface, lines: int) -> Frame:
        """The frame of the bounding box of a surface."""
        low, high = surface.vertices.min(axis=0), surface.vertices.max(axis=0)
        return cls(low, float((high - low).max()), lines)

    @property
    def step(self) -> int:
        """Distance of grid lines, in units.

        Source: mmetric 1.1.7, ``mm sample --mode grid --useFixedPoint``: the range over (lines - 1), rounded up.
        """
        return -(-LONGEST_SIDE // (self.lines - 1))

    def fixed(self, points: Floats) -> Ints:
        """Coordinates as integers of units.

        Parameters
        ----------
        points : (..., 3) float64
            Finite. What is farther than four longest sides from the corner, along a coordinate, counts as there.
        """
        units = (points - self.corner) * (LONGEST_SIDE / self.longest_side)
        return np.clip(np.rint(units), -_FARTHEST, _FARTHEST).astype(np.int64)


@dataclass(frozen=True, eq=False)
class GridSamples:
    """Samples of a surface, all at different places.

    Parameters
    ----------
    tree : PointTree
        Points with integer coordinates, in units of the frame.
    normals : (n, 3) float64
        Of ``tree.primitives``: the mean of the different unit normals that meet at each; not made a unit vector again.
    """

    tree: PointTree
    normals: Floats

    @classmethod
    def of(cls, points: Floats, normals: Floats) -> GridSamples:
        """Sort points (n, 3) into a tree, and their normals (n, 3) with them."""
        tree = PointTree(points)
        return cls(tree, normals[tree.order])

    def __len__(self) -> int:
        return len(self.tree)


def sample_grid(surface: Surface, frame: Frame, most: int) -> GridSamples:
    """Sample a surface where the rays of a grid hit it.

    Each triangle is hit by the rays along one axis: that of the largest component of its normal (of equal ones the
    first). The border of a triangle belongs to it, so a ray through an edge hits both sides; hits at the same place
    become one sample. All decisions are made with exact integers.

    Parameters
    ----------
    surface : Surface
        What to sample. Triangles that have no area in units of the frame are left out.
    frame : Frame
        The grid; it goes on beyond its box.
    most : int
        Upper bound of the hits, because a broken mesh can have any number.

    Raises
    ------
    ValueError
        There are none, or more: nothing was then allocated for them. The message completes the sentence "the mesh ...".

    Source: mmetric 1.1.7, ``mm sample --mode grid --useNormal --useFixedPoint`` and, for hits at the same place,
    ``mm compare --mode pcc --dropDuplicates 2``.
    """
    from gcbench.bench.metrics import grid_kernels

    corners = _starting_at_smallest(frame.fixed(surface.corners))
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    solid = normals.any(axis=1)
    corners, normals = np.ascontiguousarray(corners[solid]), np.ascontiguousarray(normals[solid])
    axes = np.abs(normals).argmax(axis=1)

    counts = np.empty(len(axes), dtype=np.int64)
    grid_kernels.hit_counts(corners, axes, frame.step, counts)
    total = int(counts.sum())
    if total > most:
        raise ValueError(f"has {total} samples on the grid, more than {most}")
    if total == 0:
        raise ValueError("has no samples on the grid: its faces are too small")
    hits = np.empty((total, 3), dtype=np.int64)
    grid_kernels.place_hits(corners, normals, axes, frame.step, hits)

    unit = normals / np.linalg.norm(normals.astype(np.float64), axis=1)[:, None]
    directions = np.rint(unit / _NORMAL_UNIT).astype(np.int64)
    direction, _ = _numbered(directions, np.zeros(len(directions), dtype=np.int64))
    faces = np.repeat(np.arange(len(counts)), counts)
    # The same place with the same normal counts once: two halves of a flat face outvote no third face.
    _, kept = _numbered(hits, direction[faces])
    if len(kept) < total:
        hits, faces = hits[kept], faces[kept]
    places, first = _numbered(hits, np.zeros(len(hits), dtype=np.int64))
    met = directions[faces] * _NORMAL_UNIT
    if len(first) == len(hits):
        return GridSamples.of(hits.astype(np.float64), met)
    mean = np.stack([np.bincount(places, met[:, k]) for k in range(3)], axis=1) / np.bincount(places)[:, None]
    return GridSamples.of(hits[first].astype(np.float64), mean)


def _starting_at_smallest(corners: Ints) -> Ints:
    """Rotate the corners of each triangle, so that where a face begins decides nothing."""
    x, y, z = np.moveaxis(corners, 2, 0)
    first = np.lexsort((z, y, x), axis=1)[:, 0]
    return np.take_along_axis(corners, ((first[:, None] + np.arange(3)) % 3)[:, :, None], axis=1)


def _numbered(rows: Ints, tags: Ints) -> tuple[Ints, Ints]:
    """Number distinct (row, tag) in the order of their first appearance; also where each number appears first."""
    from gcbench.bench.metrics import grid_kernels

    table = np.full(1 << (2 * len(tags)).bit_length(), -1, dtype=np.int64)
    numbers, firsts = np.empty(len(tags), dtype=np.int64), np.empty(len(tags), dtype=np.int64)
    count = grid_kernels.number_equals(np.ascontiguousarray(rows), tags, table, numbers, firsts)
    return numbers, firsts[:count]
