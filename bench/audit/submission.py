"""Pack a run for others: `bench submit`. What a pack is: :mod:`gcbench.bench.store.pack`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from gcbench.bench.audit import installed
from gcbench.bench.audit.comparison import is_deterministic
from gcbench.bench.metrics import DEFAULT_SUITES
from gcbench.bench.run.outstanding import applies
from gcbench.bench.store import pack, pack_columns, safe_files
from gcbench.bench.store.archive import StreamArchive, write_archive
from gcbench.bench.store.mesh_names import read_names
from gcbench.bench.store.pack import Pack, Streams
from gcbench.bench.store.records import CodedMesh, Coding, Record
from gcbench.bench.store.results import Results, address, joined
from gcbench.bench.store.run import Run
from gcbench.codecs import CODECS
from gcbench.errors import UsageError

_CURVE = 4  # rates that a BD-rate needs


@dataclass(frozen=True)
class Submitted:
    """A pack that was written."""

    folder: Path
    size_bytes: int
    records: int
    archive: Path | None  # the streams
    archive_bytes: int
    missing: tuple[str, ...]  # what a reader will miss, a line each


def submit(
    run: Run,
    folder: Path,
    *,
    not_run: Mapping[str, str] | None = None,
    about: str = "",
    url: str = "",
    streams: bool = True,
    base: Pack | None = None,
) -> Submitted:
    """Write the results of a run that count as a pack, and its streams as an archive beside the pack.

    With a ``base``, the pack holds the results of the base too; where both have a coding, the run's counts. Meshes
    that are no longer in their dataset are left out, as in tables. Equal runs give equal bytes.

    Parameters
    ----------
    run : Run
    folder : Path
        The pack; the archive is ``FOLDER-streams.zip``.
    not_run : mapping, optional
        Codec → why it did not run.
    about : str
        Who made the results, and where a codec that is not part of gcbench can be had.
    url : str
        Where the archive will be.
    streams : bool
        Whether to write the archive. Of the base it has the streams of the archive that lies beside the base. Without
        an archive, the pack names that of the base.
    base : Pack, optional
        A pack of the same meshes that the run extends.

    Raises
    ------
    UsageError
        Nothing in the run is ok, a codec ran that is said not to have run, or a mesh of the base is another one.
    StoreError, BitstreamError
        A stream is missing or was changed; the folder cannot be written, or holds other files.
    """
    sources: list[Results] = [run] if base is None else [base, run]
    codings = counting(run)
    if not any(coding.status == "ok" for coding in codings):
        raise UsageError(f"{run.path} has no coding that is ok: there is nothing to submit")
    own = {sha256 for coding in codings for sha256 in coding.streams}
    if base is not None:
        _require_same_meshes(base, codings)
        codings = list({address(coding): coding for coding in chain(base.codings(), codings)}.values())
        about = about or str(base.marker.get("about", ""))
    measurements = list(chain.from_iterable(source.measurements() for source in sources))
    sessions = list(chain.from_iterable(source.sessions() for source in sources))
    records = joined(codings, measurements)
    ran = {r.codec for r in records if r.status == "ok"}
    reasons = {codec: why for codec, why in (base.not_run if base else {}).items() if codec not in ran}
    if wrong := sorted(set(not_run or {}) & ran):
        raise UsageError(f"--not-run {wrong[0]}: {wrong[0]} has results in {run.path if base is None else base.path}")
    reasons |= not_run or {}
    lacks = list(missing(sessions, records, reasons, about))
    archive, path = base.archive if base is not None else None, None
    if streams:
        path = folder.with_name(f"{folder.name}-streams.zip")
        sizes = {sha256: coding.stream_bytes for coding in codings for sha256 in coding.streams}
        held = {**_beside(base, sizes), **dict.fromkeys(own, run)}
        sha256, size = write_archive(path, held, lambda name: held[name].stream(name, sizes[name]))
        archive = pack.Archive(path.name, sha256, size, url)
        if absent := len(sizes) - len(held):
            lacks.append(f"{absent} streams of the pack that was added to: its archive is not beside it")
    content = pack_columns.content_of(codings, measurements, sessions)
    facts = {"about": about, **facts_of(records)}
    written = pack.write(folder, content, facts, not_run=reasons, archive=archive)
    return Submitted(folder, written, len(records), path, archive.bytes if archive else 0, tuple(lacks))


def _require_same_meshes(base: Pack, codings: Sequence[Coding]) -> None:
    """Raise UsageError if a mesh that a pack and some codings both name is not the same mesh, or if they share none."""
    known = {_mesh_name(coding, mesh): mesh.input_sha256 for coding in base.codings() for mesh in coding.meshes}
    shared = 0
    for coding in codings:
        for mesh in coding.meshes:
            if (name := _mesh_name(coding, mesh)) in known:
                shared += 1
                if known[name] != mesh.input_sha256:
                    raise UsageError(f"{'/'.join(name)} of {base.path} is another mesh than that of the run")
    if not shared:
        raise UsageError(f"{base.path} has none of the meshes of the run: results are added to a pack of the same set")


def _mesh_name(coding: Coding, mesh: CodedMesh) -> tuple[str, str, str]:
    return coding.dataset, coding.split, mesh.mesh


def _beside(base: Pack | None, names: Iterable[str]) -> dict[str, Streams]:
    """Those streams that the archive beside a pack holds, each with the archive."""
    path = None if base is None else base.path.with_name(f"{base.path.name}-streams.zip")
    if path is None or not safe_files.is_file(path):
        return {}
    archive = StreamArchive(path)
    return {name: archive for name in names if name in archive}


def counting(run: Run) -> list[Coding]:
    """The codings of a run that count, in the order of their last lines, without meshes that are gone."""
    last: dict[tuple[Any, ...], Coding] = {}
    for coding in run.codings():
        if coding.meshes:
            last.pop(address(coding), None)  # so that it goes to the end
            last[address(coding)] = coding
    names = {dataset: frozenset(meshes) for dataset, meshes in read_names(run).items()}
    return [
        coding
        for coding in last.values()
        if (known := names.get(f"{coding.dataset}/{coding.split}")) is None
        or all(mesh.mesh in known for mesh in coding.meshes)
    ]


def facts_of(records: Sequence[Record]) -> dict[str, Any]:
    """What the marker of a pack says of its records, for people."""
    ok = Counter(r.codec for r in records if r.status == "ok" and not r.timing)
    meshes: dict[str, set[str]] = {}
    for r in records:
        meshes.setdefault(f"{r.dataset}/{r.split}", set()).add(r.mesh)
    versions = {r.codec: r.codec_version for r in records}
    return {
        "records": len(records),
        "meshes": {name: len(of) for name, of in sorted(meshes.items())},
        "codecs": {codec: {"version": versions[codec], "ok": ok[codec]} for codec in sorted(versions)},
        "suites": {suite: version for r in records for suite, version in sorted(r.suites.items())},
    }


def missing(
    sessions: Sequence[Mapping[str, Any]], records: Sequence[Record], not_run: Mapping[str, str], about: str
) -> Iterator[str]:
    """What a reader of these results will miss: a line each."""
    quality = [r for r in records if not r.timing and r.status != "bad-input"]
    failed = Counter(r.codec for r in quality if r.status != "ok")
    if failed:
        total = failed.total()
        yield f"{total} of {len(quality)} codings failed, which the pack says: {_listed(failed)}"
    timed = {r.codec for r in records if r.timing and r.status == "ok"}
    if untimed := sorted({r.codec for r in quality if r.status == "ok"} - timed):
        yield f"no timing pass, so that times are single calls: {', '.join(untimed)} (bench run ... --timing)"
    seeds: dict[str, set[int]] = {}
    for r in quality:
        if not is_deterministic(r.codec):
            seeds.setdefault(r.codec, set()).add(r.seed)
    if one := sorted(codec for codec, of in seeds.items() if len(of) == 1):
        yield f"one seed only, so that nobody sees the spread of training: {', '.join(one)} (bench run ... --seed 1)"
    rates: dict[str, set[str]] = {}
    for r in quality:
        rates.setdefault(r.codec, set()).add(r.rate)
    if few := sorted(codec for codec, of in rates.items() if len(of) < _CURVE):
        yield f"fewer than {_CURVE} rates, so that there is no BD-rate: {', '.join(few)}"
    unmeasured = Counter(
        suite
        for r in quality
        if r.status == "ok"
        for suite in DEFAULT_SUITES
        if (suite not in r.suites or suite in r.unmeasured) and applies(suite, r.codec)
    )
    if unmeasured:
        yield f"codings that a default suite has not measured: {_listed(unmeasured)} (bench measure)"
    yield from _mixed_suites(quality)
    if stale := [f"{codec} ({why})" for codec in sorted(rates) if (why := _not_here(codec, records))]:
        yield f"results by other versions than are installed, which whoever verifies needs: {', '.join(stale)}"
    foreign = sorted(codec for codec in rates if not _is_builtin(codec))
    if foreign and not about:
        yield f"where {', '.join(foreign)} can be had, and who made the results (--about TEXT)"
    if killed := sum("finished" not in session for session in sessions):
        yield f"{killed} of {len(sessions)} invocations did not end: resume with the same command"
    unavailable = {name for session in sessions for name in session.get("unavailable") or {}}
    if silent := sorted(unavailable - set(rates) - set(not_run)):
        yield f"codecs that could not run, without a row in the pack: {', '.join(silent)} (--not-run 'CODEC:WHY')"


def _mixed_suites(records: Sequence[Record]) -> Iterator[str]:
    versions: dict[str, set[str]] = {}
    for r in records:
        for suite, version in r.suites.items():
            versions.setdefault(suite, set()).add(version)
    if mixed := sorted(suite for suite, of in versions.items() if len(of) > 1):
        yield f"values of one version: {', '.join(mixed)} measured in several, which do not compare (bench measure)"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _is_builtin(codec: str) -> bool:
    return CODECS.is_builtin(codec.partition("[")[0])


def _not_here(address: str, records: Sequence[Record]) -> str:
    """Version of the results, or why the codec cannot be used here; empty if the installed codec made the results."""
    made = {r.codec_version for r in records if r.codec == address}
    here = installed.codec(address)
    if not here.version:
        return here.problem
    return "" if made == {here.version} else ", ".join(sorted(made))
