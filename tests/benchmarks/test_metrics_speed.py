"""The metrics against SciPy's cKDTree with one worker, side by side, on two meshes of 20 480 faces.

Run with ``pytest -m benchmark tests/benchmarks``. The gate is a ratio of interleaved medians: load
slows both.
"""

from __future__ import annotations

import itertools
import statistics
import time

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from gcbench.bench.metrics import SUITES, Suite
from gcbench.bench.metrics.pairs import N_SAMPLES, Original, Pair

pytestmark = pytest.mark.benchmark

ROUNDS = 9
REQUIRED_RATIO = 3.0


def original() -> trimesh.Trimesh:
    """As long and as thin as a person, so that area and box are like those of an AMA frame."""
    mesh = trimesh.creation.icosphere(subdivisions=5)
    v = np.asarray(mesh.vertices)
    bumps = 1 + 0.1 * np.sin(9 * v[:, :1]) * np.cos(7 * v[:, 1:2])
    return trimesh.Trimesh(v * bumps * [0.3, 0.9, 0.25], mesh.faces, process=False)


def decoded(step: float = 1 / 512) -> trimesh.Trimesh:
    mesh = original()
    return trimesh.Trimesh(np.round(mesh.vertices / step) * step, mesh.faces, process=False)


def paper_metrics(a: trimesh.Trimesh, b: trimesh.Trimesh) -> dict[str, float]:
    """From two meshes to CD, NC and both F1, nothing cached."""
    return Pair(Original(a, seed=0), b).paper()


def paper_metrics_by_scipy(a: trimesh.Trimesh, b: trimesh.Trimesh, in_face_order: bool = False) -> dict[str, float]:
    """The same figures the usual way. `in_face_order` gives cKDTree the locality that gcbench's samples have."""
    clouds = []
    for seed, mesh in enumerate((a, b)):
        points, faces = trimesh.sample.sample_surface(mesh, N_SAMPLES, seed=seed)
        if in_face_order:
            order = np.argsort(faces, kind="stable")
            points, faces = points[order], faces[order]
        clouds.append((points, mesh.face_normals[faces], cKDTree(points)))
    (p, p_normals, p_tree), (q, q_normals, q_tree) = clouds
    there, at_q = q_tree.query(p, workers=1)
    back, at_p = p_tree.query(q, workers=1)
    values = {
        "cd": (there.mean() + back.mean()) / 2,
        "nc": (
            np.abs((p_normals * q_normals[at_q]).sum(axis=1)).mean()
            + np.abs((q_normals * p_normals[at_p]).sum(axis=1)).mean()
        )
        / 2,
    }
    for name, threshold in (("f1_0005", 0.005), ("f1_001", 0.01)):
        recall, precision = np.mean(there < threshold), np.mean(back < threshold)
        values[name] = 2 * recall * precision / (recall + precision)
    return values


@pytest.fixture(scope="module")
def meshes() -> tuple[trimesh.Trimesh, trimesh.Trimesh]:
    pair = original(), decoded()
    paper_metrics(*pair)  # compiled, or loaded from numba's cache
    paper_metrics_by_scipy(*pair)  # trimesh caches areas and normals: that favours SciPy
    return pair


@pytest.mark.benchmark(group="paper metrics, two meshes of 20 480 faces")
def test_paper_metrics(benchmark, meshes):
    benchmark.pedantic(paper_metrics, args=meshes, rounds=ROUNDS)


@pytest.mark.benchmark(group="paper metrics, two meshes of 20 480 faces")
def test_paper_metrics_by_scipy(benchmark, meshes):
    benchmark.pedantic(paper_metrics_by_scipy, args=meshes, rounds=ROUNDS)


@pytest.mark.benchmark(group="paper metrics, two meshes of 20 480 faces")
def test_paper_metrics_by_scipy_in_face_order(benchmark, meshes):
    benchmark.pedantic(paper_metrics_by_scipy, args=(*meshes, True), rounds=ROUNDS)


@pytest.mark.benchmark(group="paper metrics, ratio")
def test_three_times_faster_than_scipy(benchmark, meshes):
    """The rounds of pytest-benchmark alternate with SciPy's, which run in its set-up."""
    by_scipy = []

    def setup():
        begin = time.perf_counter()
        paper_metrics_by_scipy(*meshes)
        by_scipy.append(time.perf_counter() - begin)
        return meshes, {}

    ours = benchmark.pedantic(paper_metrics, setup=setup, rounds=ROUNDS)
    ratio = statistics.median(by_scipy) / benchmark.stats.stats.median
    benchmark.extra_info["scipy_median_s"] = statistics.median(by_scipy)
    benchmark.extra_info["ratio"] = ratio
    assert ours == pytest.approx(paper_metrics_by_scipy(*meshes), rel=0.01)  # the same figures, other samples
    assert ratio >= REQUIRED_RATIO, f"{ratio:.2f} times faster than SciPy"


def measure(suites: list[Suite], references: list, mesh: trimesh.Trimesh) -> None:
    for suite, reference in zip(suites, references, strict=True):
        suite.measure(reference, mesh)


@pytest.mark.benchmark(group="one decoded mesh, references cached")
@pytest.mark.parametrize("names", ["paper", "surface", "psnr", "paper,surface,psnr"])
@pytest.mark.parametrize("threads", [1, 2])
def test_measure(benchmark, names, threads):
    """Another decoded mesh each round, so that nothing is kept from the round before."""
    suites = [SUITES.create(name) for name in names.split(",")]
    references = [suite.reference(original(), seed=0, threads=threads) for suite in suites]
    measure(suites, references, decoded())
    steps = itertools.count(500)
    benchmark.pedantic(measure, setup=lambda: ((suites, references, decoded(1 / next(steps))), {}), rounds=ROUNDS)


@pytest.mark.benchmark(group="three suites, ratio")
def test_three_suites_cost_no_more_than_what_they_share(benchmark):
    """Against one pair that is asked for everything: the sharing loses under a twentieth."""
    suites = [SUITES.create(name) for name in ("paper", "surface", "psnr")]
    references = [suite.reference(original(), seed=0, threads=1) for suite in suites]
    measure(suites, references, decoded())
    at_once, steps = [], itertools.count(500)

    def setup():
        mesh = decoded(1 / next(steps))
        begin = time.perf_counter()
        pair = Pair(references[0], mesh)
        pair.paper(), pair.surface(), pair.psnr()
        at_once.append(time.perf_counter() - begin)
        return (suites, references, mesh.copy()), {}

    benchmark.pedantic(measure, setup=setup, rounds=ROUNDS)
    ratio = benchmark.stats.stats.median / statistics.median(at_once)
    benchmark.extra_info["ratio"] = ratio
    assert ratio <= 1.05


@pytest.mark.benchmark(group="reference with floor")
def test_reference_with_floor(benchmark):
    mesh = original()
    benchmark.pedantic(lambda: Original(mesh, seed=0).floor, rounds=ROUNDS, warmup_rounds=1)
