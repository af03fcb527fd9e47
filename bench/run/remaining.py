"""The time that a run has left, from the tasks that have ended, and for other tasks from what is known beforehand.

- A coding takes as long as the codings of its codec and rate in this run, per mesh. If there is none, it takes what
  earlier runs on this machine say, or else :data:`TYPICAL`, in both cases times how far such estimates were off in this
  run so far. If nothing is known of a codec, its other rates in this run stand in, or else the mean of all codings.
- A running coding that reports progress, such as a set, has the rest of its estimate left; the nearer to its end, the
  more its own pace counts.
- Sets come last, the last planned set first. They are put, one after the other, on the slot that is free first.
"""

from __future__ import annotations

import heapq
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from gcbench.bench.plan.units import CodingUnit
from gcbench.bench.run.estimate import History, expected, repeated
from gcbench.bench.run.work import Outcome, Task
from gcbench.registry import split_address

TYPICAL = Path(__file__).parent / "typical_seconds.json"
"""Seconds of a mesh by codec and rate, measured in a run of ``mixed`` at ``quick``; suites by their names."""

_SAYS = re.compile(r"(?P<unit>.*): +(?P<percent>\d+) % ")
Group = tuple[str, str, str, str]  # codec address, rate, effort, device
_DOUBT_S = 2.0
_RECENT = 32  # ended tasks that tell what a task costs beside its codec and suites


@dataclass
class _Ended:
    """What tasks of one kind took: seconds for each mesh."""

    seconds: float = 0.0
    meshes: int = 0

    def add(self, seconds: float, meshes: int) -> None:
        self.seconds += seconds
        self.meshes += meshes

    @property
    def for_a_mesh(self) -> float | None:
        return self.seconds / self.meshes if self.meshes else None


@dataclass
class _Running:
    """A coding of a set that reports progress: when it was first seen, and how much was done then."""

    first_s: float
    first: float
    now_s: float
    now: float

    def left_s(self, whole_s: float | None) -> float:
        """Seconds left: of the estimate for the whole, and of the task's own pace, which counts by what is done."""
        pace = (self.now - self.first) / (self.now_s - self.first_s) if self.now > self.first else 0.0
        if not pace:
            return (1 - self.now) * (whole_s or 0.0)
        own = (1 - self.now) / pace
        return own if whole_s is None else (1 - self.now) * whole_s * (1 - self.now) + own * self.now


