"""Consistency of the lines of a run: sizes that add up, keys that are the right hash, values that are possible.

No mesh is read and nothing is decoded, so these checks are cheap, and `verify` applies them to every line.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from gcbench.bench.metrics import Column, Suite, floors
from gcbench.bench.plan.units import SuiteId, coding_key, measurement_key, sequences_of
from gcbench.bench.store.records import CodedMesh, Coding, Measurement, Record
from gcbench.codecs import Codec, StreamLayout
from gcbench.codecs.base import as_effort
from gcbench.datasets.base import as_split
from gcbench.errors import UsageError


@dataclass(frozen=True)
class Finding:
    """Something that differs from what was recorded, or that could not be checked."""

    what: str  # stream, size, metric, input, key, status, version, line, session, pack or data
    where: str  # which coding, record, mesh, codec or file
    message: str  # continues the sentence that begins with ``where``

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.message}"


def where(of: Record | Coding, mesh: str = "") -> str:
    """Text that names a record, a coding, or one mesh of a coding."""
    if isinstance(of, Record):
        mesh = of.mesh
    elif not mesh:
        mesh = of.meshes[0].mesh if of.kind == "model" and of.meshes else f"{len(of.meshes)} meshes"
    pass_ = ", timing pass" if of.timing else ""
    seed = f", seed {of.seed}" if of.seed else ""
    return f"{of.codec} {of.rate} on {of.dataset}/{mesh} ({of.effort}{seed}{pass_})"


def check_coding(coding: Coding, stream_sizes: Mapping[str, int]) -> Iterator[Finding]:
    """Check the status of a coding against its other fields, and its sizes against the size of its stream.

    ``stream_sizes`` has the size of every intact stream by SHA-256; other streams are not checked here.
    """
    yield from _check_status(coding)
    for mesh in coding.coded:
        if mesh.vertices <= 0 or mesh.faces <= 0 or mesh.obj_bytes <= 0:
            yield Finding("size", where(coding, mesh.mesh), "the input is usable and has no vertices, faces or bytes")
        yield from _size(coding, mesh, "raw_bytes", 12 * (mesh.vertices + mesh.faces))
    if coding.kind == "model" and len(coding.meshes) != 1:
        yield Finding("size", where(coding), f"one stream of a model codec stands for {len(coding.meshes)} meshes")
    if not coding.streams:
        return
    if len(coding.streams) > 1:
        yield Finding("stream", where(coding), f"names {len(coding.streams)} streams, a coding has one")
    if coding.shared_bytes is None or any(mesh.mesh_bytes is None for mesh in coding.coded):
        yield Finding("size", where(coding), "a stream is named, but a size is not there")
        return
    if coding.kind == "model" and coding.shared_bytes:
        yield Finding("size", where(coding), f"shared_bytes is recorded as {coding.shared_bytes}, it is 0")
    total = coding.shared_bytes + sum(mesh.mesh_bytes or 0 for mesh in coding.coded)
    size = stream_sizes.get(coding.streams[0])
    if size is not None and total != size:
        yield Finding("size", where(coding), f"shared and mesh bytes add up to {total}, the stream has {size}")


def _check_status(coding: Coding) -> Iterator[Finding]:
    if coding.status == "ok":
        if coding.stage is not None or coding.error is not None:
            yield Finding("status", where(coding), f"is ok, but names an error: {coding.error}")
        if not coding.streams:
            yield Finding("stream", where(coding), "is ok, but names no stream")
        if coding.encode is None or coding.decode is None or any(m.decoded_sha256 is None for m in coding.coded):
            yield Finding("status", where(coding), "is ok, but does not say that it was encoded and decoded")
    elif coding.stage is None or coding.error is None:
        yield Finding("status", where(coding), f"is {coding.status}, but does not say where and why")
    if (coding.status == "bad-input") == bool(coding.coded):
        yield Finding("status", where(coding), f"is {coding.status}, with {len(coding.coded)} usable meshes")


def check_layout(coding: Coding, layout: StreamLayout) -> Iterator[Finding]:
    """Check the shared bytes and the bytes of each mesh against the layout of the stream."""
    if coding.shared_bytes != layout.shared_bytes:
        message = f"shared_bytes is recorded as {coding.shared_bytes}, it is {layout.shared_bytes}"
        yield Finding("size", where(coding), message)
    if len(layout.mesh_bytes) != len(coding.coded):
        message = f"{len(coding.coded)} meshes are recorded, the stream has {len(layout.mesh_bytes)}"
        yield Finding("size", where(coding), message)
        return
    for mesh, true in zip(coding.coded, layout.mesh_bytes, strict=True):
        yield from _size(coding, mesh, "mesh_bytes", true)


def check_coding_key(coding: Coding, codec: Codec, *, keyed: bool = True) -> Iterator[Finding]:
    """Check what the ladder says of a coding and, if it has one, its key.

    ``codec`` has the address and the version of the coding.
    """
    try:
        effort, _ = as_effort(coding.effort), as_split(coding.split)
    except UsageError as error:
        yield Finding("key", where(coding), str(error))
        return
    rates = {rate.label: (index, rate) for index, rate in enumerate(codec.rates(effort))}
    if coding.rate not in rates:
        yield Finding("key", where(coding), f"the ladder of effort {coding.effort} has no rate {coding.rate}")
        return
    index, rate = rates[coding.rate]
    for name, true in (("rate_index", index), ("kind", codec.kind), ("decoder_bytes", codec.decoder_bytes)):
        if (recorded := getattr(coding, name)) != true:
            yield Finding("key", where(coding), f"{name} is recorded as {recorded!r}, it is {true!r}")
    if not keyed:
        return
    key = coding_key(
        codec=coding.codec,
        codec_version=coding.codec_version,
        rate=rate,
        effort=coding.effort,
        seed=coding.seed,
        device=coding.device,
        timing=coding.timing,
        inputs=[mesh.input_sha256 or f"bad input: {mesh.problem}" for mesh in coding.meshes],
        sequences=sequences_of([mesh.sequence for mesh in coding.coded])
        if codec.kind == "set" and getattr(codec, "uses_sequences", False)
        else (),
    )
    if key != coding.key:
        yield Finding("key", where(coding), "its key is not the hash of what it says was coded")


def check_measurement_key(measurement: Measurement, name: str) -> Iterator[Finding]:
    """Check the key of a measurement; ``name`` is for the finding."""
    key = measurement_key(
        stream_sha256=measurement.stream,
        place=measurement.place,
        codec=measurement.codec,
        decoder_version=measurement.decoder_version,
        input_sha256=measurement.input,
        suite=SuiteId(measurement.suite, measurement.suite_version),
        seed=measurement.seed,
    )
    if key != measurement.key:
        message = f"the key of {measurement.suite} is not the hash of what it says was measured"
        yield Finding("key", name, message)


def check_values(measurement: Measurement, suite: Suite[Any], name: str) -> Iterator[Finding]:
    """Check that a measurement has a value for every column, and that each value is possible.

    ``suite`` is the suite that measured, in the same version; ``name`` is for findings.
    """
    if measurement.status != "ok":
        if measurement.values:
            yield Finding("status", name, f"{suite.name} has values, but is {measurement.status}")
        elif measurement.error is None:
            yield Finding("status", name, f"{suite.name} is {measurement.status}, but does not say why")
        return
    if measurement.error is not None:
        yield Finding("status", name, f"{suite.name} is ok, but names an error: {measurement.error}")
    declared = {key: column for column in suite.columns for key in (column.name, column.floor) if key}
    if absent := [key for key in declared if key not in measurement.values]:
        yield Finding("metric", name, f"{suite.name} is ok, but has no {', '.join(absent)}")
    if unknown := [key for key in measurement.values if key not in declared]:
        yield Finding("metric", name, f"{suite.name} has no column {', '.join(unknown)}")
    impossible = [
        key for key, column in declared.items() if key not in absent and not _can_be(measurement.values[key], column)
    ]
    for key in impossible:
        yield Finding("metric", name, f"{key} cannot be {measurement.values[key]!r}")
    if not (absent or impossible):
        for message in suite.implausible(measurement.values):
            yield Finding("metric", name, message)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a number: a line that somebody changed may have anything."""
    return isinstance(value, (int, float))


