"""The checks of metric suites: declarations, returned values, determinism, and whether damage makes values worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields

from gcbench.bench.conformance.attempt import Raised
from gcbench.bench.conformance.measuring import AtReference, MeasureTrialResult, SuiteClaims
from gcbench.bench.conformance.report import Check, ContractBroken, Unmet, Verdict, passed, warned
from gcbench.bench.conformance.sandbox import Trouble
from gcbench.bench.conformance.shapes import HARD_MESHES, HardMesh
from gcbench.bench.conformance.suite_lab import NOISE, Degree, SuiteLab, noisy, reason, refined, reshuffled
from gcbench.bench.metrics import SUITES, Column
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.store.records import Record
from gcbench.errors import UsageError
from gcbench.registry import split_address

RELATIVE_NOISE = 0.10
"""Largest relative change of a value with the seed; or its floor, if that is more."""

ABSOLUTE_NOISE: Mapping[str, float] = {"fraction": 0.02, "cosine": 0.02, "similarity": 0.02, "dB": 0.5}
FLOOR_FACTOR, FLOOR_DB = 2.0, 1.0
"""The value of a mesh against itself may differ from the floor by this factor; in decibels, by this difference."""

_ROUNDING = 1e-9
_NOBODY_CAN = frozenset({"empty", "points", "nan", "infinite"})  # decoded meshes without a surface to measure
_ORIGINALS = frozenset({"one-triangle", "flat", "open", "components", "degenerate", "non-manifold"})


def _claims(lab: SuiteLab) -> SuiteClaims:
    claims = lab.claims()
    if isinstance(claims, Trouble):
        raise ContractBroken(f"the suite cannot be created: {claims}")
    return claims


def columns(lab: SuiteLab) -> Verdict:
    """Read the declarations."""
    claims = _claims(lab)
    if claims.problems:
        raise ContractBroken(claims.problems[0])
    ranking = [column.name for column in claims.columns if column.ranks]
    floors = sum(column.floor is not None for column in claims.columns)
    said = f"{len(claims.columns)} declared, {floors} with a floor"
    return passed(f"{said}, {ranking[0]} ranks" if ranking else said)


def names(lab: SuiteLab) -> Verdict:
    """Check that names of columns and floors occur once, and neither in other suites nor in records."""
    own = [key for column in lab.columns() for key in (column.name, column.floor) if key]
    for key in own:
        if own.count(key) > 1:
            raise ContractBroken(f"{key!r} is declared twice")
    taken = {field.name: "every record has a field of that name" for field in fields(Record)}
    taken |= dict.fromkeys(_row_of_nothing(), "every table has a column of that name")
    for other in SUITES:
        if other != split_address(lab.suite, "metric suite")[0]:
            try:
                theirs = SUITES.get(other).columns
            except (UsageError, ImportError):  # a broken plugin
                continue
            taken |= {key: f"so has the suite '{other}'" for c in theirs for key in (c.name, c.floor) if key}
    for key in own:
        if key in taken:
            raise ContractBroken(f"the name {key!r} is taken: {taken[key]}")
    return passed(f"{len(own)} names that nobody else has")


def _row_of_nothing() -> Mapping[str, object]:
    nothing = Record("", "mini", "", "", "model", "", 0, "", 0, timing=False, status="ok")
    return nothing.flat()


def version(lab: SuiteLab) -> Verdict:
    """Ask for the version, here and in another interpreter."""
    said, elsewhere = _claims(lab).version, lab.claims("stranger")
    if isinstance(said, Raised):
        raise ContractBroken(f"version(): {said}")
    if isinstance(elsewhere, SuiteClaims) and elsewhere.version != said:
        raise ContractBroken(f"version() is {said!r} in one process and {elsewhere.version!r} in another")
    return passed(said)


def values(lab: SuiteLab) -> Verdict:
    """Compare good meshes with themselves, as they are and damaged."""
    lab.columns()
    for place, degree in _comparisons(lab):
        found = lab.measured(place, degree)
        if not isinstance(found, MeasureTrialResult):
            raise ContractBroken(f"a closed mesh ({degree}): {reason(found)}")
        if found.faults:
            raise ContractBroken(f"a closed mesh ({degree}): {found.faults[0]}")
    shown = list(lab.values(0).items())[:3]
    return passed("with slight damage " + ", ".join(f"{name} {value:.4g}" for name, value in shown))


def _comparisons(lab: SuiteLab) -> Iterator[tuple[int, Degree]]:
    degrees: tuple[Degree, ...] = ("same", "slight", "heavy")
    return ((place, degree) for place in range(len(lab.originals)) for degree in degrees)


def inputs(lab: SuiteLab) -> Verdict:
    """Compare the meshes before and after measuring."""
    for place, degree in _comparisons(lab):
        found = lab.measured(place, degree)
        if isinstance(found, MeasureTrialResult) and found.touched:
            raise ContractBroken(f"measuring changed the {' and the '.join(found.touched)} mesh")
        lab.values(place, degree)
    return passed("original and decoded mesh are as they were")


def plausible(lab: SuiteLab) -> Verdict:
    """Ask ``implausible()`` of values just measured."""
    for place, degree in _comparisons(lab):
        lab.values(place, degree)
        found = lab.measured(place, degree)
        assert isinstance(found, MeasureTrialResult)
        if isinstance(found.implausible, Raised):
            raise ContractBroken(f"implausible(): {found.implausible}")
        if found.implausible:
            raise ContractBroken(f"implausible() says of values just measured: {found.implausible[0]}")
    return passed("implausible() says nothing of values just measured")


def same_values(lab: SuiteLab) -> Verdict:
    """Measure again: here, in another interpreter."""
    first = lab.values(0)
    again = lab.compare(lab.originals[0], _slight(lab))
    if not isinstance(again, MeasureTrialResult) or again.values != first:
        raise ContractBroken(f"measuring again gives {_change(first, again)}")
    elsewhere = lab.measured(0, "slight", by="stranger")
    if not isinstance(elsewhere, MeasureTrialResult) or elsewhere.values != first:
        raise ContractBroken(f"another process gives {_change(first, elsewhere)}")
    return passed("the same to the last bit, again and in another process")


def threads(lab: SuiteLab) -> Verdict:
    """Measure with two threads."""
    first, found = lab.values(0), lab.measured(0, "slight", by="threads")
    if not isinstance(found, MeasureTrialResult) or found.values != first:
        raise ContractBroken(f"two threads give {_change(first, found)}")
    return passed("one and two threads give the same to the last bit")


def seeds(lab: SuiteLab) -> Verdict:
    """Measure with another seed."""
    largest, odd = 0.0, []
    for place in range(len(lab.originals)):
        one, other = lab.values(place), lab.values(place, seed=1)
        for column in lab.columns():
            change = abs(other[column.name] - one[column.name])
            largest = max(largest, change / max(abs(one[column.name]), _ROUNDING))
            if change > _allowed(column, one):
                a, b = one[column.name], other[column.name]
                odd.append(f"{column.name} is {a:.4g} with one seed, {b:.4g} with another")
    if odd:
        return warned(odd[0], changed=largest)
    if not largest:
        return passed("another seed gives the same values")
    return passed(f"another seed changes no value by more than {100 * largest:.2g} %", changed=largest)


def _allowed(column: Column, values: Mapping[str, float]) -> float:
    """Change of a value that may be sampling noise."""
    if column.unit in {"count", "flag"}:
        return 0.0
    floor = _from_best(column, values[column.floor]) if column.floor and column.unit != "dB" else 0.0
    if column.unit in ABSOLUTE_NOISE:
        return max(floor, ABSOLUTE_NOISE[column.unit])
    return max(floor, RELATIVE_NOISE * abs(values[column.name])) + _ROUNDING


def _from_best(column: Column, value: float) -> float:
    """Distance of a value from the best possible one: 1 for a fraction where higher is better, else 0."""
    bounded = column.better == "higher" and column.unit in {"fraction", "cosine", "similarity"}
    return abs(value - (1.0 if bounded else 0.0))


def better(lab: SuiteLab) -> Verdict:
    """Compare a mesh itself, slightly damaged, and heavily damaged."""
    ranked = [column for column in lab.columns() if column.better is not None]
    if not ranked:
        raise Unmet("no column says which way is better")
    blind: list[str] = []
    for place in range(len(lab.originals)):
        same, slight, heavy = (lab.values(place, degree) for degree in ("same", "slight", "heavy"))
        for column in ranked:
            a, b, c = (values[column.name] for values in (same, slight, heavy))
            if column.is_better(c, b) or column.is_better(c, a):
                course = f"{a:.4g} of a mesh itself, {b:.4g} with slight and {c:.4g} with heavy damage"
                raise ContractBroken(f"of {column.name} {column.better} is better, and it is {course}")
            if column.is_better(b, a) and abs(b - a) > _allowed(column, same):
                raise ContractBroken(f"{column.name} is {b:.4g} with slight damage, and {a:.4g} of the mesh itself")
            if a == c and column.unit not in {"count", "flag"}:
                blind.append(f"{column.name} is {a:.4g} of a mesh itself, and the same of one heavily damaged")
    if blind:
        return warned(blind[0])
    return passed(f"{len(ranked)} columns get worse with damage")


def floors(lab: SuiteLab) -> Verdict:
    """Compare a mesh with itself, which gives the floor."""
    with_floor = [column for column in lab.columns() if column.floor]
    if not with_floor:
        raise Unmet("no column has a floor")
    for place in range(len(lab.originals)):
        same = lab.values(place, "same")
        for column in with_floor:
            value, floor = same[column.name], same[str(column.floor)]
            near, far = sorted((_from_best(column, value), _from_best(column, floor)))
            if far > (near + FLOOR_DB if column.unit == "dB" else FLOOR_FACTOR * near + _ROUNDING):
                return warned(f"{column.name} of a mesh against itself is {value:.4g}, its floor {floor:.4g}")
    return passed("a mesh against itself has the values of the floors")


def face_order(lab: SuiteLab) -> Verdict:
    """Measure the same surface with vertices and faces in another order."""
    return _same_surface(lab, reshuffled, "in another order")


def connectivity(lab: SuiteLab) -> Verdict:
    """Measure the same surface with three times as many faces."""
    first = lab.values(0)
    found = lab.compare(lab.originals[0], refined(_slight(lab)))
    if not isinstance(found, MeasureTrialResult):
        raise ContractBroken(f"a mesh with other faces than the original: {reason(found)}")
    if found.faults:
        raise ContractBroken(f"a mesh with other faces than the original: {found.faults[0]}")
    changed = [c.name for c in lab.columns() if abs(found.values[c.name] - first[c.name]) > _allowed(c, first)]
    return passed(f"faces divided: {', '.join(changed) or 'no column'} changes")


def _same_surface(lab: SuiteLab, change: Callable[[MeshArrays], MeshArrays], how: str) -> Verdict:
    first = lab.values(0)
    found = lab.compare(lab.originals[0], change(_slight(lab)))
    if not isinstance(found, MeasureTrialResult) or found.faults:
        raise ContractBroken(f"the same mesh {how}: {_change(first, found)}")
    for column in lab.columns():
        one, other = first[column.name], found.values[column.name]
        if abs(one - other) > _allowed(column, first):
            return warned(f"{column.name} is {one:.4g}, and {other:.4g} of the same mesh {how}")
    return passed(f"the same mesh {how} has the same values")


def decoded(hard: HardMesh) -> Callable[[SuiteLab], Verdict]:
    """Make a check that compares a hard decoded mesh with a good original."""

    def run(lab: SuiteLab) -> Verdict:
        lab.values(0)  # skip if good meshes fail: an earlier check reports that
        found = lab.compare(lab.originals[0], hard.make())
        if isinstance(found, Trouble) and found.kind == "CodecFailed":
            return passed(f"refused: {found}")
        if not isinstance(found, MeasureTrialResult):
            raise ContractBroken(f"{hard.what}: {reason(found)}")
        if hard.name in _NOBODY_CAN:
            raise ContractBroken(f"{hard.what}: measured, where CodecFailed is due")
        if found.faults:
            raise ContractBroken(f"{hard.what}: {found.faults[0]}")
        return passed("measured")

    return run


def originals(lab: SuiteLab) -> Verdict:
    """Compare hard originals with themselves."""
    lab.values(0)
    refused = []
    for hard in HARD_MESHES:
        if hard.name not in _ORIGINALS:
            continue
        found = lab.compare(hard.make(), hard.make())
        if isinstance(found, AtReference) and found.raised.kind == "BadMesh":
            refused.append(hard.name)
        elif isinstance(found, AtReference):
            raise ContractBroken(f"{hard.what}: reference() raises {found.raised}, not BadMesh")
        elif isinstance(found, Trouble) and found.kind != "CodecFailed":
            raise ContractBroken(f"{hard.what}, against itself: {found}")
        elif isinstance(found, Trouble):
            raise ContractBroken(f"{hard.what}, against itself: {found}; reference() should have raised BadMesh")
        elif found.faults:
            raise ContractBroken(f"{hard.what}, against itself: {found.faults[0]}")
    return passed(f"refused with BadMesh: {', '.join(refused) or 'none'}; the others are measured")


def _slight(lab: SuiteLab) -> MeshArrays:
    return noisy(lab.originals[0], NOISE["slight"])


def _change(first: Mapping[str, float], again: MeasureTrialResult | AtReference | Trouble) -> str:
    if not isinstance(again, MeasureTrialResult):
        return reason(again)
    if again.faults:
        return again.faults[0]
    name = next(name for name in first if first[name] != again.values.get(name))
    return f"another {name}: {first[name]!r} and {again.values.get(name)!r}"


def _all() -> Iterator[Check[SuiteLab]]:
    yield Check("columns", "every column has a name, a label, a definition, a unit and a direction", columns)
    yield Check("names", "names of columns and floors are unique over all suites and records", names)
    yield Check("version", "version() is a text that identifies what decides the values, equal everywhere", version)
    yield Check("values", "measure() returns a finite number within its unit for every column and floor", values)
    yield Check("inputs", "reference() and measure() do not change the meshes", inputs)
    yield Check("plausible", "implausible() names impossible values, and no others", plausible)
    yield Check("same-values", "all randomness derives from the seed, so equal meshes have equal values", same_values)
    yield Check("threads", "the number of threads changes no value", threads)
    yield Check("seeds", "a value depends little on the seed, or has a floor of that size", seeds)
    yield Check("better", "`better` is correct: damage makes no value better", better)
    yield Check("floors", "a floor is the value of the original against itself", floors)
    yield Check("face-order", "values do not depend on the order of faces and vertices", face_order)
    yield Check("connectivity", "a decoded mesh may have other vertices and faces than the original", connectivity)
    yield Check("originals", "an original is measured, or reference() raises BadMesh", originals)
    surface = "a decoded mesh is measured, or measure() raises CodecFailed; never another error, a crash or a hang"
    nothing = "a decoded mesh without a surface, or not finite, raises CodecFailed"
    for hard in HARD_MESHES:
        yield Check(f"decoded-{hard.name}", nothing if hard.name in _NOBODY_CAN else surface, decoded(hard))


SUITE_CHECKS: tuple[Check[SuiteLab], ...] = tuple(_all())
