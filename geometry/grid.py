"""The grid of a volume: positions of its vertices in space, and the meaning of the volume's channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """The regular grid that carries a volume.

    A volume is (channels, K, K, K) float32 in [-1, 1], indexed [channel, x, y, z]. Channel 0 is the TSDF: the signed
    distance, negative inside, over the truncation distance. Channels 1 to 3, where present, are the deformation of
    the vertex along x, y, z in units of half a cell.

    One cell lies between the grid's border and the cube [-1, 1]³ of the meshes. The deformation moves the border
    inwards by at most half a cell, so the border never touches the surface.

    Parameters
    ----------
    resolution : int
        K, vertices along each axis.
    truncation_voxels : float
        The truncation distance in cells (2 in the authors' configuration).
    """

    resolution: int
    truncation_voxels: float = 2.0

    @property
    def spacing(self) -> float:
        """Length of a cell: 2 / (K - 3)."""
        return 2.0 / (self.resolution - 3)

    @property
    def origin(self) -> float:
        """Coordinate, on each axis, of the vertex with index 0."""
        return -1.0 - self.spacing

    @property
    def truncation(self) -> float:
        """Distance at which the TSDF reaches ±1."""
        return self.truncation_voxels * self.spacing

    @property
    def deformation(self) -> float:
        """Displacement for a deformation of 1: half a cell."""
        return 0.5 * self.spacing

    def axis(self) -> NDArray[np.float64]:
        """Coordinates of the vertices along one axis, (K,)."""
        return self.origin + self.spacing * np.arange(self.resolution, dtype=np.float64)
