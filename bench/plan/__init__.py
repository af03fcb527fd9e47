"""Plan a run: resolve datasets × codecs × rates to units of work, each with a key made from what decides its result."""

from gcbench.bench.plan.planning import Plan, Unavailable, make_plan
from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, PlannedMesh, SuiteId, Unit

__all__ = ["CodingUnit", "MeasurementUnit", "Plan", "PlannedMesh", "SuiteId", "Unavailable", "Unit", "make_plan"]
