"""Whether a run holds: streams against their hashes, lines against each other, meshes, and a second measurement.

What is cheap is checked for everything (``consistency.py``); a random sample is decoded from the kept streams in fresh
processes and measured again. Encodes nothing and changes nothing in the run.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcbench.bench.audit import consistency
from gcbench.bench.audit.consistency import Finding, where
from gcbench.bench.audit.remeasure import ONE_PERCENT, Sample, draw, measured_by, remeasure, tolerance
from gcbench.bench.metrics import SUITES, columns
from gcbench.bench.metrics.change import worsening
from gcbench.bench.plan.units import KEY_VERSION, MeasurementUnit, SuiteId
from gcbench.bench.run.kept import KeptInputs, NotHere, measurement_of
from gcbench.bench.run.runner import applies
from gcbench.bench.run.work import Limit
from gcbench.bench.store.records import Coding, Measurement, Record
from gcbench.bench.store.run import Run
from gcbench.codecs import CODECS, Codec, SetCodec
from gcbench.datasets import MeshSource, cache_dir, load
from gcbench.errors import BadMesh, BitstreamError, DatasetMissing, StoreError, UsageError

Progress = Callable[[int, int, str], None]  # done, total, what
MeshKey = tuple[str, str, str]  # dataset, split, mesh


@dataclass(frozen=True)
class Verification:
    """What was checked in a run, what differs, and what could not be checked.

    Parameters
    ----------
    run : str
        Its folder.
    records, codings : int
        That count: of codings that took each other's place, the last one.
    measurements : int
        Kept measurements, one for each suite on each decoded mesh.
    streams, streams_intact : int
        Distinct streams that codings name, and how many of them are there with the bytes of their hash.
    meshes, meshes_intact : int
        Distinct input meshes, and how many are on this machine with the hash of the records.
    sampled, recomputed : int
        Records drawn for a second measurement, and how many of them could be measured.
    seed : int
        Of the draw.
    largest_deviation : float
        Of all values of all recomputed records, either way, see `gcbench.bench.metrics.change.worsening`.
    codecs, suites : mapping
        Codec → version here, and suite → version here.
    differs : tuple of Finding
        What is not as recorded.
    unchecked : tuple of Finding
        What could not be looked at, and why.
    """

    run: str
    records: int
    codings: int
    measurements: int
    streams: int
    streams_intact: int
    meshes: int
    meshes_intact: int
    sampled: int
    recomputed: int
    seed: int
    largest_deviation: float
    codecs: Mapping[str, str]
    suites: Mapping[str, str]
    differs: tuple[Finding, ...]
    unchecked: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 everything holds, 1 something differs, 3 nothing differs but something could not be checked."""
        return 1 if self.differs else 3 if self.unchecked else 0


def verify(
    store: Run,
    *,
    sample: Sample = ONE_PERCENT,
    seed: int | None = None,
    folders: Mapping[str, Path] | None = None,
    data: Path | None = None,
    jobs: int = 1,
    limit: Limit = Limit(deadline_s=3600.0),
    progress: Progress | None = None,
) -> Verification:
    """Check a run.

    Parameters
    ----------
    store : Run
        The run; nothing is written to it.
    sample : Sample
        How many records are decoded and measured again; of each codec at least one.
    seed : int, optional
        Of the draw. Default: a random one, so that nobody knows beforehand which records will be looked at.
    folders : mapping, optional
        Dataset → folder, for datasets that were folders and have moved.
    data : Path, optional
        Data root.
    jobs : int
        Records at a time.
    limit : Limit
        Of decoding and measuring one mesh.
    progress : callable, optional
        Takes what is done, the total and a name.

    Raises
    ------
    UsageError
        There is no such run, or it has no coding.
    """
    codings = store.counting()
    if not codings:
        raise UsageError(f"{store.path} is not a run, or has no coding yet")
    seed = secrets.randbelow(2**32) if seed is None else seed
    check = _Check(store, codings, store.records(codings), progress or (lambda *_: None))
    check.everything(KeptInputs(store, data, folders))
    sampled = draw(check.records, sample, seed)
    check.measure_again(sampled, jobs, limit)
    return Verification(
        run=str(store.path),
        records=len(check.records),
        codings=len(codings),
        measurements=len(check.measurements),
        streams=len(check.streams),
        streams_intact=len(check.stream_sizes),
        meshes=len(check.meshes),
        meshes_intact=len(check.sources),
        sampled=len(sampled),
        recomputed=check.recomputed,
        seed=seed,
        largest_deviation=check.largest_deviation,
        codecs={address: known.version for address, known in sorted(check.codecs.items()) if known.here},
        suites={name: known.version for name, known in sorted(check.suites.items()) if known.here},
        differs=tuple(check.differs),
        unchecked=tuple(check.unchecked),
    )


