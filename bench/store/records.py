"""What is kept and what is read: codings, measurements, and records, which join the two for readers of results.

A *coding* is one codec at one rate on one mesh (or one set): streams and costs. A *measurement* is one suite of metrics
on one decoded mesh: values. A *record* is one mesh in one coding with everything that was measured on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Status = Literal["ok", "bad-input", "failed", "timeout", "out-of-memory", "crashed"]
Stage = Literal["load", "encode", "decode", "measure"]
Pass = Literal["quality", "timing"]

_PAGE_BYTES = 4096  # in which the system counts resident memory


@dataclass(frozen=True)
class Cost:
    """What one call of a codec took, measured inside its worker process.

    Parameters
    ----------
    wall_s, cpu_s : float
        Seconds by the clock, and of all cores of the worker and the programs it ran. The median over ``repeats``.
    peak_rss_bytes : int
        Highest resident memory of the worker during the call: interpreter, libraries and loaded weights included.
    rss_before_bytes : int
        The same just before the call, with the input in memory, so that the difference is what the call itself needed.
    repeats : int
        How many timed calls; 1 in a quality pass, which is neither pinned nor warmed up, and for a call that is so
        long that it is not repeated.
    gpu_bytes : int or None
        Highest GPU memory that torch allocated during the call; None on the CPU.
    stage_s : mapping
        Wall seconds of the parts that the codec told apart (:meth:`gcbench.codecs.Context.stage`), medians like
        ``wall_s``; empty for a codec that tells nothing apart.
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    rss_before_bytes: int
    repeats: int = 1
    gpu_bytes: int | None = None
    stage_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def added_bytes(self) -> int:
        """Memory that the call added at its peak to what the process held before; less than a page is not seen."""
        return max(_PAGE_BYTES, self.peak_rss_bytes - self.rss_before_bytes)


@dataclass(frozen=True)
class RanOn:
    """Where a unit ran.

    Parameters
    ----------
    host : str
        Name of the machine.
    slot : str
        Of the executor.
    threads : int
        That the codec or suite could use.
    cpu, gpu : str
        Models; ``gpu`` is empty for units that ran on the CPU.
    """

    host: str = ""
    slot: str = ""
    threads: int = 1
    cpu: str = ""
    gpu: str = ""


@dataclass(frozen=True)
class CodedMesh:
    """One mesh of a coding.

    Parameters
    ----------
    mesh : str
        Its name in the dataset.
    input_sha256 : str
        Of the normalised input; empty for a bad input.
    vertices, faces : int
        Of the normalised input.
    obj_bytes, raw_bytes, source_bytes : int
        The normalised mesh as OBJ with six decimals; 12 V + 12 F; the file as distributed.
    problem : str or None
        Why the input cannot be used. Such a mesh has no place in the stream.
    mesh_bytes : int or None
        Bytes of the stream that serve this mesh alone.
    decoded_sha256 : str or None
        Content of the decoded mesh, as the coding decoded it.
    """

    mesh: str
    input_sha256: str = ""
    vertices: int = 0
    faces: int = 0
    obj_bytes: int = 0
    raw_bytes: int = 0
    source_bytes: int = 0
    problem: str | None = None
    mesh_bytes: int | None = None
    decoded_sha256: str | None = None


