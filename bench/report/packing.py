"""Pack triangle meshes into few bytes for the page, which unpacks them with a small script (``assets/meshes.js``).

For display only: positions are quantised, unused vertices and faces with fewer than three corners are dropped.

The faces are walked depth first over shared edges. A face is an edge of its parent and a third corner. A new corner is
predicted to complete a parallelogram, which leaves small residuals.

    layout, little-endian, then deflated (zlib):
    u32 vertices, u32 faces, f32 × 3 lowest corner, f32 step
    hop      varint × faces      how many faces ago the parent was; 0 for a face that starts a component
    edge     u8     × ...        2 · (corner of the parent that the edge leaves out) + (1 if the edge turns round)
    corner   varint × ...        0 for the next new vertex, else how many vertices ago it came (1 is the last one)
    x, y, z  varint × vertices   zigzag of quantised position − prediction

The first face of a component has three corners and no edge; in every other face, the third corner comes first. In the
first face of a component, a vertex is predicted by the vertex before it (the very first by 0).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcbench.entropy import varints

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_BITS, MAX_BITS = 10, 14
# A vertex that moves by half a step tilts a face by about half a step over the length of its edges: under half a degree
# with 64 steps to an edge, which shading does not show.
_STEPS_PER_EDGE = 64


@dataclass(frozen=True)
class PackedMesh:
    """A packed mesh."""

    data: bytes  # in the layout above, deflated
    order: Ints  # (n,) int64: for each packed vertex, its index in the original mesh
    faces: int  # triangles that were kept
    bits: int  # of a coordinate


def pack_mesh(vertices: ArrayLike, faces: ArrayLike, *, bits: int | None = None) -> PackedMesh:
    """Pack a mesh.

    Parameters
    ----------
    vertices : (V, 3) float
        Finite.
    faces : (F, 3) int
        Indices of vertices; at least one face with three different corners.
    bits : int, optional
        Bits of a coordinate over the longest side; default: 10 to 14, depending on the length of edges.

    Raises
    ------
    ValueError
        No face to pack, or coordinates that are not finite.
    """
    positions = np.asarray(vertices, np.float64).reshape(-1, 3)
    triangles = np.asarray(faces, np.int64).reshape(-1, 3)
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    if not len(triangles):
        raise ValueError("no face to pack")
    if not np.isfinite(positions[triangles]).all():
        raise ValueError("coordinates are not finite")
    used = np.unique(triangles)
    low = positions[used].min(0)
    extent = float(np.ptp(positions[used], axis=0).max())
    bits = bits or _bits(positions, triangles, extent)
    step = float(np.float32(extent / (2**bits - 1))) or 1.0
    low = low.astype(np.float32).astype(np.float64)
    grid = np.round((positions - low) / step).astype(np.int64)

    walk, parent = _depth_first(triangles)
    walked = triangles[walk]
    hop, edge, corners, order, prediction = _connect(walked, parent, grid)
    residual = grid[order] - prediction
    parts = [
        struct.pack("<II4f", len(order), len(walked), *low, step),
        varints.write(hop),
        edge.astype(np.uint8).tobytes(),
        varints.write(corners),
        *(varints.write(_zigzag(axis)) for axis in residual.T),
    ]
    return PackedMesh(zlib.compress(b"".join(parts), 9), order, len(walked), bits)


def pack_errors(distance: ArrayLike, packed: PackedMesh) -> tuple[bytes, float]:
    """Pack one distance for each vertex in 8 bits, finer where it is small.

    Parameters
    ----------
    distance : (V,) float
        One for every vertex of the original mesh.
    packed : PackedMesh
        The packed mesh.

    Returns
    -------
    data, largest
        Deflated differences, modulo 256, of the codes ``round(255 √(distance / largest))`` in the order of the packed
        vertices; and the largest distance (0 if all are).
    """
    values = np.asarray(distance, np.float64)[packed.order]
    largest = float(values.max())
    codes = np.round(255 * np.sqrt(values / (largest or 1.0))).astype(np.uint8)
    return zlib.compress(np.diff(codes, prepend=np.uint8(0)).tobytes(), 9), largest


def _bits(positions: Floats, triangles: Ints, extent: float) -> int:
    edges = np.linalg.norm(positions[triangles] - positions[np.roll(triangles, 1, axis=1)], axis=2)
    typical = float(np.median(edges))
    if not typical > 0:
        return MAX_BITS
    return int(np.clip(np.ceil(np.log2(_STEPS_PER_EDGE * extent / typical)), MIN_BITS, MAX_BITS))


def _depth_first(triangles: Ints) -> tuple[Ints, Ints]:
    """Order of the faces, and for each position in it the position of the parent (−1 for none)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components, depth_first_order

    count = len(triangles)
    ends = np.sort(np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    face = np.repeat(np.arange(count), 3)
    by_edge = np.lexsort((face, ends[:, 1], ends[:, 0]))
    ends, face = ends[by_edge], face[by_edge]
    same = (ends[1:] == ends[:-1]).all(1)
    one, two = face[:-1][same], face[1:][same]
    _, component = connected_components(coo_array((np.ones(len(one)), (one, two)), (count, count)), directed=False)
    # One more face, next to the first of each component, makes one walk of all.
    starts = np.unique(component, return_index=True)[1]
    rows = np.concatenate([one, two, np.full(len(starts), count), starts])
    columns = np.concatenate([two, one, starts, np.full(len(starts), count)])
    graph = coo_array((np.ones(len(rows)), (rows, columns)), (count + 1, count + 1)).tocsr()
    walk, predecessor = depth_first_order(graph, count, directed=True)
    walk = walk[1:].astype(np.int64)
    place = np.full(count + 1, -1, np.int64)
    place[walk] = np.arange(count)
    return walk, place[predecessor[walk]]


def _connect(walked: Ints, parent: Ints, grid: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Describe each face by its parent: hops, edges, corners, the order of new vertices and their predictions."""
    count = len(walked)
    place = np.arange(count)
    rooted = parent < 0
    of_parent = walked[np.maximum(parent, 0)]
    # Corner of the parent that the shared edge leaves out: the first that the face does not have. A face that has all
    # three of its parent's (a duplicate, or a flipped one) shares the edge that leaves out corner 0.
    has = (of_parent[:, :, None] == walked[:, None, :]).any(2)
    left_out = np.where(has.all(1), 0, np.argmin(has, axis=1))
    head = of_parent[place, (left_out + 1) % 3]
    tail = of_parent[place, (left_out + 2) % 3]
    opposite = of_parent[place, left_out]
    third_at = np.argmin((walked == head[:, None]) | (walked == tail[:, None]), axis=1)
    third = walked[place, third_at]
    # Two faces that agree on which side is out run through their edge in opposite directions.
    turned = walked[place, (third_at + 1) % 3] == head

    # Corners in the order in which a reader meets them: three of a rooted face, the third of any other.
    length = np.where(rooted, 3, 1)
    met = np.repeat(place, length)
    nth = np.arange(len(met)) - np.repeat(np.cumsum(length) - length, length)
    corner = np.where(rooted[met], walked[met, nth], third[met])
    vertex, first = np.unique(corner, return_index=True)
    new = np.zeros(len(corner), bool)
    new[first] = True
    order = corner[new]
    number = np.zeros(int(vertex.max()) + 1, np.int64)
    number[order] = np.arange(len(order))
    known = np.cumsum(new) - new  # vertices before this corner
    codes = np.where(new, 0, known - number[corner])

    faces_of_new = met[new]
    before = np.concatenate([np.zeros((1, 3), np.int64), grid[order][:-1]])
    parallelogram = grid[head] + grid[tail] - grid[opposite]
    prediction = np.where(rooted[faces_of_new][:, None], before, parallelogram[faces_of_new])
    # A reader puts the third corner of a face first.
    first_corner = np.where(rooted, 0, third_at)[np.maximum(parent, 0)]
    edge = (2 * ((left_out - first_corner) % 3) + turned)[~rooted]
    return np.where(rooted, 0, place - parent), edge, codes, order, prediction


def _zigzag(values: Ints) -> Ints:
    return (values << 1) ^ (values >> 63)