@dataclass(frozen=True)
class _Known:
    """A codec or a suite of the run as it is here: None and why, where it cannot be had."""

    here: Any = None
    version: str = ""
    problem: str = ""

    def differs_from(self, recorded: str) -> str:
        """Why results of this version cannot be made again here; empty if they can."""
        if self.here is None:
            return f"cannot be had here: {self.problem}"
        return "" if recorded == self.version else f"version {recorded} made the run, here is {self.version}"


@dataclass
class _Check:
    """One verification on its way."""

    store: Run
    codings: list[Coding]
    records: list[Record]
    progress: Progress
    measurements: list[Measurement] = field(default_factory=list)
    differs: list[Finding] = field(default_factory=list)
    unchecked: list[Finding] = field(default_factory=list)
    streams: set[str] = field(default_factory=set)
    stream_sizes: dict[str, int] = field(default_factory=dict)  # of the intact ones
    meshes: set[MeshKey] = field(default_factory=set)
    sources: dict[MeshKey, MeshSource] = field(default_factory=dict)  # of the intact ones
    codecs: dict[str, _Known] = field(default_factory=dict)
    suites: dict[str, _Known] = field(default_factory=dict)
    recomputed: int = 0
    largest_deviation: float = 0.0

    def __post_init__(self) -> None:
        self._sessions = {s["session"]: s for s in self.store.sessions()}

    def everything(self, inputs: KeptInputs) -> None:
        """Check what is checked for all codings, measurements and meshes."""
        self._check_lines()
        self._check_streams()
        for coding in self.codings:
            self.differs += consistency.check_coding(coding, self.stream_sizes)
        self.differs += consistency.check_agreement(self.records)
        self._check_codecs()
        self._check_measurements()
        self._check_complete()
        self._check_inputs(inputs)

    def _check_lines(self) -> None:
        """Check that every line can be read, and that there are as many as finished sessions say they made."""
        kept = list(self.store.codings())
        self.measurements = list(self.store.measurements())
        for name, parsed in (("codings.jsonl", len(kept)), ("measurements.jsonl", len(self.measurements))):
            path = self.store.path / name
            data = path.read_bytes() if path.exists() else b""
            lines = data.count(b"\n")
            if lines != parsed:
                self.differs.append(Finding("line", name, f"{lines - parsed} of {lines} lines cannot be read"))
            if data and not data.endswith(b"\n"):
                self.unchecked.append(Finding("line", name, "its last line is torn: the same command runs it again"))
        made = {
            "coded": Counter(coding.session for coding in kept if coding.status != "bad-input"),
            "measured": Counter(measurement.session for measurement in self.measurements),
        }
        for session in sorted({*made["coded"], *made["measured"]} - set(self._sessions)):
            count = made["coded"][session] + made["measured"][session]
            self.unchecked.append(Finding("session", session, f"has no provenance, of {count} lines"))
        for session, facts in self._sessions.items():
            for what, lines in made.items():
                # At least: what a session found kept under other names, it keeps under those of its plan too.
                elsewhere = facts.get(f"{what}_elsewhere", 0)  # of merged runs, where another session's line stands
                if "finished" in facts and lines[session] < facts.get(what, 0) - elsewhere:
                    message = f"{what} {facts[what] - elsewhere}, {lines[session]} are recorded"
                    self.differs.append(Finding("session", session, message))

    def _check_streams(self) -> None:
        of_stream: dict[str, list[Coding]] = defaultdict(list)
        for coding in self.codings:
            for sha256 in coding.streams:
                of_stream[sha256].append(coding)
        self.streams = set(of_stream)
        for done, (sha256, codings) in enumerate(of_stream.items()):
            self.progress(done, len(of_stream), "streams")
            try:
                stream = self.store.stream(sha256)
            except (StoreError, BitstreamError) as error:
                more = f", and of {len(codings) - 1} more codings" if len(codings) > 1 else ""
                self.differs.append(Finding("stream", where(codings[0]), f"{error}{more}"))
                continue
            self.stream_sizes[sha256] = len(stream)
            for coding in codings:
                codec = self._codec(coding)
                if isinstance(codec, SetCodec) and coding.shared_bytes is not None:
                    self._check_layout(coding, codec, stream)

    def _check_layout(self, coding: Coding, codec: SetCodec, stream: bytes) -> None:
        try:
            layout = codec.layout(stream)
        except Exception as error:  # noqa: BLE001  # a third party's codec may fail in any way
            message = f"how its bytes divide cannot be read: {type(error).__name__}: {error}"
            self.differs.append(Finding("stream", where(coding), message))
        else:
            self.differs += consistency.check_layout(coding, layout)

    def _check_codecs(self) -> None:
        """Check that codecs here are those of the run, and with them the keys of codings."""
        stale: Counter[tuple[str, str]] = Counter()
        keys = 0
        for coding in self.codings:
            codec = self._codec(coding)
            if codec is None:
                stale[coding.codec, self.codecs[coding.codec].differs_from(coding.codec_version)] += 1
                continue
            findings = list(consistency.check_coding_key(coding, codec))
            if self._sessions.get(coding.session, {}).get("key_version") == KEY_VERSION:
                self.differs += findings
            else:  # keys were made in another way once, which is not known of this run
                keys += bool(findings)
        for (codec_name, message), count in sorted(stale.items()):
            self.unchecked.append(Finding("version", codec_name, f"{message}: {count} codings cannot be decoded again"))
        if keys:
            self.unchecked.append(Finding("version", "keys", f"of {keys} codings are not made as here"))

    def _codec(self, coding: Coding) -> Codec | None:
        """The codec of a coding, where it is here in the version that made it."""
        address = coding.codec
        if address not in self.codecs:
            try:
                codec = CODECS.create(address)
                available = codec.availability()
                version = codec.version()
            except Exception as error:  # noqa: BLE001  # a third party's codec may fail in any way
                self.codecs[address] = _Known(problem=str(error) or type(error).__name__)
            else:
                problem = "" if available.ok else f"{available.reason}; {available.remedy}"
                self.codecs[address] = _Known(codec if available.ok else None, version, problem)
        known = self.codecs[address]
        return None if known.differs_from(coding.codec_version) else known.here

    def _suite(self, name: str) -> _Known:
        if name not in self.suites:
            try:
                suite = SUITES.create(name)
                self.suites[name] = _Known(suite, suite.version())
            except Exception as error:  # noqa: BLE001  # a third party's suite may fail in any way
                self.suites[name] = _Known(problem=str(error) or type(error).__name__)
        return self.suites[name]

    def _check_measurements(self) -> None:
        """Check keys and values of all measurements, and that suites here are those of the run."""
        names = {_measured_mesh(r): where(r) for r in self.records if r.stream_sha256 is not None and not r.timing}
        for m in self.measurements:
            mesh = (m.stream, m.place, m.input, m.seed, m.codec, m.decoder_version)
            name = names.get(mesh, f"{m.codec}, mesh {m.place} of stream {m.stream[:12]}")
            self.differs += consistency.check_measurement_key(m, name)
            if not self._suite(m.suite).differs_from(m.suite_version):
                self.differs += consistency.check_values(m, self._suite(m.suite).here, name)
        stale = Counter(
            (suite, why)
            for r in self.records
            for suite, version in r.suites.items()
            if (why := self._suite(suite).differs_from(version))
        )
        for (suite, message), count in sorted(stale.items()):
            self.unchecked.append(
                Finding("version", f"metrics {suite}", f"{message}: {count} measurements cannot be made again")
            )

    def _check_complete(self) -> None:
        """Check that a coding of a finished session was measured by every suite that the session was to measure."""
        sessions = {coding.key: self._sessions.get(coding.session, {}) for coding in self.codings}
        for r in self.records:
            session = sessions[r.key]
            if r.status != "ok" or r.timing or "finished" not in session:
                continue
            asked = [name for name in session.get("suites", {}) if self._suite(name).here is not None]
            if absent := [name for name in asked if name not in r.suites and applies(name, r.codec)]:
                self.differs.append(Finding("metric", where(r), f"is not measured by {', '.join(absent)}"))

    def _check_inputs(self, inputs: KeptInputs) -> None:
        """Check every input mesh that is on this machine: its hash, its sizes, and that a bad one still is bad."""
        of_mesh: dict[MeshKey, list[Record]] = defaultdict(list)
        for r in self.records:
            of_mesh[_mesh_key(r)].append(r)
        self.meshes = set(of_mesh)
        here: dict[tuple[str, str], Mapping[str, MeshSource]] = {}
        for dataset, split in sorted({(d, s) for d, s, _ in of_mesh}):
            try:
                here[dataset, split] = inputs.split(dataset, split)
            except NotHere as error:
                self.unchecked.append(Finding("data", f"{dataset}/{split}", str(error)))
        missing: Counter[str] = Counter()
        for done, ((dataset, split, mesh), records) in enumerate(sorted(of_mesh.items())):
            self.progress(done, len(of_mesh), f"{dataset}/{mesh}")
            if (dataset, split) not in here:
                continue
            source = here[dataset, split].get(mesh)
            if source is None:
                missing[dataset] += 1
                continue
            findings = list(_check_input(source, records))
            self.differs += findings
            if not any(finding.what == "input" for finding in findings):
                self.sources[dataset, split, mesh] = source
        for dataset, count in missing.items():
            self.unchecked.append(Finding("data", dataset, f"{count} meshes of the run are not on this machine"))

    def measure_again(self, sampled: Sequence[Record], jobs: int, limit: Limit) -> None:
        """Decode and measure the sampled records, and compare."""
        units: dict[MeasurementUnit, list[Record]] = defaultdict(list)
        for r in sampled:
            suites = [
                SuiteId(name, version)
                for name, version in measured_by(r).items()
                if not self._suite(name).differs_from(version)
            ]
            source = self.sources.get(_mesh_key(r))
            codec_here = not self.codecs[r.codec].differs_from(r.codec_version)
            if suites and codec_here and source is not None and r.stream_sha256 in self.stream_sizes:
                units[measurement_of(r, suites, source)].append(r)  # why others cannot be measured has been said
        total = sum(map(len, units.values()))
        for record, found in remeasure(self.store, units, jobs, limit):
            self._compare(record, found)
            self.progress(self.recomputed, total, where(record))

    def _compare(self, record: Record, found: Sequence[Measurement]) -> None:
        self.recomputed += 1
        failed: dict[str, list[Measurement]] = defaultdict(list)  # a stream that does not decode fails in each suite
        for m in found:
            if m.status != "ok":
                failed[f"{m.status}: {m.error}"].append(m)
        for says, measurements in failed.items():
            suites = ", ".join(m.suite for m in measurements)
            finding = Finding("status", where(record), f"is measured by {suites}; now it is {says}")
            # A limit that is met here says nothing of the run.
            mine = measurements[0].status in {"timeout", "out-of-memory"}
            (self.unchecked if mine else self.differs).append(finding)
        exact = self.codecs[record.codec].here.deterministic
        values = {name: value for m in found for name, value in m.values.items()}
        declared = columns()
        off = {
            name: abs(worsening(name, record.metrics[name], value))
            for name, value in values.items()
            # A triangle more or less is no lie of a network: of those only what ranks is compared, and floors.
            if name in record.metrics and (exact or name not in declared or declared[name].better is not None)
        }
        self.largest_deviation = max([self.largest_deviation, *off.values()])
        wrong = [name for name in off if off[name] > tolerance(name, deterministic=exact)]
        if wrong:
            worst = max(wrong, key=off.__getitem__)
            more = f"; also {', '.join(name for name in wrong if name != worst)}" if len(wrong) > 1 else ""
            message = f"{worst} is recorded as {record.metrics[worst]!r}, measured again it is {values[worst]!r}"
            self.differs.append(Finding("metric", where(record), f"{message} (off by {off[worst]:.2g}){more}"))


