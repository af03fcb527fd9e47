"""One cell, step by step: encode in one process, decode in another from the bytes, measure in a third.

Whatever a codec does (raise, hang, crash, eat the memory, return nonsense), the outcome is records.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from gcbench.bench.run import stages
from gcbench.bench.run.process import (
    CallFailed,
    DeadlineExceeded,
    Limits,
    MemoryExceeded,
    Template,
    TemplateFailed,
    Worker,
    WorkerDied,
    WorkerError,
)
from gcbench.bench.store.records import Cost, Record, Stage, Status
from gcbench.bench.plan.planning import Cell, PlannedMesh
from gcbench.errors import StoreError
from gcbench.registry import split_address

log = logging.getLogger(__name__)
A = TypeVar("A")
R = TypeVar("R")

# Preparing and measuring are ours, not the codec's: limits that only a hang or a monstrous mesh can reach.
PREPARE_LIMIT_S = 600.0
MEASURE_LIMIT_S = 1800.0
# A call whose worker somebody else killed (a person, the kernel short of memory) is repeated: not the codec's fault
# until it happens again and again.
OUTSIDE_KILL_RETRIES = 5
TIMING_WARM_UP, TIMING_REPEATS = 1, 5


@dataclass(frozen=True)
class Outcome:
    """What came of a cell: a record for each of its meshes, and the streams to keep."""

    cell: Cell
    records: tuple[Record, ...]
    streams: tuple[bytes, ...] = ()


class CellFailure(Exception):
    """A stage of a cell did not succeed."""

    def __init__(self, status: Status, stage: Stage, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.stage = stage
        self.error = error


@dataclass(frozen=True)
class Limit:
    """What one cell may take: seconds for encoding and decoding together, and resident bytes of any worker."""

    deadline_s: float | None = None
    memory_bytes: int | None = None


class Templates:
    """What workers are forked from: codecs from one that knows meshes, metrics from one that knows metrics too.

    Both start to import when they are made, side by side.
    """

    def __init__(self, threads: int) -> None:
        codecs = Template(threads, ("gcbench.bench.run.stages", "trimesh"))
        metrics = Template(threads, ("gcbench.bench.run.stages", "trimesh", "gcbench.bench.metrics.kernels"))
        self._of_role = {"encode": codecs, "decode": codecs, "measure": metrics}
        for template in (codecs, metrics):
            template.start()

    def of(self, role: str) -> Template:
        """Return the template for a role."""
        return self._of_role[role]

    def close(self) -> None:
        """End the templates, and with them all workers."""
        for template in self._of_role.values():
            template.close()


@dataclass
class Bench:
    """The three workers of one slot, and how they run a cell.

    Parameters
    ----------
    threads : int
        Threads of each worker; one of the three works at a time.
    cores : tuple of int or None
        Cores the workers are pinned to.
    logs : Path or None
        Folder for what workers print.
    scratch : Path or None
        Folder for what codecs write while they work; emptied after every failure, removed at the end.
    name : str
        Of the slot, in log file names.
    templates : Templates or None
        What the workers are forked from, shared with other slots; None makes its own.
    """

    limit: Limit = Limit()
    threads: int = 1
    cores: tuple[int, ...] | None = None
    logs: Path | None = None
    scratch: Path | None = None
    name: str = "0"
    templates: Templates | None = None
    _prepared: set[tuple[int | None, str]] = field(default_factory=set, init=False, repr=False)
    _cell: Cell | None = field(default=None, init=False, repr=False)
    _stopped: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self._own_templates = self.templates is None
        self._templates = self.templates or Templates(self.threads)
        self._scratch = self.scratch or Path(tempfile.mkdtemp(prefix="gcbench-"))
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._workers = {
            role: Worker(
                self._templates.of(role),
                cores=self.cores,
                log=self.logs / f"{self.name}-{role}.log" if self.logs else None,
            )
            for role in ("encode", "decode", "measure")
        }

    def under_way(self) -> str | None:
        """What the cell at hand says of its progress; None between cells, or when it says nothing."""
        cell, says = self._cell, next((w.says for w in self._workers.values() if w.says), "")
        return f"{cell}: {says}" if cell and says else None

    def stop(self) -> None:
        """Kill the workers, also in the middle of a call from another thread, which then raises StoreError."""
        self._stopped = True
        for worker in self._workers.values():
            worker.interrupt()

    def run(self, cell: Cell) -> Outcome:
        """Run one cell.

        Raises
        ------
        StoreError
            The machine, not the codec, is at fault (full disk, an input file that changed): nothing to record.
        """
        self._cell = cell
        try:
            return self._run(cell)
        finally:
            self._cell = None

    def _run(self, cell: Cell) -> Outcome:
        good = tuple(m for m in cell.meshes if m.problem is None)
        bad = [_record(cell, m) for m in cell.meshes if m.problem is not None]
        if not good:
            return Outcome(cell, tuple(bad))
        settings = self._settings(cell)
        deadline_s = settings.deadline_s
        self._prepare_side_by_side(cell.codec)
        begin = time.monotonic()
        records = [_record(cell, mesh) for mesh in good]
        streams: tuple[bytes, ...] = ()
        try:
            encoded = self._encode(cell, good, settings)
            streams = encoded.streams
            records = _with_sizes(records, good, encoded)
            if deadline_s is not None:
                settings = replace(settings, deadline_s=deadline_s - (time.monotonic() - begin))
            decoded, costs = self._decode(cell, encoded.streams, len(good), settings)
        except CellFailure as failure:
            self._empty_scratch()
            return Outcome(cell, tuple(bad + [_failed(record, failure) for record in records]), streams)
        records = [replace(record, decode=cost) for record, cost in zip(records, costs, strict=True)]
        if not cell.timing:
            records = [
                self._measure(record, mesh, arrays, settings)
                for record, mesh, arrays in zip(records, good, decoded, strict=True)
            ]
        return Outcome(cell, tuple(bad + records), streams)

    def remeasure(self, cell: Cell, streams: tuple[bytes, ...], only: Collection[str] = ()) -> tuple[Record, ...]:
        """Decode streams kept from before and measure, as :meth:`run` does; nothing is encoded.

        Parameters
        ----------
        cell : Cell
            What the streams are of.
        streams : tuple of bytes
            One for each usable mesh, or one for the set.
        only : collection of str
            Measure these meshes of a set; empty is all.

        Returns
        -------
        tuple of Record
            Of the meshes measured; without the sizes and costs that encoding gives.

        Raises
        ------
        StoreError
            The machine, not the codec, is at fault.
        """
        good = tuple(m for m in cell.meshes if m.problem is None)
        settings = self._settings(cell)
        records = [_record(cell, mesh) for mesh in good]
        try:
            decoded, costs = self._decode(cell, streams, len(good), settings)
        except CellFailure as failure:
            self._empty_scratch()
            return tuple(_failed(r, failure) for r in records if not only or r.mesh in only)
        return tuple(
            self._measure(replace(record, decode=cost), mesh, arrays, settings)
            for record, mesh, arrays, cost in zip(records, good, decoded, costs, strict=True)
            if not only or record.mesh in only
        )

    def _settings(self, cell: Cell) -> stages.Settings:
        warm_up, repeats = (TIMING_WARM_UP, TIMING_REPEATS) if cell.timing else (0, 1)
        return stages.Settings(
            threads=self.threads,
            device=cell.device,
            seed=cell.seed,
            # The limit is for coding once, so that what passes the quality pass passes the timing pass.
            deadline_s=None if self.limit.deadline_s is None else self.limit.deadline_s * (warm_up + repeats),
            warm_up=warm_up,
            repeats=repeats,
            scratch=self._scratch,
        )

    def _encode(self, cell: Cell, meshes: tuple[PlannedMesh, ...], settings: stages.Settings) -> stages.Encoded:
        job = stages.EncodeJob(
            cell.codec, cell.rate, tuple(m.source for m in meshes), tuple(m.sha256 for m in meshes), settings
        )
        encoded, outside = self._call("encode", cell.codec, stages.encode, job, settings.deadline_s)
        return replace(encoded, cost=stages.with_outside_peak(encoded.cost, outside))

    def _decode(
        self, cell: Cell, streams: tuple[bytes, ...], meshes: int, settings: stages.Settings
    ) -> tuple[list[stages.MeshArrays], list[Cost]]:
        """Decode every stream; as many meshes, and as many costs, as went in."""
        codec = split_address(cell.codec, "codec")[0]
        decoded: list[stages.MeshArrays] = []
        costs: list[Cost] = []
        for stream in streams:
            job = stages.DecodeJob(codec, stream, settings)
            part, outside = self._call("decode", codec, stages.decode, job, settings.deadline_s)
            decoded += part.meshes
            costs += [stages.with_outside_peak(part.cost, outside)] * len(part.meshes)
        if len(decoded) != meshes:
            raise CellFailure("failed", "decode", f"decoded {len(decoded)} meshes of {meshes}")
        return decoded, costs

    def _measure(
        self, record: Record, mesh: PlannedMesh, arrays: stages.MeshArrays, settings: stages.Settings
    ) -> Record:
        job = stages.MeasureJob(mesh.source, mesh.sha256, arrays, settings)
        try:
            measured, _ = self._call("measure", None, stages.measure, job, MEASURE_LIMIT_S)
        except CellFailure as failure:
            return _failed(record, failure)
        return replace(record, metrics=measured.metrics, facts=measured.facts, measure_s=measured.wall_s)

    def _call(
        self, stage: Stage, codec: str | None, function: Callable[[A], R], job: A, deadline_s: float | None
    ) -> tuple[R, int]:
        """Call in the stage's worker, in a new one if somebody killed it; turn what went wrong into a CellFailure."""
        limits = Limits(deadline_s, self.limit.memory_bytes)
        for attempt in range(OUTSIDE_KILL_RETRIES + 1):
            if self._stopped:
                raise StoreError("stopped")
            worker = self._workers[stage]
            try:
                if codec is not None:
                    self._prepare(worker, codec)
                return worker.call(function, job, limits)
            except DeadlineExceeded as error:
                # Decoding has what encoding left of the limit; people know the whole.
                whole = None if stage == "measure" else self.limit.deadline_s
                said = f"coding took longer than {whole:g} s" if whole and deadline_s != whole else str(error)
                raise CellFailure("timeout", stage, said) from None
            except TemplateFailed as error:
                raise StoreError(str(error)) from None
            except MemoryExceeded as error:
                raise CellFailure("out-of-memory", stage, str(error)) from None
            except CallFailed as error:
                raise _verdict(stage, error) from None
            except WorkerDied as error:
                if self._stopped:
                    raise StoreError("stopped") from None
                if not error.from_outside or attempt == OUTSIDE_KILL_RETRIES:
                    raise CellFailure("crashed", stage, str(error)) from None
                log.warning("the %s worker was killed from outside; trying again", stage)
        raise AssertionError("unreachable")

    def _prepare_side_by_side(self, codec: str) -> None:
        """Load a codec into the encode and the decode worker at the same time; a failure shows in the call itself."""

        def prepare(stage: Stage, address: str) -> None:
            with contextlib.suppress(WorkerError):
                self._prepare(self._workers[stage], address)

        decoder = split_address(codec, "codec")[0]
        if (self._workers["decode"].pid, decoder) in self._prepared:
            return
        beside = threading.Thread(target=prepare, args=("decode", decoder))
        beside.start()
        prepare("encode", codec)
        beside.join()

    def _prepare(self, worker: Worker, codec: str) -> None:
        """Load the codec in this very process, once, before any deadline counts."""
        worker.start()
        prepared = (worker.pid, codec)
        if prepared not in self._prepared:
            worker.call(stages.prepare, codec, Limits(PREPARE_LIMIT_S, self.limit.memory_bytes))
            self._prepared.add(prepared)

    def _empty_scratch(self) -> None:
        """Remove what a killed or failed codec left behind."""
        for leftover in self._scratch.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.kill()
        shutil.rmtree(self._scratch, ignore_errors=True)
        if self._own_templates:
            self._templates.close()


