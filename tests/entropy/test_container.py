"""The container of streams and the fields in it: bytes, bounds, and what is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.entropy.container import HEADER_BYTES, Container, Fields, Writer
from gcbench.errors import BitstreamError

PLAIN = Container(b"ABC", 7, "example")


def test_golden_container():
    # The CRC-32 of "ABC\x07123456789" by zlib's own command line: printf 'ABC\007123456789' | gzip -c | tail -c8.
    assert PLAIN.pack(b"123456789").hex() == "41424307" + "dc6ebc33" + b"123456789".hex()


@given(st.binary(max_size=40))
def test_what_was_put_in_comes_out(body):
    stream = PLAIN.pack(body)
    assert len(stream) == HEADER_BYTES + len(body) == 8 + len(body)
    assert stream[4:8] == zlib.crc32(stream[:4] + body).to_bytes(4, "little")
    assert PLAIN.open(stream).rest() == body


@given(st.binary(max_size=40), st.data())
def test_one_changed_byte_is_seen(body, data):
    stream = bytearray(PLAIN.pack(body))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BitstreamError):
        PLAIN.open(bytes(stream))


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "0 bytes are too short for a stream of example"),
        (PLAIN.pack(b"")[:-1], "7 bytes are too short"),
        (b"XYZ" + PLAIN.pack(b"x")[3:], "this is not a stream of example$"),
        (Container(b"ABD", 7, "other").pack(b"x"), "not a stream of example but of other"),
        (Container(b"ABC", 8, "example").pack(b"x"), "format version 8; this program reads version 7"),
        (PLAIN.pack(b"xy")[:-1], "checksum is wrong"),
        (PLAIN.pack(b"xy") + b"z", "checksum is wrong"),
    ],
)
def test_what_is_refused_and_why(stream, why):
    with pytest.raises(BitstreamError, match=why):
        PLAIN.open(stream)


def test_two_codecs_cannot_have_one_magic():
    with pytest.raises(ValueError, match=r"third has the magic b'ABC' of example"):
        Container(b"ABC", 1, "third")
    with pytest.raises(ValueError, match="3 bytes"):
        Container(b"ABCD", 1, "fourth")


def test_golden_fields():
    written = Writer().byte(1, 255).number(300, 5).choice("b", "abc").floats([1.0]).block(b"xy").raw(b"z").data()
    assert written.hex() == "01ff" + "ac02" + "05" + "01" + "0000803f" + "027879" + "7a"
    fields = Fields(b"?" + written, 1)
    assert [fields.byte("first"), fields.byte("second")] == [1, 255]
    assert [fields.number("third"), fields.number("fourth", 5, 5)] == [300, 5]
    assert fields.choice("fifth", "abc") == "b"
    assert fields.floats("sixth", 1).tolist() == [1.0]
    assert fields.block("seventh") == b"xy"
    assert (fields.left, fields.rest()) == (1, b"z")
    fields.end()


@pytest.mark.parametrize(
    ("data", "read", "why"),
    [
        (b"", lambda fields: fields.byte("width"), "ends in its width: 1 bytes are declared, 0 are left"),
        (b"\x05", lambda fields: fields.byte("width", 0, 4), r"the width is 5, which is not in 0…4"),
        (b"\x05", lambda fields: fields.byte("width", 6), r"the width is 5, which is not in 6…255"),
        (b"\xac\x02", lambda fields: fields.number("width", 1, 299), r"the width is 300, which is not in 1…299"),
        (b"\xac", lambda fields: fields.number("width"), "ends in its width"),
        (b"\x03", lambda fields: fields.choice("coding", "abc"), r"the coding is 3, which is not in 0…2"),
        (b"\x03ab", lambda fields: fields.block("tree"), "ends in its tree: 3 bytes are declared, 2 are left"),
        (b"\x03abc", lambda fields: fields.block("tree", 2), "the length of the tree is 3, which is not in 0…2"),
        (b"abc", lambda fields: fields.floats("scale", 1), "ends in its scale"),
        (np.float32(np.nan).tobytes(), lambda fields: fields.floats("scale", 1), "scale has a number that is not"),
        (b"ab", lambda fields: fields.end(), "2 bytes follow the last field"),
    ],
)
def test_fields_out_of_bounds(data, read, why):
    with pytest.raises(BitstreamError, match=why):
        read(Fields(data))
