"""The functions that workers run on a codec under test: describe the codec, encode, decode, measure a distance.

Unlike the functions of a run (``run/stages.py``), these return exceptions, and report everything that is wrong with a
return value, instead of raising at the first fault.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gcbench.bench.conformance.attempt import Raised, attempt, differs, version_of
from gcbench.bench.conformance.place import call_place, kept_place, watch_files
from gcbench.bench.metrics import ranking
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.stages import copied, loaded_codec, loaded_suite, peak_rss_bytes, reset_peak_rss
from gcbench.codecs import CODECS, Availability, Codec, Context, Rate, SetCodec, StreamLayout
from gcbench.codecs.base import EFFORTS, Effort
from gcbench.entropy.container import resealed
from gcbench.registry import split_address

SUITE = "surface"
"""Metric suite that gives the distance of decoded meshes, in its ranking column."""

_PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class CodecClaims:
    """What a codec claims."""

    kind: str
    decoder_bytes: int  # −1 if the attribute is not an int
    available: tuple[bool, str, str] | Raised  # ok, reason, remedy
    availability_s: float  # duration of availability()
    version: str | Raised
    ladders: dict[Effort, tuple[Rate, ...] | Raised]  # with parameters that went through JSON
    problems: tuple[str, ...]  # what is wrong with the rates
    parameters: tuple[str, ...]  # constructor parameters that an address cannot set, with the reason


@dataclass(frozen=True)
class EncodeTrial:
    """Meshes to encode; ``temporary`` is the folder for temporary files."""

    codec: str
    rate: Rate
    meshes: tuple[MeshArrays, ...]
    seed: int
    threads: int
    device: str
    seconds: float  # until the deadline in the codec's context
    temporary: Path


@dataclass(frozen=True)
class EncodeTrialResult:
    """The result of encoding."""

    streams: tuple[bytes, ...]  # empty if the return value is wrong
    fault: str  # what is wrong with the return value
    layout: StreamLayout | Raised | None  # of a set
    touched: tuple[int, ...]  # positions of input meshes that were changed
    written: frozenset[str]  # files outside the scratch folder that Python code wrote
    wall_s: float


@dataclass(frozen=True)
class DecodeTrial:
    """A stream and the name of its codec; ``written`` are files that the encoder wrote."""

    codec: str
    stream: bytes
    seed: int
    threads: int
    device: str
    seconds: float
    temporary: Path
    written: frozenset[str] = frozenset()


@dataclass(frozen=True)
class DecodeTrialResult:
    """The result of decoding; ``fault`` says why there are no meshes, ``read`` has the encoder's files it opened."""

    meshes: tuple[MeshArrays, ...]
    fault: str
    read: frozenset[str]
    wall_s: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class HostileTrial:
    """A mutant to decode, after its checksum is made right."""

    codec: str
    mutant: bytes
    seed: int
    threads: int
    device: str
    seconds: float
    temporary: Path


@dataclass(frozen=True)
class HostileResult:
    """What decoding a mutant did; ``grown_bytes`` is the resident memory beyond what the worker held before."""

    outcome: Literal["error", "mesh", "crash", "late"]
    message: str  # of the exception; what is wrong with the meshes
    wall_s: float
    grown_bytes: int


@dataclass(frozen=True)
class DistanceTrial:
    """Two meshes to compare."""

    original: MeshArrays
    decoded: MeshArrays


def prepare(address: str) -> Raised | None:
    """Create a codec and load what it needs."""
    answer = attempt(lambda: loaded_codec(address))
    return answer if isinstance(answer, Raised) else None


def describe(address: str) -> CodecClaims | Raised:
    """Ask a codec for everything that it claims."""
    codec = attempt(lambda: CODECS.create(address))
    if isinstance(codec, Raised):
        return codec
    begin = time.perf_counter()
    available = attempt(lambda: _availability(codec))
    availability_s = time.perf_counter() - begin
    problems: list[str] = []
    ladders: dict[Effort, tuple[Rate, ...] | Raised] = {}
    for effort in EFFORTS:
        ask = partial(_plain_rates, codec, effort, problems)
        ladders[effort] = attempt(ask)
        if not isinstance(ladders[effort], Raised) and attempt(ask) != ladders[effort]:
            problems.append(f"rates({effort!r}) answers differently when asked twice")
    name, _ = split_address(address, "codec")
    return CodecClaims(
        kind=str(getattr(codec, "kind", None)),
        decoder_bytes=codec.decoder_bytes if type(codec.decoder_bytes) is int else -1,
        available=available,
        availability_s=availability_s,
        version=version_of(codec),
        ladders=ladders,
        problems=tuple(dict.fromkeys(problems)),
        parameters=tuple(_parameters(CODECS.get(name))),
    )


