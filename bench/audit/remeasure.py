"""A random sample of records, decoded from the kept streams in fresh processes and measured again.

Knows cells and kept streams; judges nothing but a single metric's change. Encodes nothing, writes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from gcbench.bench.audit import consistency
from gcbench.bench.run.slot import Bench, Limit, Templates
from gcbench.bench.store.records import Record
from gcbench.bench.store.run import CellRecords, Run
from gcbench.datasets import MeshSource
from gcbench.errors import UsageError

MIN_SAMPLE = 5  # records to measure again where the fraction asked for comes to fewer
# See `worsening`. The same arithmetic in float64 repeats to the bit; 1e-9 leaves room for another order of summation
# in another build of numpy.
EXACT_TOLERANCE = 1e-9
# A network in float32 on another machine moves vertices by some 1e-6 of the cube, and now and then a triangle where the
# field crosses zero (docs/necgs.md); distances of published codecs are 1e-3 and more.
NETWORK_TOLERANCE = 0.01

MeshKey = tuple[str, str, str]  # dataset, split, mesh


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


class Drawn(NamedTuple):
    """A record that is measured again, and the cell it belongs to."""

    cell: CellRecords
    record: Record


def draw(cells: Sequence[CellRecords], sample: Sample, seed: int) -> list[Drawn]:
    """Draw measured records: uniformly, and of each codec at least one.

    The order is that of SHA-256 over the seed, the cell's key and the mesh: the same for a seed on every machine.
    """
    measured = [Drawn(cell, r) for cell in cells for r in cell.records if r.status == "ok" and not r.timing]

    def rank(drawn: Drawn) -> bytes:
        return hashlib.sha256(f"{seed}:{drawn.cell.key}:{drawn.record.mesh}".encode()).digest()

    ranked = sorted(measured, key=rank)
    chosen = ranked[: sample.size(len(ranked))]
    if not chosen:
        return []
    seen = {drawn.record.codec for drawn in chosen}
    for drawn in ranked[len(chosen) :]:
        if drawn.record.codec not in seen:
            seen.add(drawn.record.codec)
            chosen.append(drawn)
    return chosen


def tolerance(name: str, *, deterministic: bool) -> float:
    """Largest change of a metric (see `worsening`) that is none; floors depend on no codec."""
    return EXACT_TOLERANCE if deterministic or name.endswith("_floor") else NETWORK_TOLERANCE


def mesh_key(record: Record) -> MeshKey:
    """Name the mesh of a record."""
    return record.dataset, record.split, record.mesh


def remeasure(
    store: Run,
    groups: Sequence[Sequence[Drawn]],
    sources: Mapping[MeshKey, MeshSource],
    jobs: int,
    limit: Limit,
) -> Iterator[list[tuple[Record, Record]]]:
    """Measure the drawn records of each cell again, in workers of this call's own: (recorded, found) by cell."""
    if not groups:
        return
    templates = Templates(threads=1)
    benches = [Bench(limit=limit, name=str(slot), templates=templates) for slot in range(jobs)]
    free: queue.SimpleQueue[Bench] = queue.SimpleQueue()
    for bench in benches:
        free.put(bench)

    def measure(group: Sequence[Drawn]) -> list[tuple[Record, Record]]:
        records = [r for r in group[0].cell.records if r.status != "bad-input"]
        here = {r.mesh: sources[mesh_key(r)] for r in records if mesh_key(r) in sources}
        cell = consistency.rebuild(records, "", here)
        streams = tuple(dict.fromkeys(r.stream_sha256 for r in records if r.stream_sha256))
        recorded = {drawn.record.mesh: drawn.record for drawn in group}
        bench = free.get()
        try:
            found = bench.remeasure(cell, tuple(map(store.stream, streams)), recorded)
        finally:
            free.put(bench)
        return [(recorded[r.mesh], r) for r in found]

    try:
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(measure, groups)
    finally:
        for bench in benches:
            bench.close()
        templates.close()
