"""The executor for a Dask cluster: the front's side, which hands out tasks and counts losses. ``node.py`` runs tasks.

The front takes a task from the agenda when a node has room, so that Dask holds about as many tasks as there are slots.
A task that is lost with its node is submitted again; it is not a failure of the codec.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import os
import pickle
import queue
import secrets
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gcbench import extras
from gcbench.bench.plan.units import MeasurementUnit
from gcbench.bench.run.agenda import Agenda
from gcbench.bench.run.work import Outcome, Task, TaskLimits
from gcbench.bench.store import safe_files
from gcbench.bench.store.run import Run
from gcbench.errors import BenchError, StoreError, UsageError

if TYPE_CHECKING:
    from gcbench.bench.run.node import Answer

log = logging.getLogger(__name__)

WAIT_S = 60.0  # for a worker that can run the waiting tasks; GCBENCH_CLUSTER_WAIT_S overrides it
CONNECT_S = 15.0
LOSSES = 5  # times that a task may be lost with a node before the run stops
_NO_DASHBOARD = "127.0.0.1:0"  # even without a dashboard Dask serves its health, by default to the whole network
_LOOK_S = 1.0  # between two looks at the list of workers
_SAYS_AFTER_S = 10.0  # a task that takes longer is shown on screen


def connect(address: str, store: Run, *, limit: TaskLimits, jobs: int, threads: int) -> DaskExecutor:
    """Connect to a cluster, or start one on this machine.

    Parameters
    ----------
    address : str
        ``tcp://HOST:8786`` (or ``tls://``), or ``local:N`` for a scheduler and N workers with one slot each.
    store : Run
        Where results will go; nodes that see its folder keep checkpoints in it.
    limit : TaskLimits
        Limits of a task on every node.
    jobs : int
        Ignored: the slots are the threads of the Dask workers.
    threads : int
        Threads of each slot.

    Raises
    ------
    UsageError
        The address is malformed.
    BenchError
        dask.distributed is not installed, or no scheduler answers.
    """
    kind, _, rest = address.partition(":")
    if kind not in {"local", "tcp", "tls"} or (kind == "local" and not (rest.isdigit() and int(rest))):
        raise UsageError(f"--cluster is tcp://HOST:PORT or local:N, not '{address}'")
    try:
        distributed = importlib.import_module("distributed")  # most of it is untyped
    except ImportError as error:
        raise BenchError(f"--cluster cannot be used: {extras.explained(error) or error}") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # our own errors say what matters
    local = _LocalNodes(int(rest)) if kind == "local" else None
    try:
        where = local.address if local else address
        client = distributed.Client(where, timeout=CONNECT_S, set_as_default=False)
        return DaskExecutor(client, where, store, limit=limit, threads=threads, local=local)
    except (OSError, ValueError) as error:
        if local:
            local.close()
        raise BenchError(f"no Dask scheduler answers at {address}: {error}; start one with: dask scheduler") from error
    except BaseException:
        if local:
            local.close()
        raise


class _LocalNodes:
    """A scheduler in this process and workers in separate processes, on the loopback address only."""

    def __init__(self, workers: int) -> None:
        # Dead workers are not restarted here, so losses are bounded without Dask's own count.
        import dask

        with dask.config.set({"distributed.scheduler.allowed-failures": 100}):
            self._cluster = importlib.import_module("distributed").LocalCluster(
                n_workers=0, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=_NO_DASHBOARD
            )
        self.address: str = self._cluster.scheduler_address
        command = [sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--host", "127.0.0.1"]
        options = ["--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--death-timeout", "30"]
        options += ["--no-dashboard", "--dashboard-address", _NO_DASHBOARD]
        # In new sessions, Ctrl-C in the terminal does not reach them; close() ends them.
        self.processes = [
            subprocess.Popen(
                [*command, *options, "--name", f"local{place}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            for place in range(workers)
        ]

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._cluster.close()


@dataclass
class _Worker:
    """The front's view of a Dask worker."""

    address: str
    name: str
    slots: int
    gpus: int
    at_hand: deque[str] = field(default_factory=deque)  # meshes of its latest tasks, one for each slot
    under_way: int = 0
    gpu_under_way: int = 0


@dataclass
class _Sent:
    """A submitted task."""

    task: Task
    worker: _Worker
    future: Any
    since: float
    losses: int


