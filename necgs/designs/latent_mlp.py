"""QuantDeepSDF's design: one perceptron from a grid vertex and the latent of a mesh to a TSDF-Def value.

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
- Weights are quantised for each tensor on a scale of its own, in the loop during the last two fifths of the training;
  latents to the 257 levels of the paper's Eq. 5, in the loop from the start. A latent has 32 numbers: 16 and 64 are as
  good on 40 AMA frames, and all take little beside the network.
- Coordinates are shown as they are, as published. ``encoding=fourier`` adds sines and cosines of four octaves, which is
  better by far where training is short: mean distance to twelve shapes 5.1e-3 for 7.6e-3, width 128.
- Volumes are evaluated only where a surface can be.

``latent_mlp_network`` has the network and its volumes, ``latent_mlp_training`` the training.

Source: Ren et al., NeCGS, arXiv 2405.15034, appendix C.2 and Fig. 12; Park et al., DeepSDF, CVPR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from gcbench.entropy.tensors import levels
from gcbench.errors import UsageError
from gcbench.necgs.designs.base import Decoder, Design, Parameters, Symbols, Trained
from gcbench.necgs.settings import EFFORT_RESOLUTION, RESOLUTIONS, Effort, Objective, effort_objective, one_of

if TYPE_CHECKING:
    from typing import Self

    import trimesh

    from gcbench.entropy.container import Fields, Writer
    from gcbench.necgs.designs.base import Array
    from gcbench.necgs.job import Job

LAYERS = 8  # fully connected ones, as published
SKIP = 4  # the layer that is shown the input again; DeepSDF's
CHANNELS = 4  # of a TSDF-Def value
SYMBOL_BITS = 8  # N of Eq. 5: latents and volumes have 2^N + 1 levels in [-1, 1]
_OCTAVES = {"plain": 0, "fourier": 4}
_RANGES = {"width": (1, 1024), "latent": (1, 256), "octaves": (0, 8), "bits": (4, 12)}


@dataclass(frozen=True)
class Training:
    """How network and latents are trained.

    Parameters
    ----------
    objective : {"closest-point", "render", "none"}
        What volumes are fitted to.
    epochs, batch : int
        Passes over the samples, and samples a step.
    least_steps : int
        The fewest that a small set gets.
    seconds : float
        Of wall time that training may take. Where they bind, bytes depend on the machine and its load.
    adding_steps, adding_batch, adding_rate
        Steps, batch and learning rate for each mesh that is added to a stream.
    fit_steps : int
        Steps of the fit of a volume; 0 takes those that suit the objective.
    """

    objective: Objective
    epochs: int
    batch: int
    least_steps: int
    seconds: float = math.inf
    adding_steps: int = 300
    adding_batch: int = 4096
    adding_rate: float = 0.05
    fit_steps: int = 0


_TRAININGS: dict[Effort, Training] = {
    "quick": Training(effort_objective("quick"), epochs=12, batch=1024, least_steps=600, fit_steps=10),
    "standard": Training(effort_objective("standard"), epochs=150, batch=2048, least_steps=3000),
    "paper": Training(effort_objective("paper"), epochs=1000, batch=8192, least_steps=20_000),
}
_WIDTHS: dict[Effort, int] = {"quick": 128, "standard": 128, "paper": 256}


@dataclass(frozen=True)
class LatentMlp(Design[Training]):
    """The network, and the grid on which it is evaluated.

    Parameters
    ----------
    resolution : int
        K, grid vertices along each axis of a volume.
    width : int
        Of the hidden layers.
    latent : int
        C, numbers in the latent of a mesh.
    octaves : int
        Frequencies of the positional encoding beside the plain coordinates; 0 is none, as published.
    bits : int
        Of a weight.

    Raises
    ------
    ValueError
        A number out of range.
    """

    name: ClassVar[str] = "latent_mlp"
    tag: ClassVar[int] = 2
    ladder: ClassVar[Mapping[Effort, Sequence[int]]] = {
        "quick": (128, 224),
        "standard": (64, 128, 192, 256),
        "paper": (64, 96, 128, 192, 256, 384),
    }

    resolution: int
    width: int
    latent: int = 32
    octaves: int = 0
    bits: int = 8

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            raise ValueError(f"the resolution is {self.resolution}, not one of {RESOLUTIONS}")
        for what, (low, high) in _RANGES.items():
            if not low <= getattr(self, what) <= high:
                raise ValueError(f"{what}: {getattr(self, what)} is not in [{low}, {high}]")

    @property
    def layer_widths(self) -> tuple[int, ...]:
        """Of the input, every hidden layer, and the output."""
        inputs = 3 * (1 + 2 * self.octaves) + self.latent
        return (inputs, *[self.width] * (LAYERS - 1), CHANNELS)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of weights (inputs, outputs) and biases (1, outputs), layer by layer."""
        widths = self.layer_widths
        inputs = [width + (widths[0] if layer == SKIP else 0) for layer, width in enumerate(widths[:-1])]
        return [shape for fan_in, out in zip(inputs, widths[1:], strict=True) for shape in ((fan_in, out), (1, out))]

    # --- Design -------------------------------------------------------------------------------------------------------

    @property
    def scale_count(self) -> int:
        """A step of the quantiser for each tensor."""
        return 2 * LAYERS

    @classmethod
    def plan(
        cls,
        effort: Effort,
        *,
        k: int = 0,
        width: int = 0,
        epochs: int = 0,
        adding_steps: int = 0,
        objective: str = "",
        latent: int = 32,
        encoding: str = "plain",
        bits: int = 8,
        seconds: int = 0,
    ) -> tuple[Self, Training]:
        """Configuration and training of an effort.

        Parameters
        ----------
        effort : {"quick", "standard", "paper"}
        k, width, latent, bits : int
            As of the class; the encoding is that of coordinates, {"plain", "fourier"}.
        epochs, adding_steps, objective, seconds
            As of :class:`Training`; 0 seconds are no bound. Who chooses epochs gets them, however
            few steps they are.
        """
        if min(epochs, seconds, adding_steps) < 0:
            raise UsageError("epochs, seconds and adding_steps cannot be negative")
        octaves = _OCTAVES[one_of("encoding", encoding, tuple(_OCTAVES))]
        k = one_of("k", k, (0, *RESOLUTIONS)) or EFFORT_RESOLUTION[effort]
        own = _TRAININGS[effort]
        training = replace(
            own,
            objective=effort_objective(effort, objective),
            epochs=epochs or own.epochs,
            least_steps=0 if epochs else own.least_steps,
            seconds=seconds or math.inf,
            adding_steps=adding_steps or own.adding_steps,
        )
        return cls(k, width or _WIDTHS[effort], latent, octaves, bits), training

    def write(self, writer: Writer) -> None:
        """Write resolution and sizes."""
        writer.choice(self.resolution, RESOLUTIONS).number(*(getattr(self, what) for what in _RANGES))

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read the configuration."""
        resolution = fields.choice("resolution", RESOLUTIONS)
        return cls(resolution, **{what: fields.number(what, *bounds) for what, bounds in _RANGES.items()})

    def tensors(self) -> dict[str, Symbols]:
        """Weights and biases, layer by layer."""
        names = (f"{layer}.{kind}" for layer in range(LAYERS) for kind in ("weight", "bias"))
        return {name: Symbols(shape, levels(self.bits)) for name, shape in zip(names, self.shapes, strict=True)}

    def features(self) -> Symbols:
        """One latent."""
        return Symbols((self.latent,), (1 << SYMBOL_BITS) + 1)

    def describe(self) -> str:
        """The configuration in one line."""
        return (
            f"TSDF-Def volumes of {self.resolution}³; perceptron of {LAYERS} layers, width {self.width}, "
            f"{self.octaves} octaves, {self.bits} bits; latents of {self.latent}"
        )

    def train(self, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job) -> Trained:
        """Fit dense volumes and train on samples of them."""
        from gcbench.necgs.designs.latent_mlp_training import compressed

        return compressed(self, meshes, training, job)

    def add(
        self, parameters: Parameters, present: Array, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job
    ) -> Array:
        """Fit dense volumes, and a latent to each."""
        from gcbench.necgs.designs.latent_mlp_network import Autodecoder
        from gcbench.necgs.designs.latent_mlp_training import added

        return added(Autodecoder.of(self, parameters).to(job.device), present, meshes, training, job)

    def decoder(self, parameters: Parameters, device: str = "cpu") -> Decoder:
        """The decoder with these parameters."""
        from gcbench.necgs.designs.latent_mlp_network import Autodecoder

        return Autodecoder.of(self, parameters).to(device)
