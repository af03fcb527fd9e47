"""What a worker does for one trial of a codec under test; runs in processes that may be killed.

Unlike a stage of a cell (``stages.py``), a trial reports how an exception was meant: an error of the contract is an
answer, anything else is a bug. Knows codecs and arrays; nothing of checks or verdicts.
"""

from __future__ import annotations

import inspect
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from gcbench.bench.conformance.attempt import Raised, attempt, differs, trimesh_of
from gcbench.bench.conformance.place import call_place, watch_files
from gcbench.bench.metrics import SUITES, Suite, ranking
from gcbench.bench.run.arrays import MeshArrays
from gcbench.codecs import CODECS, Availability, Codec, Context, Rate, SetCodec, StreamLayout
from gcbench.codecs.base import EFFORTS, Effort
from gcbench.registry import split_address

SUITE = "surface"
"""Suite of metrics that judges decoded meshes, by the column that it ranks codecs by: a distance."""

_PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class Facts:
    """What a codec says of itself.

    Parameters
    ----------
    kind : str
        The attribute as text.
    decoder_bytes : int
        The attribute, or −1 if it is no int.
    available : (bool, str, str) or Raised
        What ``availability()`` answers: ok, reason, remedy.
    availability_s : float
        How long the answer took, imports that the constructor did not make included.
    version : str or Raised
    ladders : dict of effort to tuple of Rate, or Raised
        Rates with parameters that went through JSON.
    problems : tuple of str
        What is wrong with the rates themselves.
    parameters : tuple of str
        Constructor parameters that an address cannot set, with the reason.
    """

    kind: str
    decoder_bytes: int
    available: tuple[bool, str, str] | Raised
    availability_s: float
    version: str | Raised
    ladders: dict[Effort, tuple[Rate, ...] | Raised]
    problems: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class EncodeTrial:
    """Meshes to encode; ``temporary`` is where temporary files go, emptied afterwards."""

    codec: str
    rate: Rate
    meshes: tuple[MeshArrays, ...]
    seed: int
    threads: int
    device: str
    seconds: float  # until the deadline that the codec is told
    temporary: Path


@dataclass(frozen=True)
class Encoded:
    """What came of encoding.

    Parameters
    ----------
    streams : tuple of bytes
        Empty where the return value is not what it should be, and then ``fault`` says what it is.
    layout : StreamLayout or Raised or None
        Of a set stream.
    touched : tuple of int
        Which of the input meshes were changed.
    written : frozenset of str
        Files outside of the scratch folder that the interpreter was asked to open for writing, or to rename to.
    """

    streams: tuple[bytes, ...]
    fault: str
    layout: StreamLayout | Raised | None
    touched: tuple[int, ...]
    written: frozenset[str]
    wall_s: float


@dataclass(frozen=True)
class DecodeTrial:
    """Bytes and the bare name of a codec; ``written`` are files that the encoder wrote."""

    codec: str
    stream: bytes
    seed: int
    threads: int
    device: str
    seconds: float
    temporary: Path
    written: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Decoded:
    """What came of decoding; ``fault`` says why there are no meshes, ``read`` which files of the encoder were used."""

    meshes: tuple[MeshArrays, ...]
    fault: str
    read: frozenset[str]
    wall_s: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Distance:
    """Two meshes to compare."""

    original: MeshArrays
    decoded: MeshArrays


def prepare(address: str) -> Raised | None:
    """Create a codec and load what it needs."""
    answer = attempt(lambda: _codec(address))
    return answer if isinstance(answer, Raised) else None


def describe(address: str) -> Facts | Raised:
    """Ask a codec everything that it says of itself."""
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
    return Facts(
        kind=str(getattr(codec, "kind", None)),
        decoder_bytes=codec.decoder_bytes if type(codec.decoder_bytes) is int else -1,
        available=available,
        availability_s=availability_s,
        version=attempt(lambda: _version(codec)),
        ladders=ladders,
        problems=tuple(dict.fromkeys(problems)),
        parameters=tuple(_parameters(CODECS.get(name))),
    )


