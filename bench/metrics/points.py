"""The suite ``points``: codecs of points compared as such, with no surface put through what they decode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from gcbench.bench.metrics.base import Cloud, Column, Suite, Value
from gcbench.bench.metrics.clouds import MAX_BITS, MIN_BITS, VoxelisedMesh, compare_clouds
from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.surface import triangles
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh

_D1 = (
    "10 log10(3 (2^bits − 1)² / MSE) of distances to the nearest point, worse direction, between the voxels of the "
    "original and the decoded points"
)
_SOURCE = "D1 of MPEG pc_error"


class Points(Suite[VoxelisedMesh]):
    """D1 PSNR between the voxels of the original and the decoded points, on the grid of the codec."""

    name: ClassVar[str] = "points"
    takes: ClassVar[Literal["mesh", "cloud"]] = "cloud"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "points_d1_psnr",
            "D1 of points (dB)",
            f"{_D1}, where the codec puts them ({_SOURCE})",
            "dB",
            better="higher",
            digits=2,
            ranks=True,
        ),
        Column(
            "points_d1_psnr_voxels",
            "D1 of voxels (dB)",
            f"{_D1}, moved to the middle of the voxels that they are in ({_SOURCE} on integers)",
            "dB",
            better="higher",
            digits=2,
        ),
        Column(
            "points_in",
            "points in",
            "voxels of the original on the grid of the codec; bits per point are 8 · stream_bytes over this",
            "count",
            better=None,
            digits=0,
        ),
        Column(
            "points_out",
            "points out",
            "decoded points; positions that occur twice count twice",
            "count",
            better=None,
            digits=0,
        ),
    )

    def version(self) -> str:
        """Identify the modules that decide the values; voxelising has random numbers of its own, none of numpy's."""
        return source_version(1, "gcbench.bench.metrics.clouds")

    def prepare(self) -> None:
        """Compile voxelising and the searches, by one triangle."""
        super().prepare()
        triangle = VoxelisedMesh(np.eye(3), np.array([[0, 1, 2]]), seed=0, threads=1)
        compare_clouds(triangle, np.full((1, 3), 8.0), MIN_BITS)

    def reference(self, mesh: trimesh.Trimesh, *, seed: int, threads: int) -> VoxelisedMesh:
        """Keep the mesh: its voxels are found for each grid that a decoded cloud is on."""
        try:
            vertices, faces = triangles(mesh)
        except ValueError as error:
            raise BadMesh(f"the reference mesh {error}") from error
        return VoxelisedMesh(vertices, faces, seed, threads)

    def measure(self, reference: VoxelisedMesh, decoded: Cloud) -> Mapping[str, Value]:
        """Compare one decoded cloud with the voxels of the original.

        Raises
        ------
        CodecFailed
            The cloud has no points, coordinates that are not finite, or a grid that cannot be.
        """
        points = np.asarray(decoded.points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points):
            raise CodecFailed(f"the decoded cloud has no points: its shape is {points.shape}")
        if not np.isfinite(points).all():
            raise CodecFailed("the decoded cloud has coordinates that are not finite")
        if not MIN_BITS <= decoded.bits <= MAX_BITS:
            raise CodecFailed(f"the decoded cloud is on a grid of {decoded.bits} bits, not {MIN_BITS} to {MAX_BITS}")
        found = compare_clouds(reference, points, decoded.bits)
        return {
            "points_d1_psnr": found.d1_psnr,
            "points_d1_psnr_voxels": found.d1_psnr_voxels,
            "points_in": found.original,
            "points_out": found.decoded,
        }

    def implausible(self, values: Mapping[str, Value]) -> Iterator[str]:
        """Say where there are no points."""
        for name in ("points_in", "points_out"):
            if values[name] < 1:
                yield f"{name} {values[name]} is not positive"
