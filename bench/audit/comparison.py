"""Compare two sets of results cell by cell: equal, better, or worse by more than a tolerance.

A tolerance belongs to a class of codecs: deterministic codecs must repeat their results, codecs that train a network
may differ by some per cent. A small loss in all cells would stay within that band, so the mean over the cells of a
codec has a narrower tolerance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from gcbench.bench.metrics import SUITES, Column, columns
from gcbench.bench.metrics.change import worsening
from gcbench.bench.store.records import Record
from gcbench.codecs import CODECS
from gcbench.errors import UsageError

Verdict = Literal["equal", "better", "worse", "not measured"]


class CellId(NamedTuple):
    """What two records must have in common to be compared."""

    dataset: str
    split: str
    mesh: str
    codec: str
    rate: str
    effort: str
    seed: int
    device: str

    def __str__(self) -> str:
        return f"{self.codec} {self.rate} on {self.dataset}/{self.mesh}"


@dataclass(frozen=True)
class CellResult:
    """The result of one cell."""

    status: str  # as in records
    stream_bytes: float | None  # None if the mesh was not coded
    input_sha256: str | None  # of the normalised mesh
    metrics: Mapping[str, float | int | bool] = field(default_factory=dict)  # by column
    error: str | None = None
    suites: Mapping[str, str] = field(default_factory=dict)  # suite → version; two versions are not compared
    unmeasured: Mapping[str, str] = field(default_factory=dict)  # suite → why it has no values


@dataclass(frozen=True)
class Tolerance:
    """The largest change that counts as equal.

    Parameters
    ----------
    name : str
        Class of codecs: ``exact``, ``trained`` or ``other input``.
    cell_bytes, cell_metric : float
        For a single cell: relative for bytes and lengths, absolute for fractions and cosines; see `worsening`.
    mean_bytes, mean_metric : float
        For the mean over all cells of a codec.
    every : bool
        Compare every column. Otherwise only robust columns without a noise floor, at which they would saturate, and
        without PSNRs, which are logarithms of such columns.
    length : float
        Distances that differ by at most this are equal; in units of the normalised mesh.
    """

    name: str
    cell_bytes: float
    cell_metric: float
    mean_bytes: float
    mean_metric: float
    every: bool = False
    length: float = 1e-6  # the last digit of a coordinate in a file

    def looks_at(self, column: Column) -> bool:
        """Whether the values of a column are compared."""
        steady = column.robust and column.floor is None and column.unit != "dB"
        return self.every or (steady and column.better is not None)

    def cell(self, name: str) -> float:
        """Largest change of ``bytes`` or of a metric in a single cell."""
        return self.cell_bytes if name == "bytes" else self.cell_metric

    def mean(self, name: str) -> float:
        """Largest change of the mean over cells."""
        return self.mean_bytes if name == "bytes" else self.mean_metric


# Equal bytes decode to equal meshes, which are measured in float64; see remeasure.EXACT_TOLERANCE.
EXACT = Tolerance("exact", 0.0, 1e-9, 0.0, 1e-9, every=True, length=1e-12)
# Training takes another path on another processor, as with another seed: two seeds of NeCGS on the same volumes end 4 %
# apart in CD and 7 % in p2s (docs/necgs.md). On the machine of the baseline, training mostly repeats to the bit.
TRAINED = Tolerance("trained", 0.03, 0.10, 0.01, 0.05)
# A deterministic codec on meshes that another machine generated, whose last digits may differ. With ±1e-6 on one in a
# thousand coordinates of the minis, draco-qem changes by up to 3 % in bytes and 9 % in p2s in one cell (a last digit
# decides which edge is collapsed first), and by .06 % and .3 % on the mean. With ±1e-6 on all coordinates, by 9 % and
# 10 % in one cell, and .2 % and .2 % on the mean. Draco itself stays under .5 %.
OTHER_INPUT = Tolerance("other input", 0.10, 0.15, 0.005, 0.015)


@dataclass(frozen=True)
class Difference:
    """Bytes or a metric of a cell that changed by more than the tolerance; ``change`` is positive for worse."""

    name: str  # "bytes" or a metric
    old: float
    new: float
    change: float


@dataclass(frozen=True)
class CellComparison:
    """One cell that both sets have."""

    cell: CellId
    verdict: Verdict
    tolerance: str
    differences: tuple[Difference, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class MeanComparison:
    """Mean change of bytes or of a metric over the cells of a codec; positive is worse."""

    codec: str
    name: str
    change: float
    cells: int
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Comparison of two sets of results."""

    cells: tuple[CellComparison, ...]  # cells that both sets have, in the order of the old set
    means: tuple[MeanComparison, ...]  # by codec: bytes, then metrics
    only_old: tuple[CellId, ...]
    only_new: tuple[CellId, ...]

    def of(self, verdict: Verdict) -> tuple[CellComparison, ...]:
        """Cells with a verdict."""
        return tuple(cell for cell in self.cells if cell.verdict == verdict)

    @property
    def worse_means(self) -> tuple[MeanComparison, ...]:
        """Means that are worse."""
        return tuple(mean for mean in self.means if mean.verdict == "worse")

    @property
    def verdict(self) -> Verdict:
        """``worse`` if a cell or mean is; else ``not measured`` if a cell is, or there is no cell; else the rest."""
        if self.of("worse") or self.worse_means:
            return "worse"
        if self.of("not measured") or not self.cells:
            return "not measured"
        better = self.of("better") or any(mean.verdict == "better" for mean in self.means)
        return "better" if better else "equal"


