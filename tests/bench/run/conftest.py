"""Workers to call, and a folder that is large enough to be disturbed."""

from __future__ import annotations

import pytest
import trimesh

from gcbench.bench.run.process import Template, Worker


@pytest.fixture(scope="module")
def template():
    """One for all tests: a template that a test kills is replaced when the next worker is forked."""
    template = Template(threads=1)
    yield template
    template.close()


@pytest.fixture
def worker(template, tmp_path):
    worker = Worker(template, log=tmp_path / "log")
    yield worker
    worker.kill()


@pytest.fixture
def many(tmp_path):
    """A folder of twelve meshes: 37 codings with the two codecs."""
    path = tmp_path / "many"
    path.mkdir()
    for index in range(12):
        trimesh.creation.icosphere(2).apply_scale((1, 1, 1 + index / 10)).export(path / f"m{index:02}.ply")
    return path
