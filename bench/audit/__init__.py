"""Is it worse than it was: two sets of results cell by cell, baselines in files, and the gate that runs a subset.

Knows records and plans; prints nothing and decides no exit code (that is the command line's).
"""

from gcbench.bench.audit.baseline import Baseline, Subset
from gcbench.bench.audit.comparison import Comparison, compare_results, measured
from gcbench.bench.audit.gate import GateReport, gate, measure

__all__ = ["Baseline", "Comparison", "GateReport", "Subset", "compare_results", "gate", "measure", "measured"]
