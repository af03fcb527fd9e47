"""Decoded meshes and point clouds as plain arrays, and their bytes in the spool and between machines."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER = struct.Struct("<8sQQ")  # magic, vertices or points, faces or bits
_MESH, _CLOUD = b"gcbmesh2", b"gcbcloud"


@dataclass(frozen=True, eq=False)
class MeshArrays:
    """A mesh: ``vertices`` (V, 3) float64, ``faces`` (F, 3) int64."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CloudArrays:
    """A decoded point cloud: ``points`` (N, 3) float64 in voxels, on a grid of 2^``bits`` a side."""

    points: NDArray[np.float64]
    bits: int


def pack(arrays: MeshArrays | CloudArrays) -> bytes:
    """Bytes of the arrays, little-endian; equal for equal arrays on every machine."""
    if isinstance(arrays, CloudArrays):
        points = np.ascontiguousarray(arrays.points, "<f8").reshape(-1, 3)
        return _HEADER.pack(_CLOUD, len(points), arrays.bits) + points.tobytes()
    vertices = np.ascontiguousarray(arrays.vertices, "<f8").reshape(-1, 3)
    faces = np.ascontiguousarray(arrays.faces, "<i8").reshape(-1, 3)
    return _HEADER.pack(_MESH, len(vertices), len(faces)) + vertices.tobytes() + faces.tobytes()


def unpack(data: bytes) -> MeshArrays | CloudArrays:
    """Inverse of :func:`pack`. Raises ValueError for any other bytes."""
    if len(data) < _HEADER.size:
        raise ValueError("too short")
    magic, first, second = _HEADER.unpack_from(data)
    rows = first if magic == _CLOUD else first + second
    if magic not in {_MESH, _CLOUD} or len(data) != _HEADER.size + 24 * rows:
        raise ValueError("not packed arrays")
    points = np.frombuffer(data, "<f8", 3 * first, _HEADER.size).reshape(-1, 3).astype(np.float64)
    if magic == _CLOUD:
        return CloudArrays(points, second)
    faces = np.frombuffer(data, "<i8", 3 * second, _HEADER.size + 24 * first).reshape(-1, 3).astype(np.int64)
    return MeshArrays(points, faces)


def sha256_of(data: bytes) -> str:
    """SHA-256 of packed arrays, which names them in the spool."""
    return hashlib.sha256(data).hexdigest()
