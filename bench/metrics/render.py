"""The suite ``render``: how alike two meshes look, by geometry only: normals, depths and outlines of 16 fixed views.

Nothing is random, so the same mesh has no error and there is no floor. Faces are flat and have no
back: codecs carry no vertex normals, and not all of them carry which side is out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gcbench.bench.metrics.base import Column, Suite, Value
from gcbench.bench.metrics.views import RESOLUTION, View, cameras, draw
from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.surface import Surface
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

CAP_DB = 99.99
"""Of both PSNRs, as in MPEG's mmetric: an RMS error of 10⁻⁵ of the peak counts as none."""

DEPTH_PEAK = 2.0
"""The longest side of the normalised original."""

_VIEWS = "in 16 orthographic views of 1024² pixels"
_BOTH = f"over the pixels that both meshes cover {_VIEWS}, 0 to 99.99 dB"


@dataclass(frozen=True, eq=False)
class RenderReference:
    """Views of an original.

    Parameters
    ----------
    views : tuple of View
        One for each of :func:`gcbench.bench.metrics.views.cameras`.
    threads : int
        Views to draw and to compare at the same time; they do not change any value.
    """

    views: tuple[View, ...]
    threads: int


@dataclass(frozen=True)
class Comparison:
    """Sums over pixels of one view, or of several.

    Parameters
    ----------
    both, either : int
        Pixels that both meshes cover, and that at least one of them covers.
    normals : float
        Sum over the former of the mean squared difference of the three channels of the normal map.
    depths : float
        Sum over the former of the squared difference of depths.
    similarity : float
        Sum over the latter of SSIM.
    """

    both: int = 0
    either: int = 0
    normals: float = 0.0
    depths: float = 0.0
    similarity: float = 0.0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.both + other.both,
            self.either + other.either,
            self.normals + other.normals,
            self.depths + other.depths,
            self.similarity + other.similarity,
        )


class Render(Suite[RenderReference]):
    """Normals, depths and silhouettes of what a person sees."""

    name: ClassVar[str] = "render"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "render_normal_psnr",
            "render normals (dB)",
            f"10 log10(1 / MSE) of normal maps n/2 + ½, all three channels, {_BOTH}; flat normals, facing the camera",
            "dB",
            better="higher",
            digits=2,
        ),
        Column(
            "render_normal_ssim",
            "render SSIM",
            "SSIM of normal maps n/2 + ½ (0 where nothing is seen), windows of 7² pixels, mean over the pixels that "
            f"either mesh covers {_VIEWS} (Wang et al. 2004, constants and windows as in scikit-image)",
            "similarity",
            better="higher",
        ),
        Column(
            "render_depth_psnr",
            "render depth (dB)",
            f"10 log10(p² / MSE) of depths, p = longest side of the original, {_BOTH}",
            "dB",
            better="higher",
            digits=2,
        ),
        Column(
            "render_silhouette_mismatch",
            "render outline (%)",
            f"pixels that only one of the two meshes covers, over those that either covers {_VIEWS}",
            "fraction",
            better="lower",
            scale=100.0,
        ),
    )

    def version(self) -> str:
        """Of the views, the rasteriser, SSIM, and numba, which compiles both."""
        return source_version(1, __name__, packages=("numpy", "numba"))

    def prepare(self) -> None:
        """Compile the loops: measure a triangle."""
        import trimesh

        super().prepare()
        triangle = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
        self.measure(self.reference(triangle, seed=0, threads=1), triangle)

    def reference(self, mesh: trimesh.Trimesh, *, seed: int, threads: int) -> RenderReference:
        """Draw the original. Nothing is random: the seed decides nothing.

        Raises
        ------
        BadMesh
            The mesh has no faces, no area, coordinates that are not finite, or is seen in no pixel.
        """
        try:
            surface = Surface.of(mesh)
        except ValueError as error:
            raise BadMesh(f"the reference mesh {error}") from error
        with ThreadPoolExecutor(threads) as pool:
            views = tuple(pool.map(lambda camera: draw(surface, camera), cameras()))
        if not any(len(view.pixels) for view in views):
            raise BadMesh(f"the reference mesh is too thin to be seen: it covers no pixel {_VIEWS}")
        return RenderReference(views, threads)

    def measure(self, reference: RenderReference, decoded: trimesh.Trimesh) -> Mapping[str, Value]:
        """Compare a decoded mesh with its original. One that is out of sight has nothing right.

        Raises
        ------
        CodecFailed
            The decoded mesh has no faces, no area, or coordinates that are not finite.
        """
        try:
            surface = Surface.of(decoded)
        except ValueError as error:
            raise CodecFailed(f"the decoded mesh {error}") from error
        with ThreadPoolExecutor(reference.threads) as pool:
            views = pool.map(lambda view, camera: compare(view, draw(surface, camera)), reference.views, cameras())
            total = sum(views, Comparison())
        return {
            "render_normal_psnr": psnr(total.normals, total.both, 1.0),
            "render_normal_ssim": total.similarity / total.either,
            "render_depth_psnr": psnr(total.depths, total.both, DEPTH_PEAK),
            "render_silhouette_mismatch": (total.either - total.both) / total.either,
        }

    def implausible(self, values: Mapping[str, Value]) -> Iterator[str]:
        """A PSNR beyond its caps, an SSIM over 1, a share that is none: none of these can be."""
        bounds = {
            "render_normal_psnr": (0.0, CAP_DB),
            "render_normal_ssim": (-1.0, 1.0),
            "render_depth_psnr": (0.0, CAP_DB),
            "render_silhouette_mismatch": (0.0, 1.0),
        }
        for name, (low, high) in bounds.items():
            if not low <= values[name] <= high:
                yield f"{name} {values[name]:g} is not in {low:g}..{high:g}"


