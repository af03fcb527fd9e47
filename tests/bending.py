"""Meshes with the same faces for tests: a closed tube that bends, like an arm."""

from __future__ import annotations

import numpy as np
import trimesh

LENGTH, RADIUS = 1.6, 0.25


def tube(angle: float, rings: int = 41, around: int = 24) -> trimesh.Trimesh:
    """A capsule along x whose further half turns smoothly by an angle, in radians, about z."""
    along = np.linspace(-1, 1, rings)
    radius = RADIUS * np.sqrt(np.clip(1 - along**8, 0.05, 1))
    turn = 2 * np.pi * np.arange(around) / around
    bend = angle / (1 + np.exp(-12 * along))
    step = np.gradient(along) * LENGTH / 2
    centre = np.cumsum(np.stack([np.cos(bend), np.sin(bend)], 1) * step[:, None], 0)
    normal = np.stack([-np.sin(bend), np.cos(bend)], 1)
    sideways = radius[:, None] * np.cos(turn)
    points = np.concatenate(
        [centre[:, None] + sideways[..., None] * normal[:, None], (radius[:, None] * np.sin(turn))[..., None]], -1
    ).reshape(-1, 3)
    ring, k = np.divmod(np.arange((rings - 1) * around), around)
    a, b = ring * around + k, ring * around + (k + 1) % around
    sides = np.concatenate([np.stack([a, b, a + around], 1), np.stack([b, b + around, a + around], 1)])
    ends = [points[:around].mean(0), points[-around:].mean(0)]
    first, last = len(points), len(points) + 1
    k = np.arange(around)
    caps = np.concatenate(
        [
            np.stack([(k + 1) % around, k, np.full(around, first)], 1),
            np.stack([k, (k + 1) % around, np.full(around, last - first)], 1)
            + np.array([(rings - 1) * around, (rings - 1) * around, first]),
        ]
    )
    return trimesh.Trimesh(np.concatenate([points, ends]), np.concatenate([sides, caps]), process=False)


def motion(count: int, most: float = 1.2) -> list[trimesh.Trimesh]:
    """Frames of a tube that bends and turns as a whole, in the cube [-1, 1]³."""
    frames = []
    for t in np.linspace(0, 1, count):
        mesh = tube(most * np.sin(np.pi * t))
        turn = trimesh.transformations.rotation_matrix(0.8 * t, (0, 1, 1))[:3, :3]
        points = (mesh.vertices - mesh.vertices.mean(0)) @ turn.T
        frames.append(trimesh.Trimesh(points / 1.2, mesh.faces, process=False))
    return frames
