"""The published design: convolutions with pixel shuffles from a feature of 4³ × 16 numbers to a TSDF-Def volume.

``convolution_network`` has the decoder, ``convolution_encoder`` the encoder of an ablation, and
``convolution_training`` the training.

Source: Ren et al., NeCGS: Neural Compression for 3D Geometry Sets, arXiv 2405.15034.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2, prod
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from gcbench.errors import UsageError
from gcbench.necgs.designs.base import EXTRACTION_BYTES, Cost, Decoder, Design, Parameters, Symbols, Trained
from gcbench.necgs.settings import EFFORT_RESOLUTION, RESOLUTIONS, Effort, Objective, effort_objective, one_of
from gcbench.training.precision import Precision

if TYPE_CHECKING:
    from typing import Self

    import trimesh

    from gcbench.entropy.container import Fields, Writer
    from gcbench.necgs.designs.base import Array
    from gcbench.necgs.job import Job

Encoder = Literal["auto-decoder", "autoencoder"]

UPSCALING = 2  # of every module (Sec. 4.1)
KERNEL = 3
FEATURE_RESOLUTIONS = (1, 2, 4, 8, 16)
PUBLISHED_WIDTHS = (64, 48, 32, 24, 16)  # the authors' configuration at K = 128
_EXTRA_WIDTH = 12  # of the sixth module at K = 256, which the paper adds and does not describe
_MOST_CHANNELS, _MOST_WIDTH, _BITS = 256, 512, (2, 12)


@dataclass(frozen=True)
class Training:
    """How features and decoder are trained (Sec. 3.2, 4.1).

    Parameters
    ----------
    objective : {"closest-point", "render", "none"}
        What volumes are fitted to.
    epochs, batch : int
        Passes over the set, and meshes a step.
    learning_rate, warmup : float
        Adam's; rises linearly during the first ``warmup`` of the epochs, falls as a cosine after.
    feature_speed : float
        Learning rate of the features over that of the decoder; published is 1. A feature moves once an epoch, the
        decoder with every step, so that in small sets features hardly leave where they start.
    clip : float
        Longest gradient of the decoder, in multiples of its running mean; 0 is no limit, as published.
    mask_weight, ssim_weight : float
        λ1 and λ2 of Eq. 3; 0 leaves the term out.
    encoder : {"auto-decoder", "autoencoder"}
        Features optimised directly, or made by an encoder from the volumes (Sec. 4.3, C.3).
    precision : {"auto", "float32", "bfloat16"}
        Of the convolutions while training; auto is bfloat16 where the machine has it.
    adding_steps : int
        Of Adam, for each mesh that is added to a stream.
    fit_steps : int
        Steps of the fit of a volume; 0 takes those that suit the objective.
    """

    objective: Objective = "closest-point"
    epochs: int = 400
    batch: int = 4
    learning_rate: float = 1e-3
    warmup: float = 0.2
    feature_speed: float = 1.0
    clip: float = 0.0
    mask_weight: float = 5.0
    ssim_weight: float = 10.0
    encoder: Encoder = "auto-decoder"
    precision: Precision = "auto"
    adding_steps: int = 200
    fit_steps: int = 0


#: For sets of some dozen meshes and no GPU. A mesh costs a CPU the same in any batch, so that batches of one give four
#: times the steps, and features that learn faster leave their random start.
FAST = Training(batch=1, learning_rate=2e-3, feature_speed=5.0, clip=2.0)
_TOPS: dict[Effort, int] = {"quick": 24, "standard": 32, "paper": PUBLISHED_WIDTHS[0]}
_TRAININGS: dict[Effort, Training] = {
    "quick": replace(FAST, epochs=50, fit_steps=10),
    "standard": FAST,
    "paper": Training(),
}


@dataclass(frozen=True)
class Convolution(Design[Training]):
    """The decoder and the features.

    Parameters
    ----------
    resolution : int
        K, grid vertices along each axis of a volume (Sec. 3.1).
    widths : tuple of int
        Output channels of each upsampling module; as many as doublings from ``feature_resolution`` to ``resolution``.
    feature_resolution, feature_channels : int
        K' and C of the embedded features (Sec. 4.1).
    bits : int
        N of Eq. 5: features and parameters have 2^N + 1 levels.
    deformation : bool
        TSDF-Def volumes (4 channels) if true, plain TSDF (1 channel) otherwise.

    Raises
    ------
    ValueError
        The numbers do not make a network.
    """

    name: ClassVar[str] = "convolution"
    tag: ClassVar[int] = 1
    ladder: ClassVar = {"quick": (16, 32), "standard": (16, 32, 64), "paper": (16, 24, 32, 48, 64)}

    resolution: int = 64
    widths: tuple[int, ...] = PUBLISHED_WIDTHS[:4]
    feature_resolution: int = 4
    feature_channels: int = 16
    bits: int = 8
    deformation: bool = True

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            raise ValueError(f"the resolution is {self.resolution}, not one of {RESOLUTIONS}")
        if self.feature_resolution not in FEATURE_RESOLUTIONS:
            raise ValueError(f"the feature resolution is {self.feature_resolution}, not one of {FEATURE_RESOLUTIONS}")
        if not 1 <= self.feature_channels <= _MOST_CHANNELS:
            raise ValueError(f"{self.feature_channels} feature channels: 1 to {_MOST_CHANNELS} are possible")
        doublings = _doublings(self.resolution, self.feature_resolution)
        if len(self.widths) != doublings:
            raise ValueError(
                f"{len(self.widths)} upsampling modules do not lead from {self.feature_resolution}³ to "
                f"{self.resolution}³: {doublings} do"
            )
        if not all(1 <= width <= _MOST_WIDTH for width in self.widths):
            raise ValueError(f"the widths are {self.widths}: 1 to {_MOST_WIDTH} are possible")
        if not _BITS[0] <= self.bits <= _BITS[1]:
            raise ValueError(f"{self.bits} bits: {_BITS[0]} to {_BITS[1]} are possible")

    @property
    def channels(self) -> int:
        """Channels of a volume: the TSDF, and three of deformation."""
        return 4 if self.deformation else 1

    @property
    def levels(self) -> int:
        """Levels of the quantiser: 2^N + 1, so that 0 is one of them (footnote 5)."""
        return (1 << self.bits) + 1

    @property
    def feature_shape(self) -> tuple[int, int, int, int]:
        """(C, K', K', K') of one embedded feature."""
        side = self.feature_resolution
        return self.feature_channels, side, side, side

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter of the decoder, by its name in torch, in the order in which they are stored."""
        shapes: dict[str, tuple[int, ...]] = {}
        inputs = self.feature_channels
        for i, width in enumerate(self.widths):
            outputs = width * UPSCALING**3
            shapes[f"upsampling.{i}.weight"] = (outputs, inputs, KERNEL, KERNEL, KERNEL)
            shapes[f"upsampling.{i}.bias"] = (outputs,)
            inputs = width
        shapes["last.weight"] = (self.channels, inputs, KERNEL, KERNEL, KERNEL)
        shapes["last.bias"] = (self.channels,)
        return shapes

    def parameter_count(self) -> int:
        """Scalars in the decoder."""
        return sum(prod(shape) for shape in self.parameter_shapes().values())

    # --- Design -------------------------------------------------------------------------------------------------------

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
        representation: str = "tsdf-def",
        encoder: str = "auto-decoder",
        ssim: float = 10.0,
    ) -> tuple[Self, Training]:
        """Configuration and training of an effort.

        Parameters
        ----------
        effort : {"quick", "standard", "paper"}
        k : int
            Resolution of the volumes.
        width : int
            Of the first module; the others follow in the published proportions.
        epochs, adding_steps, objective
            As of :class:`Training`.
        representation : {"tsdf-def", "tsdf"}
            Volumes with or without deformation (Table 2, Fig. 7). A plain TSDF is not fitted unless an objective is
            chosen: it is the signed distance as it is.
        encoder : {"auto-decoder", "autoencoder"}
            Fig. 8a.
        ssim : float
            λ2 of Eq. 3 (Fig. 8b).
        """
        if ssim < 0 or epochs < 0 or adding_steps < 0:
            raise UsageError("ssim, epochs and adding_steps cannot be negative")
        deformation = one_of("representation", representation, ("tsdf-def", "tsdf")) == "tsdf-def"
        k = one_of("k", k, (0, *RESOLUTIONS)) or EFFORT_RESOLUTION[effort]
        own = _TRAININGS[effort]
        training = replace(
            own,
            objective=effort_objective(effort, objective or ("" if deformation else "none")),
            epochs=epochs or own.epochs,
            encoder=one_of("encoder", encoder, get_args(Encoder)),
            ssim_weight=ssim,
            adding_steps=adding_steps or own.adding_steps,
        )
        return cls(resolution=k, widths=widths_for(k, width or _TOPS[effort]), deformation=deformation), training

    def write(self, writer: Writer) -> None:
        """Write resolutions, channels, bits, whether there is deformation, and the widths."""
        writer.choice(self.resolution, RESOLUTIONS).choice(self.feature_resolution, FEATURE_RESOLUTIONS)
        writer.byte(self.feature_channels - 1, self.bits, self.deformation).number(*self.widths)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read the configuration."""
        resolution = fields.choice("resolution", RESOLUTIONS)
        feature_resolution = fields.choice("feature resolution", FEATURE_RESOLUTIONS)
        channels = fields.byte("number of feature channels, less 1", 0, _MOST_CHANNELS - 1) + 1
        bits = fields.byte("number of bits", *_BITS)
        deformation = bool(fields.byte("flag of the deformation", 0, 1))
        modules = range(_doublings(resolution, feature_resolution))
        widths = tuple(fields.number("width", 1, _MOST_WIDTH) for _ in modules)
        return cls(resolution, widths, feature_resolution, channels, bits, deformation)

    def tensors(self) -> dict[str, Symbols]:
        """Weights and biases of all convolutions."""
        return {name: Symbols(shape, self.levels) for name, shape in self.parameter_shapes().items()}

    def features(self) -> Symbols:
        """One embedded feature."""
        return Symbols(self.feature_shape, self.levels)

    def cost(self) -> Cost:
        """Of all convolutions, each over a grid twice as fine as the one before."""
        side, inputs, adds, largest = self.feature_resolution, self.feature_channels, 0, 0
        for width in self.widths:
            outputs = width * UPSCALING**3
            adds += side**3 * inputs * outputs * KERNEL**3
            largest = max(largest, side**3 * (inputs + 3 * outputs))  # before and after GELU, and shuffled
            side, inputs = UPSCALING * side, width
        voxels = self.resolution**3
        adds += voxels * inputs * self.channels * KERNEL**3
        largest = max(largest, voxels * (inputs + 2 * self.channels))
        return Cost(4 * largest + 12 * self.parameter_count() + EXTRACTION_BYTES * voxels, voxels, adds)

    def describe(self) -> str:
        """The configuration in one line."""
        return (
            f"{'TSDF-Def' if self.deformation else 'TSDF'} volumes of {self.resolution}³; decoder "
            f"{'-'.join(map(str, self.widths))}, {self.parameter_count()} parameters; features "
            f"{self.feature_channels} × {self.feature_resolution}³; {self.levels} levels"
        )

    def train(self, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job) -> Trained:
        """Fit dense volumes and train on them."""
        from gcbench.necgs.designs.convolution_training import compressed

        return compressed(self, meshes, training, job)

    def add(
        self, parameters: Parameters, present: Array, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job
    ) -> Array:
        """Fit dense volumes, and features to them."""
        from gcbench.necgs.designs.convolution_network import Decoder as Network
        from gcbench.necgs.designs.convolution_training import added

        network = Network.from_symbols(self, parameters.tensors).to(job.device)
        return added(network, present, meshes, training, job)

    def decoder(self, parameters: Parameters, device: str = "cpu") -> Decoder:
        """The decoder with these parameters."""
        from gcbench.necgs.designs.convolution_network import VolumeDecoder

        return VolumeDecoder(self, parameters, device)


def _doublings(resolution: int, feature_resolution: int) -> int:
    return int(log2(resolution // feature_resolution))


def widths_for(resolution: int, top: int = PUBLISHED_WIDTHS[0]) -> tuple[int, ...]:
    """Widths of a decoder whose first module has ``top`` channels and whose others keep the published proportions.

    One module fewer for K = 64 and one more for K = 256, as the paper does (Sec. 4.3).
    """
    published = (*PUBLISHED_WIDTHS, _EXTRA_WIDTH)[: int(log2(resolution)) - 2]
    return tuple(max(1, round(width * top / PUBLISHED_WIDTHS[0])) for width in published)
