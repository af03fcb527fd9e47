"""The loss of the fit: the distance between two surfaces, from each to the closest points of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from gcbench.geometry.surface import Surface, uniform_barycentrics

if TYPE_CHECKING:
    from torch import Tensor

    from gcbench.geometry.surface import Floats, Ints

_KNEE = 0.1  # cells: the distance at which the cost turns from quadratic to linear
_FEWEST_SAMPLES, _MOST_SAMPLES = 2_000, 100_000
_NO_AREA = 1e-10  # doubled area; the smallest triangle between levels of the quantiser has 1e-8


class ClosestPoints:
    """How far a triangulated surface is from a mesh, both ways, differentiably in its vertices.

    Random points of each of the two are compared with the exact nearest points of the other. The loss is the mean over
    the area, in both directions, of a cost that grows with the square of the distance in units of ``scale`` when that
    is small and with the distance itself when it is not, plus ``normal_weight`` times one minus the cosine of the angle
    between the normals, whose signs do not count.

    The nearest points are constants for the gradient. The gradient of the distance is still exact: to first order, a
    move of the nearest point along the surface does not change the distance.

    Parameters
    ----------
    mesh : Surface
        The target.
    scale : float
        Unit of length, the spacing of the grid.
    density : float
        Samples of the mesh per ``scale``²; the other surface has one sample for each face.
    normal_weight : float
        Weight of the normals.
    seed : int
        Of the samples.
    threads : int
        Threads that search for closest points; they do not change any value.
    """

    def __init__(
        self, mesh: Surface, *, scale: float, density: float, normal_weight: float, seed: int, threads: int = 1
    ) -> None:
        self.mesh = mesh
        self.scale = scale
        self.threads = threads
        self.normal_weight = normal_weight
        self.count = int(np.clip(density * mesh.area / scale**2, _FEWEST_SAMPLES, _MOST_SAMPLES))
        self._rng = np.random.default_rng(seed)

    def __call__(self, vertices: Tensor, faces: Tensor, step: int) -> Tensor:
        """The loss of a surface: vertices (V, 3), faces (F, 3)."""
        return self._to_mesh(vertices, faces) + self._from_mesh(vertices, faces)

    def _to_mesh(self, vertices: Tensor, faces: Tensor) -> Tensor:
        corners = vertices[faces]
        normals, areas = _normals(corners)
        weights = torch.from_numpy(uniform_barycentrics(len(faces), self._rng)).to(vertices)
        points = torch.einsum("nc,ncx->nx", weights, corners)
        feet, on, _ = self.mesh.closest(_array(points), self.threads)
        cost = self._cost(points, torch.from_numpy(feet).to(vertices), normals, self._mesh_normals(on, vertices))
        # Areas only weight the samples: were they differentiated, small surfaces would pay.
        return (areas.detach() * cost).sum() / self.mesh.area

    def _from_mesh(self, vertices: Tensor, faces: Tensor) -> Tensor:
        samples, on_mesh = self.mesh.sample_stratified(self.count, self._rng)
        _, on, weights = Surface(_array(vertices), faces.cpu().numpy()).closest(samples, self.threads)
        corners = vertices[faces[torch.from_numpy(on).to(faces.device)]]
        normals, _ = _normals(corners)
        points = torch.einsum("nc,ncx->nx", torch.from_numpy(weights).to(vertices), corners)
        targets = torch.from_numpy(samples).to(vertices)
        return self._cost(points, targets, normals, self._mesh_normals(on_mesh, vertices)).mean()

    def _cost(self, points: Tensor, targets: Tensor, normals: Tensor, target_normals: Tensor) -> Tensor:
        squared = ((points - targets) / self.scale).square().sum(dim=1)
        distance = 2 * _KNEE * ((squared + _KNEE**2).sqrt() - _KNEE)
        return distance + self.normal_weight * (1 - (normals * target_normals).sum(dim=1).abs())

    def _mesh_normals(self, face: Ints, like: Tensor) -> Tensor:
        return torch.from_numpy(self.mesh.normals[face]).to(like)


def _array(points: Tensor) -> Floats:
    return points.detach().double().cpu().numpy()


def _normals(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Unit normals (n, 3), 0 where there is none, and areas (n,) of triangles (n, 3, 3)."""
    doubled = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = doubled.square().sum(dim=1).clamp(min=_NO_AREA**2).sqrt()  # the gradient of a norm is NaN at 0
    return doubled / length[:, None], length / 2
