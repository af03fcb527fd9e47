"""An original and a decoded mesh, sampled once for the suites ``paper``, ``surface`` and ``psnr``, which share it.

Each suite asks for the pair with the two meshes; the last pair is kept, so that three suites cost as much as one
computation of everything. Everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from gcbench.bench.metrics.formulas import F1_THRESHOLDS, f1_score, mean_of_means, psnr_db, worse_mean_square
from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.nearest import PointTree, nearest
from gcbench.geometry.surface import Floats, Surface

if TYPE_CHECKING:
    import trimesh

N_SAMPLES = 100_000
"""Samples per surface. Source: NeCGS paper, appendix C.1."""

# Random streams. Two samplings that are compared never share one, whatever seeds the caller passes: with shared ones a
# codec that keeps connectivity looks up to 7.5 times better than it is.
_REFERENCE_STREAM, _FLOOR_STREAM, _DECODED_STREAM = 0, 1, 2


class Sampled:
    """A surface, its samples with normals, and the trees to search them."""

    def __init__(self, surface: Surface, count: int, seed: int, stream: int) -> None:
        self.surface = surface
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
        self.points, faces = surface.sample(count, rng)
        self.normals: Floats = surface.normals[faces]
        self.tree = PointTree(self.points)

    @cached_property
    def vertices(self) -> PointTree:
        """The vertices of the surface."""
        return PointTree(self.surface.vertices)


class Original:
    """An original mesh with its samples, computed once.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        The normalised original.
    seed : int
        Seed of all samplings, those of the decoded meshes included; not negative.
    threads : int
        Threads for the searches; they do not change any value.
    samples : int
        Points per surface.

    Raises
    ------
    BadMesh
        The mesh has no faces, no area, or coordinates that are not finite.
    ValueError
        A negative seed.
    """

    def __init__(self, mesh: trimesh.Trimesh, *, seed: int, threads: int = 1, samples: int = N_SAMPLES) -> None:
        try:
            surface = Surface.of(mesh)
        except ValueError as error:
            raise BadMesh(f"the reference mesh {error}") from error
        self.seed = seed
        self.threads = threads
        self.samples = samples
        self.sampled = Sampled(surface, samples, seed, _REFERENCE_STREAM)
        self.longest_side = float(np.ptp(surface.vertices, axis=0).max())

    @cached_property
    def floor(self) -> Mapping[str, float]:
        """The values of ``paper`` for a second, independent sampling of the same mesh: what is noise.

        For N samples on a surface of area A, and A/N small against its features:
        CD ≈ ½ √(A/N) and F1(r) ≈ 1 − exp(−π r² N/A), because the samples are a Poisson process in the plane.
        """
        again = Sampled(self.sampled.surface, self.samples, self.seed, _FLOOR_STREAM)
        return _paper(*_both_ways(self.sampled, again, self.threads))


class Pair:
    """A decoded mesh with its samples, beside its original.

    Parameters
    ----------
    original : Original
        What it is compared with.
    mesh : trimesh.Trimesh
        The decoded mesh, in the coordinates of the original. Faces without area are ignored.

    Raises
    ------
    CodecFailed
        The decoded mesh has no faces, no area, or coordinates that are not finite.
    """

    def __init__(self, original: Original, mesh: trimesh.Trimesh) -> None:
        try:
            surface = Surface.of(mesh)
        except ValueError as error:
            raise CodecFailed(f"the decoded mesh {error}") from error
        self._original = original
        self._decoded = Sampled(surface, original.samples, original.seed, _DECODED_STREAM)

    @cached_property
    def _nearest(self) -> tuple[_Directed, _Directed]:
        return _both_ways(self._original.sampled, self._decoded, self._original.threads)

    def paper(self) -> dict[str, float]:
        """CD, NC and F1 between samples: ``cd``, ``nc``, ``f1_0005``, ``f1_001``."""
        return _paper(*self._nearest)

    def surface(self) -> dict[str, float]:
        """Distances of the same samples to the exact other surface, free of sampling noise in the target.

        The vertices join in for Hausdorff only: the distance to a surface often peaks at a vertex, where no sample
        falls.

        Returns
        -------
        dict of str to float
            ``cd_p2s, nc_p2s, hausdorff_p2s, p99_p2s, f1_p2s_0005, f1_p2s_001``.
        """
        original, decoded, threads = self._original.sampled, self._decoded, self._original.threads
        there, there_face = nearest(original.tree, decoded.surface.tree, threads)
        back, back_face = nearest(decoded.tree, original.surface.tree, threads)
        there_vertex, _ = nearest(original.vertices, decoded.surface.tree, threads)
        back_vertex, _ = nearest(decoded.vertices, original.surface.tree, threads)
        return {
            "cd_p2s": mean_of_means(there, back),
            "nc_p2s": mean_of_means(
                _cosine(original.normals, decoded.surface.normals[there_face]),
                _cosine(decoded.normals, original.surface.normals[back_face]),
            ),
            "hausdorff_p2s": max(float(d.max()) for d in (there, back, there_vertex, back_vertex)),
            "p99_p2s": max(float(np.quantile(there, 0.99)), float(np.quantile(back, 0.99))),
            **{f"f1_p2s_{name}": f1_score(there, back, at) for name, at in F1_THRESHOLDS.items()},
        }

    def psnr(self) -> dict[str, float]:
        """PSNR of the two clouds of random samples, the worse direction: not MPEG's, whose samples are on a grid.

        The floor of D1, two samplings of the same surface of area A, is 10 log10(3 π N peak² / A).

        Returns
        -------
        dict of str to float
            ``sampled_d1_psnr_bbox, sampled_d2_psnr_bbox``.

        Source: the formulas are those of MPEG ``pc_error``; Tian et al., Geometric distortion metrics for point cloud
        compression, ICIP 2017.
        """
        (there, back), peak = self._nearest, self._original.longest_side
        return {
            "sampled_d1_psnr_bbox": psnr_db(worse_mean_square(there.distance, back.distance), peak),
            "sampled_d2_psnr_bbox": psnr_db(worse_mean_square(there.to_plane, back.to_plane), peak),
        }


@dataclass(frozen=True)
class _Directed:
    """From every sample of one surface to the nearest sample of the other, all (N,)."""

    distance: Floats
    cosine: Floats  # of the angle between the two normals, absolute
    to_plane: Floats  # distance to the plane through the nearest sample


def _both_ways(a: Sampled, b: Sampled, threads: int) -> tuple[_Directed, _Directed]:
    return _directed(a, b, threads), _directed(b, a, threads)


def _directed(source: Sampled, target: Sampled, threads: int) -> _Directed:
    from gcbench.geometry import nearest_kernels as kernels

    distance, index = nearest(source.tree, target.tree, threads)
    cosine, to_plane = np.empty_like(distance), np.empty_like(distance)
    kernels.compare_normals(source.points, source.normals, target.points, target.normals, index, cosine, to_plane)
    return _Directed(distance, cosine, to_plane)


def _cosine(a: Floats, b: Floats) -> Floats:
    # Rounding can push the product of two unit vectors over 1.
    cosine: Floats = np.minimum(np.abs(np.einsum("ij,ij->i", a, b)), 1.0)
    return cosine


def _paper(there: _Directed, back: _Directed) -> dict[str, float]:
    """CD, NC, F1. Source: NeCGS paper, appendix C.1, Eq. 9 to 12."""
    return {
        "cd": mean_of_means(there.distance, back.distance),
        "nc": mean_of_means(there.cosine, back.cosine),
        **{f"f1_{name}": f1_score(there.distance, back.distance, at) for name, at in F1_THRESHOLDS.items()},
    }


class _Held:
    """A mesh as the key of a cache: equal to a mesh of the same vertices and faces, as long as neither is changed.

    trimesh hashes contents once, and again after a change, in milliseconds.
    """

    __slots__ = ("_contents", "mesh")

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        self.mesh = mesh
        self._contents = hash(mesh)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Held) or self._contents != other._contents:
            return False
        a, b = self.mesh, other.mesh
        return a is b or (np.array_equal(a.vertices, b.vertices) and np.array_equal(a.faces, b.faces))

    def __hash__(self) -> int:
        return self._contents


def original(mesh: trimesh.Trimesh, *, seed: int, threads: int) -> Original:
    """Return the `Original` of a mesh, the same one for every suite that asks for it.

    Raises
    ------
    BadMesh
        As `Original` does.
    """
    return _original(_Held(mesh), seed, threads)


def pair(of: Original, decoded: trimesh.Trimesh) -> Pair:
    """Return the `Pair` of an original and a decoded mesh, the same one for every suite that asks for it.

    Raises
    ------
    CodecFailed
        As `Pair` does.
    """
    return _pair(of, _Held(decoded))


@lru_cache(maxsize=2)  # two, for the change from one mesh to the next
def _original(held: _Held, seed: int, threads: int) -> Original:
    return Original(held.mesh, seed=seed, threads=threads)


@lru_cache(maxsize=1)  # suites of one decoded mesh follow each other
def _pair(of: Original, held: _Held) -> Pair:
    return Pair(of, held.mesh)


def compile_loops() -> None:
    """Compile the loops that a pair runs, or load what was compiled, by one tetrahedron."""
    import trimesh

    mesh = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    small = Pair(Original(mesh, seed=0, samples=16), mesh)
    small.paper()
    small.surface()
