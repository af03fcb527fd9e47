import errno
import os
from pathlib import Path

import pytest

from gcbench.datasets.folder import FolderDataset, search
from gcbench.errors import DatasetMissing, UsageError


def _touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_ids_are_paths_without_suffix_unless_that_is_ambiguous(tmp_path):
    _touch(
        tmp_path,
        "b.obj",
        "a/x.STL",
        "a/y.ply",
        "a/y.off",
        "z.obj",
        "z.obj.stl",
        "README.txt",
        ".hidden.obj",
        ".git/c.obj",
    )
    dataset = FolderDataset(tmp_path, "some")
    sources = dataset.select("all", None).sources
    assert [(s.mesh, s.path.relative_to(tmp_path).as_posix()) for s in sources] == [
        ("a/x", "a/x.STL"),
        ("a/y.off", "a/y.off"),
        ("a/y.ply", "a/y.ply"),
        ("b", "b.obj"),
        ("z", "z.obj"),
        ("z.obj.stl", "z.obj.stl"),
    ]
    assert {s.dataset for s in sources} == {"some"}


def test_links_are_followed_but_not_in_circles(tmp_path):
    _touch(tmp_path, "real/a.obj")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "set" / "circle").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "b.obj").symlink_to(tmp_path / "real" / "a.obj")
    assert sorted(p.relative_to(tmp_path / "set").as_posix() for p in search(tmp_path / "set").meshes) == [
        "b.obj",
        "linked/a.obj",
    ]


def test_only_split_all(tmp_path):
    dataset = FolderDataset(tmp_path, "some")
    assert (dataset.default_split, dataset.splits) == ("all", ("all",))
    with pytest.raises(UsageError, match=r"'some' is a folder .* has no split 'paper', only 'all'"):
        dataset.select("paper", tmp_path)
    with pytest.raises(DatasetMissing, match=r"no mesh files in .*\.obj, \.stl, \.ply, \.off"):
        dataset.select("all", tmp_path)


def test_files_of_other_formats_are_counted_once(tmp_path):
    _touch(tmp_path, "a.obj", "b.blend", "sub/c.BLEND", "README", *(f"x.{c}" for c in "mnopq"), ".hidden.txt")
    (note,) = FolderDataset(tmp_path, "some").select("all", None).notes
    assert note == "some: 8 other files: 2 .blend, 1 without suffix, 1 .m, 1 .n, 1 .o, 2 of other kinds"
    (tmp_path / "a.obj").unlink()
    with pytest.raises(DatasetMissing, match=r"no mesh files in .*; some: 8 other files: 2 \.blend"):
        FolderDataset(tmp_path, "some").select("all", None)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    _touch(tmp_path, "a.obj", "secret/b.obj")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("secret"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    selection = FolderDataset(tmp_path, "some").select("all", None)
    assert [source.mesh for source in selection.sources] == ["a"]
    assert selection.notes == (
        f"the folder {tmp_path / 'secret'} cannot be listed: Permission denied; meshes in it are left out",
    )


def test_odd_names_are_escaped_and_stay_different(tmp_path):
    for name in (b"caf\xe9.obj", b"caf\\xe9.obj", b"a\nb.obj", b"\x1b[31m.obj", "ok é.obj".encode()):
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).touch()
    sources = FolderDataset(tmp_path, "some").select("all", None).sources
    assert [s.mesh for s in sources] == ["\\x1b[31m", "a\\x0ab", "caf\\x5cxe9", "caf\\xe9", "ok é"]
    assert all(source.path.exists() for source in sources)


def test_a_dangling_link_and_a_pipe_are_meshes_that_end_as_bad_input(tmp_path):
    _touch(tmp_path, "a.obj")
    (tmp_path / "b.obj").symlink_to("nowhere")
    os.mkfifo(tmp_path / "c.obj")
    assert [s.mesh for s in FolderDataset(tmp_path, "some").select("all", None).sources] == ["a", "b", "c"]
