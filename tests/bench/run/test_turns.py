"""Who prepares a codec first does so alone."""

from __future__ import annotations

import threading

import pytest

from gcbench.bench.run.turns import FirstAlone


def test_others_wait_for_the_first_and_then_run_side_by_side():
    turns, inside, released = FirstAlone(), threading.Event(), threading.Event()
    together = threading.Barrier(2)
    seen: list[str] = []

    def first():
        with turns.turn("a"):
            inside.set()
            assert released.wait(10)
            seen.append("first")

    def later():
        with turns.turn("a"):
            seen.append("later")
            together.wait(10)  # breaks if the later ones run one after the other

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert inside.wait(10)
    threads += [threading.Thread(target=later) for _ in range(2)]
    for thread in threads[1:]:
        thread.start()
    with turns.turn("b"):  # of another name: nobody waits
        assert not seen
    released.set()
    for thread in threads:
        thread.join(10)
    assert seen == ["first", "later", "later"]
    assert not together.broken


def test_a_first_that_fails_holds_nobody_up():
    turns = FirstAlone()
    with pytest.raises(ValueError, match="broken"), turns.turn("a"):
        raise ValueError("broken")
    with turns.turn("a"), turns.turn("a"):
        pass
