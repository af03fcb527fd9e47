"""Piecewise cubic interpolation of many curves at once, with their integrals.

The package ``bjontegaard`` interpolates one curve at a time with SciPy, which takes about a millisecond. Here one call
serves the curves of thousands of meshes. The tests compare the integrals with those of SciPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Method = Literal["pchip", "akima"]
_UNDEFINED = 1e-9  # SciPy's limit below which Akima's weights count as 0


@dataclass(frozen=True)
class Cubics:
    """N curves of at most P points, cubic between neighbouring points.

    Parameters
    ----------
    x, y : (N, P) float
        Points, increasing in x. A curve with fewer than P points ends in NaN.
    slope : (N, P) float
        Derivative at each point.
    area : (N, P) float
        Integral from the first point to each point.
    """

    x: Floats
    y: Floats
    slope: Floats
    area: Floats

    def integral(self, rows: NDArray[np.intp], low: Floats, high: Floats) -> Floats:
        """Integrals of the curves ``rows`` (K,) from ``low`` (K,) to ``high`` (K,), which must lie on the curves."""
        return self._up_to(rows, high) - self._up_to(rows, low)

    def _up_to(self, rows: NDArray[np.intp], end: Floats) -> Floats:
        x = self.x[rows]
        last = np.isfinite(x).sum(axis=1) - 1
        left = np.clip((x <= end[:, None]).sum(axis=1) - 1, 0, last - 1)
        h = self.x[rows, left + 1] - self.x[rows, left]
        y, a, b = self.y[rows, left], self.slope[rows, left], self.slope[rows, left + 1]
        mean = (self.y[rows, left + 1] - y) / h
        square, cube = (3 * mean - 2 * a - b) / h, (a + b - 2 * mean) / h**2
        s = end - self.x[rows, left]
        area: Floats = self.area[rows, left] + s * (y + s * (a / 2 + s * (square / 3 + s * cube / 4)))
        return area


def interpolate(x: Floats, y: Floats, method: Method) -> Cubics:
    """Interpolate N curves of at most P points.

    Parameters
    ----------
    x, y : (N, P) float
        Points, increasing in x; at least 3 in each curve, then NaN.
    method : {"pchip", "akima"}
        ``pchip`` is monotone between monotone points.

    Source: pchip: F. N. Fritsch, J. Butland, SIAM J. Sci. Stat. Comput. 5, 1984, ends after C. Moler, "Numerical
    Computing with MATLAB", 2004, section 3.6; Akima: H. Akima, J. ACM 17, 1970. Both as in ``scipy.interpolate``.
    """
    points = np.isfinite(x).sum(axis=1)
    gap = np.arange(x.shape[1] - 1) < points[:, None] - 1  # which pairs of neighbours are both points
    h = np.where(gap, np.diff(x), 1.0)
    mean = np.where(gap, np.diff(y), 0.0) / h
    slope = (_pchip if method == "pchip" else _akima)(h, mean, points)
    pieces = np.where(gap, h * (y[:, 1:] + y[:, :-1]) / 2 + h**2 * (slope[:, :-1] - slope[:, 1:]) / 12, 0.0)
    area = np.concatenate([np.zeros((len(x), 1)), np.cumsum(pieces, axis=1)], axis=1)
    return Cubics(x, y, slope, area)


def _pchip(h: Floats, mean: Floats, points: NDArray[np.intp]) -> Floats:
    """Weighted harmonic means of neighbouring slopes; 0 at a turning point."""
    every = np.arange(len(h))
    before, after = mean[:, :-1], mean[:, 1:]
    weight_before, weight_after = 2 * h[:, 1:] + h[:, :-1], h[:, 1:] + 2 * h[:, :-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        harmonic = (weight_before + weight_after) / (weight_before / before + weight_after / after)
    slope = np.zeros((len(h), h.shape[1] + 1))
    slope[:, 1:-1] = np.where((np.sign(before) == np.sign(after)) & (before != 0), harmonic, 0.0)
    slope[:, 0] = _pchip_end(h[:, 0], h[:, 1], mean[:, 0], mean[:, 1])
    last, next_ = points - 2, points - 3
    slope[every, points - 1] = _pchip_end(h[every, last], h[every, next_], mean[every, last], mean[every, next_])
    return slope


def _pchip_end(h: Floats, h_next: Floats, mean: Floats, mean_next: Floats) -> Floats:
    slope = ((2 * h + h_next) * mean - h * mean_next) / (h + h_next)
    steep = (np.sign(mean) != np.sign(mean_next)) & (np.abs(slope) > 3 * np.abs(mean))
    return np.where(np.sign(slope) != np.sign(mean), 0.0, np.where(steep, 3 * mean, slope))


def _akima(h: Floats, mean: Floats, points: NDArray[np.intp]) -> Floats:
    """Means of neighbouring slopes; the side where the slope changes less has more weight."""
    every = np.arange(len(h))
    m = np.zeros((len(h), h.shape[1] + 4))  # with two slopes more on either side
    m[:, 2:-2] = mean
    m[:, 1] = 2 * m[:, 2] - m[:, 3]
    m[:, 0] = 2 * m[:, 1] - m[:, 2]
    m[every, points + 1] = 2 * m[every, points] - m[every, points - 1]
    m[every, points + 2] = 2 * m[every, points + 1] - m[every, points]
    change = np.abs(np.diff(m))
    before, after = change[:, :-2], change[:, 2:]
    total = np.where(np.arange(before.shape[1]) < points[:, None], before + after, 0.0)
    defined = total > _UNDEFINED * total.max(axis=1, keepdims=True)
    share = before / np.where(defined, total, 1.0)
    weighted = m[:, 1:-2] + share * (m[:, 2:-1] - m[:, 1:-2])
    return np.where(defined, weighted, (m[:, 3:] + m[:, :-3]) / 2)
