"""The lines of a run (codings and measurements), and records, which join the two for readers of results.

- A *coding* is one codec at one rate on one mesh (or one set): streams and costs.
- A *measurement* is one metric suite on one decoded mesh: values.
- A *record* is one mesh of one coding, with all values that were measured on the decoded mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from gcbench.bench.store.fields import Kind, Named, OneOf, Part, Real, Several, Sha256, Text, Value, Whole

Status = Literal["ok", "bad-input", "failed", "timeout", "out-of-memory", "crashed"]
Stage = Literal["load", "encode", "decode", "measure"]
Pass = Literal["quality", "timing"]

PAGE_BYTES = 4096  # unit in which the system counts resident memory


@dataclass(frozen=True)
class Cost:
    """Time and memory of one call of a codec, measured in the worker process.

    Parameters
    ----------
    wall_s, cpu_s : float
        Elapsed seconds; CPU seconds of the worker and of the programs that the codec ran. Medians over ``repeats``.
    peak_rss_bytes : int
        Highest resident memory of the worker during the call, with interpreter, libraries and loaded weights.
    rss_before_bytes : int
        Resident memory just before the call, with the input loaded; the difference is what the call needed.
    repeats : int
        Timed calls. 1 in a quality pass (not pinned, no warm-up), and for a call that is too long to be repeated.
    gpu_bytes : int or None
        Highest GPU memory that torch allocated during the call; None on the CPU.
    stage_s : mapping
        Stage → wall seconds, for codecs that report stages (:meth:`gcbench.codecs.Context.stage`); medians.
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
        """Memory that the call added at its peak, at least one page."""
        return max(PAGE_BYTES, self.peak_rss_bytes - self.rss_before_bytes)


@dataclass(frozen=True)
class RanOn:
    """Where a unit ran."""

    host: str = ""
    slot: str = ""
    threads: int = 1
    cpu: str = ""  # model
    gpu: str = ""  # model; empty for a unit that ran on the CPU


@dataclass(frozen=True)
class CodedMesh:
    """One mesh of a coding."""

    mesh: str  # name in the dataset
    input_sha256: str = ""  # of the normalised input; empty for a bad input
    vertices: int = 0  # of the normalised input
    faces: int = 0
    obj_bytes: int = 0  # the normalised mesh as OBJ with six decimals
    raw_bytes: int = 0  # 12 V + 12 F
    source_bytes: int = 0  # the file as distributed
    problem: str | None = None  # why the input cannot be used; such a mesh is not in the stream
    mesh_bytes: int | None = None  # bytes of the stream that serve this mesh alone
    decoded_sha256: str | None = None
    polygons: int | None = None  # faces of the file that were cut into triangles; None if there were none
    dropped: str | None = None  # what the reader left out, such as "colours, normals"; its bytes are in source_bytes
    remarks: str | None = None  # what else the reader did to the file's content
    sequence: str | None = None  # of which the mesh is a frame; None if it is none
    frame: int | None = None  # number in the sequence
    fps: float | None = None  # of the sequence, if known


@dataclass(frozen=True)
class Coding:
    """One line of ``codings.jsonl``: one codec at one rate on one mesh or one set.

    ``limit_s`` and ``limit_bytes`` are the limits that a failed coding had; a coding that exceeded a limit runs again
    when that limit is raised.
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
    streams: tuple[str, ...] = ()  # SHA-256 of the one stream of the coding; empty if encoding failed
    encode: Cost | None = None
    decode: Cost | None = None  # for a set codec, of the whole set
    ran_on: RanOn = RanOn()

    @property
    def coded(self) -> tuple[CodedMesh, ...]:
        """The meshes that are in the stream, in the order of the stream."""
        return tuple(m for m in self.meshes if m.problem is None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; None and empty fields are left out."""
        return _filled(asdict(self))

    @property
    def stream_bytes(self) -> int | None:
        """Size of the stream; None if nothing was encoded."""
        if not self.streams or self.shared_bytes is None:
            return None
        return self.shared_bytes + sum(mesh.mesh_bytes or 0 for mesh in self.coded)

    @classmethod
    def from_json(cls, data: Any) -> Coding:
        """Inverse of :meth:`to_json`; unknown fields of a newer gcbench are ignored.

        Raises
        ------
        ValueError
            A field is missing, or has a value that is none of :data:`CODING`.
        """
        made = CODING.take(data)
        assert isinstance(made, cls)
        return made


