"""How efforts differ in implicit codecs, and how training tells how far it is. Knows no networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gcbench.codecs.base import Context, Effort


@dataclass(frozen=True)
class Fit:
    """What an effort stands for.

    Parameters
    ----------
    samples, steps, batch : int
        Points drawn for a mesh, steps of the optimiser, points a step.
    resolution : int
        Cells along a side of the grid on which the mesh is made.
    """

    samples: int
    steps: int
    batch: int
    resolution: int


# At the end of a rate's label: networks of the same shape, trained for longer, are another rate.
MARKS: dict[Effort, str] = {"quick": "q", "standard": "", "paper": "p"}


def watched(ctx: Context) -> Callable[[float, str], None]:
    """Progress that is told, or stopped at the deadline."""

    def progress(done: float, message: str) -> None:
        ctx.check_deadline()
        ctx.progress(done, message)

    return progress