@dataclass(frozen=True)
class Coding:
    """One line of ``codings.jsonl``: one codec at one rate on one mesh or one set.

    ``streams`` are SHA-256 of kept streams: one for each mesh of a model codec, one for a set. ``limit_s`` and
    ``limit_bytes`` are the limits that were in force; a coding that met one runs again when it is raised.
    """

    key: str
    session: str
    dataset: str
    split: str
    codec: str
    codec_version: str
    kind: str
    rate: str
    rate_index: int
    effort: str
    seed: int
    meshes: tuple[CodedMesh, ...]
    device: str = "cpu"
    timing: str | None = None  # kind of machine of a timing pass; None for a quality pass
    decoder_bytes: int = 0
    status: Status = "ok"
    stage: Stage | None = None
    error: str | None = None
    limit_s: float | None = None
    limit_bytes: int | None = None
    shared_bytes: int | None = None
    streams: tuple[str, ...] = ()
    encode: Cost | None = None
    decode: Cost | None = None  # of a set codec, of the whole set
    ran_on: RanOn = RanOn()

    @property
    def coded(self) -> tuple[CodedMesh, ...]:
        """The meshes that are in the stream, in its order."""
        return tuple(m for m in self.meshes if m.problem is None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; None and empty fields are left out."""
        return _filled(asdict(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Coding:
        """Inverse of :meth:`to_json`; unknown fields of a newer gcbench are ignored."""
        values = _known(cls, data)
        values["meshes"] = tuple(CodedMesh(**_known(CodedMesh, m)) for m in values["meshes"])
        values["streams"] = tuple(values.get("streams", ()))
        for name in ("encode", "decode"):
            if name in values:
                values[name] = Cost(**_known(Cost, values[name]))
        if "ran_on" in values:
            values["ran_on"] = RanOn(**_known(RanOn, values["ran_on"]))
        return cls(**values)


@dataclass(frozen=True)
class Measurement:
    """One line of ``measurements.jsonl``: one suite on one decoded mesh.

    ``status`` is ``ok``; ``failed`` where the decoded mesh cannot be measured, which is the codec's fault;
    ``bad-input`` where nothing can be compared with this input by this suite; anything else is nobody's result:
    the suite ran into a limit or crashed.
    """

    key: str
    session: str
    stream: str  # SHA-256
    place: int  # which mesh of the stream
    codec: str  # bare name of the decoder
    decoder_version: str
    input: str  # SHA-256
    suite: str
    suite_version: str
    seed: int
    status: Status = "ok"
    error: str | None = None
    values: Mapping[str, float | int | bool] = field(default_factory=dict)
    seconds: float | None = None
    limit_s: float | None = None
    limit_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; None and empty fields are left out."""
        return _filled(asdict(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Inverse of :meth:`to_json`; unknown fields of a newer gcbench are ignored."""
        if not isinstance(data.get("values", {}), Mapping):
            raise TypeError("the values are no mapping")
        return cls(**_known(cls, data))


@dataclass(frozen=True)
class Record:
    """One mesh in one coding, with what was measured. Fields that could not be had are None."""

    # Which coding and mesh.
    dataset: str
    split: str  # "mini", "paper", "all": results on generated meshes are always told apart
    mesh: str
    codec: str  # address, parameters included: "necgs[k=64]"
    kind: str  # "model" or "set"
    rate: str  # label of the rung
    rate_index: int  # position of the rung in the ladder, low to high quality
    effort: str
    seed: int
    timing: bool  # a timing pass: repeated, pinned, alone; has no metrics

    # How it went.
    status: Status
    stage: Stage | None = None  # where it failed
    error: str | None = None  # one line
    codec_version: str = ""
    key: str = ""  # of the coding

    # Sizes, in bytes.
    vertices: int | None = None  # of the normalised input
    faces: int | None = None
    obj_bytes: int | None = None  # normalised mesh as OBJ with six decimals
    raw_bytes: int | None = None  # 12 V + 12 F
    source_bytes: int | None = None  # the file as distributed
    mesh_bytes: int | None = None  # of the stream, for this mesh alone
    shared_bytes: int | None = None  # of the stream, for the whole set (0 for model codecs)
    set_size: int = 1  # meshes in the stream
    stream_bytes: float | None = None  # mesh_bytes + shared_bytes / set_size: sums over a set to the true total
    bits_per_vertex: float | None = None  # 8 · stream_bytes / vertices of the input
    decoder_bytes: int = 0  # weights that ship with the codec and are not in the stream
    stream_sha256: str | None = None
    stream_place: int = 0  # which mesh of the stream
    input_sha256: str | None = None  # of the normalised mesh
    decoded_sha256: str | None = None

    # What it took, and where; a set codec's cost is that of the set, in every one of its records.
    device: str = "cpu"  # or "cuda"
    ran_on: RanOn = RanOn()
    encode: Cost | None = None
    decode: Cost | None = None
    measure_s: float | None = None  # of all suites together

    # Values of every suite that measured this mesh, by column and floor; and why a suite has none.
    metrics: Mapping[str, float | int | bool] = field(default_factory=dict)
    suites: Mapping[str, str] = field(default_factory=dict)  # suite → version
    unmeasured: Mapping[str, str] = field(default_factory=dict)  # suite → "status: reason"

    def flat(self) -> dict[str, Any]:
        """One row of a table: nested values become columns ``encode_s``, ``decode_peak_rss_bytes``, ``cd``, ...

        Stages that a codec told apart are ``encode_stage_coding_s``, ``decode_stage_poisson_s``, ...
        """
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NESTED}
        row |= asdict(self.ran_on)
        for name in ("encode", "decode"):
            cost: Cost | None = getattr(self, name)
            row[f"{name}_s"] = cost and cost.wall_s
            row[f"{name}_cpu_s"] = cost and cost.cpu_s
            row[f"{name}_peak_rss_bytes"] = cost and cost.peak_rss_bytes
            row[f"{name}_rss_before_bytes"] = cost and cost.rss_before_bytes
            row[f"{name}_added_bytes"] = cost and cost.added_bytes
            row[f"{name}_gpu_bytes"] = cost and cost.gpu_bytes
            row[f"{name}_repeats"] = cost and cost.repeats
            row |= {f"{name}_stage_{stage}_s": seconds for stage, seconds in (cost.stage_s if cost else {}).items()}
        row["unmeasured"] = "; ".join(f"{suite}: {why}" for suite, why in self.unmeasured.items()) or None
        return row | dict(self.metrics)


def records_of(coding: Coding, measurements: Mapping[int, Mapping[str, Measurement]]) -> list[Record]:
    """Join a coding with its measurements: one record for each of its meshes, in their order.

    Parameters
    ----------
    coding : Coding
        With or without success.
    measurements : mapping
        Place in the coding's usable meshes → suite → measurement.
    """
    records, place = [], 0
    for mesh in coding.meshes:
        values = _of_coding(coding, mesh)
        if mesh.problem is None:
            values |= _sizes(coding, mesh, place) | _measured(coding, measurements.get(place, {}))
            place += 1
        records.append(Record(**values))
    return records


def _of_coding(coding: Coding, mesh: CodedMesh) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(coding, name) for name in _SHARED}
    values |= {"timing": coding.timing is not None, "mesh": mesh.mesh, "source_bytes": mesh.source_bytes}
    if mesh.problem is not None:
        return values | {"status": "bad-input", "stage": "load", "error": mesh.problem}
    return values | {name: getattr(mesh, name) for name in _OF_INPUT}


def _sizes(coding: Coding, mesh: CodedMesh, place: int) -> dict[str, Any]:
    if mesh.mesh_bytes is None or coding.shared_bytes is None:  # it was not encoded
        return {"encode": coding.encode}
    in_stream = len(coding.coded) if coding.kind == "set" else 1
    stream_bytes = mesh.mesh_bytes + coding.shared_bytes / in_stream
    return {
        "mesh_bytes": mesh.mesh_bytes,
        "shared_bytes": coding.shared_bytes,
        "set_size": in_stream,
        "stream_bytes": stream_bytes,
        "bits_per_vertex": 8 * stream_bytes / mesh.vertices if mesh.vertices else None,  # damaged: bench verify says so
        "stream_sha256": coding.streams[0],
        "stream_place": place,
        "decoded_sha256": mesh.decoded_sha256,
        "encode": coding.encode,
        "decode": coding.decode,
    }


def _measured(coding: Coding, by_suite: Mapping[str, Measurement]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "suites": {name: m.suite_version for name, m in by_suite.items()},
        "unmeasured": {name: f"{m.status}: {m.error}" for name, m in by_suite.items() if m.status != "ok"},
        "measure_s": sum(m.seconds or 0.0 for m in by_suite.values()) if by_suite else None,
    }
    blamed = next((m for m in by_suite.values() if m.status == "failed"), None)
    if blamed is not None and coding.status == "ok":  # a mesh that nobody can measure is no result of a codec
        return values | {"status": "failed", "stage": "measure", "error": blamed.error}
    return values | {"metrics": {name: value for m in by_suite.values() for name, value in m.values.items()}}


_SHARED = (
    *("dataset", "split", "codec", "kind", "rate", "rate_index", "effort", "seed", "codec_version", "key"),
    *("device", "ran_on", "decoder_bytes", "status", "stage", "error"),
)
_OF_INPUT = ("vertices", "faces", "obj_bytes", "raw_bytes", "input_sha256")
_NESTED = frozenset({"encode", "decode", "metrics", "suites", "unmeasured", "ran_on"})


def _known(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    return {name: value for name, value in data.items() if name in names}


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    filled = {}
    for name, value in values.items():
        plain = _plain(value)
        if plain is not None and not (isinstance(plain, (dict, list)) and not plain):
            filled[name] = plain
    return filled


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _filled(value)
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
