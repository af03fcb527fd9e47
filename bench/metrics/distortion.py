"""How far a decoded mesh is from its original: the paper's sampled metrics, exact point-to-surface ones, MPEG's PSNR.

Knows two meshes and a seed; nothing of codecs, streams, records or files. Everything is computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from gcbench.bench.metrics.nearest import PointTree, TriangleTree, nearest
from gcbench.bench.metrics.sampling import Floats, Ints, Surface, sample
from gcbench.errors import BadMesh, CodecFailed

if TYPE_CHECKING:
    import trimesh

METRIC_VERSION = "1"
"""Part of every record's key: any change that can change a number needs a new version."""

N_SAMPLES = 100_000
"""Samples per surface. Source: NeCGS paper, appendix C.1."""

F1_THRESHOLDS = {"0005": 0.005, "001": 0.01}
"""Suffix of the metric's name → distance, in units of the normalised mesh. Source: NeCGS paper, section 4.1."""

PSNR_MAX_DB = float(10 * np.log10(3 / np.finfo(np.float64).eps ** 2))
"""317.8 dB: an RMS error of one float64 epsilon of the peak. Smaller ones count as this: no PSNR is infinite."""

# Random streams. Two samplings that are compared never share one, whatever seeds the caller passes: with shared ones a
# codec that keeps connectivity looks up to 7.5 times better than it is.
_REFERENCE_STREAM, _FLOOR_STREAM, _DECODED_STREAM = 0, 1, 2


@dataclass(frozen=True)
class Floor:
    """What the sampled metrics come to when a mesh is compared with a second, independent sampling of itself.

    For N samples on a surface of area A, and A/N small against its features:
    CD ≈ ½ √(A/N) and F1(r) ≈ 1 − exp(−π r² N/A), because the samples are a Poisson process in the plane.
    """

    cd_floor: float
    nc_floor: float
    f1_0005_floor: float
    f1_001_floor: float


class Reference:
    """An original mesh, with everything that measuring decoded meshes against it needs, computed once.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        The normalised original.
    seed : int
        Seed of all samplings, those of the decoded meshes included; not negative.
    samples : int
        Points per surface.
    threads : int
        Threads for the searches; they do not change any result.

    Raises
    ------
    BadMesh
        The mesh has no faces, no area, or coordinates that are not finite.
    ValueError
        A negative seed.
    """

    def __init__(self, mesh: trimesh.Trimesh, *, seed: int, samples: int = N_SAMPLES, threads: int = 1) -> None:
        try:
            surface = Surface.of(mesh)
        except ValueError as error:
            raise BadMesh(f"the reference mesh {error}") from error
        self.seed = seed
        self.samples = samples
        self.threads = threads
        self._sampled = _SampledSurface(surface, samples, _stream(seed, _REFERENCE_STREAM))
        self._peak = float(np.ptp(surface.vertices, axis=0).max())

    @cached_property
    def floor(self) -> Floor:
        """The noise floor of this mesh at this number of samples."""
        again = _SampledSurface(self._sampled.surface, self.samples, _stream(self.seed, _FLOOR_STREAM))
        values = _paper_metrics(*_both_ways(self._sampled, again, self.threads))
        return Floor(**{f"{name}_floor": value for name, value in values.items()})


def measure(reference: Reference, decoded: trimesh.Trimesh) -> dict[str, float]:
    """Measure a decoded mesh against its original.

    All values are finite. What each one means is in `gcbench.bench.metrics.METRICS`.

    Parameters
    ----------
    reference : Reference
        The original.
    decoded : trimesh.Trimesh
        The decoded mesh, in the coordinates of the original. Faces without area are ignored.

    Returns
    -------
    dict of str to float
        ``cd, nc, f1_0005, f1_001`` between samples, and the same with ``_floor`` for the original against itself;
        ``cd_p2s, nc_p2s, hausdorff_p2s, p99_p2s, f1_p2s_0005, f1_p2s_001`` from samples to exact surface;
        ``d1_psnr_bbox, d2_psnr_bbox`` between samples, in dB.

    Raises
    ------
    CodecFailed
        The decoded mesh has no faces, no area, or coordinates that are not finite.
    """
    try:
        surface = Surface.of(decoded)
    except ValueError as error:
        raise CodecFailed(f"the decoded mesh {error}") from error
    sampled = _SampledSurface(surface, reference.samples, _stream(reference.seed, _DECODED_STREAM))
    ways = _both_ways(reference._sampled, sampled, reference.threads)
    return {
        **_paper_metrics(*ways),
        **vars(reference.floor),
        **_surface_metrics(reference._sampled, sampled, reference.threads),
        **_mpeg_metrics(*ways, peak=reference._peak),
    }


def _stream(seed: int, stream: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(stream,))


