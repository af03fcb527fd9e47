"""The worker's side of a Dask cluster: a plugin that owns the slots of one node, and the function that runs a task.

No engine kills a task, so the slots do it, as on one machine: deadline, memory, process groups. Dask only carries tasks
and outcomes. Everything that a codec can do ends as an outcome; what raises here is the machine's fault.
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
from gcbench.bench.run.work import Limit, Outcome, Task
from gcbench.codecs import CODECS
from gcbench.datasets import cache_dir, load
from gcbench.errors import BenchError, StoreError

if TYPE_CHECKING:
    from distributed import Scheduler, Worker

PLUGIN = "gcbench-"  # and the id of the client that registered it


@dataclass(frozen=True)
class Answer:
    """What came of a task that was sent to a node.

    Parameters
    ----------
    outcome : Outcome or None
        What the slot made of it. Its task has neither stream nor inputs: the front has them.
    missing : tuple of int
        Places of the input meshes that are not on the node: to be sent with the task.
    problem : str
        Why this node cannot run the task; the run stops.
    lost : str
        Why the task was given up; another node can run it.
    """

    outcome: Outcome | None = None
    missing: tuple[int, ...] = ()
    problem: str = ""
    lost: str = ""


@dataclass(frozen=True)
class NodeSettings:
    """What every node has to know of a run.

    Parameters
    ----------
    identity : str
        The front's :func:`identity`.
    limit : Limit
        Of a task.
    threads : int
        Of each slot.
    token : Path
        A file in the run's folder for checkpoints: a node that has it sees that folder.
    """

    identity: str
    limit: Limit
    threads: int
    token: Path


@cache
def identity() -> str:
    """The gcbench and the Python of this process. Nodes that differ from the front make other numbers."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"gcbench {gcbench.__version__} ({source_sha256(Path(gcbench.__file__).parent)[:12]}), Python {python}"


class Node(WorkerPlugin):
    """Templates and slots of one node, one slot for each thread of the Dask worker.

    Parameters
    ----------
    client : str
        Id of the Dask client that the run talks through.
    settings : NodeSettings
        Of the run.
    """

    def __init__(self, client: str, settings: NodeSettings) -> None:
        self.name = PLUGIN + client
        self._settings = settings

    # Called by Dask, in the worker's event loop.

    def setup(self, worker: Worker) -> None:
        """Start the templates and make the slots; workers are forked when the first task comes."""
        self._lock = threading.Lock()
        self._ended = False
        self._busy: dict[str, Slot] = {}  # key of the task → slot
        self._killed: set[str] = set()
        self._here: set[str] = set()  # inputs that were found on this node
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
        if self._limit.memory_bytes is None:  # each node shares out its own
            self._limit = replace(self._limit, memory_bytes=int(0.8 * machine.memory_bytes() / slots))
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if slots * threads != len(cores) or len(cores) != machine.cores():
            cores = []  # as LocalExecutor: slots that fill the machine are pinned
        self._free = [
            (self._slot(f"{label}-{place}", tuple(cores[place * threads : (place + 1) * threads])), "")
            for place in range(slots)
        ]

    async def teardown(self, worker: Worker) -> None:
        """Kill what is under way, and free everything."""
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
        """Kill a task that nobody waits for any more: the front is gone, or it was interrupted."""
        if start == "executing" and finish == "cancelled" and key in self._busy:
            threading.Thread(target=self._kill, args=(key,), daemon=True).start()

    # Called in the thread of a task.

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
        """A free slot, rather one that has the mesh at hand."""
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
                if key in self._killed and not self._ended:  # a slot that was stopped stays so
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
        """Keep the inputs that came with a task, and say which are still not here."""
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
        """Drop the oldest decoded meshes of a spool that is half full: other nodes may have measured them."""
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
    """Run a pickled task on this node; a pickled :class:`Answer`. What Dask calls."""
    if front != identity():
        return pickle.dumps(Answer(problem=f"{machine.host()} has {identity()}, and this machine has {front}"))
    node = get_worker().plugins.get(PLUGIN + client)
    if not isinstance(node, Node):
        return pickle.dumps(Answer(lost=f"{machine.host()} was not ready"))
    return pickle.dumps(node.run(key, pickle.loads(data)))  # noqa: S301 (Dask unpickles whatever comes, too)


def left_behind(dask_scheduler: Scheduler) -> list[str]:
    """Names of our plugins whose front is gone. Runs in the scheduler."""
    return [
        name
        for name in dask_scheduler.worker_plugins
        if name.startswith(PLUGIN) and name.removeprefix(PLUGIN) not in dask_scheduler.clients
    ]


def inputs_of(task: Task) -> tuple[PlannedMesh, ...]:
    """The meshes that a task needs, in the order of ``Task.inputs``."""
    return task.unit.usable if isinstance(task.unit, CodingUnit) else (task.unit.mesh,)


def packed(mesh: PlannedMesh) -> bytes:
    """The normalised mesh as packed arrays; empty if its file is not here or has another content."""
    try:
        loaded = load(mesh.source, cache_dir())
    except (BenchError, OSError):
        return b""
    if loaded.sha256 != mesh.sha256:
        return b""
    return pack(MeshArrays(loaded.mesh.vertices, loaded.mesh.faces))


def _differs(task: Task) -> str:
    """Why a codec or a suite of this node is not the one that was planned; empty if it is."""
    if isinstance(task.unit, CodingUnit):
        here = _codec_version(task.unit.codec)
        if here != task.unit.codec_version:
            return f"the codec {task.unit.codec} is '{here}' there, and '{task.unit.codec_version}' here"
    suites = task.suites if isinstance(task.unit, CodingUnit) else task.unit.suites
    for suite in suites:
        if (here := _suite_version(suite.name)) != suite.version:
            return f"the suite {suite.name} is '{here}' there, and '{suite.version}' here"
    return ""


def _import_suites() -> None:
    """Import, while the templates do, what the first task would else wait for."""
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
