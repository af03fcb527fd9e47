"""Tasks that go to slots, outcomes that come back, and the limits of a task: plain values, which pickle."""

from __future__ import annotations

from dataclasses import dataclass

from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, SuiteId
from gcbench.bench.store.records import Coding, Measurement


@dataclass(frozen=True)
class TaskLimits:
    """Time and memory that a task may take; None is no limit."""

    deadline_s: float | None = None  # to encode and decode one mesh; a set has as many seconds for each mesh
    memory_bytes: int | None = None  # resident memory of a worker and of the programs that it runs
    set_memory_bytes: int | None = None  # the same while a set is coded; None takes memory_bytes
    measure_s: float | None = 1800.0  # for one suite on one mesh

    def coding_s(self, unit: CodingUnit) -> float | None:
        """Seconds that one coding may take."""
        return None if self.deadline_s is None else self.deadline_s * max(1, len(unit.usable))

    def coding_bytes(self, kind: str) -> int | None:
        """Memory that a worker may hold while it encodes or decodes."""
        return self.set_memory_bytes or self.memory_bytes if kind == "set" else self.memory_bytes


@dataclass(frozen=True)
class Task:
    """A unit to run.

    Parameters
    ----------
    unit : CodingUnit or MeasurementUnit
        The slot measures a coding of a model codec at once. The meshes of a set are measured by tasks of their own, on
        all slots.
    suites : tuple of SuiteId
        What to measure after a coding of a model codec.
    stream : bytes
        For a measurement: the stream, from which the mesh is decoded if it is not in the spool.
    inputs : tuple of bytes
        For a machine without the input files: packed arrays of the normalised meshes, in the order of the unit.
    """

    unit: CodingUnit | MeasurementUnit
    suites: tuple[SuiteId, ...] = ()
    stream: bytes = b""
    inputs: tuple[bytes, ...] = ()

    @property
    def mesh(self) -> str:
        """Hash of the (first) mesh; tasks of one mesh share the samples of that mesh."""
        unit = self.unit
        return unit.mesh.sha256 if isinstance(unit, MeasurementUnit) else unit.meshes[0].sha256


@dataclass(frozen=True)
class Outcome:
    """Result of a task: a coding with its stream, or measurements, or both; and how long it kept its slot busy."""

    task: Task
    coding: Coding | None = None
    streams: tuple[bytes, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    busy_s: float = 0.0
