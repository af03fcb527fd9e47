"""What papers on implicit networks report: the volume that two meshes share, and their squared Chamfer distance."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from gcbench.errors import BadMesh, CodecFailed
from gcbench.geometry.nearest import PointTree, nearest
from gcbench.geometry.surface import Floats, Surface

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

N_UNIFORM = 100_000
"""Points for the volumes. Source: ``eval.py`` of Li et al. (DCC 2022)."""

N_SURFACE = 131_072
"""Samples of each surface. Source: ``eval.py`` of Li et al. (DCC 2022)."""

BALL_RADIUS = 0.9
"""Of the original's smallest enclosing ball, in whose frame distances are. Source: ``geometry.py`` of Li et al."""

# Random streams: what is compared never shares one, see pairs.py.
_REFERENCE_STREAM, _FLOOR_STREAM, _DECODED_STREAM, _BOX_STREAM, _BEYOND_STREAM = range(5)


@dataclass(frozen=True)
class Volumes:
    """A decoded mesh against its original.

    Parameters
    ----------
    giou : float
        Volume inside both over volume inside either, 0 to 1.
    union_points : int
        Random points of the original's box that are inside either: the standard error of ``giou`` is about
        √(giou (1 − giou) / union_points).
    squared_cd : float
        Mean squared distance from the samples of either surface to the nearest of the other, both means added, in the
        frame in which the original's smallest enclosing ball has radius 0.9. Published as 10³ times this.
    """

    giou: float
    union_points: int
    squared_cd: float


class VolumeReference:
    """An original mesh, with what comparing volumes and surfaces with it needs, computed once.

    A point is inside where the generalised winding number of coherently oriented faces is over ½ either way, so that
    open, self-intersecting and inverted meshes have an inside too.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        Of any size and place.
    seed : int
        Of all points, those on decoded meshes included; not negative.
    threads : int
        For searches; they do not change any result. libigl has its own limit, ``IGL_NUM_THREADS`` of the process.
    uniform, samples : int
        Points for the volumes, and on each surface.

    Raises
    ------
    BadMesh
        The mesh has no faces, no area, coordinates that are not finite, or no inside that a point falls into.
    """

    def __init__(
        self,
        mesh: trimesh.Trimesh,
        *,
        seed: int,
        threads: int = 1,
        uniform: int = N_UNIFORM,
        samples: int = N_SURFACE,
    ) -> None:
        try:
            self._solid = _Solid(mesh)
        except ValueError as error:
            raise BadMesh(f"the reference mesh {error}") from error
        self.seed = seed
        self.threads = threads
        self._samples = samples
        self._points = self._sampled(self._solid, _REFERENCE_STREAM)
        self._box = self._uniform(self._solid, uniform, _BOX_STREAM)
        self._inside = self._solid.inside(self._box)
        if not self._inside.any() or self._solid.box_volume == 0:  # on a flat mesh, points are on it
            raise BadMesh(f"the reference mesh has no inside: none of {uniform} points of its box is in it")
        self._per_unit = BALL_RADIUS / enclosing_radius(self._solid.surface.vertices)

    @cached_property
    def floor(self) -> float:
        """Return the squared CD of the mesh against a second sampling of itself, in the same frame.

        For N samples on a smooth surface of area A it is 2 A / (π N): samples are a Poisson process in the plane.
        """
        return self._squared_cd(self._sampled(self._solid, _FLOOR_STREAM))

    def compare(self, decoded: trimesh.Trimesh) -> Volumes:
        """Compare a decoded mesh, in the coordinates of the original.

        Volumes are counted with points that are uniform in the original's bounding box; what the decoded mesh has
        inside beyond it, with as many in its own box. So nothing that a decoder makes up far away goes uncounted.

        Raises
        ------
        CodecFailed
            The decoded mesh has no faces, no area, or coordinates that are not finite.

        Source: IoU of the signs of distances, as in ``compute_iou`` of Takikawa et al.'s code and in ``eval.py`` of Li
        et al.; squared CD, ``do_compute_chamfer`` there.
        """
        try:
            solid = _Solid(decoded)
        except ValueError as error:
            raise CodecFailed(f"the decoded mesh {error}") from error
        inside = solid.inside(self._box)
        union_points = int(np.count_nonzero(self._inside | inside))
        of_a_point = self._solid.box_volume / len(self._box)
        shared = of_a_point * float(np.count_nonzero(self._inside & inside))
        union = of_a_point * union_points + self._beyond(solid)
        return Volumes(shared / union, union_points, self._squared_cd(self._sampled(solid, _DECODED_STREAM)))

    def _beyond(self, solid: _Solid) -> float:
        """Volume of a solid outside of the original's box."""
        points = self._uniform(solid, len(self._box), _BEYOND_STREAM)
        beyond = points[((points < self._solid.low) | (points > self._solid.high)).any(axis=1)]
        if len(beyond) == 0:
            return 0.0
        return solid.box_volume * float(np.count_nonzero(solid.inside(beyond))) / len(points)

    def _squared_cd(self, points: PointTree) -> float:
        there, back = nearest(self._points, points, self.threads)[0], nearest(points, self._points, self.threads)[0]
        return float(np.mean(there**2) + np.mean(back**2)) * self._per_unit**2

    def _sampled(self, solid: _Solid, stream: int) -> PointTree:
        return PointTree(solid.surface.sample(self._samples, self._stream(stream))[0])

    def _uniform(self, solid: _Solid, count: int, stream: int) -> Floats:
        """Uniform points of a solid's bounding box, (count, 3)."""
        unit = self._stream(stream).random((count, 3))
        points: Floats = solid.low + unit * (solid.high - solid.low)
        return points

    def _stream(self, stream: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream,)))


