"""The functions that workers run on a metric suite under test: describe the suite, and measure a pair of meshes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from gcbench.bench.conformance.attempt import Raised, attempt, differs, version_of
from gcbench.bench.metrics import SUITES, Cloud, Column
from gcbench.bench.metrics.base import Unit
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.stages import copied, loaded_suite

CLOUD_BITS = 7
"""Bits of the grid on which meshes become point clouds, for suites that take clouds."""

_PER_SIDE = 8  # samples along the side of a triangle, for such a cloud


@dataclass(frozen=True)
class SuiteClaims:
    """What a suite declares, and the problems of its declarations."""

    takes: str
    version: str | Raised
    columns: tuple[Column, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class MeasureTrial:
    """An original, and a decoded mesh to compare with it."""

    suite: str
    original: MeshArrays
    decoded: MeshArrays
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class MeasureTrialResult:
    """The result of measuring."""

    values: Mapping[str, float]  # without those that are not numbers
    faults: tuple[str, ...]  # what is wrong with the values
    touched: tuple[str, ...]  # meshes that measuring changed: "original", "decoded"
    implausible: tuple[str, ...] | Raised  # answer of implausible()


@dataclass(frozen=True)
class AtReference:
    """``reference()`` raised, so nothing was compared."""

    raised: Raised


def prepare(name: str) -> Raised | None:
    """Create a suite and load what it needs."""
    answer = attempt(lambda: loaded_suite(name))
    return answer if isinstance(answer, Raised) else None


def describe(name: str) -> SuiteClaims | Raised:
    """Read the declarations of a suite."""
    suite = attempt(lambda: SUITES.create(name))
    if isinstance(suite, Raised):
        return suite
    columns: object = getattr(suite, "columns", None)
    if not isinstance(columns, tuple) or not all(type(column) is Column for column in columns):
        return SuiteClaims(str(suite.takes), version_of(suite), (), ("columns is not a tuple of Column",))
    problems = [problem for column in columns for problem in _problems_of(column)]
    if not columns:
        problems.append("there is no column")
    if suite.takes not in {"mesh", "cloud"}:
        problems.append(f"takes is {suite.takes!r}, not 'mesh' or 'cloud'")
    return SuiteClaims(str(suite.takes), version_of(suite), columns, tuple(problems))


def measure_pair(job: MeasureTrial) -> MeasureTrialResult | AtReference | Raised:
    """Prepare the original and compare; exceptions are returned."""
    suite = loaded_suite(job.suite)
    original = copied(job.original)
    decoded = _cloud(job.decoded) if suite.takes == "cloud" else copied(job.decoded)
    reference = attempt(lambda: suite.reference(original, seed=job.seed, threads=job.threads))
    if isinstance(reference, Raised):
        return AtReference(reference)
    said: object = attempt(lambda: suite.measure(reference, decoded))
    touched = ["original"] * differs(original, job.original)
    if isinstance(decoded, Cloud):
        touched += ["decoded"] * (not np.array_equal(decoded.points, _cloud(job.decoded).points, equal_nan=True))
    else:
        touched += ["decoded"] * differs(decoded, job.decoded)
    if isinstance(said, Raised):
        return said
    if not isinstance(said, Mapping):
        return MeasureTrialResult({}, (f"measure() returned {type(said).__name__}, not a mapping",), tuple(touched), ())
    faults = list(_faults(suite.columns, said))
    implausible = () if faults else attempt(lambda: tuple(str(line) for line in suite.implausible(said)))
    numbers = {str(name): float(value) for name, value in said.items() if isinstance(value, (bool, int, float))}
    return MeasureTrialResult(numbers, tuple(faults), tuple(touched), implausible)


def _problems_of(column: Column) -> list[str]:
    name = column.name
    texts = {"name": name, "label": column.label, "definition": column.definition}
    problems = [
        f"column {name!r} has no {what} of one line"
        for what, text in texts.items()
        if not isinstance(text, str) or not text.strip() or not text.isprintable()
    ]
    for key in (name, column.floor):
        if key is not None and not (isinstance(key, str) and key.isidentifier()):
            problems.append(f"{key!r} is not a name that can be typed: letters, digits and underscores")
    if column.unit not in get_args(Unit):
        problems.append(f"column {name!r} has the unit {column.unit!r}; there are {', '.join(get_args(Unit))}")
    if column.better not in {"lower", "higher", None}:
        problems.append(f"column {name!r} has better={column.better!r}, not 'lower', 'higher' or None")
    if not (isinstance(column.scale, (int, float)) and math.isfinite(column.scale) and column.scale > 0):
        problems.append(f"column {name!r} has a scale of {column.scale!r}")
    if type(column.digits) is not int or column.digits < 0:
        problems.append(f"column {name!r} has {column.digits!r} digits")
    if column.ranks and column.better is None:
        problems.append(f"column {name!r} ranks codecs, and does not say which way is better")
    return problems


def _faults(columns: tuple[Column, ...], values: Mapping[Any, Any]) -> list[str]:
    """What is wrong with values: names, types, infinities, bounds."""
    declared = {key: column for column in columns for key in (column.name, column.floor) if key is not None}
    faults = [f"{name!r} is declared and not returned" for name in declared if name not in values]
    faults += [f"{name!r} is returned and not declared" for name in values if name not in declared]
    for name, value in values.items():
        if not isinstance(value, (bool, int, float)):
            faults.append(f"{name!r} is a {type(value).__name__}, not a float, an int or a bool")
        elif not math.isfinite(value):
            faults.append(f"{name!r} is {value}")
        elif name in declared and not declared[name].allows(value):
            faults.append(f"{name!r} is {value:.6g}, which is no {declared[name].unit}")
    return faults


def _cloud(mesh: MeshArrays) -> Cloud:
    """Voxels that a mesh passes through, by sampling; a possible output of a codec of points."""
    a, b = np.meshgrid(np.arange(_PER_SIDE + 1), np.arange(_PER_SIDE + 1), indexing="ij")
    weights = np.stack([a, b, _PER_SIDE - a - b], axis=-1)[a + b <= _PER_SIDE] / _PER_SIDE
    points = (weights @ mesh.vertices[mesh.faces]).reshape(-1, 3)
    voxels = np.floor((points + 1) / 2 * 2**CLOUD_BITS)
    finite = np.isfinite(voxels).all(axis=1)
    _, first = np.unique(np.clip(voxels, 0, 2**CLOUD_BITS - 1)[finite], axis=0, return_index=True)
    centres = np.clip(voxels[finite][np.sort(first)], 0, 2**CLOUD_BITS - 1) + 0.5
    return Cloud(np.concatenate([centres, voxels[~finite][:1]]), CLOUD_BITS)