def compare(original: View, decoded: View) -> Comparison:
    """Compare two views of the same camera, pixel by pixel."""
    from gcbench.bench.metrics.similarity import RADIUS, sum_of_ssim

    if len(original.pixels) + len(decoded.pixels) == 0:
        return Comparison()
    places = [np.divmod(view.pixels, RESOLUTION) for view in (original, decoded)]
    # The part of the image that shows something, and room for half a window.
    top, left = (min(int(place[axis].min(initial=RESOLUTION)) for place in places) - RADIUS for axis in (0, 1))
    bottom, right = (max(int(place[axis].max(initial=0)) for place in places) + RADIUS + 1 for axis in (0, 1))
    shape = (bottom - top, right - left)

    covered, depths = np.zeros((2, *shape), dtype=np.bool_), np.zeros((2, *shape))
    normal_maps = np.zeros((2, 3, *shape), dtype=np.float32)
    for index, (view, (row, column)) in enumerate(zip((original, decoded), places, strict=True)):
        place = (row - top, column - left)
        covered[index][place] = True
        depths[index][place] = view.depths
        for channel in range(3):
            normal_maps[index, channel][place] = view.normals[:, channel] / 2 + 0.5

    both, either = covered[0] & covered[1], covered[0] | covered[1]
    of_normals = (normal_maps[0, channel][both] - normal_maps[1, channel][both] for channel in range(3))
    return Comparison(
        both=int(np.count_nonzero(both)),
        either=int(np.count_nonzero(either)),
        normals=sum(_sum_of_squares(difference) for difference in of_normals) / 3,
        depths=_sum_of_squares(depths[0][both] - depths[1][both]),
        similarity=sum_of_ssim(normal_maps[0], normal_maps[1], either) / 3,
    )


def _sum_of_squares(values: NDArray[np.floating]) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def psnr(squares: float, count: int, peak: float) -> float:
    """PSNR of a sum of ``count`` squared errors, 0 to `CAP_DB`; 0 too where there is nothing to compare."""
    if count == 0:
        return 0.0
    if squares == 0:
        return CAP_DB
    return min(CAP_DB, max(0.0, 10 * math.log10(peak**2 * count / squares)))
