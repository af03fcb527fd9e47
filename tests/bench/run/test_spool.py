from __future__ import annotations

import numpy as np
import pytest

from gcbench.bench.run.arrays import MeshArrays, pack, sha256_of
from gcbench.bench.run.spool import Spool


def mesh(number: int) -> MeshArrays:
    return MeshArrays(np.full((4, 3), float(number)), np.array([[0, 1, 2]]))


SIZE = len(pack(mesh(0)))


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", max_bytes=2 * SIZE)


def test_what_is_put_is_got_until_it_is_dropped(spool):
    name = spool.put(mesh(1))
    assert name == sha256_of(pack(mesh(1)))
    assert spool.has(name)
    np.testing.assert_array_equal(spool.get(name).vertices, mesh(1).vertices)
    spool.drop(name)
    spool.drop(name)
    assert not spool.has(name)
    assert spool.get(name) is None
    assert not spool.has(None)


def test_it_is_bounded_and_says_the_name_all_the_same(spool):
    names = [spool.put(mesh(i)) for i in range(4)]
    assert [spool.has(name) for name in names] == [True, True, False, False]
    assert names[3] == sha256_of(pack(mesh(3)))
    assert spool.put(mesh(0)) == names[0]
    spool.drop(names[0])
    spool.put(mesh(2))
    assert [spool.has(name) for name in names] == [False, True, True, False]
    assert sum(file.stat().st_size for file in spool.path.iterdir()) == 2 * SIZE


def test_what_is_measured_next_finds_room_in_a_full_spool(spool):
    """Else a spool full of one set would stop the measurements of another."""
    for i in range(2):
        spool.put(mesh(i))
    assert spool.get(spool.put(mesh(2), at_once=True)) is not None


@pytest.mark.parametrize("damage", ["other", "torn", "empty"])
def test_what_was_changed_is_not_trusted(spool, damage, caplog):
    name = spool.put(mesh(1))
    data = {"other": pack(mesh(2)), "torn": pack(mesh(1))[:-1], "empty": b""}[damage]
    (spool.path / name).write_bytes(data)
    assert spool.has(name)
    assert spool.get(name) is None
    assert "is damaged" in caplog.text
    assert not spool.has(name), "it makes room for a good one"


def test_a_folder_that_cannot_be_made_is_an_empty_spool(tmp_path):
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "spool")
    name = spool.put(mesh(1), at_once=True)
    assert not spool.has(name)
    assert spool.get(name) is None
    spool.drop(name)


def test_no_partial_file_is_left_by_a_full_disk(spool, monkeypatch):
    from pathlib import Path

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    spool.put(mesh(1))
    assert not list(spool.path.iterdir())
