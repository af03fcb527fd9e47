"""Compiled loops over the neighbours of points: fitted planes, and the position of a surface relative to its points.

This module imports numba, so other modules import it inside functions. No loop starts threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Columns(NamedTuple):
    """Points in columns along z. A neighbourhood consists of one run in each of a few columns, found by bisection.

    Parameters
    ----------
    points : (N, 3) float64
        Non-negative, sorted by column, then by z.
    starts : (nx · ny + 1,) int64
        Column (i, j) is ``points[starts[i * ny + j] : starts[i * ny + j + 1]]``.
    nx, ny : int
        Columns along x and y.
    cell : float
        Side of a column.
    """

    points: Floats
    starts: Ints
    nx: int
    ny: int
    cell: float


def columns(points: Floats, cell: float) -> tuple[Columns, Ints]:
    """Sort non-negative points (N, 3) into columns; also returns the order: ``result.points == points[order]``."""
    nx, ny = (int(points[:, axis].max() / cell) + 1 for axis in (0, 1))
    key = (points[:, 0] / cell).astype(np.int64) * ny + (points[:, 1] / cell).astype(np.int64)
    order = np.lexsort((points[:, 2], key))
    starts = np.zeros(nx * ny + 1, np.int64)
    np.cumsum(np.bincount(key, minlength=nx * ny), out=starts[1:])
    return Columns(np.ascontiguousarray(points[order]), starts, nx, ny, cell), order


@njit(nogil=True, cache=True)
def first_at(points: Floats, low: int, high: int, z: float) -> int:
    """First index in [low, high) of a point whose z is at least `z`."""
    while low < high:
        middle = (low + high) >> 1
        if points[middle, 2] < z:
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def fit_planes(cloud: Columns, radius: float, normals: Floats) -> None:
    """Fit a plane to the neighbours of each point, weighted by (1 - d² / radius²)²; the normal's sign is arbitrary.

    Source: Hoppe et al., SIGGRAPH 1992, section 3.1; the weight is that of Wendland's C² kernels cut to two factors.
    """
    points, starts, cell = cloud.points, cloud.starts, cloud.cell
    inverse = 1.0 / (radius * radius)
    reach = int(np.ceil(radius / cell))
    for i in range(len(points)):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        cx, cy = int(px / cell), int(py / cell)
        s = sx = sy = sz = xx = xy = xz = yy = yz = zz = 0.0
        for kx in range(max(cx - reach, 0), min(cx + reach + 1, cloud.nx)):
            for ky in range(max(cy - reach, 0), min(cy + reach + 1, cloud.ny)):
                column = kx * cloud.ny + ky
                end = starts[column + 1]
                j = first_at(points, starts[column], end, pz - radius)
                while j < end:
                    dx, dy, dz = points[j, 0] - px, points[j, 1] - py, points[j, 2] - pz
                    if dz > radius:
                        break
                    j += 1
                    t = 1.0 - (dx * dx + dy * dy + dz * dz) * inverse
                    if t <= 0.0:
                        continue
                    w = t * t
                    s += w
                    sx += w * dx
                    sy += w * dy
                    sz += w * dz
                    xx += w * dx * dx
                    xy += w * dx * dy
                    xz += w * dx * dz
                    yy += w * dy * dy
                    yz += w * dy * dz
                    zz += w * dz * dz
        mx, my, mz = sx / s, sy / s, sz / s
        _least_axis(
            xx / s - mx * mx,
            xy / s - mx * my,
            xz / s - mx * mz,
            yy / s - my * my,
            yz / s - my * mz,
            zz / s - mz * mz,
            normals[i],
        )


@njit(nogil=True, cache=True)
def _least_axis(  # noqa: PLR0917 - numba knows no keyword-only arguments
    a: float, b: float, c: float, d: float, e: float, f: float, axis: Floats
) -> None:
    """Unit eigenvector of the least eigenvalue of [[a, b, c], [b, d, e], [c, e, f]]; z if it is undetermined.

    Source: Smith, "Eigenvalues of a symmetric 3 x 3 matrix", CACM 4 (1961), p. 168.
    """
    axis[0], axis[1], axis[2] = 0.0, 0.0, 1.0
    mean = (a + d + f) / 3.0
    square = (a - mean) ** 2 + (d - mean) ** 2 + (f - mean) ** 2 + 2.0 * (b * b + c * c + e * e)
    scale = np.sqrt(square / 6.0)
    if scale <= 1e-12:
        return
    a, d, f, b, c, e = (a - mean) / scale, (d - mean) / scale, (f - mean) / scale, b / scale, c / scale, e / scale
    half_determinant = 0.5 * (a * (d * f - e * e) - b * (b * f - e * c) + c * (b * e - d * c))
    angle = np.arccos(min(max(half_determinant, -1.0), 1.0)) / 3.0
    least = 2.0 * np.cos(angle + 2.0 * np.pi / 3.0)
    a, d, f = a - least, d - least, f - least
    # The axis is orthogonal to all three rows: the longest of their cross products.
    best = 1e-12
    for k in range(3):
        if k == 0:
            x, y, z = b * e - c * d, c * b - a * e, a * d - b * b
        elif k == 1:
            x, y, z = b * f - c * e, c * c - a * f, a * e - b * c
        else:
            x, y, z = d * f - e * e, e * c - b * f, b * e - d * c
        squared = x * x + y * y + z * z
        if squared > best:
            best = squared
            inverse = 1.0 / np.sqrt(squared)
            axis[0], axis[1], axis[2] = x * inverse, y * inverse, z * inverse


@njit(nogil=True, cache=True)
def overhang(  # noqa: PLR0917 - numba knows no keyword-only arguments
    cloud: Columns, vertices: Floats, normals: Floats, radius: float, offset: Floats, gap: Floats
) -> None:
    """Measure, in the tangent plane of each vertex of a surface, the offset of nearby points and the gap to them.

    Parameters
    ----------
    cloud : Columns
        The points.
    vertices, normals : (V, 3) float64
        Vertices of the surface and their unit normals.
    radius : float
        Radius of the search for points.
    offset : (V,) float64
        Out: length of the mean vector to the points within `radius`, weighted by (1 - d² / radius²)², in the tangent
        plane and in units of `radius`; 1 where there is no point. The offset is 0 in the middle of evenly distributed
        points, and 32 / 35π ≈ 0.291 on the straight edge of a half-plane of points.
    gap : (V,) float64
        Out: the least distance in the tangent plane to a point within `radius`; `radius` if there is no point.
    """
    points, starts, cell = cloud.points, cloud.starts, cloud.cell
    reach = int(np.ceil(radius / cell))
    inverse = 1.0 / (radius * radius)
    for i in range(len(vertices)):
        px, py, pz = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        cx, cy = int(np.floor(px / cell)), int(np.floor(py / cell))
        s = x = y = z = 0.0
        least = radius * radius
        for kx in range(max(cx - reach, 0), min(cx + reach + 1, cloud.nx)):
            for ky in range(max(cy - reach, 0), min(cy + reach + 1, cloud.ny)):
                column = kx * cloud.ny + ky
                end = starts[column + 1]
                j = first_at(points, starts[column], end, pz - radius)
                while j < end:
                    dx, dy, dz = points[j, 0] - px, points[j, 1] - py, points[j, 2] - pz
                    if dz > radius:
                        break
                    j += 1
                    t = 1.0 - (dx * dx + dy * dy + dz * dz) * inverse
                    if t > 0.0:
                        w = t * t
                        s += w
                        x += w * dx
                        y += w * dy
                        z += w * dz
                        rise = dx * normals[i, 0] + dy * normals[i, 1] + dz * normals[i, 2]
                        least = min(least, dx * dx + dy * dy + dz * dz - rise * rise)
        gap[i] = np.sqrt(max(least, 0.0))
        if s > 0.0:
            along = x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]
            offset[i] = np.sqrt(max(x * x + y * y + z * z - along * along, 0.0)) / (s * radius)
        else:
            offset[i] = 1.0
