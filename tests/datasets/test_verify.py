import hashlib

import numpy as np
import pytest

from gcbench.datasets import open_dataset
from gcbench.datasets.checksums import record_checksums
from gcbench.datasets.verify import verify


@pytest.fixture
def root(tmp_path, cube_obj):
    """A data root with three AMA frames and a folder of one mesh, all listed in CHECKSUMS."""
    sums = {}
    for path in ["ama/crane/mesh_0000.obj", "ama/crane/mesh_0001.obj", "ama/samba/mesh_0000.obj", "mine/a.obj"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(cube_obj)
        sums[path] = hashlib.sha256(cube_obj).hexdigest()
    record_checksums(tmp_path, sums)
    return tmp_path


def _verify(name, root):
    return verify(open_dataset(name, root), root)


def test_all_is_well(root):
    report = _verify("ama", root)
    assert (report.meshes, report.files, report.matching, report.unlisted, report.exit_code) == (3, 3, 3, 0, 0)
    assert report.paper_total is None
    assert "bench data fetch lists" in report.paper_note
    folder = _verify("mine", root)
    assert (folder.matching, folder.paper_note, folder.exit_code) == (1, "", 0)


def test_changed_absent_unusable_and_unlisted(root, cube_obj):
    (root / "ama/crane/mesh_0000.obj").write_bytes(cube_obj + b"#")
    (root / "ama/crane/mesh_0001.obj").unlink()
    (root / "ama/samba/mesh_0009.obj").write_bytes(b"v 0 0 0\n")
    report = _verify("ama", root)
    assert report.changed == ("ama/crane/mesh_0000.obj",)
    assert report.absent == ("ama/crane/mesh_0001.obj",)
    assert [mesh for mesh, _ in report.unusable] == ["samba/mesh_0009"]
    assert (report.matching, report.unlisted, report.exit_code) == (1, 1, 1)
    assert _verify("mine", root).exit_code == 0  # the others' troubles are not its own
    assert _verify("mixed", root).absent == ("ama/crane/mesh_0001.obj",)


def test_the_manifest_counts_for_more_than_what_was_recorded(root, cube_obj):
    (root / "MANIFEST.csv").write_text(f"dataset,path,sha256\nx,mine/a.obj,{'0' * 64}\nx,mine/b.obj,{'0' * 64}\n")
    report = _verify("mine", root)
    assert (report.changed, report.absent, report.exit_code) == (("mine/a.obj",), ("mine/b.obj",), 1)


def test_nothing_there(root):
    report = _verify("thingi10k", root)
    assert (report.meshes, report.exit_code) == (0, 3)
    assert "bench data fetch thingi10k" in report.paper_note


def test_all_frames_of_an_animation_are_read(root, anime_bytes, cube):
    path = root / "animals" / "bear_a" / "bear_a.anime"
    path.parent.mkdir(parents=True)
    frames = np.stack([cube[0]] * 3).astype(np.float32)
    path.write_bytes(anime_bytes(frames, cube[1]))
    report = _verify("dt4d", root)
    assert (report.meshes, report.files, report.exit_code) == (3, 1, 0)
    frames[2] = np.inf
    path.write_bytes(anime_bytes(frames, cube[1]))
    assert [reason for _, reason in _verify("dt4d", root).unusable] == [
        "frame 2 has positions that are NaN or infinite"
    ]


@pytest.mark.slow
def test_real_data(real_data):
    for name, meshes in {"ama": 40, "thingi10k": 36, "animals": 40, "misc": 7}.items():
        report = _verify(name, real_data)
        assert (report.meshes, report.matching, report.exit_code) == (meshes, meshes, 0)
    assert (report.paper_found, report.paper_total) == (None, None)
    assert (_verify("ama", real_data).paper_found, _verify("dt4d", real_data).exit_code) == (39, 3)
