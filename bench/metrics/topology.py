"""The suite ``topology``: what kind of surface the original and the decoded mesh are. Facts, which rank nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar

from gcbench.bench.metrics.base import Column, Suite, Value
from gcbench.bench.metrics.connectivity import Connectivity, connectivity
from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.surface import triangles
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh

_FACTS = {
    "vertices": "distinct positions that a face uses",
    "faces": "triangles, those without area included",
    "components": "sets of faces joined over shared edges",
    "euler": "Euler number, vertices − edges + faces: 2 − 2 g for a closed orientable surface of genus g in one piece",
    "boundary_edges": "edges with one face",
    "nonmanifold_edges": "edges with three faces or more",
    "watertight": "whether every edge has exactly two faces and no face uses a position twice",
}


def _column(prefix: str, whose: str, fact: str) -> Column:
    return Column(
        f"{prefix}_{fact}",
        f"{fact.replace('_', ' ')} {prefix}",
        f"{_FACTS[fact]}, of the {whose} mesh; vertices are told apart by position",
        "flag" if fact == "watertight" else "count",
        better=None,
        digits=0,
    )


class Topology(Suite[Connectivity]):
    """Counts of vertices, faces, components and edges, Euler number and watertightness of both meshes."""

    name: ClassVar[str] = "topology"
    columns: ClassVar[tuple[Column, ...]] = (
        *(_column("in", "original", fact) for fact in _FACTS),
        *(_column("out", "decoded", fact) for fact in _FACTS),
    )

    def version(self) -> str:
        """Identify the module that counts. Counts are whole numbers: no version of a package has others."""
        return source_version(1, "gcbench.bench.metrics.connectivity")

    def reference(self, mesh: trimesh.Trimesh, *, seed: int, threads: int) -> Connectivity:
        """Count what the original has."""
        try:
            triangles(mesh)
        except ValueError as error:
            raise BadMesh(f"the reference mesh {error}") from error
        return connectivity(mesh)

    def measure(self, reference: Connectivity, decoded: trimesh.Trimesh) -> Mapping[str, Value]:
        """Count what the decoded mesh has, beside the original's."""
        try:
            triangles(decoded)
        except ValueError as error:
            raise CodecFailed(f"the decoded mesh {error}") from error
        both = {"in": reference, "out": connectivity(decoded)}
        return {f"{prefix}_{fact}": value for prefix, of in both.items() for fact, value in asdict(of).items()}
