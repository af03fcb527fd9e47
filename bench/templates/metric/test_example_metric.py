"""The suite keeps the contract of gcbench, and the values are what they are called."""

import pytest
import trimesh
from example_metric import ExampleMetric

from gcbench.bench.conformance import check_suite


def test_keeps_the_contract():
    """What it declares, values within their units, seeds, threads, damage, meshes that are none, ..."""
    report = check_suite("example-metric")
    assert report.ok, f"\n{report}"


def test_a_larger_sphere_is_as_far_away_as_it_is_larger():
    """Of a sphere of radius 1.25 every vertex is a quarter away from one of radius 1."""
    suite = ExampleMetric()
    reference = suite.reference(trimesh.creation.icosphere(5), seed=0, threads=1)
    larger = trimesh.creation.icosphere(5, radius=1.25)
    values = suite.measure(reference, larger)
    assert values["example_metric_p95"] == pytest.approx(0.25, abs=0.002)
    assert values["example_metric_vertices"] == len(larger.vertices)
