from __future__ import annotations

import struct

import numpy as np
import pytest

from gcbench.bench.run.arrays import CloudArrays, MeshArrays, pack, sha256_of, unpack

VERTICES = np.array([[0.5, -1.0, np.pi], [0.0, -0.0, 1e-300], [1.0, 2.0, np.nan]])
FACES = np.array([[0, 1, 2], [2, 1, 2**40]])


def test_a_mesh_keeps_every_bit():
    back = unpack(pack(MeshArrays(VERTICES, FACES)))
    assert back.vertices.tobytes() == VERTICES.tobytes()
    np.testing.assert_array_equal(back.faces, FACES)
    assert (back.vertices.dtype, back.faces.dtype) == (np.float64, np.int64)


def test_a_cloud_keeps_every_bit():
    back = unpack(pack(CloudArrays(VERTICES, 11)))
    assert isinstance(back, CloudArrays)
    assert (back.points.tobytes(), back.bits) == (VERTICES.tobytes(), 11)


def test_nothing_is_a_mesh_too():
    back = unpack(pack(MeshArrays(np.empty((0, 3)), np.empty((0, 3), np.int64))))
    assert (back.vertices.shape, back.faces.shape) == ((0, 3), (0, 3))


def test_golden_bytes():
    """The name of a decoded mesh is in every record: the same arrays have the same name on every machine."""
    mesh = MeshArrays(np.array([[1.0, 2.0, 3.0]]), np.array([[0, 0, 0]]))
    assert pack(mesh) == b"gcbmesh2" + struct.pack("<QQdddqqq", 1, 1, 1.0, 2.0, 3.0, 0, 0, 0)
    assert pack(CloudArrays(mesh.vertices, 7)) == b"gcbcloud" + struct.pack("<QQddd", 1, 7, 1.0, 2.0, 3.0)
    big = MeshArrays(mesh.vertices.astype(">f8"), np.asfortranarray(mesh.faces.astype(np.int32)))
    assert sha256_of(pack(big)) == sha256_of(pack(mesh))


def test_what_is_short_or_foreign_is_refused():
    data = pack(MeshArrays(VERTICES, FACES))
    for cut in (*range(0, len(data), 7), len(data) - 1):
        with pytest.raises(ValueError, match=r"too short|not packed"):
            unpack(data[:cut])
    for wrong in (data + b"x", b"gcbmesh1" + data[8:]):
        with pytest.raises(ValueError, match="not packed"):
            unpack(wrong)
