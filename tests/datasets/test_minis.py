"""The built-in meshes: topology and defects counted exactly, shapes measured, files that survive kills and races."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import igl
import numpy as np
import pytest
import trimesh
from common import rays_hit
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.datasets import minis
from gcbench.datasets.minis import animals, cad, humans
from gcbench.datasets.minis.sculpt import Loft, ellipsoid, sculpt, smooth_min
from gcbench.datasets.minis.skeleton import pose_bones, rotation_matrix
from gcbench.errors import UsageError
from gcbench.geometry.files.obj import read_obj
from gcbench.native import pymeshlab

pytestmark = pytest.mark.long

HUMANS = ["human/" + p for p in ("stand", "walk", "reach", "crane-kick", "samba", "squat")]
ANIMALS = [
    "animal/" + p for p in ("horse-walk", "dog-trot", "cat-stretch", "cow-graze", "horse-gallop-1", "horse-gallop-2")
]
ORGANIC = HUMANS + ANIMALS
# Counted by hand from what is drilled through each part.
CAD_GENUS = {"flange": 10, "enclosure": 5, "gear": 7, "bracket": 5, "hex-bolt": 0, "pipe-tee": 3}
# Faces at an edge → how many such edges, for edges that have not two faces.
CAD_DEFECTS = {
    # The rims of the two rectangles whose faces are missing.
    "heat-sink-open": {1: 8},
    # Two lines of the sheet's ends, two lines where it meets the girder, one line where the girders touch.
    "girder-nonmanifold": {1: 2, 3: 2 * cad.GIRDER_BAYS, 4: cad.GIRDER_BAYS},
}


@pytest.fixture(scope="module")
def meshes() -> dict[str, trimesh.Trimesh]:
    """All twenty, from the cache that the tests share, loaded without any repair."""
    loaded = {}
    for dataset in minis.FAMILIES:
        for source in minis.mini_sources(dataset, Path(os.environ["GCBENCH_CACHE"])):
            read = read_obj(source.path.read_bytes(), "triangulate")
            loaded[source.mesh] = trimesh.Trimesh(read.vertices, read.faces, process=False)
    return loaded


def edge_faces(mesh: trimesh.Trimesh) -> dict[int, int]:
    """Faces at an edge → number of edges, found by a dictionary rather than by the library."""
    edges = Counter(frozenset((f[i], f[i - 1])) for f in mesh.faces.tolist() for i in range(3))
    return dict(Counter(edges.values()))


def components(mesh: trimesh.Trimesh) -> int:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b = mesh.edges.T
    return connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(len(mesh.vertices),) * 2))[0]


def crossings(mesh: trimesh.Trimesh, start: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How far along a ray its line meets each face that it meets: start + t d = a + u (b - a) + v (c - a)."""
    a, b, c = mesh.triangles.transpose(1, 0, 2)
    system = np.stack([b - a, c - a, np.broadcast_to(-direction, a.shape)], axis=2)
    meets = np.abs(np.linalg.det(system)) > 1e-12
    u, v, t = np.linalg.solve(system[meets], (start - a[meets])[..., None])[..., 0].T
    slack = 1e-9  # a line through an edge meets both faces
    return t[(t > 0) & (u >= -slack) & (v >= -slack) & (u + v <= 1 + slack)]


def inside(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    return igl.winding_number(np.asarray(mesh.vertices), np.asarray(mesh.faces), np.asarray(points, float)) > 0.5


class TestTheSet:
    def test_which_meshes_there_are(self, meshes):
        cad_names = ("flange", "heat-sink-open", "enclosure", "gear", "bracket", "hex-bolt", "pipe-tee")
        assert list(meshes) == ORGANIC + [f"cad/{n}" for n in (*cad_names, "girder-nonmanifold")]

    def test_mixed_draws_one_broken_part_and_one_of_genus_ten(self):
        drawn = list(cad.MESHES)[: minis.MIXED_PER_FAMILY]
        assert sum(name in cad.BROKEN for name in drawn) == 1
        assert "cad/flange" in drawn

    def test_exactly_two_are_broken(self, meshes):
        assert {name for name, mesh in meshes.items() if set(edge_faces(mesh)) != {2}} == cad.BROKEN
        assert len(cad.BROKEN) == 2

    def test_arrays_are_as_promised(self, meshes):
        for family in minis.FAMILIES.values():
            _, vertices, faces = next(minis.generate(family))
            assert vertices.dtype == np.float64
            assert faces.dtype == np.int32
        for mesh in meshes.values():
            assert mesh.faces.min() == 0
            assert np.array_equal(np.unique(mesh.faces), np.arange(len(mesh.vertices)))  # no vertex is unused
            assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)
            assert mesh.area_faces.min() > 0

    def test_unknown_family(self):
        with pytest.raises(UsageError, match="humans, animals, cad"):
            list(minis.generate("ama"))


