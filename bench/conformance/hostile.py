"""The check `hostile`: mutants behind right checksums, decoded in a warm worker under a watch on time and memory.

One worker decodes one mutant after the other, and is replaced when it dies. It decodes a good stream first, so that
what a decoder loads or compiles at its first call counts for no mutant.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Literal

from gcbench.bench.conformance.lab import Lab
from gcbench.bench.conformance.mutants import mutants
from gcbench.bench.conformance.report import ContractBroken, Unmet, Verdict, passed
from gcbench.bench.conformance.sandbox import Trouble
from gcbench.bench.conformance.trial import HostileResult
from gcbench.bench.run.process import CallLimits
from gcbench.bench.run.tree import tree_rss_bytes
from gcbench.errors import StoreError

MEMORY_BYTES = 256 << 20
"""What decoding a mutant may take beyond what the worker held."""

LEAST_LIMIT_S, TIMES_GOOD = 10.0, 5.0
"""A mutant may take 10 s, or 5 times as long as the good streams, whichever is longer."""

_COUNT, _QUICK_COUNT = 600, 60
_BUDGET_S, _QUICK_BUDGET_S = 30.0, 10.0
_ENOUGH, _ENOUGH_ASKED = 3, 100  # failures after which the check stops; the second if a number of mutants is asked for
_GRACE_S = 1.0  # for a decoder that looks at its deadline
_KILL_BYTES = 1 << 30  # a worker that grows by more is killed before it hurts the machine
_WARM_UP_S = 60.0
_SAY_EVERY_S = 0.5

Outcome = Literal["errors", "meshes", "crashes", "hangs", "memory"]
BAD: tuple[Outcome, ...] = ("crashes", "hangs", "memory")


@dataclass
class Tally:
    """What became of the mutants; ``found`` has the bad ones, with what happened."""

    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(("errors", "meshes", *BAD), 0))
    found: list[tuple[Outcome, str, bytes]] = field(default_factory=list)
    slowest_s: float = 0.0
    most_bytes: int = 0

    @property
    def tried(self) -> int:
        """Number of mutants."""
        return sum(self.counts.values())

    @property
    def bad(self) -> int:
        """Number of mutants that crash, hang, or take too much memory."""
        return sum(self.counts[name] for name in BAD)

    def figures(self) -> dict[str, float]:
        """The counts, and the highest time and memory."""
        counts: dict[str, float] = dict(self.counts.items())
        return {"mutants": self.tried, **counts, "slowest_s": self.slowest_s, "most_mib": self.most_bytes / 2**20}

    def __str__(self) -> str:
        counted = ", ".join(f"{self.counts[name]} {name}" for name in ("errors", "meshes", "crashes", "hangs"))
        return f"{self.tried} mutants: {counted}, {self.counts['memory']} over {MEMORY_BYTES >> 20} MiB"


def hostile(lab: Lab) -> Verdict:
    """Attack with mutants of the streams that were given, or else of those of the trial."""
    settings = lab.settings
    if settings.streams:
        seeds = settings.streams
    else:
        ladder = lab.ladder()
        lab.decoded(ladder[0])  # skip if good streams fail: an earlier check reports that
        seeds = tuple(dict.fromkeys(stream for rate in (ladder[0], ladder[-1]) for stream in lab.streams(rate)))
    asked = settings.mutants is not None
    count = settings.mutants if settings.mutants is not None else _QUICK_COUNT if settings.quick else _COUNT
    budget_s = None if asked else _QUICK_BUDGET_S if settings.quick else _BUDGET_S
    tally = attack(
        lab, seeds, count, budget_s=budget_s, enough=_ENOUGH_ASKED if asked else _ENOUGH, trusted=not settings.streams
    )
    if not tally.bad:
        return passed(str(tally), **tally.figures())
    how = _kept(lab, settings.keep, seeds, tally) if settings.keep else "--keep FOLDER keeps them"
    raise ContractBroken(f"{tally}; the first: {tally.found[0][1]}; {how}", **tally.figures())


def attack(
    lab: Lab,
    seeds: Sequence[bytes],
    count: int,
    *,
    budget_s: float | None = None,
    enough: int = _ENOUGH_ASKED,
    trusted: bool = False,
) -> Tally:
    """Decode streams, and then mutants of those that decode.

    Parameters
    ----------
    lab : Lab
        Of the codec.
    seeds : sequence of bytes
        Streams of the codec; one that does not decode is tried as if it were a mutant.
    count : int
        Number of mutants.
    budget_s : float, optional
        Seconds after which the attack ends; None is no limit.
    enough : int
        Number of bad mutants after which the attack ends.
    trusted : bool
        The streams are good: if they take more than 256 MiB, the mutants may take twice as much.

    Raises
    ------
    Unmet
        No stream decodes.
    """
    watch = _Watch(lab)
    took = {stream: result for stream in dict.fromkeys(seeds) if (result := watch.good(stream)) is not None}
    if trusted:
        limits = _Limits.of(tuple(took.values()))
    else:
        took = {stream: result for stream, result in took.items() if result.grown_bytes <= MEMORY_BYTES}
        limits = replace(_Limits.of(tuple(took.values())), memory_bytes=MEMORY_BYTES)
    if not took:
        raise Unmet("no stream decodes, so there is nothing to make mutants of")
    good = sorted(took, key=lambda stream: took[stream].wall_s)
    watch.warm_with = good[0]
    fixed = lab.fixed_bytes(good[0])
    bad_seeds = [stream for stream in dict.fromkeys(seeds) if stream not in took]
    tally, said_s, end = Tally(), 0.0, time.monotonic() + (budget_s if budget_s is not None else float("inf"))
    for mutant in chain(bad_seeds, mutants(good, count, fixed=fixed, seed=lab.settings.seed)):
        outcome, message = watch.tried(mutant, limits, tally)
        if outcome == "hangs":  # the machine may have been busy: once more
            outcome, message = watch.tried(mutant, limits, tally)
        tally.counts[outcome] += 1
        if outcome in BAD:
            tally.found.append((outcome, message, mutant))
        if lab.on_progress is not None and time.monotonic() - said_s > _SAY_EVERY_S:
            said_s = time.monotonic()
            lab.on_progress(f"{tally} of {count + len(bad_seeds)}")
        if tally.bad >= enough or time.monotonic() > end:
            break
    return tally


def _kept(lab: Lab, folder: Path, seeds: Sequence[bytes], tally: Tally) -> str:
    """Write the seeds and the bad mutants into a folder; the command that decodes them again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, stream in (
            *(("seed", stream) for stream in seeds),
            *((outcome, lab.seal(mutant)) for outcome, _, mutant in tally.found),
        ):
            (folder / f"{name}-{sha256(stream).hexdigest()[:12]}.bin").write_bytes(stream)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from error
    again = shlex.join(["bench", "check", lab.decoder, "--only", "hostile", "--mutants", "0", "--streams", str(folder)])
    return f"again: {again}"


