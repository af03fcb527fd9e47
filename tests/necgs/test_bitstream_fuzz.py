"""Mutated streams end in BitstreamError or in valid symbols: never another exception, a hang, or a GiB.

Half of the mutations get right checksums again, so that what is behind the checksums is tested too.
"""

import resource
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from gcbench.errors import BitstreamError
from gcbench.necgs.bitstream import Reader, append

STREAMS = [file.read_bytes() for file in sorted((Path(__file__).parent / "golden").glob("*.necgs"))]
SECONDS_A_STREAM = 10.0  # most take milliseconds; a header may declare eight million parameters
MEMORY_KIB = 2**20


def varint(value):
    packed = b""
    while value > 127:
        packed, value = packed + bytes([value & 127 | 128]), value >> 7
    return packed + bytes([value])


def crc(data, start=0):
    return struct.pack("<I", zlib.crc32(data, start))


class Parts:
    """A stream taken apart, to be put together with checksums and sizes that are right again."""

    def __init__(self, stream):
        reader = Reader(stream)
        self.huffman = reader.coder == "huffman"
        head = reader.header_bytes - 4
        sizes = len(varint(reader.mesh_count)) + len(varint(reader.header.decoder_bytes))
        shared, each = reader.layout()
        self.fixed = stream[: head - sizes]
        self.decoder = stream[head + 4 : shared - 4]
        self.bodies, self.placed = [], []
        for i, size in enumerate(each):
            block = stream[shared : shared + size]
            first = next(at for at, byte in enumerate(block) if byte < 128) + 1
            self.placed.append(reader.placement(i) is not None)
            self.bodies.append(block[first + 4 :])
            shared += size

    def joined(self):
        header = self.fixed + varint(len(self.bodies)) + varint(len(self.decoder))
        parts = [header, crc(header), self.decoder, crc(self.decoder)]
        for i, (body, placed) in enumerate(zip(self.bodies, self.placed, strict=True)):
            size = max(0, len(body) - 16 * placed)
            parts += [
                varint(2 * size + placed),
                crc(body, zlib.crc32(struct.pack("<I", i), zlib.crc32(self.decoder))),
                body,
            ]
        return b"".join(parts)


def mutated(data, rng):
    """One to three small accidents."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        if not data:
            return bytes(rng.integers(256, size=4, dtype=np.uint8))
        # Half of them near the start, where sizes and models are.
        at = int(rng.integers(len(data) if rng.random() < 0.5 else min(len(data), 24)))
        match rng.integers(7):
            case 0 | 1:
                data[at] ^= 1 << rng.integers(8)
            case 2:
                data[at] = rng.choice([0, 1, 127, 128, 255])
            case 3:
                del data[at:]
            case 4:
                del data[at : at + rng.integers(1, 9)]
            case 5:
                data[at:at] = rng.integers(256, size=rng.integers(1, 9), dtype=np.uint8).tobytes()
            case 6:
                data[at : at + 4] = rng.integers(256, size=4, dtype=np.uint8).tobytes()
    return bytes(data)


def mutation(rng):
    stream = STREAMS[rng.integers(len(STREAMS))]
    kind = rng.integers(8)
    if kind < 3:
        return mutated(stream, rng)
    if kind == 3:  # from one stream to another, at any place
        other = STREAMS[rng.integers(len(STREAMS))]
        return stream[: rng.integers(len(stream))] + other[rng.integers(len(other)) :]
    parts = Parts(stream)
    if kind == 4:
        parts.fixed = parts.fixed[:4] + mutated(parts.fixed[4:], rng)
    elif kind == 5:
        parts.decoder = mutated(parts.decoder, rng)
    elif kind == 6:
        i = rng.integers(len(parts.bodies))
        parts.bodies[i] = mutated(parts.bodies[i], rng)
    else:
        order = rng.permutation(len(parts.bodies))
        parts.bodies = [parts.bodies[i] for i in order]
        parts.placed = [parts.placed[i] ^ bool(rng.random() < 0.2) for i in order]
    return parts.joined()


def read_everything(stream, *, report):
    """Whether the stream is valid; its symbols are, if it is."""
    try:
        reader = Reader(stream)
        architecture = reader.architecture
        parameters = reader.parameters()
        assert {name: symbols.shape for name, symbols in parameters.items()} == architecture.parameter_shapes()
        features = [reader.features(i) for i in range(reader.mesh_count)]
        placements = [reader.placement(i) for i in range(reader.mesh_count)]
        if report:
            reader.report()
        longer = append(stream, np.zeros((1, *architecture.feature_shape), np.int16))
    except BitstreamError:
        return False
    for symbols in [*parameters.values(), *features]:
        assert symbols.dtype == np.int16
        assert symbols.min() >= 0
        assert symbols.max() < architecture.levels
    assert all(symbols.shape == architecture.feature_shape for symbols in features)
    assert all(place is None or (np.isfinite(place).all() and place[3] > 0) for place in placements)
    assert not Reader(longer).features(reader.mesh_count).any()
    shared, each = reader.layout()
    assert shared + sum(each) == len(stream)
    return True


def attack(count, seed):
    """How many of so many mutated streams were still valid."""
    rng = np.random.default_rng(seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    valid = 0
    for i in range(count):
        stream = mutation(rng)
        started = time.monotonic()
        valid += read_everything(stream, report=i % 16 == 0)  # fitting the other coder takes most of the time
        assert time.monotonic() - started < SECONDS_A_STREAM, f"mutation {i} of seed {seed}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_KIB
    return valid


def test_streams_are_put_together_as_they_were():
    for stream in STREAMS:
        assert Parts(stream).joined() == stream
        assert read_everything(stream, report=True)


def test_eight_hundred_mutated_streams():
    valid = attack(800, seed=1)
    assert 0 < valid < 400  # some symbols changed unnoticed behind a right checksum; most accidents are noticed


@pytest.mark.slow
def test_ten_thousand_mutated_streams():
    assert 0 < attack(10_000, seed=2) < 5_000


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS)
def test_the_largest_decoder_that_a_header_can_declare(stream):
    """A few bytes behind a header of eight million parameters: an error or symbols, in seconds, without a GiB."""
    parts = Parts(stream)
    parts.fixed = parts.fixed[:6] + bytes([5 << 4 | 4, 8, 255]) + struct.pack("<H", 151)
    assert Reader(parts.joined()).architecture.parameter_count() > 2**23 - 2**16
    for seed in range(5):
        rng = np.random.default_rng(seed)
        parts.decoder = rng.integers(256, size=4 * rng.integers(1, 500), dtype=np.uint8).tobytes()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        read_everything(parts.joined(), report=True)
        assert time.monotonic() - started < SECONDS_A_STREAM
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_KIB
