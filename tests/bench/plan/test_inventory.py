"""What mesh files hold is remembered, forgotten when a file changes, and never needed."""

from __future__ import annotations

import os
import time

import pytest
import trimesh

from gcbench.bench.plan import inventory
from gcbench.bench.plan.inventory import Inventory
from gcbench.bench.plan.planning import make_plan
from gcbench.datasets import MeshSource
from gcbench.datasets.loading import LOADER_VERSION


@pytest.fixture
def cache(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv("GCBENCH_CACHE", str(path))
    return path


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the meshes that were really read."""
    seen, read = [], inventory._read

    def counted(source, cache):
        seen.append(source.mesh)
        return read(source, cache)

    monkeypatch.setattr(inventory, "_read", counted)
    return seen


def settle(path, seconds: float = 60) -> None:
    """Let a file look as if it had been written a while ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def settled(folder):
    for file in folder.iterdir():
        settle(file)
    return folder


def test_a_second_plan_reads_no_mesh(settled, cache, reads):
    first = make_plan(str(settled), "test-exact")
    assert sorted(reads) == ["broken", "shape0", "shape1", "shape2"]
    reads.clear()
    assert make_plan(str(settled), "test-exact") == first
    assert not reads
    assert [mesh.source.mesh for mesh in first.bad_inputs] == ["broken"], "why a mesh is bad is remembered too"


@pytest.mark.parametrize("way", ["size", "time", "inode"])
def test_a_changed_file_is_read_again(settled, cache, reads, way):
    file = settled / "shape1.ply"
    before = {m.source.mesh: m for m in make_plan(str(settled), "test-exact").meshes}
    state = file.stat()
    reads.clear()
    if way == "size":
        trimesh.creation.icosphere(1).export(file)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    if way == "time":
        settle(file, 30)
    if way == "inode":  # another file of the same size and time takes its place
        other = file.with_suffix(".new")
        other.write_bytes(trimesh.creation.box((1, 2, 3)).export(file_type="ply"))
        os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
        other.replace(file)
        assert file.stat().st_size == state.st_size
    after = {m.source.mesh: m for m in make_plan(str(settled), "test-exact").meshes}
    assert reads == ["shape1"]
    assert (after["shape1"].sha256 != before["shape1"].sha256) == (way != "time")
    assert after["shape0"] == before["shape0"]


def test_a_file_that_was_written_just_now_is_not_trusted_yet(folder, cache, reads):
    source = MeshSource("d", "m", folder / "shape0.ply")
    with_it = Inventory(cache)
    assert with_it.read(source) == with_it.read(source)
    assert reads == ["m", "m"]
    settle(source.path)
    assert with_it.read(source) == with_it.read(source)
    assert reads == ["m"] * 3
    with_it.close()


@pytest.mark.parametrize("rubbish", [b"rubbish, not a database" * 100, b""])
def test_an_inventory_that_cannot_be_read_costs_time_only(settled, cache, reads, rubbish):
    good = make_plan(str(settled), "test-exact")
    (file,) = cache.glob(f"inventory-{LOADER_VERSION}.sqlite")
    for part in cache.glob("inventory-*"):
        part.unlink()
    file.write_bytes(rubbish)
    reads.clear()
    assert make_plan(str(settled), "test-exact") == good
    assert len(reads) == 4


def test_facts_of_another_shape_are_made_again(settled, cache, reads):
    source = MeshSource("d", "m", settled / "shape0.ply")
    stock = Inventory(cache)
    good = stock.read(source)
    for facts in ('{"invented": 1}', "not json", "[]"):
        stock._file.execute("UPDATE mesh SET facts = ?", (facts,))
        assert stock.read(source) == good
    stock.close()
    assert reads == ["m"] * 4


def test_a_folder_that_cannot_be_written_costs_time_only(settled, tmp_path, reads):
    (tmp_path / "file").write_text("")
    source = MeshSource("d", "m", settled / "shape0.ply")
    stock = Inventory(tmp_path / "file" / "cache")
    assert stock.read(source).vertices == 162
    stock.close()
