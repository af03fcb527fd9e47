"""A folder with meshes, runs of it, what an undisturbed run of each scenario gives, and how runs are compared."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trimesh
from typer.testing import CliRunner

from gcbench.bench.cli.verbs import app

PLUGIN = Path(__file__).parents[1] / "plugin"
FAST = "raw-zstd,draco,test-set"
SCENARIOS = {
    "jobs": ("-c", FAST, "-j", "2"),
    "training": ("-c", "necgs[k=32,epochs=40,objective=none],raw-zstd", "--effort", "quick", "-j", "2"),
    "cluster": ("-c", FAST, "--cluster", "local:2"),
}
_VARIES = {"session", "encode", "decode", "ran_on", "seconds"}  # fields of a line that differ from run to run
LIMIT_S = 300.0  # of one command


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run gives."""

    lines: dict[str, dict[str, Any]]  # by key, without what differs from run to run
    table: str
    wall_s: float
    bytes: int  # of the run folder


@dataclass
class Site:
    """The folder; its runs are in ``results/runs``."""

    root: Path
    references: dict[str, Reference] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = self.root / "shapes"
        shapes.mkdir(parents=True, exist_ok=True)
        meshes = (
            trimesh.creation.icosphere(2),
            trimesh.creation.box(),
            trimesh.creation.torus(2, 0.5, major_sections=16, minor_sections=8),
        )
        for index, mesh in enumerate(meshes):
            mesh.export(shapes / f"shape{index}.ply")

    def start(self, scenario: str, run: Path, **environment: str) -> subprocess.Popen[str]:
        """Start ``bench run`` in a session of its own; its output goes to a file beside the run's name."""
        with self.said(run).open("a") as output:
            return subprocess.Popen(
                [*BENCH, "run", "-d", "shapes", *SCENARIOS[scenario], "--suite", "topology", "--run", str(run)],
                cwd=self.root,
                env=self.environment(run) | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )

    def said(self, run: Path) -> Path:
        """The file with what the commands of a run printed."""
        return self.root / f"said-{hashlib.sha256(str(run).encode()).hexdigest()[:12]}.log"

    def temporary(self, run: Path) -> Path:
        """The folder for temporary files of a run."""
        return self.said(run).with_suffix(".tmp")

    def environment(self, run: Path) -> dict[str, str]:
        """Environment of the commands of a run."""
        path = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
        self.temporary(run).mkdir(exist_ok=True)
        own = {"GCBENCH_CACHE": str(self.root / "cache"), "PYTHONPATH": path, "TMPDIR": str(self.temporary(run))}
        return os.environ | own | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def reference(self, scenario: str) -> Reference:
        """The undisturbed run of a scenario, made at the first call."""
        if scenario not in self.references:
            run = self.root / f"reference-{scenario}"
            begin = time.monotonic()
            process = self.start(scenario, run)
            if process.wait(LIMIT_S):
                raise RuntimeError(f"the undisturbed run fails:\n{self.said(run).read_text()}")
            wall_s = time.monotonic() - begin
            size = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
            self.references[scenario] = Reference(_comparable(run), self.table(run), wall_s, size)
        return self.references[scenario]

    def table(self, run: Path) -> str:
        """The records of a run as CSV, without times."""
        done = CliRunner().invoke(app, ["table", str(run), "--per-mesh", "--no-timing", "-f", "csv"])
        if done.exit_code:
            raise RuntimeError(f"no table: {done.output[-500:]}")
        return done.stdout

    def differences(self, scenario: str, run: Path) -> list[str]:
        """What a finished run lacks or has twice, and how its values and tables differ from the reference."""
        reference = self.reference(scenario)
        keys = Counter(line["key"] for line in _lines(run))
        found = _comparable(run)
        wrong = [f"{count} times: {key[:12]}" for key, count in keys.items() if count > 1]
        wrong += [f"lost: {key[:12]}" for key in reference.lines.keys() - found.keys()]
        wrong += [f"not planned: {key[:12]}" for key in found.keys() - reference.lines.keys()]
        for key in reference.lines.keys() & found.keys():
            if found[key] != reference.lines[key]:
                wrong.append(f"other values: {_unequal(reference.lines[key], found[key])}")
        for line in _lines(run):
            for sha256 in line.get("streams") or ():
                stream = run / "streams" / sha256[:2] / sha256
                if not stream.exists() or hashlib.sha256(stream.read_bytes()).hexdigest() != sha256:
                    wrong.append(f"no such stream: {sha256[:12]}")
            if any(seconds < 0 for seconds in _durations(line)):
                wrong.append(f"a negative duration: {line['key'][:12]}")
        if self.table(run) != reference.table:
            wrong.append("another table")
        return wrong

    def left_behind(self, run: Path) -> list[str]:
        """Files that a finished run has no use for."""
        left = [str(file.relative_to(run)) for name in ("spool", "work") for file in (run / name).rglob("*")]
        left += [file.name for file in self.temporary(run).glob(f"gcbench-{'[0-9a-f]' * 12}")]
        return left


BENCH = [sys.executable, "-m", "gcbench.bench.cli"]


def whole_lines(run: Path) -> dict[str, bytes]:
    """The complete lines of a run's files at this moment."""
    files = {name: run / name for name in ("codings.jsonl", "measurements.jsonl")}
    contents = {name: file.read_bytes() if file.exists() else b"" for name, file in files.items()}
    return {name: content[: content.rfind(b"\n") + 1] for name, content in contents.items()}


def _lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for content in whole_lines(run).values() for text in content.splitlines()]


def _comparable(run: Path) -> dict[str, dict[str, Any]]:
    return {line["key"]: {k: v for k, v in line.items() if k not in _VARIES} for line in _lines(run)}


def _durations(line: dict[str, Any]) -> list[float]:
    stages = [line.get(stage) or {} for stage in ("encode", "decode")]
    return [line.get("seconds") or 0.0, *(stage.get(name, 0.0) for stage in stages for name in ("wall_s", "cpu_s"))]


def _unequal(one: dict[str, Any], other: dict[str, Any]) -> str:
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return "; ".join(f"{name}: {one.get(name)} → {other.get(name)}" for name in names)[:300]
