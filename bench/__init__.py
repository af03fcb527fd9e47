"""The benchmark engine.

From Python, ``bench run`` is::

from gcbench import bench

plan = bench.make_plan("mixed", ["draco", "draco-qem"], effort="quick")
store = bench.Run(Path("results/runs/my-run"))
bench.run_plan(plan, store, jobs=2)
frame = bench.frame(store.records())     # a pandas DataFrame, one row for each mesh of each coding
others = bench.open_results(Path("results/reference/ama40")).records()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcbench.bench.analysis.frame import frame, summarise
    from gcbench.bench.conformance import check, check_suite
    from gcbench.bench.plan.planning import Plan, make_plan
    from gcbench.bench.run.runner import run_plan
    from gcbench.bench.run.work import TaskLimits
    from gcbench.bench.store.opening import open_results
    from gcbench.bench.store.records import Record
    from gcbench.bench.store.run import Run

# Imported at first use: pandas, trimesh and numba take seconds to import, and `bench --help` needs none of them.
_HOME = {
    "TaskLimits": "gcbench.bench.run.work",
    "Plan": "gcbench.bench.plan.planning",
    "Record": "gcbench.bench.store.records",
    "Run": "gcbench.bench.store.run",
    "check": "gcbench.bench.conformance",
    "check_suite": "gcbench.bench.conformance",
    "frame": "gcbench.bench.analysis.frame",
    "make_plan": "gcbench.bench.plan.planning",
    "open_results": "gcbench.bench.store.opening",
    "run_plan": "gcbench.bench.run.runner",
    "summarise": "gcbench.bench.analysis.frame",
}

__all__ = [
    "Plan", "Record", "Run", "TaskLimits", "check", "check_suite", "frame", "make_plan", "open_results", "run_plan",
    "summarise",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
