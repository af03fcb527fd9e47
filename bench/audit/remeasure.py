"""Draw a random sample of records, decode their stored streams in fresh processes, and measure again."""

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
from gcbench.bench.store.results import Results
from gcbench.errors import UsageError

MIN_SAMPLE = 5  # records to measure again at least
# See `worsening`. The same float64 arithmetic repeats to the bit; 1e-9 allows another order of summation in another
# build of numpy.
EXACT_TOLERANCE = 1e-9
# On another machine, a float32 network moves vertices by some 1e-6 of the cube, and sometimes adds or removes a
# triangle where the field crosses zero (docs/necgs.md); distances of published codecs are at least 1e-3.
NETWORK_TOLERANCE = 0.01

_HEARTBEAT_S = 0.5


@dataclass(frozen=True)
class Sample:
    """How many records are measured again: ``count``, or a fraction if that is more."""

    fraction: float = 0.0
    count: int = MIN_SAMPLE

    @classmethod
    def parse(cls, text: str) -> Sample:
        """Read ``1%``, ``0.5%``, ``20`` or ``all``. Raises UsageError for any other text."""
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
        """Size of a sample of so many records."""
        return min(records, max(self.count, math.ceil(self.fraction * records)))


ONE_PERCENT = Sample(fraction=0.01)


def draw(records: Sequence[Record], sample: Sample, seed: int) -> list[Record]:
    """Draw measured records uniformly, and at least one of each codec.

    Records are ordered by the SHA-256 of seed, key and mesh, so that a seed gives the same sample on every machine.
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
    """Suite → version, for the suites that have values for a record."""
    return {suite: version for suite, version in record.suites.items() if suite not in record.unmeasured}


def tolerance(name: str, *, deterministic: bool) -> float:
    """Largest deviation of a value (see `worsening`) that is accepted; floors do not depend on the codec."""
    return EXACT_TOLERANCE if deterministic or name in floors() else NETWORK_TOLERANCE


def remeasure(
    store: Results, units: Mapping[MeasurementUnit, Sequence[Record]], executor: Executor
) -> Iterator[tuple[Record, tuple[Measurement, ...]]]:
    """Decode stored streams and measure again; nothing is written to the run.

    Parameters
    ----------
    units : mapping
        What to measure, and the records with the earlier values. Several rates of a mesh may have the same stream.
    executor : Executor
        Closed at the end.

    Yields
    ------
    (Record, tuple of Measurement)
        The earlier values, and the new values of each suite.
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
