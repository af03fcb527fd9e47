"""A baseline: a small JSON file with the results of a subset of the benchmark, and the versions that gave them.

The order is stable and every cell has one line, so that a change of a baseline can be reviewed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from gcbench.bench.audit.comparison import EXACT, OTHER_INPUT, TRAINED, CellId, CellResult, Tolerance
from gcbench.bench.metrics import columns, floors
from gcbench.bench.store.fields import (
    LINE_BYTES,
    Kind,
    Named,
    OneOf,
    Part,
    Real,
    Several,
    Sha256,
    Text,
    Value,
    Whole,
    read_line,
)
from gcbench.bench.store.records import ERROR_CHARACTERS, Status
from gcbench.codecs import CODECS
from gcbench.codecs.base import EFFORTS
from gcbench.errors import BenchError
from gcbench.versions import installed

FORMAT = 2
_CLASSES = {tolerance.name: tolerance for tolerance in (EXACT, TRAINED, OTHER_INPUT)}
_DIGITS = 12  # significant digits of a metric in the file: finer than any tolerance


class BaselineUnreadable(BenchError):
    """The file is not a baseline, or has another format."""


@dataclass(frozen=True)
class Subset:
    """The subset of the benchmark that a gate runs: arguments of `gcbench.bench.make_plan`."""

    datasets: tuple[str, ...] = ("mixed",)  # names or folders
    split: str | None = None  # None is the default of each dataset
    effort: str = "quick"
    seed: int = 0
    rates: tuple[str, ...] = ()  # labels; empty is all
    meshes: tuple[str, ...] = ()  # names; empty is all


@dataclass(frozen=True)
class CodecFacts:
    """What decides the results of a codec: its version, and the packages that it depends on."""

    version: str
    packages: Mapping[str, str]
    deterministic: bool

    @classmethod
    def here(cls, address: str, version: str) -> CodecFacts:
        """Facts of an installed codec."""
        codec = CODECS.get(address.partition("[")[0])
        packages = {name: found for name in sorted(codec.packages) if (found := installed(name))}
        return cls(version, packages, codec.deterministic)


@dataclass(frozen=True)
class TimingRatio:
    """CPU seconds of a codec at a rate over the control codec's on the same mesh: the median over meshes."""

    encode: float
    decode: float


@dataclass(frozen=True)
class Timing:
    """Times as ratios to a control codec that ran on the same meshes in the same run; ``codec rate`` → ratio."""

    control: str
    machine: str
    ratios: Mapping[str, TimingRatio]