@dataclass(frozen=True)
class _Limits:
    """What a mutant may take."""

    seconds: float
    memory_bytes: int

    @classmethod
    def of(cls, good: Sequence[HostileResult]) -> _Limits:
        """From what good streams take."""
        slowest = max((result.wall_s for result in good), default=0.0)
        largest = max((result.grown_bytes for result in good), default=0)
        return cls(max(LEAST_LIMIT_S, TIMES_GOOD * slowest), max(MEMORY_BYTES, 2 * largest))


class _Watch:
    """Decodes mutants in a worker that has decoded a good stream, and says what became of each."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._reader = lab.workers["reader"]
        self._loaded: int | None = None  # the worker that has loaded and compiled what decoding needs
        self._warm: int | None = None  # the worker that has decoded the good stream
        self._held = 0  # bytes of that worker
        self.warm_with = b""

    def good(self, stream: bytes) -> HostileResult | None:
        """What decoding a stream takes in a worker that has decoded before; None if it does not decode."""
        found: HostileResult | None = None
        for _ in range(1 if self._reader.pid is not None and self._reader.pid == self._loaded else 2):
            result = self._lab.attack(stream, CallLimits(_WARM_UP_S, self._lab.settings.memory_bytes))
            if isinstance(result, Trouble) or result.outcome != "mesh":
                return None
            found = result
        self._loaded = self._reader.pid
        return found

    def tried(self, mutant: bytes, limits: _Limits, tally: Tally) -> tuple[Outcome, str]:
        """Decode one mutant."""
        if self._reader.pid is None or self._reader.pid != self._warm:
            self.good(self.warm_with)
            self._warm = self._reader.pid
            self._held = 0 if self._warm is None else tree_rss_bytes(self._warm)
        most = self._held + limits.memory_bytes + _KILL_BYTES
        result = self._lab.attack(mutant, CallLimits(limits.seconds + _GRACE_S, most), limits.seconds)
        if isinstance(result, Trouble):
            outcomes: dict[str, Outcome] = {"timeout": "hangs", "out-of-memory": "memory"}
            return outcomes.get(result.what, "crashes"), str(result)
        tally.slowest_s = max(tally.slowest_s, result.wall_s)
        tally.most_bytes = max(tally.most_bytes, result.grown_bytes)
        if result.outcome == "crash":
            return "crashes", result.message
        if result.outcome == "late":
            return "hangs", f"had not ended at its deadline of {limits.seconds:.1f} s, and then ended with CodecTimeout"
        if result.wall_s > limits.seconds:
            return "hangs", f"took {result.wall_s:.1f} s, the limit is {limits.seconds:.1f} s"
        if result.grown_bytes > limits.memory_bytes:
            return "memory", f"took {result.grown_bytes >> 20} MiB more than the worker held"
        return ("errors", "") if result.outcome == "error" else ("meshes", "")
