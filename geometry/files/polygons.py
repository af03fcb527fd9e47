"""Polygons to triangles: fans where a fan covers the polygon, ear clipping elsewhere.

A polygon is looked at along the axis (x, y or z) in which its normal is longest, so a polygon that is not planar is cut as
its projection is. Cutting keeps all corners, adds none, and gives ``n - 2`` triangles for ``n`` corners.

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

MAX_CLIPPED = 2000  # corners of a polygon that needs ear clipping, whose time grows with the square: 1 s for 2000


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
    require_in_range(corners, vertices, sizes.tolist())
    larger = int((sizes > 3).sum())
    if (sizes < 3).any():
        raise BadMesh(f"{int((sizes < 3).sum())} of {len(sizes)} faces have fewer than three corners")
    if larger and polygons == "refuse":
        raise BadMesh(f"{larger} of {len(sizes)} faces are not triangles, and polygons are refused; triangulate the mesh")
    crossing = 0
    faces = corners.reshape(-1, 3)
    if larger:
        faces, crossing = _cut(vertices, corners, sizes)
    if crossing:
        s = "s" if crossing > 1 else ""
        remarks += (f"{crossing} polygon{s} of {larger} cross{'' if s else 'es'} {'themselves' if s else 'itself'}",)
    return FileMesh(vertices, faces, FileNotes(larger, crossing, dropped, remarks))


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
    axis = np.abs(normals).argmax(axis=1)
    sign = np.sign(np.take_along_axis(normals, axis[:, None], 1)[:, 0])

    def is_right(products: Positions, ahead: Positions) -> NDArray[np.bool_]:
        """Whether every triangle turns as its face does, and no corner lies behind the fan's first edge."""
        turns, sides = (np.take_along_axis(p, axis[face][:, None], 1)[:, 0] * sign[face] for p in (products, ahead))
        return np.logical_and.reduceat((turns > 0) & (sides > 0), ends - cuts)

    is_done = is_right(products, ahead) | (sizes == 3)
    if not is_done.all():  # of a concave quad, the fan from the other corner is right
        others, products, ahead = fans(1)
        is_other = is_right(products, ahead) & ~is_done
        faces[is_other[face]] = others[is_other[face]]
        is_done |= is_other

    crossing = 0
    for number in np.flatnonzero(~is_done):
        polygon = corners[starts[number] : starts[number] + sizes[number]]
        if not np.isfinite(seen[polygon]).all():
            continue  # refused later, with a count of the vertices
        if len(polygon) > MAX_CLIPPED:
            raise BadMesh(f"a concave face has {len(polygon)} corners, more than {MAX_CLIPPED}; triangulate the mesh")
        keep = [(1, 2), (2, 0), (0, 1)][axis[number]]
        ears = clip_ears(seen[polygon][:, keep if sign[number] >= 0 else keep[::-1]])
        if ears is None:
            crossing += 1
        else:
            faces[ends[number] - cuts[number] : ends[number]] = polygon[ears]
    return faces, crossing


def clip_ears(flat: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Cut a simple polygon of the plane, (n, 2) and anticlockwise, into (n - 2, 3) corners; None if it crosses itself.

    An ear is a corner that turns left and whose closed triangle holds no other corner, so corners on a straight edge
    give no triangle without area. Where no ear is left, corners that do not turn at all are cut off.
    """
    left = list(range(len(flat)))
    ears: list[tuple[int, int, int]] = []
    at = 0  # position in `left` of the corner that is tried
    tried = 0
    while len(left) > 3:
        count = len(left)
        at %= count
        a, b, c = left[at - 1], left[at], left[(at + 1) % count]
        straight_too = tried >= count  # a whole round found no ear
        if tried >= 2 * count:
            return None
        if _is_ear(flat, left, (a, b, c), straight_too=straight_too):
            ears.append((a, b, c))
            del left[at]
            at += 1  # the next corner lost a neighbour: cutting there at once would give slivers
            tried = 0
        else:
            at += 1
            tried += 1
    ears.append((left[0], left[1], left[2]))
    if _turn(*flat[left]) < 0:
        return None
    return np.array(ears, np.int64)


def _turn(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    """Twice the area of a triangle, positive if it is anticlockwise."""
    return float((b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]))


def _is_ear(flat: NDArray[np.float64], left: list[int], ear: tuple[int, int, int], *, straight_too: bool) -> bool:
    a, b, c = (flat[corner] for corner in ear)
    turn = _turn(a, b, c)
    if turn <= 0:
        return straight_too and turn == 0
    others = flat[left]
    inside = np.ones(len(others), bool)
    for p, q in ((a, b), (b, c), (c, a)):
        inside &= (q[0] - p[0]) * (others[:, 1] - p[1]) - (q[1] - p[1]) * (others[:, 0] - p[0]) >= 0
    for corner in (a, b, c):  # the corners themselves, and corners at the same place
        inside &= (others != corner).any(axis=1)
    return not inside.any()
