"""Key spheres: spheres inside a surface that touch it, and a perceptron that sees how a point lies relative to them.

The paper's two networks see a point x and Σ pᵢ ℓᵢ, where pᵢ = |x − cᵢ| / Σⱼ |x − cⱼ| over the centres c. In "direct",
ℓᵢ is one linear layer of (cᵢ, rᵢ). In "latent", ℓᵢ is 29 free numbers for each sphere: most of the stored numbers.
Both layers are linear and precede the perceptron's first linear layer, so this codec merges the two matrices into one:
"direct" has 7 inputs, x, Σ pᵢ cᵢ and Σ pᵢ rᵢ, and a sphere costs its 3 bytes; "latent" has the pᵢ as inputs and stores
`width` weights for each sphere in place of 29. "distances" is not in the paper; its inputs are the distances to all
spheres. In "distances", radii only shift the biases of the first layer; "latent" has no radii, as in the paper.

The default is "direct", the best of the three at equal bytes, though not better than ``ni``. Published files have
centres on a grid of 1/64 and radii in steps of 1/64; ours are finer (:mod:`gcbench.codecs.implicit.spheres`). Points,
loss and the coding of weights are those of ``ni``; the paper also trains the network on the centres of the spheres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gcbench.codecs.base import Context, Effort, Rate
from gcbench.codecs.implicit.efforts import MARKS, implicit_budget, perceptron_size
from gcbench.codecs.implicit.perceptron_codec import PerceptronCodec
from gcbench.entropy.container import Container
from gcbench.errors import BitstreamError, UsageError

if TYPE_CHECKING:
    import trimesh
    from torch import Tensor

    from gcbench.geometry.signed_distance import Field, Mixture

ARCHITECTURES = ("direct", "latent", "distances")  # a stream holds an index into this tuple

# (spheres, hidden layers, width), low to high quality. The paper has 6 × 32 with 32, 128, 512 and 6 × 64 with 512.
_OF_EFFORT: dict[Effort, Sequence[tuple[int, int, int]]] = {
    "quick": ((32, 6, 16), (128, 6, 32)),
    "standard": ((32, 6, 16), (32, 6, 32), (128, 6, 32), (128, 6, 48), (512, 6, 64)),
    "paper": ((32, 6, 16), (32, 6, 32), (128, 6, 32), (512, 6, 32), (128, 6, 48), (512, 6, 64)),
}
# Inputs for neighbouring spheres are almost equal, and their common part hides the differences: each input is its
# difference from the mean, scaled so that 128 of these inputs do not outweigh the coordinates.
_SCALE = 0.2
_DISTANCES_AT_ONCE = 1 << 23
_TINY = 1e-12  # avoids 0 / 0: at the centre of a single sphere, all distances are 0
_FOR_A_SPHERE = 32  # multiply-adds, or what takes as long, at one point: a distance and its share


_LADDER = [rate for rates in _OF_EFFORT.values() for rate in rates]
# "distances" has the most inputs: the position, a mean, and a distance for each sphere.
_BUDGET = implicit_budget(
    max(perceptron_size(4 + n, layers, width) for n, layers, width in _LADDER),
    max(perceptron_size(4 + n, layers, width) + _FOR_A_SPHERE * n for n, layers, width in _LADDER),
)


class KeySpheres(PerceptronCodec):
    """A perceptron of a point and of spheres that touch the surface from inside; rates set the sizes of both.

    Parameters
    ----------
    architecture : {"direct", "latent", "distances"}
        Inputs that the network gets from the spheres.
    coding : {"range", "sparse", "float16", "float32"}
        How weights become bytes.
    bits : int
        Bits of a quantised weight.
    steps : int
        Training steps; 0 takes the effort's.
    seconds : int
        Limit of the training's wall time; 0: none. When it ends the training, bytes depend on the machine and its load.

    Source: Y. Li et al., "High-fidelity 3D Model Compression based on Key Spheres", DCC 2022.
    """

    name = "keyspheres"
    packages = (*PerceptronCodec.packages, "scipy")
    decode_budget = _BUDGET
    container = Container(b"KSP", 1, name, decode_budget)

    def __init__(
        self, *, architecture: str = "direct", coding: str = "range", bits: int = 9, steps: int = 0, seconds: int = 0
    ) -> None:
        super().__init__(coding=coding, bits=bits, steps=steps, seconds=seconds)
        if architecture not in ARCHITECTURES:
            raise UsageError(f"keyspheres[architecture={architecture}]: possible are {', '.join(ARCHITECTURES)}")
        self._architecture = ARCHITECTURES.index(architecture)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Spheres, hidden layers and width; the label also names the effort, so that a label has one meaning."""
        return [
            Rate(
                f"n{n}l{layers}w{width}{MARKS[effort]}",
                {"spheres": n, "layers": layers, "width": width, "effort": effort},
            )
            for n, layers, width in _OF_EFFORT[effort]
        ]

    def mixture(self) -> Mixture:
        """The mixture of ``ni`` with the β of this paper's program, so that ``ni`` and this codec differ in spheres."""
        from gcbench.geometry.signed_distance import DAVIES

        return DAVIES

    def condition(self, mesh: trimesh.Trimesh, field: Field, rate: Rate, ctx: Context) -> bytes:
        """Extract and pack the spheres."""
        from gcbench.codecs.implicit.spheres import extract, pack

        del mesh
        return bytes([self._architecture]) + pack(extract(field, int(rate.params["spheres"]), ctx.seed))

    def condition_cost(self, condition: bytes) -> int:
        """Multiply-adds of the distances from one point to the spheres."""
        from gcbench.codecs.implicit.spheres import count_of

        return _FOR_A_SPHERE * count_of(condition[1:])

    def shown(self, conditions: Sequence[bytes], device: str) -> Callable[[Tensor], Tensor]:
        """Inputs of a point: its position and the inputs from the spheres, by the architecture in the conditions."""
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
        P points for each of B meshes.
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
    """Distances to the centres, divided by their mean, minus one: (B, P, N).

    Source: Li et al. (2022), Fig. 3, "latent point feature extraction".
    """
    import torch

    away = torch.cdist(points, spheres[..., :3])
    return _SCALE * (away / away.mean(-1, keepdim=True).clamp_min(_TINY) - 1)


def distances(points: Tensor, spheres: Tensor) -> Tensor:
    """Mean signed distance to the spheres, and each distance's difference from this mean: (B, P, N + 1)."""
    import torch

    away = torch.cdist(points, spheres[..., :3]) - spheres[:, None, :, 3]
    mean = away.mean(-1, keepdim=True)
    return torch.cat([mean, _SCALE * (away - mean)], dim=-1)
