"""Key spheres: spheres inside the surface that touch it, and a perceptron that is shown a point's distance to each.

The spheres already are a rough shape; the network has only to correct it. Spheres are quantised as in the paper's
files, centres to the voxels of a 128³ grid and radii to half of one, and are in the stream.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gcbench.codecs.base import Context, Effort, Rate
from gcbench.codecs.implicit.perceptron_codec import PerceptronCodec
from gcbench.codecs.implicit.stream import Envelope, unpack
from gcbench.errors import BitstreamError, UsageError

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray
    from torch import Tensor

    from gcbench.codecs.implicit.samples import Field, Mixture

GRID = 128  # voxels along [-1, 1]
_RADIUS_STEP = 1 / GRID  # half a voxel
_COUNT = struct.Struct("<H")
_SPHERE_BYTES = 4
_FEWEST, _MOST = 1, 4096
_CANDIDATES = 20_000

# (spheres, hidden layers, width), low to high quality; 6 × 32 with 128 spheres is the paper's.
_LADDER = ((32, 6, 16), (32, 6, 32), (128, 6, 32), (512, 6, 32), (512, 6, 64))
_OF_EFFORT: dict[Effort, Sequence[tuple[int, int, int]]] = {
    "quick": ((32, 6, 16), (128, 6, 32)),
    "standard": _LADDER,
    "paper": _LADDER,
}
_ARCHITECTURES = ("distances", "difference")


class KeySpheres(PerceptronCodec):
    """A perceptron of the distances to spheres that lie inside and touch the surface.

    Parameters
    ----------
    architecture : {"distances", "difference"}
        What a network predicts: the signed distance, or its difference from the distance to the union of the spheres.
        Both are shown the point and its distances to all spheres.
    coding : {"range", "sparse", "float16", "float32"}
        Of the weights.
    bits : int
        Of a quantised weight.
    steps : int
        Of training; 0 is the effort's.

    Source: Y. Li et al., "High-fidelity 3D Model Compression based on Key Spheres", DCC 2022; the spread of spheres
    after S. Zhang et al., "SN-Graph", ICME 2021.
    """

    name = "keyspheres"
    envelope = Envelope(b"GCKS", 1)

    def __init__(
        self, *, architecture: str = "distances", coding: str = "range", bits: int = 9, steps: int = 0
    ) -> None:
        super().__init__(coding=coding, bits=bits, steps=steps)
        if architecture not in _ARCHITECTURES:
            raise UsageError(f"keyspheres[architecture={architecture}]: possible are {', '.join(_ARCHITECTURES)}")
        self._architecture = architecture

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Spheres, hidden layers and width."""
        return [
            Rate(f"n{n}l{layers}w{w}", {"spheres": n, "layers": layers, "width": w, "effort": effort})
            for n, layers, w in _OF_EFFORT[effort]
        ]

    def mixture(self) -> Mixture:
        """That of ``ni``, on which the paper builds."""
        from gcbench.codecs.implicit.samples import DAVIES

        return DAVIES

    def condition(self, mesh: trimesh.Trimesh, field: Field, rate: Rate, ctx: Context) -> bytes:
        """Extract and pack the spheres."""
        del mesh
        return pack(extract(field, int(rate.params["spheres"]), ctx.seed))

    def read_condition(self, condition: bytes) -> Tensor:
        """Centres and radii, (N, 4) float32."""
        import torch

        return torch.from_numpy(unpack_spheres(condition))

    def features(self, points: Tensor, conditions: Tensor) -> Tensor:
        """A point, and its signed distance to each sphere."""
        import torch

        centres, radii = conditions[..., :3], conditions[..., 3]
        return torch.cat([points, torch.cdist(points, centres) - radii[:, None]], dim=-1)


