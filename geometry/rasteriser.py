"""Rasterisation of triangle meshes on the CPU: the visible triangle of each pixel, and outlines between pixels.

The centre of pixel [row, column] is (column + 0.5, row + 0.5). This module imports numba: import it inside functions.
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Indices = NDArray[np.int32]

# Fraction of a triangle's doubled area in pixels² by which a centre may lie outside and still count, so that rounding
# leaves no gaps between neighbours.
_TOLERANCE = 1e-9
_LEFT, _RIGHT, _BOTH = 1, 2, 3


@njit(cache=True, nogil=True)
def unique_edges(faces: Ints, vertices: int) -> tuple[Ints, Indices]:
    """Edges of a mesh.

    Parameters
    ----------
    faces : (F, 3) int64
        Triangles.
    vertices : int
        Number of vertices.

    Returns
    -------
    edges : (n, 2) int64
        Vertices, the lower first.
    edge_of_side : (F, 3) int32
        The edge of each triangle from corner k to corner k + 1.
    """
    first = np.zeros(vertices + 1, dtype=np.int64)
    for face in range(len(faces)):
        for k in range(3):
            first[min(faces[face, k], faces[face, (k + 1) % 3]) + 1] += 1
    for vertex in range(vertices):
        first[vertex + 1] += first[vertex]

    # Each lower vertex has few edges, stored one after the other: a linear search is faster than sorting.
    end = first[:-1].copy()
    upper = np.zeros(3 * len(faces), dtype=np.int64)
    slot_of_side = np.zeros((len(faces), 3), dtype=np.int64)
    for face in range(len(faces)):
        for k in range(3):
            a, b = faces[face, k], faces[face, (k + 1) % 3]
            low, high = min(a, b), max(a, b)
            slot = first[low]
            while slot < end[low] and upper[slot] != high:
                slot += 1
            if slot == end[low]:
                upper[slot] = high
                end[low] += 1
            slot_of_side[face, k] = slot

    edges = np.zeros((len(upper), 2), dtype=np.int64)
    edge_of_slot = np.zeros(len(upper), dtype=np.int32)
    count = 0
    for vertex in range(vertices):
        for slot in range(first[vertex], end[vertex]):
            edges[count] = vertex, upper[slot]
            edge_of_slot[slot] = count
            count += 1
    edge_of_side = np.zeros(faces.shape, dtype=np.int32)
    for face in range(len(faces)):
        for k in range(3):
            edge_of_side[face, k] = edge_of_slot[slot_of_side[face, k]]
    return edges[:count].copy(), edge_of_side


@njit(cache=True, nogil=True)
def visible_faces(points: Floats, faces: Ints, resolution: int) -> Indices:
    """Find the nearest triangle, of either orientation, at the centre of each pixel.

    Parameters
    ----------
    points : (V, 3) float64
        Column and row in pixels, and one over the depth, which is positive.
    faces : (F, 3) int64
        Triangles.
    resolution : int
        Pixels along each side.

    Returns
    -------
    (resolution, resolution) int32
        Index of the triangle; -1 for none.
    """
    visible = np.full((resolution, resolution), -1, dtype=np.int32)
    nearest = np.zeros((resolution, resolution))
    for face in range(len(faces)):
        a, b, c = points[faces[face, 0]], points[faces[face, 1]], points[faces[face, 2]]
        doubled_area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if doubled_area == 0:
            continue
        left = max(0, ceil(min(a[0], b[0], c[0]) - 0.5))
        right = min(resolution - 1, floor(max(a[0], b[0], c[0]) - 0.5))
        top = max(0, ceil(min(a[1], b[1], c[1]) - 0.5))
        bottom = min(resolution - 1, floor(max(a[1], b[1], c[1]) - 0.5))
        # Barycentrics and one over the depth are linear over the image.
        second_x, second_y = (c[1] - a[1]) / doubled_area, -(c[0] - a[0]) / doubled_area
        third_x, third_y = -(b[1] - a[1]) / doubled_area, (b[0] - a[0]) / doubled_area
        tolerance = _TOLERANCE / abs(doubled_area)
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                x, y = column + 0.5 - a[0], row + 0.5 - a[1]
                second = second_x * x + second_y * y
                third = third_x * x + third_y * y
                if second < -tolerance or third < -tolerance or second + third > 1 + tolerance:
                    continue
                nearness = a[2] + second * (b[2] - a[2]) + third * (c[2] - a[2])
                if nearness > nearest[row, column]:
                    nearest[row, column] = nearness
                    visible[row, column] = face
    return visible


@njit(cache=True, nogil=True)
def seen_planes(visible: Indices, faces: int) -> tuple[Ints, Indices]:
    """Indices of the visible triangles, of ``faces`` in all, (n,), and each pixel's position in this list, (R, R)."""
    place = np.full(faces, -1, dtype=np.int32)
    seen = np.zeros(faces, dtype=np.int64)
    count = 0
    at_pixel = np.full(visible.shape, -1, dtype=np.int32)
    for row in range(visible.shape[0]):
        for column in range(visible.shape[1]):
            face = visible[row, column]
            if face >= 0:
                if place[face] < 0:
                    place[face] = count
                    seen[count] = face
                    count += 1
                at_pixel[row, column] = place[face]
    return seen[:count].copy(), at_pixel


