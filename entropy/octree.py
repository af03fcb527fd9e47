"""Lossless coding of voxel coordinates: octree occupancy, level by level, with mixed adaptive contexts.

Imports numba, so it is itself imported where it is used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gcbench.entropy.adaptive import (
    Bytes,
    Ints,
    ends_here,
    finish,
    overrun,
    roomy,
    start_decoder,
    start_encoder,
)
from gcbench.entropy.container import Fields, Writer
from gcbench.entropy.mixing import FREQUENCY_BUCKETS, Mixer, code_bit, new_mixer
from gcbench.errors import BitstreamError

MAX_BITS = 12
MAX_POINTS = 1 << 22  # a decoder takes some 100 bytes for each of those that a stream declares, as it finds them

# The chance of a child is mixed of eight contexts that look at the voxels around its node (`_look`), with weights by
# the child's place in its node, and by how many of its 26 neighbours are not yet known. Contexts and the first weight
# were chosen on the two frames of the reference measurements.
_CONTEXTS = 8
_FIRST_WEIGHT = 14418  # 0.22

# Of a voxel near the node being coded: empty, occupied, or in an occupied node that has not been coded yet.
_UNKNOWN = 2
_CENTRE = 13  # of the 27 nodes around a node, x slowest


def encode_octree(points: NDArray[np.int32], bits: int) -> bytes:
    """Code a set of voxels.

    Parameters
    ----------
    points : (N, 3) int
        Distinct, in [0, 2^bits), in any order; 1 ≤ N ≤ 2^22.
    bits : int
        0 to 12.

    Returns
    -------
    bytes
        N, then the code of the adaptive coder.

    Raises
    ------
    ValueError
        The points are not such a set.
    """
    voxels = np.asarray(points, np.int64)
    if voxels.ndim != 2 or voxels.shape[1] != 3 or not 0 <= bits <= MAX_BITS:
        raise ValueError(f"an array of shape {voxels.shape} with {bits} bits is not a set of voxels")
    if not 1 <= len(voxels) <= MAX_POINTS:
        raise ValueError(f"{len(voxels)} points are not in 1…{MAX_POINTS}")
    if voxels.min() < 0 or voxels.max() >= 1 << bits:
        raise ValueError(f"a coordinate is not in 0…2^{bits} − 1")
    levels = [np.unique(_key(voxels, bits))]  # the keys of the nodes, finest level first
    if len(levels[0]) != len(voxels):
        raise ValueError("a voxel occurs twice")
    for depth in range(bits - 1, -1, -1):
        levels.append(np.unique(_key(_coordinates(levels[-1], depth + 1) >> 1, depth)))
    mixer = _new_mixer(len(voxels))
    state, out = start_encoder(), np.zeros(1 << 12, np.uint8)
    for depth, (parents, children) in enumerate(zip(levels[:0:-1], levels[-2::-1], strict=True)):
        positions = _coordinates(children, depth + 1)
        occupancy = np.zeros(len(parents), np.int64)
        owner = np.searchsorted(parents, _key(positions >> 1, depth))
        np.bitwise_or.at(occupancy, owner, 1 << ((positions & 1) @ np.array([4, 2, 1])))
        out = _code_level(_Level(parents, occupancy, (1 << depth) + 2), mixer, state, out, False)
    return Writer().number(len(voxels)).raw(finish(state, out).tobytes()).data()


def decode_octree(stream: bytes, bits: int, most: int = MAX_POINTS) -> NDArray[np.int32]:
    """Decode a set of voxels.

    Parameters
    ----------
    stream : bytes
    bits : int
        As given to :func:`encode_octree`.
    most : int
        Voxels that are accepted.

    Returns
    -------
    (N, 3) int32
        Sorted by x, then y, then z.

    Raises
    ------
    BitstreamError
        The stream is short, too long, or does not hold the number of points that it declares.
    """
    fields = Fields(stream)
    count = fields.number("number of voxels", 1, min(most, 1 << 3 * bits))
    data = np.frombuffer(fields.rest(), np.uint8).copy()  # writable, as the encoder's is: one compilation
    mixer, state = _new_mixer(count), start_decoder(data)
    voxels = np.zeros((1, 3), np.int64)
    for depth in range(bits):
        parents = _key(voxels, depth)
        occupancy = np.zeros(len(parents), np.int64)
        _code_level(_Level(parents, occupancy, (1 << depth) + 2), mixer, state, data, True)
        if overrun(state, data):
            raise BitstreamError("the coordinates end too early")
        children = (occupancy[:, None] >> np.arange(8)) & 1
        if children.sum() > count:
            raise BitstreamError("there are more nodes than voxels")
        owner, child = np.nonzero(children)
        voxels = 2 * voxels[owner] + (child[:, None] >> np.array([2, 1, 0]) & 1)
        voxels = voxels[np.argsort(_key(voxels, depth + 1), kind="stable")]
    if len(voxels) != count or not ends_here(state, data):
        raise BitstreamError("the coordinates do not end where they should")
    return voxels.astype(np.int32)


def _key(positions: Ints, depth: int) -> Ints:
    """Number the nodes of a level by x, then y, then z, with a margin of one node around the cube."""
    side = (1 << depth) + 2
    x, y, z = (positions.T + 1).astype(np.int64)
    return np.asarray((x * side + y) * side + z, np.int64)


def _coordinates(keys: Ints, depth: int) -> Ints:
    side = (1 << depth) + 2
    return np.stack([keys // side**2, keys // side % side, keys % side], axis=1) - 1


class _Level(NamedTuple):
    """The nodes of one depth: sorted keys, bits of the children they have, nodes along the grid with its margin."""

    keys: Ints
    occupancy: Ints
    side: int


class _Surroundings(NamedTuple):
    """What is known around a node, and around one of its children."""

    beyond: Ints  # (27,) for each of the 27 nodes around: the first node that is not before it
    near: Ints  # (27,) whether it is occupied
    voxels: Ints  # (6, 6, 6) the children of those: empty, occupied, unknown
    occupied: Ints  # (4,) neighbours of a child, by how many coordinates differ: faces, edges, corners
    unknown: Ints  # (4,)
    sides: Ints  # (3, 2) occupied neighbours before and after it, along each axis


def _new_mixer(points: int) -> Mixer:
    slots = 1 << min(max(points.bit_length() + 3, 10), 20)
    place_weights = np.full((8, _CONTEXTS, FREQUENCY_BUCKETS), _FIRST_WEIGHT, np.int64)
    unknown_weights = np.full((27, _CONTEXTS, FREQUENCY_BUCKETS), _FIRST_WEIGHT, np.int64)
    return new_mixer(slots, place_weights, unknown_weights)


@njit(nogil=True, cache=True)
def _code_level(level: _Level, mixer: Mixer, state: Ints, data: Bytes, decoding: bool) -> Bytes:
    """Code the children of the nodes of one level, a bit each, node by node.

    When decoding, the occupancy is filled (child i is bit i), and the loop breaks off at the end of the data. When
    encoding, `data` is what is written; it is returned, as a longer array may have taken its place.
    """
    around = _Surroundings(
        _blank(27), _blank(27), _blank(216).reshape(6, 6, 6), _blank(4), _blank(4), _blank(6).reshape(3, 2)
    )
    for node in range(len(level.keys)):
        if decoding and overrun(state, data):
            break
        if not decoding:
            data = roomy(data, state, 8)
        neighbours = _visit(level, node, around)
        prefix = 1
        for child in range(8):
            bit = 1
            if prefix != 128:  # seven are absent: the last must be there
                mixer.choice[0] = child
                mixer.choice[1] = _look(around, neighbours, prefix, child, mixer.slots)
                bit = code_bit(mixer, state, data, int(level.occupancy[node] >> child & 1), decoding)
            if decoding:
                level.occupancy[node] |= bit << child
            around.voxels[2 + (child >> 2), 2 + (child >> 1 & 1), 2 + (child & 1)] = bit
            prefix = 2 * prefix + bit
    return data


@njit(nogil=True, cache=True)
def _blank(size: int) -> Ints:
    return np.zeros(size, np.int64)


@njit(nogil=True, cache=True)
def _visit(level: _Level, node: int, around: _Surroundings) -> int:
    """Find the 27 nodes around a node and their children; returns as bits which of the nodes are occupied.

    The nodes come in order, so that each of the 27 is found by walking on from the last one.
    """
    keys = level.keys
    neighbours = 0
    for i in range(27):
        dx, dy, dz = i // 9 - 1, i // 3 % 3 - 1, i % 3 - 1
        wanted = keys[node] + (dx * level.side + dy) * level.side + dz
        at = around.beyond[i]
        while at < len(keys) and keys[at] < wanted:
            at += 1
        around.beyond[i] = at
        occupied = at < len(keys) and keys[at] == wanted
        around.near[i] = occupied
        neighbours |= occupied << i
        for child in range(8):
            voxel = int(level.occupancy[at] >> child & 1) if occupied else 0
            if occupied and i >= _CENTRE:
                voxel = _UNKNOWN
            around.voxels[2 + 2 * dx + (child >> 2), 2 + 2 * dy + (child >> 1 & 1), 2 + 2 * dz + (child & 1)] = voxel
    return neighbours


@njit(nogil=True, cache=True)
def _look(around: _Surroundings, neighbours: int, prefix: int, child: int, contexts: Ints) -> int:
    """Describe what surrounds a child in eight ways; returns how many of its 26 neighbours are not known.

    The eight: the 6 face neighbours; the 12 edge neighbours; all 26; two voxels each way along the axes; how many
    are occupied in the 3² on each of the six sides; how many face and edge neighbours are occupied or unknown; the 26
    nodes around and the node's children so far; the 7 nodes that the child touches and the 3 on the other side.
    """
    voxels, near = around.voxels, around.near
    x, y, z = 2 + (child >> 2), 2 + (child >> 1 & 1), 2 + (child & 1)
    occupied, unknown = around.occupied, around.unknown
    occupied[:], unknown[:], around.sides[:] = 0, 0, 0
    edges, everything = np.int64(0), np.int64(0)
    for i in range(27):
        dx, dy, dz = i // 9 - 1, i // 3 % 3 - 1, i % 3 - 1
        differ = abs(dx) + abs(dy) + abs(dz)
        if differ == 0:
            continue
        voxel = voxels[x + dx, y + dy, z + dz]
        everything = 3 * everything + voxel
        if differ == 2:
            edges = 3 * edges + voxel
        unknown[differ] += voxel == _UNKNOWN
        if voxel == 1:
            occupied[differ] += 1
            around.sides[0, (dx + 1) // 2] += abs(dx)
            around.sides[1, (dy + 1) // 2] += abs(dy)
            around.sides[2, (dz + 1) // 2] += abs(dz)
    faces, axes, slabs = np.int64(0), np.int64(0), np.int64(0)
    for axis in range(3):
        dx, dy, dz = int(axis == 0), int(axis == 1), int(axis == 2)
        faced = 3 * voxels[x - dx, y - dy, z - dz] + voxels[x + dx, y + dy, z + dz]
        further = 3 * voxels[x - 2 * dx, y - 2 * dy, z - 2 * dz] + voxels[x + 2 * dx, y + 2 * dy, z + 2 * dz]
        faces, axes = 9 * faces + faced, 81 * axes + 9 * further + faced
        slabs = 100 * slabs + 10 * around.sides[axis, 0] + around.sides[axis, 1]
    sx, sy, sz = 18 * (child >> 2) - 9, 6 * (child >> 1 & 1) - 3, 2 * (child & 1) - 1
    touched = np.int64(0)
    for corner in range(1, 8):
        touched = 2 * touched + near[_CENTRE + sx * (corner >> 2) + sy * (corner >> 1 & 1) + sz * (corner & 1)]
    opposite = near[_CENTRE - sx] + 2 * near[_CENTRE - sy] + 4 * near[_CENTRE - sz]
    contexts[0] = 8 * faces + child
    contexts[1] = 8 * edges + child
    contexts[2] = 8 * everything + child
    contexts[3] = 8 * axes + child
    contexts[4] = 8 * slabs + child
    contexts[5] = ((occupied[1] * 7 + unknown[1]) * 13 + occupied[2]) * 13 + unknown[2]
    contexts[6] = 256 * neighbours + prefix
    contexts[7] = (8 * touched + opposite) * 8 + child
    return int(unknown.sum())
