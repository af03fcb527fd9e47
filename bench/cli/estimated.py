"""Prints how long a plan will take, and what that is based on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gcbench.bench.run.estimate import Estimate


def estimated(found: Estimate) -> Iterator[str]:
    """What a run will take, and what that is based on."""
    yield f"{found.codings} codings: {found.kept} kept from before, {found.codings - found.kept} to do"
    if found.codings == found.kept:
        return
    if not found.based_on:
        yield "no estimate: no run in results/runs was made on this machine"
        return
    rough = "at least" if found.unknown_codecs or found.unknown_suites else "about"
    yield (
        f"{rough} {_duration(found.wall_s)} with {_count(found.jobs, 'job')}: coding {_duration(found.coding_s)} and "
        f"measuring {_duration(found.measuring_s)} of work; {rough} {found.stream_bytes / 1e6:.3g} MB of streams"
    )
    yield f"  from the medians of {_count(found.based_on, 'coding')} on this machine, in {_count(found.runs, 'run')}"
    if found.guessed:
        shown = ", ".join(list(found.guessed)[:5]) + (", ..." if len(found.guessed) > 5 else "")
        yield f"  guessed from other rates of the codec: {_count(sum(found.guessed.values()), 'coding')}, of {shown}"
    left = [f"{name} ({_count(count, 'coding')})" for name, count in found.unknown_codecs.items()]
    left += [f"{name} ({_count(count, 'measurement')})" for name, count in found.unknown_suites.items()]
    if left:
        yield f"  not counted, since it has not run on this machine: {', '.join(left)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