def _mesh_key(record: Record) -> MeshKey:
    return record.dataset, record.split, record.mesh


def _measured_mesh(r: Record) -> tuple[Any, ...]:
    decoder = r.codec.partition("[")[0]
    return r.stream_sha256, r.stream_place, r.input_sha256, r.seed, decoder, r.codec_version


def _check_input(source: MeshSource, records: Sequence[Record]) -> Iterator[Finding]:
    first = records[0]
    subject = f"{first.dataset}/{first.mesh}"
    try:
        loaded = load(source, cache_dir())
    except (BadMesh, DatasetMissing) as error:
        if any(r.status != "bad-input" for r in records):
            yield Finding("input", subject, f"was coded, and cannot be used now: {error}")
        return
    if any(r.status == "bad-input" for r in records):
        yield Finding("input", subject, "was no usable mesh, and is one now")
        return
    changed = [r for r in records if r.input_sha256 != loaded.sha256]
    if changed:
        was = (changed[0].input_sha256 or "nothing")[:12]
        of = f"{len(changed)} of {len(records)} records"
        yield Finding("input", subject, f"its hash is {loaded.sha256[:12]}, {of} have {was} ({source.path})")
        return
    true = {
        "vertices": len(loaded.mesh.vertices),
        "faces": len(loaded.mesh.faces),
        "obj_bytes": loaded.obj_bytes,
        "raw_bytes": loaded.raw_bytes,
        "source_bytes": loaded.source_bytes,
    }
    for r in records:
        for name, value in true.items():
            if getattr(r, name) != value:
                yield Finding("size", where(r), f"{name} is recorded as {getattr(r, name)!r}, it is {value!r}")
