"""A metric suite to start from: distances from the vertices of the decoded mesh to the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import trimesh
from scipy.spatial import KDTree

from gcbench.bench.metrics import Column, Suite
from gcbench.bench.metrics.base import Value
from gcbench.errors import BadMesh, CodecFailed

SAMPLES = 50_000
ORIGINAL, AGAIN = 0, 1  # two random streams, since samples that are compared must be independent


@dataclass(frozen=True)
class Reference:
    """Data of one original, computed once for all comparisons."""

    tree: KDTree
    floor: float


class ExampleMetric(Suite[Reference]):
    """The 95th percentile of distances from vertices of the decoded mesh to samples of the original."""

    name = "example-metric"
    columns = (
        Column(
            name="example_metric_p95",
            label="vertex distance, 95 %",
            definition="95th percentile of distances from decoded vertices to 50 000 samples of the original",
            unit="length",
            better="lower",
            floor="example_metric_p95_floor",
            headline=True,
            digits=4,
        ),
        Column(
            name="example_metric_vertices",
            label="vertices",
            definition="vertices of the decoded mesh that a face uses",
            unit="count",
            better=None,
            digits=0,
        ),
    )

    def version(self) -> str:
        """Change this when a value changes; stored streams are then measured again, and nothing is encoded."""
        return "1"

    def reference(self, mesh: trimesh.Trimesh, *, seed: int, threads: int) -> Reference:
        """Prepare an original. Raise BadMesh if it cannot be measured; never change ``mesh``."""
        vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
        if not len(faces) or not np.isfinite(vertices).all():
            raise BadMesh("the mesh has no faces, or a position is not finite")
        tree = KDTree(_samples(vertices[faces], seed, ORIGINAL))
        floor, _ = tree.query(_samples(vertices[faces], seed, AGAIN))
        return Reference(tree, float(np.percentile(floor, 95)))

    def measure(self, reference: Reference, decoded: trimesh.Trimesh) -> Mapping[str, Value]:
        """Measure a decoded mesh. Raise CodecFailed if it cannot be measured; never change ``decoded``."""
        vertices, used = np.asarray(decoded.vertices), np.unique(np.asarray(decoded.faces))
        if not len(used) or not np.isfinite(vertices).all():
            raise CodecFailed("the decoded mesh has no faces, or a position is not finite")
        distance, _ = reference.tree.query(vertices[used])
        return {
            "example_metric_p95": float(np.percentile(distance, 95)),
            "example_metric_p95_floor": reference.floor,
            "example_metric_vertices": len(used),
        }


def _samples(corners: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """Draw points (SAMPLES, 3) evenly on triangles (F, 3, 3). All randomness derives from the seed."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
    a, b, c = corners.transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not 0 < area.sum() < np.inf:
        raise BadMesh("the mesh has no area")
    a, b, c = corners[rng.choice(len(area), SAMPLES, p=area / area.sum())].transpose(1, 0, 2)
    u, v = np.sort(rng.random((2, SAMPLES)), axis=0)[..., None]
    return a * u + b * (v - u) + c * (1 - v)
