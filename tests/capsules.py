"""A small set of closed meshes for set codecs: a capsule with a ball, and how far a decoded mesh is from it."""

from __future__ import annotations

import numpy as np
import trimesh

from gcbench.geometry.nearest import PointTree, TriangleTree, nearest


def shape(seed: int) -> trimesh.Trimesh:
    """A capsule with a ball, in [-1, 1]³."""
    rng = np.random.default_rng(seed)
    mesh = trimesh.creation.capsule(height=1.0, radius=0.3 + 0.1 * rng.random())
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.45)
    ball.apply_translation([0.3 * rng.random(), 0, 1.0])
    mesh = trimesh.util.concatenate([mesh, ball])
    low, high = mesh.bounds
    mesh.vertices = (mesh.vertices - (low + high) / 2) / ((high - low).max() / 2)
    return mesh


def distance(mesh: trimesh.Trimesh, decoded: trimesh.Trimesh) -> float:
    found, _ = nearest(PointTree(decoded.triangles_center), TriangleTree(mesh.triangles), 1)
    return float(found.mean())
