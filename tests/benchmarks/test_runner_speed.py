"""What the runner costs on top of codecs and metrics, and what a second job gains; on a quiet machine: tox -e speed."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from gcbench.bench.runner import run
from gcbench.bench.store import Run
from gcbench.bench.sweep import plan

pytestmark = pytest.mark.benchmark

# The same cells, one after the other in one process: codecs and metrics by themselves, imports and loading not counted.
BY_THEMSELVES = """
import time
import trimesh
from gcbench.bench import metrics
from gcbench.bench.sweep import plan
from gcbench.codecs import CODECS, Context
from gcbench.datasets import cache_dir, load

cells = plan(["ama", "dt4d", "thingi10k"], ["raw-zstd", "draco", "draco-qem"], effort="standard").cells
codecs = {c.codec: CODECS.create(c.codec) for c in cells}
for codec in codecs.values():
    codec.prepare()
ball = trimesh.creation.icosphere(2)
metrics.measure(metrics.Reference(ball, seed=0), ball)
spent, at_hand = 0.0, None
for cell in cells:
    (mesh,) = cell.meshes
    if mesh.problem:
        continue
    loaded = load(mesh.source, cache_dir()).mesh
    begin = time.perf_counter()
    if at_hand != mesh.sha256:
        at_hand, reference = mesh.sha256, metrics.Reference(loaded, seed=0)
        metrics.topology(loaded)
    codec = codecs[cell.codec]
    (stream,) = codec.encode([loaded], cell.rate, Context())
    (decoded,) = codec.decode(stream, Context())
    metrics.measure(reference, trimesh.Trimesh(decoded.vertices, decoded.faces, process=False))
    metrics.topology(decoded)
    spent += time.perf_counter() - begin
print(spent)
"""


@pytest.fixture(scope="module")
def minis():
    return plan(["ama", "dt4d", "thingi10k"], ["raw-zstd", "draco", "draco-qem"], effort="standard")


def timed_run(minis, path, **how) -> float:
    begin = time.perf_counter()
    assert run(minis, Run(path), **how).failed == 0
    return time.perf_counter() - begin


def by_themselves() -> float:
    done = subprocess.run([sys.executable, "-c", BY_THEMSELVES], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_overhead_is_under_5_percent_and_a_second_job_gains_1_8(minis, tmp_path, monkeypatch, record_property):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    timed_run(minis, tmp_path / "warm", jobs=2, threads=1)  # files in cache, code compiled
    bare, one, two = [], [], []
    for turn in range(3):  # interleaved: what else the machine does hits all three alike
        bare.append(by_themselves())
        one.append(timed_run(minis, tmp_path / f"one{turn}", jobs=1, threads=1))
        two.append(timed_run(minis, tmp_path / f"two{turn}", jobs=2, threads=1))
    overhead = sorted(o / b - 1 for o, b in zip(one, bare, strict=True))[1]
    gain = sorted(o / t for o, t in zip(one, two, strict=True))[1]
    record_property("overhead", overhead)
    record_property("gain", gain)
    print(f"\nby themselves {bare}\n-j 1 {one}: overhead {overhead:.1%}\n-j 2 {two}: gain {gain:.2f}")  # noqa: T201 (the result)
    assert overhead < 0.05
    assert gain >= 1.8
