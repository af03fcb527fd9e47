"""Run the subset that a baseline names, and compare the results with the baseline.

A codec is not blamed for a change of a package that its bytes depend on, or of the input meshes. Times are CPU seconds
as ratios to a control codec that runs on the same meshes in the same run.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gcbench.bench.audit.baseline import Baseline, CodecFacts, Subset, Timing, TimingRatio
from gcbench.bench.audit.comparison import (
    CellComparison,
    CellId,
    CellResult,
    Comparison,
    Tolerance,
    Verdict,
    cell_results,
    compare,
)
from gcbench.bench.metrics import DEFAULT_SUITES
from gcbench.bench.plan.planning import Plan, make_plan
from gcbench.bench.run import machine
from gcbench.bench.run.outstanding import Tick
from gcbench.bench.run.runner import run_plan, suite_ids
from gcbench.bench.run.work import TaskLimits
from gcbench.bench.store.records import Record
from gcbench.bench.store.run import Run
from gcbench.errors import UsageError

# A codec is slower if its ratio is this many times that of the baseline. On two cores with ten programs, five gates in
# a row gave .77 to 1.01 times for calls of at least 10 ms, and .91 to 1.50 for calls under 1 ms (wall time: .35 to 8).
SLOWER = 2.0
DEADLINE_S = 600.0


@dataclass(frozen=True)
class TimingComparison:
    """One codec at one rate: old and new ratio to the control codec."""

    what: str  # "draco q10 decode"
    old: float
    new: float
    verdict: Verdict


@dataclass(frozen=True)
class GateReport:
    """The result of a gate."""

    comparison: Comparison
    timing: tuple[TimingComparison, ...]  # empty without --timing
    notes: tuple[str, ...]  # what may explain the result: versions, packages, inputs, new cells
    wall_s: float

    @property
    def verdict(self) -> Verdict:
        """``worse`` if a time or the comparison is; else ``not measured`` if a time is; else that of the comparison."""
        of_times = {t.verdict for t in self.timing}
        if "worse" in {*of_times, self.comparison.verdict}:
            return "worse"
        return "not measured" if "not measured" in of_times else self.comparison.verdict


def gate(
    baseline: Baseline,
    codecs: Sequence[str] = (),
    *,
    timing: bool = False,
    jobs: int = 1,
    data: Path | None = None,
    keep: Path | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> GateReport:
    """Run the subset of a baseline and compare.

    Parameters
    ----------
    baseline : Baseline
        From `Baseline.read`.
    codecs : sequence of str
        Only these codecs of the baseline; empty is all.
    timing : bool
        Compare times too.
    jobs : int
        Parallel tasks; the timing pass runs one task at a time.
    data : Path, optional
        Data root.
    keep : Path, optional
        New folder for the run; default: a temporary folder.
    on_tick : callable, optional
        Called with the progress.

    Raises
    ------
    UsageError
        The baseline does not have a codec, or the subset names a mesh or rate that does not exist.
    BenchError
        Nothing could be measured: a codec or a dataset is missing, a disk is full.
    """
    wanted = tuple(codecs) or tuple(baseline.codecs)
    if unknown := [codec for codec in wanted if codec not in baseline.codecs]:
        raise UsageError(f"the baseline has no codec {', '.join(unknown)}; add it with --update")
    if timing and baseline.timing is None:
        raise UsageError("the baseline has no times; add them with --update --timing")
    control = baseline.timing.control if timing and baseline.timing else None
    new, wall_s = run_subset(
        baseline.subset,
        wanted,
        suites=tuple(baseline.suites),
        control=control,
        jobs=jobs,
        data=data,
        keep=keep,
        on_tick=on_tick,
    )
    return judge(baseline, new, wall_s)


def judge(baseline: Baseline, new: Baseline, wall_s: float = 0.0) -> GateReport:
    """Compare new results, from `run_subset`, with a baseline; only for the codecs that ran."""
    old = {cell: value for cell, value in baseline.cells.items() if cell.codec in new.codecs}
    comparison = compare(old, new.cells, _tolerances(baseline, new))
    lost = tuple(CellComparison(cell, "not measured", "", note="is no longer run") for cell in comparison.only_old)
    comparison = replace(comparison, cells=comparison.cells + lost)
    comparison, blamed = _excuse(comparison, baseline, new)
    return GateReport(comparison, _compare_times(baseline, new), (*blamed, *_notes(comparison, baseline, new)), wall_s)


def run_subset(
    subset: Subset,
    codecs: Sequence[str],
    *,
    suites: Sequence[str] = DEFAULT_SUITES,
    control: str | None = None,
    jobs: int = 1,
    data: Path | None = None,
    keep: Path | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> tuple[Baseline, float]:
    """Run a subset; return the results as a baseline, and the seconds that the run took.

    ``control`` is the codec that times are ratios to; None takes no times. The other parameters are those of `gate`.
    """
    with tempfile.TemporaryDirectory(prefix="gcbench-gate-") as temporary:
        store = Run(keep or Path(temporary) / "run")
        if store.exists:  # its codings would not run again, even if a codec changed and kept its version
            raise UsageError(f"{store.path} is there already; a gate needs a new folder")
        limit = TaskLimits(deadline_s=DEADLINE_S)
        made = _plan(subset, codecs, data)
        wall_s = run_plan(made, store, suites=suites, jobs=jobs, threads=1, limit=limit, on_tick=on_tick).wall_s
        kind = machine.kind()
        if control is not None:
            timed = _plan(subset, [control, *(c for c in codecs if c != control)], data, timing=kind)
            wall_s += run_plan(timed, store, limit=limit, on_tick=on_tick).wall_s
        records = store.records()
    new = Baseline(
        subset=subset,
        cells=cell_results(records),
        codecs={unit.codec: CodecFacts.here(unit.codec, unit.codec_version) for unit in made.codings},
        processor=machine.cpu_model(),
        suites={suite.name: suite.version for suite in suite_ids(suites)},
        timing=None if control is None else Timing(control, kind, _ratios(records, control)),
    )
    return new, wall_s


def _plan(subset: Subset, codecs: Sequence[str], data: Path | None, *, timing: str | None = None) -> Plan:
    """Plan a subset; a set codec gets only the meshes of the subset."""
    made = make_plan(
        subset.datasets,
        codecs,
        split=subset.split,
        effort=subset.effort,
        seed=subset.seed,
        data=data,
        timing=timing,
    )
    # The rates are those of all codecs of the baseline, and only some of the codecs may run now.
    made = replace(made, codings=tuple(c for c in made.codings if not subset.rates or c.rate.label in subset.rates))
    if not subset.meshes:
        return made
    known = {mesh.source.mesh for mesh in made.meshes}
    if unknown := [mesh for mesh in subset.meshes if mesh not in known]:
        raise UsageError(f"{', '.join(subset.datasets)}: no mesh {', '.join(unknown)}")
    kept = (replace(c, meshes=tuple(m for m in c.meshes if m.source.mesh in subset.meshes)) for c in made.codings)
    return replace(
        made,
        codings=tuple(coding for coding in kept if coding.meshes),
        meshes=tuple(m for m in made.meshes if m.source.mesh in subset.meshes),
    )


def _tolerances(baseline: Baseline, new: Baseline) -> Callable[[CellId, CellResult, CellResult], Tolerance]:
    def choose(cell: CellId, before: CellResult, after: CellResult) -> Tolerance:
        if not new.codecs[cell.codec].deterministic:
            return baseline.tolerance("trained")
        return baseline.tolerance("exact" if before.input_sha256 == after.input_sha256 else "other input")

    return choose


def _excuse(comparison: Comparison, baseline: Baseline, new: Baseline) -> tuple[Comparison, list[str]]:
    """Turn ``worse`` into ``not measured`` for codecs whose packages changed, since the package may be the cause."""
    changed: dict[str, str] = {}
    for codec, facts in new.codecs.items():
        then, now = baseline.codecs[codec].packages, facts.packages
        parts = [
            f"{p} {then.get(p, 'none')} → {now.get(p, 'none')}" for p in {**then, **now} if then.get(p) != now.get(p)
        ]
        if parts:
            changed[codec] = ", ".join(parts)
    worse = {cell.cell.codec for cell in comparison.of("worse")} | {mean.codec for mean in comparison.worse_means}
    notes = [
        f"{codec}: {what}; "
        + (
            "a package that decides the results has changed, so the codec is not blamed; install the version of the "
            "baseline, or update the baseline (--update)"
            if codec in worse
            else "no result is worse"
        )
        for codec, what in sorted(changed.items())
    ]
    if not worse & set(changed):
        return comparison, notes
    cells = tuple(
        replace(c, verdict="not measured", note=changed[c.cell.codec])
        if c.verdict == "worse" and c.cell.codec in changed
        else c
        for c in comparison.cells
    )
    means = tuple(
        replace(m, verdict="not measured") if m.verdict == "worse" and m.codec in changed else m
        for m in comparison.means
    )
    return replace(comparison, cells=cells, means=means), notes


def _notes(comparison: Comparison, baseline: Baseline, new: Baseline) -> list[str]:
    notes = []
    for codec, facts in sorted(new.codecs.items()):
        if facts.version != baseline.codecs[codec].version and facts.packages == baseline.codecs[codec].packages:
            notes.append(f"{codec}: version {baseline.codecs[codec].version} → {facts.version}")
    other = {c.cell.mesh for c in comparison.cells if c.tolerance == "other input"}
    if other:
        notes.append(
            f"{len(other)} input meshes differ from those of the baseline: deterministic codecs may differ within a "
            "tolerance"
        )
    if new.processor != baseline.processor and comparison.verdict != "equal":
        notes.append(f"the baseline was made on another processor ({baseline.processor or 'unknown'})")
    if baseline.timing and new.timing and baseline.timing.machine != new.timing.machine:
        notes.append(
            f"times are not compared: those of the baseline are from {baseline.timing.machine}, this machine is "
            f"{new.timing.machine}; update them with --update --timing"
        )
    if comparison.only_new:
        notes.append(f"{len(comparison.only_new)} cells are not in the baseline; add them with --update")
    return notes


def _ratios(records: Sequence[Record], control: str) -> dict[str, TimingRatio]:
    """Median over meshes of the ratio of a codec's seconds to those of the control, summed over the control's rates."""
    ok = [r for r in records if r.timing and r.status == "ok"]
    base: dict[str, dict[str, float]] = {"encode": defaultdict(float), "decode": defaultdict(float)}
    ratios: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"encode": [], "decode": []})
    for r in ok:
        if r.codec == control:
            for stage, of_mesh in base.items():
                of_mesh[r.mesh] += _seconds(r, stage)
    for r in ok:
        for stage, of_mesh in base.items():
            if r.codec != control and of_mesh.get(r.mesh):
                ratios[f"{r.codec} {r.rate}"][stage].append(_seconds(r, stage) / of_mesh[r.mesh])
    return {
        what: TimingRatio(statistics.median(of["encode"]), statistics.median(of["decode"]))
        for what, of in ratios.items()
        if of["encode"] and of["decode"]
    }


def _seconds(record: Record, stage: str) -> float:
    """CPU seconds, which depend little on other programs; for a set codec, the share of one mesh."""
    cost = getattr(record, stage)
    return 0.0 if cost is None else cost.cpu_s / record.set_size


def _compare_times(baseline: Baseline, new: Baseline) -> tuple[TimingComparison, ...]:
    if baseline.timing is None or new.timing is None:
        return ()
    comparable = baseline.timing.machine == new.timing.machine
    rows = []
    for what, then in baseline.timing.ratios.items():
        now = new.timing.ratios.get(what)
        if now is None:
            continue
        for stage in ("encode", "decode"):
            old, fresh = getattr(then, stage), getattr(now, stage)
            verdict: Verdict = "worse" if fresh > old * SLOWER else "better" if fresh * SLOWER < old else "equal"
            verdict = verdict if comparable else "not measured"
            rows.append(TimingComparison(f"{what} {stage}", old, fresh, verdict))
    return tuple(rows)
