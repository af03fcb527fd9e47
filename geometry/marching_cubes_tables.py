"""The triangles of marching cubes for each of the 256 sign patterns of a cell, computed instead of listed.

Corner c of a cell is (c & 1, c >> 1 & 1, c >> 2 & 1) in x, y, z. A pattern has bit c set where corner c is inside.
An edge is named by its lower corner and its axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATTERNS = 256
AXES = range(3)


class Edge(NamedTuple):
    """An edge of the cell, from ``corner`` to the corner that also has the bit of ``axis`` set."""

    corner: int
    axis: int

    @classmethod
    def between(cls, a: int, b: int) -> Edge:
        """The edge of two neighbouring corners."""
        return cls(a & b, (a ^ b).bit_length() - 1)

    @property
    def midpoint(self) -> NDArray[np.float64]:
        """Centre of the edge in the unit cell, (3,)."""
        point = np.array([self.corner >> axis & 1 for axis in AXES], dtype=np.float64)
        point[self.axis] = 0.5
        return point

    @property
    def sides(self) -> set[tuple[int, int]]:
        """The two sides of the cell that share the edge, as (axis, 0 or 1)."""
        return {(axis, self.corner >> axis & 1) for axis in AXES if axis != self.axis}


Loop = tuple[Edge, ...]


class TriangleTable(NamedTuple):
    """The triangles of all patterns, one after the other.

    Parameters
    ----------
    starts, counts : (256,) int64
        Index of each pattern's first triangle, and number of its triangles.
    corners, axes : (n, 3) int64
        Edges of the vertices of each triangle, counter-clockwise seen from outside the solid.
    """

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    corners: NDArray[np.int64]
    axes: NDArray[np.int64]


def _sides() -> Iterator[tuple[int, int, int, int]]:
    """Corners of the six sides, counter-clockwise seen from outside the cell."""
    for axis in AXES:
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        yield 0, v, u | v, u
        top = 1 << axis
        yield top, top | u, top | u | v, top | v


def surface_loops(pattern: int) -> list[Loop]:
    """Closed polygons in which the surface crosses a cell, each counter-clockwise seen from outside the solid.

    On each side, a segment cuts off every run of inside corners. Two diagonally opposite inside corners are two runs.
    This rule depends on the four signs of the side alone, so that the two cells at a side always agree and the surface
    has no cracks.
    """
    successor: dict[Edge, Edge] = {}
    for side in _sides():
        inside = [bool(pattern >> corner & 1) for corner in side]
        for i in range(4):
            if inside[i] and not inside[i - 1]:
                j = i
                while inside[(j + 1) % 4]:
                    j += 1
                enters = Edge.between(side[i - 1], side[i])
                successor[enters] = Edge.between(side[j % 4], side[(j + 1) % 4])
    loops = []
    while successor:
        first, edge = successor.popitem()
        loop = [first]
        while edge != first:
            loop.append(edge)
            edge = successor.pop(edge)
        start = loop.index(min(loop))
        loops.append((*loop[start:], *loop[:start]))
    return sorted(loops)


def _triangulations(loop: Loop) -> Iterator[tuple[Loop, ...]]:
    """All triangulations of a polygon, by the triangle on the side that joins its last and first corner."""
    if len(loop) < 3:
        yield ()
        return
    for i in range(1, len(loop) - 1):
        for left in _triangulations(loop[: i + 1]):
            for right in _triangulations(loop[i:]):
                yield (*left, (loop[0], loop[i], loop[-1]), *right)


def _cost(triangles: tuple[Loop, ...], loop: Loop) -> tuple[int, float]:
    """Cost of a triangulation: the number of diagonals within a side of the cell, then the length of all diagonals."""
    # The neighbouring cell may have the same diagonal within the shared side: four triangles would share this edge.
    borders = {frozenset(pair) for pair in zip(loop, (*loop[1:], loop[0]), strict=True)}
    diagonals = {frozenset(pair) for triangle in triangles for pair in combinations(triangle, 2)} - borders
    within = sum(bool(set.intersection(*(edge.sides for edge in pair))) for pair in diagonals)
    length = sum(float(np.linalg.norm(a.midpoint - b.midpoint)) for a, b in map(sorted, diagonals))
    return within, round(length, 9)


def triangulate(loop: Loop) -> tuple[Loop, ...]:
    """Triangulate a loop, with as few diagonals as possible within a side of the cell."""
    return min(_triangulations(loop), key=lambda triangles: _cost(triangles, loop))


@cache
def triangle_table() -> TriangleTable:
    """The triangles of all 256 patterns, computed at the first call."""
    triangles = [
        [triangle for loop in surface_loops(pattern) for triangle in triangulate(loop)] for pattern in range(PATTERNS)
    ]
    counts = np.array([len(of_pattern) for of_pattern in triangles], dtype=np.int64)
    flat = np.array([triangle for of_pattern in triangles for triangle in of_pattern], dtype=np.int64)
    return TriangleTable(np.cumsum(counts) - counts, counts, flat[..., 0].copy(), flat[..., 1].copy())
