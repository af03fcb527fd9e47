import pytest

from gcbench.datasets.ama import OFFICIAL_NAMES, Ama
from gcbench.errors import DatasetMissing, UsageError


def _touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


@pytest.mark.parametrize("base", ["", "ama/", "AMA/"])
def test_every_layout(tmp_path, base):
    _touch(
        tmp_path,
        base + "crane/mesh_0002.obj",
        base + "samba/meshes/mesh_0010.obj",
        base + "D_march/meshes/mesh_0123.obj",
        base + "I_march/mesh_0007.obj",
        base + "D_squat/meshes/mesh_0000.obj",
        base + "crane/mesh_final.obj",  # not a frame
        base + "yoga/mesh_0001.obj",  # not a sequence of AMA
    )
    selection = Ama().select("all", tmp_path)
    assert [(s.mesh, s.path.relative_to(tmp_path).as_posix()) for s in selection.sources] == [
        ("crane/mesh_0002", base + "crane/mesh_0002.obj"),
        ("march1/mesh_0007", base + "I_march/mesh_0007.obj"),
        ("march2/mesh_0123", base + "D_march/meshes/mesh_0123.obj"),
        ("samba/mesh_0010", base + "samba/meshes/mesh_0010.obj"),
        ("squat2/mesh_0000", base + "D_squat/meshes/mesh_0000.obj"),
    ]
    assert selection.missing == ()


def test_a_mesh_in_two_layouts_is_there_once(tmp_path):
    _touch(tmp_path, "ama/crane/mesh_0001.obj", "ama/I_crane/meshes/mesh_0001.obj", "ama/I_crane/meshes/mesh_0000.obj")
    sources = Ama().select("all", tmp_path).sources
    assert [s.path.relative_to(tmp_path / "ama").as_posix() for s in sources] == [
        "I_crane/meshes/mesh_0000.obj",
        "crane/mesh_0001.obj",
    ]


def test_nothing_there(tmp_path):
    for root in (tmp_path, tmp_path / "gone", None):
        with pytest.raises(DatasetMissing, match=r"no ama meshes .*bench data fetch ama"):
            Ama().select("all", root)
    with pytest.raises(UsageError, match="dataset 'ama' has no split 'test'; it has: mini, paper, all"):
        Ama().select("test", tmp_path)


def test_paper_is_the_list_in_its_order_and_names_what_is_missing(tmp_path, monkeypatch):
    lines = ("samba,mesh_0003.obj", "crane,mesh_0001.obj", "march2,mesh_0002.obj")
    monkeypatch.setattr("gcbench.datasets.published.official_list", lambda name, root, cache: lines)
    _touch(tmp_path, "crane/mesh_0001.obj", "T_samba/meshes/mesh_0003.obj", "crane/mesh_0009.obj")
    selection = Ama().select("paper", tmp_path)
    assert [s.mesh for s in selection.sources] == ["samba/mesh_0003", "crane/mesh_0001"]
    assert [(m.dataset, m.mesh) for m in selection.missing] == [("ama", "march2/mesh_0002")]
    assert "bench data fetch ama" in selection.remedy
    assert len(Ama().select("paper", None).missing) == 3


def test_real_data(real_data):
    assert len(Ama().select("all", real_data).sources) == 40
    paper = Ama().select("paper", real_data)
    assert (len(paper.sources), len(paper.missing)) == (39, 461)
    assert {m.mesh.partition("/")[0] for m in paper.missing} <= set(OFFICIAL_NAMES)
