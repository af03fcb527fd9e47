"""What the records of a run must satisfy among themselves: sizes that add up, keys, metrics within their bounds.

Knows records and the bytes that streams have; opens no mesh, runs no codec. So it is cheap, and is done for all.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from gcbench.bench.metrics import METRICS
from gcbench.bench.store.records import Record
from gcbench.bench.store.run import CellRecords
from gcbench.bench.plan.planning import Cell, PlannedMesh
from gcbench.codecs import Codec
from gcbench.codecs.base import Effort, as_effort
from gcbench.datasets import MeshSource
from gcbench.datasets.base import Split, as_split
from gcbench.errors import UsageError

#: Metrics of a mesh against itself: of no codec.
FLOORS = tuple(metric.floor for metric in METRICS.values() if metric.floor)


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the record says, or that could not be checked.

    Parameters
    ----------
    what : str
        Kind of thing: ``stream``, ``size``, ``metric``, ``fact``, ``input``, ``key``, ``status``, ``version``,
        ``line``, ``session``, ``data`` or ``codec``.
    where : str
        Which record, mesh, codec or file.
    message : str
        What was recorded and what was found.
    """

    what: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.message}"


def where(record: Record) -> str:
    """Name a record."""
    pass_ = ", timing pass" if record.timing else ""
    seed = f", seed {record.seed}" if record.seed else ""
    return f"{record.codec} {record.rate} on {record.dataset}/{record.mesh} ({record.effort}{seed}{pass_})"


def check_sizes(cell: CellRecords, stream_sizes: Mapping[str, int]) -> Iterator[Finding]:
    """Check that the sizes in a cell's records add up to the bytes of its streams.

    Parameters
    ----------
    cell : CellRecords
        One finished cell.
    stream_sizes : mapping
        Bytes of every kept stream by SHA-256; one that is not there is not looked at here.
    """
    coded = [r for r in cell.records if r.stream_sha256 is not None]
    for r in coded:
        sizes = (r.mesh_bytes, r.shared_bytes, r.stream_bytes, r.bits_per_vertex, r.raw_bytes, r.obj_bytes)
        if any(size is None for size in sizes):
            yield Finding("size", where(r), "a stream is named, but a size is not there")
            continue
        assert r.mesh_bytes is not None  # for the type checker: looked at just above
        assert r.shared_bytes is not None
        yield from _unequal("size", r, "stream_bytes", r.stream_bytes, r.mesh_bytes + r.shared_bytes / r.set_size)
        if "in_faces" in r.facts and r.raw_bytes is not None:
            # Not in_vertices: positions that became equal when the mesh was normalised are one there.
            vertices = r.raw_bytes / 12 - r.facts["in_faces"]
            per_vertex = 8 * (r.stream_bytes or 0) / vertices if vertices > 0 else None
            yield from _unequal("size", r, "bits_per_vertex", r.bits_per_vertex, per_vertex)
        if r.kind == "model":
            yield from _unequal("size", r, "shared_bytes", r.shared_bytes, 0)
            yield from _unequal("size", r, "set_size", r.set_size, 1)
            size = stream_sizes.get(r.stream_sha256 or "")
            if size is not None:
                yield from _unequal("size", r, "mesh_bytes", r.mesh_bytes, size)
    if coded and coded[0].kind == "set":
        yield from _check_set(cell, coded, stream_sizes)


def _check_set(cell: CellRecords, coded: Sequence[Record], stream_sizes: Mapping[str, int]) -> Iterator[Finding]:
    first = coded[0]
    usable = sum(r.status != "bad-input" for r in cell.records)
    for r in coded:
        yield from _unequal("size", r, "set_size", r.set_size, usable)
        yield from _unequal("stream", r, "stream_sha256", r.stream_sha256, first.stream_sha256)
        yield from _unequal("size", r, "shared_bytes", r.shared_bytes, first.shared_bytes)
    total = sum(r.mesh_bytes or 0 for r in coded) + (first.shared_bytes or 0)
    size = stream_sizes.get(first.stream_sha256 or "")
    if size is not None and total != size:
        yield Finding(
            "size", where(first), f"shared and mesh bytes of the set add up to {total}, the stream has {size}"
        )


def check_values(record: Record) -> Iterator[Finding]:
    """Check one record by itself: its status against what else it says, and metrics against their bounds."""
    if record.status != "ok":
        if record.metrics:
            yield Finding("status", where(record), f"has metrics, but its status is {record.status}")
        return
    if record.stage is not None or record.error is not None:
        yield Finding("status", where(record), f"is ok, but names an error: {record.error}")
    if record.stream_sha256 is None:
        yield Finding("stream", where(record), "is ok, but names no stream")
    if record.timing:
        return
    absent = [name for name in (*METRICS, *FLOORS) if name not in record.metrics]
    if absent:
        yield Finding("metric", where(record), f"is ok, but has no {', '.join(absent)}")
        return
    m = record.metrics
    for name, value in m.items():
        unit = METRICS[name].unit if name in METRICS else None
        bounded = unit in {"fraction", "cosine"} and not 0 <= value <= 1
        if not math.isfinite(value) or bounded or (unit == "length" and value < 0):
            yield Finding("metric", where(record), f"{name} cannot be {value!r}")
    for smaller, larger in (("p99_p2s", "hausdorff_p2s"), ("f1_0005", "f1_001"), ("f1_p2s_0005", "f1_p2s_001")):
        if m[smaller] > m[larger]:
            yield Finding("metric", where(record), f"{smaller} {m[smaller]!r} is larger than {larger} {m[larger]!r}")