@dataclass(frozen=True)
class Measurement:
    """One line of ``measurements.jsonl``: one suite on one decoded mesh.

    ``status`` is ``ok``; ``failed`` if the decoded mesh cannot be measured, which is the codec's fault; ``bad-input``
    if the suite cannot use this original. With any other status, the suite exceeded a limit or crashed, and the
    measurement says nothing about the codec.
    """

    key: str
    session: str
    stream: str  # SHA-256
    place: int  # position of the mesh in the stream
    codec: str  # name of the decoder, without parameters
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
    def from_json(cls, data: Any) -> Measurement:
        """Inverse of :meth:`to_json`; unknown fields of a newer gcbench are ignored.

        Raises
        ------
        ValueError
            A field is missing, or has a value that is none of :data:`MEASUREMENT`.
        """
        made = MEASUREMENT.take(data)
        assert isinstance(made, cls)
        return made


def _part(of: type[Any], **kinds: Kind) -> Part:
    """The kinds of all fields of a dataclass, in their order; a field without a default is needed."""
    names = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(of)}
    assert list(names) == list(kinds), f"the fields of {of.__name__} are {', '.join(names)}"
    return Part(of, kinds, frozenset(name for name, needed in names.items() if needed))


# What the fields of a line may hold. A line with anything else is left out, with a warning.

