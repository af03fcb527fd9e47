"""Results: codings, measurements and provenance, in the folder of a run or in a pack; streams in a run only."""

from gcbench.bench.store.opening import open_results
from gcbench.bench.store.pack import Pack
from gcbench.bench.store.records import CodedMesh, Coding, Cost, Measurement, RanOn, Record, Stage, Status
from gcbench.bench.store.results import Results
from gcbench.bench.store.run import Run

__all__ = [
    "CodedMesh", "Coding", "Cost", "Measurement", "Pack", "RanOn", "Record", "Results", "Run", "Stage", "Status",
    "open_results",
]  # fmt: skip
