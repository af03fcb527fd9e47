"""What executors carry: tasks that go to slots, outcomes that come back, and the limits of both. Plain values."""

from __future__ import annotations

from dataclasses import dataclass

from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, SuiteId
from gcbench.bench.store.records import Coding, Measurement


@dataclass(frozen=True)
class Limit:
    """What a unit may take.

    Parameters
    ----------
    deadline_s : float or None
        Seconds to encode and decode one mesh; a set has that much for each mesh in it. None is no limit.
    memory_bytes : int or None
        Resident memory of any worker, the programs that it runs included.
    set_memory_bytes : int or None
        The same while a set is coded. None takes ``memory_bytes``.
    measure_s : float or None
        Seconds for one suite on one mesh.
    """

    deadline_s: float | None = None
    memory_bytes: int | None = None
    set_memory_bytes: int | None = None
    measure_s: float | None = 1800.0

    def coding_s(self, unit: CodingUnit) -> float | None:
        """Seconds that one coding may take."""
        return None if self.deadline_s is None else self.deadline_s * max(1, len(unit.usable))

    def coding_bytes(self, kind: str) -> int | None:
        """Memory that a worker may hold while it codes."""
        return self.set_memory_bytes or self.memory_bytes if kind == "set" else self.memory_bytes


@dataclass(frozen=True)
class Task:
    """A unit to run.

    Parameters
    ----------
    unit : CodingUnit or MeasurementUnit
        A coding of a model codec is measured at once, while its meshes are at hand; the meshes of a set are measured
        as units of their own, on all slots.
    suites : tuple of SuiteId
        What to measure after a coding of a model codec.
    stream : bytes
        For a measurement: the kept stream, to decode the mesh again.
    inputs : tuple of bytes
        For another machine that lacks the input files: packed arrays of the normalised meshes, in the unit's order.
    """

    unit: CodingUnit | MeasurementUnit
    suites: tuple[SuiteId, ...] = ()
    stream: bytes = b""
    inputs: tuple[bytes, ...] = ()

    @property
    def mesh(self) -> str:
        """Hash of the (first) mesh: tasks of one mesh share what is computed once for it."""
        unit = self.unit
        return unit.mesh.sha256 if isinstance(unit, MeasurementUnit) else unit.meshes[0].sha256


@dataclass(frozen=True)
class Outcome:
    """What came of a task: a coding with its streams, or measurements, or both."""

    task: Task
    coding: Coding | None = None
    streams: tuple[bytes, ...] = ()
    measurements: tuple[Measurement, ...] = ()
