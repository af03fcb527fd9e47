"""Targets of a set in a work folder: computed once, found again, and missed with one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from gcbench.errors import BenchError
from gcbench.necgs.designs import sparse_targets
from gcbench.necgs.job import Job


def test_targets_are_kept_in_the_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meshes = [trimesh.creation.icosphere(2, 0.5), trimesh.creation.box((1, 0.5, 0.7))]
    fresh = sparse_targets.targets(meshes, 32, Job())
    kept = sparse_targets.targets(meshes, 32, Job(work=tmp_path))
    assert fresh.identity == kept.identity
    torn = sorted((tmp_path / "targets").iterdir())[0]
    torn.write_bytes(torn.read_bytes()[:100])
    computed = []
    compute = sparse_targets._target
    monkeypatch.setattr(sparse_targets, "_target", lambda *given: computed.append(1) or compute(*given))
    again = sparse_targets.targets(meshes, 32, Job(work=tmp_path))
    assert len(computed) == 1  # the torn one
    for one in (kept, again):
        for a, b in zip(fresh, one, strict=True):
            for name in ("near", "values", "crossed", "means"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert [t.means.sum() for t in fresh[:2]] == [t.means.sum() for t in fresh]


def test_a_target_that_goes_during_training_is_one_line(tmp_path: Path) -> None:
    found = sparse_targets.targets([trimesh.creation.icosphere(2, 0.5)], 32, Job(work=tmp_path))
    next((tmp_path / "targets").iterdir()).unlink()
    with pytest.raises(BenchError, match="start the training again"):
        found[0]
