"""`bench encode` of a set: the frames of a motion follow each other where the codec uses sequences."""

from __future__ import annotations

import trimesh

from gcbench.bench.plan.planning import groups_of
from gcbench.bench.use.encoding import planned
from gcbench.codecs.mpeg.vdmc import Vdmc
from gcbench.codecs.mpeg.vpcc import Vpcc


def test_files_beside_a_sequence_file_are_frames(tmp_path):
    walk = tmp_path / "walk"
    walk.mkdir()
    (walk / "sequence.toml").touch()
    paths = [walk / "f10.ply", tmp_path / "lone.ply", walk / "f9.ply"]
    for path in paths:
        trimesh.creation.box().export(path)
    meshes = planned(paths)
    for codec in (Vdmc(mode="inter"), Vpcc(mode="random-access")):
        ((group, sequences),) = groups_of(meshes, codec)
        assert [mesh.source.mesh for mesh in group] == ["f9", "f10", "lone"]
        assert sequences == (range(2),)
    assert [group for group, _ in groups_of(meshes, Vdmc())] == [(mesh,) for mesh in meshes]
