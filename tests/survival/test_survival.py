"""Two rounds of kills, one of a full disk and one of a clock that jumps. All rounds: ``python -m tests.survival``."""

from __future__ import annotations

import random
import shutil

import pytest
from survival.rounds import can_mount, clock_round, disk_round, kill_round
from survival.site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    return Site(tmp_path_factory.mktemp("survival"))


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "seed"), [("jobs", 1), ("jobs", 2), ("training", 3)])
def test_a_run_survives_kills(site, scenario, seed):
    made = kill_round(site, scenario, f"kill-{scenario}-{seed}", random.Random(seed))
    assert made.disturbed
    assert made.wrong == []


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="needs root, to mount a small file system")
def test_a_run_survives_a_full_disk(site):
    made = disk_round(site, "jobs", "disk", random.Random(1))
    assert made.disturbed
    assert made.wrong == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, for the clock")
def test_a_run_survives_a_clock_that_jumps(site):
    made = clock_round(site, "jobs", "clock", random.Random(1))
    assert made.disturbed
    assert made.wrong == []
