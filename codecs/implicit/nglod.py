"""NGLOD, neural geometric level of detail: features at the corners of a sparse octree, summed over its levels.

The paper has 32 features per corner in float32, a decoder with one hidden layer of 128 for each level of detail, random
initial features, and a squared error summed over all levels of detail. The paper's sizes count all numbers in float32.
Here a stream is one level of detail, and differs from the paper to save bytes:

- A corner's first feature is a distance. It starts as the signed distance at the corner minus the interpolation of the
  coarser levels, so that the tree interpolates the signed distance before training; the decoder adds a correction.
- By default there are no other features: at equal bytes, one more level reduces the error more than more channels,
  which also need far more training (on an AMA frame, three more channels cost 28 % of bytes and save 5 % of the error).
- The squared error has the largest weight at the surface. The loss includes the estimated bits of the features, so that
  many of the finest features become 0. The second half of the training rounds features, with trained step sizes.
- Occupancy is coded as the coordinates of PCGCv2 are; features of all levels with neighbouring features as context.
- A corner outside the tree has the feature 0, so that the surface has no cracks; the paper's field ends there. The
  paper traces rays; here the zero set is meshed, and components outside the tree or smaller than a voxel are dropped.

``nglod[coding=float32]`` counts features and weights as the paper does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gcbench.codecs.arrays import decoded_mesh
from gcbench.codecs.base import Context, Effort, ModelCodec, Rate, as_effort
from gcbench.codecs.implicit.efforts import FINEST, MOST_TRIANGLES, Fit, cost, perceptron_size, watched
from gcbench.codecs.implicit.perceptron_codec import MAX_BITS, MIN_BITS, RESOLUTIONS, PerceptronCodec
from gcbench.entropy.budget import Budget
from gcbench.entropy.container import Container, Writer
from gcbench.errors import UsageError
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray
    from torch import Tensor

    from gcbench.codecs.implicit.octree import Octree
    from gcbench.codecs.implicit.octree_field import OctreeField
    from gcbench.entropy.tensors import Coding
    from gcbench.training.perceptrons import Quantise

    Floats32 = NDArray[np.float32]

CODINGS: tuple[Coding, ...] = ("range", "float16", "float32")  # a stream holds an index into this tuple
MAX_CHANNELS, MAX_WIDTH = 32, 128  # those of the paper
_DEPTH_OF_LOD_0 = 3
_LEARNING_RATE = 2e-3  # features are rounded to 1/16: they need not move far from their initial values
_NEAR = 0.25  # voxels: standard deviation of points near the surface; the paper has 0.01 at all levels of detail
# About 20 samples for each corner. On meshes of long thin triangles, samples take most of the time of an encoding.
_SAMPLES_PER_VOXEL, _FEWEST_SAMPLES = 40, 50_000
# Weight of one bit per finest voxel, relative to a squared error in voxels. Of 1e-4, 4e-4 and 1e-3, 4e-4 has the least
# product of bytes and error on an AMA frame at lod2 to lod4.
_BIT_WEIGHT = 4e-4
_BYTES_OF_A_VOXEL = 160  # while the octree is decoded: of the finest level, for all levels and their corners
_BYTES_OF_A_CORNER = 260  # while features are decoded: places, neighbours, mixers
_BYTES_OF_A_FEATURE = 40

_OF_EFFORT: dict[Effort, Sequence[int]] = {"quick": (1, 3), "standard": (1, 2, 3, 4, 5), "paper": (1, 2, 3, 4, 5)}
FITS: dict[Effort, Fit] = {
    "quick": Fit(50_000, 150, 2048, 128),
    "standard": Fit(400_000, 1000, 4096, 256),
    "paper": Fit(2_000_000, 5000, 8192, 256),
}


def _for_a_point(depth: int, channels: int, width: int) -> int:
    """Multiply-adds at one point: at each level, eight corners and their weights; then the decoder."""
    return 8 * (depth - 1) * (channels + 4) + perceptron_size(3 + channels, 1, width)


def _budget() -> Budget:
    """What the largest octree takes with the channels and the width of the paper."""
    most = cost(FINEST, 0, _for_a_point(8, MAX_CHANNELS, MAX_WIDTH))
    return Budget(
        memory=1 << 30, voxels=most.voxels, multiply_adds=most.multiply_adds, meshes=1, triangles=MOST_TRIANGLES
    )


class Nglod(ModelCodec):
    """Features at the corners of a sparse octree and a small decoder for each mesh; the rate is the level of detail.

    Level of detail n has 2^(n + 3) voxels along a side of the cube. The codec always runs on the CPU: a training step
    is short, and the interpolation is compiled for the CPU.

    Parameters
    ----------
    channels : int
        Features of a corner.
    width : int
        Width of the decoder's hidden layer.
    coding : {"range", "float16", "float32"}
        How features and weights become bytes.
    bits : int
        Bits of a quantised weight of the decoder.
    steps : int
        Training steps; 0 takes the effort's.
    seconds : int
        Limit of the training's wall time; 0: none. When it ends the training, bytes depend on the machine and its load.

    Source: T. Takikawa et al., "Neural Geometric Level of Detail: Real-time Rendering with Implicit 3D Shapes", CVPR
    2021, arXiv 2101.10994.
    """

    name = "nglod"
    deterministic: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = (*PerceptronCodec.packages, "scipy")
    decode_budget = _budget()
    container = Container(b"NGL", 1, name, decode_budget)

    def __init__(
        self,
        *,
        channels: int = 1,
        width: int = 16,
        coding: str = "range",
        bits: int = 9,
        steps: int = 0,
        seconds: int = 0,
    ) -> None:
        if coding not in CODINGS:
            raise UsageError(f"nglod[coding={coding}]: possible are {', '.join(CODINGS)}")
        if not MIN_BITS <= bits <= MAX_BITS or min(steps, seconds) < 0:
            raise UsageError(f"nglod: bits go from {MIN_BITS} to {MAX_BITS}, and steps and seconds are not negative")
        if not 1 <= channels <= MAX_CHANNELS or not 1 <= width <= MAX_WIDTH:
            raise UsageError(f"nglod: channels go from 1 to {MAX_CHANNELS}, width from 1 to {MAX_WIDTH}")
        self._channels, self._width = channels, width
        self._coding: Coding = coding
        self._bits = bits
        self._steps = steps
        self._seconds = seconds or math.inf

    def version(self) -> str:
        """Version of the format, and of the modules and packages that decide streams and meshes."""
        return source_version(self.container.version, __name__, packages=self.packages)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Levels of detail and training steps.

        Efforts also differ in samples. So a label with other steps than its effort's also has a mark of the effort,
        e.g. ``lod1s9q`` for ``quick``.
        """
        own = FITS[effort].steps
        steps = self._steps or own
        mark = "" if steps == own else effort[0]
        return [Rate(f"lod{n}s{steps}{mark}", {"lod": n, "effort": effort}) for n in _OF_EFFORT[effort]]

    def prepare(self) -> None:
        """Import torch and the modules that import it; compile the octree's loops or load the compiled ones."""
        super().prepare()
        import torch

        for heavy in ("geometry.marching_cubes", "geometry.signed_distance", "training.networks", "entropy.tensors"):
            import_module(f"gcbench.{heavy}")
        from gcbench.codecs.implicit.octree import Octree
        from gcbench.codecs.implicit.octree_field import OctreeField

        tree = Octree.decode(Octree(np.zeros((1, 3), np.int32), 3).encode(), 3)
        field = OctreeField(tree, 1, 1)
        field.read(field.encode("range", MIN_BITS), "range", MIN_BITS)
        torch.autograd.backward(field.error(torch.zeros(1, 3), torch.zeros(1)))

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Build the tree around the surface and fit its features and decoder."""
        import torch

        from gcbench.codecs.implicit.octree import Octree
        from gcbench.codecs.implicit.octree_field import OctreeField
        from gcbench.geometry.signed_distance import TAKIKAWA, Field, draw

        torch.set_num_threads(ctx.threads)
        fit, lod = FITS[as_effort(str(rate.params["effort"]))], int(rate.params["lod"])
        with ctx.stage("sampling"):
            distance = Field(mesh)
            tree = Octree.around(distance.surface, lod + _DEPTH_OF_LOD_0, ctx.seed)
            mixture = replace(TAKIKAWA, near=((0.4, _NEAR * tree.side), (0.4, 0.0)))
            count = min(fit.samples, max(_FEWEST_SAMPLES, _SAMPLES_PER_VOXEL * len(tree.voxels)))
            points, distances = draw(distance, count, mixture, ctx.seed)
        ctx.check_deadline()
        with ctx.stage("training"):
            model = OctreeField(tree, self._channels, self._width, seed=ctx.seed)
            model.start_from(distance)
            samples = torch.from_numpy(points), torch.from_numpy(distances)
            self._fit(model, samples, fit, ctx)
        with ctx.stage("coding"):
            writer = Writer().choice(self._coding, CODINGS).byte(self._bits, tree.depth, self._channels)
            writer.number(self._width).choice(min(fit.resolution, 4 * 2**tree.depth), RESOLUTIONS)
            writer.block(tree.encode()).raw(model.encode(self._coding, self._bits))
            return self.container.pack(writer.data())

    def _fit(self, model: OctreeField, samples: tuple[Tensor, Tensor], fit: Fit, ctx: Context) -> None:
        from gcbench.training.fused import all_threads
        from gcbench.training.networks import Schedule, train

        points, distances = samples

        def loss(where: Tensor, quantise: Quantise | None) -> Tensor:
            error = model.error(points[where], distances[where], quantise)
            return (error + per_bit * model.feature_bits())[None] if is_coded else error[None]

        per_bit = _BIT_WEIGHT / len(model.tree.voxels)
        is_coded = self._coding == "range"
        schedule = Schedule(
            self._steps or fit.steps,
            fit.batch,
            learning_rate=_LEARNING_RATE,
            quantised_from=0.5 if is_coded else 1.0,
            bits=self._bits,
            seconds=self._seconds,
        )
        # On several threads, torch sums the gradients of the scales over all corners in an order that can vary.
        with all_threads():
            train(model.parameters(), loss, len(points), schedule, seed=ctx.seed, progress=watched(ctx))

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Evaluate the field on a grid, coarse to fine, and mesh the field.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign, or its field has no surface.
        """
        import torch

        from gcbench.codecs.implicit.octree import BASE, MAX_DEPTH, Octree
        from gcbench.codecs.implicit.octree_field import OctreeField
        from gcbench.geometry.marching_cubes import evaluate, surface

        torch.set_num_threads(ctx.threads)
        with ctx.stage("coding"):
            fields = self.container.open(stream)
            coding = fields.choice("coding of the features", CODINGS)
            bits = fields.byte("number of bits of a weight", MIN_BITS, MAX_BITS)
            depth = fields.byte("depth of the octree", BASE, MAX_DEPTH)
            channels = fields.byte("number of channels", 1, MAX_CHANNELS)
            width = fields.number("width of the decoder", 1, MAX_WIDTH)
            resolution = fields.choice("resolution", RESOLUTIONS)
            declared = cost(resolution, 0, _for_a_point(depth, channels, width))
            fields.work.spend(
                memory=declared.memory, voxels=declared.voxels, multiply_adds=declared.multiply_adds, meshes=1
            )
            octree = fields.block("octree")
            fields.work.spend(memory=_BYTES_OF_A_VOXEL * Octree.declared_voxels(octree))
            tree = Octree.decode(octree, depth)
            ctx.check_deadline()
            fields.work.spend(memory=(_BYTES_OF_A_CORNER + _BYTES_OF_A_FEATURE * channels) * tree.corner_count)
            model = OctreeField(tree, channels, width)
            model.read(fields.rest(), coding, bits)

        def distance(points: Floats32) -> Floats32:
            ctx.check_deadline()
            return model.distance(points)

        with ctx.stage("evaluation"):
            volume = evaluate(distance, resolution)
        ctx.check_deadline()
        with ctx.stage("meshing"):
            return decoded_mesh(*_kept(tree, *surface(volume, self.decode_budget.triangles)))


def _kept(
    tree: Octree, vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices and faces of the components that enter a finest voxel of the tree and are larger than one.

    Smaller components appear where the fields of two sides of a thin part meet; the tree does not resolve parts of this
    size. If all components that enter a voxel are smaller, they are kept.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    joined = coo_array((np.ones(len(edges), bool), edges.T), shape=(len(vertices),) * 2)
    count, component = connected_components(joined, directed=False)
    enters = np.zeros(count, bool)
    enters[component[tree.holds(vertices)]] = True
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, component, vertices)
    np.maximum.at(high, component, vertices)
    large = enters & ((high - low).max(1) > tree.side)
    stays = (large if large.any() else enters)[component]
    return vertices[stays], (np.cumsum(stays) - 1)[faces[stays[faces[:, 0]]]]
