"""Make smooth closed surfaces from lofts on a skeleton: a blended implicit surface, meshed and decimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.minis.skeleton import LEFT, Frame, Vector, mirrored, vector

Vertices: TypeAlias = NDArray[np.float64]  # (V, 3)
Faces: TypeAlias = NDArray[np.int32]  # (F, 3), counter-clockwise from outside
Field: TypeAlias = NDArray[np.float32]
Section: TypeAlias = tuple[float, ...]

_TABLE = 65  # samples of a loft's profile, less than a millimetre apart on every bone
_BEND = 1.3  # radians by which a wave of folds shifts the next: straight waves would look like corrugated iron
_OUTSIDE = np.float32(1.0)  # field value, in metres, far from all lofts


@dataclass(frozen=True)
class Loft:
    """Flesh around a line from ``start`` to ``end`` with elliptic cross-sections and ellipsoidal ends.

    A loft with one section is an ellipsoid, with two a tapered capsule.

    Parameters
    ----------
    bone : str
        The bone whose frame the points are in.
    start, end : (3,) float
        The axis, in metres.
    sections : sequence of (t, half_width, half_depth[, shift_sideways, shift_front])
        Cross-sections at ``t`` in [0, 1] along the axis, interpolated monotonically; depth is measured along ``front``.
    front, side : (3,) float
        Any directions on the front side of the axis, and on the side that sideways shifts go to.
    caps : (2,) float or None
        How far the ends bulge out beyond ``start`` and ``end``; default: the thickness of the end section.
    blend : float
        Fillet size, in metres, to the lofts before this one.
    carve : bool
        Subtract the loft.
    waves : sequence of (amplitude, along_side, along_front, along_axis, phase)
        Folds: each wave moves the surface by ``amplitude`` metres times the sine of a phase, which grows by so many
        radians per metre along the three axes of the loft. Each wave bends the one after it.
    """

    bone: str
    start: Vector
    end: Vector
    sections: Sequence[Section]
    front: Vector = (0.0, 0.0, 1.0)
    side: Vector = (1.0, 0.0, 0.0)
    caps: tuple[float, float] | None = None
    blend: float = 0.02
    carve: bool = False
    waves: Sequence[Section] = ()

    def mirror(self) -> Loft:
        """Return the same flesh on the other side of the midline."""
        flip = np.array([-1.0, 1.0, 1.0])
        start, end, front, side = (vector(flip * v) for v in (self.start, self.end, self.front, self.side))
        return replace(self, bone=mirrored(self.bone), start=start, end=end, front=front, side=side)


def ellipsoid(
    bone: str, centre: Vector, radii: Vector, *, tilt: float = 0.0, blend: float = 0.02, carve: bool = False
) -> Loft:
    """Return an ellipsoid with half-axes along x, y, z, turned by ``tilt`` degrees about x (the front goes down)."""
    a = np.radians(tilt)
    axis = np.array([0.0, np.cos(a), np.sin(a)])
    front = (0.0, -float(np.sin(a)), float(np.cos(a)))
    half = 1e-3 * radii[1]  # a loft needs an axis; its ends bulge by the rest
    ends = [vector(np.array(centre) + s * half * axis) for s in (-1, 1)]
    cap = radii[1] - half
    section = (0.0, radii[0], radii[2])
    return Loft(bone, ends[0], ends[1], (section,), front, caps=(cap, cap), blend=blend, carve=carve)


def both_sides(lofts: Sequence[Loft]) -> tuple[Loft, ...]:
    """Add after each loft of a left bone, or off the midline, its mirror image."""
    both: list[Loft] = []
    for loft in lofts:
        both.append(loft)
        if loft.bone.endswith(LEFT) or loft.start[0] != 0.0 or loft.end[0] != 0.0:
            both.append(loft.mirror())
    return tuple(both)


def sculpt(
    lofts: Sequence[Loft], frames: Mapping[str, Frame], *, voxel: float, faces: int, smoothing: int = 6
) -> tuple[Vertices, Faces]:
    """Mesh the smooth union of lofts on a posed skeleton, as :func:`surface` does, and decimate to a face count."""
    return decimate(*surface(lofts, frames, voxel=voxel, smoothing=smoothing), faces)


def surface(
    lofts: Sequence[Loft], frames: Mapping[str, Frame], *, voxel: float, smoothing: int
) -> tuple[Vertices, Faces]:
    """Mesh the smooth union of lofts on a posed skeleton.

    Parameters
    ----------
    lofts : sequence of Loft
        In order: each is blended with the lofts before it.
    frames : mapping of str to Frame
        The posed bones.
    voxel : float
        Grid spacing in metres; smaller details are lost.
    smoothing : int
        Taubin iterations on the extracted surface.

    Returns
    -------
    vertices : (V, 3) float64, metres
    faces : (F, 3) int32
    """
    placed = [_Placed(loft, frames[loft.bone]) for loft in lofts]
    field, origin = _field(placed, voxel)
    vertices, triangles = _isosurface(field, origin, voxel)
    return taubin_smooth(vertices, triangles, smoothing), triangles


def smooth_min(a: Field, b: Field, size: float) -> Field:
    """Minimum with a fillet: differs from ``min`` only where ``|a − b| < size``, by at most ``size / 4``.

    Source: I. Quilez, "Smooth minimum", the quadratic polynomial form.
    """
    gap = np.maximum(np.float32(size) - np.abs(a - b), np.float32(0))
    blended: Field = np.minimum(a, b) - gap * gap * np.float32(0.25 / size)
    return blended


class _Placed:
    """A loft in the world, ready to be evaluated on a grid."""

    def __init__(self, loft: Loft, frame: Frame) -> None:
        self.blend, self.carve, self.waves = loft.blend, loft.carve, loft.waves
        self.reach = loft.blend + sum(abs(wave[0]) for wave in loft.waves)
        self.start, end = frame(np.array([loft.start, loft.end]))
        self.length = float(np.linalg.norm(end - self.start))
        axis = (end - self.start) / self.length
        front = frame.rotation @ np.array(loft.front)
        front -= (front @ axis) * axis
        front /= np.linalg.norm(front)
        side = np.cross(front, axis)
        if side @ frame.rotation @ np.array(loft.side) < 0:
            side = -side
        self.axes = np.stack([side, front, axis])
        self.profile = _profile(loft.sections)
        width, depth, sideways, forward = self.profile
        self.caps = loft.caps or (float(min(width[0], depth[0])), float(min(width[-1], depth[-1])))
        low = np.array([(sideways - width).min(), (forward - depth).min(), -self.caps[0]])
        high = np.array([(sideways + width).max(), (forward + depth).max(), self.length + self.caps[1]])
        corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T @ self.axes + self.start
        self.low, self.high = corners.min(0), corners.max(0)

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance to first order, negative inside, on the grid that open-mesh coordinates x, y, z span.

        Source: I. Quilez, "Ellipsoid SDF": d ≈ k0 (k0 − 1) / k1 with k0 = |p / r|, k1 = |p / r²|.
        """
        side, front, axis = (
            (x - np.float32(self.start[0])) * np.float32(a[0])
            + (y - np.float32(self.start[1])) * np.float32(a[1])
            + (z - np.float32(self.start[2])) * np.float32(a[2])
            for a in self.axes
        )
        where = np.clip(axis, 0, np.float32(self.length)) * np.float32((_TABLE - 1) / self.length)
        beyond = np.where(axis < 0, axis / np.float32(self.caps[0]), 0)
        beyond = np.where(axis > self.length, (axis - np.float32(self.length)) / np.float32(self.caps[1]), beyond)
        cap = np.where(axis < 0, np.float32(self.caps[0]), np.float32(self.caps[1]))
        below = np.minimum(where.astype(np.int32), _TABLE - 2)
        part = where - below
        table = self.profile.astype(np.float32)
        step = np.diff(table, axis=1)
        if step.any():
            width, depth, sideways, forward = (table[i][below] + part * step[i][below] for i in range(4))
        else:
            width, depth, sideways, forward = (np.broadcast_to(row[:1], side.shape) for row in table)
        u = (side - sideways) / width
        v = (front - forward) / depth
        tiny = np.float32(1e-12)
        k0 = np.sqrt(u * u + v * v + beyond * beyond + tiny)
        u, v, beyond = u / width, v / depth, beyond / cap
        k1 = np.sqrt(u * u + v * v + beyond * beyond + tiny / (width * width))
        distance: Field = (k0 - 1) * (k0 / k1)
        wave: Field = np.zeros((), np.float32)
        for amplitude, *numbers in self.waves:
            across, forth, along, phase = (np.float32(number) for number in numbers)
            bent = np.float32(_BEND) * wave
            wave = np.sin(across * side + forth * front + along * axis + phase + bent)
            distance -= np.float32(amplitude) * wave
        return distance


