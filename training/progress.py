"""How long work says how far it is, and how that is shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Takes the fraction done in [0, 1] and a short message. May raise, to stop the work: whatever was kept stays.
Progress = Callable[[float, str], None]
_LINE_EVERY_S = 20.0


def silent(_done: float, _message: str) -> None:
    """Discard progress."""


def part(progress: Progress, start: float, end: float) -> Progress:
    """Progress of a step that is the part from ``start`` to ``end`` of the whole."""
    return lambda done, message: progress(start + (end - start) * done, message)


@contextmanager
def shown() -> Iterator[Progress]:
    """Progress on stderr: a bar on a terminal; elsewhere a line every 20 seconds and at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn(), TextColumn("{task.description}")
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda done, message: bar.update(task, completed=done, description=message)


def _lines(console: Console) -> Progress:
    last = -_LINE_EVERY_S

    def show(done: float, message: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S or done >= 1:
            last = now
            console.print(f"{100 * done:3.0f} % {message}", soft_wrap=True, highlight=False, markup=False)

    return show
