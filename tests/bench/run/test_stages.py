from __future__ import annotations

import sys
import time

import pytest

from gcbench.bench.run import stages
from gcbench.bench.run.stages import Settings


def calls(monkeypatch, long_call_s: float) -> tuple[int, int]:
    monkeypatch.setattr(stages, "_LONG_CALL_S", long_call_s)
    seen = []
    _, cost = stages._timed(seen.append, Settings(warm_up=1, repeats=3))
    return len(seen), cost.repeats


def test_a_call_is_warmed_up_and_repeated(monkeypatch):
    assert calls(monkeypatch, 60) == (4, 3)


def test_a_call_as_long_as_training_is_made_once(monkeypatch):
    assert calls(monkeypatch, 0) == (1, 1)


def test_stages_of_a_call_are_medians_over_its_repeats(monkeypatch):
    seconds = iter([9.0, 1.0, 5.0, 2.0])  # the first is the warm-up

    def call(ctx) -> None:
        ctx.stage_s = {"coding": next(seconds)}

    _, cost = stages._timed(call, Settings(warm_up=1, repeats=3))
    assert cost.stage_s == {"coding": 2.0}


def test_stages_add_up_within_a_call_and_start_anew_with_the_next():
    def call(ctx) -> None:
        assert not ctx.stage_s
        for _ in range(2):
            with ctx.stage("coding"):
                time.sleep(0.02)

    _, cost = stages._timed(call, Settings(repeats=2))
    assert 0.04 <= cost.stage_s["coding"] <= cost.wall_s


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak can be reset on Linux only")
def test_memory_that_an_earlier_call_freed_counts_again():
    kept = []

    def takes_60_mb(ctx) -> None:
        blocks = [bytearray(60_000) for _ in range(1000)]
        kept.append(bytearray(60_000))  # on top of the heap, so that what lies below is not given back by itself
        del blocks

    settings = Settings(warm_up=0, repeats=1)
    added = [stages._timed(takes_60_mb, settings)[1].added_bytes for _ in range(3)]
    assert all(50e6 < bytes_ < 70e6 for bytes_ in added), added