def check_agreement(records: Iterable[Record]) -> Iterator[Finding]:
    """Check that records of the same mesh say the same of it: sizes, facts and, with the same seed, floors."""
    said: dict[tuple[str, int | None, str], Counter[Any]] = defaultdict(Counter)
    claims: list[tuple[Record, tuple[str, int | None, str], Any]] = []
    for r in records:
        if r.input_sha256 is None:
            continue
        of_mesh: dict[str, Any] = {"obj_bytes": r.obj_bytes, "raw_bytes": r.raw_bytes}
        of_mesh |= {name: fact for name, fact in r.facts.items() if name.startswith("in_")}
        of_seed = {name: value for name, value in r.metrics.items() if name in FLOORS}
        for seed, values in ((None, of_mesh), (r.seed, of_seed)):
            for name, value in values.items():
                said[r.input_sha256, seed, name][value] += 1
                claims.append((r, (r.input_sha256, seed, name), value))
    for r, subject, value in claims:
        usual, _ = said[subject].most_common(1)[0]
        if value != usual:
            name = subject[-1]
            kind = "metric" if name in FLOORS else "size" if name.endswith("bytes") else "fact"
            yield Finding(kind, where(r), f"{name} is {value!r}; most records of the mesh have {usual!r}")


def check_key(cell: CellRecords, codec: Codec, codec_version: str) -> Iterator[Finding]:
    """Check that the key of a cell is the hash of what its records say was coded.

    It covers names, version, rate, effort, seed, device, the hash of every mesh, ``obj_bytes`` and ``source_bytes``.
    Cells that contain an unusable mesh beside others are passed over: their key depends on an order that is not kept.

    Parameters
    ----------
    cell : CellRecords
        One finished cell.
    codec : Codec
        Of the records' address, in the version that made them.
    codec_version : str
        That version.
    """
    first = cell.records[0]
    try:
        effort, _ = as_effort(first.effort), as_split(first.split)
    except UsageError as error:
        yield Finding("key", where(first), str(error))
        return
    rates = {rate.label: (index, rate) for index, rate in enumerate(codec.rates(effort))}
    if first.rate not in rates:
        yield Finding("key", where(first), f"the ladder of effort {first.effort} has no rate {first.rate}")
        return
    index, rate = rates[first.rate]
    for r in cell.records:
        yield from _unequal("key", r, "rate_index", r.rate_index, index)
        yield from _unequal("key", r, "kind", r.kind, codec.kind)
        yield from _unequal("key", r, "decoder_bytes", r.decoder_bytes, codec.decoder_bytes)
    unusable = sum(r.status == "bad-input" for r in cell.records)
    if unusable and len(cell.records) > 1:
        return
    rebuilt = replace(rebuild(cell.records, codec_version, {}), rate=rate)
    if rebuilt.key != cell.key:
        yield Finding("key", where(first), "the cell's key is not the hash of what its records say was coded")


def rebuild(records: Sequence[Record], codec_version: str, sources: Mapping[str, MeshSource]) -> Cell:
    """Make the cell that records came from, but for the parameters of its rate, which only the codec knows.

    Parameters
    ----------
    records : sequence of Record
        Of one cell.
    codec_version : str
        From provenance.
    sources : mapping
        Mesh → where it is on this machine; a mesh that is not there gets an empty path.
    """
    from gcbench.codecs import Rate

    first = records[0]
    return Cell(
        dataset=first.dataset,
        split=cast("Split", first.split),  # as recorded; a name that is none is a finding of check_key
        codec=first.codec,
        codec_version=codec_version,
        kind=first.kind,
        decoder_bytes=first.decoder_bytes,
        rate=Rate(first.rate),
        rate_index=first.rate_index,
        effort=cast("Effort", first.effort),  # likewise
        seed=first.seed,
        meshes=tuple(_planned(r, sources.get(r.mesh)) for r in records),
        timing=first.timing,
        device=first.device,
    )


def _planned(r: Record, source: MeshSource | None) -> PlannedMesh:
    raw_bytes, faces = r.raw_bytes or 0, int(r.facts.get("in_faces", 0))
    return PlannedMesh(
        source=source or MeshSource(r.dataset, r.mesh, Path()),
        sha256=r.input_sha256 or "",
        vertices=raw_bytes // 12 - faces,
        faces=faces,
        obj_bytes=r.obj_bytes or 0,
        raw_bytes=raw_bytes,
        source_bytes=r.source_bytes or 0,
        problem=r.error if r.status == "bad-input" else None,
    )


def _unequal(what: str, record: Record, name: str, recorded: object, true: object) -> Iterator[Finding]:
    if recorded != true:
        yield Finding(what, where(record), f"{name} is recorded as {recorded!r}, it is {true!r}")
