"""A set of results for all tests of the folder: two codecs, two meshes, as a run."""

from __future__ import annotations

import pytest
import trimesh

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run import machine
from gcbench.bench.run.runner import run_plan
from gcbench.bench.site import Reference
from gcbench.bench.store.run import Run


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A folder with one run, ``toys``."""
    folder = tmp_path_factory.mktemp("site")
    meshes = folder / "toys"
    meshes.mkdir()
    trimesh.creation.icosphere(3).export(meshes / "ball.ply")
    trimesh.creation.torus(2, 0.5).export(meshes / "ring.ply")
    store = Run(folder / "reference" / "toys")
    rates = [f"q{bits:02d}" for bits in range(7, 13)]
    plan = make_plan(str(meshes), ["draco", "meshopt"], effort="standard", rates=rates)
    run_plan(plan, store, jobs=1, threads=1, suites=("paper", "surface"))
    run_plan(make_plan(str(meshes), ["draco", "meshopt"], rates=rates, timing=machine.kind()), store)
    store.note(
        "made-up",
        unavailable={"vpcc": "no <b>program</b>"},
        argv=["/x/gcbench/bench/cli/__main__.py", "run", "-d", "/home/me/toys,/x/y"],
    )
    return folder / "reference"


@pytest.fixture(scope="session")
def toys(results):
    """The run, read."""
    return Reference.read(results / "toys")
