"""A metric suite under test: measures in the workers of a sandbox, and remembers values for all checks.

Three workers: one here; the *stranger*, from another interpreter; and one whose libraries have two threads.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal

import numpy as np

from gcbench.bench.conformance import measuring
from gcbench.bench.conformance.measuring import AtReference, MeasureTrial, MeasureTrialResult, SuiteClaims
from gcbench.bench.conformance.report import Unmet
from gcbench.bench.conformance.sandbox import Crew, Sandbox, Trouble, template
from gcbench.bench.conformance.shapes import bumpy_sphere, lying_ring
from gcbench.bench.metrics import Column
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.process import CallLimits

Role = Literal["here", "stranger", "threads"]
Degree = Literal["same", "slight", "heavy"]

NOISE: dict[Degree, float] = {"same": 0.0, "slight": 0.005, "heavy": 0.1}
"""Standard deviation by which vertices are moved, where the longest side is 2. Slight damage is about that of a codec
at 7 bits; heavy damage destroys the surface, and no metric may be better for it."""

MANY_THREADS = 2


class SuiteLab(Sandbox):
    """Runs one suite, and keeps the values that several checks use."""

    def __init__(self, suite: str, limits: CallLimits, crew: Crew) -> None:
        self.originals = (bumpy_sphere(3), lying_ring(48, 16))  # before the folder is made, as in `Lab`
        self._many = template(MANY_THREADS)
        templates = {"here": crew.here, "stranger": crew.elsewhere, "threads": self._many}
        super().__init__(templates, measuring.prepare, limits.memory_bytes)
        self.suite = suite
        self._limits = limits
        self._claims: dict[Role, SuiteClaims | Trouble] = {}
        self._measured: dict[tuple[int, Degree, Role, int], MeasureTrialResult | AtReference | Trouble] = {}

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        super().__exit__(_k, _e, _t)
        self._many.close()

    def claims(self, role: Role = "here") -> SuiteClaims | Trouble:
        """What the suite declares in one of the workers; asked once."""
        if role not in self._claims:
            self._claims[role] = self.call(self.workers[role], measuring.describe, self.suite, self._limits)
        return self._claims[role]

    def columns(self) -> tuple[Column, ...]:
        """The declared columns. Raises Unmet if they are wrong."""
        claims = self.claims()
        if isinstance(claims, Trouble) or claims.problems:
            raise Unmet("the columns are wrong, see the check 'columns'")
        return claims.columns

    def compare(
        self, original: MeshArrays, decoded: MeshArrays, *, by: Role = "here", seed: int = 0
    ) -> MeasureTrialResult | AtReference | Trouble:
        """Measure one mesh against another."""
        job = MeasureTrial(self.suite, original, decoded, seed, MANY_THREADS if by == "threads" else 1)
        return self.call(self.workers[by], measuring.measure_pair, job, self._limits, self.suite)

    def measured(
        self, place: int, degree: Degree, *, by: Role = "here", seed: int = 0
    ) -> MeasureTrialResult | AtReference | Trouble:
        """Measure a good mesh against its damaged copy; once."""
        key = (place, degree, by, seed)
        if key not in self._measured:
            original = self.originals[place]
            self._measured[key] = self.compare(original, noisy(original, NOISE[degree]), by=by, seed=seed)
        return self._measured[key]

    def values(self, place: int, degree: Degree = "slight", *, by: Role = "here", seed: int = 0) -> dict[str, float]:
        """Values of `measured`. Raises Unmet if there are none, or they are wrong."""
        found = self.measured(place, degree, by=by, seed=seed)
        if not isinstance(found, MeasureTrialResult):
            raise Unmet(f"a {degree} mesh is not measured: {reason(found)}")
        if found.faults:
            raise Unmet("the values are wrong, see the check 'values'")
        return dict(found.values)


def noisy(mesh: MeshArrays, sigma: float) -> MeshArrays:
    """Move every vertex by the same random numbers times sigma."""
    moves = np.random.default_rng(20).normal(size=mesh.vertices.shape)
    return MeshArrays(mesh.vertices + sigma * moves, mesh.faces)


def reshuffled(mesh: MeshArrays) -> MeshArrays:
    """The same surface with vertices and faces in another order, and every face begun at another corner."""
    rng = np.random.default_rng(21)
    order = rng.permutation(len(mesh.vertices))
    faces = np.argsort(order)[mesh.faces][rng.permutation(len(mesh.faces))]
    return MeshArrays(mesh.vertices[order], np.ascontiguousarray(np.roll(faces, 1, axis=1)))


def refined(mesh: MeshArrays) -> MeshArrays:
    """The same surface with each face divided into three at its centre."""
    centres = mesh.vertices[mesh.faces].mean(axis=1)
    middle = len(mesh.vertices) + np.arange(len(mesh.faces))
    a, b, c = mesh.faces.T
    faces = np.concatenate([np.stack(corners, -1) for corners in ((a, b, middle), (b, c, middle), (c, a, middle))])
    return MeshArrays(np.concatenate([mesh.vertices, centres]), faces)


def reason(outcome: AtReference | Trouble) -> str:
    """Why nothing was measured."""
    return f"reference() {outcome.raised}" if isinstance(outcome, AtReference) else str(outcome)
