"""Poses and weights of the meshes of a group, coded as what is left after a prediction from the meshes around them.

Meshes are coded from coarse to fine in their order: the first and the last, then the ones in the middle between two
that are known. The prediction is a share of the mean of these two, a share for each number and distance: for frames of
a motion it comes out near 1, for meshes in no order at 0. Example: 5 meshes are coded as 0, 4; 2; 1, 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gcbench.entropy.range_coder import RangeCoder, RangeSink, RangeSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

ONE = 8  # of shares
_CLASS_BOUNDS = (2, 4, 8)  # distances between the two that are known; one class more beyond them


@dataclass(frozen=True, eq=False)
class Class:
    """Meshes that lie in the middle of two others at about the same distance."""

    meshes: Ints
    before: Ints
    after: Ints


def classes(count: int) -> list[list[Class]]:
    """For each class, from far to near, the meshes step by step: those of a step depend on earlier steps alone."""
    found: list[list[Class]] = [[] for _ in range(len(_CLASS_BOUNDS) + 1)]
    spans = [(0, count - 1)]
    while spans := [(a, b) for a, b in spans if b - a > 1]:
        for number in range(len(found)):
            low, high = (0, *_CLASS_BOUNDS)[number], (*_CLASS_BOUNDS, count)[number]
            of_class = [(a, b) for a, b in spans if low < b - a <= high]
            if of_class:
                before, after = np.array(of_class).T
                found[number].append(Class((before + after) // 2, before, after))
        spans = [half for a, b in spans for half in ((a, (a + b) // 2), ((a + b) // 2, b))]
    return [steps for steps in reversed(found) if steps]


def put(numbers: Ints, bound: int, sink: RangeSink) -> None:
    """Write numbers (n, channels) in [-bound, bound]."""
    ends = numbers[[0, -1][: len(numbers)]]
    _put(ends.T, bound, sink)
    for steps in classes(len(numbers)):
        every = [np.concatenate([getattr(step, name) for step in steps]) for name in ("meshes", "before", "after")]
        own, sums = numbers[every[0]], numbers[every[1]] + numbers[every[2]]
        shares = _best_shares(own, sums)
        _put(shares[:, None], ONE, sink)
        _put((own - _predicted(sums, shares)).T, 2 * bound, sink)


def get(count: int, channels: int, bound: int, source: RangeSource) -> Ints:
    """Read numbers that :func:`put` wrote."""
    numbers = np.zeros((count, channels), np.int64)
    ends = [0, -1][:count]
    numbers[ends] = _get(channels, len(ends), bound, source).T
    for steps in classes(count):
        shares = _get(channels, 1, ONE, source)[:, 0]
        left = _get(channels, sum(len(step.meshes) for step in steps), 2 * bound, source).T
        start = 0
        for step in steps:
            sums = numbers[step.before] + numbers[step.after]
            numbers[step.meshes] = left[start : start + len(step.meshes)] + _predicted(sums, shares)
            start += len(step.meshes)
    return numbers


def _best_shares(own: Ints, sums: Ints) -> Ints:
    """Least squares, in eighths within [0, 1]; the usual one where there is too little to tell."""
    halves = sums / 2
    length = (halves**2).sum(axis=0)
    best = np.where(length > 0, (own * halves).sum(axis=0) / np.maximum(length, 1e-9), 1)
    shares: Ints = np.clip(np.rint(ONE * best), 0, ONE).astype(np.int64)
    return shares


def _predicted(sums: Ints, shares: Ints) -> Ints:
    predicted: Ints = (sums * shares + ONE) // (2 * ONE)
    return predicted


def _put(values: Ints, bound: int, sink: RangeSink) -> None:
    """Write (rows, columns) in [-bound, bound], a row with a scale of its own."""
    coder = RangeCoder()
    symbols = values[:, None, :] + bound
    model = coder.fit(symbols[None], 2 * bound + 1)
    model.write(sink)
    model.encode(symbols, sink)


def _get(rows: int, columns: int, bound: int, source: RangeSource) -> Ints:
    model = RangeCoder().read(source, (rows, 1, columns), 2 * bound + 1)
    values: Ints = model.decode(source).astype(np.int64).reshape(rows, columns) - bound
    return values
