"""The container: golden bytes, and an error for every truncation and every mutation."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.codecs.pcgcv2.stream import MAX_BLOCKS, Cloud, unpack
from gcbench.errors import BitstreamError

CLOUD = Cloud(b"\x01\x02\x03\x04", 1, ((10, 40, 160), (9, 33, 12345)), b"coordinates", b"features")


def sealed(fingerprint: bytes, body: bytes, version: int = 1) -> bytes:
    """A stream with a right checksum."""
    return struct.pack("<B4sI", version, fingerprint, zlib.crc32(fingerprint + body)) + body


def test_golden_stream():
    body = "01" + "02" + "0a28a001" + "0921b960" + "0b" + b"coordinatesfeatures".hex()
    checksum = zlib.crc32(bytes.fromhex("01020304" + body)).to_bytes(4, "little").hex()
    assert CLOUD.pack().hex() == "01" + "01020304" + checksum + body
    assert checksum == "413ddba0"
    assert unpack(CLOUD.pack()) == CLOUD


@given(
    st.binary(min_size=4, max_size=4),
    st.integers(0, 1),
    st.lists(st.tuples(*[st.integers(0, 1 << 20)] * 3), min_size=1, max_size=5),
    st.binary(max_size=300),
    st.binary(max_size=300),
)
def test_round_trip(fingerprint, coder, counts, coordinates, features):
    cloud = Cloud(fingerprint, coder, tuple(counts), coordinates, features)
    assert unpack(cloud.pack()) == cloud


def test_cut_at_every_byte():
    stream = CLOUD.pack()
    for length in range(len(stream)):
        with pytest.raises(BitstreamError):
            unpack(stream[:length])


def check_mutations(rounds: int) -> None:
    stream, rng = CLOUD.pack(), np.random.default_rng(0)
    for _ in range(rounds):
        bad = bytearray(stream)
        for position in rng.integers(0, len(bad), rng.integers(1, 5)):
            bad[position] ^= rng.integers(1, 256)
        if bytes(bad) != stream:
            with pytest.raises(BitstreamError):
                unpack(bytes(bad))


def test_mutations():
    check_mutations(2000)


@pytest.mark.slow
def test_many_mutations():
    check_mutations(200_000)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "ends"),
        (b"\x02" + bytes(20), "feature coder 2"),
        (b"\x00" * 20, "0 blocks"),
        (b"\x00\x80\x40" + bytes(40), f"{MAX_BLOCKS * 2} blocks"),
        (b"\xff" * 20, "too long"),
        (b"\x00\x01\x01\x01\x01", "ends"),
        (b"\x00\x01\x01\x01\x01\x05abcd", "5 bytes of coordinates are declared, 4 are left"),
        (b"\x01\x01" + b"\xff\xff\xff\xff\x0f" * 3 + b"\x00", "voxels are declared"),
    ],
)
def test_declared_sizes_are_checked(body, message):
    with pytest.raises(BitstreamError, match=message):
        unpack(sealed(b"abcd", body))


def test_another_version_is_refused():
    body = CLOUD.pack()[9:]
    with pytest.raises(BitstreamError, match="version 2"):
        unpack(sealed(CLOUD.fingerprint, body, version=2))
    assert unpack(sealed(CLOUD.fingerprint, body)) == CLOUD
