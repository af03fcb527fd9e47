"""The suite keeps the contract of gcbench, and its values are correct."""

import pytest
import trimesh
from example_metric import ExampleMetric

from gcbench.bench.conformance import check_suite


def test_keeps_the_contract():
    """Declarations, values, seeds, threads, damage, meshes that cannot be measured, ..."""
    report = check_suite("example-metric")
    assert report.ok, f"\n{report}"


def test_distance_between_concentric_spheres():
    """Every vertex of a sphere of radius 1.25 is 0.25 away from a sphere of radius 1."""
    suite = ExampleMetric()
    reference = suite.reference(trimesh.creation.icosphere(5), seed=0, threads=1)
    larger = trimesh.creation.icosphere(5, radius=1.25)
    values = suite.measure(reference, larger)
    assert values["example_metric_p95"] == pytest.approx(0.25, abs=0.002)
    assert values["example_metric_vertices"] == len(larger.vertices)