def _verdict(stage: Stage, error: CallFailed) -> Exception:
    """Name an exception of a worker; a machine at fault stops the run instead of blaming the codec."""
    if error.kind == "StoreError":
        return StoreError(error.message)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreError(f"no disk space while trying to {stage}: {error.message}")
    if error.kind == "CodecTimeout":
        return CellFailure("timeout", stage, error.message)
    if error.kind == "MemoryError":
        return CellFailure("out-of-memory", stage, "the codec ran out of memory")
    return CellFailure("failed", stage, str(error))


def _record(cell: Cell, mesh: PlannedMesh) -> Record:
    usable = mesh.problem is None
    return Record(
        dataset=cell.dataset,
        split=cell.split,
        mesh=mesh.source.mesh,
        codec=cell.codec,
        kind=cell.kind,
        rate=cell.rate.label,
        rate_index=cell.rate_index,
        effort=cell.effort,
        seed=cell.seed,
        timing=cell.timing,
        device=cell.device,
        status="ok" if usable else "bad-input",
        stage=None if usable else "load",
        error=mesh.problem,
        obj_bytes=mesh.obj_bytes if usable else None,
        raw_bytes=mesh.raw_bytes if usable else None,
        source_bytes=mesh.source_bytes,
        decoder_bytes=cell.decoder_bytes,
        input_sha256=mesh.sha256 or None,
    )


def _with_sizes(records: list[Record], meshes: tuple[PlannedMesh, ...], encoded: stages.Encoded) -> list[Record]:
    layout, sized = encoded.layout, []
    for index, (record, mesh) in enumerate(zip(records, meshes, strict=True)):
        stream = encoded.streams[0 if layout else index]
        mesh_bytes = layout.mesh_bytes[index] if layout else len(stream)
        shared_bytes = layout.shared_bytes if layout else 0
        stream_bytes = mesh_bytes + shared_bytes / len(meshes)
        sized.append(
            replace(
                record,
                mesh_bytes=mesh_bytes,
                shared_bytes=shared_bytes,
                set_size=len(meshes) if layout else 1,
                stream_bytes=stream_bytes,
                bits_per_vertex=8 * stream_bytes / mesh.vertices,
                stream_sha256=hashlib.sha256(stream).hexdigest(),
                encode=encoded.cost,
            )
        )
    return sized


def _failed(record: Record, failure: CellFailure) -> Record:
    where = f"{record.codec} {record.rate} on {record.dataset}/{record.mesh}"
    log.debug("%s: %s at %s: %s", where, failure.status, failure.stage, failure.error)
    return replace(record, status=failure.status, stage=failure.stage, error=failure.error)
