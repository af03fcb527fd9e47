"""A random sample of records, decoded from the kept streams in fresh processes and measured again.

Knows records, kept streams and the one path that measures; judges nothing but how much change is none. Encodes nothing,
writes nothing to the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gcbench.bench.metrics import floors
from gcbench.bench.plan.units import MeasurementUnit
from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.executor import Executor
from gcbench.bench.run.work import Task
from gcbench.bench.store.records import Measurement, Record
from gcbench.bench.store.run import Run
from gcbench.errors import UsageError

MIN_SAMPLE = 5  # records to measure again where the fraction asked for comes to fewer
# See `worsening`. The same arithmetic in float64 repeats to the bit; 1e-9 leaves room for another order of summation
# in another build of numpy.
EXACT_TOLERANCE = 1e-9
# A network in float32 on another machine moves vertices by some 1e-6 of the cube, and now and then a triangle where the
# field crosses zero (docs/necgs.md); distances of published codecs are 1e-3 and more.
NETWORK_TOLERANCE = 0.01

_HEARTBEAT_S = 0.5


@dataclass(frozen=True)
class Sample:
    """How many records are measured again: a fraction of them, or a count. ``Sample(fraction=1)`` is all."""

    fraction: float = 0.0
    count: int = MIN_SAMPLE

    @classmethod
    def parse(cls, text: str) -> Sample:
        """Read ``1%``, ``0.5%``, ``20`` or ``all``.

        Raises
        ------
        UsageError
            Something else.
        """
        text = text.strip()
        if text == "all":
            return cls(fraction=1.0)
        with contextlib.suppress(ValueError):
            if text.endswith("%") and 0 <= float(text[:-1]) <= 100:
                return cls(fraction=float(text[:-1]) / 100)
            if int(text) >= 0:
                return cls(count=int(text))
        raise UsageError(f"a sample is a percentage (1%), a number of records (20) or all, not '{text}'")

    def size(self, records: int) -> int:
        """Of so many records, at most all of them."""
        return min(records, max(self.count, math.ceil(self.fraction * records)))


ONE_PERCENT = Sample(fraction=0.01)


def draw(records: Sequence[Record], sample: Sample, seed: int) -> list[Record]:
    """Draw measured records: uniformly, and of each codec at least one.

    The order is that of SHA-256 over the seed, the coding's key and the mesh: the same for a seed on every machine.
    """
    measured = [r for r in records if r.status == "ok" and not r.timing and measured_by(r)]

    def rank(r: Record) -> bytes:
        return hashlib.sha256(f"{seed}:{r.key}:{r.dataset}/{r.split}/{r.mesh}".encode()).digest()

    ranked = sorted(measured, key=rank)
    chosen = ranked[: sample.size(len(ranked))]
    if not chosen:
        return []
    seen = {r.codec for r in chosen}
    for r in ranked[len(chosen) :]:
        if r.codec not in seen:
            seen.add(r.codec)
            chosen.append(r)
    return chosen


def measured_by(record: Record) -> dict[str, str]:
    """Suite → version, of the suites that have values of a record."""
    return {suite: version for suite, version in record.suites.items() if suite not in record.unmeasured}


def tolerance(name: str, *, deterministic: bool) -> float:
    """Largest change of a value (see `worsening`) that is none; floors depend on no codec."""
    return EXACT_TOLERANCE if deterministic or name in floors() else NETWORK_TOLERANCE


def remeasure(
    store: Run, units: Mapping[MeasurementUnit, Sequence[Record]], executor: Executor
) -> Iterator[tuple[Record, tuple[Measurement, ...]]]:
    """Measure decoded meshes of kept streams again.

    Parameters
    ----------
    store : Run
        With the streams. Nothing is written to it.
    units : mapping
        What to measure, and the records that say what came out before: rates of one mesh may have the same stream.
    executor : Executor
        Whose workers have nothing of the run but the streams. It is closed at the end.

    Yields
    ------
    (Record, tuple of Measurement)
        What was recorded, and what was found by each suite.
    """

    def with_stream(task: Task) -> Task:
        assert isinstance(task.unit, MeasurementUnit), "only measurements are on this agenda"
        return replace(task, stream=store.stream(task.unit.stream_sha256))

    try:
        for outcome in executor.run(Agenda(map(Task, units), with_stream), _HEARTBEAT_S):
            if outcome is None:
                continue
            assert isinstance(outcome.task.unit, MeasurementUnit), "only measurements were asked for"
            for record in units[outcome.task.unit]:
                yield record, outcome.measurements
    finally:
        executor.close()
