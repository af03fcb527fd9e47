"""Shared fixtures: a cache and data root of the test's own, the test plugin, small meshes on disk, the real data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import trimesh

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory):
    """Keep the user's cache, data and programs out of the tests, and let workers find the test plugin."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("BENCH_DATA", *REAL_PROGRAMS):
            patch.delenv(variable, raising=False)
        patch.setenv("GCBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")])))
        patch.syspath_prepend(str(PLUGIN))
        yield


REAL_DATA = os.environ.get("BENCH_DATA")
REAL_PROGRAMS = {name: os.environ[name] for name in ("GCBENCH_TMC3", "GCBENCH_TMC2") if name in os.environ}


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real meshes; tests that need it are skipped without."""
    if not REAL_DATA:
        pytest.skip("needs real meshes: set BENCH_DATA to their folder")
    return Path(REAL_DATA).resolve()


@pytest.fixture(autouse=True)
def _real_programs(request, monkeypatch) -> None:
    """Let tests that are marked as needing real programs find them; without they are skipped."""
    from gcbench.codecs.mpeg import programs

    needs = {"needs_tmc3": (programs.TMC3,), "needs_vpcc": (programs.PCC_APP_ENCODER, programs.PCC_APP_DECODER)}
    for marker, wanted in needs.items():
        if request.node.get_closest_marker(marker) is None:
            continue
        for program in wanted:
            if program.variable in REAL_PROGRAMS:
                monkeypatch.setenv(program.variable, REAL_PROGRAMS[program.variable])
            if not (found := program.availability()).ok:
                pytest.skip(f"{found.reason}; {found.remedy}")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three small meshes and one that is not a mesh."""
    path = tmp_path / "shapes"
    path.mkdir()
    for index, mesh in enumerate(
        (trimesh.creation.icosphere(2), trimesh.creation.box(), trimesh.creation.torus(2, 0.5))
    ):
        mesh.export(path / f"shape{index}.ply")
    (path / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
