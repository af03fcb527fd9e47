import math

import pytest

from gcbench.training.schedules import learning_rate


def test_a_line_that_reaches_the_peak_in_its_last_step_then_a_cosine_to_the_floor():
    rates = [learning_rate(step, 100, peak=3.0, warm_up=2, floor=0.01) for step in range(100)]
    assert rates[:3] == [1.5, 3.0, 3.0]
    assert rates[51] == pytest.approx(3 * (0.01 + 0.99 * (1 + math.cos(math.pi / 2)) / 2))
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0.03 < rates[-1] < 0.032


def test_a_line_from_a_start_in_fractions():
    def rate(done: float, warm_up: float) -> float:
        return learning_rate(done, 1, peak=1.0, warm_up=warm_up, start=0.1)

    assert rate(0.0, 0.2) == pytest.approx(0.1)
    assert rate(0.1, 0.2) == pytest.approx(0.55)
    assert rate(0.2, 0.2) == pytest.approx(1.0)
    assert rate(0.6, 0.2) == pytest.approx(0.5)
    assert rate(1.0, 0.2) == pytest.approx(0.0)
    assert rate(0.0, 0.0) == pytest.approx(1.0)
    assert rate(0.5, 1.0) == pytest.approx(0.55)


def test_a_training_of_one_step():
    assert learning_rate(0, 1, peak=2.0, warm_up=1) == learning_rate(0, 1, peak=2.0) == 2.0
