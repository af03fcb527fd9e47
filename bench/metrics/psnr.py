"""The suite ``psnr``: D1 and D2 between random samples. MPEG's D1 and D2 of meshes are in the suite ``mpeg-grid``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from gcbench.bench.metrics import pairs
from gcbench.bench.metrics.base import Column, Suite, Value
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh

_NOT_MPEG = (
    "on random samples, so not comparable with MPEG's figures, which the suite mpeg-grid has; "
    "formula of pc_error (Tian et al., ICIP 2017)"
)


class Psnr(Suite[pairs.Original]):
    """PSNR of the samples of ``paper``, point to point and point to plane."""

    name: ClassVar[str] = "psnr"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "sampled_d1_psnr_bbox",
            "sampled D1 (dB, peak = box; not MPEG's)",
            "10 log10(3 p²/MSE) of distances to the nearest sample, p = longest side of the original, worse "
            f"direction; {_NOT_MPEG}",
            "dB",
            better="higher",
            digits=2,
        ),
        Column(
            "sampled_d2_psnr_bbox",
            "sampled D2 (dB, peak = box; not MPEG's)",
            "10 log10(3 p²/MSE) of distances to the plane of the nearest sample, p = longest side of the original, "
            f"worse direction; {_NOT_MPEG}",
            "dB",
            better="higher",
            digits=2,
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
        """Compare the samples."""
        return pairs.pair(reference, decoded).psnr()
