"""A rate-aware design: a decoder that computes only near the surface, and training that pays for every bit it keeps.

Latents of 4³ × C integers a mesh become a signed distance on a grid of K³ vertices: dense convolutions up to 16³, then
32³ blocks of K / 32 vertices along each side, of which only those near the surface get values. Which blocks these are
is predicted by the decoder. Training minimises

    distance + λ · (bits of the latents of a mesh + bits of the decoder / number of meshes)

where the bits are those that the entropy coder will take. λ is the rate: one architecture serves all of them. The
weights of the decoder are coded as differences to a prior, a decoder that ships with the program and was trained on
generated shapes; latents are coded as differences to those of similar meshes (``sparse_coding``).

With ``representation=tsdf-def``, the blocks near the surface also get a displacement for each of their grid vertices.
Training then compares with volumes that were fitted to the meshes.

``sparse_network`` has the decoder, ``sparse_targets`` what it learns, ``sparse_training`` the training, and
``sparse_prior`` the decoder that ships. ``docs/set-codecs.md`` explains the design with figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from gcbench.errors import BenchError, BitstreamError, UsageError
from gcbench.necgs.designs.base import Cost, Decoder, Design, FeatureCoding, Parameters, Symbols, Trained
from gcbench.necgs.settings import Effort, one_of

if TYPE_CHECKING:
    from typing import Self

    import trimesh

    from gcbench.entropy.container import Fields, Writer
    from gcbench.necgs.designs.base import Array
    from gcbench.necgs.job import Job

BLOCKS = 32  # along each axis
TRUNCATION = 0.75  # of the signed distance, in sides of a block
LATENT_SIDE = 4
THRESHOLD = -1.0  # of the score of a block that gets values
LATENT_LEVELS, WEIGHT_LEVELS = 255, 511  # symbols; the one in the middle is 0
_RESOLUTIONS = (32, 64, 128, 256)
_RESOLUTION: Mapping[Effort, int] = {"quick": 64, "standard": 128, "paper": 128}
Optimiser = Literal["muon", "adam"]

PRIOR = Path(__file__).with_name("sparse_prior.safetensors")
_DIGEST_BYTES = 4
_REPRESENTATIONS = ("tsdf", "tsdf-def")
_VOLUMES = tuple((k, deformation) for deformation in (False, True) for k in _RESOLUTIONS)  # by their number in streams
_PRICES = (1, 100_000)
PRICE_UNIT = 1e-7
_OWN_PRICE = 160
_BLOCK_BYTES, _VERTEX_BYTES = 512, 15  # that a decoder holds for each block and each grid vertex
_DEFORMATION_BYTES = 28  # for each grid vertex: three channels, of all blocks, and of the volume


@cache
def prior_digest() -> bytes:
    """The first bytes of the SHA-256 of the prior.

    Raises
    ------
    BenchError
        The file is missing.
    """
    try:
        return hashlib.sha256(PRIOR.read_bytes()).digest()[:_DIGEST_BYTES]
    except OSError as error:
        raise BenchError(f"cannot read the prior of sparse: {error}") from error


@dataclass(frozen=True)
class Training:
    """How decoder and latents are trained.

    Parameters
    ----------
    epochs : int
        Passes over the set.
    least_steps : int
        The fewest that a small set gets.
    batch : int
        Meshes a step.
    learning_rate : float
        Of the decoder, relative to the size of its weights.
    latent_rate : float
        Of latents, in symbols.
    optimiser : {"muon", "adam"}
        Of the matrices of the decoder.
    tree : bool
        Whether the rate of latents is that of differences to a similar mesh.
    adding_steps : int
        For meshes that are added to a stream.
    fit_steps : int
        Steps of the fit of a deformed volume.
    """

    epochs: int
    least_steps: int
    batch: int = 8
    learning_rate: float = 0.004
    latent_rate: float = 0.25
    optimiser: Optimiser = "muon"
    tree: bool = True
    adding_steps: int = 150
    fit_steps: int = 40


_TRAININGS: Mapping[Effort, Training] = {
    "quick": Training(epochs=0, least_steps=60, batch=4, learning_rate=0.004, fit_steps=20),
    "standard": Training(epochs=60, least_steps=800),
    "paper": Training(epochs=1000, least_steps=6000, learning_rate=0.003, fit_steps=150),
}


@dataclass(frozen=True)
class Sparse(Design[Training]):
    """The decoder, and the grid of its values.

    Parameters
    ----------
    resolution : int
        K, grid vertices along each axis.
    price : int
        λ, what a bit costs training, in 1e-7 of the unit of the distance, which is the truncation (0.75 of a block's
        side). Decoding does not need the price; meshes that are added to a stream are.
    deformation : bool
        Whether the decoder displaces grid vertices, too: volumes of 4 channels (TSDF-Def) instead of 1.

    Raises
    ------
    ValueError
        A number out of range.
    """

    name: ClassVar[str] = "sparse"
    tag: ClassVar[int] = 3
    shipped: ClassVar[Path | None] = PRIOR
    starts: ClassVar[bool] = True
    ladder: ClassVar[Mapping[Effort, Sequence[int]]] = {  # prices
        "quick": (400, 100),
        "standard": (500, 250, 160, 80, 40),
        "paper": (500, 250, 160, 80, 40, 20),
    }

    channels: ClassVar[int] = 16
    widths: ClassVar[tuple[int, int, int, int]] = (64, 64, 48, 48)
    hidden: ClassVar[int] = 64

    resolution: int
    price: int
    deformation: bool = False

    def __post_init__(self) -> None:
        if not _PRICES[0] <= self.price <= _PRICES[1]:
            raise ValueError(f"price: {self.price} is not in {list(_PRICES)}")
        if self.resolution not in _RESOLUTIONS:
            raise ValueError(f"the resolution is {self.resolution}, not one of {_RESOLUTIONS}")

    @property
    def vertices_per_block(self) -> int:
        """Grid vertices in a block."""
        return (self.resolution // BLOCKS) ** 3

    @property
    def channels_of_volumes(self) -> int:
        """The signed distance, and three of deformation."""
        return 4 if self.deformation else 1

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, outputs first, in the order in which they are stored."""
        a, b, c, d = self.widths
        cube, octants = (3, 3, 3), (2, 2, 2)
        weights: dict[str, tuple[int, ...]] = {
            "at4": (a, self.channels, *cube),
            "to8": (b, a, *octants),
            "at8": (b, b, *cube),
            "to16": (c, b, *octants),
            "at16": (c, c, *cube),
            "patch": ((BLOCKS // LATENT_SIDE) ** 3, self.channels),
            "near": (2, c, *octants),
            "to32": (d, c, *octants),
            "at32": (d, d, *cube),
            "hidden": (self.hidden, d),
            "values": (self.vertices_per_block, self.hidden),
        }
        if self.deformation:
            weights["moves"] = (3 * self.vertices_per_block, self.hidden)
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in weights.items():
            shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
        return shapes

    # --- Design -------------------------------------------------------------------------------------------------------

    @property
    def scale_count(self) -> int:
        """The step of each tensor."""
        return len(self.parameter_shapes())

    @classmethod
    def rates(cls, effort: Effort, k: int = 0) -> dict[str, dict[str, int | float]]:
        """The ladder: ``k128l160`` has the price 160. Lower prices give more bytes.

        Efforts train differently, so that the labels of ``quick`` and ``paper`` end in their initials.
        """
        mark = "" if effort == "standard" else effort[0]
        k = k or _RESOLUTION[effort]
        return {f"k{k}l{price}{mark}": {"price": price} for price in cls.ladder[effort]}

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
        representation: str = "tsdf",
        price: int = 0,
        optimiser: str = "muon",
        tree: bool = True,
        learning_rate: float = 0.0,
    ) -> tuple[Self, Training]:
        """Configuration and training of an effort.

        Parameters
        ----------
        effort : {"quick", "standard", "paper"}
        k : int
            Resolution of the grid.
        width : int
            Not a choice of this design: its rate is the price.
        price : int
            As of the class.
        epochs, adding_steps, optimiser, tree, learning_rate
            As of :class:`Training`; 0 takes the effort's.
        representation : {"tsdf", "tsdf-def"}
            Volumes without or with deformation.
        objective : {"", "none"}
            Signed distances are learned as they are. Deformed volumes are fitted to closest points, without a choice.
        """
        deformation = one_of("representation", representation, _REPRESENTATIONS) == "tsdf-def"
        one_of("objective", objective, ("",) if deformation else ("", "none"))
        one_of("width", width, (0,))
        if min(epochs, adding_steps, price) < 0:
            raise UsageError("epochs, adding_steps and price cannot be negative")
        if not 0 <= learning_rate <= 1:
            raise UsageError(f"learning_rate: {learning_rate:g} is not in [0, 1]")
        own = _TRAININGS[effort]
        training = replace(
            own,
            epochs=epochs or own.epochs,
            least_steps=0 if epochs else own.least_steps,
            adding_steps=adding_steps or own.adding_steps,
            optimiser=one_of("optimiser", optimiser, get_args(Optimiser)),
            tree=tree,
            learning_rate=learning_rate or own.learning_rate,
        )
        resolution = one_of("k", k, (0, *_RESOLUTIONS)) or _RESOLUTION[effort]
        return cls(resolution, price or _OWN_PRICE, deformation), training

    def write(self, writer: Writer) -> None:
        """Write resolution and representation, price, and which prior the weights are differences to."""
        writer.choice((self.resolution, self.deformation), _VOLUMES).number(self.price).byte(*prior_digest())

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read the configuration."""
        resolution, deformation = fields.choice("resolution and representation", _VOLUMES)
        price = fields.number("price", *_PRICES)
        if bytes(fields.byte("hash of the prior") for _ in range(_DIGEST_BYTES)) != prior_digest():
            raise BitstreamError("the stream's decoder is a difference to another prior than the one of this program")
        return cls(resolution, price, deformation)

    def tensors(self) -> dict[str, Symbols]:
        """Weights and biases of all layers."""
        return {name: Symbols(shape, WEIGHT_LEVELS) for name, shape in self.parameter_shapes().items()}

    def features(self) -> Symbols:
        """The latents of a mesh."""
        return Symbols((self.channels, *(LATENT_SIDE,) * 3), LATENT_LEVELS)

    def feature_coding(self) -> type[FeatureCoding]:
        """Latents refer to those of other meshes."""
        from gcbench.necgs.designs.sparse_coding import TreeCoding

        return TreeCoding

    def cost(self) -> Cost:
        """Of a volume in which every block is near the surface."""
        *dense, last = self.widths
        grids = ((4, self.channels, 0), (8, dense[0], 1), (16, dense[1], 1))
        adds = 0
        for (side, inputs, doubled), width in zip(grids, dense, strict=True):
            adds += side**3 * width * (inputs * doubled + (width if doubled else inputs) * 27)
        outputs = self.channels_of_volumes * self.vertices_per_block
        side_adds = last * last * 27 + last * dense[-1] + last * self.hidden + outputs * self.hidden
        voxels = self.resolution**3
        memory = _BLOCK_BYTES * BLOCKS**3 + (_VERTEX_BYTES + _DEFORMATION_BYTES * self.deformation) * voxels
        return Cost(memory, voxels, adds + BLOCKS**3 * side_adds)

    def describe(self) -> str:
        """The configuration in one line."""
        count = sum(map(prod, self.parameter_shapes().values()))
        what = "signed distances and deformation" if self.deformation else "signed distances"
        return (
            f"{what} at {self.resolution}³ vertices; decoder {'-'.join(map(str, self.widths))}, "
            f"{count} parameters; latents {self.channels} × {LATENT_SIDE}³; a bit costs {self.price}e-7"
        )

    def train(self, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job) -> Trained:
        """Compute targets, and train decoder and latents on them."""
        from gcbench.necgs.designs.sparse_training import compressed

        return compressed(self, meshes, training, job)

    def add(
        self, parameters: Parameters, present: Array, meshes: Sequence[trimesh.Trimesh], training: Training, job: Job
    ) -> Array:
        """Fit latents to further meshes."""
        from gcbench.necgs.designs.sparse_training import added

        return added(self, parameters, present, meshes, training=training, job=job)

    def decoder(self, parameters: Parameters, device: str = "cpu") -> Decoder:
        """The decoder with these parameters."""
        from gcbench.necgs.designs.sparse_network import SparseDecoder

        return SparseDecoder(self, parameters, device)
