"""QuantDeepSDF, the neural baseline of the NeCGS paper: one quantised DeepSDF network and a latent for each mesh.

The paper says little (appendix C.2): DeepSDF with quantised parameters, trained on points of TSDF-Def volumes, eight
layers, the width of which is the rate. Like DeepSDF's, the fourth hidden layer is followed by the input again.
Chosen here:

- Points are the grid vertices of the volumes that NeCGS is given: all of the narrow band, and half as many far ones,
  where the TSDF is constant.
- The loss is L1, of the TSDF only towards the surface where it is cut off: DeepSDF's clamping, with a gradient left to
  values at the wrong end. (Plain L1 came out 1.4 times as far from twelve shapes.) The deformation counts three tenths;
  it is hardly learned with any of 0.3 to 2, since it changes from one grid vertex to the next, which no smooth
  function of coordinates does: at K = 32, AMA volumes without deformation are 5.0e-3 away, with it 2.3e-3, and ours
  5 to 6.
- Weights are quantised for each tensor on a scale of its own, in the loop during the last two fifths of the training,
  and range coded; latents to the 257 levels of the paper's Eq. 5, in the loop from the start. A latent has 32 numbers:
  16 and 64 are as good on 40 AMA frames, and all take little beside the network.
- Coordinates are shown as they are, as published. ``quantdeepsdf[encoding=fourier]`` adds sines and cosines of four
  octaves, which is better by far where training is short: mean distance to twelve shapes 5.1e-3 for 7.6e-3, width 128.
- Volumes are evaluated where a surface can be and meshed as NeCGS meshes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, get_args

import numpy as np

from gcbench.codecs.base import Context, Effort, Rate, SetCodec, StreamLayout, as_effort, check_index
from gcbench.codecs.implicit.efforts import watched
from gcbench.errors import BadMesh, UsageError
from gcbench.necgs import PACKAGES
from gcbench.necgs.settings import Objective, effort_settings
from gcbench.versions import source_version

if TYPE_CHECKING:
    from pathlib import Path

    import trimesh
    from numpy.typing import NDArray

    from gcbench.necgs.designs.latent_mlp import Autodecoder
    from gcbench.necgs.designs.latent_mlp_stream import Reader
    from gcbench.training.progress import Progress

RESOLUTIONS = (32, 64, 128, 256)
_OBJECTIVES: dict[str, Objective | None] = {"": None, **{name: name for name in get_args(Objective)}}
_OCTAVES = {"plain": 0, "fourier": 4}
_FITTING_SHARE = 0.4  # of the time to encode, for the progress
_LADDER: dict[Effort, tuple[int, ...]] = {
    "quick": (128, 224),
    "standard": (64, 128, 192, 256),
    "paper": (64, 96, 128, 192, 256, 384),
}


@dataclass(frozen=True)
class _Training:
    """How an effort trains: passes over the samples, samples a step, and the fewest steps that a small set gets."""

    epochs: int
    batch: int
    least_steps: int


_TRAINING: dict[Effort, _Training] = {
    "quick": _Training(epochs=80, batch=1024, least_steps=1000),
    "standard": _Training(epochs=150, batch=2048, least_steps=3000),
    "paper": _Training(epochs=1000, batch=8192, least_steps=20_000),
}
ADDING_STEPS, ADDING_BATCH, ADDING_RATE = 300, 4096, 0.05


class QuantDeepSdf(SetCodec):
    """A perceptron (vertex, latent of a mesh) → TSDF-Def for a whole set; its width is the rate.

    Parameters
    ----------
    k : int
        Resolution of the volumes; 0 is the effort's.
    latent : int
        Numbers in the latent of a mesh.
    encoding : {"plain", "fourier"}
        Of coordinates.
    objective : {"", "closest-point", "render", "none"}
        What volumes are fitted to; "" is the effort's. As ``necgs`` has it.
    bits : int
        Of a weight.
    epochs : int
        Of training; 0 is the effort's.
    seconds : int
        Of wall time that training may take; 0 is no bound. Where it binds, bytes depend on the machine and its load.

    Source: Ren et al., NeCGS, arXiv 2405.15034, appendix C.2 and Fig. 12; Park et al., DeepSDF, CVPR 2019.
    """

    name = "quantdeepsdf"
    deterministic = False
    packages = PACKAGES
    random_access = True

    def __init__(
        self,
        *,
        k: int = 0,
        latent: int = 32,
        encoding: str = "plain",
        objective: str = "",
        bits: int = 8,
        epochs: int = 0,
        seconds: int = 0,
    ) -> None:
        if k not in (0, *RESOLUTIONS):
            raise UsageError(f"quantdeepsdf[k={k}]: possible are {', '.join(map(str, RESOLUTIONS))}")
        if encoding not in _OCTAVES:
            raise UsageError(f"quantdeepsdf[encoding={encoding}]: possible are {', '.join(_OCTAVES)}")
        if objective not in _OBJECTIVES:
            raise UsageError(f"quantdeepsdf[objective={objective}]: possible are {', '.join(get_args(Objective))}")
        if not 1 <= latent <= 256 or not 4 <= bits <= 12 or min(epochs, seconds) < 0:
            raise UsageError(
                "quantdeepsdf: latent is 1 to 256, bits are 4 to 12, and epochs and seconds are not negative"
            )
        self._k = k
        self._latent = latent
        self._octaves = _OCTAVES[encoding]
        self._objective = _OBJECTIVES[objective]
        self._bits = bits
        self._epochs = epochs
        self._seconds = seconds or math.inf

    def version(self) -> str:
        """The modules that decide bytes and meshes, and the packages whose numbers end in either."""
        return source_version(1, __name__, packages=self.packages)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Resolution and width; at a resolution that is not the effort's own, its initial: ``k64w128q``."""
        own = effort_settings(effort).architecture.resolution
        k = self._k or own
        mark = "" if k == own else effort[0]
        return [Rate(f"k{k}w{width}{mark}", {"width": width, "effort": effort}) for width in _LADDER[effort]]

    def prepare(self) -> None:
        """Import torch and what comes with it."""
        super().prepare()
        for heavy in ("codecs.implicit.autodecoder", "necgs.dmc", "necgs.volumes"):
            import_module(f"gcbench.{heavy}")

    # --- A set --------------------------------------------------------------------------------------------------------

    def encode_set(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> bytes:
        """Fit volumes, train network and latents on them, and write the stream.

        Parameters
        ----------
        meshes : sequence of Trimesh
            Normalised; at least one.
        rate : Rate
        ctx : Context
            Fitted volumes and checkpoints go into its ``work``: stopped work goes on where it was, to the same bytes.

        Raises
        ------
        BadMesh
            A mesh has no volume.
        """
        import torch

        from gcbench.necgs.designs.latent_mlp import draw, fit_set
        from gcbench.necgs.designs.latent_mlp_stream import Architecture, write
        from gcbench.training.loop import Schedule
        from gcbench.training.progress import part

        if not meshes:
            raise UsageError("no meshes to encode")
        effort = as_effort(str(rate.params["effort"]))
        architecture = Architecture(
            self._k or effort_settings(effort).architecture.resolution,
            int(rate.params["width"]),
            self._latent,
            self._octaves,
            self._bits,
        )
        with ctx.stage("volumes"):
            progress = part(watched(ctx), 0, _FITTING_SHARE)
            volumes = self._volumes(meshes, architecture.resolution, effort, ctx, progress=progress, work=ctx.work)
            samples = draw(volumes, ctx.seed)
        torch.set_num_threads(ctx.threads)
        training = _TRAINING[effort]
        size = len(samples.mesh)
        epochs = self._epochs or training.epochs
        batch = min(training.batch, size)
        steps = epochs * size // batch if self._epochs else max(epochs * size // batch, training.least_steps)
        schedule = Schedule(
            steps, batch, learning_rate=0.05 / architecture.width**0.5, bits=architecture.bits, seconds=self._seconds
        )
        with ctx.stage("training"):
            tensors, latents = fit_set(
                samples,
                len(meshes),
                architecture,
                schedule,
                seed=ctx.seed,
                device=ctx.device,
                progress=part(watched(ctx), _FITTING_SHARE, 1),
                checkpoint=ctx.work / f"training-{samples.digest()}.safetensors" if ctx.work else None,
            )
        with ctx.stage("coding"):
            return write(architecture, tensors, latents)

    def decode_set(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh. One whose volume has no surface comes without faces.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign.
        """
        reader, autodecoder = self._open(stream, ctx)
        return [_mesh(reader, autodecoder, i, ctx) for i in range(reader.mesh_count)]

    def decode_one(self, stream: bytes, index: int, ctx: Context) -> trimesh.Trimesh:
        """Decode the mesh ``index``; the latents of others are not looked at.

        Raises
        ------
        BitstreamError
            As of :meth:`decode_set`, or there is no such mesh.
        """
        reader, autodecoder = self._open(stream, ctx)
        check_index(index, reader.mesh_count)
        return _mesh(reader, autodecoder, index, ctx)

    def add(
        self, stream: bytes, meshes: Sequence[trimesh.Trimesh], ctx: Context, *, effort: Effort = "standard"
    ) -> bytes:
        """Add meshes to a stream: a latent is fitted for each; the network stays, and so does all that was there.

        Parameters
        ----------
        stream : bytes
        meshes : sequence of Trimesh
            Normalised; at least one.
        ctx : Context
        effort : {"quick", "standard", "paper"}
            Of fitting the volumes.

        Returns
        -------
        bytes
            The longer stream.

        Raises
        ------
        BadMesh
            A mesh has no volume.
        BitstreamError
            The stream is short, corrupt or foreign.
        """
        from gcbench.necgs.designs.latent_mlp import draw, fit_latent
        from gcbench.necgs.designs.latent_mlp_stream import append
        from gcbench.training.loop import Schedule
        from gcbench.training.progress import part

        if not meshes:
            raise UsageError("no meshes to add")
        reader, autodecoder = self._open(stream, ctx)
        present = np.stack([reader.latent(i) for i in range(reader.mesh_count)])
        resolution = reader.architecture.resolution
        progress = part(watched(ctx), 0, _FITTING_SHARE)
        volumes = self._volumes(meshes, resolution, effort, ctx, progress=progress)
        schedule = Schedule(ADDING_STEPS, ADDING_BATCH, ADDING_RATE, seconds=self._seconds)
        latents = []
        for i, volume in enumerate(volumes):
            begin, end = (_FITTING_SHARE + (1 - _FITTING_SHARE) * n / len(volumes) for n in (i, i + 1))
            progress = part(watched(ctx), begin, end)
            samples = draw(volume[None], ctx.seed)
            latents.append(fit_latent(autodecoder, samples, present, schedule, seed=ctx.seed, progress=progress))
        return append(stream, np.stack(latents))

    def layout(self, stream: bytes) -> StreamLayout:
        """Header and network are shared; a latent belongs to one mesh."""
        from gcbench.necgs.designs.latent_mlp_stream import Reader

        return StreamLayout(*Reader(stream).layout())

    def _open(self, stream: bytes, ctx: Context) -> tuple[Reader, Autodecoder]:
        import torch

        from gcbench.necgs.designs.latent_mlp import Autodecoder
        from gcbench.necgs.designs.latent_mlp_stream import Reader

        torch.set_num_threads(ctx.threads)
        with ctx.stage("coding"):
            reader = Reader(stream)
            return reader, Autodecoder.of(reader.architecture, reader.tensors()).to(ctx.device)

    def _volumes(
        self,
        meshes: Sequence[trimesh.Trimesh],
        resolution: int,
        effort: Effort,
        ctx: Context,
        *,
        progress: Progress,
        work: Path | None = None,
    ) -> NDArray[np.int16]:
        """TSDF-Def volumes, exactly as NeCGS fits them."""
        from gcbench.geometry.grid import Grid
        from gcbench.necgs.designs.latent_mlp_stream import SYMBOL_BITS
        from gcbench.necgs.placement import placement
        from gcbench.necgs.volumes import Recipe, fit_all

        for i, mesh in enumerate(meshes):
            try:
                placement(mesh)
            except BadMesh as error:
                raise BadMesh(f"mesh {i}: {error}") from error
        fitting = effort_settings(effort).with_(objective=self._objective).fitting
        recipe = Recipe(Grid(resolution), fitting, deformation=True, bits=SYMBOL_BITS, seed=ctx.seed, device=ctx.device)
        folder = work / "volumes" if work else None
        return fit_all(meshes, recipe, workers=ctx.threads, folder=folder, progress=progress)


def _mesh(reader: Reader, autodecoder: Autodecoder, index: int, ctx: Context) -> trimesh.Trimesh:
    import torch
    import trimesh

    from gcbench.geometry.deformable_marching_cubes import extract
    from gcbench.geometry.grid import Grid

    ctx.check_deadline()
    with ctx.stage("network"):
        volume = autodecoder.volume(reader.latent(index), ctx.check_deadline)
    with ctx.stage("meshing"):
        vertices, faces = extract(torch.from_numpy(volume), Grid(reader.architecture.resolution))
    points = vertices.numpy().astype(np.float64)
    return trimesh.Trimesh(points, faces.numpy(), process=False, validate=False)
