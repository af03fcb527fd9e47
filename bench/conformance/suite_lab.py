"""A metric suite under test and the processes it runs in: every call can be killed, and what came of it is a value.

Three workers: one here; the *stranger*, from another interpreter; and one whose libraries have two threads.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from gcbench.bench.conformance import measuring
from gcbench.bench.conformance.attempt import Raised
from gcbench.bench.conformance.calls import Trouble, call
from gcbench.bench.conformance.lab import Crew, Unmet
from gcbench.bench.conformance.measuring import AtReference, Measure, Measured, SuiteFacts
from gcbench.bench.conformance.shapes import bumpy_sphere, lying_ring
from gcbench.bench.metrics import Column
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.process import Limits, Template, Worker
from gcbench.bench.run.slot import PREPARE_LIMIT_S

Role = Literal["here", "stranger", "threads"]
Degree = Literal["same", "slight", "heavy"]

NOISE: dict[Degree, float] = {"same": 0.0, "slight": 0.005, "heavy": 0.1}
"""Standard deviation by which vertices are moved, where the longest side is 2. Slight is about what a codec does at
7 bits; heavy tears a surface to shreds, and no metric may like that better."""

MANY_THREADS = 2


@dataclass(frozen=True)
class SuiteSettings:
    """How the suite under test is run: ``deadline_s`` for each single call, ``memory_bytes`` for each worker."""

    deadline_s: float = 120.0
    memory_bytes: int = 4 << 30


class SuiteLab:
    """Runs one suite; remembers the values that several checks look at.

    Parameters
    ----------
    suite : str
        Name.
    """

    def __init__(self, suite: str, settings: SuiteSettings, crew: Crew) -> None:
        self.suite = suite
        self._limits = Limits(settings.deadline_s, settings.memory_bytes)
        self.originals = (bumpy_sphere(3), lying_ring(48, 16))
        self._folder = Path(tempfile.mkdtemp(prefix="gcbench-check-"))
        self._many = Template(MANY_THREADS, crew.preload)
        self._workers: dict[Role, Worker] = {
            "here": Worker(crew.here, log=self.log),
            "stranger": Worker(crew.elsewhere, log=self.log),
            "threads": Worker(self._many, log=self.log),
        }
        self._prepared: set[int | None] = set()
        self._facts: dict[Role, SuiteFacts | Trouble] = {}
        self._measured: dict[tuple[int, Degree, Role, int], Measured | AtReference | Trouble] = {}

    def __enter__(self) -> SuiteLab:
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        for worker in self._workers.values():
            worker.kill()
        self._many.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def log(self) -> Path:
        """What the workers print, tracebacks included."""
        return self._folder / "workers.log"

    def facts(self, role: Role = "here") -> SuiteFacts | Trouble:
        """What the suite says of itself; asked once in each interpreter."""
        if role not in self._facts:
            self._facts[role] = call(self._workers[role], measuring.describe, self.suite, self._limits)
        return self._facts[role]

    def columns(self) -> tuple[Column, ...]:
        """The columns that it declares.

        Raises
        ------
        Unmet
            They are wrong.
        """
        facts = self.facts()
        if isinstance(facts, Trouble) or facts.problems:
            raise Unmet("the columns are wrong, see the check 'columns'")
        return facts.columns

    def compare(
        self, original: MeshArrays, decoded: MeshArrays, *, by: Role = "here", seed: int = 0
    ) -> Measured | AtReference | Trouble:
        """Measure one mesh against another, both as they are."""
        job = Measure(self.suite, original, decoded, seed, MANY_THREADS if by == "threads" else 1)
        return call(self._workers[by], measuring.measure, job, self._limits, self._prepare)

    def measured(
        self, place: int, degree: Degree, *, by: Role = "here", seed: int = 0
    ) -> Measured | AtReference | Trouble:
        """Compare a good mesh with itself, damaged to some degree; measured once."""
        key = (place, degree, by, seed)
        if key not in self._measured:
            original = self.originals[place]
            self._measured[key] = self.compare(original, noisy(original, NOISE[degree]), by=by, seed=seed)
        return self._measured[key]

    def values(self, place: int, degree: Degree = "slight", *, by: Role = "here", seed: int = 0) -> dict[str, float]:
        """Give the values of such a comparison.

        Raises
        ------
        Unmet
            There are none, or they are wrong.
        """
        found = self.measured(place, degree, by=by, seed=seed)
        if not isinstance(found, Measured):
            raise Unmet(f"a {degree} mesh is not measured: {reason(found)}")
        if found.faults:
            raise Unmet("the values are wrong, see the check 'values'")
        return dict(found.values)

    def _prepare(self, worker: Worker) -> Raised | None:
        """Load the suite in this very process, once, before any deadline counts."""
        worker.start()
        if worker.pid in self._prepared:
            return None
        raised, _ = worker.call(measuring.prepare, self.suite, Limits(PREPARE_LIMIT_S, self._limits.memory_bytes))
        if raised is not None:
            return replace(raised, message=f"prepare() {raised.message}")
        self._prepared.add(worker.pid)
        return None


def noisy(mesh: MeshArrays, sigma: float) -> MeshArrays:
    """Move every vertex at random, always in the same way; sigma 0 gives the mesh itself."""
    moves = np.random.default_rng(20).normal(size=mesh.vertices.shape)
    return MeshArrays(mesh.vertices + sigma * moves, mesh.faces)


def reshuffled(mesh: MeshArrays) -> MeshArrays:
    """Return the same surface, with vertices and faces in another order, and every face begun at another corner."""
    rng = np.random.default_rng(21)
    order = rng.permutation(len(mesh.vertices))
    faces = np.argsort(order)[mesh.faces][rng.permutation(len(mesh.faces))]
    return MeshArrays(mesh.vertices[order], np.ascontiguousarray(np.roll(faces, 1, axis=1)))


def refined(mesh: MeshArrays) -> MeshArrays:
    """Return the same surface with other connectivity: each face divided into three at its centre."""
    centres = mesh.vertices[mesh.faces].mean(axis=1)
    middle = len(mesh.vertices) + np.arange(len(mesh.faces))
    a, b, c = mesh.faces.T
    faces = np.concatenate([np.stack(corners, -1) for corners in ((a, b, middle), (b, c, middle), (c, a, middle))])
    return MeshArrays(np.concatenate([mesh.vertices, centres]), faces)


def reason(outcome: AtReference | Trouble) -> str:
    """Say why nothing was measured."""
    return f"reference() {outcome.raised}" if isinstance(outcome, AtReference) else str(outcome)