@njit(cache=True, nogil=True)
def plane_depths(planes: Floats, at_pixel: Indices, depth: Floats) -> None:
    """Write the depth at each pixel to ``depth`` (R, R), 0 for an empty pixel.

    One over the depth is p · (X, Y, 1) for the plane p, one row of ``planes`` (n, 3), with X and Y from -1 to 1.
    """
    R = len(at_pixel)
    for row in range(R):
        y = (2 * row + 1) / R - 1
        for column in range(R):
            plane = at_pixel[row, column]
            if plane >= 0:
                x = (2 * column + 1) / R - 1
                depth[row, column] = 1 / (planes[plane, 0] * x + planes[plane, 1] * y + planes[plane, 2])


@njit(cache=True, nogil=True)
def plane_gradients(depth: Floats, gradient: Floats, at_pixel: Indices, of_planes: Floats) -> None:
    """Add to ``of_planes`` (n, 3) the gradient of :func:`plane_depths`, from the gradient of the depths, (R, R)."""
    R = len(at_pixel)
    for row in range(R):
        y = (2 * row + 1) / R - 1
        for column in range(R):
            plane = at_pixel[row, column]
            if plane >= 0 and gradient[row, column] != 0:
                x = (2 * column + 1) / R - 1
                change = -gradient[row, column] * depth[row, column] ** 2
                of_planes[plane, 0] += change * x
                of_planes[plane, 1] += change * y
                of_planes[plane, 2] += change


@njit(cache=True, nogil=True)
def _outline_edges(points: Floats, faces: Ints, edges: Ints, edge_of_side: Indices) -> NDArray[np.bool_]:
    """Which edges have all their triangles on one side in the image; only such edges can lie on the outline."""
    sides = np.zeros(len(edges), dtype=np.uint8)
    for face in range(len(faces)):
        for k in range(3):
            edge = edge_of_side[face, k]
            a, b, c = points[edges[edge, 0]], points[edges[edge, 1]], points[faces[face, (k + 2) % 3]]
            turn = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
            if turn > 0:
                sides[edge] |= _LEFT
            elif turn < 0:
                sides[edge] |= _RIGHT
    candidates: NDArray[np.bool_] = sides != _BOTH
    return candidates


@njit(cache=True, nogil=True)
def outline_crossings(
    points: Floats, faces: Ints, edges: Ints, edge_of_side: Indices, visible: Indices
) -> tuple[Ints, Ints]:
    """Find where the outline passes between two neighbouring pixels, one covered and one not.

    An edge counts between pixels of a row if it is steeper than 45°, and between pixels of a column otherwise, so that
    each bit of the outline counts once. Of several edges between the same two pixels, the outermost counts.

    Parameters
    ----------
    points, faces : (V, 3) float64, (F, 3) int64
        Same as for :func:`visible_faces`.
    edges, edge_of_side : (n, 2) int64, (F, 3) int32
        Result of :func:`unique_edges`.
    visible : (R, R) int32
        Result of :func:`visible_faces`.

    Returns
    -------
    pair : (m,) int64
        Flat index, row R + column, of the first of the two pixels, for a row; R² more than that for a column.
    edge : (m,) int64
        The edge between them.
    """
    R = len(visible)
    outermost = np.full(2 * R * R, -1, dtype=np.int32)
    reach = np.zeros(2 * R * R)
    candidates = _outline_edges(points, faces, edges, edge_of_side)
    count = 0
    for edge in range(len(edges)):
        if not candidates[edge]:
            continue
        a, b = points[edges[edge, 0]], points[edges[edge, 1]]
        along = 0 if abs(b[1] - a[1]) >= abs(b[0] - a[0]) else 1  # the axis along which the two pixels are neighbours
        across = 1 - along
        if a[across] == b[across]:
            continue
        slope = (b[along] - a[along]) / (b[across] - a[across])
        # Half-open, so that a line of pixels through a vertex meets only one of its two edges.
        begin = max(0, ceil(min(a[across], b[across]) - 0.5))
        end = min(R, ceil(max(a[across], b[across]) - 0.5))
        for line in range(begin, end):
            place = a[along] + slope * (line + 0.5 - a[across]) - 0.5
            before = floor(place)
            if before < 0 or before >= R - 1:
                continue
            if along == 0:
                first, second = visible[line, before] >= 0, visible[line, before + 1] >= 0
                pair = line * R + before
            else:
                first, second = visible[before, line] >= 0, visible[before + 1, line] >= 0
                pair = R * R + before * R + line
            if first == second:
                continue
            covered = place - before if first else before + 1 - place
            if outermost[pair] < 0:
                count += 1
            elif covered <= reach[pair]:
                continue
            outermost[pair], reach[pair] = edge, covered
    pairs, crossing = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    found = 0
    for pair in range(len(outermost)):
        if outermost[pair] >= 0:
            pairs[found], crossing[found] = pair, outermost[pair]
            found += 1
    return pairs, crossing
