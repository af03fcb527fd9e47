"""Kept streams of a run as papers on implicit networks count quality: shared volume, squared CD and its floor.

Knows a run and what it kept: streams are decoded from their bytes alone, inputs are found again and must not have
changed. Encodes nothing, writes nothing; what cannot be compared is a row with the reason.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from gcbench.bench.analysis.tables import Table
from gcbench.bench.kept import Decoder, KeptInputs, NotHere, load_unchanged
from gcbench.bench.metrics.volume import VolumeReference
from gcbench.bench.records import Record, Status
from gcbench.bench.store import Run
from gcbench.errors import BadMesh, CodecFailed, UsageError

Progress = Callable[[int, int, str], None]  # done, total, what

_AT_FLOOR = 1.03  # as for the sampled metrics of a run: up to 3 % above it is noise


@dataclass(frozen=True)
class Compared:
    """One kept coding of one mesh against its input.

    Parameters
    ----------
    status : str
        ``ok``; as recorded, for a coding that failed in the run; ``bad-input`` for an input that has no inside, too;
        ``failed`` for one that cannot be compared now.
    stream_bytes : float
        Of the mesh, of a set codec with its share.
    giou, union_points, squared_cd : float, int, float
        See `gcbench.bench.metrics.volume.Volumes`.
    squared_cd_floor : float
        Squared CD of the input against itself.
    problem : str
        Why there are no numbers; empty where there are.
    """

    dataset: str
    split: str
    mesh: str
    codec: str
    rate: str
    rate_index: int
    effort: str
    seed: int
    device: str
    status: Status
    stream_bytes: float = math.nan
    giou: float = math.nan
    union_points: int = 0
    squared_cd: float = math.nan
    squared_cd_floor: float = math.nan
    problem: str = ""


def choose(
    run: Run,
    *,
    datasets: Collection[str] = (),
    meshes: Collection[str] = (),
    codecs: Collection[str] = (),
    rates: Collection[str] = (),
    limit: int | None = None,
) -> list[Record]:
    """Pick records of quality passes, mesh by mesh.

    Parameters
    ----------
    run : Run
        With the records.
    datasets, meshes, codecs, rates : collection of str
        Only these; empty is all. Codecs are addresses, rates are labels.
    limit : int, optional
        Only the first so many meshes of each dataset, of those that are no bad input.

    Raises
    ------
    UsageError
        There is no such run, it has no record yet, or none has the name asked for.
    """
    if not run.exists:
        raise UsageError(f"no run at {run.path}; see: bench list runs")
    records = [record for record in run.records() if not record.timing]
    if not records:
        raise UsageError(f"{run.path} has no record of a quality pass yet; go on with: bench run")
    for name, wanted in (("dataset", datasets), ("mesh", meshes), ("codec", codecs), ("rate", rates)):
        known = dict.fromkeys(getattr(record, name) for record in records)
        if absent := [one for one in wanted if one not in known]:
            raise UsageError(f"no {name} {', '.join(absent)} in {run.path}; there are: {', '.join(known)}")
        records = [record for record in records if not wanted or getattr(record, name) in wanted]
    of_mesh: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(dict)
    for record in sorted(records, key=lambda r: (r.dataset, r.split, r.mesh)):  # stable: codecs and rates as they were
        of_mesh[record.dataset, record.split].setdefault(record.mesh, []).append(record)
    chosen: list[Record] = []
    for found in of_mesh.values():
        usable = [mesh for mesh, of in found.items() if any(r.status != "bad-input" for r in of)]
        kept = found if limit is None else set(usable[:limit])
        chosen += [record for mesh, of in found.items() if mesh in kept for record in of]
    return chosen


def compare(
    run: Run,
    records: Sequence[Record],
    *,
    seed: int = 0,
    threads: int = 1,
    data: Path | None = None,
    folders: Mapping[str, Path] | None = None,
    progress: Progress | None = None,
) -> Generator[Compared, None, None]:
    """Decode kept streams and compare them with their inputs: one row for each record, in the order given.

    Parameters
    ----------
    run : Run
        With the streams; it may still be written to.
    records : sequence of Record
        Mesh by mesh, as :func:`choose` gives them: what an input needs is computed once while it stays the same.
    seed : int
        Of all random points.
    threads : int
        For searches; codecs decode with one.
    data : Path, optional
        Data root; default: ``BENCH_DATA``, else the user's data folder.
    folders : mapping, optional
        Dataset → folder, for datasets that were folders and have moved.
    progress : callable, optional
        Told what is next.
    """
    inputs, decoder = KeptInputs(run, data, folders), Decoder(run)
    reference: tuple[object, VolumeReference | _Refused] | None = None
    try:
        for done, record in enumerate(records):
            if progress is not None:
                progress(done, len(records), f"{record.codec} {record.rate} on {record.dataset}/{record.mesh}")
            if record.status != "ok":
                yield _row(record, record.status, problem=f"{record.stage}: {record.error}")
                continue
            key = (record.dataset, record.split, record.mesh, record.input_sha256)
            if reference is None or reference[0] != key:
                reference = key, _reference(record, inputs, seed, threads)
            yield _compare(record, reference[1], decoder)
    finally:
        decoder.close()


@dataclass(frozen=True)
class _Refused:
    """An input that nothing can be compared with, and why."""

    status: Status
    problem: str


def _reference(record: Record, inputs: KeptInputs, seed: int, threads: int) -> VolumeReference | _Refused:
    try:
        mesh = load_unchanged(inputs.source(record), record.input_sha256)
        return VolumeReference(mesh, seed=seed, threads=threads)
    except NotHere as reason:
        return _Refused("failed", str(reason))
    except BadMesh as error:
        return _Refused("bad-input", str(error))


def _compare(record: Record, reference: VolumeReference | _Refused, decoder: Decoder) -> Compared:
    import trimesh

    if isinstance(reference, _Refused):
        return _row(record, reference.status, problem=reference.problem)
    try:
        vertices, faces = decoder.mesh(record)
        found = reference.compare(trimesh.Trimesh(vertices, faces, process=False, validate=False))
    except (NotHere, CodecFailed) as reason:
        return _row(record, "failed", problem=str(reason))
    return _row(record, "ok", squared_cd_floor=reference.floor, **asdict(found))


def _row(record: Record, status: Status, **values: Any) -> Compared:
    which = ("dataset", "split", "mesh", "codec", "rate", "rate_index", "effort", "seed", "device")
    size = math.nan if record.stream_bytes is None else record.stream_bytes
    return Compared(**{name: getattr(record, name) for name in which}, status=status, stream_bytes=size, **values)


def on_common_meshes(rows: Sequence[Compared]) -> list[Compared]:
    """Leave out what is ok of meshes that not every codec has at every rate, so that means are over the same meshes."""
    of_block = _grouped(rows, "dataset", "split", "effort", "device", "seed")
    kept: list[Compared] = []
    for block in of_block.values():
        codings = _grouped(block, "codec", "rate")
        common = set.intersection(*({r.mesh for r in of if r.status == "ok"} for of in codings.values()))
        kept += [row for row in block if row.status != "ok" or row.mesh in common]
    return kept


def published_datasets() -> list[str]:
    """Datasets of the published table."""
    return list(dict.fromkeys(row["dataset"] for row in _published()))


def tables(rows: Sequence[Compared], published: str | None = "Thingi32") -> list[Table]:
    """Means over the meshes of each dataset, codec and rate, and below them the published figures.

    Parameters
    ----------
    rows : sequence of Compared
        From :func:`compare`.
    published : str or None
        Dataset of the published table that is shown; None shows none.
    """
    made = []
    for (dataset, split, effort, device, seed), block in _grouped(
        rows, "dataset", "split", "effort", "device", "seed"
    ).items():
        codings = _grouped(sorted(block, key=lambda r: (r.codec, r.rate_index)), "codec", "rate")
        means = [_means(codec, rate, of) for (codec, rate), of in codings.items()]
        others = [row for row in _published() if row["dataset"] == published]
        title = f"shared volume, {dataset}, split {split}, effort {effort}"
        title += ("" if device == "cpu" else f", on {device}") + (f", seed {seed}" if seed else "")
        where = {"dataset": dataset, "split": split, "effort": effort, "device": device, "seed": seed}
        cells = [_cells(mean) for mean in means] + [_published_cells(row) for row in others]
        data = [{"source": "ours", **where, **mean} for mean in means] + [_published_data(row) for row in others]
        made.append(Table(title, _HEADING, cells, data, tuple(_notes(block, codings, others))))
    return made


_HEADING = ("codec", "rate", "kB/mesh", "gIoU %", "squared CD ×10⁻³", "its floor", "ok", "failed", "source")


def _means(codec: str, rate: str, rows: Sequence[Compared]) -> dict[str, Any]:
    ok = [row for row in rows if row.status == "ok"]

    def mean(name: str) -> float | None:
        return sum(getattr(row, name) for row in ok) / len(ok) if ok else None

    kilobytes = mean("stream_bytes")
    return {
        "codec": codec,
        "rate": rate,
        "kilobytes": None if kilobytes is None else kilobytes / 1000,
        **{name: mean(name) for name in ("giou", "squared_cd", "squared_cd_floor")},
        "ok": len(ok),
        "failed": sum(row.status not in {"ok", "bad-input"} for row in rows),
        "bad_input": sum(row.status == "bad-input" for row in rows),
    }


def _cells(mean: Mapping[str, Any]) -> list[str]:
    shown = ["–"] * 4
    if mean["ok"]:
        floor = mean["squared_cd_floor"]
        mark = "~" if mean["squared_cd"] <= _AT_FLOOR * floor else ""
        shown = [f"{mean['kilobytes']:.2f}", f"{100 * mean['giou']:.2f}"]
        shown += [f"{1e3 * mean['squared_cd']:.4f}{mark}", f"{1e3 * floor:.4f}"]
    return [mean["codec"], mean["rate"], *shown, str(mean["ok"]), str(mean["failed"]), "ours"]


def _published_cells(row: Mapping[str, str]) -> list[str]:
    figures = [row["storage_kb"], row["giou_percent"], row["squared_cd_e3"]]
    return [row["method"], row["setting"], *figures, "–", "–", "–", "published"]


def _published_data(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "source": f"{row['source']}, {row['table']}",
        "dataset": row["dataset"],
        "codec": row["method"],
        "rate": row["setting"],
        "kilobytes": float(row["storage_kb"]),
        "giou": float(row["giou_percent"]) / 100,
        "squared_cd": float(row["squared_cd_e3"]) / 1000,
    }


def _notes(
    block: Sequence[Compared],
    codings: Mapping[tuple[Any, ...], Sequence[Compared]],
    published: Sequence[Mapping[str, str]],
) -> Iterator[str]:
    done = {frozenset(row.mesh for row in of if row.status == "ok") for of in codings.values()}
    if len(done) > 1:
        yield "means are over different meshes: --means common takes those that all have"
    yield "~ at the floor: a mesh against a second sampling of itself is as far"
    for source in dict.fromkeys(f"{row['source']}, {row['table']}, {row['dataset']}" for row in published):
        yield f"published: {source}: other meshes; KB of float32 weights, where ours are whole streams"
    problems = Counter((row.status, row.problem) for row in block if row.problem)
    for (status, problem), count in problems.most_common():
        yield f"{status}, {count} codings: {problem}"


def _published() -> list[dict[str, str]]:
    text = (files("gcbench.results") / "published_volumes.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _grouped(rows: Sequence[Compared], *names: str) -> dict[tuple[Any, ...], list[Compared]]:
    groups: dict[tuple[Any, ...], list[Compared]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, name) for name in names), []).append(row)
    return groups
