"""What tests compare of the results of runs, and results that are made by hand."""

from __future__ import annotations

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.tables.rate_distortion import rate_distortion
from gcbench.bench.audit.comparison import CellResult
from gcbench.bench.store.run import Run
from gcbench.bench.tabular import render


def table(store: Run) -> str:
    """Means of a run as CSV, without times."""
    return "".join(render(rate_distortion(summarise(frame(store.records())), timing=False), "csv"))


def values(store: Run) -> list[tuple[object, ...]]:
    """What does not depend on the time of day: names, sizes and metrics of every record."""
    return [(r.codec, r.rate, r.mesh, r.status, r.stream_sha256, r.decoded_sha256, r.metrics) for r in store.records()]


MEASURED_BY = {"paper": "p", "surface": "s", "psnr": "d", "topology": "t"}
VALUES = {
    "cd": 0.004,
    "nc": 0.98,
    "f1_0005": 0.7,
    "f1_001": 0.9,
    "cd_p2s": 0.001,
    "nc_p2s": 0.99,
    "hausdorff_p2s": 0.02,
    "p99_p2s": 0.004,
    "f1_p2s_0005": 0.8,
    "f1_p2s_001": 0.95,
    "sampled_d1_psnr_bbox": 60.0,
    "sampled_d2_psnr_bbox": 70.0,
    "out_components": 4,
    "out_watertight": 1,
}


def result(stream_bytes: float = 1000, **metrics: float) -> CellResult:
    """A cell that is ok."""
    return CellResult("ok", stream_bytes, "a" * 64, VALUES | metrics, suites=MEASURED_BY)
