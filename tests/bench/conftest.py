"""Processes that all tests of the bench share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _shared_packers() -> Iterator[None]:
    """Let the meshes of all reports be packed by the same two processes: each takes two seconds to start."""
    from gcbench.bench.report import scenes

    packers = scenes.ProcessPoolExecutor(2, mp_context=scenes.get_context("spawn"))
    end = packers.shutdown
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packers, "shutdown", lambda **_: None)
        patch.setattr(scenes, "ProcessPoolExecutor", lambda *_, **__: packers)
        yield
    end()
