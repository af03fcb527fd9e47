"""What codecs with one perceptron for each mesh share: draw points, train side by side, code weights, mesh the field.

A codec of this kind says how wide its networks are, what they are shown of a point, and what else goes into a stream.
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
from gcbench.codecs.implicit.efforts import MARKS, Fit, watched
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
CODINGS: tuple[Coding, ...] = ("range", "sparse", "float16", "float32")  # their places are in streams
RESOLUTIONS = (32, 64, 128, 256)
MIN_BITS, MAX_BITS = 4, 12
MAX_LAYERS, MAX_WIDTH = 16, 512
FITS: dict[Effort, Fit] = {
    "quick": Fit(100_000, 1500, 2048, 128),
    "standard": Fit(200_000, 5000, 4096, 128),
    "paper": Fit(1_000_000, 25_000, 4096, 256),  # Davies et al.: 10⁶ points, 100 epochs
}
# Distances are compared up to here, as in DeepSDF (Park et al., 2019, Eq. 4): what lies farther off is not meshed, and
# a small network has better things to learn. At equal steps the surface comes out 15 % nearer.
CLAMP = 0.1
_NARROW = 16  # inputs of a network that are made once, for all points, and kept: more would take gigabytes
_INPUTS_AT_ONCE = 1 << 22  # of a decoder; 4096 spheres would take 2 GB a chunk of the grid


class PerceptronCodec(ModelCodec):
    """A perceptron of ``layers`` hidden layers of ``width`` for each mesh.

    Rates carry ``layers``, ``width`` and ``effort``.

    Parameters
    ----------
    coding : {"range", "sparse", "float16", "float32"}
        Of the weights.
    bits : int
        Of a quantised weight.
    steps : int
        Of training; 0 is the effort's.
    seconds : int
        Of wall time that training may take; 0 is no bound. Where it binds, bytes depend on the machine and its load.
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

    # --- What a codec says of itself ----------------------------------------------------------------------------------

    @abstractmethod
    def mixture(self) -> Mixture:
        """Where points are drawn."""

    def condition(self, mesh: trimesh.Trimesh, field: Field, rate: Rate, ctx: Context) -> bytes:
        """What the stream of a mesh holds beside weights."""
        del mesh, field, rate, ctx
        return b""

    def shown(self, conditions: Sequence[bytes], device: str) -> Callable[[Tensor], Tensor]:
        """What networks are shown of points (B, P, 3), given the conditions of their B meshes: (B, P, F).

        Encoder and decoder ask alike; the decoder knows no more than these bytes.

        Raises
        ------
        BitstreamError
            A condition is not one.
        """
        del device
        if any(conditions):
            raise BitstreamError("bytes that nothing asks for")
        return lambda points: points

    def finish(self, networks: Perceptrons, rate: Rate, schedule: Schedule, train: Train) -> None:
        """Change networks after training, e.g. prune them; ``train`` trains on, under a schedule and with a mask."""

    # --- The codec ----------------------------------------------------------------------------------------------------

    def version(self) -> str:
        """What all perceptrons share, the codec's own modules, and the packages whose numbers end in stream or mesh."""
        return source_version(self.container.version, type(self).__module__, packages=self.packages)

    def prepare(self) -> None:
        """Import torch and what comes with it."""
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
            learning_rate=0.04 / width**0.5,
            quantised_from=0.6 if quantised else 1.0,
            bits=self._bits,
            seconds=self._seconds,
        )

        def loss(where: Tensor, quantise: Quantise | None) -> Tensor:
            where = where.to(ctx.device)
            inputs = shown(points.index_select(1, where)) if known is None else known.index_select(1, where)
            # Park et al. (2019, Eq. 4) clamp what the network says too; one that starts beyond the clamp then has no
            # gradient, and stays there.
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
        """Streams of networks and what is beside their weights."""
        from gcbench.entropy.tensors import encode

        _, *hidden, _ = networks.widths
        streams = []
        for side, tensors in zip(sides, map(networks.tensors, range(len(sides))), strict=True):
            writer = Writer().choice(self._coding, CODINGS).byte(self._bits, len(hidden)).number(hidden[0])
            writer.choice(resolution, RESOLUTIONS).block(side).raw(encode(tensors, self._coding, self._bits))
            streams.append(self.container.pack(writer.data()))
        return streams

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Evaluate the network on a grid, coarse to fine, and mesh it.

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
            shown = self.shown([fields.block("condition")], ctx.device)
            wide = shown(torch.zeros(1, 1, 3, device=ctx.device)).shape[-1]
            widths = (wide, *[width] * layers, 1)
            tensors = decode(fields.rest(), shapes(widths), coding, bits)
            networks = Perceptrons.of(tensors, widths).to(ctx.device)

        def distance(points: NDArray[np.float32]) -> NDArray[np.float32]:
            ctx.check_deadline()
            with torch.inference_mode():
                parts = torch.split(torch.from_numpy(points)[None].to(ctx.device), _INPUTS_AT_ONCE // wide, dim=1)
                found: NDArray[np.float32] = torch.cat([networks(shown(part))[0, :, 0] for part in parts]).cpu().numpy()
            return found

        with ctx.stage("evaluation"):
            volume = evaluate(distance, resolution)
        with ctx.stage("meshing"):
            return decoded_mesh(*surface(volume))


def ladder(networks: Sequence[tuple[int, int]], effort: Effort) -> list[Rate]:
    """Rates of networks given as (hidden layers, width)."""
    return [Rate(f"l{n}w{w}{MARKS[effort]}", {"layers": n, "width": w, "effort": effort}) for n, w in networks]
