"""Progress of a command on stderr: bars on a terminal, a line every 20 seconds elsewhere."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gcbench import plain_text
from gcbench.bench.cli.output import say

if TYPE_CHECKING:
    from rich.progress import TaskID

    from gcbench.bench.run.outstanding import Tick

_PLAIN_PERIOD_S = 20.0


class Progress:
    """Progress of `bench run` and `bench measure`; a context manager."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        self._plain = not console.is_terminal and not quiet
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[what]}"),
            console=console,
            disable=quiet or self._plain,
            transient=True,
        )
        self._task: dict[str, TaskID] = {}
        self._last_line = time.monotonic()
        self._failed = 0
        self.done = self.total = 0

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bars."""
        self._bars.stop()

    def reading(self, done: int, total: int, what: str) -> None:
        """Progress of reading meshes."""
        self._update("reading meshes", done, total, "", plain_text.visible(what))

    def tick(self, tick: Tick) -> None:
        """Progress of codings and measurements."""
        self.done, self.total = tick.done, tick.total
        for line in tick.failures:
            self._failed += 1
            self._say(line)
        left = "" if tick.seconds_left is None else f"{_clock(tick.seconds_left)} left"
        failed = f"{self._failed} failed  " if self._failed else ""
        what = plain_text.visible("; ".join(tick.under_way) or tick.unit)
        self._update("coding and measuring", tick.done, tick.total, left, failed + what)

    def _update(self, name: str, done: int, total: int, left: str, what: str) -> None:
        if self._plain:
            now = time.monotonic()
            if now - self._last_line >= _PLAIN_PERIOD_S:
                self._last_line = now
                say(f"{name}: {done}/{total}  {left}  {what}".rstrip(), err=True)
            return
        if name not in self._task:
            self._task[name] = self._bars.add_task(name, total=total, left="", what="")
        self._bars.update(self._task[name], completed=done, total=total, left=left)
        if what:
            from rich.markup import escape  # otherwise necgs[k=64] loses its brackets

            self._bars.update(self._task[name], what=escape(what))

    def _say(self, line: str) -> None:
        if self._plain:
            say(line, err=True)
        else:
            self._bars.console.print(plain_text.visible(line), markup=False, highlight=False)


def _clock(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"


@contextlib.contextmanager
def counter(verb: str, *, quiet: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """One bar on stderr, if stderr is a terminal; yields a function that takes done, total and a name."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True, disable=quiet or not os.isatty(2)) as bars:
        task = bars.add_task(verb, total=None)
        yield lambda done, total, what: bars.update(
            task, completed=done, total=total, description=f"{verb} {escape(plain_text.visible(what))}"
        )
