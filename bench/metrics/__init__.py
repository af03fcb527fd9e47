"""Quality of decoded meshes: distances with their noise floor, PSNR, topology.

Knows meshes only; the engine, codecs and datasets are out of sight. Everything outside uses the names exported here.
"""

from __future__ import annotations

from gcbench.bench.metrics.distortion import METRIC_VERSION, N_SAMPLES, PSNR_MAX_DB, Floor, Reference, measure
from gcbench.bench.metrics.table import METRICS, Metric
from gcbench.bench.metrics.topology import Topology, topology

__all__ = [
    "METRICS",
    "METRIC_VERSION",
    "N_SAMPLES",
    "PSNR_MAX_DB",
    "Floor",
    "Metric",
    "Reference",
    "Topology",
    "measure",
    "topology",
]
