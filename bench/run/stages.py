"""The functions that run in workers: load, encode, decode, measure.

The encode worker gets meshes, the decode worker only bytes, the measure worker the original and the decoded mesh. The
slot (``slot.py``) handles what these functions raise.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gcbench.bench.run.arrays import CloudArrays, MeshArrays, unpack
from gcbench.bench.run.spool import Spool
from gcbench.bench.store.records import Cost
from gcbench.codecs import CODECS, Codec, Context, Rate, SetCodec, StreamLayout
from gcbench.codecs.base import bounded_decoding, synchronise
from gcbench.datasets import MeshSource, cache_dir, load
from gcbench.errors import BadMesh, CodecFailed, DatasetMissing, StoreError

if TYPE_CHECKING:
    import trimesh

    from gcbench.bench.metrics import Suite

log = logging.getLogger("gcbench.progress")
LONG_CALL_S = 60.0  # a longer call, such as training, needs no warm-up and is not repeated
T = TypeVar("T")


@dataclass(frozen=True)
class CallSettings:
    """How a codec is called."""

    threads: int = 1
    device: str = "cpu"  # as torch names devices
    seed: int = 0
    deadline_s: float | None = None  # from the beginning of the call
    warm_up: int = 0  # calls that are not timed
    repeats: int = 1  # calls that are timed
    scratch: Path | None = None  # where scratch folders are made; None is the system's temporary folder
    work: Path | None = None  # folder for checkpoints, which survives a kill; for encoding only
    sequences: tuple[range, ...] = ()  # places of the frames of each motion in a set; for encoding only


@dataclass(frozen=True)
class Inputs:
    """Original meshes: their files, and the hashes of the normalised meshes."""

    sources: tuple[MeshSource, ...]
    sha256: tuple[str, ...]
    cache: Path | None = None  # folder of packed meshes from other machines, named by hash; searched first


@dataclass(frozen=True)
class EncodeJob:
    """Meshes to encode."""

    codec: str
    rate: Rate
    inputs: Inputs
    settings: CallSettings


@dataclass(frozen=True)
class EncodeResult:
    """Streams: one for each mesh; or one for the set, with its layout."""

    streams: tuple[bytes, ...]
    layout: StreamLayout | None
    cost: Cost


@dataclass(frozen=True)
class DecodeJob:
    """A stream and the name of its codec. The decoder sees no parameters and no meshes."""

    codec: str
    stream: bytes
    settings: CallSettings
    spool: Spool


@dataclass(frozen=True)
class DecodeResult:
    """Hashes of the decoded meshes, which are in the spool if there was room."""

    sha256: tuple[str, ...]
    cost: Cost


@dataclass(frozen=True)
class DecodeOneJob:
    """One mesh of a stored stream to decode: as a mesh, or as the point cloud of a codec of points."""

    codec: str
    stream: bytes
    place: int
    settings: CallSettings
    spool: Spool
    cloud: bool = False


@dataclass(frozen=True)
class MeasureJob:
    """A decoded mesh in the spool, its original, and the suite that compares the two."""

    suite: str
    inputs: Inputs
    decoded: str
    spool: Spool
    seed: int
    threads: int


@dataclass(frozen=True)
class MeasureResult:
    """Values of a suite; None if the decoded mesh is no longer in the spool."""

    values: Mapping[str, float | int | bool] | None
    seconds: float


def prepare(codec: str) -> None:
    """Import and load what a codec needs, before the clock starts."""
    loaded_codec(codec)


def prepare_suite(suite: str) -> None:
    """Import and compile what a suite needs, before the clock starts."""
    loaded_suite(suite)


def load_inputs(inputs: Inputs) -> None:
    """Load meshes, so that neither the time nor the memory of loading is counted for the codec."""
    _meshes(inputs)


def encode(job: EncodeJob) -> EncodeResult:
    """Encode the meshes of a coding."""
    codec = loaded_codec(job.codec)
    meshes = [copied(mesh) for mesh in _meshes(job.inputs)]
    streams, cost = _timed(lambda ctx: codec.encode(meshes, job.rate, ctx), job.settings)
    expected = 1 if codec.kind == "set" else len(meshes)
    if not isinstance(streams, (list, tuple)) or len(streams) != expected or not all(type(s) is bytes for s in streams):
        raise CodecFailed(f"encode() returned {_types(streams)}, not {expected} streams of bytes")
    layout = codec.layout(streams[0]) if codec.kind == "set" and isinstance(codec, SetCodec) else None
    if layout is not None:
        if len(layout.mesh_bytes) != len(meshes):
            raise CodecFailed(f"layout() has {len(layout.mesh_bytes)} meshes of {len(meshes)}")
        if layout.shared_bytes + sum(layout.mesh_bytes) != len(streams[0]):
            raise CodecFailed("layout() does not add up to the length of the stream")
    return EncodeResult(tuple(streams), layout, cost)


def decode(job: DecodeJob) -> DecodeResult:
    """Decode a stream and put its meshes into the spool."""
    codec = loaded_codec(job.codec)
    with bounded_decoding():
        meshes, cost = _timed(lambda ctx: codec.decode(job.stream, ctx), job.settings)
    return DecodeResult(tuple(job.spool.put(_arrays(mesh)) for mesh in meshes), cost)


def decode_again(job: DecodeOneJob) -> str:
    """Decode one mesh (or the cloud) of a stored stream into the spool, and return its hash."""
    codec = loaded_codec(job.codec)
    with _context(job.settings) as ctx, bounded_decoding():
        if job.cloud:
            decode_cloud = getattr(codec, "decode_cloud", None)
            if decode_cloud is None:
                raise CodecFailed(f"{job.codec} codes no points")
            points, bits = decode_cloud(job.stream, ctx)
            return job.spool.put(CloudArrays(points, bits), at_once=True)
        if isinstance(codec, SetCodec) and codec.random_access:
            return job.spool.put(_arrays(codec.decode_one(job.stream, job.place, ctx)), at_once=True)
        meshes = codec.decode(job.stream, ctx)
    if not 0 <= job.place < len(meshes):
        raise CodecFailed(f"decoding it again gave {len(meshes)} meshes, too few")
    # The codec has decoded the whole set, and the other meshes will be needed next.
    wanted = job.spool.put(_arrays(meshes[job.place]), at_once=True)
    for place, mesh in enumerate(meshes):
        if place != job.place:
            job.spool.put(_arrays(mesh))
    return wanted


def measure_decoded(job: MeasureJob) -> MeasureResult:
    """Compare a decoded mesh with its original by one suite."""
    begin = time.perf_counter()
    suite = loaded_suite(job.suite)
    reference = _reference(job.suite, job.inputs, job.seed, job.threads)
    try:
        decoded = _spooled(job.spool, job.decoded)
    except LookupError:
        return MeasureResult(None, time.perf_counter() - begin)
    values = suite.measure(reference, decoded)
    wrong = [name for name, value in values.items() if not isinstance(value, (bool, int, float)) or value - value != 0]
    if wrong:
        raise ValueError(f"the suite '{job.suite}' gave no finite number for {', '.join(wrong)}")
    plain = {name: value if isinstance(value, (bool, int)) else float(value) for name, value in values.items()}
    return MeasureResult(plain, time.perf_counter() - begin)


@lru_cache(maxsize=2)  # the suites of one decoded mesh run one after the other and share its samples
def _spooled(spool: Spool, sha256: str) -> Any:
    import trimesh

    from gcbench.bench.metrics import Cloud

    arrays = spool.get(sha256)
    if arrays is None:
        raise LookupError(sha256)
    if isinstance(arrays, CloudArrays):
        return Cloud(arrays.points, arrays.bits)
    return trimesh.Trimesh(arrays.vertices, arrays.faces, process=False, validate=False)


@lru_cache(maxsize=16)  # the codings of one original follow each other; room for the suites of two originals
def _reference(suite: str, inputs: Inputs, seed: int, threads: int) -> Any:
    return loaded_suite(suite).reference(_meshes(inputs)[0], seed=seed, threads=threads)


@lru_cache(maxsize=2)
def _meshes(inputs: Inputs) -> tuple[trimesh.Trimesh, ...]:
    """Load meshes and check their hashes."""
    return tuple(
        _load(source, sha256, inputs.cache) for source, sha256 in zip(inputs.sources, inputs.sha256, strict=True)
    )


def _load(source: MeshSource, sha256: str, cache: Path | None) -> trimesh.Trimesh:
    import trimesh

    if cache is not None and (mesh := cached_input(cache, sha256)) is not None:
        return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, validate=False)
    try:
        loaded = load(source, cache_dir())
    except (BadMesh, DatasetMissing) as error:  # the file was good when the run was planned
        raise StoreError(f"{source.path} changed while the run was going on: {error}") from error
    if loaded.sha256 != sha256:
        raise StoreError(f"{source.path} changed while the run was going on")
    return loaded.mesh


def cached_input(cache: Path, sha256: str) -> MeshArrays | None:
    """Read an input mesh that another machine sent; None if there is no such file or its hash differs."""
    from gcbench.datasets.normalise import content_sha256

    with contextlib.suppress(OSError, ValueError):
        mesh = unpack((cache / sha256).read_bytes())
        if isinstance(mesh, MeshArrays) and content_sha256(mesh.vertices, mesh.faces) == sha256:
            return mesh
    return None


def copied(mesh: trimesh.Trimesh | MeshArrays) -> trimesh.Trimesh:
    """A mesh with copies of the arrays: a codec may change them, or cache things on the mesh."""
    import trimesh

    return trimesh.Trimesh(mesh.vertices.copy(), mesh.faces.copy(), process=False, validate=False)


def _arrays(mesh: Any) -> MeshArrays:
    import numpy as np

    if not hasattr(mesh, "vertices") or not hasattr(mesh, "faces"):
        raise CodecFailed(f"decoding returned {_types(mesh)}, not trimesh.Trimesh")
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    if not np.issubdtype(faces.dtype, np.integer) or (len(faces) and int(faces.max()) > np.iinfo(np.int64).max):
        raise CodecFailed(f"decoding returned faces of type {faces.dtype}, not integers")
    return MeshArrays(vertices, faces.astype(np.int64))


@lru_cache(maxsize=64)  # room for all codecs of a run: they alternate
def loaded_codec(address: str) -> Codec:
    """A codec that is ready to be called; loaded once in each process."""
    codec = CODECS.create(address)
    codec.prepare()
    return codec


@cache
def loaded_suite(name: str) -> Suite[Any]:
    """A metric suite that is ready to measure; loaded once in each process."""
    from gcbench.bench.metrics import SUITES

    suite = SUITES.create(name)
    suite.prepare()
    return suite


def _timed(call: Callable[[Context], T], settings: CallSettings) -> tuple[T, Cost]:
    """Call in a fresh scratch folder; return the last value, and the median cost."""
    deadline = None if settings.deadline_s is None else time.monotonic() + settings.deadline_s
    costs = []
    for turn in range(settings.warm_up + settings.repeats):
        with _context(settings, deadline) as ctx:
            rss_before = reset_peak_rss()
            _reset_gpu_peak(settings.device)
            synchronise(settings.device)
            cpu, wall = _cpu_s(), time.perf_counter()
            value = call(ctx)
            synchronise(settings.device)
            cost = Cost(
                wall_s=time.perf_counter() - wall,
                cpu_s=_cpu_s() - cpu,
                peak_rss_bytes=peak_rss_bytes(),
                rss_before_bytes=rss_before,
                gpu_bytes=_gpu_peak(settings.device),
                stage_s=dict(ctx.stage_s),
            )
        long = cost.wall_s > LONG_CALL_S
        if turn >= settings.warm_up or long:
            costs.append(cost)
        if long:
            break
    gpu = [c.gpu_bytes for c in costs if c.gpu_bytes is not None]
    return value, Cost(
        wall_s=statistics.median(c.wall_s for c in costs),
        cpu_s=statistics.median(c.cpu_s for c in costs),
        peak_rss_bytes=max(c.peak_rss_bytes for c in costs),
        rss_before_bytes=min(c.rss_before_bytes for c in costs),
        repeats=len(costs),
        gpu_bytes=max(gpu, default=None),
        stage_s={name: statistics.median(c.stage_s.get(name, 0.0) for c in costs) for name in costs[-1].stage_s},
    )


@contextlib.contextmanager
def _context(settings: CallSettings, deadline: float | None = None) -> Iterator[Context]:
    if deadline is None and settings.deadline_s is not None:
        deadline = time.monotonic() + settings.deadline_s
    with _scratch(settings.scratch) as scratch:
        yield Context(
            device=settings.device,
            seed=settings.seed,
            threads=settings.threads,
            deadline=deadline,
            progress=_log_progress,
            scratch=scratch,
            work=settings.work,
            sequences=settings.sequences,
        )


def _log_progress(done: float, message: str) -> None:
    log.warning("%3.0f %% %s", 100 * done, message)  # goes to the worker's log in RUN/logs


def with_outside_peak(cost: Cost, outside_peak_bytes: int) -> Cost:
    """Raise the peak to what the parent saw, which includes the programs that the codec ran."""
    return replace(cost, peak_rss_bytes=max(cost.peak_rss_bytes, outside_peak_bytes))


@contextlib.contextmanager
def _scratch(root: Path | None) -> Iterator[Path]:
    scratch = Path(tempfile.mkdtemp(prefix="gcbench-", dir=root))
    # Not by its name: somebody may have removed the folder in which the template was started.
    home = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir(scratch)
        yield scratch
    finally:
        os.fchdir(home)
        os.close(home)
        try:
            scratch.rmdir()  # mostly it is empty, and this is ten times faster
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _cuda(device: str) -> Any:
    """torch.cuda if the device is a GPU and torch is loaded, else None."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch is not None and device.startswith("cuda") and torch.cuda.is_available() else None


def _reset_gpu_peak(device: str) -> None:
    if (cuda := _cuda(device)) is not None:
        cuda.reset_peak_memory_stats(device)


def _gpu_peak(device: str) -> int | None:
    cuda = _cuda(device)
    return None if cuda is None else int(cuda.max_memory_allocated(device))


def reset_peak_rss() -> int:
    """Reset the peak of earlier calls (Linux only), and return the resident bytes now.

    First return memory that earlier calls freed (glibc): a call that reuses freed memory would seem to need none.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status_bytes("VmRSS") or peak_rss_bytes()


def peak_rss_bytes() -> int:
    """Highest resident memory of this process since the last reset."""
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
