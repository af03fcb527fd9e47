"""Whether a run holds: streams against their hashes, records against each other, meshes, and a second measurement.

What is cheap is checked for every record (``consistency.py``); a random sample is decoded from the kept streams in
fresh processes and measured again. Encodes nothing and changes nothing in the run.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gcbench.bench.audit import consistency
from gcbench.bench.run.slot import Limit
from gcbench.bench.audit.consistency import Finding, where
from gcbench.bench.metrics import METRIC_VERSION, METRICS
from gcbench.bench.metrics.change import worsening
from gcbench.bench.store.records import Record
from gcbench.bench.audit.remeasure import ONE_PERCENT, Drawn, MeshKey, Sample, draw, mesh_key, remeasure, tolerance
from gcbench.bench.store.run import CellRecords, Run
from gcbench.bench.plan.planning import KEY_VERSION
from gcbench.codecs import CODECS, Codec
from gcbench.datasets import MeshSource, cache_dir, data_root, load, open_dataset
from gcbench.datasets.base import as_split
from gcbench.errors import BadMesh, BenchError, BitstreamError, DatasetMissing, StoreError, UsageError

Progress = Callable[[int, int, str], None]  # done, total, what


@dataclass(frozen=True)
class Verification:
    """What was checked in a run, what differs, and what could not be checked.

    Parameters
    ----------
    run : str
        Its folder.
    records, cells : int
        That count: of cells that took each other's place, the last one.
    streams, streams_intact : int
        Distinct streams that records name, and how many of them are there with the bytes of their hash.
    meshes, meshes_intact : int
        Distinct input meshes, and how many are on this machine with the hash of the records.
    sampled, recomputed : int
        Records drawn for a second measurement, and how many of them could be measured.
    seed : int
        Of the draw.
    largest_deviation : float
        Of all metrics of all recomputed records, either way, see `gcbench.bench.metrics.change.worsening`.
    codecs : mapping
        Codec → version here.
    differs : tuple of Finding
        What is not as recorded.
    unchecked : tuple of Finding
        What could not be looked at, and why.
    """

    run: str
    records: int
    cells: int
    streams: int
    streams_intact: int
    meshes: int
    meshes_intact: int
    sampled: int
    recomputed: int
    seed: int
    largest_deviation: float
    codecs: Mapping[str, str]
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
        Of decoding one stream.
    progress : callable, optional
        Takes what is done, the total and a name.

    Raises
    ------
    UsageError
        There is no such run, or it has no record.
    """
    counting = list(store.counting().values())
    if not counting:
        raise UsageError(f"{store.path} is not a run, or has no record yet")
    seed = secrets.randbelow(2**32) if seed is None else seed
    check = _Check(store, counting, dict(folders or {}), data_root(data), progress or (lambda *_: None))
    check.everything()
    sampled = draw(counting, sample, seed)
    check.measure_again(sampled, jobs, limit)
    return Verification(
        run=str(store.path),
        records=sum(len(cell.records) for cell in counting),
        cells=len(counting),
        streams=len(check.streams),
        streams_intact=len(check.stream_sizes),
        meshes=len(check.meshes),
        meshes_intact=len(check.sources),
        sampled=len(sampled),
        recomputed=check.recomputed,
        seed=seed,
        largest_deviation=check.largest_deviation,
        codecs={address: known.version for address, known in sorted(check.codecs.items()) if known.codec},
        differs=tuple(check.differs),
        unchecked=tuple(check.unchecked),
    )


@dataclass(frozen=True)
class _KnownCodec:
    """A codec of the run as it is here: None and why, where it cannot be had."""

    codec: Codec | None
    version: str = ""
    problem: str = ""