@dataclass
class TimeLeft:
    """The clock of a run.

    Parameters
    ----------
    tasks : iterable of Task
        All tasks that are to run.
    slots : int
        Tasks that run at a time.
    known : History
        Of earlier runs on this machine.
    """

    tasks: Iterable[Task]
    slots: int
    known: History = field(default_factory=History)

    def __post_init__(self) -> None:
        self.slots = max(1, self.slots)
        self._waiting: Counter[Group] = Counter()  # codings of single meshes
        self._sets: dict[str, CodingUnit] = {}  # by the text that progress names them with
        self._measurements: Counter[str] = Counter()  # by suite: of tasks, and of sets that will end
        self._before: dict[Group, float | None] = {}
        self._of_group: dict[Group, _Ended] = defaultdict(_Ended)
        self._of_suite: dict[str, _Ended] = defaultdict(_Ended)
        self._measured: Counter[str] = Counter()  # measurements that have ended, by suite
        # Seconds that ended codings took, and the estimates before. A first one of 0.1 s in place of 0.02 says little.
        self._right = [_DOUBT_S, _DOUBT_S]
        self._beside = [0.0] * (_RECENT // 4)  # seconds of recent tasks beside what their records say
        self._running: dict[str, _Running] = {}
        self._suites_of_sets: set[str] = set()
        for task in self.tasks:
            self._take_up(task, 1)

    def _take_up(self, task: Task, sign: int) -> None:
        unit, suites = task.unit, [suite.name for suite in task.suites]
        if not isinstance(unit, CodingUnit):
            self._measurements.update({suite.name: sign for suite in unit.suites})
            return
        meshes = len(unit.usable)
        if not meshes:
            return
        self._measurements.update(dict.fromkeys(suites, sign * meshes))
        if sign > 0:
            self._before.setdefault(_group(unit), _before(unit, self.known))
        if unit.kind == "set":
            if sign > 0:
                self._sets[str(unit)] = unit
            else:
                self._sets.pop(str(unit), None)
                self._running.pop(str(unit), None)
            return
        self._waiting[_group(unit)] += sign

    def add(self, tasks: Iterable[Task]) -> None:
        """Count tasks that a task has left behind: the measurements of a set, which were counted with the set."""
        for task in tasks:
            self._take_up(task, 1)

    def ended(self, outcome: Outcome) -> None:
        """Learn from a task that has ended."""
        task, unit = outcome.task, outcome.task.unit
        self._take_up(task, -1)
        recorded = 0.0
        coding = outcome.coding
        if coding is not None and isinstance(unit, CodingUnit) and coding.encode and coding.decode:
            took = coding.encode.wall_s + coding.decode.wall_s
            took = repeated(took) if unit.timing else took
            recorded += took
            before = self._before.get(_group(unit))
            if before is not None:
                self._right[0] += took
                self._right[1] += before * len(unit.usable)
            self._of_group[_group(unit)].add(took, len(unit.usable))
        for m in outcome.measurements:
            if m.seconds is not None:
                recorded += m.seconds
                self._measured[m.suite] += 1
                if self._measured[m.suite] > self.slots:  # the first of each slot loads the suite
                    self._of_suite[m.suite].add(m.seconds, 1)
        if outcome.busy_s:
            self._beside = [*self._beside[1 - _RECENT :], max(0.0, outcome.busy_s - recorded)]

    def progress(self, now_s: float, under_way: Sequence[str]) -> None:
        """Take in what running tasks report: ``"codec rate on meshes:  33 % loss 0.1"``, at a reading of the clock."""
        for text in under_way:
            says = _SAYS.match(text)
            if says is None:
                continue
            name, done = says["unit"], int(says["percent"]) / 100
            if name in self._sets:
                running = self._running.setdefault(name, _Running(now_s, done, now_s, done))
                if done >= running.now:  # else another stage counts from 0 again: decoding, which is short
                    running.now_s, running.now = now_s, done

    def seconds(self) -> float | None:
        """Seconds left; None before the first task has ended, if there is no estimate of any."""
        # The lower quartile, at first of zeros: the first tasks also wait until a codec is loaded; later ones do not.
        beside = sorted(self._beside)[len(self._beside) // 4]
        work = sum(count * (self._coding_s(group) + beside) for group, count in self._waiting.items())
        work += sum(count * self._suite_s(suite) for suite, count in self._measurements.items())
        if not self._of_group and not any(self._before.values()) and not self._of_suite:
            return None
        slots = [work / self.slots] * self.slots
        running = [name for name in self._sets if name in self._running]
        for name in [*running, *(name for name in reversed(self._sets) if name not in running)]:
            unit = self._sets[name]
            whole = self._coding_s(_group(unit)) * len(unit.usable)
            left = self._running[name].left_s(whole) if name in self._running else whole
            heapq.heapreplace(slots, slots[0] + left + beside)
        return max(slots)

    def _coding_s(self, group: Group) -> float:
        """Seconds of a coding for each mesh."""
        if (seen := self._of_group[group].for_a_mesh if group in self._of_group else None) is not None:
            return seen
        before = self._before.get(group)
        if before is not None:
            took, thought = self._right
            return before * took / thought
        others = [e.for_a_mesh for other, e in self._of_group.items() if other[::2] == group[::2] and e.for_a_mesh]
        others = others or [e.for_a_mesh for e in self._of_group.values() if e.for_a_mesh]
        return statistics.fmean(others) if others else 0.0

    def _suite_s(self, suite: str) -> float:
        seen = self._of_suite[suite].for_a_mesh if suite in self._of_suite else None
        if seen is not None:
            return seen
        times = self.known.suites.get(suite)
        return statistics.median(times) if times else _typical()["suites"].get(suite, {}).get("", 0.0)


def _group(unit: CodingUnit) -> Group:
    return unit.codec, unit.rate.label, unit.effort, unit.device


def _before(unit: CodingUnit, known: History) -> float | None:
    """Seconds of a coding for each mesh, as known before the run."""
    found = expected(unit, known)
    if found is None:
        return _typical()["codecs"].get(split_address(unit.codec, "codec")[0], {}).get(unit.rate.label)
    seconds = found[0].seconds
    return (repeated(seconds) if unit.timing else seconds) / max(1, len(unit.usable))


@cache
def _typical() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = json.loads(TYPICAL.read_text(encoding="utf-8"))
    return found
