import hashlib

import pytest

from gcbench.datasets import lists
from gcbench.datasets.lists import LISTS, OfficialList, official_list
from gcbench.errors import DatasetMissing


@pytest.fixture
def short_list(monkeypatch):
    """Stand-in for a published list: its text, and LISTS that expects it."""
    text = b"crane,mesh_0001.obj\nsamba,mesh_0002.obj\n"
    monkeypatch.setitem(lists.LISTS, "ama", OfficialList("AMA.txt", hashlib.sha256(text).hexdigest(), 2))
    return text


def _put(folder, data):
    (folder / "official_lists").mkdir(parents=True)
    (folder / "official_lists" / "AMA.txt").write_bytes(data)


def test_root_first_then_cache(short_list, tmp_path):
    root, cache = tmp_path / "root", tmp_path / "cache"
    with pytest.raises(DatasetMissing, match=r"AMA\.txt is not here; get it with: bench data fetch lists"):
        official_list("ama", root, cache)
    _put(cache, short_list)
    expected = ("crane,mesh_0001.obj", "samba,mesh_0002.obj")
    assert official_list("ama", root, cache) == official_list("ama", None, cache) == expected
    _put(root, b"something else\n")
    with pytest.raises(DatasetMissing, match=r"not the published list: its SHA-256 is \w{64}, expected .*delete it"):
        official_list("ama", root, cache)


def test_a_published_list_with_the_wrong_content_is_refused(tmp_path):
    _put(tmp_path, b"crane,mesh_0001.obj\n")
    with pytest.raises(DatasetMissing, match=LISTS["ama"].sha256):
        official_list("ama", tmp_path, tmp_path)


def test_urls_are_pinned_to_the_commit():
    assert LISTS["dt4d"].url == (
        "https://raw.githubusercontent.com/rsy6318/NeCGS/55a64b02c0fc744ae8e3fc9cd81ac719abc16faa/data/DT4D.txt"
    )


@pytest.mark.parametrize("dataset", LISTS)
def test_real_lists(real_data, dataset, tmp_path):
    lines = official_list(dataset, real_data, tmp_path)
    assert len(lines) == len(set(lines)) == LISTS[dataset].lines
    assert all(line.endswith(".obj") for line in lines)
