from gcbench.datasets.thingi10k import Thingi10k


def test_raw_meshes_come_before_reexports_and_ids_are_numbers(tmp_path):
    for path in ["raw_meshes/900.stl", "raw_meshes/32.PLY", "raw_meshes/notes.stl", "raw_meshes/7.txt"]:
        (tmp_path / "Thingi10K" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "Thingi10K" / path).touch()
    (tmp_path / "thingi10k" / "reexport").mkdir(parents=True)
    for name in ["900.obj", "1234.off"]:
        (tmp_path / "thingi10k" / "reexport" / name).touch()
    (tmp_path / "thingi10k" / "raw_meshes").mkdir()
    (tmp_path / "thingi10k" / "raw_meshes" / "1234.stl").touch()
    sources = Thingi10k().select("all", tmp_path).sources
    assert [(s.mesh, s.path.suffix) for s in sources] == [("32", ".PLY"), ("900", ".obj"), ("1234", ".stl")]


def test_the_list_says_obj_and_the_file_is_stl(tmp_path, monkeypatch):
    lines = ("44.obj", "55.obj")
    monkeypatch.setattr("gcbench.datasets.published.official_list", lambda name, root, cache: lines)
    (tmp_path / "raw_meshes").mkdir()
    (tmp_path / "raw_meshes" / "55.stl").touch()
    selection = Thingi10k().select("paper", tmp_path)
    assert [s.mesh for s in selection.sources] == ["55"]
    assert [m.mesh for m in selection.missing] == ["44"]


def test_real_data(real_data):
    assert len(Thingi10k().select("all", real_data).sources) == 36
    paper = Thingi10k().select("paper", real_data)
    assert ({s.mesh for s in paper.sources}, len(paper.missing)) == ({"40509", "88566"}, 998)
