"""The circumstances of one compression: seed, threads, device, work folder, and a callback for progress."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gcbench.training.progress import Progress, part, silent

if TYPE_CHECKING:
    from gcbench.necgs.designs.base import Trained


def _ignore() -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class Job:
    """How compression, decompression or adding is done.

    Parameters
    ----------
    seed : int
        All randomness derives from it: with the same number of threads on the same machine, the same bytes.
    threads : int
        For training; as many meshes are fitted side by side.
    device : str
        As torch names devices.
    work : Path or None
        Folder for fitted volumes and checkpoints. With it, stopped work goes on where it was, to the same bytes.
    anew : bool
        Whether a checkpoint in the folder that is torn, or of another training, is replaced. It is refused otherwise:
        it may be the work of days, and the settings a slip of the hand.
    start : Trained or None
        What training starts from, where a design can: the contents of a stream of the same meshes.
    progress : callable
        Takes the fraction done and a message; may raise, to stop the work.
    watch : callable
        Called often; may raise, to stop the work.
    stage : callable
        Makes a context that times a part of the work by its name.
    """

    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    work: Path | None = None
    anew: bool = False
    start: Trained | None = None
    progress: Progress = silent
    watch: Callable[[], None] = _ignore
    stage: Callable[[str], AbstractContextManager[object]] = nullcontext

    def part(self, start: float, end: float) -> Job:
        """The same for a step that is the part from ``start`` to ``end`` of the whole."""
        return replace(self, progress=part(self.progress, start, end))
