"""The file of a stream: what is packed comes back, and anything else is refused in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.bench.use.stream_file import CodedMesh, StreamFile, file_stem, is_name, unpack
from gcbench.datasets.placement import Placement
from gcbench.entropy import container
from gcbench.errors import BitstreamError

FILE = StreamFile(
    "draco",
    "1+abc+DracoPy-2",
    "draco[x=1]",
    "q10",
    (
        CodedMesh("bunny", Placement((1.5, -2.25, 1e30), 0.125), bytes(range(8))),
        CodedMesh("Würfel 2", Placement((0.1, 0.2, 0.3), 7.0), b"\xff" * 8),
    ),
    b"the stream",
)


def test_what_is_packed_comes_back():
    assert unpack(FILE.pack()) == FILE
    # 8 container, texts 6 + 16 + 11 + 4, count 1, per mesh 1 + name + 32 + 8 ("ü" has two bytes), the stream
    assert len(FILE.pack()) == 8 + 6 + 16 + 11 + 4 + 1 + (1 + 5 + 40) + (1 + 9 + 40) + 10


def test_a_file_that_is_cut_or_changed_is_refused():
    data = FILE.pack()
    for end in range(len(data)):
        with pytest.raises(BitstreamError):
            unpack(data[:end])
    for place in range(len(data)):
        with pytest.raises(BitstreamError):
            unpack(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (replace(FILE, codec="../draco"), "not the name of a codec"),
        (replace(FILE, codec="d" * 201), "length of the codec's name"),
        (replace(FILE, rate="q\n10"), "cannot be printed"),
        (replace(FILE, meshes=()), "number of meshes is 0"),
        *(
            (replace(FILE, meshes=(replace(FILE.meshes[0], name=name),)), "cannot be the name of a file")
            for name in ("", "../x", "a/b", "a\\b", ".hidden")
        ),
        *(
            (replace(FILE, meshes=(replace(FILE.meshes[0], placement=wrong),)), "is not finite")
            for wrong in (Placement((0, 0, 0), 0.0), Placement((0, 0, 0), -1.0), Placement((0, float("nan"), 0), 1.0))
        ),
    ],
)
def test_fields_have_bounds(file, says):
    with pytest.raises(BitstreamError, match=says):
        unpack(file.pack())


def test_a_declared_number_of_meshes_must_be_there():
    head = container.Writer()
    for text in (b"draco", b"1", b"draco", b"q10"):
        head.block(text)
    body = head.number(1 << 19).data()
    with pytest.raises(BitstreamError, match="the stream ends in its"):
        unpack(container.Container(b"GCF", 1, "bench encode").pack(body))


@given(st.binary(max_size=200))
def test_any_body_behind_a_right_checksum_is_read_or_refused(body):
    data = container.Container(b"GCF", 1, "bench encode").pack(body)
    try:
        file = unpack(data)
    except BitstreamError:
        return
    assert file.pack() == data


def test_names_of_files():
    assert file_stem("crane/mesh 2", "necgs[design=sparse,k=64]", "k64") == "crane-mesh-2.necgs-design-sparse-k-64.k64"


def test_names():
    assert is_name("crane_0002")
    assert is_name("a" * 200)
    assert not is_name("a" * 201)
    assert not is_name("é" * 101)
