import hashlib

import pytest

from gcbench.datasets.mixed import MESHES_OF_EACH, Mixed, draw
from gcbench.errors import DatasetMissing


def test_the_draw_is_fixed_for_ever():
    lines = [f"{n}.obj" for n in range(1000)]
    drawn = draw("thingi10k", lines)
    assert len(set(drawn)) == MESHES_OF_EACH == 200
    assert drawn == draw("thingi10k", reversed(lines))
    assert drawn[:3] == ("791.obj", "226.obj", "449.obj")
    assert drawn != draw("ama", lines)
    every = {line: hashlib.sha256(f"0:thingi10k:{line}".encode()).hexdigest() for line in lines}
    assert max(every[line] for line in drawn) < min(every[line] for line in set(lines) - set(drawn))


def test_all_takes_what_is_there_and_alternates(tmp_path):
    for path in [
        "ama/crane/mesh_0001.obj",
        "ama/crane/mesh_0002.obj",
        "ama/crane/mesh_0003.obj",
        "thingi10k/raw_meshes/9.stl",
    ]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    selection = Mixed().select("all", tmp_path)
    assert [s.mesh for s in selection.sources] == [
        "ama/crane/mesh_0001",
        "thingi10k/9",
        "ama/crane/mesh_0002",
        "ama/crane/mesh_0003",
    ]
    assert {s.dataset for s in selection.sources} == {"mixed"}
    assert "no dt4d meshes" in selection.remedy
    with pytest.raises(DatasetMissing, match="no ama, dt4d or thingi10k meshes"):
        Mixed().select("all", tmp_path / "gone")


def test_paper_is_200_of_each(tmp_path, monkeypatch):
    lists = {
        "ama": tuple(f"crane,mesh_{n:04}.obj" for n in range(500)),
        "dt4d": tuple(f"bear_a {n:04}.obj" for n in range(500)),
        "thingi10k": tuple(f"{n}.obj" for n in range(1000)),
    }
    monkeypatch.setattr("gcbench.datasets.published.official_list", lambda name, root, cache: lists[name])
    drawn = draw("ama", lists["ama"])
    (tmp_path / "crane").mkdir()
    (tmp_path / "crane" / drawn[5].partition(",")[2]).touch()
    selection = Mixed().select("paper", tmp_path)
    assert [s.mesh for s in selection.sources] == [f"ama/crane/{drawn[5][6:-4]}"]
    counts = [sum(m.mesh.startswith(prefix) for m in selection.missing) for prefix in ("ama/", "dt4d/", "thingi10k/")]
    assert counts == [199, 200, 200]
    assert "bench data fetch ama" in selection.remedy
    assert "bench data import dt4d" in selection.remedy


def test_real_data(real_data):
    assert len(Mixed().select("all", real_data).sources) == 76
    paper = Mixed().select("paper", real_data)
    assert len(paper.sources) + len(paper.missing) == 600
