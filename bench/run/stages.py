"""What workers do with one cell: encode, decode, measure. Each function runs in a worker of its own role.

The encode worker sees meshes, the decode worker only bytes, the measure worker both meshes. Nothing here catches a
codec's errors: the cell (``cell.py``) names them.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gcbench.bench.store.records import Cost
from gcbench.codecs import CODECS, Codec, Context, Rate, SetCodec, StreamLayout
from gcbench.datasets import MeshSource, cache_dir, load
from gcbench.errors import BadMesh, CodecFailed, DatasetMissing, StoreError

if TYPE_CHECKING:
    import numpy as np
    import trimesh
    from numpy.typing import NDArray

    from gcbench.bench.metrics import Reference

log = logging.getLogger("gcbench.progress")
_LONG_CALL_S = 60.0  # a call as long as training is its own warm-up, and is not repeated
T = TypeVar("T")


@dataclass(frozen=True)
class MeshArrays:
    """A mesh on its way between processes: ``vertices`` (V, 3) float64, ``faces`` (F, 3) int32, to be quick."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]


@dataclass(frozen=True)
class Settings:
    """What every stage needs to know of how to run.

    Parameters
    ----------
    threads : int
        Threads a codec or metric may use.
    device : str
        As torch names devices.
    seed : int
        Of the cell.
    deadline_s : float or None
        For encoding and decoding together.
    warm_up, repeats : int
        Calls before the clock counts, and calls that count.
    """

    threads: int = 1
    device: str = "cpu"
    seed: int = 0
    deadline_s: float | None = None
    warm_up: int = 0
    repeats: int = 1
    scratch: Path | None = None  # where scratch folders are made; None is the system's temporary folder


@dataclass(frozen=True)
class EncodeJob:
    """Meshes to encode, named by file and checked by hash."""

    codec: str
    rate: Rate
    sources: tuple[MeshSource, ...]
    sha256: tuple[str, ...]
    settings: Settings


@dataclass(frozen=True)
class Encoded:
    """Streams: one for each mesh, or one for the set with its layout."""

    streams: tuple[bytes, ...]
    layout: StreamLayout | None
    cost: Cost


@dataclass(frozen=True)
class DecodeJob:
    """Bytes, and the bare name of the codec they belong to: the decoder sees no parameters and no meshes."""

    codec: str
    stream: bytes
    settings: Settings


@dataclass(frozen=True)
class Decoded:
    """Meshes as decoded."""

    meshes: tuple[MeshArrays, ...]
    cost: Cost


@dataclass(frozen=True)
class MeasureJob:
    """A decoded mesh and the input that it stands for."""

    source: MeshSource
    sha256: str
    decoded: MeshArrays
    settings: Settings


@dataclass(frozen=True)
class Measured:
    """Metrics by name, and facts about the two meshes as ``in_*`` and ``out_*``."""

    metrics: dict[str, float]
    facts: dict[str, int | bool]
    wall_s: float


def prepare(codec: str) -> None:
    """Import and load what a codec needs, before any clock runs."""
    _codec(codec)


def encode(job: EncodeJob) -> Encoded:
    """Encode the meshes of a cell."""
    codec = _codec(job.codec)
    meshes = [_mesh(source, sha) for source, sha in zip(job.sources, job.sha256, strict=True)]
    streams, cost = _timed(lambda ctx: codec.encode(meshes, job.rate, ctx), job.settings)
    expected = 1 if codec.kind == "set" else len(meshes)
    if len(streams) != expected or not all(isinstance(s, bytes) for s in streams):
        raise CodecFailed(f"encode() returned {len(streams)} streams of {_types(streams)}, not {expected} of bytes")
    layout = codec.layout(streams[0]) if codec.kind == "set" and isinstance(codec, SetCodec) else None
    if layout is not None and layout.shared_bytes + sum(layout.mesh_bytes) != len(streams[0]):
        raise CodecFailed("layout() does not add up to the length of the stream")
    return Encoded(tuple(streams), layout, cost)


def decode(job: DecodeJob) -> Decoded:
    """Decode a stream."""
    import numpy as np

    codec = _codec(job.codec)
    meshes, cost = _timed(lambda ctx: codec.decode(job.stream, ctx), job.settings)
    arrays = []
    for mesh in meshes:
        if not hasattr(mesh, "vertices") or not hasattr(mesh, "faces"):
            raise CodecFailed(f"decode() returned {_types(meshes)}, not trimesh.Trimesh")
        arrays.append(MeshArrays(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32)))
    return Decoded(tuple(arrays), cost)


def measure(job: MeasureJob) -> Measured:
    """Compare a decoded mesh with its input."""
    import trimesh

    from gcbench.bench import metrics

    begin = time.perf_counter()
    reference, facts = _reference(job.source, job.sha256, job.settings.seed, job.settings.threads)
    decoded = trimesh.Trimesh(job.decoded.vertices, job.decoded.faces, process=False, validate=False)
    values = metrics.measure(reference, decoded)
    facts = facts | _facts("out", decoded)
    return Measured(values, facts, time.perf_counter() - begin)