@dataclass
class _Check:
    """One verification on its way."""

    store: Run
    cells: list[CellRecords]
    folders: dict[str, Path]
    root: Path
    progress: Progress
    differs: list[Finding] = field(default_factory=list)
    unchecked: list[Finding] = field(default_factory=list)
    streams: set[str] = field(default_factory=set)
    stream_sizes: dict[str, int] = field(default_factory=dict)  # of the intact ones
    meshes: set[MeshKey] = field(default_factory=set)
    sources: dict[MeshKey, MeshSource] = field(default_factory=dict)  # of the intact ones
    codecs: dict[str, _KnownCodec] = field(default_factory=dict)
    recomputed: int = 0
    largest_deviation: float = 0.0

    def __post_init__(self) -> None:
        self._sessions = {s["session"]: s for s in self.store.sessions()}
        self._stale: set[str] = set()  # keys of cells made by a codec or metrics of another version

    def everything(self) -> None:
        """Check what is checked for all records."""
        self._check_lines()
        self._check_streams()
        for cell in self.cells:
            self.differs += consistency.check_sizes(cell, self.stream_sizes)
            for record in cell.records:
                self.differs += consistency.check_values(record)
        self.differs += consistency.check_agreement(r for cell in self.cells for r in cell.records)
        self._check_versions()
        self._check_inputs()

    def _check_lines(self) -> None:
        """Check that every line can be read, and that finished sessions have as many cells as they ran."""
        path = self.store.path / "records.jsonl"
        lines = path.read_bytes().count(b"\n")
        kept = list(self.store.cells())
        if lines != len(kept):
            self.differs.append(Finding("line", path.name, f"{lines - len(kept)} of {lines} lines cannot be read"))
        keys: dict[str, set[str]] = defaultdict(set)
        for cell in kept:
            keys[cell.session].add(cell.key)
        for session, cells in keys.items():
            if session not in self._sessions:
                self.unchecked.append(Finding("session", session, f"has no provenance, of {len(cells)} cells"))
        for session, facts in self._sessions.items():
            ran = facts.get("cells_to_run")
            twice = facts.get("cells_twice", 0)  # of merged runs, whose cells another session has too
            if "finished" in facts and ran is not None and len(keys[session]) != ran - twice:
                message = f"ran {ran} cells, {len(keys[session])} are recorded"
                self.differs.append(Finding("session", session, message))

    def _check_streams(self) -> None:
        of_stream: dict[str, list[Record]] = defaultdict(list)
        for cell in self.cells:
            for r in cell.records:
                if r.stream_sha256 is not None:
                    of_stream[r.stream_sha256].append(r)
        self.streams = set(of_stream)
        for done, (sha256, records) in enumerate(of_stream.items()):
            self.progress(done, len(of_stream), "streams")
            try:
                self.stream_sizes[sha256] = len(self.store.stream(sha256))
            except (StoreError, BitstreamError) as error:
                more = f", and of {len(records) - 1} more records" if len(records) > 1 else ""
                self.differs.append(Finding("stream", where(records[0]), f"{error}{more}"))

    def _check_versions(self) -> None:
        """Check that codecs and metrics here are those of the run, and with them the keys of cells."""
        stale: Counter[tuple[str, str]] = Counter()
        keys = 0
        for cell in self.cells:
            codec = cell.records[0].codec
            session = self._sessions.get(cell.session, {})
            recorded = session.get("codecs", {}).get(codec)
            known = self._known(codec)
            metric_version = session.get("metric_version", METRIC_VERSION)
            if known.codec is None:
                stale[codec, f"cannot be had here: {known.problem}"] += 1
            elif recorded is None:
                stale[codec, "its version was not recorded"] += 1
            elif recorded != known.version:
                stale[codec, f"version {recorded} made the run, here is {known.version}"] += 1
            elif metric_version != METRIC_VERSION:
                stale["metrics", f"version {metric_version} made the run, here is {METRIC_VERSION}"] += 1
            else:
                findings = list(consistency.check_key(cell, known.codec, recorded))
                if session.get("key_version") == KEY_VERSION:
                    self.differs += findings
                else:  # keys were made in another way once, which is not known of this run
                    keys += bool(findings)
                continue
            self._stale.add(cell.key)
        for (codec, message), count in sorted(stale.items()):
            self.unchecked.append(Finding("version", codec, f"{message}: {count} cells cannot be recomputed"))
        if keys:
            self.unchecked.append(Finding("version", "keys", f"of {keys} cells are not made as here"))

    def _known(self, address: str) -> _KnownCodec:
        if address not in self.codecs:
            try:
                codec = CODECS.create(address)
                available = codec.availability()
                version = codec.version()
            except Exception as error:  # noqa: BLE001  # a third party's codec may fail in any way
                self.codecs[address] = _KnownCodec(None, problem=str(error) or type(error).__name__)
            else:
                problem = "" if available.ok else f"{available.reason}; {available.remedy}"
                self.codecs[address] = _KnownCodec(codec if available.ok else None, version, problem)
        return self.codecs[address]

    def _check_inputs(self) -> None:
        """Check every input mesh that is on this machine: its hash, its sizes, and that a bad one still is bad."""
        of_mesh: dict[MeshKey, list[Record]] = defaultdict(list)
        for cell in self.cells:
            for r in cell.records:
                of_mesh[mesh_key(r)].append(r)
        self.meshes = set(of_mesh)
        selections = {named: self._select(*named) for named in sorted({(d, s) for d, s, _ in of_mesh})}
        missing: Counter[str] = Counter()
        for done, ((dataset, split, mesh), records) in enumerate(sorted(of_mesh.items())):
            self.progress(done, len(of_mesh), f"{dataset}/{mesh}")
            selected = selections[dataset, split]
            if selected is None:
                continue
            if mesh not in selected:
                missing[dataset] += 1
                continue
            findings = list(_check_input(selected[mesh], records))
            self.differs += findings
            if not any(finding.what == "input" for finding in findings):
                self.sources[dataset, split, mesh] = selected[mesh]
        for dataset, count in missing.items():
            self.unchecked.append(Finding("data", dataset, f"{count} meshes of the run are not on this machine"))

    def _select(self, dataset: str, split: str) -> dict[str, MeshSource] | None:
        """Mesh → file of a split; None, and a finding, where it is not here."""
        folders = {name: path for s in self._sessions.values() for name, path in s.get("folders", {}).items()}
        place = self.folders.get(dataset) or folders.get(dataset) or dataset
        try:
            opened = open_dataset(str(place), self.root)
            selection = opened.select(as_split(split), self.root)
        except BenchError as error:
            self.unchecked.append(Finding("data", f"{dataset}/{split}", f"inputs cannot be looked at: {error}"))
            return None
        # A folder may have another name now than it had then.
        return {source.mesh: replace(source, dataset=dataset) for source in selection.sources}

    def measure_again(self, sampled: Sequence[Drawn], jobs: int, limit: Limit) -> None:
        """Decode and measure the sampled records, and compare."""
        of_cell: dict[str, list[Drawn]] = defaultdict(list)
        for drawn in sampled:
            complete = set(drawn.record.metrics) >= {*METRICS, *consistency.FLOORS}
            fresh = drawn.cell.key not in self._stale and complete
            if fresh and drawn.record.stream_sha256 in self.stream_sizes and mesh_key(drawn.record) in self.sources:
                of_cell[drawn.cell.key].append(drawn)  # why others cannot be measured has been said
        done = 0
        for again in remeasure(self.store, list(of_cell.values()), self.sources, jobs, limit):
            for record, found in again:
                done += 1
                self.progress(done, sum(map(len, of_cell.values())), where(record))
                self._compare(record, found)

    def _compare(self, record: Record, found: Record) -> None:
        self.recomputed += 1
        if found.status != "ok":
            self.differs.append(
                Finding("status", where(record), f"is ok, now it is {found.status} at {found.stage}: {found.error}")
            )
            return
        known = self.codecs[record.codec].codec
        exact = known is None or known.deterministic
        off = {name: abs(worsening(name, record.metrics[name], value)) for name, value in found.metrics.items()}
        self.largest_deviation = max(self.largest_deviation, *off.values())
        wrong = [name for name in off if off[name] > tolerance(name, deterministic=exact)]
        if wrong:
            worst = max(wrong, key=off.__getitem__)
            more = f"; also {', '.join(name for name in wrong if name != worst)}" if len(wrong) > 1 else ""
            message = f"{worst} is recorded as {record.metrics[worst]!r}, measured again it is {found.metrics[worst]!r}"
            self.differs.append(Finding("metric", where(record), f"{message} (off by {off[worst]:.2g}){more}"))
        changed = [
            f"{name} is recorded as {record.facts.get(name)!r}, it is {fact!r}"
            for name, fact in found.facts.items()
            if record.facts.get(name) != fact and (exact or name.startswith("in_"))
        ]
        if changed:
            self.differs.append(Finding("fact", where(record), "; ".join(changed)))


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
    for r in records:
        true: dict[str, float] = {
            "obj_bytes": loaded.obj_bytes,
            "raw_bytes": loaded.raw_bytes,
            "source_bytes": loaded.source_bytes,
        }
        if r.stream_bytes is not None:
            true["bits_per_vertex"] = 8 * r.stream_bytes / len(loaded.mesh.vertices)
        for name, value in true.items():
            if getattr(r, name) != value:
                yield Finding("size", where(r), f"{name} is recorded as {getattr(r, name)!r}, it is {value!r}")