def _profile(sections: Sequence[Section]) -> NDArray[np.float64]:
    """Sections → (4, _TABLE): half-width, half-depth, shift sideways, shift to the front."""
    from scipy.interpolate import PchipInterpolator

    rows = np.array([(*section, 0.0, 0.0)[:5] for section in sections])
    if len(rows) == 1:
        return np.repeat(rows[:, 1:].T, _TABLE, axis=1)
    table = PchipInterpolator(rows[:, 0], rows[:, 1:])(np.linspace(0.0, 1.0, _TABLE))
    return np.asarray(table.T, dtype=np.float64)


def _field(placed: Sequence[_Placed], voxel: float) -> tuple[Field, NDArray[np.float64]]:
    """Evaluate each loft in its own box only: near the surface this is exact, since fillets reach ``blend`` far."""
    flesh = [loft for loft in placed if not loft.carve]
    pad = 3 * voxel + max(loft.reach for loft in placed)
    origin = np.floor((np.min([loft.low for loft in flesh], axis=0) - pad) / voxel) * voxel
    top = np.max([loft.high for loft in flesh], axis=0) + pad
    shape = np.ceil((top - origin) / voxel).astype(int) + 1
    coordinates = [(origin[i] + voxel * np.arange(shape[i])).astype(np.float32) for i in range(3)]
    field = np.full(shape, _OUTSIDE, dtype=np.float32)
    for loft in placed:
        reach = loft.reach + 2 * voxel
        low = np.clip(np.floor((loft.low - reach - origin) / voxel).astype(int), 0, shape)
        high = np.clip(np.ceil((loft.high + reach - origin) / voxel).astype(int) + 1, 0, shape)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        x, y, z = (c[s] for c, s in zip(coordinates, box, strict=True))
        distance = loft.distance(x[:, None, None], y[None, :, None], z[None, None, :])
        if loft.carve:
            field[box] = -smooth_min(-field[box], distance, loft.blend)
        else:
            field[box] = smooth_min(field[box], distance, loft.blend)
    return field, origin


