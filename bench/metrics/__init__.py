"""Suites of metrics: what each measures, and the registry that tables, figures and reports read columns from.

A suite knows meshes only; the engine, codecs and datasets are out of its sight.
"""

from gcbench.bench.metrics.base import Cloud, Column, Suite
from gcbench.bench.metrics.registry import DEFAULT_SUITES, SUITES, columns, floors, ranking, suite_of

__all__ = ["DEFAULT_SUITES", "SUITES", "Cloud", "Column", "Suite", "columns", "floors", "ranking", "suite_of"]