class _SampledSurface:
    """A surface, its samples with normals, and the trees to search them."""

    def __init__(self, surface: Surface, count: int, seed: np.random.SeedSequence) -> None:
        self.surface = surface
        self.points, faces = sample(surface, count, seed)
        self.normals: Floats = surface.normals[faces]
        self.tree = PointTree(self.points)

    @cached_property
    def triangles(self) -> TriangleTree:
        return TriangleTree(self.surface.corners)

    @cached_property
    def vertices(self) -> PointTree:
        return PointTree(self.surface.vertices)


@dataclass(frozen=True)
class _Directed:
    """From every sample of one surface to the nearest sample of the other, all (N,)."""

    distance: Floats
    cosine: Floats  # of the angle between the two normals, absolute
    to_plane: Floats  # distance to the plane through the nearest sample


def _both_ways(a: _SampledSurface, b: _SampledSurface, threads: int) -> tuple[_Directed, _Directed]:
    return _directed(a, b, threads), _directed(b, a, threads)


def _directed(source: _SampledSurface, target: _SampledSurface, threads: int) -> _Directed:
    from gcbench.bench.metrics import kernels

    distance, index = nearest(source.tree, target.tree, threads)
    cosine, to_plane = np.empty_like(distance), np.empty_like(distance)
    kernels.compare_normals(source.points, source.normals, target.points, target.normals, index, cosine, to_plane)
    return _Directed(distance, cosine, to_plane)


def _cosine(a: Floats, b: Floats) -> Floats:
    # Rounding can push the product of two unit vectors over 1.
    cosine: Floats = np.minimum(np.abs(np.einsum("ij,ij->i", a, b)), 1.0)
    return cosine


def _paper_metrics(there: _Directed, back: _Directed) -> dict[str, float]:
    """CD, NC, F1. Source: NeCGS paper, appendix C.1, Eq. 9 to 12."""
    return {
        "cd": _mean_of_means(there.distance, back.distance),
        "nc": _mean_of_means(there.cosine, back.cosine),
        **{f"f1_{name}": f1_score(there.distance, back.distance, at) for name, at in F1_THRESHOLDS.items()},
    }


def _mean_of_means(a: Floats, b: Floats) -> float:
    return 0.5 * (float(a.mean()) + float(b.mean()))


def f1_score(there: Floats, back: Floats, threshold: float) -> float:
    """Harmonic mean of the fractions of distances strictly under a threshold; 0 where none is.

    Source: NeCGS paper, appendix C.1, Eq. 11 and 12, with counts read as fractions of the samples.
    """
    recall, precision = float(np.mean(there < threshold)), float(np.mean(back < threshold))
    return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def _surface_metrics(reference: _SampledSurface, decoded: _SampledSurface, threads: int) -> dict[str, float]:
    """Distances of the same samples to the exact other surface, free of sampling noise in the target.

    The vertices join in for Hausdorff only: the distance to a surface often peaks at a vertex, where no sample falls.
    """
    there, there_face = nearest(reference.tree, decoded.triangles, threads)
    back, back_face = nearest(decoded.tree, reference.triangles, threads)
    there_vertex, _ = nearest(reference.vertices, decoded.triangles, threads)
    back_vertex, _ = nearest(decoded.vertices, reference.triangles, threads)
    return {
        "cd_p2s": _mean_of_means(there, back),
        "nc_p2s": _mean_of_means(
            _cosine(reference.normals, _normals(decoded, there_face)),
            _cosine(decoded.normals, _normals(reference, back_face)),
        ),
        "hausdorff_p2s": max(float(d.max()) for d in (there, back, there_vertex, back_vertex)),
        "p99_p2s": max(float(np.quantile(there, 0.99)), float(np.quantile(back, 0.99))),
        **{f"f1_p2s_{name}": f1_score(there, back, at) for name, at in F1_THRESHOLDS.items()},
    }


def _normals(sampled: _SampledSurface, faces: Ints) -> Floats:
    normals: Floats = sampled.surface.normals[faces]
    return normals


def _mpeg_metrics(there: _Directed, back: _Directed, *, peak: float) -> dict[str, float]:
    """D1 and D2 PSNR of the two clouds of samples, the worse direction.

    The floor of D1, two samplings of the same surface of area A, is 10 log10(3 π N peak² / A).
    Source: MPEG ``pc_error``; Tian et al., Geometric distortion metrics for point cloud compression, ICIP 2017.
    """
    return {
        "d1_psnr_bbox": psnr_db(max(_mean_square(there.distance), _mean_square(back.distance)), peak),
        "d2_psnr_bbox": psnr_db(max(_mean_square(there.to_plane), _mean_square(back.to_plane)), peak),
    }


def _mean_square(x: Floats) -> float:
    return float(np.mean(np.square(x)))


def psnr_db(mean_square: float, peak: float) -> float:
    """10 log10(3 peak² / MSE), at most `PSNR_MAX_DB`. Source: MPEG ``pc_error``, geometry PSNR."""
    smallest = (float(np.finfo(np.float64).eps) * peak) ** 2
    return float(10 * np.log10(3 * peak**2 / max(mean_square, smallest)))
