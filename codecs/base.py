"""The codec contract: what a codec must be, and the little that the engine promises it in return.

A codec knows meshes and bytes. It does not know datasets, metrics, files or the engine.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gcbench.codecs.arrays import decoded_mesh  # a codec's author looks for it here
from gcbench.errors import BitstreamError, CodecTimeout, UsageError

if TYPE_CHECKING:  # half a second to import: `bench --help` does not need it
    import trimesh

__all__ = [
    "EFFORTS",
    "Availability",
    "Codec",
    "Context",
    "Effort",
    "Kind",
    "ModelCodec",
    "Rate",
    "SetCodec",
    "StreamLayout",
    "as_effort",
    "check_index",
    "decoded_mesh",
    "synchronise",
]

Effort = Literal["quick", "standard", "paper"]
EFFORTS: tuple[Effort, ...] = ("quick", "standard", "paper")
Kind = Literal["model", "set"]


def as_effort(name: str) -> Effort:
    """Narrow a name from outside to an effort.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    for effort in EFFORTS:
        if effort == name:
            return effort
    raise UsageError(f"unknown effort '{name}'; known: {', '.join(EFFORTS)}")


@dataclass(frozen=True)
class Rate:
    """One point of a codec's ladder.

    Parameters
    ----------
    label : str
        Key of the point in results, e.g. ``q10``. Stable for ever: a new meaning needs a new label. A label has the
        same ``params`` at every effort and at every address of its codec: of ``gpcc-octree[bits=11]``, other points
        than of ``gpcc-octree`` are called ``b11r01``. What else an address changes (a coder, a weight of the loss) is
        no part of a label, so that addresses can be compared at equal labels.
    params : mapping
        What the codec needs to code at this point; plain JSON values.
    """

    label: str
    params: Mapping[str, int | float | str | bool] = field(default_factory=lambda: MappingProxyType({}))

    def __getstate__(self) -> tuple[str, dict[str, int | float | str | bool]]:
        return self.label, dict(self.params)  # a MappingProxyType cannot be pickled

    def __setstate__(self, state: tuple[str, dict[str, int | float | str | bool]]) -> None:
        object.__setattr__(self, "label", state[0])
        object.__setattr__(self, "params", state[1])


@dataclass(frozen=True)
class Availability:
    """Whether a codec can run here; if not, why (``reason``) and how to change that (``remedy``)."""

    ok: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class StreamLayout:
    """How the bytes of a set stream divide.

    Parameters
    ----------
    shared_bytes : int
        Bytes that serve every mesh (header, decoder weights, ...).
    mesh_bytes : tuple of int
        Bytes that serve mesh *i* alone; ``shared_bytes + sum(mesh_bytes)`` is the length of the stream.
    """

    shared_bytes: int
    mesh_bytes: tuple[int, ...]


