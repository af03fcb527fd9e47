from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import trimesh

from gcbench.errors import BadMesh, BenchError, CodecFailed
from gcbench.geometry.grid import Grid
from gcbench.geometry.tsdf import tsdf
from gcbench.necgs import volumes
from gcbench.necgs.volumes import Recipe, fit_all

PLAIN = Recipe(Grid(32), "none", deformation=False, bits=8, seed=0)


@pytest.fixture(scope="module")
def meshes() -> list[trimesh.Trimesh]:
    return [trimesh.creation.icosphere(2), trimesh.creation.box((2, 1, 1)), trimesh.creation.torus(0.7, 0.3)]


def test_a_plain_volume_is_the_quantised_tsdf(meshes):
    symbols = fit_all(meshes, PLAIN)
    assert symbols.shape == (3, 1, 32, 32, 32)
    assert symbols.dtype == np.int16
    for mesh, volume in zip(meshes, symbols, strict=True):
        np.testing.assert_array_equal(volume[0], np.rint((tsdf(mesh, PLAIN.grid) + 1) * 128))


def test_kept_volumes_are_not_fitted_again(meshes, tmp_path, monkeypatch):
    first = fit_all(meshes[:2], PLAIN, folder=tmp_path)
    fitted = []
    monkeypatch.setattr(volumes, "_fit", lambda *a: fitted.append(a) or np.zeros(PLAIN.shape, np.int16))
    again = fit_all(meshes, PLAIN, folder=tmp_path)
    assert len(fitted) == 1
    np.testing.assert_array_equal(first, again[:2])
    assert not list(tmp_path.glob("*.tmp"))


def test_another_recipe_or_mesh_is_another_volume(meshes):
    others = [
        Recipe(Grid(64), "none", deformation=False, bits=8, seed=0),
        Recipe(Grid(32), "none", deformation=True, bits=8, seed=0),
        Recipe(Grid(32), "closest-point", deformation=False, bits=8, seed=0),
        Recipe(Grid(32), "none", deformation=False, bits=7, seed=0),
        Recipe(Grid(32), "none", deformation=False, bits=8, seed=1),
    ]
    keys = {recipe.key(meshes[0]) for recipe in [PLAIN, *others]} | {PLAIN.key(meshes[1])}
    assert len(keys) == 7


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 broken", None])
def test_a_damaged_volume_is_fitted_again(meshes, tmp_path, damage):
    expected = fit_all(meshes[:1], PLAIN, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    np.testing.assert_array_equal(fit_all(meshes[:1], PLAIN, folder=tmp_path), expected)


def test_progress_counts_meshes_and_may_stop_the_work(meshes, tmp_path):
    class Enough(Exception):
        pass

    def stop(done: float, message: str) -> None:
        seen.append(message)
        if done > 0.5:
            raise Enough

    seen: list[str] = []
    with pytest.raises(Enough):
        fit_all(meshes, PLAIN, folder=tmp_path, progress=stop)
    assert seen == ["fitted 1 of 3 volumes", "fitted 2 of 3 volumes"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(meshes, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write to the work folder"):
        fit_all(meshes[:1], PLAIN, folder=tmp_path / "file")


def _killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow  # processes that import torch
def test_several_processes_give_the_same_and_say_what_was_wrong(meshes):
    np.testing.assert_array_equal(fit_all(meshes, PLAIN, workers=2), fit_all(meshes, PLAIN))
    nothing = trimesh.Trimesh(np.zeros((3, 3)), [[0, 1, 2]], process=False, validate=False)
    with pytest.raises(BadMesh):
        fit_all([nothing, nothing], PLAIN, workers=2)


@pytest.mark.slow
def test_a_killed_process_is_an_error(meshes, monkeypatch):
    monkeypatch.setattr(volumes, "_one_thread", _killed)
    with pytest.raises(CodecFailed, match="killed"):
        fit_all(meshes, PLAIN, workers=2)
