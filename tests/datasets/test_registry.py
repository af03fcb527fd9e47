import os
import subprocess
import sys
from pathlib import Path

import pytest

from gcbench.datasets import DATASETS, open_dataset
from gcbench.datasets.registry import split_names
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


def test_commas_in_names_of_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a, b", "c", "root/d,e,f"):
        (tmp_path / name).mkdir(parents=True)
    assert split_names("a, b,c") == ["a, b", "c"]
    assert split_names("ama,a, b") == ["ama", "a, b"]
    assert split_names("d,e,f,ama", tmp_path / "root") == ["d,e,f", "ama"]
    assert split_names("no,such,one") == ["no", "such", "one"]
    (tmp_path / "ama,c").mkdir()
    assert split_names("ama,c") == ["ama", "c"], "where every part is there, the parts count"
    assert split_names("./ama,c") == ["./ama,c"]


def test_a_folder_with_an_odd_name_is_found_by_its_name_in_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = Path(os.fsdecode(b"caf\xe9\x1b"))
    odd.mkdir()
    dataset = open_dataset(str(odd))
    assert dataset.name == "caf\\xe9\\x1b"
    assert open_dataset(dataset.name).path == tmp_path / odd


def test_names_that_no_path_can_have_are_one_line(tmp_path):
    for name in ("x" * 5000, "~nobody-has-this-name/x", "a\0b"):
        with pytest.raises(UsageError, match="is neither a dataset nor a folder"):
            open_dataset(name, tmp_path)
