"""Lossless coding of voxel coordinates: octree occupancy, level by level, with mixed adaptive contexts.

This module imports numba, so other modules import it inside functions.
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
MAX_POINTS = 1 << 22  # a decoder takes some 100 bytes for each declared point, as it finds them

# A mixer computes the probability of a child from eight contexts (`_look`). The child's place in its node selects one
# set of weights, the number of the child's unknown neighbours (of 26) the other. Contexts and the first weight were
# chosen on the two frames of the reference measurements.
_CONTEXTS = 8
_FIRST_WEIGHT = 14418  # 0.22

# State of a voxel near the current node: 0 empty, 1 occupied, 2 unknown (in an occupied node that is not coded yet).
_UNKNOWN = 2
_CENTRE = 13  # index of the node itself among the 27 nodes around it, x slowest


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
        N, then the output of the adaptive coder.

    Raises
    ------
    ValueError
        The points are out of range, not distinct, too few or too many.
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
        Same as for :func:`encode_octree`.
    most : int
        Largest accepted number of voxels.

    Returns
    -------
    (N, 3) int32
        Sorted by x, then y, then z.

    Raises
    ------
    BitstreamError
        The stream is too short, too long, or does not hold the declared number of points.
    """
    fields = Fields(stream)
    count = fields.number("number of voxels", 1, min(most, 1 << 3 * bits))
    data = np.frombuffer(fields.rest(), np.uint8).copy()  # writable like the encoder's array: numba compiles once
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
    """The nodes of one depth: sorted keys, occupancy bits of the children, nodes along a side with the margin."""

    keys: Ints
    occupancy: Ints
    side: int


class _Surroundings(NamedTuple):
    """Voxels and nodes around the current node, and counts around the current child."""

    beyond: Ints  # (27,) for each of the 27 nodes around: index of the first key that is not smaller
    near: Ints  # (27,) whether the node is occupied
    voxels: Ints  # (6, 6, 6) children of the node and of its neighbours: empty, occupied, unknown
    occupied: Ints  # (4,) occupied neighbours of a child, by the number of coordinates that differ
    unknown: Ints  # (4,)
    sides: Ints  # (3, 2) occupied neighbours before and after the child, along each axis


def _new_mixer(points: int) -> Mixer:
    slots = 1 << min(max(points.bit_length() + 3, 10), 20)
    place_weights = np.full((8, _CONTEXTS, FREQUENCY_BUCKETS), _FIRST_WEIGHT, np.int64)
    unknown_weights = np.full((27, _CONTEXTS, FREQUENCY_BUCKETS), _FIRST_WEIGHT, np.int64)
    return new_mixer(slots, place_weights, unknown_weights)


@njit(nogil=True, cache=True)
def _code_level(level: _Level, mixer: Mixer, state: Ints, data: Bytes, decoding: bool) -> Bytes:
    """Code the children of one level's nodes, a bit each; returns `data`, or a longer array when encoding."""
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
            if prefix != 128:  # seven children are absent, so the last one exists
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
    """Find the 27 nodes around a node, from their places for the previous node; returns the occupied ones as bits."""
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
    """Compute the eight contexts of a child; returns the number of its unknown neighbours, of 26.

    The contexts: the 6 face neighbours; the 12 edge neighbours; all 26; two voxels each way along the axes; counts of
    occupied voxels in the 3² on each of the six sides; counts of occupied and unknown face and edge neighbours; the 26
    nodes around and the node's children so far; the 7 nodes that the child touches and the 3 on the opposite side.
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
