"""Random training meshes: equal for equal seeds, in their cube, closed where that is promised, in motion."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from gcbench.datasets.minis import humans, variations, varied_humans
from gcbench.datasets.minis.cad import cylinder
from gcbench.datasets.minis.figures import Figure, blended, eased, mirrored_pose, proportioned
from gcbench.datasets.minis.sculpt import Loft, surface
from gcbench.datasets.minis.skeleton import Bone, pose_bones
from gcbench.datasets.minis.variations import Subject, make, planned
from gcbench.datasets.minis.varied_cad import random_part
from gcbench.geometry import files

KINDS = ("human", "animal", "cad", "shape")


@pytest.fixture(scope="module")
def made() -> dict[str, list[trimesh.Trimesh]]:
    """A few subjects of each kind, loaded without any repair."""
    return {
        kind: [
            trimesh.Trimesh(vertices, faces, process=False)
            for number in range(3)
            for _, vertices, faces in make(Subject(kind, number, 1, 11))
        ]
        for kind in KINDS
    }


class TestPlan:
    def test_shares_and_count(self):
        plan = planned(4000, 3)
        meshes = Counter(kind for subject in plan for kind in [subject.kind] * subject.frames)
        assert sum(meshes.values()) == 4000
        for kind, share in (("human", 0.45), ("animal", 0.25), ("cad", 0.10), ("shape", 0.20)):
            assert meshes[kind] / 4000 == pytest.approx(share, abs=0.04)
        moving = sum(s.frames for s in plan if s.kind == "human" and s.frames > 1)
        assert moving / meshes["human"] == pytest.approx(0.5, abs=0.06)

    def test_names_are_unique_and_in_order(self):
        names = [name for subject in planned(300, 0) for name in subject.names()]
        assert len(set(names)) == 300
        assert Subject("human", 7, 4, 0).names() == [f"human-0007-{i}" for i in range(4)]
        assert Subject("cad", 12, 1, 0).names() == ["cad-0012"]


class TestMeshes:
    @pytest.mark.parametrize("kind", KINDS)
    def test_fill_the_cube(self, made, kind):
        for mesh in made[kind]:
            span = np.ptp(mesh.vertices, axis=0)
            assert span.max() == pytest.approx(2)
            np.testing.assert_allclose(mesh.vertices.max(0), span / 2, atol=1e-12)
            assert np.array_equal(np.unique(mesh.faces), np.arange(len(mesh.vertices)))

    @pytest.mark.parametrize("kind", ["human", "animal", "cad"])
    def test_closed_and_outside_out(self, made, kind):
        for mesh in made[kind]:
            assert mesh.is_watertight
            assert mesh.is_winding_consistent
            assert mesh.volume > 0

    @pytest.mark.parametrize("kind", ["human", "animal"])
    def test_bodies_are_one_piece_of_moderate_size(self, made, kind):
        for mesh in made[kind]:
            assert mesh.body_count == 1
            assert 3_000 < len(mesh.faces) < 60_000

    @pytest.mark.parametrize("kind", KINDS)
    def test_subjects_differ(self, made, kind):
        assert len({(len(mesh.vertices), round(mesh.volume, 6)) for mesh in made[kind]}) == len(made[kind])

    @pytest.mark.parametrize("kind", KINDS)
    def test_equal_seeds_give_equal_meshes(self, made, kind):
        (_, vertices, faces), *_ = make(Subject(kind, 2, 1, 11))
        assert np.array_equal(vertices, made[kind][2].vertices)
        assert np.array_equal(faces, made[kind][2].faces)
        (_, other, _), *_ = make(Subject(kind, 2, 1, 12))
        assert len(other) != len(vertices) or not np.allclose(other, vertices)

    def test_a_sequence_is_one_body_that_moves_a_little(self):
        frames = [trimesh.Trimesh(v, f, process=False) for _, v, f in make(Subject("human", 5, 4, 0))]
        assert len(frames) == 4
        steps = [cKDTree(b.vertices).query(a.vertices)[0].mean() for a, b in pairwise(frames)]
        whole = cKDTree(frames[3].vertices).query(frames[0].vertices)[0].mean()
        assert min(steps) > 0.001
        assert max(steps) < 0.1
        assert whole > max(steps)


class TestCommand:
    @pytest.mark.slow
    def test_files_in_two_processes_are_those_of_one(self, tmp_path):
        command = [sys.executable, "-m", "gcbench.datasets.minis.variations", "--count", "6", "--seed", "4"]
        hashes = []
        for processes in ("1", "2"):
            folder = tmp_path / processes
            subprocess.run([*command, "--processes", processes, "-o", str(folder)], check=True)
            hashes.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()})
        assert hashes[0] == hashes[1]
        names = [name for subject in planned(6, 4) for name in subject.names()]
        assert sorted(hashes[0]) == sorted(f"{name}.ply" for name in names)
        expected = {name: (vertices, faces) for name, vertices, faces in variations.variations(6, 4)}
        for name in names:
            mesh = files.read((tmp_path / "1" / f"{name}.ply").read_bytes(), ".ply")
            assert np.array_equal(mesh.vertices, expected[name][0].astype(np.float32))
            assert np.array_equal(mesh.faces, expected[name][1])


class TestFigures:
    def test_proportions_stretch_bones_and_flesh(self):
        bones = (Bone("a", "", (0.0, 0.0, 0.0)), Bone("b", "a", (0.0, 1.0, 0.0)))
        loft = Loft("a", (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), ((0.0, 0.1, 0.2), (1.0, 0.1, 0.2)), caps=(0.1, 0.1))
        figure = proportioned(Figure(bones, (loft,)), {"a": (2.0, 3.0, 0.5)})
        assert figure.bones[1].offset == (0.0, 3.0, 0.0)
        (stretched,) = figure.flesh
        assert stretched.end == (0.0, 3.0, 0.0)
        assert stretched.sections[1] == pytest.approx((1.0, 0.2, 0.1, 0.0, 0.0))
        assert stretched.caps == pytest.approx((0.3, 0.3))

    def test_proportions_of_a_left_bone_are_also_those_of_the_right(self):
        figure = proportioned(Figure(humans.BONES, humans.BODY), {"thigh.L": (1.0, 1.5, 1.0)})
        offsets = {bone.name: bone.offset for bone in figure.bones}
        assert offsets["shank.L"][1] == offsets["shank.R"][1] == pytest.approx(-0.645)

    def test_easing_thickens_all_sections(self):
        loft = Loft("a", (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), ((0.0, 0.1, 0.2, 0.03),))
        assert eased(loft, 0.05).sections == [(0.0, pytest.approx(0.15), pytest.approx(0.25), 0.03)]

    def test_mirroring_a_pose_mirrors_the_figure(self):
        pose = humans.POSES["samba"]
        one, other = (pose_bones(humans.BONES, p) for p in (pose, mirrored_pose(pose)))
        for bone in humans.BONES:
            twin = bone.name.replace(".L", ".?").replace(".R", ".L").replace(".?", ".R")
            np.testing.assert_allclose(other[twin].origin, one[bone.name].origin * [-1, 1, 1], atol=1e-12)

    def test_blending_poses(self):
        assert blended([({"a": (10, 0, 0)}, 0.5), ({"a": (0, 4, 0), "b": (0, 0, 8)}, 0.25)]) == {
            "a": (5.0, 1.0, 0.0),
            "b": (0.0, 0.0, 2.0),
        }

    def test_poses_keep_the_limits_of_joints(self):
        for seed in range(50):
            for bone, angles in varied_humans.random_pose(np.random.default_rng(seed)).items():
                low, high = varied_humans.LIMITS[bone.partition(".")[0]]
                assert np.all(np.array(low) <= angles)
                assert np.all(angles <= np.array(high))

    def test_waves_move_the_surface_by_their_amplitude(self):
        """A cylinder's radius along its axis is a sine wave: amplitude 0.02 and three periods."""
        wave = (0.02, 0.0, 0.0, 6 * np.pi, 0.0)
        loft = Loft("b", (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), ((0.0, 0.2, 0.2),), waves=(wave,))
        frames = pose_bones((Bone("b", "", (0.0, 0.0, 0.0)),), {})
        vertices, _ = surface((loft,), frames, voxel=0.01, smoothing=0)
        middle = vertices[(vertices[:, 1] > 0.1) & (vertices[:, 1] < 0.9)]
        expected = 0.2 + 0.02 * np.sin(6 * np.pi * middle[:, 1])
        np.testing.assert_allclose(np.hypot(middle[:, 0], middle[:, 2]), expected, atol=0.004)


def test_parts_are_never_empty():
    for seed in range(40):
        vertices, faces = random_part(np.random.default_rng(seed))
        assert len(faces) >= 4
        assert np.ptp(vertices, axis=0).min() > 0


def test_cylinder_stands_on_its_point():
    low, high = np.reshape(cylinder(1.0, 2.0, 64, (3.0, 0.0, 5.0)).bounding_box(), (2, 3))
    np.testing.assert_allclose([low, high], [[2.0, -1.0, 5.0], [4.0, 1.0, 7.0]], atol=2e-3)
