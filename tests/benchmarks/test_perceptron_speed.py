"""Training 16 perceptrons side by side, tile by tile, against one by one, layer by layer in torch.

Run with ``pytest -s -m benchmark tests/benchmarks/test_perceptron_speed.py`` and two idle cores. The gate is a ratio
of interleaved rounds, the fastest of each: load slows both. One thread is timed by its own clock, two by the wall's.
``PERCEPTRON_TABLE=1,2`` adds a table over widths and points, for these numbers of threads.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch

from gcbench.training.fused import all_threads
from gcbench.training.networks import Schedule, train
from gcbench.training.perceptrons import Perceptrons, generators

pytestmark = pytest.mark.benchmark

NETWORKS = 16
POOL = 32_768
ROUNDS = 20


class LayerByLayer(Perceptrons):
    """As torch does it on its own."""

    def _fusible(self, inputs: torch.Tensor, quantise: object) -> bool:
        return False


def training(kind: type[Perceptrons], networks: int, width: int, points: int) -> Callable[[int], float]:
    """Nanoseconds that a point takes to be trained on, in so many steps of ``networks`` networks."""
    made = kind(networks, (3, *[width] * 8, 1), generators=generators(range(networks)))
    shown = torch.rand(networks, POOL, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    distances = shown.norm(dim=-1, keepdim=True) - 0.5

    def loss(where, quantise):
        return made.absolute_error(shown.index_select(1, where), distances.index_select(1, where), quantise)

    def nanoseconds(steps: int) -> float:
        clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
        with all_threads() if kind is Perceptrons else nullcontext():
            begin = clock()
            train(made.parameters(), loss, POOL, Schedule(steps, points, quantised_from=1.0), seed=0)
            took = clock() - begin
        return took / (steps * networks * points) * 1e9

    nanoseconds(2)
    return nanoseconds


def interleaved(trainings: dict[str, Callable[[int], float]], steps: dict[str, int], rounds: int = ROUNDS):
    """The fastest round of each."""
    taken = {name: [] for name in trainings}
    for _ in range(rounds):
        for name, run in trainings.items():
            taken[name].append(run(steps[name]))
    return {name: min(values) for name, values in taken.items()}


@pytest.fixture
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(
    ("points", "threads", "required"), [(512, 1, 2.5), (2048, 1, 2.5), (512, 2, 5.0), (2048, 2, 3.0)]
)
def test_faster_than_one_by_one(points, threads, required):
    torch.set_num_threads(threads)
    best = interleaved(
        {
            "layer by layer, alone": training(LayerByLayer, 1, 32, points),
            "layer by layer, 16": training(LayerByLayer, NETWORKS, 32, points),
            "tile by tile, alone": training(Perceptrons, 1, 32, points),
            "tile by tile, 16": training(Perceptrons, NETWORKS, 32, points),
        },
        {"layer by layer, alone": 16, "layer by layer, 16": 2, "tile by tile, alone": 16, "tile by tile, 16": 2},
    )
    ratio = best["layer by layer, alone"] / best["tile by tile, 16"]
    told = ", ".join(f"{name} {ns:.0f} ns a point" for name, ns in best.items())
    report(f"8 x 32, {points} points, threads: {threads}: {ratio:.1f} times; {told}")
    assert ratio >= required


@pytest.mark.usefixtures("_threads")
@pytest.mark.skipif(not os.environ.get("PERCEPTRON_TABLE"), reason="takes minutes: set PERCEPTRON_TABLE")
def test_table():
    numbers = [int(number) for number in os.environ["PERCEPTRON_TABLE"].split(",")]
    report(f"| width | networks | points |{''.join(f' torch, {n} | ours, {n} |' for n in numbers)}")
    for width, networks, points in itertools.product((16, 32, 64), (1, NETWORKS), (512, 2048, 8192)):
        row = []
        for threads in numbers:
            torch.set_num_threads(threads)
            steps = max(2, 32_768 // (networks * points))
            both = {kind.__name__: training(kind, networks, width, points) for kind in (LayerByLayer, Perceptrons)}
            best = interleaved(both, dict.fromkeys(both, steps), rounds=4)
            row += [f"{best['LayerByLayer']:.0f}", f"{best['Perceptrons']:.0f}"]
        report(f"| {width} | {networks} | {points} | {' | '.join(row)} |")


def report(line: str) -> None:
    """For whoever runs with -s."""
    os.write(1, f"{line}\n".encode())