def _isosurface(field: Field, origin: NDArray[np.float64], voxel: float) -> tuple[Vertices, Faces]:
    from skimage.measure import marching_cubes

    # A sample of exactly zero would make triangles without area.
    field[np.abs(field) < 1e-3 * voxel] = 1e-3 * voxel
    vertices, faces, _, _ = marching_cubes(field, 0.0, method="lorensen", gradient_direction="descent")
    return vertices.astype(np.float64) * voxel + origin, faces.astype(np.int32)


def taubin_smooth(vertices: Vertices, faces: Faces, iterations: int) -> Vertices:
    """Low-pass filter that keeps the volume.

    Source: G. Taubin, "A signal processing approach to fair surface design", SIGGRAPH 1995 (λ = 0.5, μ = −0.53).
    """
    from scipy.sparse import csr_array

    rows, columns = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
    # The faces of a closed surface have every edge once in each direction, so the adjacency is symmetric.
    adjacency = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(vertices),) * 2)
    degree = np.asarray(adjacency.sum(axis=1)).reshape(-1, 1)
    for step in range(2 * iterations):
        factor = 0.5 if step % 2 == 0 else -0.53
        vertices = vertices + factor * (adjacency @ vertices / degree - vertices)
    return vertices


def decimate(vertices: Vertices, faces: Faces, target: int) -> tuple[Vertices, Faces]:
    """Quadric edge-collapse decimation that keeps the topology.

    Source: M. Garland, P. Heckbert, "Surface simplification using quadric error metrics", SIGGRAPH 1997.
    """
    from gcbench.native import pymeshlab

    if len(faces) <= target:
        return vertices, faces
    lab = pymeshlab()
    meshes = lab.MeshSet()
    meshes.add_mesh(lab.Mesh(vertices, faces))
    meshes.meshing_decimation_quadric_edge_collapse(
        targetfacenum=target, preservetopology=True, preservenormal=True, planarquadric=True, planarweight=0.002
    )
    result = meshes.current_mesh()
    return result.vertex_matrix(), result.face_matrix().astype(np.int32)
