"""Poses and weights come back whatever they are, and take fewer bits where meshes follow each other."""

from __future__ import annotations

import numpy as np
import pytest

from gcbench.codecs.blendshapes import numbers
from gcbench.entropy.range_coder import RangeCoder, RangeSink
from gcbench.errors import BitstreamError

BOUND = 1023


def coded(values: np.ndarray) -> bytes:
    sink = RangeSink()
    numbers.put(values, BOUND, sink)
    return RangeCoder().finish(sink)


def read_back(data: bytes, count: int, channels: int) -> np.ndarray:
    source = RangeCoder().source(data)
    found = numbers.get(count, channels, BOUND, source)
    RangeCoder().check_exhausted(source)
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 20, 171])
@pytest.mark.parametrize("channels", [1, 8])
def test_round_trip(count, channels):
    values = np.random.default_rng(count).integers(-BOUND, BOUND + 1, (count, channels))
    np.testing.assert_array_equal(read_back(coded(values), count, channels), values)


@pytest.mark.parametrize("count", [2, 3, 5, 17, 100])
def test_every_mesh_is_in_one_class_and_depends_on_earlier_ones(count):
    known = {0, count - 1}
    for steps in numbers.classes(count):
        for step in steps:
            assert known.isdisjoint(step.meshes.tolist())
            assert known.issuperset([*step.before.tolist(), *step.after.tolist()])
            known.update(step.meshes.tolist())
    assert known == set(range(count))


def test_meshes_that_follow_each_other_take_fewer_bits():
    t = np.linspace(0, 6, 200)[:, None]
    values = np.rint(300 * np.sin(t + np.arange(6))).astype(int)
    shuffled = np.random.default_rng(0).permutation(values)
    assert len(coded(values)) < 0.5 * len(coded(shuffled))


def test_meshes_in_no_order_cost_no_more_than_their_sizes():
    values = np.random.default_rng(0).normal(0, 50, (200, 6)).round().astype(int)
    assert len(coded(values)) * 8 / values.size < 0.5 * np.log2(2 * np.pi * np.e * 50**2) + 0.35  # the models take 0.1


def test_other_words_are_refused():
    data = bytearray(coded(np.arange(40).reshape(20, 2)))
    data[-1] ^= 1
    with pytest.raises(BitstreamError):
        read_back(bytes(data), 20, 2)
