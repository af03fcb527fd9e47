"""Training data of implicit codecs: random points, drawn as in the papers, and their signed distances to a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh
from gcbench.geometry.marching_cubes import HALF_SIDE
from gcbench.geometry.surface import Surface
from gcbench.geometry.winding import Winding, merged_triangles, orient

if TYPE_CHECKING:
    import trimesh

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """A distribution of points; the shares add up to 1.

    Parameters
    ----------
    uniform : float
        Share of points uniform in the cube [-half_side, half_side]³.
    near : tuple of (float, float)
        Share and standard deviation of points on the surface, moved by normal noise in each coordinate.
    weighted : tuple of (float, float)
        Share and β of points with a density in proportion to exp(−β |d|).
    half_side : float
        Half the side of the cube.
    """

    uniform: float
    near: tuple[tuple[float, float], ...] = ()
    weighted: tuple[tuple[float, float], ...] = ()
    half_side: float = HALF_SIDE

    def __post_init__(self) -> None:
        if abs(self.uniform + sum(share for share, _ in self.near + self.weighted) - 1) > 1e-9:
            raise ValueError("the shares of a mixture add up to 1")


#: Davies et al. (2020), section 3.2: weights exp(−β |d|). β is 30 there and 60 in the key-sphere paper's code, which
#: brings the surface a tenth nearer. Such samples lie near the surface only, and a network may invent a surface far
#: away: the uniform points are ours, against this.
DAVIES = Mixture(uniform=0.2, weighted=((0.8, 60.0),))
#: Takikawa et al. (2021), section 4.1: near the surface, on it, and uniform, 2 : 2 : 1.
TAKIKAWA = Mixture(uniform=0.2, near=((0.4, 0.01), (0.4, 0.0)))


class Field:
    """The signed distance to a mesh, negative inside.

    The winding number of coherently oriented faces gives the sign, as in :mod:`gcbench.geometry.tsdf`, so that the sign
    is also defined for open and self-intersecting meshes.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        Any mesh inside the cube that is sampled and meshed.

    Raises
    ------
    BadMesh
        No faces, no extent, a coordinate that is not finite, or one outside of the cube.
    """

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        merged, indices = merged_triangles(mesh)
        # Meshing would silently cut off parts outside the cube.
        if np.abs(merged).max() > HALF_SIDE:
            raise BadMesh(f"the mesh reaches out of [-{HALF_SIDE}, {HALF_SIDE}]³: normalise it first")
        if not np.ptp(merged, axis=0).any():
            raise BadMesh("the mesh is a point")
        self.surface = Surface(merged, orient(indices, merged))
        self._winding = Winding(merged, self.surface.faces)

    def __call__(self, points: Floats) -> NDArray[np.float32]:
        """Signed distance at (n, 3) points: (n,) float32."""
        distance = self.surface.distance(points)
        signed: NDArray[np.float32] = np.where(self.inside(points), -distance, distance).astype(np.float32)
        return signed

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """Whether (n, 3) points are inside: (n,) bool; much cheaper than the distance."""
        return self._winding.inside(points)


def draw(field: Field, count: int, mixture: Mixture, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw points of a mixture, in random order, and compute their signed distances.

    Returns
    -------
    points : (count, 3) float32
        In the cube.
    distance : (count,) float32
        To the mesh, negative inside.
    """
    rng = np.random.default_rng(seed)
    points = rng.permutation(_points(field.surface, count, mixture, rng))
    # Round first, so that the distances belong to exactly the points that the network sees.
    rounded = points.astype(np.float32)
    return rounded, field(rounded.astype(np.float64))


def _points(surface: Surface, count: int, mixture: Mixture, rng: np.random.Generator) -> Floats:
    parts = []
    for share, deviation in mixture.near:
        on, _ = surface.sample_stratified(round(share * count), rng)
        parts.append(on + rng.normal(scale=deviation, size=on.shape) if deviation else on)
    for share, beta in mixture.weighted:
        # Moved along the normal by a distance whose density is exp(−β |d|): where the surface is flat for 1 / β, that
        # is a draw from the weighted cube, without the many distances of points that the weights would reject.
        on, face = surface.sample_stratified(round(share * count), rng)
        parts.append(on + rng.laplace(scale=1 / beta, size=(len(on), 1)) * surface.normals[face])
    parts.append(rng.uniform(-mixture.half_side, mixture.half_side, (count - sum(map(len, parts)), 3)))
    return np.clip(np.concatenate(parts), -mixture.half_side, mixture.half_side)
