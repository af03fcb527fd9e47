"""The learning rate over a training: a warm-up along a line, then half a cosine."""

from __future__ import annotations

import math


def learning_rate(
    step: float, steps: float, *, peak: float, warm_up: float = 0, start: float = 0.0, floor: float = 0.0
) -> float:
    """Learning rate of a step.

    Parameters
    ----------
    step, steps : float
        Number of the step, from 0 on, and of all steps; or the fraction done, and 1.
    peak : float
        The highest learning rate.
    warm_up : float
        How long the line rises, in the unit of ``step``; 0 is no warm-up.
    start : float
        Fraction of the peak at step 0. With 0, which would make step 0 idle, the line begins one step earlier: it
        rises by ``peak / warm_up`` a step and reaches the peak in the last step of the warm-up.
    floor : float
        Fraction of the peak in which the cosine ends.
    """
    if step < warm_up:
        return peak * (start + (1 - start) * step / warm_up) if start else peak * (step + 1) / warm_up
    turn = (step - warm_up) / (steps - warm_up)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * turn)) / 2)
