"""What a check is, and how it says what it found. Knows no codec and none of the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gcbench.bench.conformance.report import Verdict

L = TypeVar("L")


@dataclass(frozen=True)
class Check(Generic[L]):
    """One check; ``L`` is the laboratory that it works in.

    Parameters
    ----------
    name : str
        Stable; what ``--only`` takes.
    contract : str
        What every codec, or every metric suite, must do.
    run : callable
        Gives the verdict.
    for_sets : bool
        Says nothing of a codec that codes each mesh by itself.
    """

    name: str
    contract: str
    run: Callable[[L], Verdict]
    for_sets: bool = False


def passed(reason: str, **figures: float) -> Verdict:
    """Make the verdict of a check that is passed."""
    return Verdict("pass", reason, figures)


def warned(reason: str, **figures: float) -> Verdict:
    """Make the verdict of a check that is passed, with something to know."""
    return Verdict("warn", reason, figures)


class Broken(Exception):
    """The contract is not kept: the verdict of a check that fails."""

    def __init__(self, reason: object, **figures: float) -> None:
        super().__init__(str(reason))
        self.figures = figures
