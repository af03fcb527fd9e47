"""Key spheres: spheres inside the surface that touch it, and a perceptron that is shown where a point lies among them.

The paper's two networks see a point x and Σ pᵢ ℓᵢ, where pᵢ = |x − cᵢ| / Σⱼ |x − cⱼ| over the centres c. In its first,
"direct", ℓᵢ is one linear layer of (cᵢ, rᵢ); in its second, "latent", ℓᵢ is free, 29 numbers for each sphere, which is
most of what it stores. Nothing bends between these layers and the first of the perceptron, and the product of two
matrices is a matrix; here there is only that one. "direct" then has 7 inputs, x, Σ pᵢ cᵢ and Σ pᵢ rᵢ, and spheres cost
their 3 bytes; "latent" has the pᵢ themselves for inputs and stores `width` weights for each sphere in place of 29.
"distances" has the plain distances to all spheres; radii there only shift the biases of the first layer, and "latent"
has no radii at all, in the paper too.

The default is "direct", the best of the three at equal bytes, though not better than ``ni`` there. Published files have
centres on a grid of 1/64 and radii in steps of it; ours are finer (:mod:`gcbench.codecs.implicit.spheres`). Points,
loss and the coding of weights are those of ``ni``; the paper trains the network on the spheres' centres too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gcbench.codecs.base import Context, Effort, Rate
from gcbench.codecs.implicit.efforts import MARKS
from gcbench.codecs.implicit.perceptron_codec import PerceptronCodec
from gcbench.entropy.container import Container
from gcbench.errors import BitstreamError, UsageError

if TYPE_CHECKING:
    import trimesh
    from torch import Tensor

    from gcbench.geometry.signed_distance import Field, Mixture

ARCHITECTURES = ("direct", "latent", "distances")  # their places are in streams

# (spheres, hidden layers, width), low to high quality; 6 × 32 with 32, 128 and 512 and 6 × 64 with 512 are the paper's.
_OF_EFFORT: dict[Effort, Sequence[tuple[int, int, int]]] = {
    "quick": ((32, 6, 16), (128, 6, 32)),
    "standard": ((32, 6, 16), (32, 6, 32), (128, 6, 32), (128, 6, 48), (512, 6, 64)),
    "paper": ((32, 6, 16), (32, 6, 32), (128, 6, 32), (512, 6, 32), (128, 6, 48), (512, 6, 64)),
}
# Proportions and distances are alike for spheres side by side, and their common part drowns what they differ in: each
# is given as its difference from the mean, at a scale at which 128 of them do not outweigh the coordinates.
_SCALE = 0.2
_DISTANCES_AT_ONCE = 1 << 23
_TINY = 1e-12  # at the centre of a lone sphere, all distances are 0


class KeySpheres(PerceptronCodec):
    """A perceptron of a point and of the spheres that lie inside the surface and touch it; both are rate.

    Parameters
    ----------
    architecture : {"direct", "latent", "distances"}
        What of the spheres networks are shown.
    coding : {"range", "sparse", "float16", "float32"}
        Of the weights.
    bits : int
        Of a quantised weight.
    steps : int
        Of training; 0 is the effort's.
    seconds : int
        Of wall time that training may take; 0 is no bound. Where it binds, bytes depend on the machine and its load.

    Source: Y. Li et al., "High-fidelity 3D Model Compression based on Key Spheres", DCC 2022.
    """

    name = "keyspheres"
    packages = (*PerceptronCodec.packages, "scipy")
    container = Container(b"KSP", 1, name)

    def __init__(
        self, *, architecture: str = "direct", coding: str = "range", bits: int = 9, steps: int = 0, seconds: int = 0
    ) -> None:
        super().__init__(coding=coding, bits=bits, steps=steps, seconds=seconds)
        if architecture not in ARCHITECTURES:
            raise UsageError(f"keyspheres[architecture={architecture}]: possible are {', '.join(ARCHITECTURES)}")
        self._architecture = ARCHITECTURES.index(architecture)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Spheres, hidden layers and width; the effort goes along, for a label has one meaning."""
        return [
            Rate(
                f"n{n}l{layers}w{width}{MARKS[effort]}",
                {"spheres": n, "layers": layers, "width": width, "effort": effort},
            )
            for n, layers, width in _OF_EFFORT[effort]
        ]

    def mixture(self) -> Mixture:
        """That of ``ni``, with the β of this paper's program: what differs is the spheres."""
        from gcbench.geometry.signed_distance import DAVIES

        return DAVIES

    def condition(self, mesh: trimesh.Trimesh, field: Field, rate: Rate, ctx: Context) -> bytes:
        """Extract and pack the spheres."""
        from gcbench.codecs.implicit.spheres import extract, pack

        del mesh
        return bytes([self._architecture]) + pack(extract(field, int(rate.params["spheres"]), ctx.seed))

    def shown(self, conditions: Sequence[bytes], device: str) -> Callable[[Tensor], Tensor]:
        """A point, and where it lies among the spheres: as the first byte of the conditions says."""
        import torch

        from gcbench.codecs.implicit.spheres import unpack

        if not all(conditions) or conditions[0][0] >= len(ARCHITECTURES):
            raise BitstreamError("no architecture of this number")
        spheres = torch.stack([torch.from_numpy(unpack(condition[1:])) for condition in conditions]).to(device)
        features = {"direct": direct, "latent": latent, "distances": distances}[ARCHITECTURES[conditions[0][0]]]
        points_at_once = max(1, _DISTANCES_AT_ONCE // spheres[..., 0].numel())

        def show(points: Tensor) -> Tensor:
            parts = torch.split(points, points_at_once, dim=1)
            return torch.cat([torch.cat([part, features(part, spheres)], dim=-1) for part in parts], dim=1)

        return show


def direct(points: Tensor, spheres: Tensor) -> Tensor:
    """Mean of the spheres, weighted by the distances to their centres.

    Parameters
    ----------
    points : (B, P, 3) float
        Of B meshes.
    spheres : (B, N, 4) float
        Centres and radii.

    Returns
    -------
    (B, P, 4) float
        Mean centre and radius.

    Source: Li et al. (2022), Fig. 3, "direct point feature extraction".
    """
    import torch

    away = torch.cdist(points, spheres[..., :3])
    return (away / away.sum(-1, keepdim=True).clamp_min(_TINY)) @ spheres


def latent(points: Tensor, spheres: Tensor) -> Tensor:
    """Distances to the centres in proportion to their mean, less one: (B, P, N).

    Source: Li et al. (2022), Fig. 3, "latent point feature extraction".
    """
    import torch

    away = torch.cdist(points, spheres[..., :3])
    return _SCALE * (away / away.mean(-1, keepdim=True).clamp_min(_TINY) - 1)


def distances(points: Tensor, spheres: Tensor) -> Tensor:
    """Mean signed distance to the spheres, and how that to each differs from it: (B, P, N + 1)."""
    import torch

    away = torch.cdist(points, spheres[..., :3]) - spheres[:, None, :, 3]
    mean = away.mean(-1, keepdim=True)
    return torch.cat([mean, _SCALE * (away - mean)], dim=-1)
