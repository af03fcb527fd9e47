"""What can be chosen about a compression, apart by concern: network, fitting, training.

Values only: no tensors, no files. The constants of the paper are the defaults, with their source beside them; what is
chosen here says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import log2, prod
from typing import Literal, TypeVar

from gcbench.training.precision import Precision

Effort = Literal["quick", "standard", "paper"]
Coder = Literal["range", "huffman"]
Encoder = Literal["auto-decoder", "autoencoder"]
Objective = Literal["closest-point", "render", "none"]

RESOLUTIONS = (32, 64, 128, 256)
UPSCALING = 2  # of every module (Sec. 4.1)
KERNEL = 3
PUBLISHED_WIDTHS = (64, 48, 32, 24, 16)  # the authors' configuration at K = 128
ADDING_STEPS = 200  # of Adam, for each mesh that is added to a stream
_EXTRA_WIDTH = 12  # of the sixth module at K = 256, which the paper adds and does not describe


@dataclass(frozen=True)
class Architecture:
    """The decoder and the features: all that decoding must know besides the numbers themselves.

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

    resolution: int = 64
    widths: tuple[int, ...] = PUBLISHED_WIDTHS[:4]
    feature_resolution: int = 4
    feature_channels: int = 16
    bits: int = 8
    deformation: bool = True

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            raise ValueError(f"the resolution is {self.resolution}, not one of {RESOLUTIONS}")
        if self.feature_resolution not in (1, 2, 4, 8, 16):
            raise ValueError(f"the feature resolution is {self.feature_resolution}, not 1, 2, 4, 8 or 16")
        if not 1 <= self.feature_channels <= 256:
            raise ValueError(f"{self.feature_channels} feature channels: 1 to 256 are possible")
        doublings = int(log2(self.resolution // self.feature_resolution))
        if len(self.widths) != doublings:
            raise ValueError(
                f"{len(self.widths)} upsampling modules do not lead from {self.feature_resolution}³ to "
                f"{self.resolution}³: {doublings} do"
            )
        if not all(1 <= width <= 512 for width in self.widths):
            raise ValueError(f"the widths are {self.widths}: 1 to 512 are possible")
        if not 2 <= self.bits <= 12:
            raise ValueError(f"{self.bits} bits: 2 to 12 are possible")

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


def widths_for(resolution: int, top: int = PUBLISHED_WIDTHS[0]) -> tuple[int, ...]:
    """Widths of a decoder whose first module has ``top`` channels and whose others keep the published proportions.

    One module fewer for K = 64 and one more for K = 256, as the paper does (Sec. 4.3).
    """
    published = (*PUBLISHED_WIDTHS, _EXTRA_WIDTH)[: int(log2(resolution)) - 2]
    return tuple(max(1, round(width * top / PUBLISHED_WIDTHS[0])) for width in published)


@dataclass(frozen=True)
class Fitting:
    """How a volume is fitted to a mesh (Sec. 3.1, A.2, Algorithm 1).

    Parameters
    ----------
    objective : {"closest-point", "render", "none"}
        Exact closest points, depth and silhouette of rendered views (Eq. 6-8), or the plain TSDF as it is.
    steps : int or None
        Steps of Adam; None, here and below, is what suits the objective (`gcbench.necgs.fit`).
    learning_rate : float or None
        Of the first step; falls off exponentially to ``decay`` times itself.
    decay : float or None
        Last learning rate over first.
    views : int
        E, random cameras a step; of the render objective only.
    depth_weight : float
        λ_rec of Eq. 8; of the render objective only.
    deformation_l1 : float or None
        Weight of the deformation: its absolute value, summed over the axes, per grid vertex next to the surface.
    """

    objective: Objective = "closest-point"
    steps: int | None = None
    learning_rate: float | None = None
    decay: float | None = None
    views: int = 4
    depth_weight: float = 10.0
    deformation_l1: float | None = None


@dataclass(frozen=True)
class Training:
    """How features and decoder are trained (Sec. 3.2, 4.1).

    Parameters
    ----------
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
    """

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


#: For sets of some dozen meshes and no GPU. A mesh costs a CPU the same in any batch, so that batches of one give four
#: times the steps, and features that learn faster leave their random start.
FAST = Training(batch=1, learning_rate=2e-3, feature_speed=5.0, clip=2.0)


@dataclass(frozen=True)
class Settings:
    """Everything that decides a stream, but for the meshes and the seed."""

    architecture: Architecture = field(default_factory=Architecture)
    fitting: Fitting = field(default_factory=Fitting)
    training: Training = field(default_factory=Training)
    coder: Coder = "range"

    def with_(
        self,
        *,
        resolution: int | None = None,
        top: int | None = None,
        deformation: bool | None = None,
        objective: Objective | None = None,
        fit_steps: int | None = None,
        epochs: int | None = None,
        encoder: Encoder | None = None,
        ssim_weight: float | None = None,
        coder: Coder | None = None,
    ) -> Settings:
        """The same with what is not None changed.

        Parameters
        ----------
        top : int
            Width of the first module; the others, and their number, follow as published (:func:`widths_for`).
        """
        architecture = self.architecture
        resolution = resolution or architecture.resolution
        # A plain TSDF has nothing to fit unless it is asked for: it is the signed distance as it is.
        if objective is None and deformation is False:
            objective = "none"
        return replace(
            self,
            architecture=replace(
                architecture,
                resolution=resolution,
                widths=widths_for(resolution, top or architecture.widths[0]),
                deformation=architecture.deformation if deformation is None else deformation,
            ),
            fitting=_changed(self.fitting, objective=objective, steps=fit_steps),
            training=_changed(self.training, epochs=epochs, encoder=encoder, ssim_weight=ssim_weight),
            coder=coder or self.coder,
        )


T = TypeVar("T", Fitting, Training)


def _changed(values: T, **changes: object) -> T:
    return replace(values, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]


def effort_settings(effort: Effort) -> Settings:
    """What an effort stands for.

    ``quick`` shows that everything works, in minutes on two cores; ``standard`` is K = 64, in an hour or
    so on two cores; ``paper`` has the published settings, which want a GPU.
    """
    match effort:
        case "quick":
            return Settings(
                architecture=Architecture(resolution=32, widths=widths_for(32, 24)), training=replace(FAST, epochs=200)
            )
        case "standard":
            return Settings(architecture=Architecture(resolution=64, widths=widths_for(64, 32)), training=FAST)
        case "paper":
            return Settings(
                architecture=Architecture(resolution=128, widths=widths_for(128)), fitting=Fitting(objective="render")
            )
