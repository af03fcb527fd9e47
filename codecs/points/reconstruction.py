"""From points back to a surface: oriented normals, screened Poisson, and a cut through what it invents beyond the data.

Knows points in voxel units; not which codec they come from, nor at which rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench import native
from gcbench.errors import BitstreamError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.codecs.base import Context


def reconstruct(points: NDArray[np.float64], ctx: Context) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Put a surface through points.

    Parameters
    ----------
    points : (N, 3) float64
        In voxels.
    ctx : Context
        Of the call; seconds go to its stages ``normals`` and ``poisson``.

    Returns
    -------
    vertices : (V, 3) float64
    faces : (F, 3) int64

    Raises
    ------
    BitstreamError
        The points are too few for a surface.
    """
    points = np.unique(points, axis=0)
    if len(points) < 3:
        raise BitstreamError(f"too few points for a surface: {len(points)}")
    pymeshlab: Any = native.pymeshlab()
    with ctx.stage("normals"):
        meshes = pymeshlab.MeshSet(verbose=False)
        meshes.add_mesh(pymeshlab.Mesh(points))
        meshes.compute_normal_for_point_clouds(k=16, smoothiter=2)
    ctx.check_deadline()
    with ctx.stage("poisson"):
        extent = float(np.ptp(points, axis=0).max())
        spacing = max(1.0, extent / np.sqrt(len(points)) / 4)
        depth = int(np.clip(np.ceil(np.log2(extent / spacing)) - 1, 5, 9))
        meshes.generate_surface_reconstruction_screened_poisson(depth=depth, threads=1)
        surface = meshes.current_mesh()
        return surface.vertex_matrix(), surface.face_matrix().astype(np.int64)
