"""Compiled loops of `nearest`: the tree of boxes, the search in blocks, closest points on triangles.

Arrays are C-contiguous and finite: float64 coordinates, int64 indices. This module imports numba, so other modules
import it inside functions. No loop starts threads: each loop releases the GIL and works on its range.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Queries are searched in blocks: one walk through the tree serves a whole block, and the innermost loop runs over its
# lanes with a fixed trip count, which LLVM turns into SIMD. 16 was the fastest of 8, 16 and 32 at 1e5 points.
LANES = 16
# A tree over 2^31 primitives is 31 deep; the walk keeps at most one sibling per level.
STACK = 64
# Limit of doubled area over squared longest edge. Below the limit, a triangle's normal is mostly rounding error, and
# the search uses the edges only: their distance from any point of the triangle is within this fraction of its length.
_NEEDLE = 1e-11
# Squares under this are not divided by: the reciprocal would overflow.
_TINY = 1e-300

# Rows of the block's scratch array. One array and constant offsets, so that LLVM sees that rows cannot overlap.
X, Y, Z, BEST, _INDEX = 0, LANES, 2 * LANES, 3 * LANES, 4 * LANES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit(nogil=True, cache=True)
def compare_normals(
    points: Floats,
    normals: Floats,
    other_points: Floats,
    other_normals: Floats,
    index: Ints,
    cosine: Floats,
    to_plane: Floats,
) -> None:
    """Compare each point with partner ``index[i]``: |cos| of the normals' angle, distance to the partner's plane."""
    for i in range(index.size):
        j = index[i]
        dot = along = 0.0
        for k in range(3):
            dot += normals[i, k] * other_normals[j, k]
            along += (points[i, k] - other_points[j, k]) * other_normals[j, k]
        cosine[i] = min(abs(dot), 1.0)  # rounding can push the product of two unit vectors over 1
        to_plane[i] = abs(along)


@njit(nogil=True, cache=True)
def build_tree(lower: Floats, upper: Floats, leaf: int, order: Ints, boxes: Floats) -> None:
    """Sort primitives into a tree of tight boxes, split at the median centre along the longest side.

    The tree has ``ceil(n / leaf)`` leaves; leaf ``k`` holds ``order[k * leaf : (k + 1) * leaf]``. Nodes are numbered in
    preorder: a node over leaves [first, last) with middle m has children ``node + 1`` and ``node + 2 (m - first)``.

    Parameters
    ----------
    lower, upper : (n, 3) float64
        Corners of the boxes of the primitives (twice the same array for points).
    leaf : int
        Primitives per leaf.
    order : (n,) int64
        In: a permutation of the primitives. Out: tree order.
    boxes : (2 * leaves - 1, 6) float64
        Out: lower and upper corner of every node.
    """
    n = lower.shape[0]
    key = np.empty(n)
    stack = np.empty((STACK, 3), np.int64)
    stack[0] = (0, 0, (n + leaf - 1) // leaf)
    depth = 1
    while depth > 0:
        depth -= 1
        node, first, last = stack[depth]
        begin, end = first * leaf, min(last * leaf, n)
        x0 = y0 = z0 = np.inf
        x1 = y1 = z1 = -np.inf
        for i in range(begin, end):
            k = order[i]
            x0, y0, z0 = min(x0, lower[k, 0]), min(y0, lower[k, 1]), min(z0, lower[k, 2])
            x1, y1, z1 = max(x1, upper[k, 0]), max(y1, upper[k, 1]), max(z1, upper[k, 2])
        boxes[node] = (x0, y0, z0, x1, y1, z1)
        if last - first == 1:
            continue
        axis = 0
        if y1 - y0 > x1 - x0:
            axis = 1
        if z1 - z0 > max(x1 - x0, y1 - y0):
            axis = 2
        for i in range(begin, end):
            key[i] = lower[order[i], axis] + upper[order[i], axis]
        middle = (first + last) // 2
        _select(key, order, begin, end - 1, middle * leaf)
        stack[depth] = (node + 2 * (middle - first), middle, last)
        stack[depth + 1] = (node + 1, first, middle)
        depth += 2


@njit(nogil=True, cache=True)
def _select(key: Floats, order: Ints, low: int, high: int, k: int) -> None:
    """Reorder ``key[low:high + 1]``, and `order` likewise, so that entry `k` is in its sorted place.

    Source: Floyd and Rivest, Algorithm 489: SELECT (CACM 18, 1975): the pivot is the `k`-th of a small sample around
    `k`, so that one pass over the rest is nearly always enough; ranges under their 600 take the median of three.
    """
    while low < high:
        size = high - low + 1
        if size > 600:
            logarithm = np.log(size)
            sample = 0.5 * np.exp(2 * logarithm / 3)
            spread = 0.5 * np.sqrt(logarithm * sample * (size - sample) / size)
            before = sample * (k - low + 1) / size
            toward_middle = spread if k - low + 1 > size / 2 else -spread
            sample_low = max(low, int(k - before + toward_middle))
            sample_high = min(high, int(k - before + sample + toward_middle))
            _select(key, order, sample_low, sample_high, k)
            pivot = key[k]
        else:
            a, b, c = key[low], key[(low + high) >> 1], key[high]
            pivot = max(min(a, b), min(max(a, b), c))
        middle = _move_down(key, order, low, high, pivot)
        if k < middle:
            high = middle - 1
        elif middle > low:
            low = middle
        else:  # no key is under the pivot: remove the keys that equal it, so that duplicates end here
            middle = _move_down(key, order, low, high, np.nextafter(pivot, np.inf))
            if k < middle:
                return
            low = middle


@njit(nogil=True, cache=True)
def _move_down(key: Floats, order: Ints, low: int, high: int, limit: float) -> int:
    """Move keys under a limit to the front of the range and return the index of the first other key.

    The loop swaps every entry, without a branch to mispredict: a pass is 3 times as fast as Hoare's.
    """
    front = low
    for i in range(low, high + 1):
        x, number = key[i], order[i]
        key[i], order[i] = key[front], order[front]
        key[front], order[front] = x, number
        front += 1 if x < limit else 0
    return front


@njit(nogil=True, cache=True)
def search(
    queries: Floats,
    primitives: Floats,
    boxes: Floats,
    leaf: int,
    first_block: int,
    last_block: int,
    squared: Floats,
    index: Ints,
) -> None:
    """Nearest primitive of every query in blocks [first_block, last_block) of `LANES` consecutive queries.

    The search is exact: it skips a node only if the node's box is no nearer than the best distance of every lane, and
    rounding is monotone, so that the computed distance of a box never exceeds the distance of a point in the box.

    Parameters
    ----------
    queries : (q, 3) float64
        In an order that keeps neighbours together; other orders are slow, with the same result.
    primitives : (n, 3) or (n, 3, 3) float64
        Points, or triangles of positive area, in tree order.
    boxes, leaf
        The tree, as made by `build_tree`.
    squared : (q,) float64
        Out: squared distance to the nearest primitive.
    index : (q,) int64
        Out: index of the nearest primitive in `primitives`.
    """
    n, total = primitives.shape[0], queries.shape[0]
    work = np.empty(5 * LANES)
    block = np.empty(6)
    stack = np.empty((STACK, 3), np.int64)
    gaps = np.empty(STACK)
    for b in range(first_block, last_block):
        begin = b * LANES
        end = min(begin + LANES, total)
        load_block(queries, begin, end, work, block)
        work[BEST:_INDEX] = np.inf
        work[_INDEX:] = 0.0
        worst = np.inf
        stack[0] = (0, 0, (n + leaf - 1) // leaf)
        gaps[0] = 0.0
        depth = 1
        while depth > 0:
            depth -= 1
            gap = gaps[depth]
            node, first, last = stack[depth]
            while gap < worst and last - first > 1:
                middle = (first + last) // 2
                left, right = node + 1, node + 2 * (middle - first)
                to_left, to_right = box_gap(boxes, left, block), box_gap(boxes, right, block)
                # The nearer child first; the other waits.
                if to_left <= to_right:
                    stack[depth] = (right, middle, last)
                    gaps[depth] = to_right
                    node, last, gap = left, middle, to_left
                else:
                    stack[depth] = (left, first, middle)
                    gaps[depth] = to_left
                    node, first, gap = right, middle, to_right
                depth += 1
            if gap >= worst or not any_lane_reaches(work, boxes, node):
                continue
            for j in range(first * leaf, min(last * leaf, n)):
                if primitives.ndim == 2:  # decided when compiled: there is one version per dimension
                    _visit_point(work, primitives, j)
                else:
                    _visit_triangle(work, primitives, j)
            worst = 0.0
            for i in range(LANES):
                worst = max(worst, work[BEST + i])
        for i in range(end - begin):
            squared[begin + i] = work[BEST + i]
            index[begin + i] = int(work[_INDEX + i])


@njit(nogil=True, cache=True)
def load_block(queries: Floats, begin: int, end: int, work: Floats, block: Floats) -> None:
    """Fill the lanes with queries [begin, end), unused lanes with the last query; also set their bounding box."""
    block[:3] = np.inf
    block[3:] = -np.inf
    for i in range(LANES):
        q = min(begin + i, end - 1)
        for k in range(3):
            work[k * LANES + i] = queries[q, k]
            block[k] = min(block[k], queries[q, k])
            block[3 + k] = max(block[3 + k], queries[q, k])


@njit(nogil=True, cache=True)
def box_gap(boxes: Floats, node: int, block: Floats) -> float:
    """Squared distance between the box of a node and the box of the block."""
    x = max(0.0, boxes[node, 0] - block[3], block[0] - boxes[node, 3])
    y = max(0.0, boxes[node, 1] - block[4], block[1] - boxes[node, 4])
    z = max(0.0, boxes[node, 2] - block[5], block[2] - boxes[node, 5])
    gap: float = x * x + y * y + z * z
    return gap


@njit(nogil=True, cache=True)
def any_lane_reaches(work: Floats, boxes: Floats, node: int) -> bool:
    """Whether the box of a node is nearer to some lane than this lane's best distance."""
    x0, y0, z0 = boxes[node, 0], boxes[node, 1], boxes[node, 2]
    x1, y1, z1 = boxes[node, 3], boxes[node, 4], boxes[node, 5]
    reached = 0
    for i in range(LANES):
        x = max(0.0, x0 - work[X + i], work[X + i] - x1)
        y = max(0.0, y0 - work[Y + i], work[Y + i] - y1)
        z = max(0.0, z0 - work[Z + i], work[Z + i] - z1)
        reached += 1 if x * x + y * y + z * z < work[BEST + i] else 0
    return reached > 0


