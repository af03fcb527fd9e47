"""What is kept of a run: codings, measurements, streams and provenance in one folder."""

from gcbench.bench.store.records import CodedMesh, Coding, Cost, Measurement, RanOn, Record, Stage, Status
from gcbench.bench.store.run import Run

__all__ = ["CodedMesh", "Coding", "Cost", "Measurement", "RanOn", "Record", "Run", "Stage", "Status"]
