"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

#: Takes the fraction done in [0, 1] and a short message. May raise, to stop the work: whatever was kept stays.
Progress = Callable[[float, str], None]


def silent(_done: float, _message: str) -> None:
    """Discard progress."""


def part(progress: Progress, start: float, end: float) -> Progress:
    """Progress of a step that is the part from ``start`` to ``end`` of the whole."""
    return lambda done, message: progress(start + (end - start) * done, message)
