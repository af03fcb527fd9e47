"""The suite ``volume``: shared volume and squared CD, as papers on implicit networks report them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar

from gcbench.bench.metrics.base import Column, Suite, Value
from gcbench.bench.metrics.solids import VolumeReference
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh

_EVALUATION = "eval.py of Li et al., DCC 2022"


class Volume(Suite[VolumeReference]):
    """Intersection over union of the enclosed volumes, and the squared Chamfer distance of papers on key spheres."""

    name: ClassVar[str] = "volume"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "giou",
            "gIoU %",
            "volume inside both meshes over volume inside either, by 100 000 uniform points; inside is a generalised "
            f"winding number over ½ ({_EVALUATION}; Takikawa et al., 2021)",
            "fraction",
            better="higher",
            scale=100.0,
            digits=2,
        ),
        Column(
            "squared_cd",
            "squared CD ×10⁻³",
            "both mean squared distances between 131 072 samples of either surface, added, in the unit in which the "
            f"original's smallest enclosing ball has radius 0.9 ({_EVALUATION})",
            "squared length",
            scale=1e3,
            digits=4,
            floor="squared_cd_floor",
        ),
        Column(
            "union_points",
            "points in the union",
            "random points of the original's box that are inside either mesh: the standard error of giou is about "
            "√(giou (1 − giou) / union_points)",
            "count",
            better=None,
            digits=0,
        ),
    )

    def version(self) -> str:
        """Identify the modules that decide the values, numpy's random numbers and libigl's winding numbers."""
        return source_version(1, "gcbench.bench.metrics.solids", packages=("numpy", "libigl"))

    def prepare(self) -> None:
        """Import libigl and compile the searches by measuring a small cube."""
        super().prepare()
        import trimesh

        cube = trimesh.creation.box((2, 2, 2))
        VolumeReference(cube, seed=0, uniform=64, samples=16).compare(cube)

    def reference(self, mesh: trimesh.Trimesh, *, seed: int, threads: int) -> VolumeReference:
        """Sample the original and its volume; a mesh without an inside is a `BadMesh`."""
        return VolumeReference(mesh, seed=seed, threads=threads)

    def measure(self, reference: VolumeReference, decoded: trimesh.Trimesh) -> Mapping[str, Value]:
        """Compare volumes and samples; the result includes the floor of the original."""
        return asdict(reference.compare(decoded)) | {"squared_cd_floor": reference.floor}

    def implausible(self, values: Mapping[str, Value]) -> Iterator[str]:
        """Find values without a point inside either mesh: the original then had no inside."""
        if values["union_points"] < 1:
            yield f"union_points {values['union_points']} is not positive"