def synchronise(device: str) -> None:
    """Wait for the GPU, whose work is queued: a clock read before that measures nothing. Never imports torch."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda") and torch.cuda.is_available():
        torch.cuda.synchronize(device)


def _no_progress(_done: float, _message: str) -> None:
    """Discard progress."""


@dataclass
class Context:
    """What the engine gives a codec for one call.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``, as torch names devices.
    seed : int
        All randomness derives from it.
    threads : int
        How many threads the codec may use.
    deadline : float or None
        ``time.monotonic()`` at which the worker is killed; None is no limit.
    progress : callable
        Takes the fraction done in [0, 1] and a short message, which go to the worker's log in the run's folder.
    scratch : Path
        An empty folder, the working directory of the call, removed after it.
    work : Path or None
        For encoding only: a folder that belongs to this very coding and survives a kill, for checkpoints of a long
        training. The same coding finds it again when the run is resumed; it is removed when the coding is kept. None
        where nothing can be resumed. Whatever a codec finds there may be torn: a checkpoint is written in one step.
    stage_s : dict
        Wall seconds by :meth:`stage`, as they add up during the call.
    """

    device: str = "cpu"
    seed: int = 0
    threads: int = 1
    deadline: float | None = None
    progress: Callable[[float, str], None] = _no_progress
    scratch: Path = Path()
    work: Path | None = None
    stage_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a part of the call that results report apart, e.g. the conversion to points.

        Stages do not nest; entered again, the seconds add up. What was queued on a GPU before belongs to no stage, and
        a stage ends when its own work there is done.
        """
        synchronise(self.device)
        begin = time.perf_counter()
        try:
            yield
            synchronise(self.device)
        finally:
            self.stage_s[name] = self.stage_s.get(name, 0.0) + time.perf_counter() - begin

    def seconds_left(self) -> float:
        """Seconds until the deadline; infinity without one."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def check_deadline(self) -> None:
        """Raise CodecTimeout past the deadline: lets long loops end by themselves, before they are killed."""
        if self.seconds_left() <= 0:
            raise CodecTimeout("deadline overrun")


class Codec(ABC):
    """Encodes a set of meshes into streams and decodes them from the bytes alone.

    Subclass :class:`ModelCodec` or :class:`SetCodec`, not this class. Constructor parameters must have defaults of
    type bool, int, float or str: they are the codec's address on the command line (``necgs[k=64]``). The decoder is
    created *without* them: whatever decoding needs is in the stream.
    """

    name: ClassVar[str]
    kind: Kind  # of the class, or of an instance where a parameter decides it
    decoder_bytes: ClassVar[int] = 0  # weights that ship with the codec and are therefore not in the stream
    # Whether the same versions give the same bytes and meshes on every machine. False where a network runs in floating
    # point: results then agree within a band, and are compared within one.
    deterministic: ClassVar[bool] = True
    # Distributions that can change bytes or meshes, as pip names them. numpy and trimesh need not be named.
    packages: ClassVar[tuple[str, ...]] = ()
    # ``"module:app"`` of the typer.Typer that trains what ships with the codec: `bench train NAME` runs it. The `obj`
    # of its context is a function that yields the built-in meshes, since a codec knows no datasets: name, (V, 3)
    # vertices and (F, 3) faces of each.
    training: ClassVar[str | None] = None

    @abstractmethod
    def version(self) -> str:
        """Identify everything that decides bytes and decoded meshes: a change of it makes stored results stale.

        Made by :func:`gcbench.versions.source_version` from the number of the stream's format, the modules that decide,
        and ``packages``; modules that only time, log or describe are no part of it.
        """

    def programs(self) -> Mapping[str, str]:
        """External programs that the codec would run here, by name, and which version each is. Never raises."""
        return {}

    def availability(self) -> Availability:
        """Say whether the codec can run here. Cheap, and never raises."""
        return Availability(ok=True)

    @abstractmethod
    def rates(self, effort: Effort) -> Sequence[Rate]:
        """The ladder, low to high quality."""

    def prepare(self) -> None:
        """Import heavy packages and load shipped weights: called once in a worker, outside any timing.

        Extend it with ``super().prepare()``: every codec makes meshes, and importing trimesh takes half a second.
        """
        import_module("trimesh")

    @abstractmethod
    def encode(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> list[bytes]:
        """Encode a set; one stream for each mesh (model codecs) or one for the set (set codecs)."""

    @abstractmethod
    def decode(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh in a stream.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign.
        """


def check_index(index: int, count: int) -> None:
    """Raise BitstreamError where a stream of ``count`` meshes has none of this index."""
    if not 0 <= index < count:
        raise BitstreamError(f"there is no mesh {index}: the stream holds {count}, from 0")


class ModelCodec(Codec):
    """A codec that codes each mesh by itself."""

    kind: Kind = "model"

    @abstractmethod
    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Encode one normalised mesh."""

    @abstractmethod
    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh from its bytes."""

    def encode(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> list[bytes]:
        """Encode each mesh by itself."""
        return [self.encode_mesh(mesh, rate, ctx) for mesh in meshes]

    def decode(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode the one mesh of a stream."""
        return [self.decode_mesh(stream, ctx)]


class SetCodec(Codec):
    """A codec that shares information across a set of meshes."""

    kind: Kind = "set"
    random_access: ClassVar[bool] = False  # whether decode_one decodes that mesh alone, at the cost of one

    @abstractmethod
    def encode_set(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> bytes:
        """Encode the whole set into one stream."""

    @abstractmethod
    def decode_set(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh, in the order of encoding."""

    def decode_one(self, stream: bytes, index: int, ctx: Context) -> trimesh.Trimesh:
        """Decode the mesh ``index``, counted from 0: exactly the one that ``decode_set`` has there.

        Raises
        ------
        BitstreamError
            As of ``decode_set``, or the stream has no such mesh.
        """
        meshes = self.decode_set(stream, ctx)
        check_index(index, len(meshes))
        return meshes[index]

    @abstractmethod
    def layout(self, stream: bytes) -> StreamLayout:
        """Divide the bytes of a stream into shared and per-mesh ones."""

    def encode(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> list[bytes]:
        """Encode the set into a single stream."""
        return [self.encode_set(meshes, rate, ctx)]

    def decode(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode the set."""
        return self.decode_set(stream, ctx)
