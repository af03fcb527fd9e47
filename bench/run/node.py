"""The node's side of a Dask cluster: a plugin that owns the slots of one node, and the function that runs a task.

Dask carries tasks and outcomes, and cannot kill a task. The slots enforce deadlines and memory limits, as on one
machine. Errors of a codec are outcomes; an exception here is the machine's fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import platform
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import get_worker
from distributed.diagnostics.plugin import WorkerPlugin

import gcbench
from gcbench.bench.plan.units import CodingUnit, PlannedMesh
from gcbench.bench.run import machine
from gcbench.bench.run.arrays import MeshArrays, pack
from gcbench.bench.run.provenance import source_sha256
from gcbench.bench.run.slot import Folders, Slot, Templates
from gcbench.bench.run.spool import DEFAULT_BYTES, Spool
from gcbench.bench.run.stages import cached_input
from gcbench.bench.run.work import Outcome, Task, TaskLimits
from gcbench.codecs import CODECS
from gcbench.datasets import cache_dir, load
from gcbench.errors import BenchError, StoreError

if TYPE_CHECKING:
    from distributed import Scheduler, Worker

PLUGIN = "gcbench-"  # and the id of the client that registered it


@dataclass(frozen=True)
class Answer:
    """The answer of a node to a task; one of the fields is set."""

    outcome: Outcome | None = None  # without stream and inputs, which the front has
    missing: tuple[int, ...] = ()  # positions of input meshes that the node lacks; the front sends them
    problem: str = ""  # why the node cannot run the task; the run stops
    lost: str = ""  # why the task was given up; another node can run it


@dataclass(frozen=True)
class NodeSettings:
    """Settings of a run that every node gets."""

    identity: str  # of the front
    limit: TaskLimits
    threads: int  # of each slot
    token: Path  # a file in the run's folder for checkpoints: a node that sees the file shares that folder


@cache
def identity() -> str:
    """Versions of gcbench and Python here. A node with another identity could give other results."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"gcbench {gcbench.__version__} ({source_sha256(Path(gcbench.__file__).parent)[:12]}), Python {python}"


