"""Random machine parts: turned, extruded, drilled, hollowed and repeated solids, closed, of any scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcbench.datasets.minis.cad import box, cylinder, from_solid, polar, prism, ring
from gcbench.datasets.minis.sculpt import Faces, Vertices

__all__ = ["random_part"]

Rng = np.random.Generator


def random_part(rng: Rng) -> tuple[Vertices, Faces]:
    """A part of a random kind; never empty."""
    made = _KINDS[int(rng.integers(len(_KINDS)))](rng)
    return from_solid(made)


def _drilled(rng: Rng, solid: Any, reach: float) -> Any:
    """The solid with some holes along z or across; a hole that would leave nothing is not drilled."""
    for _ in range(int(rng.integers(0, 4))):
        hole = cylinder(rng.uniform(0.03, 0.15) * reach, 6 * reach, int(rng.integers(16, 48)), (0.0, 0.0, -3 * reach))
        if rng.random() < 0.4:
            hole = hole.rotate((90.0, 0.0, 0.0)) if rng.random() < 0.5 else hole.rotate((0.0, 90.0, 0.0))
        cut = solid - hole.translate(tuple(rng.uniform(-0.6, 0.6, 3) * reach))
        solid = solid if cut.is_empty() else cut
    return solid


def _turned(rng: Rng) -> Any:
    """A body of revolution: steps, cones and grooves, or a smooth profile as of a vase, with or without a bore."""
    from manifold3d import CrossSection, Manifold

    count = int(rng.integers(3, 12))
    z = np.cumsum(rng.uniform(0.1, 0.5, count))
    radius = rng.uniform(0.25, 1.0, count)
    if rng.random() < 0.5:  # steps
        z, radius = np.repeat(z, 2)[1:-1], np.repeat(radius[:-1], 2)
    elif rng.random() < 0.6:  # smooth
        fine = np.linspace(0, count - 1, 60)
        z, radius = np.interp(fine, np.arange(count), z), _smooth(np.interp(fine, np.arange(count), radius))
    wall = rng.uniform(0.05, 0.2)
    inner = np.maximum(radius - wall, 0.02) if rng.random() < 0.4 else np.full_like(radius, rng.uniform(0.03, 0.2))
    if rng.random() < 0.3:
        outline = np.concatenate([[[0.0, z[0]]], np.stack([radius, z], 1), [[0.0, z[-1]]]])
    else:
        floor = rng.random() < 0.4
        inside = np.stack([inner, np.where(np.arange(len(z)) == 0, z[0] + wall * floor, z)], 1)[::-1]
        bottom = [[0.0, z[0] + wall], [0.0, z[0]]] if floor else []
        outline = np.concatenate([np.stack([radius, z], 1), inside, np.reshape(bottom, (-1, 2))])
    solid = Manifold.revolve(CrossSection([outline]), int(rng.integers(20, 128)))
    if rng.random() < 0.4:
        hole, at = rng.uniform(0.03, 0.1), rng.uniform(0.25, 0.8)
        solid -= ring(lambda: cylinder(hole, 20.0, 24, (0, 0, -10.0)), int(rng.integers(3, 12)), at)
    return solid


def _plate(rng: Rng) -> Any:
    """An extruded outline with holes, pockets and bosses."""
    count = int(rng.integers(3, 14))
    angle = np.sort(rng.uniform(0, 2 * np.pi, count)) if rng.random() < 0.5 else np.linspace(0, 2 * np.pi, count, False)
    radius = rng.uniform(0.45, 1.0, count) if rng.random() < 0.7 else np.ones(count)
    thick = rng.uniform(0.06, 0.8)
    if count < 5 or np.diff(angle, append=angle[0] + 2 * np.pi).max() > 0.9 * np.pi:
        wide, high = rng.uniform(0.4, 1.0, 2)
        solid = box((2 * wide, 2 * high, thick), (-wide, -high, 0.0))
    else:
        options: dict[str, Any] = {"scale_top": tuple(np.full(2, rng.uniform(0.5, 1.0)))} if rng.random() < 0.3 else {}
        if rng.random() < 0.2:
            options |= {"n_divisions": 24, "twist_degrees": float(rng.uniform(-120, 120))}
        solid = prism(polar(radius, angle), thick, **options)
    for _ in range(int(rng.integers(0, 5))):
        at, size = (*rng.uniform(-0.5, 0.5, 2), thick * rng.uniform(0.5, 0.98)), rng.uniform(0.08, 0.35)
        boss = rng.random() < 0.6
        tool = (
            cylinder(size, rng.uniform(0.2, 0.8), 40, at)
            if rng.random() < 0.6
            else box((size, rng.uniform(0.1, 0.8), rng.uniform(0.2, 0.6)), at)
        )
        solid = solid + tool if boss else solid - tool
    return _drilled(rng, solid, 1.0)


def _gear(rng: Rng) -> Any:
    teeth, depth, thick = int(rng.integers(8, 40)), rng.uniform(0.05, 0.25), rng.uniform(0.1, 0.7)
    flank = np.array([0.0, 0.18, 0.32, 0.68, 0.82])[1:] + rng.uniform(-0.05, 0.05)
    angle = ((np.arange(teeth)[:, None] + flank) * 2 * np.pi / teeth).reshape(-1)
    radius = np.tile([1.0 - depth, 1.0, 1.0, 1.0 - depth], teeth)
    twist = {"n_divisions": 12, "twist_degrees": float(rng.uniform(-25, 25))} if rng.random() < 0.4 else {}
    solid = prism(polar(radius, angle), thick, **twist) - cylinder(rng.uniform(0.08, 0.3), 9.0, 48, (0, 0, -4.0))
    inside = 0.9 - depth
    if rng.random() < 0.4:
        solid -= cylinder(inside, thick, 64, (0, 0, 0.65 * thick)) - cylinder(0.35, 9.0, 48, (0, 0, -4.0))
    if rng.random() < 0.6:
        hole = rng.uniform(0.05, 0.16)
        solid -= ring(lambda: cylinder(hole, 9.0, 32, (0, 0, -4.0)), int(rng.integers(3, 8)), 0.5 * (0.3 + inside))
    return solid


def _enclosure(rng: Rng) -> Any:
    """A box or a tub without a lid, with posts and openings."""
    size, wall = rng.uniform(0.5, 2.0, 3), rng.uniform(0.03, 0.12)
    if rng.random() < 0.6:
        shell = box(size, -size / 2) - box((size[0] - 2 * wall, size[1] - 2 * wall, size[2]), -size / 2 + wall)
    else:
        shell = cylinder(size[0] / 2, size[2], 96, (0, 0, -size[2] / 2))
        shell -= cylinder(size[0] / 2 - wall, size[2], 96, (0, 0, wall - size[2] / 2))
        size[1] = size[0]
    for x, y in rng.uniform(-0.35, 0.35, (int(rng.integers(0, 5)), 2)) * size[:2]:
        shell += cylinder(wall * 1.5, size[2] * rng.uniform(0.3, 0.9), 32, (x, y, wall / 2 - size[2] / 2))
    for _ in range(int(rng.integers(0, 4))):
        opening = rng.uniform(0.1, 0.4, 3) * size
        shell -= box(opening, rng.choice([-0.5, 0.3], 3) * size)
    return shell


def _pipes(rng: Rng) -> Any:
    """Pipes from one centre, with flanges."""
    whole, bores = None, None
    radius, wall = rng.uniform(0.15, 0.35), rng.uniform(0.03, 0.1)
    for _ in range(int(rng.integers(2, 6))):
        turn = rng.choice([0, 90, 180, 270], 3) if rng.random() < 0.7 else rng.uniform(0, 360, 3)
        long, thick = rng.uniform(0.5, 1.3), radius * rng.uniform(0.7, 1.0)
        arm = cylinder(thick, long, 48)
        if rng.random() < 0.6:
            arm += cylinder(thick * rng.uniform(1.2, 1.8), 0.15, 48, (0, 0, long - 0.15))
        bore = cylinder(thick - wall, long + 0.1, 48)
        whole = arm.rotate(tuple(turn)) if whole is None else whole + arm.rotate(tuple(turn))
        bores = bore.rotate(tuple(turn)) if bores is None else bores + bore.rotate(tuple(turn))
    joint = whole + _ball(radius)
    return joint - bores if rng.random() < 0.7 else joint


def _ball(radius: float) -> Any:
    from manifold3d import Manifold

    return Manifold.sphere(radius, 48)


def _repeated(rng: Rng) -> Any:
    """Fins, bars or a grid on a base, as heat sinks, combs, grilles and shelves have."""
    count, thick = int(rng.integers(3, 12)), rng.uniform(0.03, 0.09)
    length, width, height = rng.uniform(0.5, 2.0), rng.uniform(0.4, 1.5), rng.uniform(0.2, 1.2)
    body = box((length, width, rng.uniform(0.05, 0.2)))
    for x in np.linspace(0, length - thick, count):
        body += box((thick, width, height), (x, 0.0, 0.02))
    if rng.random() < 0.4:
        for y in np.linspace(0, width - thick, int(rng.integers(2, 8))):
            body += box((length, thick, height * rng.uniform(0.4, 1.0)), (0.0, y, 0.02))
    if rng.random() < 0.3:
        body += box((length, width, thick), (0.0, 0.0, height - thick))
    return body


def _spring(rng: Rng) -> Any:
    """A wire along a helix or another closed-form curve."""
    from manifold3d import Manifold, Mesh64

    turns, around = rng.uniform(0.6, 6), 16
    t = np.linspace(0, 1, int(40 * turns) + 20)
    radius = 0.6 + rng.uniform(-0.4, 0.4) * t
    angle = 2 * np.pi * turns * t
    curve = np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0.3, 2.5) * t], 1)
    wire = min(rng.uniform(0.05, 0.16), 0.4 * float(np.ptp(curve[:, 2])) / turns)
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    side -= (side * tangent).sum(1, keepdims=True) * tangent
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(tangent, side)
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)[None, :, None]
    rings = curve[:, None] + wire * (np.cos(turn) * side[:, None] + np.sin(turn) * up[:, None])
    points = np.concatenate([rings.reshape(-1, 3), curve[[0, -1]]])
    i, j = np.meshgrid(np.arange(len(t) - 1), np.arange(around), indexing="ij")
    a, b = i * around + j, i * around + (j + 1) % around
    sides = np.stack([a, b, b + around, a, b + around, a + around], -1).reshape(-1, 3)
    k, last = np.arange(around), (len(t) - 1) * around
    first_cap = np.stack([(k + 1) % around, k, np.full(around, len(points) - 2)], 1)
    last_cap = np.stack([last + k, last + (k + 1) % around, np.full(around, len(points) - 1)], 1)
    faces = np.concatenate([sides, first_cap, last_cap]).astype(np.uint64)
    return Manifold(Mesh64(vert_properties=points, tri_verts=faces))


def _bolt(rng: Rng) -> Any:
    from manifold3d import CrossSection, Manifold

    long, radius = rng.uniform(0.5, 3.0), rng.uniform(0.2, 0.5)
    pitch, depth = rng.uniform(0.08, 0.2), rng.uniform(0.03, 0.08)
    z = np.arange(0, long, pitch / 2)
    crest = radius - depth * (np.arange(len(z)) % 2)
    outline = np.concatenate([[[0.0, z[0]]], np.stack([crest, z], 1), [[0.0, z[-1]]]])
    solid = Manifold.revolve(CrossSection([outline]), 64)
    sides, wide = int(rng.choice([4, 6, 6, 8, 48])), radius * rng.uniform(1.3, 2.2)
    solid += cylinder(wide, rng.uniform(0.2, 0.5), sides, (0.0, 0.0, -0.2))
    if rng.random() < 0.3:
        solid -= box((4.0, 0.15 * radius, 0.12), (-2.0, -0.075 * radius, -0.2))
    return solid


def _bracket(rng: Rng) -> Any:
    """Plates at right angles with ribs and holes."""
    length, thick = rng.uniform(0.5, 1.5), rng.uniform(0.08, 0.2)
    legs = rng.uniform(0.5, 1.5, 2)
    solid = box((legs[0], length, thick)) + box((thick, length, legs[1]))
    for y in rng.uniform(0, length - thick, int(rng.integers(0, 3))):
        rib = prism([[0.0, 0.0], [0.8 * legs[0], 0.0], [0.0, 0.8 * legs[1]]], thick)
        solid += rib.rotate((90.0, 0.0, 0.0)).translate((0.0, y + thick, 0.0))
    if rng.random() < 0.3:
        solid += box((thick, length, legs[1]), (legs[0] - thick, 0.0, 0.0))
    return _drilled(rng, solid, 0.6)


_KINDS: tuple[Callable[[Rng], Any], ...] = (
    _turned, _turned, _plate, _plate, _gear, _enclosure, _pipes, _repeated, _spring, _bolt, _bracket,
)  # fmt: skip


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = np.hanning(13)[1:-1]
    padded = np.pad(values, 5, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
