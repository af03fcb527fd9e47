"""The base of codecs with one perceptron for each mesh: it draws points, trains, codes weights, and meshes the field.

Subclasses define the sizes of the networks, their inputs for a point, and further bytes in a stream.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gcbench.codecs.arrays import decoded_mesh
from gcbench.codecs.base import Context, Effort, ModelCodec, Rate, as_effort
from gcbench.codecs.implicit.efforts import MARKS, Fit, cost, perceptron_size, watched
from gcbench.entropy.container import Container, Writer
from gcbench.errors import BitstreamError, UsageError
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray
    from torch import Tensor

    from gcbench.entropy.tensors import Coding
    from gcbench.geometry.signed_distance import Field, Mixture
    from gcbench.training.networks import Schedule
    from gcbench.training.perceptrons import Perceptrons, Quantise

Mask = Callable[[], None]
Train = Callable[["Schedule", "Mask | None"], None]
CODINGS: tuple[Coding, ...] = ("range", "sparse", "float16", "float32")  # a stream holds an index into this tuple
RESOLUTIONS = (32, 64, 128, 256)
MIN_BITS, MAX_BITS = 4, 12
MAX_LAYERS, MAX_WIDTH = 16, 512
FITS: dict[Effort, Fit] = {
    "quick": Fit(40_000, 500, 1024, 128, learning_rate=0.08),
    "standard": Fit(200_000, 5000, 4096, 128),
    "paper": Fit(1_000_000, 25_000, 4096, 256),  # Davies et al.: 10⁶ points, 100 epochs
}
# The loss clamps distances to ±0.1, as in DeepSDF (Park et al., 2019, Eq. 4): points farther off do not change the
# mesh, and a small network cannot learn them too. At equal steps the surface is 15 % nearer with the clamp.
CLAMP = 0.1
_NARROW = 16  # up to this many inputs of a network are computed once for all points; more would take gigabytes
# Numbers in a layer, for all points that a decoder evaluates at once: with 4096 inputs, a chunk of the grid would take
# 2 GB.
_NUMBERS_AT_ONCE = 1 << 22
_MOST_CONDITION = 1 << 16  # bytes; 4096 spheres take 12 000


class PerceptronCodec(ModelCodec):
    """A perceptron with ``layers`` hidden layers of ``width`` for each mesh; rates carry both, and the ``effort``.

    Parameters
    ----------
    coding : {"range", "sparse", "float16", "float32"}
        How weights become bytes.
    bits : int
        Bits of a quantised weight.
    steps : int
        Training steps; 0 takes the effort's.
    seconds : int
        Limit of the training's wall time; 0: none. When it ends the training, bytes depend on the machine and its load.
    """

    deterministic: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("torch", "constriction", "libigl", "numba", "scikit-image")
    container: ClassVar[Container]

    def __init__(self, *, coding: str = "range", bits: int = 9, steps: int = 0, seconds: int = 0) -> None:
        if coding not in CODINGS:
            raise UsageError(f"{self.name}[coding={coding}]: possible are {', '.join(CODINGS)}")
        if not MIN_BITS <= bits <= MAX_BITS or min(steps, seconds) < 0:
            raise UsageError(
                f"{self.name}: bits go from {MIN_BITS} to {MAX_BITS}, and steps and seconds are not negative"
            )
        self._coding: Coding = coding
        self._bits = bits
        self._steps = steps
        self._seconds = seconds or math.inf

    # --- What subclasses define ---------------------------------------------------------------------------------------

    @abstractmethod
    def mixture(self) -> Mixture:
        """The distribution of the training points."""

    def condition(self, mesh: trimesh.Trimesh, field: Field, rate: Rate, ctx: Context) -> bytes:
        """The bytes that the stream of a mesh holds besides weights, e.g. its spheres."""
        del mesh, field, rate, ctx
        return b""

    def shown(self, conditions: Sequence[bytes], device: str) -> Callable[[Tensor], Tensor]:
        """A function from points (B, P, 3) to the networks' inputs (B, P, F), given the conditions of the B meshes.

        Encoder and decoder call this method with the same bytes.

        Raises
        ------
        BitstreamError
            A condition is invalid.
        """
        del device
        if any(conditions):
            raise BitstreamError("bytes that nothing asks for")
        return lambda points: points

    def condition_cost(self, condition: bytes) -> int:
        """Multiply-adds that the inputs of one point take.

        Raises
        ------
        BitstreamError
            The condition is invalid.
        """
        del condition
        return 0

    def finish(self, networks: Perceptrons, rate: Rate, schedule: Schedule, train: Train) -> None:
        """Change the networks after training, e.g. prune them; ``train`` trains on with a schedule and a mask."""

    # --- The codec ----------------------------------------------------------------------------------------------------

    def version(self) -> str:
        """Version of the format, and of the modules and packages that decide streams and meshes."""
        return source_version(self.container.version, type(self).__module__, packages=self.packages)

    def prepare(self) -> None:
        """Import torch and the modules that import it."""
        super().prepare()
        for heavy in ("geometry.marching_cubes", "geometry.signed_distance", "training.networks", "entropy.tensors"):
            import_module(f"gcbench.{heavy}")

    def encode(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> list[bytes]:
        """Fit the networks of all meshes side by side."""
        import torch

        from gcbench.geometry.signed_distance import Field, draw
        from gcbench.training.fused import all_threads
        from gcbench.training.networks import Schedule, train
        from gcbench.training.perceptrons import Perceptrons, generators

        if not meshes:
            return []
        torch.set_num_threads(ctx.threads)
        fit = FITS[as_effort(str(rate.params["effort"]))]
        layers, width = int(rate.params["layers"]), int(rate.params["width"])
        with ctx.stage("sampling"):
            fields, drawn = [], []
            for mesh in meshes:
                ctx.check_deadline()
                fields.append(Field(mesh))
                drawn.append(draw(fields[-1], fit.samples, self.mixture(), ctx.seed))
            points = torch.stack([torch.from_numpy(p) for p, _ in drawn]).to(ctx.device)
            distances = torch.stack([torch.from_numpy(d) for _, d in drawn]).clamp(-CLAMP, CLAMP).to(ctx.device)
        with ctx.stage("condition"):
            sides = [self.condition(mesh, field, rate, ctx) for mesh, field in zip(meshes, fields, strict=True)]
            shown = self.shown(sides, ctx.device)
            wide = shown(points[:, :1]).shape[-1]
            known = shown(points) if wide <= _NARROW else None
        networks = Perceptrons(
            len(meshes), (wide, *[width] * layers, 1), generators=generators([ctx.seed] * len(meshes))
        ).to(ctx.device)
        quantised = self._coding in {"range", "sparse"}
        schedule = Schedule(
            self._steps or fit.steps,
            fit.batch,
            learning_rate=fit.learning_rate / width**0.5,
            quantised_from=0.6 if quantised else 1.0,
            bits=self._bits,
            seconds=self._seconds,
        )

        def loss(where: Tensor, quantise: Quantise | None) -> Tensor:
            where = where.to(ctx.device)
            inputs = shown(points.index_select(1, where)) if known is None else known.index_select(1, where)
            # Only the targets are clamped. Park et al. (2019, Eq. 4) also clamp the output; then a network whose first
            # outputs are beyond the clamp has no gradient and never learns.
            targets = distances.index_select(1, where)[..., None]
            return networks.absolute_error(inputs, targets, quantise, clamp=CLAMP)

        def fitted(schedule: Schedule, mask: Mask | None) -> None:
            train(networks.parameters(), loss, fit.samples, schedule, seed=ctx.seed, progress=watched(ctx), mask=mask)

        with ctx.stage("training"), all_threads():
            fitted(schedule, None)
            self.finish(networks, rate, schedule, fitted)
        with ctx.stage("coding"):
            return self._write(networks, sides, fit.resolution)

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Fit the network of one mesh."""
        return self.encode([mesh], rate, ctx)[0]

    def _write(self, networks: Perceptrons, sides: Sequence[bytes], resolution: int) -> list[bytes]:
        """Streams of networks and their conditions."""
        from gcbench.entropy.tensors import encode

        _, *hidden, _ = networks.widths
        streams = []
        for side, tensors in zip(sides, map(networks.tensors, range(len(sides))), strict=True):
            writer = Writer().choice(self._coding, CODINGS).byte(self._bits, len(hidden)).number(hidden[0])
            writer.choice(resolution, RESOLUTIONS).block(side).raw(encode(tensors, self._coding, self._bits))
            streams.append(self.container.pack(writer.data()))
        return streams

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Evaluate the network on a grid, coarse to fine, and mesh the values.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign, or its network has no surface.
        """
        import torch

        from gcbench.entropy.tensors import decode
        from gcbench.geometry.marching_cubes import evaluate, surface
        from gcbench.training.perceptrons import Perceptrons, shapes

        torch.set_num_threads(ctx.threads)
        with ctx.stage("coding"):
            fields = self.container.open(stream)
            coding = fields.choice("coding of the weights", CODINGS)
            bits = fields.byte("number of bits of a weight", MIN_BITS, MAX_BITS)
            layers = fields.byte("number of hidden layers", 1, MAX_LAYERS)
            width = fields.number("width of the hidden layers", 1, MAX_WIDTH)
            resolution = fields.choice("resolution", RESOLUTIONS)
            condition = fields.block("condition", _MOST_CONDITION)
            shown = self.shown([condition], ctx.device)
            wide = shown(torch.zeros(1, 1, 3, device=ctx.device)).shape[-1]
            weights = perceptron_size(wide, layers, width)
            declared = cost(resolution, weights, weights + self.condition_cost(condition))
            fields.work.spend(
                memory=declared.memory, voxels=declared.voxels, multiply_adds=declared.multiply_adds, meshes=1
            )
            widths = (wide, *[width] * layers, 1)
            tensors = decode(fields.rest(), shapes(widths), coding, bits)
            networks = Perceptrons.of(tensors, widths).to(ctx.device)

        points_at_once = max(1, _NUMBERS_AT_ONCE // max(widths))

        def distance(points: NDArray[np.float32]) -> NDArray[np.float32]:
            found = []
            with torch.inference_mode():
                for part in torch.split(torch.from_numpy(points)[None].to(ctx.device), points_at_once, dim=1):
                    ctx.check_deadline()
                    found.append(networks(shown(part))[0, :, 0])
                values: NDArray[np.float32] = torch.cat(found).cpu().numpy()
            return values

        with ctx.stage("evaluation"):
            volume = evaluate(distance, resolution)
        ctx.check_deadline()
        with ctx.stage("meshing"):
            return decoded_mesh(*surface(volume, self.decode_budget.triangles))


def ladder(networks: Sequence[tuple[int, int]], effort: Effort) -> list[Rate]:
    """Rates of networks given as (hidden layers, width)."""
    return [Rate(f"l{n}w{w}{MARKS[effort]}", {"layers": n, "width": w, "effort": effort}) for n, w in networks]
