"""The fields of a stream: golden bytes, limits, and work that is refused before it is done."""

from __future__ import annotations

import pytest

from gcbench.codecs.sirsnc.stream import BUDGET, CONTAINER, Stream, check_blocks, depth, unpack
from gcbench.entropy.budget import Work
from gcbench.entropy.container import Writer
from gcbench.errors import BitstreamError

STREAM = Stream(b"\1\2\3\4", "mixed", 2, 32, 300, b"places", b"features")


def test_golden_fields():
    packed = STREAM.pack()
    assert packed[8:].hex() == "01020304" + "06" + "20" + "ac02" + "06" + b"placesfeatures".hex()
    assert unpack(packed)[0] == STREAM
    assert (STREAM.resolution, depth(32), depth(33), depth(24)) == (128, 5, 6, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (b"", "ends in its fingerprint"),
        (b"abcd\x08", "coder and rate is 8"),
        (b"abcd\x00\x01", "resolution in blocks is 1"),
        (b"abcd\x00\x41", "resolution in blocks is 65"),
        (b"abcd\x00\x02\x00", "number of octants is 0"),
        (b"abcd\x00\x02\x41", "number of octants is 65"),
        (b"abcd\x00\x40\x80\x80\x80\x01", "multiply-adds; the limit is"),
        (b"abcd\x00\x02\x08\x05abc", "5 bytes are declared, 3 are left"),
    ],
)
def test_declared_sizes_are_checked(fields, message):
    with pytest.raises(BitstreamError, match=message):
        unpack(CONTAINER.pack(Writer().raw(fields).data()))


def test_blocks_are_held_against_octants_and_budget():
    check_blocks(10, 80, Work(BUDGET))
    for blocks, octants in ((10, 81), (10, 9)):
        with pytest.raises(BitstreamError, match="octants are declared"):
            check_blocks(blocks, octants, Work(BUDGET))
    with pytest.raises(BitstreamError, match="bytes of memory; the limit is"):
        check_blocks(1 << 18, 1 << 18, Work(BUDGET))
