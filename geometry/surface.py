"""A mesh as a surface to be near to: exact closest points on it, samples of it, and the loss that they make.

Knows triangles; nothing of grids, volumes or how the surface that is compared was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import igl
import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


_KNEE = 0.1  # cells: the distance at which the cost turns from quadratic to linear
_FEWEST_SAMPLES, _MOST_SAMPLES = 2_000, 100_000
_NO_AREA = 1e-10  # doubled area; the smallest triangle between levels of the quantiser has 1e-8


class Surface:
    """Triangles, ready to be sampled and searched.

    Parameters
    ----------
    vertices : (V, 3) float64
        Positions, finite.
    faces : (F, 3) int64
        At least one.
    """

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        self.vertices = np.ascontiguousarray(vertices, dtype=np.float64)
        self.faces = np.ascontiguousarray(faces, dtype=np.int64)
        self.corners = self.vertices[self.faces]
        doubled = np.cross(self.corners[:, 1] - self.corners[:, 0], self.corners[:, 2] - self.corners[:, 0])
        length = np.linalg.norm(doubled, axis=1)
        self.face_areas = length / 2
        self.normals = doubled / np.maximum(length, np.finfo(np.float64).tiny)[:, None]
        self._tree = igl.AABB()
        self._tree.init(self.vertices, self.faces)
        self.area = float(self.face_areas.sum())

    def closest(self, points: Floats) -> tuple[Floats, Ints]:
        """Nearest point of the surface to each of (n, 3) points, and the face that it is on: (n, 3) and (n,)."""
        points = np.ascontiguousarray(points, dtype=np.float64)
        _, on, feet = self._tree.squared_distance(self.vertices, self.faces, points)
        return np.asarray(feet).reshape(-1, 3), np.asarray(on).reshape(-1)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """Points of uniform density and the faces that they are on, (count, 3) and (count,), ordered by face.

        Stratified: each 1/count of the area has exactly one.
        """
        cumulated = np.cumsum(self.face_areas)
        level = (np.arange(count) + rng.random(count)) * (cumulated[-1] / count)
        face = np.minimum(np.searchsorted(cumulated, level, side="right"), len(cumulated) - 1)
        weights = uniform_barycentrics(count, rng)
        return np.einsum("nc,ncx->nx", weights, self.corners[face]), face


def uniform_barycentrics(count: int, rng: np.random.Generator) -> Floats:
    """Barycentric coordinates of uniformly distributed points, (count, 3).

    Source: the parallelogram folded onto the triangle; Turk, Graphics Gems (1990), p. 24.
    """
    uv = rng.random((count, 2))
    fold = uv.sum(axis=1) > 1
    uv[fold] = 1 - uv[fold]
    return np.column_stack([1 - uv.sum(axis=1), uv])


def barycentrics(points: Floats, corners: Floats) -> Floats:
    """Barycentric coordinates, clipped to the triangle, of points (n, 3) in the planes of triangles (n, 3, 3): (n, 3).

    In triangles without area they are those of some point of it.
    """
    u, v, w = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    uu, uv, vv = (u * u).sum(axis=1), (u * v).sum(axis=1), (v * v).sum(axis=1)
    wu, wv = (w * u).sum(axis=1), (w * v).sum(axis=1)
    squared_area = np.maximum(uu * vv - uv * uv, np.finfo(np.float64).tiny)
    second = np.clip((vv * wu - uv * wv) / squared_area, 0, 1)
    third = np.clip((uu * wv - uv * wu) / squared_area, 0, 1 - second)
    return np.column_stack([1 - second - third, second, third])


class ClosestPoints:
    """How far a triangulated surface is from a mesh, both ways, differentiably in its vertices.

    Random points of each of the two are compared with the exact nearest points of the other. The loss is the mean over
    the area, in both directions, of a cost that grows with the square of the distance in units of ``scale`` when that
    is small and with the distance itself when it is not, plus ``normal_weight`` times one minus the cosine of the angle
    between the normals, whose signs do not count.

    The nearest points are held while differentiating. The gradient of the distance is exact none the less: to first
    order, moving the nearest point along the surface does not change it.

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
    """

    def __init__(self, mesh: Surface, *, scale: float, density: float, normal_weight: float, seed: int) -> None:
        self.mesh = mesh
        self.scale = scale
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
        feet, on = self.mesh.closest(_array(points))
        cost = self._cost(points, torch.from_numpy(feet).to(vertices), normals, self._mesh_normals(on, vertices))
        # Areas only weight the samples: were they differentiated, small surfaces would pay.
        return (areas.detach() * cost).sum() / self.mesh.area

    def _from_mesh(self, vertices: Tensor, faces: Tensor) -> Tensor:
        samples, on_mesh = self.mesh.sample(self.count, self._rng)
        surface = Surface(_array(vertices), faces.cpu().numpy())
        feet, on = surface.closest(samples)
        weights = torch.from_numpy(barycentrics(feet, surface.corners[on])).to(vertices)
        corners = vertices[faces[torch.from_numpy(on).to(faces.device)]]
        normals, _ = _normals(corners)
        points = torch.einsum("nc,ncx->nx", weights, corners)
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