def encode(trial: EncodeTrial) -> EncodeTrialResult | Raised:
    """Encode in an empty working directory, and find changed inputs and written files."""
    codec = loaded_codec(trial.codec)
    meshes = [copied(arrays) for arrays in trial.meshes]
    begin = time.perf_counter()
    with call_place(trial.temporary) as scratch, watch_files() as files:
        ctx = _context(trial, scratch)
        if getattr(codec, "uses_sequences", False):
            ctx.sequences = (range(max(2, len(meshes) - 1)),) if len(meshes) > 1 else ()
        value: object = attempt(lambda: codec.encode(meshes, trial.rate, ctx))
        written = files.written_outside(scratch)  # the scratch folder itself is removed after the call
    wall_s = time.perf_counter() - begin
    touched = tuple(
        i for i, (mesh, arrays) in enumerate(zip(meshes, trial.meshes, strict=True)) if differs(mesh, arrays)
    )
    if isinstance(value, Raised):
        return value
    expected = 1 if codec.kind == "set" else len(meshes)
    if not isinstance(value, (list, tuple)):
        return EncodeTrialResult(
            (), f"encode() returned {_name(value)}, not a list of bytes", None, touched, written, wall_s
        )
    wrong = sorted({_name(stream) for stream in value if type(stream) is not bytes})
    if wrong or len(value) != expected:
        fault = f"encode() returned {len(value)} of {', '.join(wrong) or 'bytes'}, not {expected} of bytes"
        return EncodeTrialResult((), fault, None, touched, written, wall_s)
    layout = None
    if codec.kind == "set" and isinstance(codec, SetCodec):
        layout = attempt(lambda: _layout(codec, value[0]))
    return EncodeTrialResult(tuple(value), "", layout, touched, written, wall_s)


def decode(trial: DecodeTrial) -> DecodeTrialResult | Raised:
    """Decode in an empty working directory."""
    codec = loaded_codec(trial.codec)
    begin = time.perf_counter()
    with call_place(trial.temporary) as scratch, watch_files() as files:
        ctx = _context(trial, scratch)
        value: object = attempt(lambda: codec.decode(trial.stream, ctx))
        read = frozenset(files.opened & trial.written)
    wall_s = time.perf_counter() - begin
    if isinstance(value, Raised):
        return value
    peak = peak_rss_bytes()
    if not isinstance(value, (list, tuple)):
        return DecodeTrialResult((), f"decode() returned {_name(value)}, not a list of meshes", read, wall_s, peak)
    meshes = []
    for mesh in value:
        arrays = _arrays(mesh)
        if isinstance(arrays, str):
            return DecodeTrialResult((), arrays, read, wall_s, peak)
        meshes.append(arrays)
    return DecodeTrialResult(tuple(meshes), "", read, wall_s, peak)


def seal(job: tuple[str, bytes]) -> bytes | Raised:
    """Make the checksum of a codec's stream right; without a known container, the stream as it is."""
    codec, stream = job
    loaded_codec(codec)  # makes its container known
    return attempt(lambda: resealed(stream) or stream)


def known_container(job: tuple[str, bytes]) -> bool | Raised:
    """Whether a stream of a codec begins with a container of gcbench."""
    codec, stream = job
    loaded_codec(codec)
    return attempt(lambda: resealed(stream) == stream)


def hostile(trial: HostileTrial) -> HostileResult:
    """Decode a mutant, ask for the layout of a set's, and say what came of it; the meshes are not sent back.

    Memory is measured, not limited: under a limit (RLIMIT_AS) an allocation that is too large fails, and a decoder that
    makes a BitstreamError of this failure would look as if it had looked at the size.
    """
    codec = loaded_codec(trial.codec)
    stream = seal((trial.codec, trial.mutant))
    if isinstance(stream, Raised):
        return HostileResult("crash", f"resealed() {stream}", 0.0, 0)
    with kept_place(trial.temporary.with_name("hostile")) as scratch:
        ctx = _context(trial, scratch)
        held = reset_peak_rss()
        begin = time.perf_counter()
        value: object = attempt(lambda: _decoded(codec, stream, ctx))
        wall_s = time.perf_counter() - begin
        grown = max(0, peak_rss_bytes() - held)
    if isinstance(value, Raised):
        outcomes: dict[str, Literal["error", "late"]] = {"BitstreamError": "error", "CodecTimeout": "late"}
        return HostileResult(outcomes.get(value.kind, "crash"), str(value), wall_s, grown)
    if not isinstance(value, (list, tuple)):
        return HostileResult("crash", f"decode() returned {_name(value)}, not a list of meshes", wall_s, grown)
    most = codec.decode_budget.triangles
    for mesh in value:
        arrays = _arrays(mesh)
        if isinstance(arrays, MeshArrays) and len(arrays.faces) > most:
            arrays = f"decode() returned {len(arrays.faces)} triangles; the codec's decode_budget says {most}"
        if isinstance(arrays, str):
            return HostileResult("crash", arrays, wall_s, grown)
    return HostileResult("mesh", "", wall_s, grown)


