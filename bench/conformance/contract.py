"""What a check is, and how it says what it found. Knows no codec and none of the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gcbench.bench.conformance.report import Verdict

if TYPE_CHECKING:
    from gcbench.bench.conformance.lab import Lab


@dataclass(frozen=True)
class Check:
    """One check.

    Parameters
    ----------
    name : str
        Stable; what ``--only`` takes.
    contract : str
        What every codec must do.
    run : callable
        Gives the verdict.
    for_sets : bool
        Says nothing of a codec that codes each mesh by itself.
    """

    name: str
    contract: str
    run: Callable[[Lab], Verdict]
    for_sets: bool = False


def passed(reason: str, **figures: float) -> Verdict:
    """Make the verdict of a check that the codec passes."""
    return Verdict("pass", reason, figures)


def warned(reason: str, **figures: float) -> Verdict:
    """Make the verdict of a check that is passed, with something to know."""
    return Verdict("warn", reason, figures)


class Broken(Exception):
    """The codec does not keep the contract: the verdict of a check that fails."""

    def __init__(self, reason: object, **figures: float) -> None:
        super().__init__(str(reason))
        self.figures = figures
