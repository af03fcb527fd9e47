"""Make damaged streams: cut, changed, and of other formats; the same ones every time."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator

import numpy as np

_HEADER_BYTES = 64  # where formats keep magic numbers and sizes


def cuts(stream: bytes, count: int) -> list[bytes]:
    """At most ``count`` prefixes: some short, some without the last byte or two, others of random length."""
    size, rng = len(stream), np.random.default_rng(0)
    lengths = [0, size - 1, size // 2, 4, 1, size - 4, 8, size // 4, 16, 3 * size // 4, size - 2, 32]
    lengths += rng.integers(0, max(size, 1), 4 * count).tolist()
    return [stream[:n] for n in dict.fromkeys(lengths) if 0 <= n < size][:count]


def changes(stream: bytes, count: int) -> list[bytes]:
    """At most ``count`` changed streams: flipped bits, large numbers, overwritten blocks, inserted or removed bytes.

    Every second change is in the first 64 bytes. Any beginning of the list is a mixture of all kinds.
    """
    if not stream:
        return []
    rng = np.random.default_rng(1)
    kinds = (_flip, _large_number, _noise, _flip, _insert, _flip, _remove, _zeros, _append)
    made: dict[bytes, None] = {}
    for turn in range(4 * count):
        kind = kinds[turn % len(kinds)]
        reach = len(stream) if turn % 2 else min(_HEADER_BYTES, len(stream))
        made[kind(stream, int(rng.integers(0, max(reach, 1))), rng)] = None
        if len(made) > count:
            break
    made.pop(stream, None)
    return list(made)[:count]


def foreign() -> Iterator[tuple[str, bytes]]:
    """Bytes that are not a stream of any codec, with a description."""
    rng = np.random.default_rng(2)
    yield "no bytes", b""
    yield "zeros", bytes(1000)
    yield "random bytes", rng.bytes(1000)
    yield "text", b"solid cube\n  facet normal 0 0 1\n    outer loop\n" * 20
    yield "an OBJ file", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n" * 10
    yield "a binary STL file", bytes(80) + struct.pack("<I12fH", 1, *range(12), 0)
    yield "a gzip file", gzip.compress(b"not a mesh" * 50, mtime=0)
    yield "a PNG file", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(40)


def _patched(stream: bytes, at: int, patch: bytes) -> bytes:
    return (stream[:at] + patch + stream[at + len(patch) :])[: len(stream)]


def _flip(stream: bytes, at: int, rng: np.random.Generator) -> bytes:
    return _patched(stream, at, bytes([stream[at] ^ (1 << int(rng.integers(8)))]))


def _large_number(stream: bytes, at: int, rng: np.random.Generator) -> bytes:
    number = (0xFFFFFFFF, 0x7FFFFFFF, 0x10000000, 0x00FFFFFF)[int(rng.integers(4))]
    return _patched(stream, at & ~3, struct.pack("<I", number))


def _noise(stream: bytes, at: int, rng: np.random.Generator) -> bytes:
    return _patched(stream, at, rng.bytes(int(rng.integers(2, 32))))


def _zeros(stream: bytes, at: int, rng: np.random.Generator) -> bytes:
    return _patched(stream, at, bytes(int(rng.integers(2, 32))))


def _insert(stream: bytes, at: int, rng: np.random.Generator) -> bytes:
    return stream[:at] + rng.bytes(int(rng.integers(1, 4))) + stream[at:]


def _remove(stream: bytes, at: int, rng: np.random.Generator) -> bytes:
    return stream[:at] + stream[at + int(rng.integers(1, 4)) :]


def _append(stream: bytes, _at: int, rng: np.random.Generator) -> bytes:
    return stream + rng.bytes(int(rng.integers(1, 16)))