def _decoded(codec: Codec, stream: bytes, ctx: Context) -> object:
    if isinstance(codec, SetCodec):
        codec.layout(stream)
    return codec.decode(stream, ctx)


def distance(pair: DistanceTrial) -> float | Raised:
    """Distance between two surfaces by the ranking column of `SUITE`, after normalising both as the original."""
    vertices = pair.original.vertices
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    centre, half = (low + high) / 2, float((high - low).max()) / 2

    def normalised(arrays: MeshArrays) -> MeshArrays:
        with np.errstate(all="ignore"):
            return MeshArrays((arrays.vertices - centre) / half, arrays.faces)

    def measured() -> float:
        original = normalised(pair.original)
        reference = _reference(original.vertices.tobytes(), original.faces.tobytes())
        values = loaded_suite(SUITE).measure(reference, copied(normalised(pair.decoded)))
        return float(values[str(ranking(values))])

    return attempt(measured)


@lru_cache(maxsize=4)
def _reference(vertices: bytes, faces: bytes) -> Any:
    """Prepare an original once, for all rates."""
    original = MeshArrays(
        np.frombuffer(vertices, np.float64).reshape(-1, 3), np.frombuffer(faces, np.int64).reshape(-1, 3)
    )
    return loaded_suite(SUITE).reference(copied(original), seed=0, threads=1)


def _availability(codec: Codec) -> tuple[bool, str, str]:
    said: object = codec.availability()
    if not isinstance(said, Availability):
        raise TypeError(f"availability() returned {_name(said)}, not Availability")
    return bool(said.ok), str(said.reason), str(said.remedy)


def _layout(codec: SetCodec, stream: bytes) -> StreamLayout:
    said = codec.layout(stream)
    return StreamLayout(int(said.shared_bytes), tuple(int(mesh_bytes) for mesh_bytes in said.mesh_bytes))


def _plain_rates(codec: Codec, effort: Effort, problems: list[str]) -> tuple[Rate, ...]:
    """Rates with parameters that went through JSON; appends what is wrong to ``problems``."""
    plain = []
    said: list[object] = list(codec.rates(effort))
    for rate in said:
        if not isinstance(rate, Rate):
            problems.append(f"rates({effort!r}) holds a {_name(rate)}, not a Rate")
            continue
        params = dict(rate.params)
        odd = [key for key, value in params.items() if type(value) not in _PLAIN or not isinstance(key, str)]
        if odd:
            problems.append(f"parameter {odd[0]!r} of rate {rate.label!r} is a {_name(params[odd[0]])}, not plain JSON")
            continue
        plain.append(Rate(rate.label, json.loads(json.dumps(params))))
    return tuple(plain)


def _parameters(cls: type[Codec]) -> Iterator[str]:
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            yield f"'{name}' takes anything, and hides misspelt names"
        elif parameter.default is parameter.empty:
            yield f"'{name}' has no default, and decoders are created without parameters"
        elif type(parameter.default) not in _PLAIN:
            yield f"'{name}' has a default of type {_name(parameter.default)}, not bool, int, float or str"


def _context(trial: EncodeTrial | DecodeTrial | HostileTrial, scratch: Path) -> Context:
    return Context(
        device=trial.device,
        seed=trial.seed,
        threads=trial.threads,
        deadline=time.monotonic() + trial.seconds,
        scratch=scratch,
    )


def _arrays(mesh: Any) -> MeshArrays | str:
    """Arrays of a decoded mesh, or what is wrong with it."""
    if not hasattr(mesh, "vertices") or not hasattr(mesh, "faces"):
        return f"decode() returned {_name(mesh)}, not trimesh.Trimesh"
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    if not (vertices.size or faces.size):
        return MeshArrays(vertices.reshape(0, 3), faces.reshape(0, 3))
    if vertices.ndim != 2 or vertices.shape[1] != 3 or (faces.size and (faces.ndim != 2 or faces.shape[1] != 3)):
        return f"decode() returned arrays of shapes {vertices.shape} and {faces.shape}, not (n, 3)"
    if not np.isfinite(vertices).all():
        return "decode() returned positions that are not finite"
    if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        return f"decode() returned faces that use vertices which are not among the {len(vertices)}"
    return MeshArrays(vertices, faces.reshape(-1, 3))


def _name(value: object) -> str:
    return "None" if value is None else type(value).__name__
