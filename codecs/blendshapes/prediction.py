"""Predictions along a control mesh, coarse to fine: what most vertices do follows from what their neighbours do.

Vertices leave the mesh in rounds, no two neighbours in the same round. Each is predicted from the neighbours that it
has when it leaves, with the weights that give its place in the template from theirs (as far as weights near 1 / degree
can). Such a prediction is exact where a limb turns or stretches as a whole. The decoder goes the other way.

The order follows from the faces alone, in integers. The weights are computed in floating point: on another machine a
prediction at the middle between two integers may be rounded to the other one, which moves a vertex by a step.

Source of the weights: S. Roweis and L. Saul, "Nonlinear dimensionality reduction by locally linear embedding", 2000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_EVENNESS = 0.15  # how near to equal the weights are, relative to the squared distances to the neighbours
_FEW = 8  # vertices that are left to be coded as they are


@dataclass(frozen=True, eq=False)
class Round:
    """The vertices that leave in a round, (m,), and their neighbours then, one after the other, with weights.

    Parameters
    ----------
    vertices : (m,) int64
    neighbours : (r,) int64
    weights : (r,) float64
        Those of a vertex sum to 1.
    starts : (m,) int64
        Where the neighbours of a vertex start.
    """

    vertices: Ints
    neighbours: Ints
    weights: Floats
    starts: Ints

    def predicted(self, values: Ints) -> Ints:
        """Predictions (..., m, 3) from values (..., N, 3)."""
        parts = values[..., self.neighbours, :] * self.weights[:, None]
        return np.rint(np.add.reduceat(parts, self.starts, axis=-2)).astype(np.int64)


def rounds(faces: Ints, template: Floats) -> list[Round]:
    """The rounds, the first to leave first; a few vertices are in none.

    Parameters
    ----------
    faces : (F, 3) int64
    template : (N, 3) float64
        Positions, in any unit.
    """
    around: list[set[int]] = [set() for _ in template]
    for a, b, c in faces.tolist():
        around[a].update((b, c))
        around[b].update((c, a))
        around[c].update((a, b))
    left = [v for v in range(len(template)) if around[v]]
    found = []
    while len(left) > _FEW:
        blocked: set[int] = set()
        leaving = []
        for v in sorted(left, key=lambda v: (len(around[v]), v)):
            if v not in blocked and around[v]:
                leaving.append(v)
                blocked |= around[v]
        if not leaving:  # isolated vertices are left
            break
        rings = [sorted(around[v]) for v in leaving]
        found.append(_round(np.array(leaving), rings, template))
        for v, ring in zip(leaving, rings, strict=True):
            _leave(around, v, ring)
        gone = set(leaving)
        left = [v for v in left if v not in gone]
    return found


def _round(vertices: Ints, rings: list[list[int]], template: Floats) -> Round:
    lengths = np.array([len(ring) for ring in rings])
    starts = np.cumsum(lengths) - lengths
    neighbours = np.array([u for ring in rings for u in ring])
    weights = np.empty(len(neighbours))
    for length in np.unique(lengths):
        some = np.flatnonzero(lengths == length)
        places = starts[some, None] + np.arange(length)
        away = template[neighbours[places]] - template[vertices[some], None]  # (some, length, 3)
        products = away @ away.transpose(0, 2, 1)
        # Least |Σ w away|² + evenness |w - 1/length|² with Σ w = 1: the multiplier only scales the solution
        # of (products + evenness) w = 1, since both parts pull towards weights of sum 1.
        even = _EVENNESS * np.trace(products, axis1=1, axis2=2) / length + 1e-30
        solved = np.linalg.solve(products + even[:, None, None] * np.eye(length), np.ones((len(some), length, 1)))[
            ..., 0
        ]
        weights[places] = solved / solved.sum(axis=1, keepdims=True)
    return Round(vertices, neighbours, weights, starts)


def _leave(around: list[set[int]], v: int, ring: list[int]) -> None:
    """Take a vertex out: its neighbours become neighbours of one of them, that with the fewest."""
    for u in ring:
        around[u].discard(v)
    heir = min(ring, key=lambda u: (len(around[u]), u))
    for u in ring:
        if u != heir:
            around[u].add(heir)
            around[heir].add(u)


def residuals(values: Ints, order: list[Round]) -> Ints:
    """What is left of values (..., N, 3) after the predictions."""
    found = values.copy()
    for each in order:
        found[..., each.vertices, :] -= each.predicted(values)
    return found


def restored(found: Ints, order: list[Round]) -> Ints:
    """Inverse of :func:`residuals`."""
    values = found.copy()
    for each in reversed(order):
        values[..., each.vertices, :] += each.predicted(values)
    return values
