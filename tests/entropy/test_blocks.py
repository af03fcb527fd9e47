"""Streams of sets: golden bytes, one mesh without the others, meshes that are added, and every damage."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.entropy.blocks import Blocks, pack
from gcbench.entropy.container import Container
from gcbench.errors import BitstreamError

SET = Container(b"ABS", 3, "example-set")
HEAD, BODIES = b"the head", [b"first", b"", b"third mesh"]
STREAM = pack(SET, HEAD, BODIES)


def bodies(blocks: Blocks) -> list[bytes]:
    return [blocks.body(i).rest() for i in range(len(blocks))]


def test_golden_stream():
    head = b"\x08the head"
    checksum = zlib.crc32(b"ABS\x03" + head)
    expected = b"ABS\x03" + checksum.to_bytes(4, "little") + head + b"\x03"
    for i, body in enumerate(BODIES):
        expected += bytes([len(body)]) + zlib.crc32(bytes([i, 0, 0, 0]) + body, checksum).to_bytes(4, "little") + body
    assert expected == STREAM
    assert Blocks(SET, STREAM).checksum == checksum == 0x8D888078


@given(st.binary(max_size=200), st.lists(st.binary(max_size=150), min_size=1, max_size=5))
def test_what_was_packed_is_read(head, parts):
    blocks = Blocks(SET, pack(SET, head, parts))
    assert blocks.head().rest() == head
    assert bodies(blocks) == parts


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.lists(st.binary(max_size=50), max_size=5))
def test_added_meshes_leave_the_others_as_they_are(old, new):
    before, after = pack(SET, HEAD, old), Blocks(SET, pack(SET, HEAD, old)).with_added(new)
    assert after == pack(SET, HEAD, [*old, *new])
    blocks = Blocks(SET, after)
    first, sizes = Blocks(SET, before).layout()
    assert blocks.layout() == (first, (*sizes, *blocks.layout()[1][len(sizes) :]))
    assert after[first : first + sum(sizes)] == before[first:]
    assert blocks.checksum == Blocks(SET, before).checksum


def test_the_number_of_meshes_may_take_another_byte():
    stream = pack(SET, HEAD, [b"x"] * 127)
    longer = Blocks(SET, stream).with_added([b"y"])
    assert len(longer) == len(stream) + 1 + 6
    assert bodies(Blocks(SET, longer)) == [b"x"] * 127 + [b"y"]


def test_the_layout_sums_to_the_stream():
    shared, sizes = Blocks(SET, STREAM).layout()
    assert (shared, sizes) == (8 + 9 + 1, (10, 5, 15))
    assert shared + sum(sizes) == len(STREAM)


def test_one_mesh_is_read_without_the_others():
    damaged = bytearray(STREAM)
    damaged[-1] ^= 1
    blocks = Blocks(SET, bytes(damaged))
    assert blocks.body(0).rest() == b"first"
    with pytest.raises(BitstreamError, match="mesh 2"):
        blocks.body(2)
    for i in (-1, 3):
        with pytest.raises(IndexError):
            blocks.body(i)


def test_a_block_does_not_pass_elsewhere():
    same = pack(SET, HEAD, [b"mesh", b"mesh"])
    first, (size, _) = Blocks(SET, same).layout()
    swapped = same[:first] + same[first + size :] + same[first : first + size]
    other = pack(SET, b"another!", [b"mesh", b"mesh"])
    for stream in (swapped, other[:first] + same[first:]):
        with pytest.raises(BitstreamError, match="checksum of mesh 0"):
            Blocks(SET, stream).body(0)


def test_every_cut_and_every_flipped_bit_is_seen():
    for length in range(len(STREAM)):
        with pytest.raises(BitstreamError):
            bodies(Blocks(SET, STREAM[:length]))
    for bit in range(8 * len(STREAM)):
        damaged = bytearray(STREAM)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            bodies(Blocks(SET, bytes(damaged)))


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (STREAM + b"z", "1 bytes follow"),
        (pack(SET, HEAD, []), "the number of meshes is 0"),
        (STREAM[:17] + b"\x7f" + STREAM[18:], "127 meshes are declared in 30 bytes"),
        (Container(b"ABT", 3, "other-set").pack(b"\x01x\x00"), "not a stream of example-set but of other-set"),
        (Container(b"ABS", 4, "example-set").pack(b"\x01x\x00"), "version 4"),
        (SET.pack(b"\xff\xff\x03x"), "ends in its head"),
    ],
)
def test_what_is_refused_and_why(stream, why):
    with pytest.raises(BitstreamError, match=why):
        Blocks(SET, stream)
