"""The checksum around streams of programs that have none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.codecs.mpeg.seal import seal, unseal
from gcbench.errors import BitstreamError


@given(st.binary(max_size=4), st.binary(min_size=1, max_size=50), st.integers(4, 12))
def test_unseal_undoes_seal(head, body, bits):
    sealed = seal(head, body, bits)
    assert len(sealed) == len(head) + 2 + len(body)
    assert unseal(sealed, len(head), bits) == (head, body)


def test_the_checksum_is_crc_16_of_head_bits_and_body():
    """The check value of CRC-16/XMODEM (ITU-T V.41, without inversion), which is that of "123456789"."""
    assert seal(b"1", b"3456789", ord("2")) == b"1" + (0x31C3).to_bytes(2, "little") + b"3456789"


@given(st.binary(min_size=5, max_size=50), st.data())
def test_a_burst_of_up_to_sixteen_bits_never_goes_unnoticed(body, data):
    sealed = seal(b"h", body, 10)
    at = data.draw(st.integers(0, 8 * (len(sealed) - 5)))
    if at >= 8:  # within the body: a CRC-16 sees every burst of at most sixteen bits
        at += 16
    burst = data.draw(st.integers(1, 255)) << (at % 8)
    value = int.from_bytes(sealed, "little") ^ (burst << (at - at % 8))
    damaged = value.to_bytes(len(sealed) + 4, "little")[: len(sealed)]
    with pytest.raises(BitstreamError, match="checksum"):
        unseal(damaged, 1, 10)


@pytest.mark.parametrize("contents", [b"", b"h", b"hcc"])
def test_too_short(contents):
    with pytest.raises(BitstreamError, match="ends in its header"):
        unseal(contents, 1, 10)


def test_bits_are_checked_along():
    with pytest.raises(BitstreamError, match="checksum"):
        unseal(seal(b"h", b"body", 10), 1, 11)