def extract(field: Field, count: int, seed: int) -> NDArray[np.float32]:
    """Choose spheres that lie inside a surface, touch it, and are spread over it.

    Candidates are voxels inside the surface, with the distance to it as radius. The first sphere is the largest; each
    next one reaches farthest out of the spheres chosen before: its radius plus the distance of its centre to their
    union is largest.

    Parameters
    ----------
    field : Field
        Signed distance.
    count : int
        Spheres; where there are fewer candidates (thin shapes), the last ones repeat.
    seed : int
        Of the draw of candidates where there are very many.

    Returns
    -------
    (count, 4) float32
        Centre and radius, on the grid of the stream.
    """
    voxels = np.stack(np.meshgrid(*[np.arange(1, GRID)] * 3, indexing="ij"), -1).reshape(-1, 3)
    # Only voxels in the box of the mesh, and of those a draw: evaluating two million distances takes a minute.
    low, high = field.surface.vertices.min(0), field.surface.vertices.max(0)
    centres = voxels / (GRID / 2) - 1
    voxels = voxels[((centres > low) & (centres < high)).all(1)]
    rng = np.random.default_rng(seed)
    if len(voxels) > 10 * _CANDIDATES:
        voxels = voxels[np.sort(rng.choice(len(voxels), 10 * _CANDIDATES, replace=False))]
    radius = -field(voxels / (GRID / 2) - 1).astype(np.float64) if len(voxels) else np.zeros(0)
    inside = radius > _RADIUS_STEP
    voxels, radius = voxels[inside], radius[inside]
    if not len(voxels):  # thinner than the grid: points on the surface stand for spheres
        on, _ = field.surface.sample(count, rng)
        chosen = np.clip(np.rint((on + 1) * (GRID / 2)), 0, GRID - 1)
        return np.concatenate([chosen / (GRID / 2) - 1, np.full((count, 1), _RADIUS_STEP)], 1).astype(np.float32)
    centres = voxels / (GRID / 2) - 1
    chosen_indices = [int(radius.argmax())]
    reach = np.full(len(centres), np.inf)
    while len(chosen_indices) < count:
        last = chosen_indices[-1]
        reach = np.minimum(reach, np.linalg.norm(centres - centres[last], axis=1) - radius[last])
        reach[last] = -np.inf
        best = int((reach + radius).argmax())
        chosen_indices.append(best if np.isfinite(reach[best]) else chosen_indices[0])
    stepped = np.clip(np.rint(radius[chosen_indices] / _RADIUS_STEP), 1, 255) * _RADIUS_STEP
    return np.concatenate([centres[chosen_indices], stepped[:, None]], 1).astype(np.float32)


def pack(spheres: NDArray[np.float32]) -> bytes:
    """Four bytes a sphere: the voxel of the centre, and the radius in half voxels."""
    centre = np.rint((spheres[:, :3] + 1) * (GRID / 2)).astype(np.uint8)
    radius = np.rint(spheres[:, 3:] / _RADIUS_STEP).astype(np.uint8)
    return _COUNT.pack(len(spheres)) + np.concatenate([centre, radius], 1).tobytes()


def unpack_spheres(data: bytes) -> NDArray[np.float32]:
    """Inverse of :func:`pack`: (N, 4) float32.

    Raises
    ------
    BitstreamError
        Another length than the count says, or a sphere that is not on the grid.
    """
    (count,) = unpack(_COUNT, data)
    if not _FEWEST <= count <= _MOST or len(data) != _COUNT.size + _SPHERE_BYTES * count:
        raise BitstreamError(f"{count} spheres in {len(data)} bytes")
    numbers = np.frombuffer(data, np.uint8, offset=_COUNT.size).reshape(count, 4)
    if (numbers[:, :3] >= GRID).any() or not numbers[:, 3].all():
        raise BitstreamError("a sphere is not on the grid")
    spheres = numbers.astype(np.float32)
    return np.concatenate([spheres[:, :3] / (GRID / 2) - 1, spheres[:, 3:] * _RADIUS_STEP], 1).astype(np.float32)
