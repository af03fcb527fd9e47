"""Compare the units that a plan asks for with the results that a run has, and run the tasks that are left."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gcbench.bench.metrics import SUITES
from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, SuiteId, measurement_key
from gcbench.bench.run import provenance
from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.estimate import History
from gcbench.bench.run.executor import Executor
from gcbench.bench.run.remaining import TimeLeft
from gcbench.bench.run.slot import coded_mesh, measurement_unit
from gcbench.bench.run.work import Outcome, Task, TaskLimits
from gcbench.bench.store import columnar, view
from gcbench.bench.store.columnar import Stored
from gcbench.bench.store.records import Coding, Measurement
from gcbench.bench.store.run import Run
from gcbench.codecs import CODECS
from gcbench.errors import BenchError
from gcbench.registry import split_address

_HEARTBEAT_S = 0.5  # control comes back this often, to react to Ctrl-C and to redraw the progress


@dataclass(frozen=True)
class Tick:
    """Progress of a run, reported after every task and at every heartbeat.

    Parameters
    ----------
    done, total : int
        Tasks that are finished (earlier ones included), and all tasks: codings, and measurements of stored streams and
        of sets.
    seconds_left : float or None
        Estimate of :class:`~gcbench.bench.run.remaining.TimeLeft`; None if nothing is known yet.
    unit : str
        The unit that has just finished, or empty.
    failures : sequence of str
        One line for each coding or measurement of that unit that failed.
    under_way : sequence of str
        The running tasks, with the progress of those that report it.
    """

    done: int
    total: int
    seconds_left: float | None
    unit: str = ""
    failures: Sequence[str] = ()
    under_way: Sequence[str] = ()


class _Ended(NamedTuple):
    """How an earlier measurement ended, and the limits that it exceeded."""

    status: str
    limit_s: float | None
    limit_bytes: int | None


_OK = _Ended("ok", None, None)  # or bad input: what is not measured again


@dataclass
class Outstanding:
    """The units that are wanted, the results that the run has, and the tasks that are left.

    A coding is looked up by its key. One key may have several names, such as the same mesh in two datasets: then the
    unit runs once, and the coding is stored under each name.
    """

    store: Run
    suites: tuple[SuiteId, ...]
    limit: TaskLimits
    retry_failed: bool = False
    wanted: dict[tuple[str, str, str], CodingUnit] = field(default_factory=dict)  # by key, dataset and mesh names
    tasks: list[Task] = field(default_factory=list)
    coded: int = 0  # codings that ran
    measured: int = 0  # measurements that were made

    def __post_init__(self) -> None:
        self._session = secrets.token_hex(6)
        self._named: dict[str, list[CodingUnit]] = {}  # key → units with that key, under their names
        # There are many results, so only what decides whether one is repeated is held in memory.
        self._last: dict[str, Stored] = {}
        self._counting: set[tuple[str, str, str]] = set()
        self._measured: dict[str, _Ended] = {}
        self._versions: dict[str, set[str]] = {}  # suite → versions that measured
        self.store.require_known_format()
        if self.store.has_lines:
            self._read()
        self._to_measure: set[str] = set()
        self._recalled: set[str] = set()  # stored measurements that a later suite version may have replaced
        self._agenda = Agenda()

    def _read(self) -> None:
        """Read what the run has."""
        with view.opened(self.store) as con:
            self._last = columnar.last_of_each_key(con)
            self._counting = columnar.names_that_count(con)
            self._measured = dict.fromkeys(columnar.measured_keys(con), _OK)
            for key, status, limit_s, limit_bytes in columnar.failed_measurements(con):
                self._measured[key] = _Ended(status, limit_s, limit_bytes)
            self._versions = columnar.suite_versions(con)

    def want(self, unit: CodingUnit) -> None:
        """Ask for a coding and its measurements."""
        self.wanted[_name_of(unit)] = unit
        self._named.setdefault(unit.key, []).append(unit)

    def settle(self) -> None:
        """Find the tasks that are left, and store again the results that a later version had replaced."""
        used: list[tuple[CodingUnit, Stored | None, list[CodingUnit], list[tuple[int, tuple[SuiteId, ...]]]]] = []
        for key, units in self._named.items():
            last = self._last.get(key)
            if last is not None and self._again_because_of_limits(last, units[0]):
                last = None
            again = [] if last is None else [unit for unit in units if _name_of(unit) not in self._counting]
            self._counting |= {_name_of(unit) for unit in again}
            lacking = [] if last is None else self._lacking(last, units[0])
            if last is None or again or lacking:
                used.append((units[0], last, again, lacking))
        codings = self.store.codings_at({last.line for _, last, *_ in used if last is not None})
        named: list[Coding] = []
        for unit, last, again, lacking in used:
            if last is None:
                self.tasks.append(Task(unit, self._applying(unit.codec)))
                continue
            coding = codings[last.line]
            named += [_under_names(coding, one) for one in again]
            self.tasks += [Task(measurement_unit(coding, unit, place, suites)) for place, suites in lacking]
        self.store.keep(self._session, named, measurements=self._no_longer_counting())
        to_do = {task.unit.key for task in self.tasks if isinstance(task.unit, CodingUnit)}
        for folder in (self.store.path / "work").glob("*"):  # of a coding that was stored just before a kill
            if folder.name in self._named and folder.name not in to_do:
                shutil.rmtree(folder, ignore_errors=True)

    def _again_because_of_limits(self, last: Stored, unit: CodingUnit) -> bool:
        if last.status in {"ok", "bad-input"}:
            return False
        now_s, now_bytes = self.limit.coding_s(unit), self.limit.coding_bytes(unit.kind)
        raised = (last.status == "timeout" and _raised(last.limit_s, now_s)) or (
            last.status == "out-of-memory" and _raised(last.limit_bytes, now_bytes)
        )
        return self.retry_failed or raised

    def _lacking(self, stored: Stored, unit: CodingUnit) -> list[tuple[int, tuple[SuiteId, ...]]]:
        """The measurements that a stored coding lacks: places in the stream, with suites. They count as asked for."""
        if stored.status != "ok" or stored.stream is None or unit.timing:
            return []
        suites, codec = self._applying(unit.codec), split_address(unit.codec, "codec")[0]
        found = []
        for place, mesh in enumerate(unit.usable):
            keys = {
                suite: measurement_key(
                    stream_sha256=stored.stream, place=place, codec=codec, decoder_version=unit.codec_version,
                    input_sha256=mesh.sha256, suite=suite, seed=unit.seed,
                )
                for suite in suites
            }  # fmt: skip
            if missing := self._missing(keys):
                found.append((place, missing))
        return found

    def want_measured(self, unit: MeasurementUnit) -> None:
        """Ask for the measurements of a stored stream."""
        if missing := self._missing({suite: unit.key(suite) for suite in unit.suites}):
            self.tasks.append(Task(replace(unit, suites=missing)))

    def _missing(self, keys: Mapping[SuiteId, str]) -> tuple[SuiteId, ...]:
        missing = []
        for suite, key in keys.items():
            known = self._measured.get(key)
            if key in self._to_measure or (known is not None and not self._measure_again(known)):
                if len(self._versions.get(suite.name, ())) > 1:
                    self._recalled.add(key)
                continue
            self._to_measure.add(key)
            missing.append(suite)
        return tuple(missing)

    def _no_longer_counting(self) -> list[Measurement]:
        """Stored measurements that are asked for again, after another version of the suite had measured later."""
        if not self._recalled:
            return []
        last: dict[tuple[Any, ...], str] = {}
        found: dict[str, Measurement] = {}
        for m in self.store.measurements():
            last[_stands_for(m)] = m.key
            if m.key in self._recalled:
                found[m.key] = m
        return [m for key, m in found.items() if last[_stands_for(m)] != key]

    def _measure_again(self, known: _Ended) -> bool:
        if known.status in {"ok", "bad-input"}:
            return False
        return (
            self.retry_failed
            or (known.status == "timeout" and _raised(known.limit_s, self.limit.measure_s))
            or (known.status == "out-of-memory" and _raised(known.limit_bytes, self.limit.memory_bytes))
        )

    def _applying(self, codec: str) -> tuple[SuiteId, ...]:
        """The suites that can measure the output of a codec."""
        return tuple(suite for suite in self.suites if applies(suite.name, codec))

    def execute(
        self,
        executor: Executor | None,
        local: Callable[[], Executor],
        facts: Mapping[str, Any],
        codecs: Sequence[Any],
        on_tick: Callable[[Tick], None] | None,
        *,
        known: History | None = None,
    ) -> None:
        """Run the tasks that are left, and write the provenance of the session."""
        begin = time.monotonic()
        total, done = self._total(), self._total() - sum(map(self._weight, self.tasks))
        if on_tick:
            on_tick(Tick(done, total, None))
        facts = {**facts, "codings_to_run": sum(isinstance(task.unit, CodingUnit) for task in self.tasks)}
        if not self.tasks:
            self.store.note(self._session, **provenance.collect(codecs), **facts)
        else:
            workers = executor or local()
            try:
                # Workers start while provenance is collected; it is on disk before the first result.
                self.store.note(self._session, **provenance.collect(codecs), **facts)
                self._agenda = Agenda(self.tasks, self._with_stream)
                clock = TimeLeft(self.tasks, workers.slots, known or History())
                for outcome in workers.run(self._agenda, _HEARTBEAT_S):
                    unit, failures = "", tuple[str, ...]()
                    if outcome is not None:
                        clock.ended(outcome)
                        added = self._take_in(outcome)
                        clock.add(added)
                        done += self._weight(outcome.task) - len(added)
                        unit, failures = str(outcome.task.unit), tuple(_failures(outcome))
                    if on_tick:
                        under_way = () if outcome is not None else workers.under_way()
                        clock.progress(time.monotonic(), under_way)
                        on_tick(Tick(done, total, clock.seconds(), unit, failures, under_way))
            finally:
                if executor is None:  # run_plan() and measure_run() close an executor that was passed to them
                    workers.close()
        wall_s = round(time.monotonic() - begin, 3)
        ended = {"coded": self.coded, "measured": self.measured, "wall_s": wall_s}
        self.store.note(self._session, finished=datetime.now(UTC).isoformat(timespec="seconds"), **ended)
        shutil.rmtree(self.store.path / "spool", ignore_errors=True)

    def _total(self) -> int:
        return sum(1 + self._later(unit) for unit in self.wanted.values()) + sum(
            isinstance(task.unit, MeasurementUnit) for task in self.tasks
        )

    def _weight(self, task: Task) -> int:
        return 1 + (self._later(task.unit) if isinstance(task.unit, CodingUnit) else 0)

    def _later(self, unit: CodingUnit) -> int:
        """Measurements of a set, which follow as tasks of their own."""
        return len(unit.usable) if unit.kind == "set" and self.suites and not unit.timing else 0

    def _take_in(self, outcome: Outcome) -> list[Task]:
        """Store an outcome, add the measurements of a set to the agenda, and return these tasks."""
        coding = outcome.coding
        tasks: list[Task] = []
        codings: list[Coding] = []
        if coding is not None:
            self.coded += coding.status != "bad-input"
            codings = [_under_names(coding, unit) for unit in self._named[coding.key]]
        self.measured += len(outcome.measurements)
        self.store.keep(self._session, codings, outcome.streams, outcome.measurements)
        for m in outcome.measurements:
            self._measured[m.key] = _Ended(m.status, m.limit_s, m.limit_bytes)
        if coding is None:
            return tasks
        if coding.status not in {"timeout", "out-of-memory"}:  # those resume from checkpoints under higher limits
            shutil.rmtree(self.store.path / "work" / coding.key, ignore_errors=True)
        unit = self._named[coding.key][0]
        if coding.kind == "set" and self.suites:
            stored = Stored(0, coding.status, None, None, coding.streams[0] if coding.streams else None)
            lacking = self._lacking(stored, unit)
            tasks = [Task(measurement_unit(coding, unit, place, suites)) for place, suites in lacking]
            self._agenda.add(tasks)
        return tasks

    def _with_stream(self, task: Task) -> Task:
        if isinstance(task.unit, CodingUnit):
            return task
        return replace(task, stream=self.store.stream(task.unit.stream_sha256))


def applies(suite: str, codec: str) -> bool:
    """Whether a suite can measure the output of a codec: suites of point clouds measure only codecs of points."""
    if SUITES.get(suite).takes != "cloud":
        return True
    try:
        return hasattr(CODECS.get(split_address(codec, "codec")[0]), "decode_cloud")
    except BenchError:
        return False


def _name_of(unit: CodingUnit) -> tuple[str, str, str]:
    return unit.key, f"{unit.dataset}/{unit.split}", "\n".join(mesh.source.mesh for mesh in unit.meshes)


def _under_names(coding: Coding, unit: CodingUnit) -> Coding:
    """The same coding under the names of a unit."""
    meshes = tuple(
        replace(coded_mesh(planned), mesh_bytes=mesh.mesh_bytes, decoded_sha256=mesh.decoded_sha256)
        for planned, mesh in zip(unit.meshes, coding.meshes, strict=True)
    )
    return replace(coding, dataset=unit.dataset, split=unit.split, rate_index=unit.rate_index, meshes=meshes)


def _stands_for(m: Measurement) -> tuple[Any, ...]:
    return m.stream, m.place, m.input, m.seed, m.codec, m.decoder_version, m.suite


def _raised(before: float | None, now: float | None) -> bool:
    """Whether a limit is now higher than before."""
    return before is not None and (now is None or now > before)


def _failures(outcome: Outcome) -> Iterable[str]:
    unit, coding = outcome.task.unit, outcome.coding
    if coding is not None and coding.status not in {"ok", "bad-input"}:
        yield f"{coding.status}: {unit}: {coding.error}"
    for m in outcome.measurements:
        if m.status not in {"ok", "bad-input"}:
            yield f"{m.status}: {m.suite} on {unit}: {m.error}"
