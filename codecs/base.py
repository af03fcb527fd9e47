"""The codec contract: the classes that a codec implements, and the context that the engine gives to a call.

A codec turns meshes into bytes and bytes into meshes. It gets no names of files or datasets, and no metrics.
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

from gcbench import extras
from gcbench.codecs.arrays import decoded_mesh  # a codec's author looks for it here
from gcbench.entropy.budget import Budget
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
    "bounded_decoding",
    "check_index",
    "decoded_mesh",
    "synchronise",
]

Effort = Literal["quick", "standard", "paper"]
EFFORTS: tuple[Effort, ...] = ("quick", "standard", "paper")
Kind = Literal["model", "set"]


def as_effort(name: str) -> Effort:
    """Check the name of an effort. Raises UsageError for an unknown name."""
    for effort in EFFORTS:
        if effort == name:
            return effort
    raise UsageError(f"unknown effort '{name}'; known: {', '.join(EFFORTS)}")


@dataclass(frozen=True)
class Rate:
    """One rate of a codec: a point of its ladder from low to high quality.

    Parameters
    ----------
    label : str
        Key of the rate in results, e.g. ``q10``. A label never changes its meaning: it has the same ``params`` at every
        effort and at every address of the codec. If an address changes the rates themselves, the labels differ too:
        ``gpcc-octree[bits=11]`` has ``b11r01``. Other parameters of an address, such as an entropy coder, are not part
        of the label, so that addresses can be compared at equal labels.
    params : mapping
        Parameters of the codec at this rate; plain JSON values.
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
    """Whether a codec can run here; if not, the reason, and what to install (``remedy``)."""

    ok: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class StreamLayout:
    """How the bytes of a set stream divide; ``shared_bytes + sum(mesh_bytes)`` is the length of the stream."""

    shared_bytes: int  # bytes that serve every mesh: header, decoder weights, ...
    mesh_bytes: tuple[int, ...]  # bytes that serve mesh i alone


def synchronise(device: str) -> None:
    """Wait until the GPU has finished its queued work, before a clock is read. Never imports torch."""
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
        Seed of all randomness.
    threads : int
        How many threads the codec may use.
    deadline : float or None
        ``time.monotonic()`` at which the worker is killed; None is no limit.
    progress : callable
        Call it with the fraction done in [0, 1] and a short message; both go to the worker's log.
    scratch : Path
        An empty folder, which is the working directory of the call and is removed afterwards.
    work : Path or None
        For encoding only: a folder for checkpoints of a long training, which survives a kill. A resumed run gives the
        same folder to the same coding, and removes it when the coding is stored. Files may be incomplete after a kill,
        so replace a checkpoint in one step. None if the coding cannot be resumed.
    stage_s : dict
        Wall seconds of each stage so far, see :meth:`stage`.
    sequences : tuple of range
        For encoding a set, by codecs with :attr:`SetCodec.uses_sequences`: the places of the meshes that are frames of
        one motion, a range for each motion, in the order of the motion. Ranges have two places or more. Other meshes
        are in no range. Example: ``(range(0, 10), range(10, 14))``. Frames may be missing between two places.
    """

    device: str = "cpu"
    seed: int = 0
    threads: int = 1
    deadline: float | None = None
    progress: Callable[[float, str], None] = _no_progress
    scratch: Path = Path()
    work: Path | None = None
    stage_s: dict[str, float] = field(default_factory=dict)
    sequences: tuple[range, ...] = ()

    def groups(self, count: int) -> list[range]:
        """Places 0 to ``count`` − 1 in groups: the sequences, and each other mesh by itself; in order."""
        starts = {frames.start: frames for frames in self.sequences}
        groups: list[range] = []
        place = 0
        while place < count:
            groups.append(starts.get(place, range(place, place + 1)))
            place = groups[-1].stop
        return groups

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a part of the call that results report separately, such as the conversion to points.

        Stages do not nest. The seconds of a stage that is entered several times add up. A stage begins after the GPU
        has finished earlier work, and ends when the GPU has finished the work of the stage.
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
        """Raise CodecTimeout after the deadline, so that a long loop ends by itself before the worker is killed."""
        if self.seconds_left() <= 0:
            raise CodecTimeout("the deadline has passed")


class Codec(ABC):
    """Encodes a set of meshes into streams and decodes them from the bytes alone.

    Subclass :class:`ModelCodec` or :class:`SetCodec`, not this class. Constructor parameters must have defaults of
    type bool, int, float or str: they form the codec's address on the command line (``necgs[k=64]``). The decoder is
    created *without* parameters: everything that decoding needs is in the stream.
    """

    name: ClassVar[str]
    kind: Kind  # an attribute of the class, or of the instance if a parameter decides it
    decoder_bytes: int = 0  # weights that ship with the codec and are therefore not in the stream
    # Whether the same versions give the same bytes and meshes on every machine. False for networks in floating point,
    # whose results are compared within a tolerance.
    deterministic: ClassVar[bool] = True
    # Distributions that can change bytes or meshes, as pip names them. numpy and trimesh need not be named.
    packages: ClassVar[tuple[str, ...]] = ()
    # What decoding one stream may take. A decoder of ours holds what a stream declares against this budget before it
    # allocates or computes anything, see gcbench.entropy.budget.
    decode_budget: ClassVar[Budget] = Budget()

    @abstractmethod
    def version(self) -> str:
        """Identify everything that decides bytes and decoded meshes; results of another version are computed again.

        Use :func:`gcbench.versions.source_version` with the number of the stream format, ``__name__`` and ``packages``.
        """

    def programs(self) -> Mapping[str, str]:
        """External programs that the codec runs: name → version. Never raises."""
        return {}

    def availability(self) -> Availability:
        """Whether the codec can run here: by default, whether its packages are installed. Fast, and never raises."""
        missing = extras.first_missing(self.packages)
        return Availability(False, *missing) if missing else Availability(ok=True)

    @abstractmethod
    def rates(self, effort: Effort) -> Sequence[Rate]:
        """The rates, from low to high quality."""

    def prepare(self) -> None:
        """Import heavy packages and load shipped weights; called once in a worker, and not timed.

        An override calls ``super().prepare()``, which imports trimesh.
        """
        import_module("trimesh")

    @abstractmethod
    def encode(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> list[bytes]:
        """Encode meshes: one stream for each mesh (model codecs), or one stream for all (set codecs)."""

    @abstractmethod
    def decode(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh in a stream.

        Raises
        ------
        BitstreamError
            The stream is cut, corrupt, or from another codec.
        """


