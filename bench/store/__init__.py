"""The results of a run in one folder: codings, measurements, streams and provenance."""

from gcbench.bench.store.records import CodedMesh, Coding, Cost, Measurement, RanOn, Record, Stage, Status
from gcbench.bench.store.run import Run

__all__ = ["CodedMesh", "Coding", "Cost", "Measurement", "RanOn", "Record", "Run", "Stage", "Status"]
