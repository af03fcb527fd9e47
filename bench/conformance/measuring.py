"""What a worker does for one trial of a metric suite under test; runs in processes that may be killed.

Knows suites and arrays; nothing of checks or verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

import numpy as np

from gcbench.bench.conformance.attempt import Raised, attempt, differs, trimesh_of
from gcbench.bench.metrics import SUITES, Cloud, Column, Suite
from gcbench.bench.metrics.base import Unit
from gcbench.bench.run.arrays import MeshArrays

CLOUD_BITS = 7
"""Grid of the clouds that stand for meshes where a suite takes clouds."""

_PER_SIDE = 8  # samples along the side of a triangle, for such a cloud
_SLACK = 1e-9  # beyond the bounds of a unit: the rounding of a mean
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "length": (0.0, math.inf),
    "squared length": (0.0, math.inf),
    "fraction": (0.0, 1.0),
    "cosine": (0.0, 1.0),
    "similarity": (-math.inf, 1.0),
    "flag": (0.0, 1.0),
}


@dataclass(frozen=True)
class SuiteFacts:
    """What a suite says of itself; ``problems`` are what is wrong with it."""

    takes: str
    version: str | Raised
    columns: tuple[Column, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Measure:
    """One original, and one decoded mesh to compare with it."""

    suite: str
    original: MeshArrays
    decoded: MeshArrays
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Measured:
    """What came of it.

    Parameters
    ----------
    values : mapping
        Numbers by name; those that are no numbers are left out, and ``faults`` say so.
    faults : tuple of str
        What is wrong with the values.
    touched : tuple of str
        What measuring changed: ``original``, ``decoded``.
    implausible : tuple of str
        What ``implausible()`` says of the values.
    """

    values: Mapping[str, float]
    faults: tuple[str, ...]
    touched: tuple[str, ...]
    implausible: tuple[str, ...] | Raised


@dataclass(frozen=True)
class AtReference:
    """``reference()`` raised this: nothing was compared."""

    raised: Raised


def prepare(name: str) -> Raised | None:
    """Create a suite and load what it needs."""
    answer = attempt(lambda: _suite(name))
    return answer if isinstance(answer, Raised) else None


def describe(name: str) -> SuiteFacts | Raised:
    """Ask a suite everything that it says of itself."""
    suite = attempt(lambda: SUITES.create(name))
    if isinstance(suite, Raised):
        return suite
    columns: object = getattr(suite, "columns", None)
    if not isinstance(columns, tuple) or not all(type(column) is Column for column in columns):
        return SuiteFacts(str(suite.takes), _version(suite), (), ("columns is not a tuple of Column",))
    problems = [problem for column in columns for problem in _problems_of(column)]
    if not columns:
        problems.append("there is no column")
    if suite.takes not in {"mesh", "cloud"}:
        problems.append(f"takes is {suite.takes!r}, not 'mesh' or 'cloud'")
    return SuiteFacts(str(suite.takes), _version(suite), columns, tuple(problems))


def measure(job: Measure) -> Measured | AtReference | Raised:
    """Prepare the original and compare; what is raised comes back."""
    suite = _suite(job.suite)
    original = trimesh_of(job.original)
    decoded = _cloud(job.decoded) if suite.takes == "cloud" else trimesh_of(job.decoded)
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
        return Measured({}, (f"measure() returned {type(said).__name__}, not a mapping",), tuple(touched), ())
    faults = list(_faults(suite.columns, said))
    implausible = () if faults else attempt(lambda: tuple(str(line) for line in suite.implausible(said)))
    numbers = {str(name): float(value) for name, value in said.items() if isinstance(value, (bool, int, float))}
    return Measured(numbers, tuple(faults), tuple(touched), implausible)


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
    declared = {column.name: column.unit for column in columns}
    declared |= {column.floor: column.unit for column in columns if column.floor is not None}
    faults = [f"{name!r} is declared and not returned" for name in declared if name not in values]
    faults += [f"{name!r} is returned and not declared" for name in values if name not in declared]
    for name, value in values.items():
        if not isinstance(value, (bool, int, float)):
            faults.append(f"{name!r} is a {type(value).__name__}, not a float, an int or a bool")
        elif not math.isfinite(value):
            faults.append(f"{name!r} is {value}")
        elif name in declared:
            low, high = _BOUNDS.get(declared[name], (-math.inf, math.inf))
            if not low - _SLACK <= value <= high + _SLACK:
                faults.append(f"{name!r} is {value:.6g}, which is no {declared[name]}")
            if declared[name] in {"count", "flag"} and value != int(value):
                faults.append(f"{name!r} is {value:.6g}, which is no {declared[name]}")
    return faults


@lru_cache(maxsize=4)
def _suite(name: str) -> Suite[Any]:
    suite = SUITES.create(name)
    suite.prepare()
    return suite


def _version(suite: Suite[Any]) -> str | Raised:
    def asked() -> str:
        said: object = suite.version()
        if not isinstance(said, str) or not said.strip():
            raise TypeError(f"version() returned {said!r}, not a text")
        return said

    return attempt(asked)


def _cloud(mesh: MeshArrays) -> Cloud:
    """Voxels that a mesh passes through, sampled: what a codec of points may decode to."""
    a, b = np.meshgrid(np.arange(_PER_SIDE + 1), np.arange(_PER_SIDE + 1), indexing="ij")
    weights = np.stack([a, b, _PER_SIDE - a - b], axis=-1)[a + b <= _PER_SIDE] / _PER_SIDE
    points = (weights @ mesh.vertices[mesh.faces]).reshape(-1, 3)
    voxels = np.floor((points + 1) / 2 * 2**CLOUD_BITS)
    finite = np.isfinite(voxels).all(axis=1)
    _, first = np.unique(np.clip(voxels, 0, 2**CLOUD_BITS - 1)[finite], axis=0, return_index=True)
    centres = np.clip(voxels[finite][np.sort(first)], 0, 2**CLOUD_BITS - 1) + 0.5
    return Cloud(np.concatenate([centres, voxels[~finite][:1]]), CLOUD_BITS)
