"""How long a plan will take, and how many bytes it will keep: from what was measured on this machine before.

A coding of the same mesh by the same codec and rate is taken as it was. Else the estimate is the median over other
meshes, per face or per mesh, whichever varies less. Without a coding at that rate, other rates of the codec stand in,
which is a guess. A codec without any coding on this machine is not counted, and the estimate says so.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcbench.bench.plan.planning import Plan
from gcbench.bench.plan.units import CodingUnit
from gcbench.bench.run import machine
from gcbench.bench.run.slot import TIMING_REPEATS, TIMING_WARM_UP
from gcbench.bench.run.stages import LONG_CALL_S
from gcbench.bench.store import safe_files
from gcbench.bench.store.fields import read_line
from gcbench.bench.store.records import Coding, Measurement
from gcbench.bench.store.run import Run
from gcbench.errors import StoreError

_TAIL_BYTES = 16 << 20  # of each file: the last results, so that a long history costs no more
_RECENT_RUNS = 4
Key = tuple[str, str, str]  # codec address, rate, device


@dataclass(frozen=True)
class Seen:
    """One coding that was measured: its meshes, faces, seconds to encode and decode, bytes of the stream."""

    meshes: int
    faces: int
    seconds: float
    stream_bytes: float


@dataclass
class History:
    """Codings and measurements of this machine."""

    codings: dict[Key, list[Seen]] = field(default_factory=lambda: defaultdict(list))
    same: dict[tuple[Key, str], Seen] = field(default_factory=dict)  # by the hashes of the meshes
    suites: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # seconds for each mesh
    runs: int = 0

    @property
    def size(self) -> int:
        """How many codings there are."""
        return sum(len(seen) for seen in self.codings.values())


@dataclass(frozen=True)
class Estimate:
    """What a plan will take.

    Parameters
    ----------
    codings, kept : int
        Of the plan; those that the run has already, which take nothing.
    coding_s, measuring_s : float
        Seconds of all tasks together; see :attr:`wall_s`.
    longest_s : float
        The longest coding.
    stream_bytes : float
        Bytes of the new streams.
    jobs : int
        Tasks at a time.
    based_on, runs : int
        Codings on this machine that the estimate comes from, and the runs that they are in.
    guessed : mapping
        Codec and rate → codings that are estimated from other rates of the codec.
    unknown_codecs, unknown_suites : mapping
        Codec address → codings, and suite → measurements, that are not counted.
    """

    codings: int
    kept: int
    coding_s: float
    measuring_s: float
    longest_s: float
    stream_bytes: float
    jobs: int
    based_on: int
    runs: int
    guessed: dict[str, int]
    unknown_codecs: dict[str, int]
    unknown_suites: dict[str, int]

    @property
    def wall_s(self) -> float:
        """Seconds if the tasks fill all jobs: the work over the jobs, and at least the longest coding."""
        return max(self.longest_s, (self.coding_s + self.measuring_s) / self.jobs)


def history(runs: Iterable[Path]) -> History:
    """Read the last results of some runs that were made on a machine like this."""
    found = History()
    cpu = machine.cpu_model()
    for run in dict.fromkeys(path.resolve() for path in runs):
        inputs: set[str] = set()
        for data in _last_lines(run / "codings.jsonl"):
            coding = _coding(data)
            if coding is None or coding.ran_on.cpu != cpu:
                continue
            assert coding.encode is not None
            assert coding.decode is not None
            meshes = coding.coded
            seen = Seen(
                len(meshes),
                sum(mesh.faces for mesh in meshes),
                coding.encode.wall_s + coding.decode.wall_s,
                (coding.shared_bytes or 0) + sum(mesh.mesh_bytes or 0 for mesh in meshes),
            )
            key = (coding.codec, coding.rate, coding.device)
            found.codings[key].append(seen)
            found.same[key, _hashes(mesh.input_sha256 for mesh in meshes)] = seen
            inputs |= {mesh.input_sha256 for mesh in meshes}
        found.runs += 1 if inputs else 0
        for data in _last_lines(run / "measurements.jsonl"):
            measurement = _measurement(data)
            if measurement is not None and measurement.input in inputs and measurement.seconds is not None:
                found.suites[measurement.suite].append(measurement.seconds)
    return found


def recent(runs: Iterable[Path]) -> list[Path]:
    """The runs that were written last: enough for the time left, which this run's own times soon replace."""
    written = []
    for run in runs:
        with contextlib.suppress(OSError):
            written.append(((run / "codings.jsonl").stat().st_mtime_ns, run))
    return [run for _, run in sorted(written)[-_RECENT_RUNS:]]


