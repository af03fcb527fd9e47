"""What a design is: how the features of a mesh become its surface, and how decoder and features are trained.

The stream, random access, adding and the command line know designs only through this module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np

from gcbench.entropy.budget import check_budget
from gcbench.necgs.budget import BUDGET
from gcbench.necgs.settings import EFFORT_RESOLUTION, Coder, Effort

if TYPE_CHECKING:
    from typing import Self

    import trimesh
    from numpy.typing import NDArray

    from gcbench.entropy.coder import Coder as EntropyCoder
    from gcbench.entropy.coder import Model, Shape3
    from gcbench.entropy.container import Fields, Writer
    from gcbench.necgs.job import Job

T = TypeVar("T")
Array: TypeAlias = "NDArray[np.int16]"
Known: TypeAlias = Callable[[int], Array]

EXTRACTION_BYTES = 14  # for each vertex of a volume, while its surface is extracted
_DENSE_BYTES = 80  # for each vertex of a volume of four channels that is evaluated part by part


@dataclass(frozen=True)
class Symbols:
    """Shape of an array of symbols, each in [0, levels)."""

    shape: tuple[int, ...]
    levels: int

    @property
    def size(self) -> int:
        """How many symbols there are."""
        return prod(self.shape)

    def check(self, name: str, symbols: Array) -> None:
        """Raise ValueError if an array is not of this type, this shape, or has a symbol out of range."""
        if symbols.shape != self.shape or symbols.dtype != np.int16:
            raise ValueError(f"{name}: {symbols.dtype} {symbols.shape} where int16 {self.shape} belongs")
        if symbols.min() < 0 or symbols.max() >= self.levels:
            raise ValueError(f"{name}: symbols outside [0, {self.levels - 1}]")


@dataclass(frozen=True, eq=False)
class Parameters:
    """The parameters of a decoder, as a stream has them.

    Parameters
    ----------
    tensors : mapping of str to int16 array
        Exactly ``Design.tensors()``.
    scales : (Design.scale_count,) float32
        What a design stores beside the symbols, e.g. the quantiser's step of each tensor; finite.
    """

    tensors: Mapping[str, Array]
    scales: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class Trained:
    """What training leaves.

    Parameters
    ----------
    parameters : Parameters
    features : (n, *Design.features().shape) int16
        Of every mesh.
    losses : (epochs,) float64
        Mean loss of each epoch while it was trained, where a design has epochs.
    """

    parameters: Parameters
    features: Array
    losses: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Cost:
    """What decoding one mesh takes.

    Parameters
    ----------
    memory : int
        Bytes of arrays at one time: the decoder, and what it computes of a mesh.
    voxels, multiply_adds : int
        Grid vertices of the volume, and what the network computes.
    """

    memory: int
    voxels: int
    multiply_adds: int


@dataclass(frozen=True)
class Plan(Generic[T]):
    """Everything that decides a stream but the meshes and the seed."""

    design: Design[T]
    training: T
    coder: Coder = "range"


class Decoder(ABC):
    """The decoder of one stream, on one device."""

    resolution: int  # K of its volumes

    @abstractmethod
    def volume(self, features: Array, watch: Callable[[], None]) -> NDArray[np.float32]:
        """The volume of a mesh, (channels, K, K, K), in [-1, 1]; ``watch`` may raise, to stop."""

    def surface(
        self, features: Array, job: Job, most_triangles: int = BUDGET.triangles
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Vertices (V, 3) and faces (F, 3) of a mesh in the cube [-1, 1]³, by deformable marching cubes on its volume.

        A design without dense volumes overrides this method, and times its own stages.

        Raises
        ------
        BitstreamError
            The surface would have more triangles.
        """
        import torch

        from gcbench.geometry.deformable_marching_cubes import extract
        from gcbench.geometry.grid import Grid

        with job.stage("network"):
            volume = self.volume(features, job.watch)
        job.watch()
        with job.stage("meshing"):
            # A closed surface has two triangles for each vertex, up to its genus.
            check_budget("triangles", 2 * crossings(volume[0]), most_triangles)
            vertices, faces = extract(torch.from_numpy(volume), Grid(self.resolution))
        return vertices.numpy().astype(np.float64), faces.numpy()


def crossings(tsdf: NDArray[np.float32]) -> int:
    """Grid edges with an end inside and an end outside: the vertices of the surface of a volume, (K, K, K)."""
    inside = np.zeros(tsdf.shape, bool)
    inside[1:-1, 1:-1, 1:-1] = tsdf[1:-1, 1:-1, 1:-1] < 0  # the border counts as outside
    along = (inside, inside.transpose(1, 0, 2), inside.transpose(2, 0, 1))
    return sum(int(np.count_nonzero(each[1:] != each[:-1])) for each in along)


