import numpy as np
import pytest

from gcbench.datasets.dt4d import Dt4d
from gcbench.datasets.loading import load
from gcbench.errors import BadMesh, DatasetMissing


@pytest.fixture
def put(anime_bytes, cube):
    """Write an animation of n frames into the official layout."""

    def write(base, group, name, n_frames):
        folder = base / group / name
        (folder / "screenshots").mkdir(parents=True)
        frames = cube[0] + np.arange(n_frames).reshape(-1, 1, 1) * np.linspace(0, 1, 24).reshape(8, 3)
        (folder / f"{name}.anime").write_bytes(anime_bytes(frames.astype(np.float32), cube[1]))
        return folder / f"{name}.anime"

    return write


@pytest.mark.parametrize("base", ["", "dt4d", "DT4D", "DeformingThings4D"])
def test_all_is_every_frame_of_every_animation(tmp_path, put, base):
    put(tmp_path / base, "animals", "bear9AK_Jump", 3)
    put(tmp_path / base, "humanoids", "clown_Walk", 2)
    selection = Dt4d().select("all", tmp_path)
    assert [(s.mesh, s.frame) for s in selection.sources] == [
        ("bear9AK_Jump/0000", 0),
        ("bear9AK_Jump/0001", 1),
        ("bear9AK_Jump/0002", 2),
        ("clown_Walk/0000", 0),
        ("clown_Walk/0001", 1),
    ]
    assert len({load(s).sha256 for s in selection.sources}) == 3  # both begin with the same two frames


def test_paper_takes_frames_of_the_list(tmp_path, put, monkeypatch):
    lines = ("bear9AK_Jump 0002.obj", "deer2MB_death2 0033.obj", "bear9AK_Jump 0007.obj", "bear9AK_Jump 0000.obj")
    monkeypatch.setattr("gcbench.datasets.published.official_list", lambda name, root, cache: lines)
    put(tmp_path, "animals", "bear9AK_Jump", 3)
    selection = Dt4d().select("paper", tmp_path)
    assert [(s.mesh, s.frame) for s in selection.sources] == [("bear9AK_Jump/0002", 2), ("bear9AK_Jump/0000", 0)]
    assert [m.mesh for m in selection.missing] == ["deer2MB_death2/0033", "bear9AK_Jump/0007"]
    assert "form" in selection.remedy


def test_a_broken_animation_stands_for_itself(tmp_path, put):
    path = put(tmp_path, "animals", "bear9AK_Jump", 3)
    path.write_bytes(path.read_bytes()[:-1])
    (source,) = Dt4d().select("all", tmp_path).sources
    assert (source.mesh, source.frame) == ("bear9AK_Jump/0000", 0)
    with pytest.raises(BadMesh, match="cut off"):
        load(source)


def test_a_folder_animals_of_other_files_is_never_dt4d(tmp_path):
    (tmp_path / "animals" / "cat").mkdir(parents=True)
    (tmp_path / "animals" / "cat" / "cat.obj").touch()
    with pytest.raises(
        DatasetMissing, match=r"holds no \.anime file, so it is not DeformingThings4D.*--dataset animals"
    ):
        Dt4d().select("all", tmp_path)


def test_real_data_has_none(real_data):
    paper = Dt4d().select("paper", real_data)
    assert (len(paper.sources), len(paper.missing)) == (0, 500)
