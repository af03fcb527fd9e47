"""A baseline: a small JSON file with the results of a subset of the benchmark, and the versions that gave them.

The order is stable and every cell has one line, so that a change of a baseline can be reviewed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from gcbench.bench.audit.comparison import EXACT, OTHER_INPUT, TRAINED, CellId, CellResult, Tolerance
from gcbench.codecs import CODECS
from gcbench.errors import BenchError, UsageError
from gcbench.versions import installed

FORMAT = 2
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
        """Read a file that `write` wrote. Raises BaselineUnreadable for any other file."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BaselineUnreadable(f"there is no baseline {path}; write one with --update") from None
        except (OSError, ValueError) as error:
            raise BaselineUnreadable(f"{path} cannot be read as a baseline: {error}") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else None
            raise BaselineUnreadable(
                f"{path} has format {found}, this gcbench reads {FORMAT}; remove the file and write it with --update"
            )
        try:
            return cls._from_json(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BaselineUnreadable(f"{path} is not a complete baseline: {error!r}") from error

    @classmethod
    def _from_json(cls, data: Mapping[str, Any]) -> Baseline:
        tolerances = data["tolerances"]
        settable = {f.name for f in fields(Tolerance)} - {"name", "every"}
        for name, values in tolerances.items():
            if name not in _CLASSES or not set(values) <= settable:
                known = f"{', '.join(_CLASSES)} with {', '.join(sorted(settable))}"
                raise UsageError(f"unknown tolerances of '{name}'; known: {known}")
        named: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data["subset"].items()}
        subset = Subset(**named)
        timing = None
        if "control" in data:
            ratios = {name: TimingRatio(**ratio) for name, ratio in data["timing"].items()}
            timing = Timing(data["control"], data["machine"], ratios)
        inputs: Mapping[str, str | None] = data["inputs"]
        return cls(
            subset=subset,
            cells=dict(_cell(row, subset, inputs, data["suites"]) for row in data["cells"]),
            codecs={name: CodecFacts(**facts) for name, facts in data["codecs"].items()},
            processor=data["processor"],
            suites=data["suites"],
            tolerances=tolerances,
            timing=timing,
        )


_CLASSES = {tolerance.name: tolerance for tolerance in (EXACT, TRAINED, OTHER_INPUT)}


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
    cell = CellId(
        row["dataset"], row["split"], row["mesh"], row["codec"], row["rate"], subset.effort, subset.seed, "cpu"
    )
    metrics = {name: value for name, value in row.items() if isinstance(value, (int, float)) and name != "bytes"}
    sha256 = inputs[f"{cell.dataset}/{cell.mesh}"]
    return cell, CellResult(row["status"], row.get("bytes"), sha256, metrics, row.get("error"), suites)


def _block(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield f' "{name}": {{'
    yield ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    yield " },"


def _rounded(values: Mapping[str, float | int | bool], digits: int) -> dict[str, float | int | bool]:
    """Round floats, and leave counts and flags as they are."""
    return {name: float(f"{value:.{digits}g}") if isinstance(value, float) else value for name, value in values.items()}


def _short(size: float) -> float:
    return int(size) if size == int(size) else size
