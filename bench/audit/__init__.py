"""Check results: `verify` tests the results of one run; `compare_results` and `gate` find what became worse.

A *cell* is one mesh, coded by one codec at one rate. The gate runs a small subset and compares it with a baseline file.
"""

from gcbench.bench.audit.baseline import Baseline, Subset
from gcbench.bench.audit.comparison import Comparison, cell_results, compare_results, named_alike
from gcbench.bench.audit.gate import GateReport, gate, run_subset

__all__ = [
    "Baseline",
    "Comparison",
    "GateReport",
    "Subset",
    "cell_results",
    "compare_results",
    "gate",
    "named_alike",
    "run_subset",
]
