"""The suite ``surface``: exact distances from samples to the other surface. They have no floor and rank codecs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from gcbench.bench.metrics import pairs
from gcbench.bench.metrics.base import Column, Suite, Value
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh


class Surface(Suite[pairs.Original]):
    """Point-to-surface (p2s) distances of the samples of ``paper``, exact in float64."""

    name: ClassVar[str] = "surface"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "cd_p2s",
            "p2s ×10⁻³",
            "half the sum of the two directed mean distances from samples to the exact other surface "
            "(CD of NeCGS, Eq. 9, with the surface in place of its samples)",
            "length",
            scale=1e3,
            headline=True,
            ranks=True,
        ),
        Column(
            "nc_p2s",
            "NC p2s",
            "mean absolute cosine between a sample's normal and that of the closest face, both directions "
            "(NC of NeCGS, Eq. 10, with the surface in place of its samples)",
            "cosine",
            better="higher",
            digits=4,
        ),
        Column(
            "hausdorff_p2s",
            "Hausdorff ×10⁻³",
            "largest distance from a sample or vertex of either surface to the exact other one "
            "(Cignoni et al., Metro, 1998)",
            "length",
            scale=1e3,
            robust=False,
        ),
        Column(
            "p99_p2s",
            "p2s 99 % ×10⁻³",
            "99th percentile of the distances from samples to the exact other surface, worse direction",
            "length",
            scale=1e3,
            robust=False,
        ),
        Column(
            "f1_p2s_0005",
            "F1-0.005 p2s",
            "F1 of the samples nearer than 0.005 to the exact other surface",
            "fraction",
            better="higher",
            digits=4,
        ),
        Column(
            "f1_p2s_001",
            "F1-0.01 p2s",
            "F1 of the samples nearer than 0.01 to the exact other surface",
            "fraction",
            better="higher",
            digits=4,
        ),
    )

    def version(self) -> str:
        """Identify the modules that decide the values, and numpy, whose random numbers the samples are."""
        return source_version(1, "gcbench.bench.metrics.pairs", packages=("numpy",))

    def prepare(self) -> None:
        """Import trimesh and compile the searches."""
        super().prepare()
        pairs.compile_loops()

    def reference(self, mesh: trimesh.Trimesh, *, seed: int, threads: int) -> pairs.Original:
        """Sample the original."""
        return pairs.original(mesh, seed=seed, threads=threads)

    def measure(self, reference: pairs.Original, decoded: trimesh.Trimesh) -> Mapping[str, Value]:
        """Measure the distances of the samples and vertices of either mesh to the surface of the other."""
        return pairs.pair(reference, decoded).surface()

    def implausible(self, values: Mapping[str, Value]) -> Iterator[str]:
        """Find percentiles above the maximum, and F1 scores that are larger at a smaller threshold."""
        for smaller, larger in (("p99_p2s", "hausdorff_p2s"), ("f1_p2s_0005", "f1_p2s_001")):
            if values[smaller] > values[larger]:
                yield f"{smaller} {values[smaller]!r} is larger than {larger} {values[larger]!r}"