@njit(nogil=True, cache=True)
def _visit_point(work: Floats, points: Floats, j: int) -> None:
    px, py, pz = points[j, 0], points[j, 1], points[j, 2]
    label = float(j)
    for i in range(LANES):
        x, y, z = work[X + i] - px, work[Y + i] - py, work[Z + i] - pz
        d = x * x + y * y + z * z
        nearer = d < work[BEST + i]
        work[BEST + i] = d if nearer else work[BEST + i]
        work[_INDEX + i] = label if nearer else work[_INDEX + i]


@njit(nogil=True, cache=True)
def _visit_triangle(work: Floats, triangles: Floats, j: int) -> None:
    """Squared distance from every lane to triangle `j`, without branches.

    Within the triangle's prism: the distance to the plane. Elsewhere: the distance to the nearest edge.
    Source: Ericson, Real-Time Collision Detection (2005), section 5.1.5; side tests as in section 5.4.2.
    """
    ax, ay, az = triangles[j, 0, 0], triangles[j, 0, 1], triangles[j, 0, 2]
    bx, by, bz = triangles[j, 1, 0], triangles[j, 1, 1], triangles[j, 1, 2]
    cx, cy, cz = triangles[j, 2, 0], triangles[j, 2, 1], triangles[j, 2, 2]
    ux, uy, uz = bx - ax, by - ay, bz - az  # edge a → b
    vx, vy, vz = cx - bx, cy - by, cz - bz  # edge b → c
    wx, wy, wz = ax - cx, ay - cy, az - cz  # edge c → a
    uu, vv, ww = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz, wx * wx + wy * wy + wz * wz
    nx, ny, nz = uz * wy - uy * wz, ux * wz - uz * wx, uy * wx - ux * wy
    nn = nx * nx + ny * ny + nz * nz
    longest = max(uu, vv, ww)
    has_plane = nn > max(_TINY, (_NEEDLE * longest) * (_NEEDLE * longest))
    per_nn = 1.0 / nn if has_plane else 0.0
    # Inward in-plane normals of the edges.
    iux, iuy, iuz = ny * uz - nz * uy, nz * ux - nx * uz, nx * uy - ny * ux
    ivx, ivy, ivz = ny * vz - nz * vy, nz * vx - nx * vz, nx * vy - ny * vx
    iwx, iwy, iwz = ny * wz - nz * wy, nz * wx - nx * wz, nx * wy - ny * wx
    per_uu = 1.0 / uu if uu > _TINY else 0.0
    per_vv = 1.0 / vv if vv > _TINY else 0.0
    per_ww = 1.0 / ww if ww > _TINY else 0.0
    label = float(j)
    for i in range(LANES):
        x, y, z = work[X + i], work[Y + i], work[Z + i]
        pax, pay, paz = x - ax, y - ay, z - az
        pbx, pby, pbz = x - bx, y - by, z - bz
        pcx, pcy, pcz = x - cx, y - cy, z - cz
        t = min(1.0, max(0.0, (pax * ux + pay * uy + paz * uz) * per_uu))
        ex, ey, ez = pax - t * ux, pay - t * uy, paz - t * uz
        d = ex * ex + ey * ey + ez * ez
        t = min(1.0, max(0.0, (pbx * vx + pby * vy + pbz * vz) * per_vv))
        ex, ey, ez = pbx - t * vx, pby - t * vy, pbz - t * vz
        d = min(d, ex * ex + ey * ey + ez * ez)
        t = min(1.0, max(0.0, (pcx * wx + pcy * wy + pcz * wz) * per_ww))
        ex, ey, ez = pcx - t * wx, pcy - t * wy, pcz - t * wz
        d = min(d, ex * ex + ey * ey + ez * ez)
        inside = min(
            pax * iux + pay * iuy + paz * iuz, pbx * ivx + pby * ivy + pbz * ivz, pcx * iwx + pcy * iwy + pcz * iwz
        )
        height = pax * nx + pay * ny + paz * nz
        d = height * height * per_nn if has_plane and inside >= 0.0 else d
        nearer = d < work[BEST + i]
        work[BEST + i] = d if nearer else work[BEST + i]
        work[_INDEX + i] = label if nearer else work[_INDEX + i]


