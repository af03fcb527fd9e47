"""A slot: three workers that encode, decode and measure one task at a time.

If a codec raises, hangs, crashes, uses too much memory or returns nonsense, the outcome is a coding with that status.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, PlannedMesh, SuiteId
from gcbench.bench.run import machine, stages
from gcbench.bench.run.failures import UnitFailure, of_deaths, of_error, of_suite
from gcbench.bench.run.process import (
    CallLimits,
    Template,
    Worker,
    WorkerDied,
    WorkerError,
)
from gcbench.bench.run.spool import Spool
from gcbench.bench.run.turns import FirstAlone
from gcbench.bench.run.work import Outcome, Task, TaskLimits
from gcbench.bench.store.records import CodedMesh, Coding, Cost, Measurement, RanOn, Stage, Status
from gcbench.errors import StoreError
from gcbench.registry import split_address

log = logging.getLogger(__name__)
A = TypeVar("A")
R = TypeVar("R")

# For loading codecs and meshes, which is not part of a coding. Only a hang or an enormous mesh takes as long.
PREPARE_LIMIT_S = 600.0
TIMING_WARM_UP, TIMING_REPEATS = 1, 5


class Templates:
    """The templates that workers are forked from: one for codecs, and one that also imports what metrics need.

    Parameters
    ----------
    threads : int
        Threads of every library.
    preload : tuple of str
        Packages that the template for codecs imports too. An import must start no threads.
    """

    def __init__(self, threads: int, preload: tuple[str, ...] = ()) -> None:
        codecs = Template(threads, ("gcbench.bench.run.stages", "trimesh", *preload))
        metrics = Template(threads, ("gcbench.bench.run.stages", "trimesh", "gcbench.geometry.nearest_kernels"))
        self._of_role = {"encode": codecs, "decode": codecs, "measure": metrics}
        self.first_alone = FirstAlone()
        for template in (codecs, metrics):
            template.start()

    def of(self, role: str) -> Template:
        """Return the template for a role."""
        return self._of_role[role]

    def close(self) -> None:
        """End the templates and all their workers."""
        for template in self._of_role.values():
            template.close()


@dataclass(frozen=True)
class Folders:
    """Folders of the slots of one machine, for everything that is not a result."""

    spool: Spool  # decoded meshes that wait to be measured
    scratch: Path  # files of codecs; emptied after every failure
    work: Path | None = None  # checkpoints, in a folder for each coding by its key; None: no coding is resumed
    logs: Path | None = None  # what workers print
    inputs: Path | None = None  # input meshes from another machine

    @classmethod
    def temporary(cls) -> Folders:
        """Temporary folders, for slots that are not part of a run; the caller removes ``scratch``."""
        root = Path(tempfile.mkdtemp(prefix="gcbench-"))
        return cls(Spool(root / "spool"), root)


@dataclass
class Slot:
    """Three workers that run one task at a time.

    Parameters
    ----------
    folders : Folders
        The scratch folder of the slot is in ``folders.scratch``.
    threads : int
        Threads of each worker; only one of the three works at a time.
    cores : tuple of int or None
        Cores that the workers are pinned to.
    name : str
        Name of the slot in log files and records.
    templates : Templates or None
        Templates that other slots share; None makes new ones.
    """

    folders: Folders
    limit: TaskLimits = TaskLimits()
    threads: int = 1
    cores: tuple[int, ...] | None = None
    name: str = "0"
    templates: Templates | None = None
    _prepared: set[tuple[int | None, str]] = field(default_factory=set, init=False, repr=False)
    _task: Task | None = field(default=None, init=False, repr=False)
    _stopped: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self._own_templates = self.templates is None
        self._templates = self.templates or Templates(self.threads)
        self._scratch = self.folders.scratch / f"slot-{self.name}"
        self._scratch.mkdir(parents=True, exist_ok=True)
        logs = self.folders.logs
        self._workers = {
            role: Worker(
                self._templates.of(role), cores=self.cores, log=logs / f"{self.name}-{role}.log" if logs else None
            )
            for role in ("encode", "decode", "measure")
        }

    def under_way(self) -> str | None:
        """The running task, and its progress if it has reported any; None if there is no task."""
        task, says = self._task, next((w.says for w in self._workers.values() if w.says), "")
        return (f"{task.unit}: {says}" if says else str(task.unit)) if task else None

    def stop(self) -> None:
        """Kill the workers; a call in another thread then raises StoreError."""
        self._stopped = True
        for worker in self._workers.values():
            worker.interrupt()

    def run(self, task: Task) -> Outcome:
        """Run one task.

        Raises
        ------
        StoreError
            The machine is at fault, not the codec (full disk, changed input file); there is no outcome.
        """
        self._task, begin = task, time.monotonic()
        try:
            if isinstance(task.unit, MeasurementUnit):
                outcome = Outcome(task, measurements=self._measure_unit(task.unit, task.stream))
            else:
                outcome = self._code(task, task.unit)
            return replace(outcome, busy_s=time.monotonic() - begin)
        finally:
            self._task = None

    # Coding.

    def _code(self, task: Task, unit: CodingUnit) -> Outcome:
        coding = self._planned(unit)
        good = unit.usable
        if not good:
            return Outcome(task, replace(coding, status="bad-input", stage="load", error=unit.meshes[0].problem))
        settings = self._settings(unit)
        self._prepare_side_by_side(unit.codec)
        begin = time.monotonic()
        streams: tuple[bytes, ...] = ()
        decoded: list[str] = []
        try:
            encoded = self._encode(unit, good, settings)
            streams = encoded.streams
            coding = _encoded(coding, encoded)
            if settings.deadline_s is not None:
                settings = replace(settings, deadline_s=settings.deadline_s - (time.monotonic() - begin))
            decoded, cost = self._decode(unit, streams, settings)
        except UnitFailure as failure:
            self._empty_scratch()
            log.debug("%s: %s at %s: %s", unit, failure.status, failure.stage, failure.error)
            coding = replace(
                coding,
                status=failure.status,
                stage=failure.stage,
                error=failure.error,
                limit_s=self.limit.coding_s(unit),
                limit_bytes=self.limit.coding_bytes(unit.kind),
            )
            return Outcome(task, coding, streams)
        coding = replace(coding, decode=cost, meshes=_with_decoded(coding.meshes, decoded))
        measurements: tuple[Measurement, ...] = ()
        if unit.kind == "model" and task.suites:
            to_measure = measurement_unit(coding, unit, 0, task.suites)
            measurements = self._measure_unit(to_measure, streams[0])
        elif unit.kind == "model":
            self.folders.spool.drop(decoded[0])
        return Outcome(task, coding, streams, measurements)

    def _planned(self, unit: CodingUnit) -> Coding:
        return Coding(
            key=unit.key,
            session="",
            dataset=unit.dataset,
            split=unit.split,
            codec=unit.codec,
            codec_version=unit.codec_version,
            kind=unit.kind,
            rate=unit.rate.label,
            rate_index=unit.rate_index,
            effort=unit.effort,
            seed=unit.seed,
            meshes=tuple(coded_mesh(m) for m in unit.meshes),
            device=unit.device,
            timing=unit.timing,
            decoder_bytes=unit.decoder_bytes,
            ran_on=self._ran_on(unit.device),
        )

    def _ran_on(self, device: str) -> RanOn:
        gpu = machine.gpu_model() if device.startswith("cuda") else ""
        return RanOn(machine.host(), self.name, self.threads, machine.cpu_model(), gpu)

    def _settings(self, unit: CodingUnit) -> stages.CallSettings:
        warm_up, repeats = (TIMING_WARM_UP, TIMING_REPEATS) if unit.timing else (0, 1)
        limit_s = self.limit.coding_s(unit)
        work = None
        if self.folders.work is not None and unit.kind == "set" and not unit.timing:
            work = self.folders.work / unit.key
            work.mkdir(parents=True, exist_ok=True)
        return stages.CallSettings(
            threads=self.threads,
            device=unit.device,
            seed=unit.seed,
            # The limit is for one repetition, so that a coding within the limit in a quality pass stays within it.
            deadline_s=None if limit_s is None else limit_s * (warm_up + repeats),
            warm_up=warm_up,
            repeats=repeats,
            scratch=self._scratch,
            work=work,
            sequences=unit.sequences,
        )

    def _encode(
        self, unit: CodingUnit, meshes: tuple[PlannedMesh, ...], settings: stages.CallSettings
    ) -> stages.EncodeResult:
        inputs = self._inputs(meshes)
        memory = self.limit.coding_bytes(unit.kind)
        # A separate call, so that neither the time nor the peak memory of loading is counted for the codec.
        self._call("encode", unit.codec, stages.load_inputs, inputs, CallLimits(PREPARE_LIMIT_S, memory))
        job = stages.EncodeJob(unit.codec, unit.rate, inputs, settings)
        encoded, outside = self._call(
            "encode",
            unit.codec,
            stages.encode,
            job,
            CallLimits(settings.deadline_s, memory),
            whole_s=self.limit.coding_s(unit),
        )
        return replace(encoded, cost=stages.with_outside_peak(encoded.cost, outside))

    def _inputs(self, meshes: tuple[PlannedMesh, ...]) -> stages.Inputs:
        return stages.Inputs(tuple(m.source for m in meshes), tuple(m.sha256 for m in meshes), self.folders.inputs)

    def _decode(
        self, unit: CodingUnit, streams: tuple[bytes, ...], settings: stages.CallSettings
    ) -> tuple[list[str], Cost]:
        """Decode the stream of a coding; return the hashes of the meshes and the cost."""
        codec = split_address(unit.codec, "codec")[0]
        job = stages.DecodeJob(codec, streams[0], replace(settings, work=None, sequences=()), self.folders.spool)
        limits = CallLimits(settings.deadline_s, self.limit.coding_bytes(unit.kind))
        decoded, outside = self._call("decode", codec, stages.decode, job, limits, whole_s=self.limit.coding_s(unit))
        if len(decoded.sha256) != len(unit.usable):
            raise UnitFailure("failed", "decode", f"decoded {len(decoded.sha256)} meshes of {len(unit.usable)}")
        return list(decoded.sha256), stages.with_outside_peak(decoded.cost, outside)

    # Measuring.

    def _measure_unit(self, unit: MeasurementUnit, stream: bytes) -> tuple[Measurement, ...]:
        """Measure one decoded mesh by every suite of the unit, then delete it from the spool."""
        from gcbench.bench.metrics import SUITES

        made: list[Measurement] = []
        spooled: dict[bool, str] = {} if unit.decoded_sha256 is None else {False: unit.decoded_sha256}
        for suite in unit.suites:
            begin = time.monotonic()
            status: Status = "ok"
            error, values = None, {}
            try:
                values = dict(
                    self._measured(unit, suite, stream, spooled, cloud=SUITES.get(suite.name).takes == "cloud")
                )
            except UnitFailure as failure:
                self._empty_scratch()
                status, error = of_suite(failure)
            made.append(
                Measurement(
                    key=unit.key(suite),
                    session="",
                    stream=unit.stream_sha256,
                    place=unit.place,
                    codec=unit.codec,
                    decoder_version=unit.decoder_version,
                    input=unit.mesh.sha256,
                    suite=suite.name,
                    suite_version=suite.version,
                    seed=unit.seed,
                    status=status,
                    error=error,
                    values=values,
                    seconds=time.monotonic() - begin,
                    limit_s=self.limit.measure_s if status == "timeout" else None,
                    limit_bytes=self.limit.memory_bytes if status == "out-of-memory" else None,
                )
            )
        for sha256 in spooled.values():
            self.folders.spool.drop(sha256)
        return tuple(made)

    def _measured(
        self, unit: MeasurementUnit, suite: SuiteId, stream: bytes, spooled: dict[bool, str], *, cloud: bool
    ) -> Any:
        # The second time into a folder of this slot: another slot that measures an equal mesh deletes from the run's.
        own = Spool(self._scratch / "decoded", max_bytes=0)
        for spool in (self.folders.spool, own):
            if not spool.has(spooled.get(cloud)):
                spooled[cloud] = self.decode_again(unit, stream, spool, cloud=cloud)
            job = stages.MeasureJob(
                suite.name, self._inputs((unit.mesh,)), spooled[cloud], spool, unit.seed, self.threads
            )
            limits = CallLimits(self.limit.measure_s, self.limit.memory_bytes)
            measured, _ = self._call("measure", None, stages.measure_decoded, job, limits, suite=suite.name)
            own.drop(spooled[cloud])
            if measured.values is not None:
                return measured.values
            self.folders.spool.drop(spooled[cloud])  # damaged, or gone
        raise StoreError(f"no room for a decoded mesh in {own.path}")

    def decode_again(
        self, unit: MeasurementUnit, stream: bytes, spool: Spool | None = None, *, cloud: bool = False
    ) -> str:
        """Decode one mesh of a stored stream into a spool (None: that of the run), and return its hash.

        Raises
        ------
        UnitFailure
            The stream no longer decodes.
        StoreError
            The machine is at fault.
        """
        limit_s = self.limit.deadline_s
        settings = stages.CallSettings(self.threads, unit.device, unit.seed, limit_s, scratch=self._scratch)
        job = stages.DecodeOneJob(unit.codec, stream, unit.place, settings, spool or self.folders.spool, cloud)
        limits = CallLimits(limit_s, self.limit.coding_bytes(unit.kind))
        return self._call("decode", unit.codec, stages.decode_again, job, limits)[0]

    # Calls.

    def _call(
        self,
        stage: Stage,
        codec: str | None,
        function: Callable[[A], R],
        job: A,
        limits: CallLimits,
        *,
        whole_s: float | None = None,
        suite: str | None = None,
    ) -> tuple[R, int]:
        """Call in the worker of a stage, again if somebody killed it; raise UnitFailure or StoreError for an error."""
        deaths: list[WorkerDied] = []
        while True:
            if self._stopped:
                raise StoreError("stopped")
            worker = self._workers[stage]
            try:
                if codec is not None:
                    self._prepare(worker, stages.prepare, codec)
                if suite is not None:
                    self._prepare(worker, stages.prepare_suite, suite)
                return worker.call(function, job, limits)
            except WorkerDied as error:
                deaths.append(error)
                if self._stopped:
                    raise StoreError("stopped") from None
                if (failure := of_deaths(stage, deaths)) is not None:
                    raise failure from None
                log.warning("the %s worker was killed from outside (%s); trying again", stage, error)
            except WorkerError as error:
                # Decoding has the time that encoding left; the message names the limit of the whole coding.
                took = f"coding took longer than {whole_s:g} s" if whole_s and limits.deadline_s != whole_s else None
                raise of_error(stage, error, limits, took) from None

    def _prepare_side_by_side(self, codec: str) -> None:
        """Load a codec into the encode and the decode worker; errors show in the later calls.

        In parallel, except for the first slot that loads it (see ``turns.py``).
        """

        def prepare(stage: Stage, address: str) -> None:
            with contextlib.suppress(WorkerError):
                self._prepare(self._workers[stage], stages.prepare, address)

        decoder = split_address(codec, "codec")[0]
        if (self._workers["decode"].pid, decoder) in self._prepared:
            return
        beside = threading.Thread(target=prepare, args=("decode", decoder))
        beside.start()
        prepare("encode", codec)
        beside.join()

    def _prepare(self, worker: Worker, function: Callable[[str], None], what: str) -> None:
        """Load a codec or a suite once in each process, before a deadline counts."""
        worker.start()
        prepared = (worker.pid, what)
        if prepared not in self._prepared:
            with self._templates.first_alone.turn(what.partition("[")[0]):
                worker.call(function, what, CallLimits(PREPARE_LIMIT_S, self.limit.memory_bytes))
            self._prepared.add(prepared)

    def _empty_scratch(self) -> None:
        """Remove files that a killed or failed codec left behind."""
        for leftover in self._scratch.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.kill()
        shutil.rmtree(self._scratch, ignore_errors=True)
        if self._own_templates:
            self._templates.close()


def coded_mesh(mesh: PlannedMesh) -> CodedMesh:
    """A mesh of the plan as a mesh of a coding, before encoding."""
    motion = mesh.source.motion
    return CodedMesh(
        mesh=mesh.source.mesh,
        input_sha256=mesh.sha256,
        vertices=mesh.vertices,
        faces=mesh.faces,
        obj_bytes=mesh.obj_bytes,
        raw_bytes=mesh.raw_bytes,
        source_bytes=mesh.source_bytes,
        problem=mesh.problem,
        polygons=mesh.polygons,
        dropped=mesh.dropped,
        remarks=mesh.remarks,
        sequence=motion.sequence if motion else None,
        frame=motion.frame if motion else None,
        fps=motion.fps if motion else None,
    )


def measurement_unit(coding: Coding, unit: CodingUnit, place: int, suites: tuple[SuiteId, ...]) -> MeasurementUnit:
    """The measurement of one mesh of a successful coding."""
    return MeasurementUnit(
        codec=split_address(coding.codec, "codec")[0],
        decoder_version=coding.codec_version,
        kind=coding.kind,
        stream_sha256=coding.streams[0],
        place=place,
        mesh=unit.usable[place],
        suites=suites,
        seed=coding.seed,
        device=coding.device,
        decoded_sha256=coding.coded[place].decoded_sha256,
    )


def _encoded(coding: Coding, encoded: stages.EncodeResult) -> Coding:
    layout = encoded.layout
    sizes = iter(layout.mesh_bytes if layout else (len(encoded.streams[0]),))
    return replace(
        coding,
        encode=encoded.cost,
        shared_bytes=layout.shared_bytes if layout else 0,
        streams=tuple(hashlib.sha256(stream).hexdigest() for stream in encoded.streams),
        meshes=tuple(m if m.problem else replace(m, mesh_bytes=next(sizes)) for m in coding.meshes),
    )


def _with_decoded(meshes: tuple[CodedMesh, ...], decoded: list[str]) -> tuple[CodedMesh, ...]:
    hashes = iter(decoded)
    return tuple(m if m.problem else replace(m, decoded_sha256=next(hashes)) for m in meshes)