def enclosing_radius(points: Floats) -> float:
    """Radius of the smallest ball that holds (n, 3) points.

    The ball of a few support points takes in the farthest point outside it until there is none. Each ball is larger
    than the one before, so this ends; in practice after some ten rounds.

    Source: Welzl, Smallest enclosing disks (balls and ellipsoids) (1991), for what supports a ball; Gärtner, Fast and
    robust smallest enclosing balls (1999), for taking the farthest point.
    """
    points = points - points.mean(axis=0)  # for the digits of meshes far from the origin
    support, before = points[:1], -1.0
    while True:
        centre, radius, support = _ball_of_few(support)
        distance = np.linalg.norm(points - centre, axis=1)
        farthest = int(distance.argmax())
        if distance[farthest] <= radius * (1 + 1e-12) or radius <= before:  # the second: all that is left is rounding
            return float(distance[farthest])
        support, before = np.concatenate([support, points[farthest : farthest + 1]]), radius


def _ball_of_few(points: Floats) -> tuple[Floats, float, Floats]:
    """Smallest ball of up to five points: centre, radius, and at most four of them that have the same ball."""
    best: tuple[Floats, float, Floats] = (points[0], math.inf, points)
    for count in range(1, min(len(points), 4) + 1):
        for some in map(list, itertools.combinations(range(len(points)), count)):
            first, sides = points[some[0]], points[some[1:]] - points[some[0]]
            # The point of their plane (line, space) that has the same distance to all: weights by least squares.
            weights = np.linalg.lstsq(2 * sides @ sides.T, (sides**2).sum(axis=1), rcond=None)[0]
            centre = first + weights @ sides
            if min(1 - weights.sum(), *weights, 1.0) < -1e-9:  # else a smaller ball holds these very points
                continue
            radius = float(np.linalg.norm(points - centre, axis=1).max())
            if radius < best[1]:
                best = (centre, radius, points[some])
    return best


class _Solid:
    """A mesh as a surface, and what that encloses."""

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        from gcbench.geometry import winding

        self.surface = Surface.of(mesh)  # first: it says what is wrong with a mesh
        vertices, faces = winding.merged_triangles(mesh)
        self._winding = winding.Winding(vertices, winding.orient(faces, vertices))
        self.low, self.high = self.surface.vertices.min(axis=0), self.surface.vertices.max(axis=0)

    @property
    def box_volume(self) -> float:
        """Of the bounding box."""
        return float(np.prod(self.high - self.low))

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """Which of (n, 3) points are inside."""
        return self._winding.inside(points)
