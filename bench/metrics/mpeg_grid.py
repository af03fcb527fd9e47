"""The suite ``mpeg-grid``: D1 and D2 as MPEG's test conditions for meshes have them, on a grid instead of at random.

Both surfaces are sampled by the rays of one grid, so the same mesh gives the same samples: there is no sampling noise
and no floor. Not to be mixed up with ``psnr``, which takes random samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gcbench.bench.metrics.base import Column, Suite, Value
from gcbench.bench.metrics.grid_sampling import LONGEST_SIDE, Frame, GridSamples, sample_grid
from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.nearest import nearest, split
from gcbench.geometry.surface import Surface
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh

GRID_LINES = 1024
"""Source: ``gridSize`` of the V-DMC test model's metrics."""

CAP_DB = 99.99
"""What mmetric clips every PSNR to before it reports it. Source: mmetric 1.1.7, ``CLIP`` of its statistics."""

MOST_SAMPLES = 2**23
"""Of an original; twice as many of a decoded mesh. The faces of a cube have 6.3 million, a sphere 2.7 million."""

_SAME = (
    "10 log10(3 p² / MSE), the worse direction, between samples of both surfaces on one grid of 1024 lines along the "
    "original's longest side p; at most 99.99 dB, which is what an identical surface has"
)
_SOURCE = "MPEG mmetric 1.1.7, sample --mode grid, compare --mode pcc; the box is the mesh's, not that of a sequence"


@dataclass(frozen=True, eq=False)
class GridReference:
    """An original on its grid.

    Parameters
    ----------
    frame : Frame
        Of the original's bounding box.
    samples : GridSamples
        Of the original.
    threads : int
        Threads for the searches; they do not change any value.
    """

    frame: Frame
    samples: GridSamples
    threads: int


class MpegGrid(Suite[GridReference]):
    """D1 and D2 on MPEG's grid, with the number of samples of either surface."""

    name: ClassVar[str] = "mpeg-grid"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "mpeg_d1_psnr",
            "MPEG D1 (dB)",
            f"{_SAME}; squared distances to the nearest sample ({_SOURCE})",
            "dB",
            better="higher",
            digits=2,
        ),
        Column(
            "mpeg_d2_psnr",
            "MPEG D2 (dB)",
            f"{_SAME}; distances along the normals of the nearest samples, squared ({_SOURCE})",
            "dB",
            better="higher",
            digits=2,
        ),
        Column(
            "mpeg_points_in",
            "grid samples in",
            "samples of the original on the grid, those at the same place counted once",
            "count",
            better=None,
            digits=0,
        ),
        Column(
            "mpeg_points_out",
            "grid samples out",
            "samples of the decoded mesh on the grid, those at the same place counted once",
            "count",
            better=None,
            digits=0,
        ),
    )

    def version(self) -> str:
        """Of the grid, the searches and numba, which compiles them."""
        return source_version(1, __name__, packages=("numpy", "numba"))

    def prepare(self) -> None:
        """Compile the loops: measure a triangle."""
        import trimesh

        super().prepare()
        triangle = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
        self.measure(self.reference(triangle, seed=0, threads=1), triangle)

    def reference(self, mesh: trimesh.Trimesh, *, seed: int, threads: int) -> GridReference:
        """Sample the original and sort its samples for searches. Nothing is random: the seed decides nothing.

        Raises
        ------
        BadMesh
            The mesh has no faces, no area, coordinates that are not finite, or more samples than `MOST_SAMPLES`.
        """
        try:
            surface = Surface.of(mesh)
            frame = Frame.around(surface, GRID_LINES)
            samples = sample_grid(surface, frame, MOST_SAMPLES)
        except ValueError as error:
            raise BadMesh(f"the reference mesh {error}") from error
        return GridReference(frame, samples, threads)

    def measure(self, reference: GridReference, decoded: trimesh.Trimesh) -> Mapping[str, Value]:
        """Compare a decoded mesh with its original.

        Raises
        ------
        CodecFailed
            The decoded mesh has no faces, no area, coordinates that are not finite, no sample on the grid, or more
            than twice `MOST_SAMPLES`.
        """
        try:
            samples = sample_grid(Surface.of(decoded), reference.frame, 2 * MOST_SAMPLES)
        except ValueError as error:
            raise CodecFailed(f"the decoded mesh {error}") from error
        there = mean_squares(reference.samples, samples, reference.threads)
        back = mean_squares(samples, reference.samples, reference.threads)
        return {
            "mpeg_d1_psnr": grid_psnr(max(there[0], back[0])),
            "mpeg_d2_psnr": grid_psnr(max(there[1], back[1])),
            "mpeg_points_in": len(reference.samples),
            "mpeg_points_out": len(samples),
        }

    def implausible(self, values: Mapping[str, Value]) -> Iterator[str]:
        """D2 is under D1, a PSNR is over the cap, a surface has no samples: none of these can be."""
        d1, d2 = values["mpeg_d1_psnr"], values["mpeg_d2_psnr"]
        if d2 < d1 - 1e-6:
            yield f"mpeg_d2_psnr {d2:g} is under mpeg_d1_psnr {d1:g}: a distance is no shorter than along a normal"
        for name in ("mpeg_d1_psnr", "mpeg_d2_psnr"):
            if values[name] > CAP_DB:
                yield f"{name} {values[name]:g} is over the cap of {CAP_DB} dB"
        for name in ("mpeg_points_in", "mpeg_points_out"):
            if values[name] < 1:
                yield f"{name} {values[name]} is not positive"


def mean_squares(samples: GridSamples, target: GridSamples, threads: int) -> tuple[float, float]:
    """Mean squared distance of samples to the nearest of others, and the same along the normals of these.

    Where several are nearest, the squares along their normals are averaged.

    Parameters
    ----------
    samples, target : GridSamples
        On the same grid.
    threads : int
        Threads to search with.

    Returns
    -------
    to_point, to_plane : float
        In squared units of the frame.

    Source: Tian et al., "Geometric distortion metrics for point cloud compression" (ICIP 2017); ties as in dmetric
    0.14.2 with ``averageNormals``, normals of either side its own (``normalCalcModificationEnable``, on by default).
    """
    from gcbench.bench.metrics import grid_kernels
    from gcbench.geometry.nearest_kernels import LANES

    queries, nearby = samples.tree, target.tree
    _, found = nearest(queries, nearby, threads)
    place = np.empty(len(nearby), dtype=np.int64)
    place[nearby.order] = np.arange(len(nearby))
    # Not the square of the distance: coordinates are integers, and so are squares, until a root is taken.
    squared = np.square(queries.primitives - nearby.primitives[place[found[queries.order]]]).sum(axis=1)
    to_plane = np.empty(len(samples))

    def compare(first_block: int, last_block: int) -> None:
        grid_kernels.compare_with_ties(
            queries.primitives,
            nearby.primitives,
            target.normals,
            nearby.boxes,
            nearby.leaf,
            first_block,
            last_block,
            squared,
            to_plane,
        )

    split(compare, -(-len(samples) // LANES), threads)
    return float(squared.mean()), float(to_plane.mean())


def grid_psnr(mean_square: float) -> float:
    """PSNR of a mean squared error in squared units of the frame, at most `CAP_DB`.

    Source: the factor 3 is that of MPEG's ``pc_error`` for geometry.
    """
    if mean_square == 0:
        return CAP_DB
    return min(CAP_DB, 10 * math.log10(3 * LONGEST_SIDE**2 / mean_square))
