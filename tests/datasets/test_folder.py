import pytest

from gcbench.datasets.folder import FolderDataset, mesh_files
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
    assert sorted(p.relative_to(tmp_path / "set").as_posix() for p in mesh_files(tmp_path / "set")) == [
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
