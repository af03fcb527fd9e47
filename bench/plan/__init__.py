"""What to run: datasets × codecs × rates × seeds, resolved to units of work with content-addressed keys."""

from gcbench.bench.plan.planning import Plan, Unavailable, make_plan
from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, PlannedMesh, SuiteId, Unit

__all__ = ["CodingUnit", "MeasurementUnit", "Plan", "PlannedMesh", "SuiteId", "Unavailable", "Unit", "make_plan"]
