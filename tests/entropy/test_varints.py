"""LEB128: known bytes, an independent reading, and every form that is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.entropy import varints
from gcbench.errors import BitstreamError

# 624485 and its bytes are the example of DWARF 5, appendix C, and of most other texts on LEB128.
KNOWN = [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (624485, "e58e26"), (varints.LARGEST, "ffffffff7f")]


@pytest.mark.parametrize(("value", "bytes_"), KNOWN)
def test_known_bytes(value, bytes_):
    assert varints.write([value]).hex() == bytes_
    assert varints.read(bytes.fromhex(bytes_), 0) == (value, len(bytes_) // 2)


@given(st.lists(st.integers(0, varints.LARGEST)), st.binary(max_size=3))
def test_numbers_come_back_one_after_the_other(values, before):
    data, at = before + varints.write(values), len(before)
    for value in values:
        read, end = varints.read(data, at)
        assert read == value
        assert end - at == max(1, -(-value.bit_length() // 7))
        at = end
    assert at == len(data)


@pytest.mark.parametrize("value", [-1, varints.LARGEST + 1])
def test_numbers_without_a_form(value):
    with pytest.raises(ValueError, match="not in"):
        varints.write([3, value])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "ends in its width"),
        ("80", "ends in its width"),
        ("ffffffff", "ends in its width"),
        ("8000", "the width is not in its shortest form"),
        ("ff8000", "shortest form"),
        ("8080808080", "the width has more than 5 bytes"),
        ("ffffffffff01", "more than 5 bytes"),
    ],
)
def test_what_is_refused(data, why):
    with pytest.raises(BitstreamError, match=why):
        varints.read(bytes.fromhex(data), 0, "width")