@dataclass(frozen=True)
class Baseline:
    """Results that later results are compared with."""

    subset: Subset
    cells: Mapping[CellId, CellResult]
    codecs: Mapping[str, CodecFacts]  # by address
    processor: str = ""
    suites: Mapping[str, str] = field(default_factory=dict)  # suite → version
    # Class of codecs → fields of `Tolerance` that differ from the default; written by hand, and kept by updates.
    tolerances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    timing: Timing | None = None

    def tolerance(self, name: str) -> Tolerance:
        """The tolerance of a class of codecs."""
        return Tolerance(**{**asdict(_CLASSES[name]), **self.tolerances.get(name, {})})

    def updated(self, new: Baseline) -> Baseline:
        """Replace the results of the codecs that ``new`` ran; other codecs keep theirs."""
        kept = {cell: value for cell, value in self.cells.items() if cell.codec not in new.codecs}
        return replace(
            new,
            cells=kept | dict(new.cells),
            codecs={**self.codecs, **new.codecs},
            tolerances=self.tolerances,
            timing=new.timing or self.timing,
        )

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises BenchError if it cannot be written."""
        partial = path.with_name(f".{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text("\n".join(self._lines()) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise BenchError(f"cannot write {path}: {error.strerror}") from error

    def _lines(self) -> Iterator[str]:
        meshes = {f"{cell.dataset}/{cell.mesh}": value.input_sha256 for cell, value in self.cells.items()}
        yield "{"
        yield f' "format": {FORMAT},'
        yield f' "subset": {json.dumps(asdict(self.subset))},'
        yield f' "suites": {json.dumps(self.suites)},'
        yield f' "processor": {json.dumps(self.processor)},'
        yield f' "tolerances": {json.dumps(self.tolerances, sort_keys=True)},'
        yield from _block("codecs", {name: asdict(facts) for name, facts in sorted(self.codecs.items())})
        yield from _block("inputs", dict(sorted(meshes.items())))
        if self.timing is not None:
            ratios = {name: _rounded(asdict(ratio), 3) for name, ratio in sorted(self.timing.ratios.items())}
            yield f' "control": {json.dumps(self.timing.control)},'
            yield f' "machine": {json.dumps(self.timing.machine)},'
            yield from _block("timing", ratios)
        yield ' "cells": ['
        rows = [json.dumps(_row(cell, self.cells[cell])) for cell in sorted(self.cells)]
        yield ",\n".join(f"  {row}" for row in rows)
        yield " ]"
        yield "}"

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read a file that `write` wrote. Raises BaselineUnreadable for any other file, with the reason."""
        try:
            if not path.exists():
                raise BaselineUnreadable(f"there is no baseline {path}; write one with --update")
            if not path.is_file():  # to open a pipe would wait for its other end
                raise BaselineUnreadable(f"{path} is not a file; give the file that --update wrote")
            with path.open("rb") as file:
                data = read_line(file.read(LINE_BYTES + 1))
        except OSError as error:
            raise BaselineUnreadable(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            reason = str(error).replace("the line", "the file")
            raise BaselineUnreadable(f"{path} cannot be read as a baseline: {reason}") from error
        found = data.get("format") if isinstance(data, dict) else None
        if type(found) is not int or found != FORMAT:
            said = f"has format {found}" if type(found) is int else "names no format"
            raise BaselineUnreadable(
                f"{path} {said}, this gcbench reads {FORMAT}; remove the file and write it with --update"
            )
        try:
            return cls._from_json(data)
        except ValueError as error:
            raise BaselineUnreadable(f"{path} is not a baseline as --update writes it: {error}") from error

    @classmethod
    def _from_json(cls, data: Mapping[str, Any]) -> Baseline:
        """The values, each of its type and in its range. Raises ValueError."""
        read = {**_CHECKED, **(_CHECKED_TIMING if "control" in data else {})}
        file = {name: _taken(name, kind, data) for name, kind in read.items()}
        subset: Subset = file["subset"]
        timing = None
        if "control" in data:
            timing = Timing(file["control"], file["machine"], file["timing"])
        cells: dict[CellId, CellResult] = {}
        for number, row in enumerate(file["cells"]):
            try:
                cell, result = _cell(row, subset, file["inputs"], file["suites"])
            except ValueError as error:
                raise ValueError(f"cell {number + 1}: {error}") from None
            if cell in cells:
                raise ValueError(f"{cell} is there twice")
            if cell.codec not in file["codecs"]:
                raise ValueError(f"cell {number + 1} is of {cell.codec}, which is not among the codecs")
            cells[cell] = result
        for name, values in file["tolerances"].items():
            if name not in _CLASSES or not set(values) <= set(_SETTABLE):
                known = f"{', '.join(_CLASSES)} with {', '.join(sorted(_SETTABLE))}"
                raise ValueError(f"unknown tolerances of '{name}'; known: {known}")
        return cls(
            subset=subset,
            cells=cells,
            codecs=file["codecs"],
            processor=file["processor"],
            suites=file["suites"],
            tolerances=file["tolerances"],
            timing=timing,
        )


def _row(cell: CellId, value: CellResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "codec": cell.codec,
        "rate": cell.rate,
        "dataset": cell.dataset,
        "split": cell.split,
        "mesh": cell.mesh,
        "status": value.status,
    }
    if value.stream_bytes is not None:
        row["bytes"] = _short(value.stream_bytes)
    return row | _rounded(value.metrics, _DIGITS) | ({"error": value.error} if value.error else {})


def _cell(
    row: Mapping[str, Any], subset: Subset, inputs: Mapping[str, str | None], suites: Mapping[str, str]
) -> tuple[CellId, CellResult]:
    """A row of the file. Raises ValueError for a value that is not possible."""
    of = {name: _taken(name, kind, row) for name, kind in _ROW.items()}
    cell = CellId(of["dataset"], of["split"], of["mesh"], of["codec"], of["rate"], subset.effort, subset.seed, "cpu")
    size = _taken("bytes", _SIZE, row) if row.get("bytes") is not None else None
    error = _taken("error", Text(ERROR_CHARACTERS), row) if row.get("error") is not None else None
    metrics: dict[str, float | int | bool] = {}
    floor_of, column_of = floors(), columns()
    for name in row.keys() - {*_ROW, "bytes", "error"}:
        value = metrics[Text(200, 1).take(name)] = _taken(name, Value(), row)
        column = column_of.get(name) or floor_of.get(name)
        if column is not None and not column.allows(value):
            raise ValueError(f"{name}: is {value}, which is not possible")
    if of["status"] == "ok" and size is None:
        raise ValueError("is ok and has no bytes")
    if (name := f"{cell.dataset}/{cell.mesh}") not in inputs:
        raise ValueError(f"is of the mesh {name}, which is not among the inputs")
    return cell, CellResult(of["status"], size, inputs[name], dict(sorted(metrics.items())), error, suites)


def _taken(name: str, kind: Kind, data: Mapping[str, Any]) -> Any:
    if name not in data:
        raise ValueError(f"{name} is missing")
    try:
        return kind.take(data[name])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


@dataclass(frozen=True)
class _Flag:
    """True or false."""

    pattern: str = "true|false"

    def take(self, value: Any) -> bool:
        if type(value) is not bool:
            raise ValueError("is neither true nor false")
        return value


@dataclass(frozen=True)
class _OrNull:
    """A kind of value, or null."""

    kind: Kind

    @property
    def pattern(self) -> str:
        return f"(?:null|{self.kind.pattern})"

    def take(self, value: Any) -> Any:
        return None if value is None else self.kind.take(value)


@dataclass(frozen=True)
class _Objects:
    """A list of objects, whose fields are checked elsewhere."""

    most: int
    pattern: str = ""

    def take(self, value: Any) -> list[Mapping[str, Any]]:
        if not isinstance(value, list) or len(value) > self.most or not all(isinstance(one, dict) for one in value):
            raise ValueError(f"is not a list of at most {self.most} objects")
        return value


@dataclass(frozen=True)
class _Ratio:
    """A positive number."""

    pattern: str = ""

    def take(self, value: Any) -> float:
        if not (number := Real(1e9).take(value)) >= 1e-9:
            raise ValueError(f"is {number}, not a positive number")
        return number


# What the fields of a file may hold. A baseline may come with a pull request from anybody.

_NAME = Text(1000, 1)
_NAMES = Several(Text(10_000, 1), 100_000)
_SIZE = Real(float(2**53))
_ROW: Mapping[str, Kind] = {
    **{"codec": _NAME, "rate": _NAME, "dataset": Text(10_000, 1), "split": _NAME, "mesh": Text(10_000, 1)},
    "status": OneOf(get_args(Status)),
}
_SETTABLE = tuple(f.name for f in fields(Tolerance) if f.name not in {"name", "every"})
_CHECKED: Mapping[str, Kind] = {
    "subset": Part(
        Subset,
        {
            **{"datasets": _NAMES, "split": _NAME, "effort": OneOf(EFFORTS), "seed": Whole(2**63 - 1)},
            **{"rates": _NAMES, "meshes": _NAMES},
        },
        frozenset(),
    ),
    "suites": Named(Text(10_000), 1000),
    "processor": Text(),
    "tolerances": Named(Named(Real(10.0), len(_SETTABLE)), len(_CLASSES)),
    "codecs": Named(
        Part(
            CodecFacts,
            {"version": Text(10_000), "packages": Named(Text(), 1000), "deterministic": _Flag()},
            frozenset({"version", "packages", "deterministic"}),
        ),
        10_000,
        _NAME,
    ),
    "inputs": Named(_OrNull(Sha256()), 10**6, Text(20_001, 3)),
    "cells": _Objects(10**7),
}
_CHECKED_TIMING: Mapping[str, Kind] = {
    "control": _NAME,
    "machine": Text(),
    "timing": Named(
        Part(TimingRatio, {"encode": _Ratio(), "decode": _Ratio()}, frozenset({"encode", "decode"})),
        10**6,
        Text(2001, 3),
    ),
}


def _block(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield f' "{name}": {{'
    yield ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    yield " },"


def _rounded(values: Mapping[str, float | int | bool], digits: int) -> dict[str, float | int | bool]:
    """Round floats, and leave counts and flags as they are."""
    return {name: float(f"{value:.{digits}g}") if isinstance(value, float) else value for name, value in values.items()}


def _short(size: float) -> float:
    return int(size) if size == int(size) else size
