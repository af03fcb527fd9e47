from __future__ import annotations

from gcbench.bench import stages
from gcbench.bench.stages import Settings


def calls(monkeypatch, long_call_s: float) -> tuple[int, int]:
    monkeypatch.setattr(stages, "_LONG_CALL_S", long_call_s)
    seen = []
    _, cost = stages._timed(seen.append, Settings(warm_up=1, repeats=3))
    return len(seen), cost.repeats


def test_a_call_is_warmed_up_and_repeated(monkeypatch):
    assert calls(monkeypatch, 60) == (4, 3)


def test_a_call_as_long_as_training_is_made_once(monkeypatch):
    assert calls(monkeypatch, 0) == (1, 1)
