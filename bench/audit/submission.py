"""Pack a run for others: `bench submit`. What a pack is: :mod:`gcbench.bench.store.pack`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcbench.bench.audit import installed
from gcbench.bench.audit.comparison import is_deterministic
from gcbench.bench.metrics import DEFAULT_SUITES
from gcbench.bench.run.outstanding import applies
from gcbench.bench.store import pack, pack_columns
from gcbench.bench.store.archive import write_archive
from gcbench.bench.store.mesh_names import read_names
from gcbench.bench.store.records import Coding, Record
from gcbench.bench.store.results import address
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
) -> Submitted:
    """Write the results of a run that count as a pack, and its streams as an archive beside the pack.

    Meshes that are no longer in their dataset are left out, as in tables. Equal runs give equal bytes.

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
        Whether to write the archive.

    Raises
    ------
    UsageError
        Nothing in the run is ok, or a codec ran that is said not to have run.
    StoreError, BitstreamError
        A stream is missing or was changed; the folder cannot be written, or holds other files.
    """
    codings = counting(run)
    records = run.records(codings)
    if not any(r.status == "ok" for r in records):
        raise UsageError(f"{run.path} has no coding that is ok: there is nothing to submit")
    reasons = dict(not_run or {})
    if ran := sorted(set(reasons) & {r.codec for r in records if r.status == "ok"}):
        raise UsageError(f"--not-run {ran[0]}: {ran[0]} has results in {run.path}")
    archive, path = None, None
    if streams:
        path = folder.with_name(f"{folder.name}-streams.zip")
        sizes = {sha256: coding.stream_bytes for coding in codings for sha256 in coding.streams}
        sha256, size = write_archive(path, sizes, lambda name: run.stream(name, sizes[name]))
        archive = pack.Archive(path.name, sha256, size, url)
    content = pack_columns.content_of(codings, run.measurements(), run.sessions())
    facts = {"about": about, **facts_of(records)}
    written = pack.write(folder, content, facts, not_run=reasons, archive=archive)
    lacks = tuple(missing(run, records, reasons, about))
    return Submitted(folder, written, len(records), path, archive.bytes if archive else 0, lacks)


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


def missing(run: Run, records: Sequence[Record], not_run: Mapping[str, str], about: str) -> Iterator[str]:
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
    if stale := [f"{codec} ({why})" for codec in sorted(rates) if (why := _not_here(codec, records))]:
        yield f"results by other versions than are installed, which whoever verifies needs: {', '.join(stale)}"
    foreign = sorted(codec for codec in rates if not _is_builtin(codec))
    if foreign and not about:
        yield f"where {', '.join(foreign)} can be had, and who made the results (--about TEXT)"
    finished = [session for session in run.sessions() if "finished" not in session]
    if finished:
        yield f"{len(finished)} of {len(run.sessions())} invocations did not end: resume with the same command"
    unavailable = {name for session in run.sessions() for name in session.get("unavailable") or {}}
    if silent := sorted(unavailable - set(rates) - set(not_run)):
        yield f"codecs that could not run, without a row in the pack: {', '.join(silent)} (--not-run 'CODEC:WHY')"


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