ToleranceOf = Callable[[CellId, CellResult, CellResult], Tolerance | str]
"""Gives the tolerance of a cell; or a text that says why its two results cannot be compared."""


def cell_results(records: Iterable[Record], codecs: Sequence[str] = ()) -> dict[CellId, CellResult]:
    """Results of quality passes by cell; of these codecs only, if any are given."""
    results = {}
    known = columns()
    for r in records:
        if r.timing or (codecs and r.codec not in codecs):
            continue
        cell = CellId(r.dataset, r.split, r.mesh, r.codec, r.rate, r.effort, r.seed, r.device)
        metrics = {name: value for name, value in r.metrics.items() if name in known}
        results[cell] = CellResult(
            r.status, r.stream_bytes, r.input_sha256, metrics, r.error, dict(r.suites), dict(r.unmeasured)
        )
    return results


def named_alike(old: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """The new records; a mesh that only the old ones have under its name takes the name of the same mesh there.

    Example: ``ama/crane/0002`` of the old records and ``my-copy/a`` of the new ones have the same SHA-256.
    """
    known = {(r.dataset, r.split, r.mesh): r.input_sha256 for r in old}
    name_of = {sha256: name for name, sha256 in reversed(list(known.items())) if sha256 is not None}
    renamed = []
    for r in new:
        name = name_of.get(r.input_sha256 or "")
        if name is not None and (r.dataset, r.split, r.mesh) not in known:
            dataset, split, mesh = name
            renamed.append(replace(r, dataset=dataset, split=split, mesh=mesh))
        else:
            renamed.append(r)
    return renamed


def compare(
    old: Mapping[CellId, CellResult], new: Mapping[CellId, CellResult], tolerance_of: ToleranceOf
) -> Comparison:
    """Compare two sets of results.

    A cell is worse if its bytes or one metric became worse by more than the tolerance, even if something else became
    better: only rate-distortion curves tell whether a trade of bytes for quality is good. A new failure is worse.

    Parameters
    ----------
    old, new : mapping
        From `cell_results`.
    tolerance_of : callable
        Called with a cell and its two results.
    """
    cells: list[CellComparison] = []
    changes: dict[tuple[str, str], list[tuple[float, Tolerance]]] = defaultdict(list)
    for cell, before in old.items():
        if cell not in new:
            continue
        after = new[cell]
        tolerance = tolerance_of(cell, before, after)
        if isinstance(tolerance, str):
            cells.append(CellComparison(cell, "not measured", "", note=tolerance))
            continue
        cells.append(_compare_cell(cell, before, after, tolerance))
        if before.status == after.status == "ok":
            for name, then, now in _figures(before, after, tolerance):
                changes[cell.codec, name].append((_worsening(name, then, now, tolerance), tolerance))
    return Comparison(
        cells=tuple(cells),
        means=tuple(_mean(codec, name, values) for (codec, name), values in changes.items()),
        only_old=tuple(cell for cell in old if cell not in new),
        only_new=tuple(cell for cell in new if cell not in old),
    )


def compare_results(
    old: Mapping[CellId, CellResult], new: Mapping[CellId, CellResult], allowed: float | None = None
) -> Comparison:
    """Compare the results of two runs, with the tolerance of each codec's class.

    Parameters
    ----------
    old, new : mapping
        From `cell_results`.
    allowed : float, optional
        Changes up to this size count as equal, in every cell of every codec.
    """

    def choose(cell: CellId, before: CellResult, after: CellResult) -> Tolerance | str:
        if before.input_sha256 != after.input_sha256:
            return "the meshes are not the same"
        if allowed is not None:
            return Tolerance("given", allowed, allowed, allowed, allowed, every=True, length=EXACT.length)
        return EXACT if is_deterministic(cell.codec) else TRAINED

    return compare(old, new, choose)


def is_deterministic(codec: str) -> bool:
    """Whether a codec declares itself deterministic; True for an unknown codec, so that no change is overlooked."""
    try:
        return CODECS.get(codec.partition("[")[0]).deterministic
    except (UsageError, ImportError):
        return True


def _compare_cell(cell: CellId, before: CellResult, after: CellResult, tolerance: Tolerance) -> CellComparison:
    if after.status != "ok" or before.status != "ok":
        if after.status == before.status:
            return CellComparison(cell, "equal", tolerance.name, note=f"{after.status} in both")
        verdict: Verdict = "worse" if before.status == "ok" else "better" if after.status == "ok" else "equal"
        error = f": {after.error}" if after.error else ""
        return CellComparison(cell, verdict, tolerance.name, note=f"was {before.status}, is {after.status}{error}")
    differences = []
    for name, then, now in _figures(before, after, tolerance):
        change = _worsening(name, then, now, tolerance)
        if abs(change) > tolerance.cell(name):
            differences.append(Difference(name, then, now, change))
    worse = any(d.change > 0 for d in differences)
    if not worse and (why := _not_compared(before, after)):
        return CellComparison(cell, "not measured", tolerance.name, tuple(differences), why)
    verdict = "worse" if worse else "better" if differences else "equal"
    return CellComparison(cell, verdict, tolerance.name, tuple(differences))


def _not_compared(before: CellResult, after: CellResult) -> str:
    """Which suites cannot be compared, and why; empty if all can."""
    reasons = [
        f"{suite} was of version {before.suites[suite]}, is of {after.suites[suite]}" for suite in _stale(before, after)
    ]
    reasons += [f"{suite} is {why}" for suite, why in after.unmeasured.items() if suite not in before.unmeasured]
    return "; ".join(reasons)


def _stale(before: CellResult, after: CellResult) -> list[str]:
    return [suite for suite, version in before.suites.items() if after.suites.get(suite, version) != version]


def _figures(before: CellResult, after: CellResult, tolerance: Tolerance) -> list[tuple[str, float, float]]:
    """Name, old and new value of everything that is compared: values from the same version of a suite."""
    figures = []
    if before.stream_bytes is not None and after.stream_bytes is not None:
        figures.append(("bytes", before.stream_bytes, after.stream_bytes))
    stale = {column.name for suite in _stale(before, after) for column in SUITES.get(suite).columns}
    both = [
        name
        for name, column in columns().items()
        if name in before.metrics and name in after.metrics and name not in stale and tolerance.looks_at(column)
    ]
    return figures + [(name, before.metrics[name], after.metrics[name]) for name in both]


def _worsening(name: str, then: float, now: float, tolerance: Tolerance) -> float:
    is_length = name != "bytes" and columns()[name].unit == "length"
    return 0.0 if is_length and abs(now - then) <= tolerance.length else worsening(name, then, now)


def _mean(codec: str, name: str, values: Sequence[tuple[float, Tolerance]]) -> MeanComparison:
    change = sum(value for value, _ in values) / len(values)
    limit = max(tolerance.mean(name) for _, tolerance in values)
    verdict: Verdict = "equal" if abs(change) <= limit else "worse" if change > 0 else "better"
    return MeanComparison(codec, name, change, len(values), verdict)
