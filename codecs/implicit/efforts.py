"""The settings that an effort stands for in implicit codecs, and the progress reports of their training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gcbench.codecs.base import Context, Effort


@dataclass(frozen=True)
class Fit:
    """Settings of an effort.

    Parameters
    ----------
    samples, steps, batch : int
        Points drawn for a mesh, steps of the optimiser, points in a step.
    resolution : int
        Cells along a side of the grid on which the decoder meshes the field.
    """

    samples: int
    steps: int
    batch: int
    resolution: int


# The mark ends a rate's label, because networks of the same shape that are trained for longer are another rate.
MARKS: dict[Effort, str] = {"quick": "q", "standard": "", "paper": "p"}


def watched(ctx: Context) -> Callable[[float, str], None]:
    """A callback that reports progress to the context and raises at the deadline."""

    def progress(done: float, message: str) -> None:
        ctx.check_deadline()
        ctx.progress(done, message)

    return progress
