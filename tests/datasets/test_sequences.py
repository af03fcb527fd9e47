"""Sequences: which meshes are frames of one motion, and in which order."""

from __future__ import annotations

import os

import pytest

from gcbench.datasets.base import MeshSource, Motion
from gcbench.datasets.folder import FolderDataset
from gcbench.datasets.mixed import Mixed
from gcbench.errors import UsageError


def put(root, files: dict[str, str]) -> FolderDataset:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return FolderDataset(root, "some")


def selected(dataset: FolderDataset) -> list[tuple[str, Motion | None]]:
    return [(source.mesh, source.motion) for source in dataset.select("all", None).sources]


def test_meshes_beside_the_file_are_frames_and_no_others(tmp_path):
    files = dict.fromkeys(("a.obj", "walk/m_10.obj", "walk/m_9.obj", "walk/inner/x.obj", "run/2.obj"), "")
    files |= {"walk/sequence.toml": "frames = true\nfps = 30\n", "run/sequence.toml": "frames = false"}
    dataset = put(tmp_path, files)
    assert selected(dataset) == [
        ("a", None),
        ("run/2", None),
        ("walk/inner/x", None),
        ("walk/m_9", Motion("walk", 9, 30)),
        ("walk/m_10", Motion("walk", 10, 30)),
    ]
    assert dataset.select("all", None).notes == ()


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["f2", "f10", "f1"], [("f1", 1), ("f2", 2), ("f10", 10)]),
        (["a_v2", "b_v2", "a_v10"], [("a_v2", 0), ("a_v10", 1), ("b_v2", 2)]),  # a number twice: sorted and counted
        (["end", "start", "p7"], [("end", 0), ("p7", 1), ("start", 2)]),
        (["x0123456789", "x1"], [("x1", 0), ("x0123456789", 1)]),
        (["¹", "²"], [("²", 0), ("¹", 1)]),  # digits, but no numbers
    ],
)
def test_the_number_of_a_frame(names, frames, tmp_path):
    dataset = put(tmp_path, {f"{name}.obj": "" for name in names} | {"sequence.toml": ""})
    assert selected(dataset) == [(name, Motion(".", number)) for name, number in frames]


def test_an_order_numbers_frames_and_may_name_files_that_are_not_here(tmp_path):
    order = 'order = ["rest.obj", "gone.obj", "jump.ply", "a.obj"]\nfps = 12.5'
    dataset = put(tmp_path, {"rest.obj": "", "jump.ply": "", "a.obj": "", "sequence.toml": order})
    assert selected(dataset) == [
        ("rest", Motion(".", 0, 12.5)), ("jump", Motion(".", 2, 12.5)), ("a", Motion(".", 3, 12.5)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("frames = 1", "frames is true or false, not 1"),
        ("fps = 0", "fps is a positive number, not 0"),
        ("fps = true", "fps is a positive number, not True"),
        ("fps = nan", "fps is a positive number, not nan"),
        ("fps = inf", "fps is a positive number, not inf"),
        ("order = []", r"order is a list of different names of files, not \[\]"),
        ('order = ["a.obj", "a.obj"]', "order is a list of different names"),
        ("order = [1]", "order is a list of different names"),
        ('order = ["b.obj"]', "order lacks 'a.obj'"),
        ("frame = true", "unknown key 'frame'; possible are frames, fps, order"),
        ("frames =", "is no TOML"),
        ("x = " + "[" * 5000, "is no TOML"),
        ("#" * (1 << 20) + "#", "is larger than 1 MiB"),
    ],
)
def test_a_wrong_file_is_a_wrong_use(text, why, tmp_path):
    dataset = put(tmp_path, {"a.obj": "", "sequence.toml": text})
    with pytest.raises(UsageError, match=why):
        dataset.select("all", None)


def test_a_file_that_is_none_is_not_waited_for(tmp_path):
    dataset = put(tmp_path, {"a.obj": ""})
    os.mkfifo(tmp_path / "sequence.toml")
    with pytest.raises(UsageError, match="cannot be read: is a named pipe"):
        dataset.select("all", None)
    (tmp_path / "sequence.toml").unlink()
    (tmp_path / "sequence.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is no TOML"):
        dataset.select("all", None)


def test_sequences_of_ama_keep_their_numbers(tmp_path):
    put(
        tmp_path, dict.fromkeys(("ama/crane/mesh_0011.obj", "ama/crane/mesh_0002.obj", "ama/T_samba/mesh_0001.obj"), "")
    )
    found = Mixed().select("all", tmp_path).sources
    assert found == tuple(
        MeshSource("mixed", f"ama/{name}/mesh_{number:04d}", tmp_path / "ama" / folder / f"mesh_{number:04d}.obj",
                   motion=Motion(f"ama/{name}", number))
        for folder, name, number in [("crane", "crane", 2), ("crane", "crane", 11), ("T_samba", "samba", 1)]
    )  # fmt: skip
