import numpy as np
import pytest

from gcbench.datasets import importing
from gcbench.datasets.dt4d import Dt4d
from gcbench.datasets.importing import import_dt4d
from gcbench.datasets.verify import verify
from gcbench.errors import DatasetMissing, DownloadFailed


@pytest.fixture
def download(tmp_path, anime_bytes, cube):
    """A folder as the form's download unpacks: two good animations, and one cut off."""
    folder = tmp_path / "Downloads" / "DeformingThings4D"
    data = anime_bytes(np.stack([cube[0], cube[0] + 1, cube[0] * 2]).astype(np.float32), cube[1])
    for path, content in {
        "animals/bear_a/bear_a.anime": data,
        "animals/deer_b/deer_b.anime": data[:-4],
        "humanoids/clown_c/clown_c.anime": data,
    }.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.mark.parametrize("link", [False, True])
def test_good_files_are_put_in_place_and_bad_ones_named(download, tmp_path, link):
    root = tmp_path / "root"
    steps = []
    report = import_dt4d(download, root, link=link, progress=lambda *step: steps.append(step))
    assert (report.imported, report.unchanged, report.frames) == (["bear_a", "clown_c"], [], 6)
    ((path, reason),) = report.bad
    assert path.name == "deer_b.anime"
    assert "cut off" in reason
    assert steps[-1] == (3, 3, "")
    assert [s.mesh for s in Dt4d().select("all", root).sources][::3] == ["bear_a/0000", "clown_c/0000"]
    placed = root / "dt4d" / "humanoids" / "clown_c" / "clown_c.anime"
    assert placed.is_symlink() == link
    assert [p.name for p in placed.parent.iterdir()] == ["clown_c.anime"]
    checked = verify(Dt4d(), root)
    assert (checked.matching, checked.meshes, checked.files, checked.exit_code) == (2, 6, 2, 0)
    again = import_dt4d(download, root, link=link)
    assert (again.imported, again.unchanged, len(again.bad)) == ([], ["bear_a", "clown_c"], 1)


def test_a_folder_inside_the_download_and_a_changed_file(download, tmp_path):
    root = tmp_path / "root"
    report = import_dt4d(download / "humanoids", root)
    assert report.imported == ["clown_c"]
    assert (root / "dt4d/humanoids/clown_c/clown_c.anime").is_file()
    (root / "dt4d/humanoids/clown_c/clown_c.anime").write_bytes(b"damaged")
    assert import_dt4d(download / "humanoids", root).imported == ["clown_c"]
    assert verify(Dt4d(), root).exit_code == 0


def test_two_files_of_one_name(download, tmp_path):
    (download / "humanoids" / "bear_a").mkdir()
    (download / "humanoids" / "bear_a" / "bear_a.anime").write_bytes(
        (download / "animals/bear_a/bear_a.anime").read_bytes()
    )
    report = import_dt4d(download, tmp_path / "root")
    assert [path.relative_to(download).parts[:2] for path, _ in report.bad] == [
        ("animals", "deer_b"),
        ("humanoids", "bear_a"),
    ]
    assert report.bad[1][1] == f"has the name of {download / 'animals/bear_a/bear_a.anime'}"
    assert report.imported == ["bear_a", "clown_c"]


def test_nothing_to_import(tmp_path):
    with pytest.raises(DatasetMissing, match=r"no \.anime file under"):
        import_dt4d(tmp_path / "gone", tmp_path)


def test_a_full_disk(download, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing.shutil, "copyfile", full)
    with pytest.raises(DownloadFailed, match="the disk is full; free some space, or use --link"):
        import_dt4d(download, tmp_path / "root")
    assert [p for p in (tmp_path / "root").rglob("*") if p.is_file()] == []