def encode(trial: EncodeTrial) -> Encoded | Raised:
    """Encode in an empty working directory, and see what else was done."""
    codec = _codec(trial.codec)
    meshes = [trimesh_of(arrays) for arrays in trial.meshes]
    begin = time.perf_counter()
    with call_place(trial.temporary) as scratch, watch_files() as files:
        ctx = _context(trial, scratch)
        value: object = attempt(lambda: codec.encode(meshes, trial.rate, ctx))
        # What was in the scratch folder is gone after the call, whatever the decoder would like.
        written = files.written_outside(scratch)
    wall_s = time.perf_counter() - begin
    touched = tuple(
        i for i, (mesh, arrays) in enumerate(zip(meshes, trial.meshes, strict=True)) if differs(mesh, arrays)
    )
    if isinstance(value, Raised):
        return value
    expected = 1 if codec.kind == "set" else len(meshes)
    if not isinstance(value, (list, tuple)):
        return Encoded((), f"encode() returned {_name(value)}, not a list of bytes", None, touched, written, wall_s)
    wrong = sorted({_name(stream) for stream in value if type(stream) is not bytes})
    if wrong or len(value) != expected:
        fault = f"encode() returned {len(value)} of {', '.join(wrong) or 'bytes'}, not {expected} of bytes"
        return Encoded((), fault, None, touched, written, wall_s)
    layout = None
    if codec.kind == "set" and isinstance(codec, SetCodec):
        layout = attempt(lambda: _layout(codec, value[0]))
    return Encoded(tuple(value), "", layout, touched, written, wall_s)


def decode(trial: DecodeTrial) -> Decoded | Raised:
    """Decode in an empty working directory."""
    codec = _codec(trial.codec)
    begin = time.perf_counter()
    with call_place(trial.temporary) as scratch, watch_files() as files:
        ctx = _context(trial, scratch)
        value: object = attempt(lambda: codec.decode(trial.stream, ctx))
        read = frozenset(files.opened & trial.written)
    wall_s = time.perf_counter() - begin
    if isinstance(value, Raised):
        return value
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if not isinstance(value, (list, tuple)):
        return Decoded((), f"decode() returned {_name(value)}, not a list of meshes", read, wall_s, peak)
    meshes = []
    for mesh in value:
        arrays = _arrays(mesh)
        if isinstance(arrays, str):
            return Decoded((), arrays, read, wall_s, peak)
        meshes.append(arrays)
    return Decoded(tuple(meshes), "", read, wall_s, peak)


def distance(pair: Distance) -> float | Raised:
    """Distance between two surfaces by the ranking column of the suite `SUITE`, of the original's longest side = 2.

    Both meshes are moved and scaled as normalising the original would do, so that it is in the units of a run.
    """
    vertices = pair.original.vertices
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    centre, half = (low + high) / 2, float((high - low).max()) / 2

    def normalised(arrays: MeshArrays) -> MeshArrays:
        with np.errstate(all="ignore"):
            return MeshArrays((arrays.vertices - centre) / half, arrays.faces)

    def measured() -> float:
        original = normalised(pair.original)
        reference = _reference(original.vertices.tobytes(), original.faces.tobytes())
        values = _suite().measure(reference, trimesh_of(normalised(pair.decoded)))
        return float(values[str(ranking(values))])

    return attempt(measured)


@lru_cache(maxsize=1)
def _suite() -> Suite[Any]:
    suite = SUITES.create(SUITE)
    suite.prepare()
    return suite


@lru_cache(maxsize=4)
def _reference(vertices: bytes, faces: bytes) -> Any:
    """Prepare an original once: it is compared with what came of every rate."""
    original = MeshArrays(
        np.frombuffer(vertices, np.float64).reshape(-1, 3), np.frombuffer(faces, np.int64).reshape(-1, 3)
    )
    return _suite().reference(trimesh_of(original), seed=0, threads=1)


@lru_cache(maxsize=4)
def _codec(address: str) -> Codec:
    codec = CODECS.create(address)
    codec.prepare()
    return codec


def _availability(codec: Codec) -> tuple[bool, str, str]:
    said: object = codec.availability()
    if not isinstance(said, Availability):
        raise TypeError(f"availability() returned {_name(said)}, not Availability")
    return bool(said.ok), str(said.reason), str(said.remedy)


def _version(codec: Codec) -> str:
    said: object = codec.version()
    if not isinstance(said, str) or not said.strip():
        raise TypeError(f"version() returned {said!r}, not a text")
    return said


def _layout(codec: SetCodec, stream: bytes) -> StreamLayout:
    said = codec.layout(stream)
    return StreamLayout(int(said.shared_bytes), tuple(int(mesh_bytes) for mesh_bytes in said.mesh_bytes))


def _plain_rates(codec: Codec, effort: Effort, problems: list[str]) -> tuple[Rate, ...]:
    """Rates with parameters as JSON gives them back; what is wrong is added to ``problems``."""
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


def _context(trial: EncodeTrial | DecodeTrial, scratch: Path) -> Context:
    return Context(
        device=trial.device,
        seed=trial.seed,
        threads=trial.threads,
        deadline=time.monotonic() + trial.seconds,
        scratch=scratch,
    )


def _arrays(mesh: Any) -> MeshArrays | str:
    """Arrays of a decoded mesh, or what makes it none."""
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