ERROR_CHARACTERS = 20_000  # of a reason; longer ones are cut when they are written
_NAME = Text(1000, 1)
_SECONDS = Real(1e9)  # 30 years
_LIMIT = Real(1e12)
_BYTES = Whole()
_STATUS = OneOf(get_args(Status))
COST = _part(
    Cost, wall_s=_SECONDS, cpu_s=_SECONDS, peak_rss_bytes=_BYTES, rss_before_bytes=_BYTES, repeats=Whole(10**6),
    gpu_bytes=_BYTES, stage_s=Named(_SECONDS, 1000),
)  # fmt: skip
RAN_ON = _part(RanOn, host=Text(), slot=Text(), threads=Whole(10**6), cpu=Text(), gpu=Text())
CODED_MESH = _part(
    CodedMesh, mesh=Text(10_000, 1), input_sha256=Sha256(empty=True), vertices=_BYTES, faces=_BYTES, obj_bytes=_BYTES,
    raw_bytes=_BYTES, source_bytes=_BYTES, problem=Text(ERROR_CHARACTERS), mesh_bytes=_BYTES, decoded_sha256=Sha256(),
    polygons=_BYTES, dropped=Text(ERROR_CHARACTERS), remarks=Text(ERROR_CHARACTERS), sequence=Text(10_000, 1),
    frame=_BYTES, fps=Real(1e6),
)  # fmt: skip
CODING = _part(
    Coding, key=_NAME, session=_NAME, dataset=Text(10_000, 1), split=_NAME, codec=_NAME, codec_version=Text(10_000),
    kind=OneOf(("model", "set")), rate=_NAME, rate_index=Whole(10**6), effort=_NAME, seed=Whole(2**63 - 1),
    meshes=Several(CODED_MESH, 10**6, 1), device=_NAME, timing=Text(), decoder_bytes=_BYTES, status=_STATUS,
    stage=OneOf(get_args(Stage)), error=Text(ERROR_CHARACTERS), limit_s=_LIMIT, limit_bytes=_BYTES, shared_bytes=_BYTES,
    streams=Several(Sha256(), 1000), encode=COST, decode=COST, ran_on=RAN_ON,
)  # fmt: skip
MEASUREMENT = _part(
    Measurement, key=_NAME, session=_NAME, stream=Sha256(), place=Whole(10**9), codec=_NAME,
    decoder_version=Text(10_000), input=Sha256(), suite=_NAME, suite_version=Text(10_000), seed=Whole(2**63 - 1),
    status=_STATUS, error=Text(ERROR_CHARACTERS), values=Named(Value(), 1000), seconds=_SECONDS, limit_s=_LIMIT,
    limit_bytes=_BYTES,
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One mesh of one coding, with all values that were measured. Unknown values are None."""

    # Which coding and mesh.
    dataset: str
    split: str  # "mini" (generated meshes), "paper" or "all"
    mesh: str
    codec: str  # address, parameters included: "necgs[k=64]"
    kind: str  # "model" or "set"
    rate: str  # label
    rate_index: int  # position of the rate in the ladder, low to high quality
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
    polygons: int | None = None  # faces of the file that were cut into triangles; None if there were none
    dropped: str | None = None  # what the reader left out, such as "colours, normals"; its bytes are in source_bytes
    remarks: str | None = None  # what else the reader did to the file's content
    sequence: str | None = None  # of which the mesh is a frame; None if it is none
    frame: int | None = None  # number in the sequence
    fps: float | None = None  # of the sequence, if known
    mesh_bytes: int | None = None  # of the stream, for this mesh alone
    shared_bytes: int | None = None  # of the stream, for the whole set (0 for model codecs)
    set_size: int = 1  # meshes in the stream
    stream_bytes: float | None = None  # mesh_bytes + shared_bytes / set_size: sums over a set to the true total
    bits_per_vertex: float | None = None  # 8 · stream_bytes / vertices of the input
    decoder_bytes: int = 0  # weights that ship with the codec and are not in the stream
    stream_sha256: str | None = None
    stream_place: int = 0  # position of the mesh in the stream
    input_sha256: str | None = None  # of the normalised mesh
    decoded_sha256: str | None = None

    # Cost, and where the coding ran. Every record of a set has the cost of the whole set.
    device: str = "cpu"  # or "cuda"
    ran_on: RanOn = RanOn()
    encode: Cost | None = None
    decode: Cost | None = None
    measure_s: float | None = None  # of all suites together

    # Values of every suite that measured this mesh, by column and floor; and why a suite has no values.
    metrics: Mapping[str, float | int | bool] = field(default_factory=dict)
    suites: Mapping[str, str] = field(default_factory=dict)  # suite → version
    unmeasured: Mapping[str, str] = field(default_factory=dict)  # suite → "status: reason"

    @property
    def stream_size(self) -> int | None:
        """Bytes of the stream that the mesh is in; None if that is not known from this record alone."""
        return None if self.stream_bytes is None or self.set_size != 1 else int(self.stream_bytes)

    def flat(self) -> dict[str, Any]:
        """One row of a table: nested values become columns ``encode_s``, ``decode_peak_rss_bytes``, ``cd``, ...

        Stages that a codec reports become ``encode_stage_coding_s``, ``decode_stage_surface_s``, ...
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
    """Join a coding with its measurements: one record for each mesh, in order.

    Parameters
    ----------
    coding : Coding
        Successful or not.
    measurements : mapping
        Position of the mesh in the stream → suite → measurement.
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
    values |= {name: getattr(mesh, name) for name in _OF_MOTION}
    if mesh.problem is not None:
        return values | {"status": "bad-input", "stage": "load", "error": mesh.problem}
    return values | {name: getattr(mesh, name) for name in _OF_INPUT}


def _sizes(coding: Coding, mesh: CodedMesh, place: int) -> dict[str, Any]:
    if mesh.mesh_bytes is None or coding.shared_bytes is None:  # not encoded
        return {"encode": coding.encode}
    in_stream = len(coding.coded) if coding.kind == "set" else 1
    stream_bytes = mesh.mesh_bytes + coding.shared_bytes / in_stream
    return {
        "mesh_bytes": mesh.mesh_bytes,
        "shared_bytes": coding.shared_bytes,
        "set_size": in_stream,
        "stream_bytes": stream_bytes,
        "bits_per_vertex": 8 * stream_bytes / mesh.vertices if mesh.vertices else None,  # 0 in a damaged line only
        "stream_sha256": coding.streams[0] if coding.streams else None,
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
    if blamed is not None and coding.status == "ok":  # a mesh that cannot be measured is a failure of the codec
        return values | {"status": "failed", "stage": "measure", "error": blamed.error}
    in_order = (by_suite[suite] for suite in sorted(by_suite))  # of two suites with one metric, the later name counts
    return values | {"metrics": {name: value for m in in_order for name, value in m.values.items()}}


_SHARED = (
    *("dataset", "split", "codec", "kind", "rate", "rate_index", "effort", "seed", "codec_version", "key"),
    *("device", "ran_on", "decoder_bytes", "status", "stage", "error"),
)
_OF_INPUT = ("vertices", "faces", "obj_bytes", "raw_bytes", "input_sha256", "polygons", "dropped", "remarks")
_OF_MOTION = ("sequence", "frame", "fps")
_NESTED = frozenset({"encode", "decode", "metrics", "suites", "unmeasured", "ran_on"})


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