@contextmanager
def bounded_decoding() -> Iterator[None]:
    """Turn a failed allocation into BitstreamError; the engine decodes in this context.

    A budget bounds what a decoder of ours allocates. A codec of somebody else may trust its stream, and the machine may
    have less memory than the budget allows. Any other exception passes: it is a bug of the decoder.
    """
    try:
        yield
    except MemoryError as error:
        raise BitstreamError(_NO_MEMORY) from error
    except RuntimeError as error:  # torch raises it for a failed allocation, with one of these texts
        if not any(text in str(error) for text in ("DefaultCPUAllocator", "out of memory", "not enough memory")):
            raise
        raise BitstreamError(_NO_MEMORY) from error


_NO_MEMORY = "decoding the stream takes more memory than the process may have"


def check_index(index: int, count: int) -> None:
    """Raise BitstreamError unless a stream of ``count`` meshes has a mesh ``index``."""
    if not 0 <= index < count:
        raise BitstreamError(f"there is no mesh {index}: the stream has {count}, counted from 0")


class ModelCodec(Codec):
    """A codec that encodes each mesh by itself."""

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
        with bounded_decoding():
            return [self.decode_mesh(stream, ctx)]


class SetCodec(Codec):
    """A codec that shares information across a set of meshes."""

    kind: Kind = "set"
    random_access: ClassVar[bool] = False  # whether decode_one costs less than decode_set
    # Whether encode_set uses ctx.sequences. Then frames of one motion follow each other in the set, and the key of the
    # coding has the sequences; the decoder gets the stream alone.
    uses_sequences: ClassVar[bool] = False

    @abstractmethod
    def encode_set(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> bytes:
        """Encode the whole set into one stream."""

    @abstractmethod
    def decode_set(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh, in the order of encoding."""

    def decode_one(self, stream: bytes, index: int, ctx: Context) -> trimesh.Trimesh:
        """Decode the mesh that ``decode_set`` returns at ``index``.

        Raises
        ------
        BitstreamError
            The stream is corrupt, or has no such mesh.
        """
        meshes = self.decode_set(stream, ctx)
        check_index(index, len(meshes))
        return meshes[index]

    @abstractmethod
    def layout(self, stream: bytes) -> StreamLayout:
        """How many bytes of a stream are shared, and how many serve each mesh."""

    def encode(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> list[bytes]:
        """Encode the set into a single stream."""
        return [self.encode_set(meshes, rate, ctx)]

    def decode(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode the set."""
        with bounded_decoding():
            return self.decode_set(stream, ctx)
