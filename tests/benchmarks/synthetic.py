"""Writes synthetic runs of any size, for tests and measurements at the size of the paper.

    python tests/benchmarks/synthetic.py RUN 200000

A run is made of values in closed form with noise, so nothing is coded: there are lines and no streams. It has four
codecs (one of sets) with 23 rates together, four datasets, three suites on every mesh, one that fails on some and one
of clouds, failed codings, bad input, codings by an earlier version, and a timing pass of the smallest dataset. Columns
come from the registry of suites.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gcbench.bench.metrics import SUITES, Column
from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, PlannedMesh, SuiteId, measurement_key
from gcbench.bench.store.records import CodedMesh, Coding, Cost, Measurement, RanOn
from gcbench.bench.store.run import Run
from gcbench.codecs import Rate
from gcbench.datasets import MeshSource

SESSION = "5e5510000000"
ON = RanOn("host", "0", 1, "a processor")
SUITE_NAMES = ("paper", "surface", "psnr", "topology", "volume", "points")
VERSION = "2+synthetic"
MACHINE = "a processor, 1 thread"


@dataclass(frozen=True)
class Ladder:
    """A codec and its rates: bits per vertex and relative error of the lowest rate, both changing by halves."""

    codec: str
    kind: str
    rates: tuple[Rate, ...]
    bits: float
    error: float
    seconds: float
    clouds: bool = False


LADDERS = (
    Ladder("draco", "model", tuple(Rate(f"q{q:02d}", {"quantization_bits": q}) for q in range(7, 15)), 8, 8e-3, 0.01),
    Ladder("draco-qem", "model", tuple(Rate(f"f{f:05d}q10", {"face_budget": f}) for f in (250, 500, 1000, 2000, 3000,
           5000, 8000)), 1, 2e-2, 0.2),
    Ladder("gpcc-trisoup", "model", tuple(Rate(f"r{i:02d}", {"node": i}) for i in range(1, 6)), 0.5, 3e-2, 1.0, True),
    Ladder("necgs", "set", tuple(Rate(f"k64w{w}", {"width": w}) for w in (16, 32, 64)), 0.25, 2e-2, 900.0),
)  # fmt: skip
#: Datasets and their shares of the meshes.
DATASETS = {"humans": 0.5, "objects": 0.3, "sequence": 0.15, "small": 0.05}
RATES = sum(len(ladder.rates) for ladder in LADDERS)


def suites() -> tuple[SuiteId, ...]:
    """The suites that measured, in versions of their own."""
    return tuple(SuiteId(name, "1+synthetic") for name in SUITE_NAMES)


def meshes(records: int) -> list[PlannedMesh]:
    """The meshes of a run with about so many records in its quality pass; every 400th cannot be used."""
    rng = np.random.default_rng(0)
    found = []
    for dataset, share in DATASETS.items():
        for i in range(max(2, round(records / RATES * share))):
            vertices = int(10 ** rng.uniform(3, 4.7))
            source = MeshSource(dataset, f"group-{i // 40:03d}/mesh-{i:05d}", Path(f"{i}.obj"))
            if len(found) % 400 == 7:
                found.append(PlannedMesh(source, source_bytes=100, problem="no faces"))
                continue
            sizes = (vertices, 2 * vertices, 64 * vertices, 36 * vertices, 70 * vertices)
            found.append(PlannedMesh(source, _sha(dataset, i), *sizes))
    return found


def units(planned: Sequence[PlannedMesh], *, timing: bool = True, version: str = VERSION) -> Iterator[CodingUnit]:
    """What was coded, mesh by mesh, then sets, then the timing pass of the dataset ``small``."""
    by_dataset: dict[str, list[PlannedMesh]] = {}
    for mesh in planned:
        by_dataset.setdefault(mesh.source.dataset, []).append(mesh)
    models = [ladder for ladder in LADDERS if ladder.kind == "model"]
    for dataset, of in by_dataset.items():
        for mesh in of:
            yield from (_unit(dataset, ladder, i, (mesh,), version) for ladder in models for i in _range(ladder))
    for dataset, of in by_dataset.items():
        for ladder in LADDERS:
            if ladder.kind == "set":
                yield from (_unit(dataset, ladder, i, tuple(of), version) for i in _range(ladder))
    if timing:
        for mesh in by_dataset["small"]:
            for ladder in models:
                yield from (
                    replace(_unit("small", ladder, i, (mesh,), version), timing=MACHINE) for i in _range(ladder)
                )


def write(folder: Path, records: int) -> None:
    """Write the three files of a run of about so many records; equal arguments give equal bytes."""
    Run(folder).make()
    planned = meshes(records)
    values = _Values(planned)
    old = [mesh for mesh in planned[: len(planned) // 50] if mesh.problem is None]
    with (folder / "codings.jsonl").open("w") as codings, (folder / "measurements.jsonl").open("w") as measurements:
        older = (unit for unit in units(old, timing=False, version="1+synthetic") if unit.kind == "model")
        for unit in chain(older, units(planned)):
            coding, measured = values.outcome(unit)
            codings.write(json.dumps(coding.to_json()) + "\n")
            measurements.writelines(json.dumps(m.to_json()) + "\n" for m in measured)
    facts: dict[str, Any] = {
        "session": SESSION, "started": "2026-01-01T00:00:00+00:00", "gcbench": "synthetic", "argv": ["synthetic"],
        "effort": "standard", "seed": 0, "device": "cpu", "timing": None, "folders": {}, "packages": {},
    }  # fmt: skip
    ended = {"session": SESSION, "finished": "2026-01-02T00:00:00+00:00", "wall_s": 86400.0}
    (folder / "sessions.jsonl").write_text(json.dumps(facts) + "\n" + json.dumps(ended) + "\n")


class _Values:
    """Noise of every record, drawn once; the outcome of a unit follows from the places of its meshes."""

    def __init__(self, planned: Sequence[PlannedMesh]) -> None:
        rng = np.random.default_rng(1)
        self._place = {(mesh.source.dataset, mesh.source.mesh): i for i, mesh in enumerate(planned)}
        self._noise = rng.lognormal(0, 0.1, (len(planned), RATES, 4))
        self._hard = rng.lognormal(0, 0.4, len(planned))
        self._luck = rng.random((len(planned), RATES))
        self._suites = {name: SUITES.get(name) for name in SUITE_NAMES}

    def outcome(self, unit: CodingUnit) -> tuple[Coding, list[Measurement]]:
        """The coding of a unit, and its measurements."""
        ladder = next(one for one in LADDERS if one.codec == unit.codec)
        rate = unit.rate_index + sum(len(one.rates) for one in LADDERS[: LADDERS.index(ladder)])
        places = [self._place[unit.dataset, mesh.source.mesh] for mesh in unit.meshes]
        failed = self._luck[places[0], rate] < 0.003 if unit.kind == "model" else False
        size = ladder.bits * 1.6**unit.rate_index / 8
        coded = []
        for mesh, place in zip(unit.meshes, places, strict=True):
            of_input = CodedMesh(
                mesh.source.mesh, mesh.sha256, mesh.vertices, mesh.faces, mesh.obj_bytes, mesh.raw_bytes,
                mesh.source_bytes, mesh.problem,
            )  # fmt: skip
            if mesh.problem is None and not failed:
                own = int(mesh.vertices * size * self._noise[place, rate, 0]) + 100
                of_input = replace(of_input, mesh_bytes=own, decoded_sha256=_sha(unit.key, place))
            coded.append(of_input)
        status = "bad-input" if not unit.usable else "failed" if failed else "ok"
        common: dict[str, Any] = {
            "key": unit.key, "session": SESSION, "dataset": unit.dataset, "split": unit.split, "codec": unit.codec,
            "codec_version": unit.codec_version, "kind": unit.kind, "rate": unit.rate.label,
            "rate_index": unit.rate_index, "effort": unit.effort, "seed": unit.seed, "meshes": tuple(coded),
            "timing": unit.timing, "status": status, "ran_on": ON,
        }  # fmt: skip
        if status == "bad-input":
            return Coding(**common, stage="load", error="no faces"), []
        if failed:
            return Coding(**common, stage="encode", error="ValueError: synthetic failure", limit_s=3600.0), []
        stages = {"points": 0.5, "coding": 0.25} if ladder.clouds else {}
        costs = [
            Cost(t, 0.9 * t, 90_000_000 + int(1e6 * t), 80_000_000, 5 if unit.timing else 1, None,
                 {name: share * t for name, share in stages.items()})
            for t in (ladder.seconds * share * float(self._noise[places[0], rate, 1]) for share in (1, 0.3))
        ]  # fmt: skip
        stream = _sha("stream", unit.key)
        shared = 40_000 if unit.kind == "set" else 0
        coding = Coding(**common, shared_bytes=shared, streams=(stream,), encode=costs[0], decode=costs[1])
        usable = [(place, mesh) for place, mesh in zip(places, unit.meshes, strict=True) if mesh.problem is None]
        measured = [] if unit.timing else [
            self._measurement(unit, ladder, rate, stream, i, place, mesh, suite)
            for i, (place, mesh) in enumerate(usable) for suite in suites()
            if ladder.clouds or self._suites[suite.name].takes == "mesh"
        ]  # fmt: skip
        return coding, measured

    def _measurement(
        self, unit: CodingUnit, ladder: Ladder, rate: int, stream: str, i: int, place: int, mesh: PlannedMesh,
        suite: SuiteId,
    ) -> Measurement:  # fmt: skip
        key = measurement_key(
            stream_sha256=stream, place=i, codec=unit.codec, decoder_version=unit.codec_version,
            input_sha256=mesh.sha256, suite=suite, seed=unit.seed,
        )  # fmt: skip
        common: dict[str, Any] = {
            "key": key, "session": SESSION, "stream": stream, "place": i, "codec": unit.codec,
            "decoder_version": unit.codec_version, "input": mesh.sha256, "suite": suite.name,
            "suite_version": suite.version, "seed": unit.seed,
        }  # fmt: skip
        if suite.name == "volume" and place % 30 == 3:
            return Measurement(**common, status="bad-input", error="the original has no inside", seconds=0.01)
        if self._luck[place, rate] > (0.9995 if suite.name == "paper" else 0.9999):
            status = "failed" if suite.name == "paper" else "crashed"
            return Measurement(**common, status=status, error="synthetic: cannot be measured")
        error = ladder.error * 0.6**unit.rate_index * float(self._hard[place] * self._noise[place, rate, 2])
        values: dict[str, float | int | bool] = {}
        for column in self._suites[suite.name].columns:
            noise = float(self._noise[place, rate, 3]) ** (0.1 + 0.05 * (len(values) % 7))
            values[column.name], floor = _value(column, error * noise, mesh.vertices)
            if column.floor is not None:
                values[column.floor] = floor
        return Measurement(**common, values=values, seconds=0.1 * float(self._noise[place, rate, 0]))


def measurement_units(unit: CodingUnit) -> Iterator[MeasurementUnit]:
    """The measurements of a unit."""
    for i, mesh in enumerate(unit.usable):
        stream = _sha("stream", unit.key)
        yield MeasurementUnit(unit.codec, unit.codec_version, unit.kind, stream, i, mesh, suites(), unit.seed)


def _value(column: Column, error: float, vertices: int) -> tuple[float | int | bool, float]:
    """The value of a column at an error, and of its floor, by the unit of the column."""
    noise = 2.4e-3
    whole = float(np.hypot(error, noise)) if column.floor is not None else error
    match column.unit:
        case "length":
            return whole, noise
        case "squared length":
            return whole**2, noise**2
        case "dB":
            return -20 * float(np.log10(error)), 60.0
        case "flag":
            return error < 0.01, 1.0
        case "count":
            return int(vertices * (1 + error)), 0.0
        case _:
            return 1 / (1 + 20 * whole), 1 / (1 + 20 * noise)


def _unit(dataset: str, ladder: Ladder, index: int, of: tuple[PlannedMesh, ...], version: str) -> CodingUnit:
    rate = ladder.rates[index]
    return CodingUnit(dataset, "all", ladder.codec, version, ladder.kind, 0, rate, index, "standard", 0, of)


def _range(ladder: Ladder) -> range:
    return range(len(ladder.rates))


def _sha(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
