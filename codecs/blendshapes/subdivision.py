"""Loop subdivision as a matrix: smooth surfaces from a control mesh, with borders and edges of other than two faces.

Source: C. Loop, "Smooth subdivision surfaces based on triangles", 1987; the rule of borders: Hoppe et al., "Piecewise
smooth surface reconstruction", SIGGRAPH 1994.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


def subdivided(faces: Ints, vertices: int, times: int) -> tuple[Any, Ints]:
    """The matrix from control vertices to those of the surface, and the faces of the surface.

    Parameters
    ----------
    faces : (F, 3) int64
    vertices : int
        How many the control mesh has.
    times : int
        Each time, a face becomes four.

    Returns
    -------
    matrix : sparse (vertices of the surface, vertices) float64
        Rows sum to 1.
    faces : (4^times F, 3) int64
    """
    from scipy import sparse

    matrix = sparse.eye_array(vertices, format="csr")
    for _ in range(times):
        once, faces = _once(faces, matrix.shape[0])
        matrix = once @ matrix
    return matrix, faces


def _once(faces: Ints, count: int) -> tuple[Any, Ints]:
    from scipy import sparse

    def matrix(values: Any, rows: Any, columns: Any, height: int) -> Any:
        return sparse.csr_array((np.broadcast_to(values, rows.shape), (rows, columns)), (height, count))

    corners = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges, of_corner, uses = np.unique(np.sort(corners, 1), axis=0, return_inverse=True, return_counts=True)
    border = uses != 2
    first, second = edges.T
    every = np.arange(len(edges))
    ends = matrix(1.0, np.concatenate([every, every]), np.concatenate([first, second]), len(edges))
    opposite = matrix(1.0, of_corner.reshape(-1), faces[:, [2, 0, 1]].T.reshape(-1), len(edges))
    middles = sparse.diags_array(np.where(border, 1 / 2, 3 / 8)) @ ends
    middles += sparse.diags_array(np.where(border, 0, 1 / 8)) @ opposite
    kept = _kept(matrix, edges, count)
    if border.any():
        along = matrix(1.0, np.concatenate([*edges[border].T]), np.concatenate([*edges[border].T[::-1]]), count)
        neighbours = along.sum(axis=1)
        inside = sparse.diags_array((neighbours == 0).astype(float))
        own = sparse.diags_array(np.where(neighbours > 0, 3 / 4, 0.0))
        kept = inside @ kept + own + sparse.diags_array(1 / 4 / np.maximum(neighbours, 1)) @ along
    a, b, c = count + of_corner.reshape(3, -1)  # the middles of the edges 01, 12 and 20 of each face
    x, y, z = faces.T
    parts = ((x, a, c), (y, b, a), (z, c, b), (a, b, c))
    return sparse.vstack([kept, middles]).tocsr(), np.concatenate([np.stack(part, 1) for part in parts])


def _kept(matrix: Any, edges: Ints, count: int) -> Any:
    """Where old vertices go if they are on no border."""
    from scipy import sparse

    first, second = edges.T
    around = matrix(1.0, np.concatenate([first, second]), np.concatenate([second, first]), count)
    degree = np.maximum(around.sum(axis=1), 1)
    share = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / degree) / 4) ** 2) / degree
    return sparse.diags_array(1 - degree * share) + sparse.diags_array(share) @ around