@lru_cache(maxsize=2)  # cells of one mesh follow each other; two, for the change from one to the next
def _reference(source: MeshSource, sha256: str, seed: int, threads: int) -> tuple[Reference, dict[str, int | bool]]:
    from gcbench.bench import metrics

    mesh = _mesh(source, sha256)
    return metrics.Reference(mesh, seed=seed, threads=threads), _facts("in", mesh)


def _facts(prefix: str, mesh: trimesh.Trimesh) -> dict[str, int | bool]:
    from dataclasses import asdict

    from gcbench.bench import metrics

    return {f"{prefix}_{name}": value for name, value in asdict(metrics.topology(mesh)).items()}


def _mesh(source: MeshSource, sha256: str) -> trimesh.Trimesh:
    """Load a mesh as the plan knew it; a copy each time, since a codec may change it, or cache things on it."""
    import trimesh

    kept = _loaded(source, sha256)
    return trimesh.Trimesh(kept.vertices.copy(), kept.faces.copy(), process=False, validate=False)


@lru_cache(maxsize=2)
def _loaded(source: MeshSource, sha256: str) -> trimesh.Trimesh:
    try:
        loaded = load(source, cache_dir())
    except (BadMesh, DatasetMissing) as error:  # it was there, and good, when the run was planned
        raise StoreError(f"{source.path} changed while the run was going on: {error}") from error
    if loaded.sha256 != sha256:
        raise StoreError(f"{source.path} changed while the run was going on")
    return loaded.mesh


@lru_cache(maxsize=8)
def _codec(address: str) -> Codec:
    codec = CODECS.create(address)
    codec.prepare()
    return codec


def _timed(call: Callable[[Context], T], settings: Settings) -> tuple[T, Cost]:
    """Call with a fresh scratch folder as working directory; the last value, and the median cost."""
    deadline = None if settings.deadline_s is None else time.monotonic() + settings.deadline_s
    costs = []
    for turn in range(settings.warm_up + settings.repeats):
        with _scratch(settings.scratch) as scratch:
            ctx = Context(
                device=settings.device,
                seed=settings.seed,
                threads=settings.threads,
                deadline=deadline,
                progress=_log_progress,
                scratch=scratch,
            )
            rss_before = _reset_peak_rss()
            _synchronise(settings.device)
            cpu, wall = _cpu_s(), time.perf_counter()
            value = call(ctx)
            _synchronise(settings.device)
            cost = Cost(
                wall_s=time.perf_counter() - wall,
                cpu_s=_cpu_s() - cpu,
                peak_rss_bytes=_peak_rss_bytes(),
                rss_before_bytes=rss_before,
                stage_s=dict(ctx.stage_s),
            )
        long = cost.wall_s > _LONG_CALL_S
        if turn >= settings.warm_up or long:
            costs.append(cost)
        if long:
            break
    return value, Cost(
        wall_s=statistics.median(c.wall_s for c in costs),
        cpu_s=statistics.median(c.cpu_s for c in costs),
        peak_rss_bytes=max(c.peak_rss_bytes for c in costs),
        rss_before_bytes=min(c.rss_before_bytes for c in costs),
        repeats=len(costs),
        stage_s={name: statistics.median(c.stage_s.get(name, 0.0) for c in costs) for name in costs[-1].stage_s},
    )


def _log_progress(done: float, message: str) -> None:
    log.warning("%3.0f %% %s", 100 * done, message)  # to the worker's log, under logs/ of the run


def with_outside_peak(cost: Cost, outside_peak_bytes: int) -> Cost:
    """Raise the peak to what was seen from outside, where programs that the codec ran are counted too."""
    return replace(cost, peak_rss_bytes=max(cost.peak_rss_bytes, outside_peak_bytes))


@contextlib.contextmanager
def _scratch(root: Path | None) -> Iterator[Path]:
    home = Path.cwd()
    scratch = Path(tempfile.mkdtemp(prefix="gcbench-", dir=root))
    os.chdir(scratch)
    try:
        yield scratch
    finally:
        os.chdir(home)
        try:
            scratch.rmdir()  # mostly nothing was left in it, and this is ten times faster
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _synchronise(device: str) -> None:
    """Wait for the GPU, whose work is queued: a clock read before that measures nothing."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda") and torch.cuda.is_available():
        torch.cuda.synchronize()


def _reset_peak_rss() -> int:
    """Forget the peak of earlier calls where the system can (Linux), and return the resident bytes now.

    What earlier calls freed is given back first (glibc): a call that took it again would seem to need no memory.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status_bytes("VmRSS") or _peak_rss_bytes()


def _peak_rss_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return _status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status_bytes(name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        text = Path("/proc/self/status").read_bytes()
        begin = text.index(name.encode() + b":") + len(name) + 1
        return int(text[begin : text.index(b"kB", begin)]) * 1024
    return None


def _types(values: object) -> str:
    items = values if isinstance(values, (list, tuple)) else [values]
    return ", ".join(sorted({type(v).__name__ for v in items})) or "nothing"
