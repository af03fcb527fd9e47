"""The envelope of streams: its bytes, and what is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.codecs import CODECS
from gcbench.entropy.container import Envelope, unpack
from gcbench.errors import BitstreamError
from gcbench.necgs.designs.latent_mlp_stream import ENVELOPE

PLAIN = Envelope(b"ABCD", 7)


def test_golden_envelope():
    # CRC-32 of "123456789" is 0xCBF43926, the check value of its specification.
    assert PLAIN.seal(b"123456789") == b"ABCD\x07\x26\x39\xf4\xcb123456789"


@given(st.binary(max_size=40))
def test_what_was_put_in_comes_out(body):
    assert PLAIN.open(PLAIN.seal(body)) == body


@given(st.binary(max_size=40), st.data())
def test_one_changed_byte_is_seen(body, data):
    sealed = bytearray(PLAIN.seal(body))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BitstreamError):
        PLAIN.open(bytes(sealed))


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "ends in its header"),
        (PLAIN.seal(b"")[:-1], "ends in its header"),
        (Envelope(b"ABCE", 7).seal(b"x"), "not a stream of ABCD"),
        (Envelope(b"ABCD", 8).seal(b"x"), "version 8 of ABCD, this is 7"),
        (PLAIN.seal(b"xy")[:-1], "damaged"),
        (PLAIN.seal(b"xy") + b"z", "damaged"),
    ],
)
def test_what_is_refused_and_why(stream, why):
    with pytest.raises(BitstreamError, match=why):
        PLAIN.open(stream)


def test_no_two_codecs_have_the_same_magic():
    names = ("ni", "keyspheres", "pruned-mlp", "nglod")
    magics = {vars(type(CODECS.create(name)))["envelope"].magic for name in names} | {ENVELOPE.magic}
    assert len(magics) == 5


def test_fields_of_a_body_that_is_too_short():
    layout = struct.Struct("<HB")
    assert unpack(layout, b"\xff\x01\x02\x03", 1) == (0x0201, 3)
    with pytest.raises(BitstreamError, match="header"):
        unpack(layout, b"\xff\x01\x02", 1)