class Design(ABC, Generic[T]):
    """One way to turn features into meshes. An instance is a configuration: what decoding needs besides the symbols.

    ``T`` is the type of the settings of the training. A subclass is a frozen dataclass, does not import torch at the
    top of its module, and is listed in ``gcbench.necgs.designs.DESIGNS``.
    """

    name: ClassVar[str]
    tag: ClassVar[int]  # in streams, for ever
    ladder: ClassVar[Mapping[Effort, Sequence[int]]]  # what tells the rates of an effort apart, low to high quality
    resolution: int  # K, grid vertices along each axis of a volume
    shipped: ClassVar[Path | None] = None  # a file of weights that decoding needs beside the stream
    starts: ClassVar[bool] = False  # whether training can start from another stream, :attr:`Job.start`

    @property
    def scale_count(self) -> int:
        """How many ``Parameters.scales`` there are."""
        return 0

    # --- What is asked for --------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def plan(cls, effort: Effort, *_: Any, **choices: Any) -> tuple[Self, T]:
        """Configuration and training of an effort, with what was chosen otherwise.

        A subclass names its choices as keyword arguments with defaults, whose types are those of the command line; 0
        and "" are the effort's own. All designs have ``k``, ``width``, ``epochs``, ``adding_steps`` and ``objective``.

        Raises
        ------
        UsageError, ValueError
            The choices make no network.
        """

    @classmethod
    def rates(cls, effort: Effort, k: int = 0) -> dict[str, dict[str, int | float]]:
        """The ladder of a codec: label → choices.

        At a resolution that is not the effort's own, its initial ends the label, since efforts train differently:
        ``k64w16`` is of ``standard``, ``k64w16q`` of ``quick`` at 64.
        """
        own = EFFORT_RESOLUTION[effort]
        mark = "" if k in {0, own} else effort[0]
        return {f"k{k or own}w{width}{mark}": {"width": width} for width in cls.ladder[effort]}

    # --- In the stream ------------------------------------------------------------------------------------------------

    @abstractmethod
    def write(self, writer: Writer) -> None:
        """Write the configuration as fields."""

    @classmethod
    @abstractmethod
    def read(cls, fields: Fields) -> Self:
        """Read what :meth:`write` wrote; a ValueError, too, is taken as a bad stream."""

    @abstractmethod
    def tensors(self) -> dict[str, Symbols]:
        """The decoder's parameters by name, in the order of the stream."""

    @abstractmethod
    def features(self) -> Symbols:
        """The features of one mesh."""

    def feature_coding(self) -> type[FeatureCoding]:
        """How features are entropy coded."""
        return FeatureCoding

    @abstractmethod
    def describe(self) -> str:
        """The configuration in one line for people."""

    def cost(self) -> Cost:
        """What decoding one mesh takes, from the configuration alone.

        Here: of a perceptron that is evaluated at every second vertex along each axis, and around the surface, which
        together is a quarter of the vertices.
        """
        voxels = self.resolution**3
        parameters = sum(kind.size for kind in self.tensors().values())
        return Cost(_DENSE_BYTES * voxels + 12 * parameters, voxels, voxels // 4 * parameters)

    # --- Work ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def train(self, meshes: Sequence[trimesh.Trimesh], training: T, job: Job) -> Trained:
        """Train decoder and features on meshes that lie in the cube [-1, 1]³.

        A design makes of the meshes what it trains on: dense volumes by :func:`gcbench.necgs.volumes.fit_set`, or less.
        """

    @abstractmethod
    def add(
        self,
        parameters: Parameters,
        present: Array,
        meshes: Sequence[trimesh.Trimesh],
        training: T,
        job: Job,
    ) -> Array:
        """Features of further meshes for a decoder that stays as it is; ``present`` are those of the stream."""

    @abstractmethod
    def decoder(self, parameters: Parameters, device: str = "cpu") -> Decoder:
        """The decoder with these parameters."""


def _nothing(i: int) -> Any:
    raise IndexError(f"there is no mesh {i} yet")


@dataclass(frozen=True)
class Present:
    """The meshes that a stream has already.

    Parameters
    ----------
    count : int
    known : callable
        Features of mesh *i*.
    needs : callable
        The other meshes that have to be decoded before mesh *i*.
    """

    count: int = 0
    known: Known = _nothing
    needs: Callable[[int], frozenset[int]] = _nothing


class FeatureCoding:
    """Features as symbols of an entropy coder: here each mesh by itself, all under one model.

    A design whose meshes refer to each other overrides :meth:`encode_all` (or :meth:`encode`) and :meth:`decode`: they
    are given a function ``known`` that has the features of any other mesh of the stream, at the cost of decoding them.
    A reader refuses references that go in a circle, and meshes that need more than ``most_references`` others.
    """

    most_references: ClassVar[int] = 0

    def __init__(self, features: Symbols, model: Model[Any, Any]) -> None:
        self.features = features
        self.model = model

    @classmethod
    def fit(cls, coder: EntropyCoder[Any, Any], features: Symbols, symbols: Array) -> FeatureCoding:
        """The coding that suits the features of n meshes: the first axis is the mesh."""
        flat = symbols.reshape(len(symbols), *_feature_axes(features))
        return cls(features, coder.fit(flat, features.levels, open_set=True))

    @classmethod
    def read(cls, coder: EntropyCoder[Any, Any], features: Symbols, source: Any) -> FeatureCoding:
        """Read what :meth:`write` wrote."""
        return cls(features, coder.read(source, _feature_axes(features), features.levels, open_set=True))

    def write(self, sink: Any) -> None:
        """Write what all meshes share."""
        self.model.write(sink)

    def encode_all(self, symbols: Array, new_sink: Callable[[], Any], present: Present) -> Iterator[Any]:
        """Sinks with the features of meshes that follow those present, one by one."""

        def known(i: int) -> Array:
            return present.known(i) if i < present.count else symbols[i - present.count]

        for i, features in enumerate(symbols, present.count):
            sink = new_sink()
            self.encode(i, features, sink, known)
            yield sink

    def encode(self, i: int, symbols: Array, sink: Any, known: Known) -> None:
        """Write the features of mesh *i*."""
        self.model.encode(symbols.reshape(_feature_axes(self.features)), sink)

    def decode(self, i: int, source: Any, known: Known) -> Array:
        """Read the features of mesh *i*."""
        return self.model.decode(source).reshape(self.features.shape)


def _feature_axes(features: Symbols) -> Shape3:
    """Rows, columns and taps of the entropy model: a row for each channel."""
    return features.shape[0], 1, prod(features.shape[1:])
