"""A normalised mesh goes back to where it was."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from gcbench.datasets import MeshSource, load
from gcbench.datasets.placement import Placement, placement_of
from gcbench.errors import BadMesh


def test_a_mesh_goes_back(tmp_path):
    mesh = trimesh.creation.box((2.0, 6.0, 1.0))
    mesh.apply_translation((100.0, -3.0, 0.25))
    vertices = np.vstack([mesh.vertices, [[1e6, 1e6, 1e6]]])  # a vertex that no face uses is not part of the box
    trimesh.Trimesh(vertices, mesh.faces, process=False).export(tmp_path / "box.ply")
    source = MeshSource("files", "box", tmp_path / "box.ply")
    place = placement_of(source)
    assert place == Placement((100.0, -3.0, 0.25), 3.0)
    assert np.allclose(place.restore(load(source).mesh.vertices), mesh.vertices, rtol=0, atol=1e-13)


def test_a_huge_box_does_not_overflow(tmp_path):
    (tmp_path / "a.obj").write_text("v 1e308 0 0\nv 1.5e308 1 0\nv 1e308 0 1\nf 1 2 3\n")
    assert placement_of(MeshSource("files", "a", tmp_path / "a.obj")).centre[0] == pytest.approx(1.25e308)


def test_no_mesh(tmp_path):
    (tmp_path / "a.obj").write_text("nothing")
    with pytest.raises(BadMesh, match=r"a\.obj"):
        placement_of(MeshSource("files", "a", tmp_path / "a.obj"))
    with pytest.raises(BadMesh, match="cannot be read"):
        placement_of(MeshSource("files", "b", tmp_path / "b.obj"))
