"""What is in the stream of a cloud: golden bytes, every truncation, and sizes that cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.codecs.pcgcv2.stream import FEATURE_CODERS, MAX_BLOCKS, Cloud, unpack
from gcbench.errors import BitstreamError

CLOUD = Cloud(b"\x01\x02\x03\x04", "mixed", ((10, 40, 160), (9, 33, 12345)), b"coordinates", b"features")


def test_golden_fields():
    fields = "01020304" + "01" + "02" + "0a28a001" + "0921b960" + "0b" + b"coordinatesfeatures".hex()
    assert CLOUD.pack().hex() == fields
    assert unpack(CLOUD.pack()) == CLOUD


@given(
    st.binary(min_size=4, max_size=4),
    st.sampled_from(FEATURE_CODERS),
    st.lists(st.tuples(*[st.integers(0, 1 << 20)] * 3), min_size=1, max_size=5),
    st.binary(max_size=300),
    st.binary(max_size=300),
)
def test_round_trip(fingerprint, coder, counts, coordinates, features):
    cloud = Cloud(fingerprint, coder, tuple(counts), coordinates, features)
    assert unpack(cloud.pack()) == cloud


def test_cut_before_the_features():
    contents = CLOUD.pack()
    for length in range(len(contents) - len(CLOUD.features)):
        with pytest.raises(BitstreamError):
            unpack(contents[:length])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (b"", "ends in its coder"),
        (b"\x02" + bytes(20), "coder of the features is 2"),
        (b"\x00" * 20, "number of blocks is 0"),
        (b"\x00\x80\x10" + bytes(40), f"number of blocks is {MAX_BLOCKS * 2}"),
        (b"\x00\x80\x08" + bytes(40), f"{MAX_BLOCKS} blocks are declared in 47 bytes"),
        (b"\x00" + b"\xff" * 20, "more than 5 bytes"),
        (b"\x00\x01\x01\x01\x01", "ends in its length of the coordinates"),
        (b"\x00\x01\x01\x01\x01\x05abcd", "5 bytes are declared, 4 are left"),
        (b"\x00\x01" + b"\x81\x80\x80\x80\x01" * 3 + b"\x00", "number of voxels is 268435457"),
        (b"\x00\x02" + b"\x80\x80\x80\x10" * 6 + b"\x00", "declares 67108864 voxels; the limit is 33554432"),
    ],
)
def test_declared_sizes_are_checked(fields, message):
    with pytest.raises(BitstreamError, match=message):
        unpack(b"abcd" + fields)