def _can_be(value: Any, column: Column) -> bool:
    return is_number(value) and column.allows(value)


def check_agreement(records: Iterable[Record]) -> Iterator[Finding]:
    """Check that records of one mesh have the same sizes and, for the same seed and suites, the same floors."""
    of_floors = floors()
    said: dict[tuple[Any, ...], Counter[Any]] = defaultdict(Counter)
    claims: list[tuple[Record, tuple[Any, ...], Any]] = []
    for r in records:
        if r.input_sha256 is None:
            continue
        sizes = {name: getattr(r, name) for name in ("vertices", "faces", "obj_bytes", "raw_bytes")}
        noise = {name: value for name, value in r.metrics.items() if name in of_floors and is_number(value)}
        for context, values in ((None, sizes), ((r.seed, tuple(sorted(r.suites.items()))), noise)):
            for name, value in values.items():
                said[r.input_sha256, context, name][value] += 1
                claims.append((r, (r.input_sha256, context, name), value))
    for r, subject, value in claims:
        usual, _ = said[subject].most_common(1)[0]
        if value != usual:
            name = subject[-1]
            kind = "metric" if name in of_floors else "size"
            yield Finding(kind, where(r), f"{name} is {value!r}; most records of the mesh have {usual!r}")


def _size(coding: Coding, mesh: CodedMesh, name: str, true: int) -> Iterator[Finding]:
    recorded = getattr(mesh, name)
    if recorded != true:
        yield Finding("size", where(coding, mesh.mesh), f"{name} is recorded as {recorded!r}, it is {true!r}")
