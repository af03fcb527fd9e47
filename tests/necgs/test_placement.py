from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from gcbench.errors import BadMesh
from gcbench.necgs.placement import into_cube, is_normalised, out_of_cube, placement

number = st.floats(-1e4, 1e4, width=32)


@given(x=number, y=number, z=number, scale=st.floats(2**-7, 1e4, width=32))
def test_there_and_back(x, y, z, scale):
    mesh = trimesh.creation.box((2 * scale, scale, scale))
    mesh.apply_translation((x, y, z))
    place = placement(mesh)
    cube = into_cube(mesh, place)
    tolerance = 1e-6 * (1 + max(abs(x), abs(y), abs(z)) / scale)
    assert np.abs(cube.vertices).max() == pytest.approx(1, abs=10 * tolerance)
    np.testing.assert_allclose(
        out_of_cube(np.asarray(cube.vertices), place), mesh.vertices, atol=tolerance * scale, rtol=1e-6
    )


def test_a_normalised_mesh_is_known_as_one():
    box = trimesh.creation.box((2, 1, 0.5))
    assert is_normalised(placement(box))
    box.apply_translation((1e-4, 0, 0))
    assert not is_normalised(placement(box))


def test_vertices_that_no_face_uses_do_not_count():
    box = trimesh.creation.box((2, 1, 0.5))
    loose = trimesh.Trimesh(np.vstack([box.vertices, [[9, 9, np.nan]]]), box.faces, process=False, validate=False)
    assert is_normalised(placement(loose))


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((3, 3)), np.zeros((0, 3), int), "no faces"),
        (np.zeros((3, 3)), [[0, 1, 2]], "extent"),
        ([[0, 0, 0], [1, 0, 0], [0, np.inf, 0]], [[0, 1, 2]], "infinite"),
    ],
)
def test_bad_meshes(vertices, faces, message):
    with pytest.raises(BadMesh, match=message):
        placement(trimesh.Trimesh(vertices, faces, process=False, validate=False))
