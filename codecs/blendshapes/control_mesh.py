"""The control mesh of a group of meshes with the same faces, fitted to all of them: one linear map serves every mesh.

Each vertex of the originals belongs to a place on the surface of the control mesh, the same place in all meshes. The
positions of the control vertices of one mesh are then the solution of a least-squares problem whose matrix is that of
all meshes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.codecs.blendshapes.subdivision import subdivided
from gcbench.geometry.surface import Surface, area_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

SUBDIVISIONS = 2
_ROUNDS = 2  # of finding places and fitting
_PLACED_POSES = 6  # poses that decide where a vertex belongs
_STIFFNESS = 1e-3  # weight of the evenness of a vertex among its neighbours, for vertices that few originals belong to
_SAMPLES = 4000


@dataclass(frozen=True, eq=False)
class ControlMesh:
    """Faces of a control mesh, and how its surface is made.

    Parameters
    ----------
    faces : (F, 3) int64
    vertices : int
        N
    subdivisions : int
        0 is the control mesh itself.
    """

    faces: Ints
    vertices: int
    subdivisions: int

    @cached_property
    def surface(self) -> tuple[Any, Ints]:
        """The matrix from control vertices to vertices of the surface, and the faces of the surface."""
        return subdivided(self.faces, self.vertices, self.subdivisions)

    def mesh(self, positions: Floats) -> tuple[Floats, Ints]:
        """Vertices and faces of the surface for positions (N, 3) of the control vertices."""
        matrix, faces = self.surface
        return matrix @ positions, faces


def fitted(control: ControlMesh, poses: Floats, posed: Ints, meshes: Floats, faces: Ints) -> Floats:
    """Positions of the control vertices of all meshes, (n, N, 3).

    Parameters
    ----------
    control : ControlMesh
    poses : (p, N, 3) float64
        Positions to begin with, of some of the meshes.
    posed : (p,) int64
        Which of the meshes these are.
    meshes : (n, V, 3) float64
        Vertices of all meshes.
    faces : (F, 3) int64
        Of every mesh.
    """
    from scipy.sparse.linalg import splu

    some = np.unique(np.linspace(0, len(posed) - 1, _PLACED_POSES).astype(int))
    originals, poses = meshes[posed[some]], poses[some]
    weights = _areas(meshes[0], faces)
    stiffness = _evenness(control) * (_STIFFNESS * weights.sum() / control.vertices)
    goals = meshes.transpose(1, 0, 2).reshape(meshes.shape[1], -1)
    positions = meshes[:0]
    for _ in range(_ROUNDS):
        matrix = _places(originals, control, poses) @ control.surface[0]
        normal = matrix.T @ (weights[:, None] * matrix) + stiffness
        solved = splu(normal.tocsc()).solve(matrix.T @ (weights[:, None] * goals))
        positions = solved.reshape(control.vertices, -1, 3).transpose(1, 0, 2)
        poses = positions[posed[some]]
    return positions


def distance(original: Surface, vertices: Floats, faces: Ints, threads: int = 1) -> float:
    """Mean distance between two surfaces, in both directions, from some thousand samples."""
    decoded = Surface(vertices, faces)
    there = decoded.distance(original.sample_stratified(_SAMPLES, np.random.default_rng(0))[0], threads)
    back = original.distance(decoded.sample_stratified(_SAMPLES, np.random.default_rng(1))[0], threads)
    return 0.5 * float(there.mean() + back.mean())


def _areas(vertices: Floats, faces: Ints) -> Floats:
    """The area around each vertex; a little everywhere."""
    areas = np.linalg.norm(area_vectors(vertices[faces]), axis=1)
    around = np.bincount(faces.reshape(-1), np.repeat(areas, 3), len(vertices)).astype(np.float64)
    found: Floats = around + 1e-3 * around.mean()
    return found


def _places(originals: Floats, control: ControlMesh, poses: Floats) -> Any:
    """Where the vertices of the originals are on the surface: a sparse matrix of weights of its vertices.

    A vertex has a closest place in each pose. It belongs to that of these places which is near to it in all poses:
    where limbs touch in one pose, they are apart in others.
    """
    from scipy import sparse

    matrix, faces = control.surface
    surfaces = [matrix @ pose for pose in poses]
    count = originals.shape[1]
    least, where, shares = np.full(count, np.inf), np.zeros(count, np.int64), np.zeros((count, 3))
    for vertices, points in zip(surfaces, originals, strict=True):
        _, triangles, found = Surface(vertices, faces).closest(points)
        squares = sum(
            ((np.einsum("vk,vkd->vd", found, other[faces[triangles]]) - mesh) ** 2).sum(1)
            for other, mesh in zip(surfaces, originals, strict=True)
        )
        better = squares < least
        least[better], where[better], shares[better] = squares[better], triangles[better], found[better]
    rows = np.repeat(np.arange(count), 3)
    return sparse.csr_array((shares.reshape(-1), (rows, faces[where].reshape(-1))), (count, matrix.shape[0]))


def _evenness(control: ControlMesh) -> Any:
    """The square of how far control vertices are from the mean of their neighbours; a little of their size."""
    from scipy import sparse

    corners = np.concatenate([control.faces[:, [0, 1]], control.faces[:, [1, 2]], control.faces[:, [2, 0]]])
    first, second = np.unique(np.sort(corners, 1), axis=0).T
    ones = np.ones(2 * len(first))
    around = (ones, (np.concatenate([first, second]), np.concatenate([second, first])))
    neighbours = sparse.csr_array(around, (control.vertices, control.vertices))
    degree = np.maximum(neighbours.sum(axis=1), 1)
    away = sparse.eye_array(control.vertices) - sparse.diags_array(1 / degree) @ neighbours
    return away.T @ away + 1e-6 * sparse.eye_array(control.vertices)