class TestOrganic:
    @pytest.mark.parametrize("name", ORGANIC)
    def test_closed_oriented_one_piece_and_genus_0(self, meshes, name):
        mesh = meshes[name]
        assert edge_faces(mesh) == {2: 3 * len(mesh.faces) // 2}
        assert mesh.is_winding_consistent
        assert mesh.volume > 0
        assert components(mesh) == 1
        assert mesh.euler_number == 2

    @pytest.mark.parametrize("name", ORGANIC)
    def test_as_large_as_a_frame_of_a_capture(self, meshes, name):
        assert 5_000 <= len(meshes[name].vertices) <= 20_000

    @pytest.mark.parametrize("name", ORGANIC)
    def test_does_not_cut_itself(self, meshes, name):
        lab = pymeshlab()
        meshset = lab.MeshSet()
        meshset.add_mesh(lab.Mesh(meshes[name].vertices, meshes[name].faces))
        meshset.compute_selection_by_self_intersections_per_face()
        assert meshset.current_mesh().selected_face_number() == 0

    @pytest.mark.parametrize("name", ORGANIC)
    def test_smooth_and_well_shaped(self, meshes, name):
        mesh = meshes[name]
        # Bends between faces; only fingers, ears and the like are not resolved finely.
        median, most = np.percentile(np.degrees(mesh.face_adjacency_angles), [50, 95])
        assert median < 8
        assert most < 30
        sides = mesh.edges_unique_length
        squares = (sides[mesh.faces_unique_edges] ** 2).sum(axis=1)
        quality = 4 * np.sqrt(3) * mesh.area_faces / squares  # 1 for an equilateral triangle
        assert np.percentile(quality, 1) > 0.4

    def test_human_proportions(self, meshes):
        mesh = meshes["human/stand"]
        stature = np.ptp(mesh.vertices[:, 1])
        assert stature == pytest.approx(humans.STATURE_M, rel=0.01)
        assert 0.055 < mesh.volume < 0.085  # 55 to 85 kg
        # Seven and a half heads: the chin, at 87 % of the stature, is where the face steps back to the throat.
        floor = mesh.vertices[:, 1].min()
        levels = np.linspace(0.84, 0.92, 41)
        front = [mesh.section((0, 1, 0), (0, floor + t * stature, 0)).vertices[:, 2].max() for t in levels]
        chin = levels[int(np.argmax(np.diff(front)))]
        assert chin == pytest.approx(1 - 1 / 7.5, abs=0.015)
        # Two legs below the crotch, at 47 % of the stature.
        sections = [mesh.section((0, 1, 0), (0, floor + t * stature, 0)) for t in (0.45, 0.48)]
        legs = [sum(abs(np.mean(loop[:, 0])) < 0.25 for loop in section.discrete) for section in sections]
        assert legs == [2, 1]

    def test_poses_share_one_body(self, meshes):
        volumes = [meshes[name].volume for name in HUMANS]
        areas = [meshes[name].area for name in HUMANS]
        assert np.ptp(volumes) / np.mean(volumes) < 0.02
        assert np.ptp(areas) / np.mean(areas) < 0.06
        horses = [meshes[name].volume for name in ANIMALS if "horse" in name]
        assert np.ptp(horses) / np.mean(horses) < 0.02

    @pytest.mark.parametrize("names", [HUMANS, [n for n in ANIMALS if "horse" in n]])
    def test_poses_differ(self, meshes, names):
        extents = [meshes[name].extents for name in names]
        for i, one in enumerate(extents):
            for other in extents[:i]:
                assert np.abs(one - other).max() > 0.04

    @pytest.mark.parametrize(
        ("figure", "bones"),
        [(pose, humans.BONES) for pose in humans.POSES]
        + [(pose, animals.SPECIES[pose.partition("-")[0]].bones()) for pose in animals.POSES],
    )
    def test_flesh_covers_the_joints(self, meshes, figure, bones):
        poses, family = (humans.POSES, "human") if figure in humans.POSES else (animals.POSES, "animal")
        frames = pose_bones(bones, poses[figure])
        joints = np.array([frame.origin for frame in frames.values()])
        assert inside(meshes[f"{family}/{figure}"], joints).all()


class TestCad:
    @pytest.mark.parametrize(("name", "genus"), CAD_GENUS.items())
    def test_genus(self, meshes, name, genus):
        mesh = meshes[f"cad/{name}"]
        assert edge_faces(mesh) == {2: 3 * len(mesh.faces) // 2}
        assert mesh.is_winding_consistent
        assert mesh.volume > 0
        assert components(mesh) == 1
        assert (2 - mesh.euler_number) // 2 == genus

    @pytest.mark.parametrize(("name", "defects"), CAD_DEFECTS.items())
    def test_defects(self, meshes, name, defects):
        counted = edge_faces(meshes[f"cad/{name}"])
        counted.pop(2)
        assert counted == defects

    @pytest.mark.parametrize("name", cad.MESHES)
    def test_size_and_sharp_edges(self, meshes, name):
        mesh = meshes[name]
        assert 200 <= len(mesh.faces) <= 10_000
        right_angles = np.abs(np.degrees(mesh.face_adjacency_angles) - 90) < 1
        assert right_angles.sum() > 8

    def test_walls_of_the_enclosure_are_one_percent_thick(self, meshes):
        mesh = meshes["cad/enclosure"]
        assert pytest.approx(0.01 * mesh.extents.max()) == cad.WALL_MM
        # Rays from outside, where no post, vent or cable hole is: in at the wall's face, out a wall further on.
        for axis, start in enumerate([(-5.0, 25.0, 33.0), (25.0, -5.0, 33.0), (60.0, 40.0, -5.0)]):
            first, second = np.unique(np.round(crossings(mesh, np.array(start), np.eye(3)[axis]), 3))[:2]
            assert first == pytest.approx(5.0, abs=1e-3)
            assert second - first == pytest.approx(cad.WALL_MM, abs=2e-3)

    def test_volumes_and_sections_of_closed_forms(self, meshes):
        # The sheet adds no volume: that of two square tubes, 60 mm outside and 54 mm inside.
        closed = [part for part in meshes["cad/girder-nonmanifold"].split(only_watertight=False) if part.is_watertight]
        assert sum(part.volume for part in closed) == pytest.approx(2 * (60**2 - 54**2) * 240, rel=1e-9)

        def polygon(count, radius):
            return 0.5 * count * np.sin(2 * np.pi / count) * radius**2

        loops = meshes["cad/flange"].section((0, 0, 1), (0, 0, 9.0)).discrete
        areas = sorted(0.5 * abs(np.cross(a[:-1], a[1:])[:, 2].sum()) for a in (x * [1, 1, 0] for x in loops))
        expected = [polygon(32, 6.5)] * 8 + [polygon(96, 27.0), polygon(128, 75.0)]
        assert areas == pytest.approx(expected, rel=1e-6)

    def test_gear_has_twenty_four_teeth(self, meshes):
        outline = meshes["cad/gear"].section((0, 0, 1), (0, 0, 8.0))
        tips = np.hypot(*outline.vertices[:, :2].T) > 36.0  # outside of the pitch circle
        angle = np.degrees(np.arctan2(outline.vertices[tips, 1], outline.vertices[tips, 0])) % 360
        gaps = np.diff(np.sort(angle), append=np.sort(angle)[0] + 360)
        assert (gaps > 7).sum() == 24

    def test_thread_is_right_handed_with_its_pitch(self, meshes):
        """The crest climbs one pitch a turn: seen from the side, a quarter of a turn on, it lies a quarter higher."""
        mesh = meshes["cad/hex-bolt"]
        z = np.arange(-40.0, -25.0, 0.05)

        def radius(turn: float) -> np.ndarray:
            direction = np.array([np.cos(turn), np.sin(turn), 0.0])
            origins = np.stack([20 * direction[0] + 0 * z, 20 * direction[1] + 0 * z, z], axis=1)
            return 20.0 - rays_hit(mesh, origins, np.broadcast_to(-direction, origins.shape))[1]

        first, quarter = radius(0.01), radius(0.01 + np.pi / 2)
        shifts = np.arange(0, 35)  # one pitch in steps of 0.05 mm
        match = [np.abs(quarter[s:][:200] - first[:200]).mean() for s in shifts]
        assert shifts[int(np.argmin(match))] * 0.05 == pytest.approx(1.75 / 4, abs=0.08)


class TestSculpt:
    def frames(self):
        return pose_bones((humans.Bone("b", "", (0.0, 0.0, 0.0)),), {})

    def test_ellipsoid_against_its_closed_form(self):
        radii = (0.3, 0.5, 0.2)
        vertices, faces = sculpt([ellipsoid("b", (0.1, 0.2, 0.3), radii)], self.frames(), voxel=0.02, faces=10**6)
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(4 / 3 * np.pi * np.prod(radii), rel=0.01)
        assert np.linalg.norm((vertices - (0.1, 0.2, 0.3)) / radii, axis=1) == pytest.approx(1.0, abs=0.02)

    def test_capsule_against_its_closed_form(self):
        capsule = Loft("b", (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), ((0.0, 0.2, 0.2),), caps=(0.2, 0.2))
        vertices, faces = sculpt([capsule], self.frames(), voxel=0.02, faces=6_000)
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        assert mesh.volume == pytest.approx(np.pi * 0.2**2 * 1.0 + 4 / 3 * np.pi * 0.2**3, rel=0.01)
        assert len(faces) == 6_000

    def test_carving_takes_away(self):
        ball = ellipsoid("b", (0.0, 0.0, 0.0), (0.5, 0.5, 0.5))
        hole = ellipsoid("b", (0.0, 0.0, 0.0), (0.2, 0.2, 0.2), carve=True)
        vertices, faces = sculpt([ball, hole], self.frames(), voxel=0.03, faces=10**6)
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        assert mesh.volume == pytest.approx(4 / 3 * np.pi * (0.5**3 - 0.2**3), rel=0.02)
        assert components(mesh) == 2

    def test_mirror_is_the_mirror_image(self):
        loft = Loft("b", (0.3, 0.0, 0.1), (0.5, 0.4, 0.0), ((0.0, 0.1, 0.06, 0.05, 0.02), (1.0, 0.05, 0.04)))
        one = sculpt([loft], self.frames(), voxel=0.02, faces=10**6)[0]
        other = sculpt([loft.mirror()], self.frames(), voxel=0.02, faces=10**6)[0]
        assert other.min(0) == pytest.approx([-one[:, 0].max(), *one.min(0)[1:]], abs=2e-3)
        assert other.max(0) == pytest.approx([-one[:, 0].min(), *one.max(0)[1:]], abs=2e-3)

    @given(a=st.floats(-1, 1, width=32), b=st.floats(-1, 1, width=32), size=st.floats(0.0625, 0.5, width=32))
    def test_smooth_min_bounds(self, a, b, size):
        x, y = np.array([a], np.float32), np.array([b], np.float32)
        blended = smooth_min(x, y, size)[0]
        assert min(a, b) - size / 4 - 1e-6 <= blended <= min(a, b)
        if abs(a - b) >= size * 1.001:
            assert blended == min(x[0], y[0])

    @given(st.tuples(*[st.floats(-180, 180)] * 3))
    @settings(max_examples=50)
    def test_rotations_are_rotations(self, degrees):
        rotation = rotation_matrix(degrees)
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)

    def test_bones_keep_their_lengths_and_mirror(self):
        rest = pose_bones(humans.BONES, {})
        for pose in humans.POSES.values():
            posed = pose_bones(humans.BONES, pose)
            for bone in humans.BONES:
                if bone.parent:
                    lengths = [np.linalg.norm(f[bone.name].origin - f[bone.parent].origin) for f in (rest, posed)]
                    assert lengths[0] == pytest.approx(lengths[1], abs=1e-12)
        standing = pose_bones(humans.BONES, humans.POSES["stand"])
        assert standing["fingers.R"].origin == pytest.approx(standing["fingers.L"].origin * [-1, 1, 1])

    def test_a_pose_of_an_unknown_bone_is_an_error(self):
        with pytest.raises(KeyError, match="elbow"):
            pose_bones(humans.BONES, {"elbow": (0.0, 0.0, 0.0)})


def fingerprint(folder) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.obj"))}


class TestCache:
    @pytest.mark.slow
    def test_the_same_bytes_in_another_process(self, tmp_path):
        """Also with another number of threads and another seed of the hash function."""
        made = []
        for index, threads in enumerate(("1", "2")):
            cache = tmp_path / threads
            code = (
                "import sys, pathlib; from gcbench.datasets.minis import *; "
                "[mini_sources(d, pathlib.Path(sys.argv[1])) for d in FAMILIES]"
            )
            env = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": str(index)}
            subprocess.run([sys.executable, "-c", code, str(cache)], check=True, env=env)
            root = cache / "minis" / f"v{minis.MINIS_VERSION}"
            made.append({family: fingerprint(root / family) for family in minis.FAMILIES.values()})
        assert made[0] == made[1]
        assert [len(files) for files in made[0].values()] == [6, 6, 8]

    @pytest.mark.slow
    def test_the_same_bytes_again(self, meshes):
        for name in ("human/reach", "animal/cat-stretch", "cad/hex-bolt"):
            family = {"human": "humans", "animal": "animals", "cad": "cad"}[name.partition("/")[0]]
            vertices, faces = minis._make(family, name)
            assert vertices.tobytes() == meshes[name].vertices.tobytes()
            assert np.array_equal(faces, meshes[name].faces)

    def test_files_hold_exactly_what_is_generated(self, tmp_path, meshes):
        sources = minis.mini_sources("thingi10k", tmp_path)
        assert [s.mesh for s in sources] == list(cad.MESHES)
        assert {s.dataset for s in sources} == {"thingi10k"}
        for source in sources:
            rows = [line.split() for line in source.path.read_text().splitlines()]
            vertices = np.array([[float(x) for x in row[1:]] for row in rows if row[0] == "v"])
            faces = np.array([[int(x) for x in row[1:]] for row in rows if row[0] == "f"]) - 1
            assert np.array_equal(vertices, meshes[source.mesh].vertices)
            assert np.array_equal(faces, meshes[source.mesh].faces)

    def test_made_once(self, tmp_path, monkeypatch):
        first = minis.mini_sources("thingi10k", tmp_path)
        times = [s.path.stat().st_mtime_ns for s in first]
        monkeypatch.setattr(minis, "_make", lambda *_: pytest.fail("was made again"))
        assert minis.mini_sources("thingi10k", tmp_path) == first
        assert [s.path.stat().st_mtime_ns for s in first] == times

    def test_only_what_is_absent_is_made(self, tmp_path, monkeypatch):
        sources = {s.mesh: s.path for s in minis.mini_sources("thingi10k", tmp_path)}
        before = fingerprint(sources["cad/gear"].parent)
        sources["cad/gear"].unlink()
        made = []
        real = minis._make
        monkeypatch.setattr(minis, "_make", lambda family, mesh: made.append(mesh) or real(family, mesh))
        minis.mini_sources("thingi10k", tmp_path)
        assert made == ["cad/gear"]
        assert fingerprint(sources["cad/gear"].parent) == before

    def test_a_kill_in_the_middle_leaves_nothing_half_written(self, tmp_path):
        """The process dies, without any clean-up, in the middle of writing its third file."""
        code = (
            "import os, sys, pathlib; from gcbench.datasets import minis; real = minis._write_obj; count = []\n"
            "def dying(path, v, f):\n"
            "    count.append(1)\n"
            "    if len(count) == 3:\n"
            "        path.write_text('v 0.0'); os._exit(9)\n"
            "    real(path, v, f)\n"
            "minis._write_obj = dying; minis.mini_sources('thingi10k', pathlib.Path(sys.argv[1]))"
        )
        assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
        folder = tmp_path / "minis" / f"v{minis.MINIS_VERSION}" / "cad"
        assert len(fingerprint(folder)) == 2
        assert list(folder.glob(".making-*/*.obj"))  # the torn file, where nobody looks
        torn = minis.mini_sources("thingi10k", tmp_path)
        whole = minis.mini_sources("thingi10k", tmp_path / "other")
        assert fingerprint(torn[0].path.parent) == fingerprint(whole[0].path.parent)

    def test_two_processes_at_once(self, tmp_path):
        code = (
            "import sys, pathlib; from gcbench.datasets.minis import mini_sources; sys.stdin.read(1)\n"
            "print(sum(len(s.path.read_bytes()) for s in mini_sources('thingi10k', pathlib.Path(sys.argv[1]))))"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for process in both:
            process.stdin.write("x")
            process.stdin.flush()
        sizes = [process.communicate(timeout=60)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert sizes[0] == sizes[1] != ""
        folder = tmp_path / "minis" / f"v{minis.MINIS_VERSION}" / "cad"
        assert sorted(p.name for p in folder.iterdir()) == sorted(f"{n[4:]}.obj" for n in cad.MESHES)

    def test_mixed(self, tmp_path, monkeypatch):
        tiny = (np.eye(3), np.array([[0, 1, 2]], np.int32))
        monkeypatch.setattr(minis, "_make", lambda *_: tiny)
        sources = minis.mini_sources("mixed", tmp_path)
        expected = [f"ama/{m}" for m in HUMANS[:2]] + [f"dt4d/{m}" for m in ANIMALS[:2]]
        expected += [f"thingi10k/{m}" for m in list(cad.MESHES)[:2]]
        assert [s.mesh for s in sources] == expected
        assert {s.dataset for s in sources} == {"mixed"}
        # The same files as of the datasets that it draws from.
        assert {s.path for s in sources} <= {s.path for d in minis.FAMILIES for s in minis.mini_sources(d, tmp_path)}

    def test_a_dataset_without_minis(self, tmp_path):
        with pytest.raises(UsageError, match="mixed"):
            minis.mini_sources("shapenet", tmp_path)
