"""The table names what `measure` returns, and orders values the right way."""

from __future__ import annotations

import subprocess
import sys

import trimesh

from gcbench.bench.metrics import METRICS, Reference, measure


def test_names_are_those_of_measure():
    box = trimesh.creation.box()
    measured = measure(Reference(box, seed=0, samples=100), box)
    floors = {metric.floor for metric in METRICS.values() if metric.floor}
    assert list(METRICS) == [metric.name for metric in METRICS.values()]
    assert set(METRICS) | floors == set(measured)
    assert not set(METRICS) & floors


def test_orientation():
    assert METRICS["cd"].is_better(1e-3, 2e-3)
    assert not METRICS["cd"].is_better(1e-3, 1e-3)
    assert METRICS["f1_0005"].is_better(0.9, 0.8)
    assert {name for name, metric in METRICS.items() if metric.better == "lower"} == {
        "cd",
        "cd_p2s",
        "hausdorff_p2s",
        "p99_p2s",
    }


def test_labels_carry_their_scale():
    for metric in METRICS.values():
        assert ("×10⁻³" in metric.label) == (metric.scale == 1e3)
        assert "\n" not in metric.definition


def test_import_is_light():
    """Labels and orientations must not cost a table or a figure the seconds that compiled packages take to import."""
    heavy = "{'numba', 'scipy', 'open3d', 'trimesh', 'pandas'}"
    code = f"import sys, gcbench.bench.metrics; sys.exit(len({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
