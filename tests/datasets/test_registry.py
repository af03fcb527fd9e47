import subprocess
import sys

import pytest

from gcbench.datasets import DATASETS, open_dataset
from gcbench.errors import UsageError


@pytest.mark.parametrize("name", ["ama", "dt4d", "thingi10k", "mixed"])
def test_builtins(name):
    dataset = open_dataset(name)
    assert (dataset.name, dataset.default_split, dataset.splits) == (name, "mini", ("mini", "paper", "all"))
    assert len(dataset.describe().splitlines()) == 1
    assert DATASETS.is_builtin(name)


def test_folders_absolute_relative_and_under_the_root(tmp_path, monkeypatch):
    (tmp_path / "root" / "animals" / "cats").mkdir(parents=True)
    (tmp_path / "here" / "mine").mkdir(parents=True)
    root = tmp_path / "root"
    monkeypatch.chdir(tmp_path / "here")
    assert open_dataset("animals", root).name == "animals"
    assert open_dataset("animals/cats", root).name == "animals/cats"
    assert open_dataset(str(root / "animals"), root).name == "animals"
    assert open_dataset("mine", root).name == "mine"
    assert open_dataset("../here/mine").name == "mine"
    assert open_dataset(".", root).name == "here"


def test_a_folder_never_passes_for_a_dataset(tmp_path, monkeypatch):
    (tmp_path / "ama").mkdir()
    monkeypatch.chdir(tmp_path)
    assert open_dataset("ama", tmp_path).describe().startswith("AMA")
    assert open_dataset("./ama", tmp_path).name == "folder-ama"


def test_unknown_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "animals").mkdir()
    with pytest.raises(UsageError, match="'animls' is neither a dataset nor a folder; did you mean animals"):
        open_dataset("animls", tmp_path)
    with pytest.raises(UsageError, match="did you mean thingi10k"):
        open_dataset("thingy10k")
    with pytest.raises(UsageError, match="datasets: ama, dt4d, thingi10k, mixed"):
        open_dataset("/no/such/folder")
    (tmp_path / "a.obj").touch()
    with pytest.raises(UsageError, match=r"'a\.obj' is a file; give the folder"):
        open_dataset("a.obj")


def test_importing_the_datasets_imports_nothing_heavy():
    heavy = ["trimesh", "pooch", "requests", "rich", "open3d"]
    code = f"import sys, gcbench.datasets; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
