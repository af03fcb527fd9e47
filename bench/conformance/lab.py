"""A codec under test: encodes and decodes in the workers of a sandbox, and keeps streams and meshes for all checks.

Four workers. The *author* encodes, and also decodes what it encoded. The *reader* only decodes. The *stranger* is
forked from another interpreter, with other hash seeds and addresses. The *judge* measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from gcbench.bench.conformance import trial
from gcbench.bench.conformance.attempt import Raised
from gcbench.bench.conformance.report import Unmet
from gcbench.bench.conformance.sandbox import Crew, Sandbox, Trouble
from gcbench.bench.conformance.shapes import good_meshes
from gcbench.bench.conformance.trial import CodecClaims, DecodeTrialResult, EncodeTrialResult, HostileResult
from gcbench.bench.run.arrays import MeshArrays
from gcbench.bench.run.process import CallLimits
from gcbench.codecs import Rate
from gcbench.codecs.base import Effort
from gcbench.entropy.container import HEADER_BYTES
from gcbench.registry import split_address

A = TypeVar("A")
R = TypeVar("R")
Role = Literal["author", "reader", "stranger", "judge"]

_DESCRIBE_LIMIT_S = 120.0  # imports of a large framework on a busy machine
_MEASURE_LIMIT_S = 120.0


@dataclass(frozen=True)
class TrialSettings:
    """How the codec under test is run; see `gcbench.bench.conformance.check`."""

    effort: Effort = "quick"
    rates: tuple[str, ...] = ()
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    deadline_s: float = 120.0
    memory_bytes: int = 4 << 30
    quick: bool = False
    mutants: int | None = None  # of the check `hostile`; None is as many as its time allows
    streams: tuple[bytes, ...] = ()  # good streams for `hostile`; empty is those of the trial
    keep: Path | None = None  # folder for what fails `hostile`


class Lab(Sandbox):
    """Runs one codec, and keeps the streams and meshes that several checks use."""

    def __init__(self, codec: str, settings: TrialSettings, crew: Crew) -> None:
        self.meshes = good_meshes()  # before the folder is made: imports take seconds, and Ctrl-C would leave it behind
        templates = {"author": crew.here, "reader": crew.here, "stranger": crew.elsewhere}
        super().__init__(templates, trial.prepare, settings.memory_bytes)
        self.codec = codec
        self.decoder = split_address(codec, "codec")[0]
        self.settings = settings
        self.on_progress: Callable[[str], None] | None = None  # gets how far a long check has come
        self._judge = crew.judge
        self._claims: dict[Role, CodecClaims | Trouble] = {}
        self._encoded: dict[str, EncodeTrialResult | Trouble] = {}
        self._readings: dict[tuple[Role, str], tuple[DecodeTrialResult | Trouble, ...]] = {}

    @property
    def limits(self) -> CallLimits:
        """Limits of a call."""
        return CallLimits(self.settings.deadline_s, self.settings.memory_bytes)

    @property
    def home(self) -> Role:
        """The worker that decodes first: the author, to find what decodes only there; with `quick`, the reader."""
        return "reader" if self.settings.quick else "author"

    def claims(self, role: Role = "author") -> CodecClaims | Trouble:
        """What the codec claims in one of the workers; asked once."""
        if role not in self._claims:
            limits = CallLimits(_DESCRIBE_LIMIT_S, self.settings.memory_bytes)
            self._claims[role] = self._call(role, None, trial.describe, self.codec, limits)
        return self._claims[role]

    def ladder(self) -> tuple[Rate, ...]:
        """The rates to check, low to high. Raises Unmet without rates."""
        claims = self.claims()
        rates = claims.ladders.get(self.settings.effort) if isinstance(claims, CodecClaims) else None
        if not isinstance(rates, tuple) or not rates:
            raise Unmet("there is no ladder")
        wanted = self.settings.rates
        return tuple(rate for rate in rates if not wanted or rate.label in wanted)

    def is_set(self) -> bool:
        """Whether the codec shares information across a set."""
        claims = self.claims()
        return isinstance(claims, CodecClaims) and claims.kind == "set"

    def encode(
        self,
        meshes: Sequence[MeshArrays],
        rate: Rate,
        *,
        by: Role = "author",
        seconds: float | None = None,
        limits: CallLimits | None = None,
    ) -> EncodeTrialResult | Trouble:
        """Encode meshes; ``seconds`` is the time until the deadline in the codec's context."""
        job = trial.EncodeTrial(
            codec=self.codec,
            rate=rate,
            meshes=tuple(meshes),
            seed=self.settings.seed,
            threads=self.settings.threads,
            device=self.settings.device,
            seconds=self.settings.deadline_s if seconds is None else seconds,
            temporary=self.folder / "tmp",
        )
        return self._call(by, self.codec, trial.encode, job, limits or self.limits)

    def decode(
        self,
        stream: bytes,
        *,
        by: Role = "reader",
        written: frozenset[str] = frozenset(),
        seconds: float | None = None,
        limits: CallLimits | None = None,
    ) -> DecodeTrialResult | Trouble:
        """Decode a stream with a codec that is created by its name, without parameters."""
        job = trial.DecodeTrial(
            codec=self.decoder,
            stream=stream,
            seed=self.settings.seed,
            threads=self.settings.threads,
            device=self.settings.device,
            seconds=self.settings.deadline_s if seconds is None else seconds,
            temporary=self.folder / "tmp",
            written=written,
        )
        return self._call(by, self.decoder, trial.decode, job, limits or self.limits)

    def attack(self, mutant: bytes, limits: CallLimits, seconds: float | None = None) -> HostileResult | Trouble:
        """Decode a mutant with a right checksum in the reader; ``seconds`` is the time until its deadline."""
        job = trial.HostileTrial(
            codec=self.decoder,
            mutant=mutant,
            seed=self.settings.seed,
            threads=self.settings.threads,
            device=self.settings.device,
            seconds=self.settings.deadline_s if seconds is None else seconds,
            temporary=self.folder / "tmp",
        )
        return self._call("reader", self.decoder, trial.hostile, job, limits)

    def seal(self, stream: bytes) -> bytes:
        """The stream with a right checksum."""
        sealed = self._call("reader", self.decoder, trial.seal, (self.decoder, stream), self.limits)
        return stream if isinstance(sealed, Trouble) else sealed

    def fixed_bytes(self, stream: bytes) -> int:
        """How many bytes of a stream are its container's: 0 if gcbench does not know the container."""
        known = self._call("reader", self.decoder, trial.known_container, (self.decoder, stream), self.limits)
        return HEADER_BYTES if known is True else 0

    def encoded(self, rate: Rate) -> EncodeTrialResult | Trouble:
        """The two closed meshes at a rate; encoded once."""
        if rate.label not in self._encoded:
            self._encoded[rate.label] = self.encode(self.meshes, rate)
        return self._encoded[rate.label]

    def streams(self, rate: Rate) -> tuple[bytes, ...]:
        """The streams of the two closed meshes. Raises Unmet without streams."""
        encoded = self.encoded(rate)
        if isinstance(encoded, Trouble) or not encoded.streams:
            raise Unmet("there are no streams, see the check 'streams'")
        return encoded.streams

    def readings(self, rate: Rate, by: Role = "reader") -> tuple[DecodeTrialResult | Trouble, ...]:
        """Results of decoding those streams; decoded once by each worker. Raises Unmet without streams."""
        streams, encoded = self.streams(rate), self.encoded(rate)
        assert isinstance(encoded, EncodeTrialResult)
        key = (by, rate.label)
        if key not in self._readings:
            self._readings[key] = tuple(self.decode(stream, by=by, written=encoded.written) for stream in streams)
        return self._readings[key]

    def decoded(self, rate: Rate, by: Role = "reader") -> tuple[MeshArrays, ...]:
        """The decoded closed meshes. Raises Unmet if one is missing."""
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
        """A stream of another codec, at its first rate. Raises Unmet if the other codec cannot encode."""
        limits = self.limits
        claims = self._call("judge", None, trial.describe, other, limits)
        ladder = claims.ladders[self.settings.effort] if isinstance(claims, CodecClaims) else ()
        if isinstance(ladder, Raised) or not ladder:
            raise Unmet(f"{other} cannot be created")
        job = trial.EncodeTrial(other, ladder[0], self.meshes[:1], 0, 1, "cpu", 60.0, self.folder / "tmp")
        encoded = self._call("judge", other, trial.encode, job, limits)
        if isinstance(encoded, Trouble) or not encoded.streams:
            raise Unmet(f"{other} cannot encode a mesh")
        return encoded.streams[0]

    def distance(self, original: MeshArrays, decoded: MeshArrays) -> float | Trouble:
        """Mean point-to-surface distance, in units where the longest side of the original is 2."""
        limits = CallLimits(_MEASURE_LIMIT_S, self.settings.memory_bytes)
        return self._call("judge", None, trial.distance, trial.DistanceTrial(original, decoded), limits)

    def _call(
        self, role: Role, codec: str | None, function: Callable[[A], R | Raised], job: A, limits: CallLimits
    ) -> R | Trouble:
        return self.call(self._judge if role == "judge" else self.workers[role], function, job, limits, codec)


def same_meshes(a: Sequence[MeshArrays], b: Sequence[MeshArrays]) -> bool:
    """Whether two lists of meshes are equal, bit for bit."""
    return len(a) == len(b) and all(
        np.array_equal(x.vertices, y.vertices) and np.array_equal(x.faces, y.faces) for x, y in zip(a, b, strict=True)
    )
