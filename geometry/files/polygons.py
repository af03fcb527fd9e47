"""Polygons to triangles: fans where a fan covers the polygon, ear clipping elsewhere.

A polygon is looked at along the axis (x, y or z) in which its normal is longest, so a polygon that is not planar is cut
as its projection is. Cutting keeps all corners, adds none, and gives ``n - 2`` triangles for ``n`` corners.

Source: G. H. Meisters, "Polygons have ears", American Mathematical Monthly 82 (1975): every simple polygon of more than
three corners has two ears. M. E. Newell's normal: I. E. Sutherland, R. F. Sproull, R. A. Schumacker, "A
characterization of ten hidden-surface algorithms", Computing Surveys 6 (1974).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh
from gcbench.geometry.files.fields import require_in_range
from gcbench.geometry.files.notes import FileMesh, FileNotes, Polygons, Positions, Triangles

# Ear clipping takes a time that grows with the square of the corners, in the worst case with the cube.
MAX_CLIPPED = 4096  # corners of a polygon that needs ear clipping
MAX_SQUARES = 2 * 10**9  # corners squared, summed over those polygons of a file: some seconds


def as_triangles(
    vertices: Positions,
    corners: NDArray[np.int64],
    sizes: Sequence[int] | NDArray[np.int64],
    polygons: Polygons,
    *,
    dropped: tuple[str, ...] = (),
    remarks: tuple[str, ...] = (),
) -> FileMesh:
    """Make triangles of the faces of a file.

    Parameters
    ----------
    vertices : (n, 3) float64
        Positions.
    corners : (sum of sizes,) int64
        Indices from 0, face after face.
    sizes : (m,) int
        Corners of each face.
    polygons : {"triangulate", "refuse"}
        What to do with faces of more than three corners.
    dropped, remarks : tuple of str
        For the notes.

    Raises
    ------
    BadMesh
        A face has fewer than three corners or an index out of range, polygons are refused, or a polygon that needs ear
        clipping has more than `MAX_CLIPPED` corners.
    """
    sizes = np.asarray(sizes, np.int64)
    require_in_range(corners, vertices, sizes)
    larger = int((sizes > 3).sum())
    if (sizes < 3).any():
        raise BadMesh(f"{int((sizes < 3).sum())} of {len(sizes)} faces have fewer than three corners")
    if larger and polygons == "refuse":
        raise refused(larger)
    faces, crossing = _cut(vertices, corners, sizes) if larger else (corners.reshape(-1, 3), 0)
    if crossing:
        remarks += (f"polygons that cross themselves and are cut as fans: {crossing} of {larger}",)
    return FileMesh(vertices, faces, FileNotes(larger, crossing, dropped, remarks))


def refused(polygons: int) -> BadMesh:
    """Make the error for a mesh with polygons where only triangles are wanted."""
    return BadMesh(
        f"{polygons} {'face is' if polygons == 1 else 'faces are'} larger than a triangle; polygons are refused"
    )


def _cut(vertices: Positions, corners: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[Triangles, int]:
    """Triangles in the order of the faces, and the number of faces that cross themselves."""
    cuts = sizes - 2
    starts, ends = np.cumsum(sizes) - sizes, np.cumsum(cuts)
    face = np.repeat(np.arange(len(sizes)), cuts)  # of each triangle
    second = np.arange(len(face)) - (ends - cuts)[face] + 1  # corner in the face, from 0

    # A power of two brings all coordinates to about 1, without rounding: squares then neither overflow nor vanish.
    largest = np.abs(vertices[np.isfinite(vertices)]).max(initial=0.0)
    seen = np.ldexp(vertices, -int(np.frexp(largest)[1]))

    def fans(turned: int) -> tuple[Triangles, Positions, Positions]:
        """Fans from corner 0 or 1, the doubled normals of their triangles, and what tells if all lie ahead."""
        first, b, c = (corners[starts[face] + (corner + turned) % sizes[face]] for corner in (0, second, second + 1))
        edge = corners[starts[face] + 1 + turned]
        to_c = seen[c] - seen[first]
        ahead = np.cross(seen[edge] - seen[first], to_c)
        return np.stack([first, b, c], axis=1), np.cross(seen[b] - seen[first], to_c), ahead

    faces, products, ahead = fans(0)
    normals = np.add.reduceat(products, ends - cuts)  # Newell's, as the sum over a fan
    has_normal = np.abs(normals).max(axis=1, keepdims=True) > 0
    axis = np.where(has_normal, np.abs(normals), np.add.reduceat(np.abs(products), ends - cuts)).argmax(axis=1)
    sign = np.sign(np.take_along_axis(normals, axis[:, None], 1)[:, 0])

    def is_right(products: Positions, ahead: Positions) -> NDArray[np.bool_]:
        """Whether every triangle turns as its face does, and no corner lies behind the fan's first edge."""
        turns, sides = (np.take_along_axis(p, axis[face][:, None], 1)[:, 0] * sign[face] for p in (products, ahead))
        right: NDArray[np.bool_] = np.logical_and.reduceat((turns > 0) & (sides > 0), ends - cuts)
        return right

    is_done = is_right(products, ahead) | (sizes == 3)
    if not is_done.all():  # of a concave quad, the fan from the other corner is right
        others, products, ahead = fans(1)
        is_other = is_right(products, ahead) & ~is_done
        faces[is_other[face]] = others[is_other[face]]
        is_done |= is_other

    left = np.flatnonzero(~is_done)
    if not len(left):
        return faces, 0
    if sizes[left].max() > MAX_CLIPPED:
        raise BadMesh(f"a concave face has {sizes[left].max()} corners, more than {MAX_CLIPPED}; triangulate the mesh")
    if (sizes[left] ** 2).sum() > MAX_SQUARES:
        raise BadMesh(f"{len(left)} large concave faces would take too long to cut; triangulate the mesh")
    from gcbench.geometry.files.ears import clip_ears  # numba takes half a second to import

    crossing = 0
    for number in left:
        polygon = corners[starts[number] : starts[number] + sizes[number]]
        if not np.isfinite(seen[polygon]).all():
            continue  # refused later, with a count of the vertices
        keep = [(1, 2), (2, 0), (0, 1)][axis[number]]
        ears = clip_ears(np.ascontiguousarray(seen[polygon][:, keep if sign[number] >= 0 else keep[::-1]]))
        if not len(ears):
            crossing += 1
        else:
            faces[ends[number] - cuts[number] : ends[number]] = polygon[ears]
    return faces, crossing
