"""Mutated streams end in BitstreamError or in valid symbols: never another exception, a hang, or a GiB.

Half of the mutations get right checksums again, so that what is behind the checksums is tested too.
"""

import functools
import resource
import time

import numpy as np
import pytest

from gcbench.entropy import blocks
from gcbench.errors import BitstreamError
from gcbench.necgs.bitstream import CONTAINER, Contents, Reader, append, write
from gcbench.necgs.designs.base import Parameters
from gcbench.necgs.designs.convolution import Convolution
from gcbench.necgs.designs.latent_mlp import LatentMlp

DESIGNS = (
    Convolution(resolution=32, widths=(2, 2, 2), feature_channels=3),
    Convolution(32, (1, 2, 1, 2, 1), feature_resolution=1, feature_channels=20, bits=12, deformation=False),
    LatentMlp(resolution=32, width=5, latent=3),
)


def made(design, coder):
    """A stream of three meshes, with symbols about the middle."""
    rng = np.random.default_rng(0)

    def symbols(shape, levels):
        drawn = np.rint(rng.laplace(levels // 2, levels / 40, shape))
        return np.clip(drawn, 0, levels - 1).astype(np.int16)

    tensors = {name: symbols(kind.shape, kind.levels) for name, kind in design.tensors().items()}
    parameters = Parameters(tensors, np.full(design.scale_count, 0.01, np.float32))
    features = symbols((3, *design.features().shape), design.features().levels)
    return write(Contents(design, parameters, features, np.ones((3, 4), np.float32)), coder)


@functools.cache
def streams():
    """One of each design and coder; made by the first test, since collecting tests is done by several processes."""
    return [made(design, coder) for design in DESIGNS for coder in ("range", "huffman")]


SECONDS_A_STREAM = 10.0  # most take milliseconds; a head may declare eight million parameters
MEMORY_KIB = 2**20


class Parts:
    """A stream taken apart, to be put together with checksums and sizes that are right again."""

    def __init__(self, stream):
        found = blocks.Blocks(CONTAINER, stream)
        self.head = found.head().rest()
        self.bodies = [found.body(i).rest() for i in range(len(found))]

    def joined(self):
        return blocks.pack(CONTAINER, self.head, self.bodies)


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
    stream = streams()[rng.integers(len(streams()))]
    kind = rng.integers(8)
    if kind < 3:
        return mutated(stream, rng)
    if kind == 3:  # from one stream to another, at any place
        other = streams()[rng.integers(len(streams()))]
        return stream[: rng.integers(len(stream))] + other[rng.integers(len(other)) :]
    parts = Parts(stream)
    if kind in {4, 5}:
        parts.head = mutated(parts.head, rng)
    elif kind == 6:
        i = rng.integers(len(parts.bodies))
        parts.bodies[i] = mutated(parts.bodies[i], rng)
    else:
        parts.bodies = [parts.bodies[i] for i in rng.permutation(len(parts.bodies))]
    return parts.joined()


def read_everything(stream, *, report):
    """Whether the stream is valid; its symbols are, if it is."""
    try:
        reader = Reader(stream)
        tensors, kind = reader.design.tensors(), reader.design.features()
        parameters = reader.parameters()
        features = [reader.features(i) for i in range(reader.mesh_count)]
        placements = [reader.placement(i) for i in range(reader.mesh_count)]
        if report:
            reader.report()
        longer = append(stream, np.zeros((1, *kind.shape), np.int16))
    except BitstreamError:
        return False
    assert list(parameters.tensors) == list(tensors)
    for name, symbols in parameters.tensors.items():
        tensors[name].check(name, symbols)
    for symbols in features:
        kind.check("features", symbols)
    assert (np.abs(parameters.scales) <= 1e6).all()
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
    for stream in streams():
        assert Parts(stream).joined() == stream
        assert read_everything(stream, report=True)


def test_three_hundred_mutated_streams():
    valid = attack(300, seed=1)
    assert 0 < valid < 150  # some symbols changed unnoticed behind a right checksum; most accidents are noticed


@pytest.mark.slow
def test_ten_thousand_mutated_streams():
    assert 0 < attack(10_000, seed=2) < 5_000


@pytest.mark.slow
@pytest.mark.parametrize("coder", [0, 1])
def test_the_largest_decoder_that_a_head_can_declare(coder):
    """A few bytes behind a head of eight million parameters: an error or symbols, in seconds, without a GiB."""
    head = bytes([coder, 1, 0, 4, 255, 8, 1, 0x97, 1])  # one module of width 151
    for seed in range(5):
        rng = np.random.default_rng(seed)
        parts = Parts(streams()[0])
        parts.head = head + rng.integers(256, size=4 * rng.integers(1, 500), dtype=np.uint8).tobytes()
        assert Reader(parts.joined()).design.parameter_count() > 2**23 - 2**16
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        read_everything(parts.joined(), report=True)
        assert time.monotonic() - started < SECONDS_A_STREAM
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_KIB