@njit(nogil=True, cache=True)
def closest_weights(points: Floats, triangles: Floats, index: Ints, weights: Floats) -> None:
    """Barycentric coordinates of the point of triangle ``index[i]`` that is closest to point ``i``.

    `_visit_triangle` makes the same decisions for 16 points at a time, but does not compute the closest point. This
    loop visits one triangle for each point, so that branches cost little.

    Parameters
    ----------
    points : (n, 3) float64
    triangles : (F, 3, 3) float64
    index : (n,) int64
    weights : (n, 3) float64
        Out: not negative, sum 1.
    """
    edge, side = np.empty((3, 3)), np.empty(3)
    for i in range(index.size):
        corners = triangles[index[i]]
        nearest, longest = np.inf, 0.0
        for k in range(3):
            following = (k + 1) % 3
            along = length = 0.0
            for axis in range(3):
                edge[k, axis] = corners[following, axis] - corners[k, axis]
                length += edge[k, axis] * edge[k, axis]
                along += edge[k, axis] * (points[i, axis] - corners[k, axis])
            t = min(1.0, max(0.0, along / length)) if length > _TINY else 0.0
            apart = 0.0
            for axis in range(3):
                apart += (points[i, axis] - corners[k, axis] - t * edge[k, axis]) ** 2
            longest = max(longest, length)
            if apart < nearest:
                nearest = apart
                weights[i, k], weights[i, following], weights[i, (k + 2) % 3] = 1.0 - t, t, 0.0
        nx = edge[2, 1] * edge[0, 2] - edge[2, 2] * edge[0, 1]
        ny = edge[2, 2] * edge[0, 0] - edge[2, 0] * edge[0, 2]
        nz = edge[2, 0] * edge[0, 1] - edge[2, 1] * edge[0, 0]
        squared = nx * nx + ny * ny + nz * nz
        if squared <= max(_TINY, (_NEEDLE * longest) * (_NEEDLE * longest)):
            continue
        for k in range(3):  # how far inside of edge k: proportional to the weight of the corner opposite to the edge
            x, y, z = edge[k]
            side[(k + 2) % 3] = (
                (ny * z - nz * y) * (points[i, 0] - corners[k, 0])
                + (nz * x - nx * z) * (points[i, 1] - corners[k, 1])
                + (nx * y - ny * x) * (points[i, 2] - corners[k, 2])
            )
        if min(side[0], side[1], side[2]) >= 0.0:
            weights[i] = side / (side[0] + side[1] + side[2])
