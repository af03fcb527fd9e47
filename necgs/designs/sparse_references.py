"""Which meshes of a set refer to which: one parent or two for each mesh that is like others, found from the latents.

The order is that of pictures in a video with hierarchical prediction. In rounds, meshes that others predict well leave
the set, and each refers to one or two that stay in this round. Example: of a sequence, every other frame leaves in each
round. Meshes that left late come early in the order of coding. There are few rounds, so chains of references are short.
The numbers of the meshes play no part: a shuffled sequence gives the same references.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Parents = tuple[int, ...]  # none, one or two
Needs = frozenset[int]  # all meshes that have to be decoded before one

ROUNDS = 8
_NEAREST = 12  # neighbours that are tried as parents
_LEAST_SIZE = 0.25  # levels; smaller sizes of residuals count as this one
_LINK_BITS = (0.0, 6.0, 11.0)  # typical, for the numbers of the parents
_GRID = np.exp2(np.arange(-12, 12.5, 0.5))


def needs_of(parents: Parents, needs: Callable[[int], Needs]) -> Needs:
    """All meshes that a mesh with these parents needs."""
    return frozenset(parents).union(*(needs(i) for i in parents))


@dataclass(frozen=True, eq=False)
class Options:
    """What each of m meshes may refer to, with the fewest bits first.

    Parameters
    ----------
    parents : (m, options, 2) int64
        -1 stands for no parent.
    saved : (m,) float64
        Estimated bits that the best option saves.
    """

    parents: Ints
    saved: Floats

    def of(self, row: int) -> list[Parents]:
        """Options of one mesh."""
        return [tuple(i for i in pair if i >= 0) for pair in self.parents[row].tolist()]


class Likeness:
    """How well meshes predict each other, by the inner products of their differences to the mean of the set.

    The differences are relative to the usual size at their channel and place. A prediction is the mean plus a multiple
    of a parent's difference, or of the sum of two parents' differences. The best multiple leaves the part of a mesh's
    difference that is orthogonal to it.

    Parameters
    ----------
    latents : (n, channels, places) int64
    mean : (channels, places) int64
        In eighths.
    """

    def __init__(self, latents: Ints, mean: Ints) -> None:
        differences = (latents - mean / 8).reshape(len(latents), -1)
        sizes = np.maximum(np.sqrt((differences**2).mean(axis=0)), _LEAST_SIZE)
        relative = (differences / sizes).astype(np.float32)
        self.products: Floats = (relative @ relative.T).astype(np.float64)
        self._places = len(sizes)
        self._curve = _entropy(_GRID[:, None] * sizes / np.sqrt(2)).sum(axis=1)

    def options(self, rows: Ints, others: Ints) -> Options:
        """Parents for meshes ``rows`` among meshes ``others``."""
        squares = np.maximum(self.products.diagonal(), 1e-9)
        own = squares[rows][:, None]
        along = np.maximum(self.products[np.ix_(rows, others)], 0)
        along[rows[:, None] == others] = 0
        near = np.argsort(-(along**2) / squares[others], axis=1, kind="stable")[:, :_NEAREST]
        single = others[near]
        along = np.take_along_axis(along, near, 1)
        first, second = np.triu_indices(near.shape[1], 1)
        a, b = single[:, first], single[:, second]
        sums = np.maximum(squares[a] + squares[b] + 2 * self.products[a, b], 1e-9)
        explained = np.hstack([0 * own, along**2 / squares[single], (along[:, first] + along[:, second]) ** 2 / sums])
        links = np.repeat(_LINK_BITS, [1, near.shape[1], len(first)])
        bits = self._bits(own - explained) + links
        bits[:, 1:][np.hstack([single == rows[:, None], (a == rows[:, None]) | (b == rows[:, None])])] = np.inf
        order = np.argsort(bits, axis=1, kind="stable")
        parents = np.full((*bits.shape, 2), -1)
        parents[:, 1 : 1 + near.shape[1], 0] = single
        parents[:, 1 + near.shape[1] :, 0], parents[:, 1 + near.shape[1] :, 1] = a, b
        return Options(np.take_along_axis(parents, order[..., None], 1), bits[:, 0] - bits.min(axis=1))

    def _bits(self, squares: Floats) -> Floats:
        """Bits of residuals with these sums of squares, if their sizes are proportional to the usual sizes."""
        relative = np.sqrt(np.maximum(squares, 0) / self._places)
        bits: Floats = np.interp(np.log2(np.maximum(relative, _GRID[0])), np.log2(_GRID), self._curve)
        return bits


def _entropy(mean: Floats) -> Floats:
    """Bits of an integer whose magnitude is geometric with this mean, and of its sign."""
    bits: Floats = np.log2(1 + mean) + mean * np.log2(1 + 1 / mean) + mean / (1 + mean)
    return bits


def find(likeness: Likeness, present: int, needs: Callable[[int], Needs], most: int) -> list[Parents]:
    """Parents of each mesh that follows those present; references do not go in circles.

    Parameters
    ----------
    likeness : Likeness
    present : int
        The first so many meshes are in the stream already: they may be parents, and get none.
    needs : callable
        What those need.
    most : int
        The most meshes that a mesh may need.
    """
    count = len(likeness.products)
    old, staying = np.arange(present), np.arange(present, count)
    chosen: dict[int, Parents] = {}
    for _ in range(ROUNDS):
        leaving = _leaving(likeness, staying, np.concatenate([old, staying]))
        chosen = dict(reversed(leaving.items())) | chosen
        staying = np.array([i for i in staying.tolist() if i not in leaving], np.int64)
        if not leaving or not len(staying):
            break
    known: dict[int, Needs] = {}

    def all_needs(i: int) -> Needs:
        return needs(i) if i < present else known[i]

    for i in [*staying.tolist(), *chosen]:  # parents come before those that refer to them
        pair = chosen.get(i, ())
        fitting = (p for p in (pair, pair[:1], pair[1:], ()) if len(needs_of(p, all_needs)) <= most)
        chosen[i] = next(fitting)
        known[i] = needs_of(chosen[i], all_needs)
    return [chosen[i] for i in range(present, count)]


def _leaving(likeness: Likeness, rows: Ints, others: Ints) -> dict[int, Parents]:
    """The meshes of ``rows`` that leave in a round, and their parents, which stay."""
    if len(others) < 2:
        return {}
    options = likeness.options(rows, others)
    needed: set[int] = set()
    leaving: dict[int, Parents] = {}
    for row in np.argsort(-options.saved, kind="stable").tolist():
        mesh = int(rows[row])
        if mesh in needed or options.saved[row] <= 0:
            continue
        parents = next(p for p in options.of(row) if leaving.keys().isdisjoint(p))
        if parents:
            leaving[mesh] = parents
            needed.update(parents)
    return leaving
