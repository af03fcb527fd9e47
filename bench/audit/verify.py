"""Verify a run: hashes of streams, consistency of lines, input meshes, and a second measurement of a sample.

Cheap checks (``consistency.py``) cover everything. A random sample of the stored streams is decoded in fresh processes
and measured again. Nothing is encoded, and nothing in the run changes.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcbench.bench.audit import consistency, installed
from gcbench.bench.audit.consistency import Finding, where
from gcbench.bench.audit.inputs import Inputs, InputsByHash, MeshKey, check_inputs, mesh_key
from gcbench.bench.audit.installed import Installed
from gcbench.bench.audit.remeasure import ONE_PERCENT, Sample, draw, measured_by, remeasure, tolerance
from gcbench.bench.audit.submission import facts_of
from gcbench.bench.metrics import columns
from gcbench.bench.metrics.change import worsening
from gcbench.bench.plan.planning import Progress
from gcbench.bench.plan.units import KEY_VERSION, MeasurementUnit, SuiteId
from gcbench.bench.run.executor import Executor
from gcbench.bench.run.kept import KeptInputs, measurement_of
from gcbench.bench.run.local import LocalExecutor
from gcbench.bench.run.outstanding import applies
from gcbench.bench.run.slot import Folders
from gcbench.bench.run.work import TaskLimits
from gcbench.bench.store.pack import Pack
from gcbench.bench.store.records import Coding, Measurement, Record
from gcbench.bench.store.results import Results
from gcbench.bench.store.safe_files import PACK_MARKER
from gcbench.codecs import Codec, SetCodec
from gcbench.datasets import MeshSource
from gcbench.errors import BitstreamError, StoreError, UsageError


@dataclass(frozen=True)
class Verification:
    """What was checked in a run, what differs, and what could not be checked."""

    run: str  # folder
    records: int
    codings: int  # the last coding of each thing, see `Results.counting`
    measurements: int  # one for each suite on each decoded mesh
    streams: int  # distinct streams that codings name
    streams_intact: int  # streams that have their SHA-256
    meshes: int  # distinct input meshes
    meshes_intact: int  # input meshes that are on this machine and have their recorded hash
    sampled: int  # records drawn for a second measurement
    recomputed: int  # records that could be measured again
    seed: int  # of the sample
    largest_deviation: float  # of all values that were measured again, see `bench.metrics.change.worsening`
    codecs: Mapping[str, str]  # codec → installed version
    suites: Mapping[str, str]  # suite → installed version
    differs: tuple[Finding, ...]
    unchecked: tuple[Finding, ...]  # what could not be checked, and why

    @property
    def exit_code(self) -> int:
        """0 all checks pass, 1 something differs, 3 nothing differs but something could not be checked."""
        return 1 if self.differs else 3 if self.unchecked else 0


def verify(
    store: Results,
    *,
    sample: Sample = ONE_PERCENT,
    seed: int | None = None,
    folders: Mapping[str, Path] | None = None,
    data: Path | None = None,
    datasets: Sequence[str] = (),
    jobs: int = 1,
    limit: TaskLimits = TaskLimits(deadline_s=3600.0),
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check a run; nothing is written to it.

    Parameters
    ----------
    sample : Sample
        How many records to decode and measure again; at least one of each codec.
    seed : int, optional
        Seed of the sample. Default: random, so that nobody can predict the sample.
    folders : mapping, optional
        Dataset → new path, for datasets that are folders and have moved.
    data : Path, optional
        Data root.
    datasets : sequence of str
        Datasets and folders in which input meshes are looked for by their hashes, whatever their names.
    jobs : int
        Parallel tasks.
    limit : TaskLimits
        Limits for decoding and measuring one mesh.
    executor : Executor, optional
        Where streams are decoded and measured; default: this machine. Closed at the end.
    progress : callable, optional
        Called with the number done, the total and a name.

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
    inputs = KeptInputs(store, data, folders)
    check.everything(InputsByHash(inputs, check.records, datasets, data, check.progress) if datasets else inputs)
    sampled = draw(check.records, sample, seed)
    check.measure_again(sampled, lambda: executor or LocalExecutor(jobs, Folders.temporary(), limit=limit))
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


@dataclass
class _Check:
    """State of one verification."""

    store: Results
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
    codecs: dict[str, Installed] = field(default_factory=dict)
    suites: dict[str, Installed] = field(default_factory=dict)
    recomputed: int = 0
    largest_deviation: float = 0.0

    def __post_init__(self) -> None:
        self._sessions = {s["session"]: s for s in self.store.sessions()}

    def everything(self, inputs: Inputs) -> None:
        """Run the checks that cover all codings, measurements and meshes."""
        self._check_lines()
        self._check_streams()
        for coding in self.codings:
            self.differs += consistency.check_coding(coding, self.stream_sizes)
        self.differs += consistency.check_agreement(self.records)
        self._check_codecs()
        self._check_measurements()
        self._check_complete()
        found = check_inputs(self.records, inputs, self.progress)
        self.meshes, self.sources = found.meshes, found.intact
        self.differs += found.differs
        self.unchecked += found.unchecked

    def _check_lines(self) -> None:
        """Check that every line can be read, and that there are as many lines as finished sessions have made."""
        self.measurements = list(self.store.measurements())
        codings = sum(1 for _ in self.store.codings())
        for name, parsed in (("codings.jsonl", codings), ("measurements.jsonl", len(self.measurements))):
            lines = sum(1 for _ in self.store.lines(name))
            if lines != parsed:
                self.differs.append(Finding("line", name, f"{lines - parsed} of {lines} lines cannot be read"))
            path = self.store.path / name
            if path.exists() and path.stat().st_size and not _ends_a_line(path):
                self.unchecked.append(Finding("line", name, "its last line is incomplete; resume the run to repeat it"))
        made = self.store.made()
        for session in sorted({*made["coded"], *made["measured"]} - set(self._sessions)):
            count = made["coded"][session] + made["measured"][session]
            self.unchecked.append(Finding("session", session, f"has {count} lines, but no provenance"))
        if isinstance(self.store, Pack):  # which has no lines of codings that no longer count
            self._check_marker(self.store)
            return
        for session, facts in self._sessions.items():
            for what, by_session in made.items():
                # A session may have more lines: it also stores earlier codings under the names of its plan.
                elsewhere = facts.get(f"{what}_elsewhere", 0)  # in a merged run: lines under another session
                if "finished" in facts and by_session[session] < facts.get(what, 0) - elsewhere:
                    message = f"{what} {facts[what] - elsewhere}, but has {by_session[session]} lines"
                    self.differs.append(Finding("session", session, message))

    def _check_marker(self, pack: Pack) -> None:
        """Check what a pack says of itself for people."""
        for name, true in facts_of(self.records).items():
            if pack.marker.get(name) != true:
                self.differs.append(Finding("pack", PACK_MARKER, f"its '{name}' is not that of the records"))
        there = {r.codec for r in self.records if r.status == "ok"}
        for codec in sorted(there & set(pack.not_run)):
            self.differs.append(Finding("pack", PACK_MARKER, f"says that {codec} did not run, and has its results"))

    def _check_streams(self) -> None:
        of_stream: dict[str, list[Coding]] = defaultdict(list)
        for coding in self.codings:
            for sha256 in coding.streams:
                of_stream[sha256].append(coding)
        self.streams = set(of_stream)
        if isinstance(self.store, Pack) and self.store.streams is None:
            why = f"{len(self.streams)} streams are not here; name their archive: --streams FILE"
            self.unchecked.append(Finding("stream", self.store.name, why))
            return
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
                if isinstance(codec, SetCodec) and codec.kind == "set" and coding.shared_bytes is not None:
                    self._check_layout(coding, codec, stream)

    def _check_layout(self, coding: Coding, codec: SetCodec, stream: bytes) -> None:
        layout = installed.attempt(lambda: codec.layout(stream))
        if isinstance(layout, Exception):
            message = f"has no readable layout: {type(layout).__name__}: {layout}"
            self.differs.append(Finding("stream", where(coding), message))
        else:
            self.differs += consistency.check_layout(coding, layout)

    def _check_codecs(self) -> None:
        """Check the keys of codings, and report codecs whose installed version differs."""
        stale: Counter[tuple[str, str]] = Counter()
        keys = 0
        for coding in self.codings:
            codec = self._codec(coding)
            if codec is None:
                stale[coding.codec, self.codecs[coding.codec].differs_from(coding.codec_version)] += 1
                continue
            findings = list(consistency.check_coding_key(coding, codec, keyed=self.store.keyed))
            if self._sessions.get(coding.session, {}).get("key_version") == KEY_VERSION:
                self.differs += findings
            else:  # another version of gcbench made the keys, perhaps in another way
                keys += bool(findings)
        for (codec_name, message), count in sorted(stale.items()):
            self.unchecked.append(Finding("version", codec_name, f"{message}: {count} codings cannot be decoded again"))
        if keys:
            self.unchecked.append(Finding("version", "keys", f"of {keys} codings are made in another way than here"))

    def _codec(self, coding: Coding) -> Codec | None:
        """The codec of a coding, if the installed version is the one that made the coding."""
        address = coding.codec
        if address not in self.codecs:
            self.codecs[address] = installed.codec(address)
        known = self.codecs[address]
        return None if known.differs_from(coding.codec_version) else known.here

    def _suite(self, name: str) -> Installed:
        if name not in self.suites:
            self.suites[name] = installed.suite(name)
        return self.suites[name]

    def _check_measurements(self) -> None:
        """Check keys and values of all measurements, and report suites whose installed version differs."""
        names = {_measured_mesh(r): where(r) for r in self.records if r.stream_sha256 is not None and not r.timing}
        for m in self.measurements:
            mesh = (m.stream, m.place, m.input, m.seed, m.codec, m.decoder_version)
            name = names.get(mesh, f"{m.codec}, mesh {m.place} of stream {m.stream[:12]}")
            if self.store.keyed:
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
        """Check that every suite of a finished session has measured every coding of the session."""
        sessions = {coding.key: self._sessions.get(coding.session, {}) for coding in self.codings}
        for r in self.records:
            session = sessions[r.key]
            if r.status != "ok" or r.timing or "finished" not in session:
                continue
            asked = [name for name in session.get("suites", {}) if self._suite(name).here is not None]
            if absent := [name for name in asked if name not in r.suites and applies(name, r.codec)]:
                self.differs.append(Finding("metric", where(r), f"is not measured by {', '.join(absent)}"))

    def measure_again(self, sampled: Sequence[Record], executor: Callable[[], Executor]) -> None:
        """Decode and measure the sampled records, and compare."""
        units: dict[MeasurementUnit, list[Record]] = defaultdict(list)
        for r in sampled:
            suites = [
                SuiteId(name, version)
                for name, version in measured_by(r).items()
                if not self._suite(name).differs_from(version)
            ]
            source = self.sources.get(mesh_key(r))
            codec_here = not self.codecs[r.codec].differs_from(r.codec_version)
            if suites and codec_here and source is not None and r.stream_sha256 in self.stream_sizes:
                units[measurement_of(r, suites, source)].append(r)  # the reason for others is in `unchecked`
        total = sum(map(len, units.values()))
        if not units:
            return
        for record, found in remeasure(self.store, units, executor()):
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
            # A limit that is exceeded here says nothing about the run.
            mine = measurements[0].status in {"timeout", "out-of-memory"}
            (self.unchecked if mine else self.differs).append(finding)
        exact = self.codecs[record.codec].here.deterministic
        values = {name: value for m in found for name, value in m.values.items()}
        declared = columns()
        off = {
            name: abs(worsening(name, record.metrics[name], value))
            for name, value in values.items()
            # A network may give a triangle more or less, so facts such as counts are compared for exact codecs only.
            if consistency.is_number(record.metrics.get(name))
            and (exact or name not in declared or declared[name].better is not None)
        }
        self.largest_deviation = max([self.largest_deviation, *off.values()])
        wrong = [name for name in off if off[name] > tolerance(name, deterministic=exact)]
        if wrong:
            worst = max(wrong, key=off.__getitem__)
            more = f"; also {', '.join(name for name in wrong if name != worst)}" if len(wrong) > 1 else ""
            message = f"{worst} is recorded as {record.metrics[worst]!r}, measured again it is {values[worst]!r}"
            self.differs.append(Finding("metric", where(record), f"{message} (off by {off[worst]:.2g}){more}"))


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _measured_mesh(r: Record) -> tuple[Any, ...]:
    decoder = r.codec.partition("[")[0]
    return r.stream_sha256, r.stream_place, r.input_sha256, r.seed, decoder, r.codec_version