class Node(WorkerPlugin):
    """Templates and slots of one node, one slot for each thread of the Dask worker; ``client`` is the front's id."""

    def __init__(self, client: str, settings: NodeSettings) -> None:
        self.name = PLUGIN + client
        self._settings = settings

    # Dask calls these in the event loop of the worker.

    def setup(self, worker: Worker) -> None:
        """Start the templates and make the slots; the first task forks the workers."""
        self._lock = threading.Lock()
        self._ended = False
        self._busy: dict[str, Slot] = {}  # key of the task → slot
        self._killed: set[str] = set()
        self._here: set[str] = set()  # inputs that are on this node
        self._templates = Templates(self._settings.threads)
        threading.Thread(target=_import_suites, daemon=True).start()
        self._scratch = Path(tempfile.mkdtemp(prefix="gcbench-"))
        work = self._settings.token.parent
        self._shares_run = self._settings.token.exists()
        self._folders = Folders(
            Spool(self._scratch / "spool"),
            self._scratch,
            work if self._shares_run else cache_dir() / "work",
            work.parent / "logs" if self._shares_run else None,
            cache_dir() / "inputs",
        )
        label = re.sub(r"[^A-Za-z0-9.]+", "-", str(worker.name)).strip("-")
        slots, threads = worker.state.nthreads, self._settings.threads
        self._limit = self._settings.limit
        if self._limit.memory_bytes is None:  # each node divides its own memory
            self._limit = replace(self._limit, memory_bytes=int(0.8 * machine.memory_bytes() / slots))
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if slots * threads != len(cores) or len(cores) != machine.cores():
            cores = []  # as in LocalExecutor, only slots that fill the machine are pinned
        self._free = [
            (self._slot(f"{label}-{place}", tuple(cores[place * threads : (place + 1) * threads])), "")
            for place in range(slots)
        ]

    async def teardown(self, worker: Worker) -> None:
        """Kill running tasks and free everything."""
        self._ended = True
        until = time.monotonic() + 10
        while self._busy and time.monotonic() < until:
            for slot in list(self._busy.values()):
                slot.stop()
            await asyncio.sleep(0.05)
        for slot, _ in self._free:
            slot.close()
        self._templates.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Kill a task after the front has gone or was interrupted."""
        if start == "executing" and finish == "cancelled" and key in self._busy:
            threading.Thread(target=self._kill, args=(key,), daemon=True).start()

    # Dask calls this in the thread of a task.

    def run(self, key: str, task: Task) -> Answer:
        """Run one task in a free slot."""
        try:
            if problem := _differs(task):
                return Answer(problem=f"{machine.host()}: {problem}")
            if missing := self._missing(task):
                return Answer(missing=missing)
            if not isinstance(task.unit, CodingUnit):
                self._trim_spool()
            with self._taken(key, task.mesh) as slot:
                outcome = slot.run(replace(task, inputs=()))
            if outcome.coding is not None and not self._shares_run:
                self._forget_work(outcome)
            return Answer(replace(outcome, task=replace(task, stream=b"", inputs=())))
        except (BenchError, OSError) as error:
            if key in self._killed or self._ended:
                return Answer(lost=f"{machine.host()} stopped")
            return Answer(problem=f"{machine.host()}: {error}")
        finally:
            self._killed.discard(key)

    def _slot(self, name: str, cores: tuple[int, ...] | None) -> Slot:
        return Slot(
            self._folders,
            limit=self._limit,
            threads=self._settings.threads,
            cores=cores or None,
            name=name,
            templates=self._templates,
        )

    @contextlib.contextmanager
    def _taken(self, key: str, mesh: str) -> Iterator[Slot]:
        """A free slot, preferably one that worked on the same mesh last."""
        with self._lock:
            if self._ended or not self._free:
                raise StoreError("no slot is free")
            at = next((i for i, (_, at_hand) in enumerate(self._free) if at_hand == mesh), 0)
            slot, _ = self._free.pop(at)
            self._busy[key] = slot
        try:
            yield slot
        finally:
            with self._lock:
                if key in self._killed and not self._ended:  # a stopped slot cannot be used again
                    slot.close()
                    slot = self._slot(slot.name, slot.cores)
                self._free.append((slot, mesh))
                del self._busy[key]

    def _kill(self, key: str) -> None:
        while (slot := self._busy.get(key)) is not None:
            self._killed.add(key)
            slot.stop()
            time.sleep(0.05)

    def _missing(self, task: Task) -> tuple[int, ...]:
        """Store the inputs that came with a task, and return the positions of those that are still missing."""
        folder = cache_dir() / "inputs"
        missing = []
        for place, mesh in enumerate(inputs_of(task)):
            if mesh.sha256 in self._here:
                continue
            if place < len(task.inputs) and task.inputs[place]:
                folder.mkdir(parents=True, exist_ok=True)
                partial = folder / f"{mesh.sha256}.{os.getpid()}-{threading.get_ident()}"
                partial.write_bytes(task.inputs[place])
                partial.replace(folder / mesh.sha256)
            if cached_input(folder, mesh.sha256) is not None or packed(mesh):
                self._here.add(mesh.sha256)
            else:
                missing.append(place)
        return tuple(missing)

    def _trim_spool(self) -> None:
        """Delete the oldest decoded meshes of a spool that is half full: other nodes may have measured them."""
        spool = self._folders.spool
        with contextlib.suppress(OSError):
            files = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in spool.path.iterdir())
            used = sum(size for _, size, _ in files)
            for _, size, file in files:
                if used <= DEFAULT_BYTES // 2:
                    return
                spool.drop(file.name)
                used -= size

    def _forget_work(self, outcome: Outcome) -> None:
        if outcome.coding is not None and outcome.coding.status not in {"timeout", "out-of-memory"}:
            shutil.rmtree(cache_dir() / "work" / outcome.coding.key, ignore_errors=True)


def run_task(client: str, front: str, key: str, data: bytes) -> bytes:
    """Run a pickled task on this node, and return a pickled :class:`Answer`; the function that Dask calls."""
    if front != identity():
        return pickle.dumps(Answer(problem=f"{machine.host()} has {identity()}, but this machine has {front}"))
    node = get_worker().plugins.get(PLUGIN + client)
    if not isinstance(node, Node):
        return pickle.dumps(Answer(lost=f"{machine.host()} was not ready"))
    return pickle.dumps(node.run(key, pickle.loads(data)))  # noqa: S301 (Dask unpickles whatever comes, too)


def left_behind(dask_scheduler: Scheduler) -> list[str]:
    """Names of our plugins whose front has gone. Runs in the scheduler."""
    return [
        name
        for name in dask_scheduler.worker_plugins
        if name.startswith(PLUGIN) and name.removeprefix(PLUGIN) not in dask_scheduler.clients
    ]


def inputs_of(task: Task) -> tuple[PlannedMesh, ...]:
    """The meshes that a task needs, in the order of ``Task.inputs``."""
    return task.unit.usable if isinstance(task.unit, CodingUnit) else (task.unit.mesh,)


def packed(mesh: PlannedMesh) -> bytes:
    """The normalised mesh as packed arrays; empty if this machine does not have the file with this content."""
    try:
        loaded = load(mesh.source, cache_dir())
    except (BenchError, OSError):
        return b""
    if loaded.sha256 != mesh.sha256:
        return b""
    return pack(MeshArrays(loaded.mesh.vertices, loaded.mesh.faces))


def _differs(task: Task) -> str:
    """Which codec or suite of this node has another version than planned; empty if none."""
    if isinstance(task.unit, CodingUnit):
        here = _codec_version(task.unit.codec)
        if here != task.unit.codec_version:
            return f"the codec {task.unit.codec} has version '{here}' there, but '{task.unit.codec_version}' here"
    suites = task.suites if isinstance(task.unit, CodingUnit) else task.unit.suites
    for suite in suites:
        if (here := _suite_version(suite.name)) != suite.version:
            return f"the suite {suite.name} has version '{here}' there, but '{suite.version}' here"
    return ""


def _import_suites() -> None:
    """Import what the first task needs, while the templates do the same."""
    from gcbench.bench.metrics import DEFAULT_SUITES

    identity()
    for name in DEFAULT_SUITES:
        with contextlib.suppress(BenchError):
            _suite_version(name)


@cache
def _codec_version(address: str) -> str:
    codec = CODECS.create(address)
    available = codec.availability()
    return codec.version() if available.ok else f"not available: {available.reason}"


@cache
def _suite_version(name: str) -> str:
    from gcbench.bench.metrics import SUITES

    return SUITES.create(name).version()
