"""A codec under test and the processes it runs in: every call can be killed, and what came of it is a value.

Four workers. The *author* encodes, and also decodes what it encoded; the *reader* only ever decodes; the *stranger* is
forked from another interpreter, with other hash seeds and addresses; the *judge* measures. Knows no verdicts.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

import numpy as np
import psutil

from gcbench.bench.conformance import trial
from gcbench.bench.conformance.attempt import Raised
from gcbench.bench.conformance.calls import Trouble, call
from gcbench.bench.conformance.shapes import good_meshes
from gcbench.bench.conformance.trial import Decoded, Encoded, Facts
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.process import Limits, Template, Worker
from gcbench.bench.run.slot import PREPARE_LIMIT_S
from gcbench.codecs import Rate
from gcbench.codecs.base import Effort
from gcbench.registry import split_address

A = TypeVar("A")
R = TypeVar("R")
Role = Literal["author", "reader", "stranger", "judge"]

_DESCRIBE_LIMIT_S = 120.0  # imports of a large framework on a busy machine
_MEASURE_LIMIT_S = 120.0
_DYING_S = 1.0  # what was killed may take as long to be gone


@dataclass(frozen=True)
class Settings:
    """How the codec under test is run.

    Parameters
    ----------
    rates : tuple of str
        Keep only these labels of the ladder; empty keeps all.
    deadline_s : float
        For each single call.
    memory_bytes : int
        For each worker.
    quick : bool
        Fewer meshes and fewer damaged streams, for codecs that take long.
    """

    effort: Effort = "quick"
    rates: tuple[str, ...] = ()
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    deadline_s: float = 120.0
    memory_bytes: int = 4 << 30
    quick: bool = False


class Crew:
    """Two interpreters to fork workers from, and the worker that measures; any number of codecs and suites share them.

    Parameters
    ----------
    threads : int
        For every library of the workers.
    """

    def __init__(self, threads: int = 1) -> None:
        self.preload = ("gcbench.bench.conformance.trial", "gcbench.bench.conformance.measuring", "trimesh")
        self.here, self.elsewhere = Template(threads, self.preload), Template(threads, self.preload)
        self.here.start()
        self.elsewhere.start()
        self.judge = Worker(self.here)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.judge.kill()
        self.here.close()
        self.elsewhere.close()


class Unmet(Exception):
    """There is nothing for a check to look at: it is about other codecs, or what it needs has failed before."""


class Lab:
    """Runs one codec; remembers the streams and meshes that several checks look at.

    Parameters
    ----------
    codec : str
        Address, e.g. ``necgs[k=64]``.
    """

    def __init__(self, codec: str, settings: Settings, crew: Crew) -> None:
        self.codec = codec
        self.decoder = split_address(codec, "codec")[0]
        self.settings = settings
        self.meshes = good_meshes()
        self._folder = Path(tempfile.mkdtemp(prefix="gcbench-check-")).resolve()
        self._workers: dict[Role, Worker] = {
            "author": Worker(crew.here, log=self.log),
            "reader": Worker(crew.here, log=self.log),
            "stranger": Worker(crew.elsewhere, log=self.log),
            "judge": crew.judge,
        }
        self._prepared: set[tuple[int | None, str]] = set()
        self._facts: dict[Role, Facts | Trouble] = {}
        self._encoded: dict[str, Encoded | Trouble] = {}
        self._readings: dict[tuple[Role, str], tuple[Decoded | Trouble, ...]] = {}

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        for role, worker in self._workers.items():
            if role != "judge":
                worker.kill()
        left = self.left_running()
        for program in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                program.kill()
        psutil.wait_procs(left, timeout=_DYING_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def log(self) -> Path:
        """What the workers print, tracebacks included."""
        return self._folder / "workers.log"

    @property
    def limits(self) -> Limits:
        """Of a call that the codec may take its time for."""
        return Limits(self.settings.deadline_s, self.settings.memory_bytes)

    @property
    def home(self) -> Role:
        """Who decodes first: the author, to tell what works only where it was encoded; in a quick suite, the reader."""
        return "reader" if self.settings.quick else "author"

    def facts(self, role: Role = "author") -> Facts | Trouble:
        """What the codec says of itself, here or in another interpreter; asked once in each."""
        if role not in self._facts:
            limits = Limits(_DESCRIBE_LIMIT_S, self.settings.memory_bytes)
            self._facts[role] = self._call(role, None, trial.describe, self.codec, limits)
        return self._facts[role]

    def ladder(self) -> tuple[Rate, ...]:
        """The rates to be tried, low to high.

        Raises
        ------
        Unmet
            The codec has none.
        """
        facts = self.facts()
        rates = facts.ladders.get(self.settings.effort) if isinstance(facts, Facts) else None
        if not isinstance(rates, tuple) or not rates:
            raise Unmet("there is no ladder")
        wanted = self.settings.rates
        return tuple(rate for rate in rates if not wanted or rate.label in wanted)

    def is_set(self) -> bool:
        """Whether the codec shares information across a set."""
        facts = self.facts()
        return isinstance(facts, Facts) and facts.kind == "set"

    def encode(
        self,
        meshes: Sequence[MeshArrays],
        rate: Rate,
        *,
        by: Role = "author",
        seconds: float | None = None,
        limits: Limits | None = None,
    ) -> Encoded | Trouble:
        """Encode meshes; ``seconds`` is how long until the deadline that the codec is told."""
        job = trial.EncodeTrial(
            codec=self.codec,
            rate=rate,
            meshes=tuple(meshes),
            seed=self.settings.seed,
            threads=self.settings.threads,
            device=self.settings.device,
            seconds=self.settings.deadline_s if seconds is None else seconds,
            temporary=self._folder / "tmp",
        )
        return self._call(by, self.codec, trial.encode, job, limits or self.limits)

    def decode(
        self,
        stream: bytes,
        *,
        by: Role = "reader",
        written: frozenset[str] = frozenset(),
        seconds: float | None = None,
        limits: Limits | None = None,
    ) -> Decoded | Trouble:
        """Decode a stream, with a decoder that is created by the codec's bare name."""
        job = trial.DecodeTrial(
            codec=self.decoder,
            stream=stream,
            seed=self.settings.seed,
            threads=self.settings.threads,
            device=self.settings.device,
            seconds=self.settings.deadline_s if seconds is None else seconds,
            temporary=self._folder / "tmp",
            written=written,
        )
        return self._call(by, self.decoder, trial.decode, job, limits or self.limits)

    def encoded(self, rate: Rate) -> Encoded | Trouble:
        """The good meshes at a rate; encoded once."""
        if rate.label not in self._encoded:
            self._encoded[rate.label] = self.encode(self.meshes, rate)
        return self._encoded[rate.label]

    def streams(self, rate: Rate) -> tuple[bytes, ...]:
        """Their streams.

        Raises
        ------
        Unmet
            There are none.
        """
        encoded = self.encoded(rate)
        if isinstance(encoded, Trouble) or not encoded.streams:
            raise Unmet("there are no streams, see the check 'streams'")
        return encoded.streams

    def readings(self, rate: Rate, by: Role = "reader") -> tuple[Decoded | Trouble, ...]:
        """What comes of decoding those streams; decoded once by each worker.

        Raises
        ------
        Unmet
            There are no streams.
        """
        streams, encoded = self.streams(rate), self.encoded(rate)
        assert isinstance(encoded, Encoded)
        key = (by, rate.label)
        if key not in self._readings:
            self._readings[key] = tuple(self.decode(stream, by=by, written=encoded.written) for stream in streams)
        return self._readings[key]

    def decoded(self, rate: Rate, by: Role = "reader") -> tuple[MeshArrays, ...]:
        """The good meshes as decoded.

        Raises
        ------
        Unmet
            There are no such meshes.
        """
        meshes: list[MeshArrays] = []
        for reading in self.readings(rate, by):
            if isinstance(reading, Trouble):
                raise Unmet(f"a stream of {rate.label} does not decode: {reading}")
            if reading.fault:
                raise Unmet(reading.fault)
            meshes += reading.meshes
        if len(meshes) != len(self.meshes):
            raise Unmet(f"{len(meshes)} meshes are decoded of {len(self.meshes)}")
        return tuple(meshes)

    def stream_of(self, other: str) -> bytes:
        """Encode the first good mesh with another codec, at the first rate of its ladder.

        Raises
        ------
        Unmet
            The other codec cannot do it.
        """
        limits = self.limits
        facts = self._call("judge", None, trial.describe, other, limits)
        ladder = facts.ladders[self.settings.effort] if isinstance(facts, Facts) else ()
        if isinstance(ladder, Raised) or not ladder:
            raise Unmet(f"{other} cannot be had")
        job = trial.EncodeTrial(other, ladder[0], self.meshes[:1], 0, 1, "cpu", 60.0, self._folder / "tmp")
        encoded = self._call("judge", other, trial.encode, job, limits)
        if isinstance(encoded, Trouble) or not encoded.streams:
            raise Unmet(f"{other} cannot encode a mesh")
        return encoded.streams[0]

    def distance(self, original: MeshArrays, decoded: MeshArrays) -> float | Trouble:
        """Mean point-to-surface distance where the original's longest side is 2."""
        limits = Limits(_MEASURE_LIMIT_S, self.settings.memory_bytes)
        return self._call("judge", None, trial.distance, trial.Distance(original, decoded), limits)

    def left_running(self) -> list[psutil.Process]:
        """Processes that work in our folder and are none of our workers: programs that a killed codec left behind."""
        ours = {worker.pid for worker in self._workers.values()}
        left = [p for p in psutil.process_iter() if p.pid not in ours and self._works_here(p)]
        return psutil.wait_procs(left, timeout=_DYING_S)[1] if left else []

    def _works_here(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(self._folder))
        except (psutil.Error, OSError):
            return False

    def _call(
        self, role: Role, codec: str | None, function: Callable[[A], R | Raised], job: A, limits: Limits
    ) -> R | Trouble:
        prepare = None if codec is None else partial(self._prepare, codec)
        return call(self._workers[role], function, job, limits, prepare)

    def _prepare(self, codec: str, worker: Worker) -> Raised | None:
        """Load the codec in this very process, once, before any deadline counts."""
        worker.start()
        if (worker.pid, codec) in self._prepared:
            return None
        raised, _ = worker.call(trial.prepare, codec, Limits(PREPARE_LIMIT_S, self.settings.memory_bytes))
        if raised is not None:
            return replace(raised, message=f"prepare() {raised.message}")
        self._prepared.add((worker.pid, codec))
        return None


def same_meshes(a: Sequence[MeshArrays], b: Sequence[MeshArrays]) -> bool:
    """Whether two lists of meshes are equal, bit for bit."""
    return len(a) == len(b) and all(
        np.array_equal(x.vertices, y.vertices) and np.array_equal(x.faces, y.faces) for x, y in zip(a, b, strict=True)
    )
