"""A metric suite that keeps the contract, and can be made to break it in one point each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from gcbench.bench.metrics import Cloud, Column, Suite
from gcbench.errors import BadMesh, CodecFailed

FAULTS = (
    *("bounds", "codec-failed", "count", "crashes", "direction", "double", "empty", "extra", "floor", "hangs"),
    *("infinite", "input", "int64", "list", "missing", "mute", "name", "nan", "order", "original", "process"),
    *("implausible", "raises", "seed", "shape", "taken", "threads", "unit", "version", "version-int", "blind"),
)
DISTANCE = Column(
    "test_distance",
    "distance",
    "RMS distance of sampled points to the nearest sample of the original",
    "length",
    floor="test_distance_floor",
)
SHARE = Column("test_share", "share", "samples within a tenth of the original", "fraction", better="higher")
FACES = Column("test_faces", "faces", "faces of the decoded mesh", "count", better=None)


class Faulty(Suite[Any]):
    """Nearest samples, with a fault."""

    name = "test-suite"
    columns = (DISTANCE, SHARE, FACES)

    def __init__(self, fault: str = "") -> None:
        assert fault in {"", *FAULTS}
        self.fault = fault
        declared = {
            "double": (DISTANCE, SHARE, replace(SHARE, label="again"), FACES),
            "list": [DISTANCE],
            "mute": (DISTANCE, replace(SHARE, definition=" "), FACES),
            "name": (DISTANCE, SHARE, replace(FACES, name="test faces")),
            "taken": (DISTANCE, SHARE, replace(FACES, name="encode_s")),
            "unit": (DISTANCE, replace(SHARE, unit="per cent"), FACES),
            "direction": (replace(DISTANCE, better="higher"), SHARE, FACES),
        }
        self.columns = declared.get(fault, type(self).columns)  # type: ignore[assignment,misc]  # faults

    def version(self) -> str:
        if self.fault == "version":
            return str(os.getpid())
        return 1 if self.fault == "version-int" else "1"  # type: ignore[return-value]  # a fault

    def reference(self, mesh: Any, *, seed: int, threads: int) -> Any:
        if not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
            raise BadMesh("no surface")
        if mesh.area == 0 or (self.fault == "original" and not mesh.is_watertight):
            raise BadMesh("no area") if self.fault != "original" else ValueError("not closed")
        if self.fault == "codec-failed" and not mesh.is_watertight:
            raise CodecFailed("not closed")
        if self.fault == "input":
            mesh.vertices[0] += 1
        own, other = (self._sample(mesh, seed, stream) for stream in (0, 1))
        floor = KDTree(own).query(other)[0]
        return KDTree(own), float(np.sqrt(np.mean(floor**2))), seed, threads, mesh

    def _sample(self, mesh: Any, seed: int, stream: int, count: int = 20_000) -> np.ndarray:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
        areas = np.cumsum(mesh.area_faces)
        corners = mesh.triangles[np.searchsorted(areas, rng.random(count) * areas[-1]).clip(max=len(areas) - 1)]
        u, v = np.sort(rng.random((2, count)), axis=0)
        return corners[:, 0] * u[:, None] + corners[:, 1] * (v - u)[:, None] + corners[:, 2] * (1 - v)[:, None]

    def measure(self, reference: Any, decoded: Any) -> Mapping[str, Any]:
        tree, floor, seed, threads, original = reference
        fault = self.fault
        if fault == "raises" and len(decoded.faces) == 0:
            raise IndexError("no faces at all")
        if fault == "empty" and not len(decoded.faces):
            return {"test_distance": 9.0, "test_distance_floor": floor, "test_share": 0.0, "test_faces": 0}
        if not len(decoded.faces) or not np.isfinite(decoded.vertices).all() or not 0 < decoded.area < 1e50:
            raise CodecFailed("no surface")
        if fault == "crashes" and len(decoded.faces) == 1:
            os._exit(3)
        if fault == "hangs" and len(decoded.faces) == 1:
            time.sleep(600)
        if fault == "shape" and len(decoded.faces) == 3 * len(original.faces):
            decoded.vertices - original.vertices
        distance, _ = tree.query(self._sample(decoded, seed + (fault == "seed") * seed, 2))
        rms = float(np.sqrt(np.mean(distance**2)))
        values: dict[str, Any] = {
            "test_distance": rms,
            "test_distance_floor": floor * (5 if fault == "floor" else 1),
            "test_share": float(np.mean(distance < 0.1)),
            "test_faces": len(decoded.faces),
        }
        values |= {
            "bounds": {"test_share": 1.5},
            "blind": {"test_share": 1.0},
            "count": {"test_faces": 1.5},
            "extra": {"test_more": 1.0},
            "infinite": {"test_distance": float("inf")},
            "int64": {"test_faces": np.int64(3)},
            "nan": {"test_share": float("nan")},
            "order": {"test_faces": int(decoded.faces[0].sum())},
            "process": {"test_faces": os.getpid()},
            "seed": {"test_distance": rms * (1 + seed)},
            "threads": {"test_faces": threads},
        }.get(fault, {})
        if fault == "missing":
            del values["test_distance_floor"]
        if fault == "taken":
            values["encode_s"] = values.pop("test_faces")
        return values

    def implausible(self, values: Mapping[str, Any]) -> Iterator[str]:
        if values["test_distance"] < 0 or self.fault == "implausible":
            yield "the distance is negative"


class Clouds(Suite[Any]):
    """Compares points with points."""

    name = "test-suite-clouds"
    takes = "cloud"
    columns = (Column("test_cloud_distance", "distance", "mean distance of points to vertices", "length"),)

    def version(self) -> str:
        return "1"

    def reference(self, mesh: Any, *, seed: int, threads: int) -> Any:
        if not len(mesh.faces) or mesh.area == 0:
            raise BadMesh("no surface")
        return KDTree(mesh.triangles_center)

    def measure(self, reference: Any, decoded: Cloud) -> Mapping[str, Any]:
        if not len(decoded.points) or not np.isfinite(decoded.points).all():
            raise CodecFailed("no points")
        positions = decoded.points * (2 / 2**decoded.bits) - 1
        return {"test_cloud_distance": float(reference.query(positions)[0].mean())}