class DaskExecutor:
    """Slots on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        A connection that the executor closes at the end.
    address : str
        Address of the scheduler, for messages.
    store : Run
        Where results go.
    limit, threads
        Limits of a task, threads of a slot.
    local : _LocalNodes or None
        Scheduler and workers that end with this executor.
    """

    def __init__(
        self,
        client: Any,
        address: str,
        store: Run,
        *,
        limit: TaskLimits,
        threads: int,
        local: _LocalNodes | None = None,
    ) -> None:
        from gcbench.bench.run.node import Node, NodeSettings, identity, left_behind

        self._client, self._address, self._local = client, address, local
        self._wait_s = float(os.environ.get("GCBENCH_CLUSTER_WAIT_S", WAIT_S))
        self._identity = identity()
        self._workers: dict[str, _Worker] = {}
        self._looked = 0.0
        self._sent: dict[str, _Sent] = {}
        self._for_gpu: deque[tuple[Task, int]] = deque()  # task that waits for a GPU, and how often it was lost
        self._again: deque[tuple[Task, int]] = deque()  # task that was lost or lacked inputs, and how often it was lost
        self._coded_on: dict[str, str] = {}  # stream of a set → worker that has the decoded meshes
        self._done: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._number = itertools.count()
        self._session = secrets.token_hex(6)
        self._without_worker: float | None = None
        store.make()
        work = store.path.resolve() / "work"
        safe_files.require_folder(work)
        work.mkdir(exist_ok=True)
        for left in work.glob("token-*"):  # by a front that was killed
            left.unlink(missing_ok=True)
        self._token = work / f"token-{self._session}"
        self._token.touch()
        settings = NodeSettings(self._identity, limit, threads, self._token)
        try:
            for name in client.run_on_scheduler(left_behind):
                client.unregister_worker_plugin(name)
            client.register_plugin(Node(client.id, settings))
        except Exception as error:
            client.close(timeout=1)
            raise BenchError(f"the cluster at {address} cannot run gcbench: {type(error).__name__}: {error}") from error
        self._look()

    @property
    def slots(self) -> int:
        """Threads of all workers."""
        return sum(worker.slots for worker in self._workers.values())

    def run(self, agenda: Agenda, heartbeat_s: float) -> Iterator[Outcome | None]:
        """Run the agenda on the cluster."""
        while True:
            if self._client.status != "running":
                raise StoreError(
                    f"the scheduler at {self._address} is gone; finished results are kept, the same command resumes"
                )
            if time.monotonic() - self._looked >= _LOOK_S:
                self._look()
            self._fill(agenda)
            if not (self._sent or self._again or self._for_gpu or len(agenda)):
                return
            self._bound_waiting()
            try:
                key = self._done.get(timeout=heartbeat_s if self._workers else min(heartbeat_s, 0.2))
            except queue.Empty:
                yield None
                continue
            if (outcome := self._outcome(self._sent.pop(key))) is not None:
                yield outcome

    def under_way(self) -> list[str]:
        """Name the tasks that take long."""
        now = time.monotonic()
        return [
            f"{sent.task.unit}: {now - sent.since:.0f} s on {sent.worker.name}"
            for sent in self._sent.values()
            if now - sent.since > _SAYS_AFTER_S
        ]

    def close(self) -> None:
        """Kill the tasks on all nodes, and leave the cluster."""
        from gcbench.bench.run.node import PLUGIN

        if self._client.status == "running":
            with contextlib.suppress(Exception):  # if the scheduler goes now, the nodes end by themselves
                self._client.cancel([sent.future for sent in self._sent.values()], force=True)
                self._client.unregister_worker_plugin(PLUGIN + self._client.id)
        self._sent.clear()
        with contextlib.suppress(Exception):
            self._client.close(timeout=2)
        if self._local:
            self._local.close()
        self._token.unlink(missing_ok=True)

    # The list of workers.

    def _look(self) -> None:
        try:
            there: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        except Exception as error:  # noqa: BLE001 (a broken connection raises nearly anything; run() checks the status)
            log.debug("no answer from the scheduler: %s", error)
            return
        self._looked = time.monotonic()
        for address in [address for address in self._workers if address not in there]:
            log.warning("worker %s is gone", self._workers.pop(address).name)
        for address, facts in there.items():
            if address not in self._workers:
                gpus = int(facts.get("resources", {}).get("GPU", 0))
                self._workers[address] = _Worker(address, str(facts["name"]), int(facts["nthreads"]), gpus)

    def _bound_waiting(self) -> None:
        """Raise BenchError if no worker that can run the waiting tasks has been there for a time."""
        gpu = bool(self._for_gpu) and not any(worker.gpus for worker in self._workers.values())
        if self._workers and not gpu:
            self._without_worker = None
            return
        now = time.monotonic()
        self._without_worker = self._without_worker or now
        if now - self._without_worker > self._wait_s:
            what = " with a GPU" if gpu else ""
            options = " --resources GPU=1" if gpu else ""
            raise BenchError(
                f"no worker{what} at {self._address} for {self._wait_s:.0f} s; finished results are kept; start a "
                f"worker with: dask worker {self._address} --no-nanny --nthreads SLOTS --memory-limit 0{options}"
            )

    # Handing out.

    def _fill(self, agenda: Agenda) -> None:
        """Submit tasks while workers have room: tasks that wait for a GPU, then lost tasks, then the agenda."""
        for _ in range(len(self._for_gpu)):
            self._place(*self._for_gpu.popleft())
        while (worker := self._roomiest(agenda)) is not None:
            if self._again:
                self._place(*self._again.popleft(), worker)
                continue
            if len(self._for_gpu) >= max(1, self.slots):
                return
            others = {mesh for w in self._workers.values() if w is not worker for mesh in w.at_hand}
            # The slot that has worked longest is probably free next.
            at_hand = worker.at_hand[0] if len(worker.at_hand) >= worker.slots else None
            others |= set(itertools.islice(worker.at_hand, 1, None))
            task = agenda.take(at_hand, others)
            if task is None:
                return
            self._place(agenda.complete(task), 0, worker)

    def _roomiest(self, agenda: Agenda) -> _Worker | None:
        """The worker with most room. Each worker has one task more than slots, except at the end of the agenda."""
        more = len(agenda) > self.slots
        room = {a: (w.slots + more - w.under_way) / w.slots for a, w in self._workers.items()}
        best = max(room, key=room.__getitem__, default=None)
        return self._workers[best] if best is not None and room[best] > 0 else None

    def _place(self, task: Task, losses: int, worker: _Worker | None = None) -> None:
        if task.unit.device.startswith("cuda"):
            free = [w for w in self._workers.values() if w.gpu_under_way < w.gpus]
            if not free:
                self._for_gpu.append((task, losses))
                return
            worker = min(free, key=lambda w: w.gpu_under_way)
        elif isinstance(task.unit, MeasurementUnit):
            home = self._workers.get(self._coded_on.get(task.unit.stream_sha256, ""))
            worker = home if home is not None and home.under_way < home.slots else worker
        assert worker is not None
        self._submit(task, losses, worker)

    def _submit(self, task: Task, losses: int, worker: _Worker) -> None:
        import dask

        from gcbench.bench.run.node import run_task

        key = f"gcbench-{self._session}-{next(self._number)}"
        gpu = task.unit.device.startswith("cuda")
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            future = self._client.submit(
                run_task,
                self._client.id,
                self._identity,
                key,
                pickle.dumps(task),
                key=key,
                pure=False,
                retries=0,
                workers=[worker.address],
                allow_other_workers=True,
                resources={"GPU": 1} if gpu else None,
            )
        worker.under_way += 1
        worker.gpu_under_way += gpu
        worker.at_hand.append(task.mesh)
        while len(worker.at_hand) > worker.slots:
            worker.at_hand.popleft()
        self._sent[key] = _Sent(task, worker, future, time.monotonic(), losses)
        future.add_done_callback(lambda _: self._done.put(key))

    # Outcomes.

    def _outcome(self, sent: _Sent) -> Outcome | None:
        """The outcome of a task; None if the task is submitted again."""
        sent.worker.under_way -= 1
        sent.worker.gpu_under_way -= sent.task.unit.device.startswith("cuda")
        answer = self._answer(sent)
        if answer.problem:
            raise StoreError(f"{answer.problem}; finished results are kept")
        if answer.missing:
            self._again.append((_with_inputs(sent.task, answer.missing), sent.losses))
            return None
        if answer.outcome is None:
            if sent.losses + 1 >= LOSSES:
                raise StoreError(
                    f"{sent.task.unit} was lost {LOSSES} times ({answer.lost}); finished results are kept; repair the "
                    "nodes, then repeat the command to resume"
                )
            log.warning("%s was lost (%s) and is submitted again", sent.task.unit, answer.lost)
            self._again.append((sent.task, sent.losses + 1))
            return None
        coding = answer.outcome.coding
        if coding is not None and coding.kind == "set" and coding.status == "ok":
            self._coded_on[coding.streams[0]] = sent.worker.address
        return replace(answer.outcome, task=replace(sent.task, inputs=()))

    def _answer(self, sent: _Sent) -> Answer:
        from distributed import KilledWorker

        from gcbench.bench.run.node import Answer

        if sent.future.status in {"cancelled", "lost"}:  # the scheduler has gone, or forgot the task
            return Answer(lost=f"the scheduler gave it up, {sent.future.status}")
        try:
            answer = pickle.loads(sent.future.result(timeout=CONNECT_S))  # noqa: S301 (Dask unpickles whatever comes, too)
        except (KilledWorker, TimeoutError, OSError) as error:
            return Answer(lost=f"{type(error).__name__} on {sent.worker.name}")
        except Exception as error:  # noqa: BLE001 (an exception on a node is not a codec's fault: see run_task)
            if "Cancelled" in type(error).__name__:
                return Answer(lost="the scheduler gave it up")
            return Answer(problem=f"{sent.worker.name}: {type(error).__name__}: {error}")
        assert isinstance(answer, Answer)
        return answer


def _with_inputs(task: Task, missing: tuple[int, ...]) -> Task:
    """The task with the packed meshes that a node lacks."""
    from gcbench.bench.run.node import inputs_of, packed

    meshes = inputs_of(task)
    inputs = [b""] * len(meshes)
    for place in missing:
        inputs[place] = packed(meshes[place])
        if not inputs[place]:
            raise StoreError(f"{meshes[place].source.path} changed while the run was going on")
    return replace(task, inputs=tuple(inputs))
