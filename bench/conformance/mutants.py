"""Make mutants: streams that no encoder wrote, for decoders that may trust nothing; the same ones every time.

The mutants know no format. A seed begins with bytes that must stay (magic, version, checksum); what follows is changed
at its head, where formats keep sizes, more often than further back. Whoever decodes a mutant first makes its checksum
right (:func:`gcbench.entropy.container.resealed`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

import numpy as np

from gcbench.entropy import varints
from gcbench.errors import BitstreamError

HEAD_BYTES = 32
"""Each of the first bytes gets each value of ``PATCHES``; further bytes are changed at random."""

PATCHES = (
    *(bytes([value]) for value in (0, 1, 2, 64, 127, 128, 254, 255)),
    varints.write([varints.LARGEST]),
    *(varints.write([1 << bits]) for bits in (10, 16, 21, 30)),
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    *(struct.pack("<f", value) for value in (float("nan"), float("inf"), -3e38, 1e-40)),
)
"""Values at limits: of a byte, of LEB128 numbers, of 32-bit integers, of float32."""

_TIRED = 1000  # a kind that gives so many known mutants in a row has no more


@dataclass(frozen=True)
class _Bench:
    """What a kind of mutants works with: good streams, the number of bytes that stay, random numbers."""

    seeds: Sequence[bytes]
    fixed: int
    rng: np.random.Generator

    def pick(self) -> bytes:
        """One of the seeds; the short ones more often, since every change of a short stream meets a field."""
        return self.seeds[min(self.below(len(self.seeds)), self.below(len(self.seeds)))]

    def below(self, high: int) -> int:
        """A random number in [0, high); 0 if there is none."""
        return int(self.rng.integers(max(high, 1)))

    def place(self, stream: bytes) -> int:
        """A position that may be changed: of every order of magnitude equally often."""
        reach = max(len(stream) - self.fixed, 1)
        return self.fixed + min(int(reach ** self.rng.random()) - 1 + self.below(2), reach - 1)

    def patch(self) -> bytes:
        """A value at a limit, or a random byte."""
        return PATCHES[self.below(len(PATCHES))] if self.below(3) else self.rng.bytes(1)


_Kind = Callable[[_Bench], Iterator[bytes]]


def mutants(seeds: Sequence[bytes], count: int, *, fixed: int = 0, seed: int = 0) -> Iterator[bytes]:
    """Make mutants of good streams; no two are equal, and none is a seed. Any beginning is a mixture of all kinds.

    Parameters
    ----------
    seeds : sequence of bytes
        Good streams of one codec, if possible of several rates. Without any, the mutants are random bytes.
    count : int
        How many; tiny seeds may have fewer.
    fixed : int
        Number of bytes at the beginning that stay as they are.
    seed : int
        Of all randomness.
    """
    ordered = sorted(dict.fromkeys(seeds), key=len)
    if not ordered:
        ordered = [b""]
    bench = _Bench(ordered, fixed, np.random.default_rng(seed))
    known = {_digest(stream, fixed) for stream in ordered}
    made = 0
    going = [kind(bench) for kind in _KINDS]
    going.append(going[0])  # a turn more for the values at limits, which are many
    while going and made < count:
        for kind in list(going):
            new = next((one for one in islice(kind, _TIRED) if _digest(one, fixed) not in known), None)
            if new is None:
                going = [other for other in going if other is not kind]
                continue
            known.add(_digest(new, fixed))
            yield new
            made += 1
            if made == count:
                return


def _digest(stream: bytes, fixed: int) -> bytes:
    return sha256(stream[fixed:]).digest()


def _limits(bench: _Bench) -> Iterator[bytes]:
    """Each value at a limit at each of the first bytes, and each of these bytes one higher and one lower."""
    for seed in bench.seeds:
        for at in range(bench.fixed, min(bench.fixed + HEAD_BYTES, len(seed))):
            for patch in (*PATCHES, bytes([(seed[at] + 1) % 256]), bytes([(seed[at] - 1) % 256])):
                yield _overwritten(seed, at, patch)


def _several(bench: _Bench) -> Iterator[bytes]:
    """Two to four fields changed together: each may be within its bounds, their product is not."""
    while True:
        stream = bench.pick()
        for _ in range(2 + bench.below(3)):
            stream = _overwritten(stream, bench.place(stream), bench.patch())
        yield stream


def _numbers(bench: _Bench) -> Iterator[bytes]:
    """A number in LEB128, such as the length of a block, made larger or smaller; what follows moves."""
    changes: tuple[Callable[[int], int], ...] = (
        lambda n: n + 1,
        lambda n: max(n - 1, 0),
        lambda n: 2 * n,
        lambda n: n // 2,
        lambda n: n << 7,
        lambda n: n + (1 << 14),
        lambda n: varints.LARGEST,
    )
    while True:
        seed = bench.pick()
        at = bench.place(seed)
        try:
            value, end = varints.read(seed, at)
        except BitstreamError:
            yield seed[:at] + b"\x80" + seed[at:]  # one byte longer: not the shortest form
            continue
        new = changes[bench.below(len(changes))](value)
        yield seed[:at] + varints.write([min(new, varints.LARGEST)]) + seed[end:]


def _inserted(bench: _Bench) -> Iterator[bytes]:
    """Bytes inserted or removed."""
    while True:
        seed = bench.pick()
        at, some = bench.place(seed), 1 + bench.below(8)
        yield seed[:at] + (bench.patch() + seed[at:] if bench.below(2) else seed[at + some :])


def _spliced(bench: _Bench) -> Iterator[bytes]:
    """The beginning of one stream with the end of another, or with an end of its own."""
    while True:
        one, other = bench.pick(), bench.pick()
        at = bench.place(one)
        yield one[:at] + other[at if bench.below(2) else bench.place(other) :]


def _cut(bench: _Bench) -> Iterator[bytes]:
    """The stream cut short."""
    while True:
        seed = bench.pick()
        yield seed[: bench.place(seed)]


def _repeated(bench: _Bench) -> Iterator[bytes]:
    """A part of the stream repeated, or one byte over a stretch."""
    while True:
        seed = bench.pick()
        begin = bench.place(seed)
        size = 1 + bench.below(max(len(seed) - begin, 1))
        if bench.below(2):
            times = 1 + bench.below(4)
            yield seed[: begin + size] + times * seed[begin : begin + size] + seed[begin + size :]
        else:
            yield _overwritten(seed, begin, size * bytes([(0, 255, 1, 128)[bench.below(4)]]))


def _noise(bench: _Bench) -> Iterator[bytes]:
    """Random bytes: a few, or all that follow."""
    while True:
        seed = bench.pick()
        at = bench.place(seed)
        some = 1 + bench.below(16) if bench.below(4) else min(len(seed) - at, 4096)
        yield _overwritten(seed, at, bench.rng.bytes(max(some, 1)))


def _chained(bench: _Bench) -> Iterator[bytes]:
    """Mutants of mutants: the seeds of each round are what other kinds made in the last."""
    kinds: tuple[_Kind, ...] = (_several, _numbers, _inserted, _spliced, _repeated, _noise)
    while True:
        seeds = bench.seeds
        for _ in range(2 + bench.below(3)):
            kind = kinds[bench.below(len(kinds))]
            seeds = [next(kind(_Bench(seeds, bench.fixed, bench.rng)))]
        yield seeds[0]


def _overwritten(stream: bytes, at: int, patch: bytes) -> bytes:
    return (stream[:at] + patch + stream[at + len(patch) :])[: max(len(stream), at + 1)]


_KINDS: tuple[_Kind, ...] = (
    _limits,
    _several,
    _numbers,
    _inserted,
    _spliced,
    _repeated,
    _cut,
    _noise,
    _chained,
)