def estimate(plan: Plan, store: Run, suites: Sequence[str], known: History, jobs: int) -> Estimate:
    """Estimate what is left of a plan; ``known`` is from :func:`history`."""
    there = {coding.key for coding in store.codings()} if store.exists else set()
    units = [unit for unit in {unit.key: unit for unit in plan.codings}.values() if unit.key not in there]
    seconds: list[float] = []
    stream_bytes, measured = 0.0, 0
    guessed: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    unmeasured: dict[str, int] = {}
    for unit in units:
        meshes = unit.usable
        if not meshes:
            continue
        measured += 0 if unit.timing else len(meshes)
        found = expected(unit, known)
        if found is None:
            unknown[unit.codec] += 1
            continue
        seen, is_guess = found
        if is_guess:
            guessed[f"{unit.codec} {unit.rate.label}"] += 1
        seconds.append(repeated(seen.seconds) if unit.timing else seen.seconds)
        stream_bytes += seen.stream_bytes
    measuring = 0.0
    for suite in () if plan.timing else suites:
        if times := known.suites.get(suite):
            measuring += statistics.median(times) * measured
        elif measured:
            unmeasured[suite] = measured
    return Estimate(
        codings=len({unit.key for unit in plan.codings}),
        kept=len({unit.key for unit in plan.codings}) - len(units),
        coding_s=sum(seconds),
        measuring_s=measuring,
        longest_s=max(seconds, default=0.0),
        stream_bytes=stream_bytes,
        jobs=jobs,
        based_on=known.size,
        runs=known.runs,
        guessed=dict(guessed),
        unknown_codecs=dict(unknown),
        unknown_suites=unmeasured,
    )


def expected(unit: CodingUnit, known: History) -> tuple[Seen, bool] | None:
    """What one coding will take, and whether other rates stand in; None if nothing is known of the codec."""
    key: Key = (unit.codec, unit.rate.label, unit.device)
    alike = known.codings.get(key, [])
    is_guess = not alike
    if is_guess:
        alike = [s for other, seen in known.codings.items() if other[::2] == key[::2] for s in seen]
        if not alike:
            return None
    same = known.same.get((key, _hashes(mesh.sha256 for mesh in unit.usable)))
    return same or _scaled(alike, unit), is_guess


def _scaled(alike: Sequence[Seen], unit: CodingUnit) -> Seen:
    """The median of other codings: per face or per mesh, whichever varies less."""
    meshes, faces = len(unit.usable), sum(mesh.faces for mesh in unit.usable)

    def value(of: Sequence[float]) -> float:
        per_face = [v / s.faces for v, s in zip(of, alike, strict=True)]
        per_mesh = [v / s.meshes for v, s in zip(of, alike, strict=True)]
        if _spread(per_face) <= _spread(per_mesh):
            return statistics.median(per_face) * faces
        return statistics.median(per_mesh) * meshes

    return Seen(meshes, faces, value([s.seconds for s in alike]), value([s.stream_bytes for s in alike]))


def _spread(values: Sequence[float]) -> float:
    """Median distance of the logarithms from their median."""
    logs = [math.log(max(value, 1e-12)) for value in values]
    middle = statistics.median(logs)
    return statistics.median(abs(log - middle) for log in logs)


def repeated(seconds: float) -> float:
    """Seconds of a coding in a timing pass."""
    return seconds if seconds > LONG_CALL_S else seconds * (TIMING_WARM_UP + TIMING_REPEATS)


def _hashes(hashes: Iterable[str]) -> str:
    return " ".join(hashes)


def _last_lines(path: Path) -> Iterator[Any]:
    """Values of the last complete lines of a file; what is unreadable is skipped."""
    try:
        with safe_files.reading(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except (OSError, StoreError):
        return
    for line in lines[size > _TAIL_BYTES :]:
        try:
            yield read_line(line)
        except ValueError:
            continue


def _coding(data: Any) -> Coding | None:
    try:
        coding = Coding.from_json(data)
    except ValueError:
        return None
    usable = coding.status == "ok" and coding.encode is not None and coding.decode is not None
    return coding if usable and sum(mesh.faces for mesh in coding.coded) > 0 else None


def _measurement(data: Any) -> Measurement | None:
    try:
        measurement = Measurement.from_json(data)
    except ValueError:
        return None
    return measurement if measurement.status == "ok" else None
