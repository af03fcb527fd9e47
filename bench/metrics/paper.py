"""The suite ``paper``: CD, NC and F1 between random samples, as the NeCGS paper defines them, with noise floors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from gcbench.bench.metrics import pairs
from gcbench.bench.metrics.base import Column, Suite, Value
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh

_PAPER = "Ren et al., NeCGS, appendix C.1"


class Paper(Suite[pairs.Original]):
    """Chamfer distance, normal consistency and F1 between 100 000 random samples of each surface."""

    name: ClassVar[str] = "paper"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "cd",
            "CD ×10⁻³",
            f"half the sum of the two directed mean distances between samples, unsquared ({_PAPER}, Eq. 9)",
            "length",
            scale=1e3,
            floor="cd_floor",
            headline=True,
        ),
        Column(
            "nc",
            "NC",
            f"mean absolute cosine between normals of nearest samples, both directions ({_PAPER}, Eq. 10)",
            "cosine",
            better="higher",
            digits=4,
            floor="nc_floor",
            headline=True,
        ),
        Column(
            "f1_0005",
            "F1-0.005",
            f"F1 of the samples with a sample of the other surface nearer than 0.005 ({_PAPER}, Eq. 11, 12)",
            "fraction",
            better="higher",
            digits=4,
            floor="f1_0005_floor",
            headline=True,
        ),
        Column(
            "f1_001",
            "F1-0.01",
            f"F1 of the samples with a sample of the other surface nearer than 0.01 ({_PAPER}, Eq. 11, 12)",
            "fraction",
            better="higher",
            digits=4,
            floor="f1_001_floor",
            headline=True,
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
        """Sample the original. The first comparison computes the noise floors."""
        return pairs.original(mesh, seed=seed, threads=threads)

    def measure(self, reference: pairs.Original, decoded: trimesh.Trimesh) -> Mapping[str, Value]:
        """Compare the samples; the result includes the floors of the original."""
        floors = {f"{name}_floor": value for name, value in reference.floor.items()}
        return pairs.pair(reference, decoded).paper() | floors

    def implausible(self, values: Mapping[str, Value]) -> Iterator[str]:
        """Find F1 scores that are larger at a smaller threshold."""
        for smaller, larger in (("f1_0005", "f1_001"), ("f1_0005_floor", "f1_001_floor")):
            if values[smaller] > values[larger]:
                yield f"{smaller} {values[smaller]!r} is larger than {larger} {values[larger]!r}"
