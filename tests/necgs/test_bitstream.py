"""The stream of NeCGS: golden bytes, round trips, access to one mesh, growth, and what a reader refuses."""

import hashlib
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.errors import BitstreamError
from gcbench.necgs.bitstream import MAX_PARAMETERS, Contents, Reader, append, write
from gcbench.necgs.settings import Architecture

GOLDEN = Path(__file__).parent / "golden"
CODERS = ["range", "huffman"]

TINY = Architecture(resolution=32, widths=(2, 2, 2), feature_channels=3)
TWELVE_BITS = Architecture(
    resolution=32, widths=(1, 2, 1, 2, 1), feature_resolution=1, feature_channels=20, bits=12, deformation=False
)


def noise(name, shape, unit=1.0):
    """Sums of four bytes of a hash, about Gaussian: mean 0, standard deviation 147 units; the same for ever."""
    data = hashlib.shake_128(name.encode()).digest(4 * prod(shape))
    return (np.frombuffer(data, np.uint8).reshape(*shape, 4).astype(np.int64).sum(axis=-1) - 510) * unit


def golden_set(architecture, meshes, *, placed):
    middle = 2 ** (architecture.bits - 1)

    def symbols(values):
        return np.clip(np.floor(values) + middle, 0, 2 * middle).astype(np.int16)

    parameters = {}
    for i, (name, shape) in enumerate(architecture.parameter_shapes().items()):
        values = noise(name, shape, middle / 4096)
        if i == 0:  # the scale of a row is a power of two: a bell with factors
            values = values * (2.0 ** (np.arange(shape[0]) % 4)).reshape(-1, 1, 1, 1, 1) / 2
        if i == 2:  # two values: a histogram
            values = np.where(values > 0, middle, -middle // 2)
        if i == 3:  # one value
            values = values * 0
        parameters[name] = symbols(values)
    features = symbols(noise("features", (meshes, *architecture.feature_shape), middle / 512))
    if not placed:
        return Contents(architecture, parameters, features)
    placements = noise("placements", (meshes, 4), 0.5).astype(np.float32)
    placements[:, 3] = np.abs(placements[:, 3]) + 1
    return Contents(architecture, parameters, features, placements)


# The files in golden/ were written once by `write(*GOLDEN_SETS[name])`. They change with the format's version alone.
GOLDEN_SETS = {
    "range": (golden_set(TINY, 3, placed=True), "range"),
    "huffman": (golden_set(TINY, 3, placed=True), "huffman"),
    "range-12-bits": (golden_set(TWELVE_BITS, 2, placed=False), "range"),
    "huffman-12-bits": (golden_set(TWELVE_BITS, 2, placed=False), "huffman"),
}


def assert_holds(stream, contents):
    reader = Reader(stream)
    assert reader.architecture == contents.architecture
    parameters = reader.parameters()
    assert list(parameters) == list(contents.architecture.parameter_shapes())
    for name, symbols in contents.parameters.items():
        assert parameters[name].dtype == np.int16
        np.testing.assert_array_equal(parameters[name], symbols)
    assert reader.mesh_count == len(contents.features)
    for i, symbols in enumerate(contents.features):
        np.testing.assert_array_equal(reader.features(i), symbols)
        if contents.placements is None:
            assert reader.placement(i) is None
        else:
            np.testing.assert_array_equal(reader.placement(i), contents.placements[i])
    shared, each = reader.layout()
    assert len(each) == reader.mesh_count
    assert shared + sum(each) == len(stream)


@pytest.fixture(scope="module")
def contents():
    return golden_set(TINY, 5, placed=False)


@pytest.fixture(params=CODERS)
def coder(request):
    return request.param


# --- Golden streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN_SETS)
def test_golden_streams_are_written_again_byte_for_byte(name):
    assert write(*GOLDEN_SETS[name]) == (GOLDEN / f"{name}.necgs").read_bytes()


@pytest.mark.parametrize("name", GOLDEN_SETS)
def test_golden_streams_are_read(name):
    contents, coder = GOLDEN_SETS[name]
    stream = (GOLDEN / f"{name}.necgs").read_bytes()
    assert Reader(stream).coder == coder
    assert_holds(stream, contents)


def test_the_header_by_hand():
    stream = (GOLDEN / "huffman.necgs").read_bytes()
    decoder_bytes = struct.unpack_from("<H", stream, 16)[0]
    assert stream[:9] == b"NCGS\x01" + bytes([1 | 2, 5 << 4 | 2, 8, 3 - 1])
    assert struct.unpack_from("<3HB", stream, 9) == (2, 2, 2, 3)
    start = 22
    decoder = stream[start : start + ((decoder_bytes & 127) | (decoder_bytes >> 8) << 7)]
    assert struct.unpack_from("<I", stream, 18)[0] == zlib.crc32(stream[:18])
    assert struct.unpack_from("<I", stream, start + len(decoder))[0] == zlib.crc32(decoder)


def test_another_process_reads_it_without_torch():
    code = (
        "import sys; from gcbench.necgs.bitstream import Reader; r = Reader(open(sys.argv[1], 'rb').read());"
        "assert r.parameters() and r.features(2).shape == (3, 4, 4, 4); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, GOLDEN / "range.necgs"], check=True, env=os.environ)


# --- Round trips ---------------------------------------------------------------------------------------------------


@st.composite
def architectures(draw):
    side = draw(st.sampled_from([1, 2, 4, 8, 16]))
    doublings = {1: 5, 2: 4, 4: 3, 8: 2, 16: 1}[side]
    return Architecture(
        resolution=32,
        widths=tuple(draw(st.lists(st.integers(1, 3), min_size=doublings, max_size=doublings))),
        feature_resolution=side,
        feature_channels=draw(st.integers(1, 4)),
        bits=draw(st.integers(2, 12)),
        deformation=draw(st.booleans()),
    )


def draw_symbols(rng, shape, levels):
    kind = rng.integers(4)
    if kind == 0:
        return np.full(shape, rng.integers(levels), np.int16)
    if kind == 1:
        return (rng.integers(2, size=shape) * (levels - 1)).astype(np.int16)
    if kind == 2:
        return rng.integers(levels, size=shape).astype(np.int16)
    spread = levels ** rng.uniform(-0.5, 1)
    return np.clip(np.rint(rng.laplace(rng.integers(levels), spread, shape)), 0, levels - 1).astype(np.int16)


@settings(max_examples=60, deadline=None)
@given(architectures(), st.integers(1, 4), st.booleans(), st.sampled_from(CODERS), st.integers(0, 2**32 - 1))
def test_round_trip(architecture, meshes, placed, coder, seed):
    rng = np.random.default_rng(seed)
    levels = architecture.levels
    contents = Contents(
        architecture,
        {name: draw_symbols(rng, shape, levels) for name, shape in architecture.parameter_shapes().items()},
        draw_symbols(rng, (meshes, *architecture.feature_shape), levels),
        np.exp(rng.normal(size=(meshes, 4))).astype(np.float32) if placed else None,
    )
    assert_holds(write(contents, coder), contents)


def test_three_hundred_meshes(coder):
    contents = golden_set(TINY, 300, placed=True)
    stream = write(contents, coder)
    assert_holds(stream, contents)
    _, each = Reader(stream).layout()
    assert max(each) < 1.1 * min(each)


def test_the_same_set_gives_the_same_stream(contents, coder):
    assert write(contents, coder) == write(contents, coder)


# --- Sizes ---------------------------------------------------------------------------------------------------------


def realistic(meshes=40):
    """A decoder of 400 000 parameters whose scales differ by output channel, and features as they start."""
    architecture = Architecture(resolution=64, widths=(32, 24, 16, 12))
    rng = np.random.default_rng(0)
    parameters = {}
    for name, shape in architecture.parameter_shapes().items():
        scales = np.exp2(rng.normal(2, 0.3, (shape[0], *[1] * (len(shape) - 1))))
        parameters[name] = np.clip(np.rint(rng.normal(128, scales, shape)), 0, 256).astype(np.int16)
    features = np.clip(np.rint(rng.normal(128, 128 / 3, (meshes, *architecture.feature_shape))), 0, 256)
    return Contents(architecture, parameters, features.astype(np.int16))


def test_range_coding_a_realistic_set_is_below_the_zero_order_entropy():
    contents = realistic()
    stream = write(contents)
    shares = {share.name: share for share in Reader(stream).report()}
    entropy = sum(share.entropy_bytes for share in shares.values())
    assert len(stream) < 0.995 * entropy
    assert len(write(contents, "huffman")) < 1.02 * entropy
    assert shares["features"].gap < 0.002
    assert -0.05 < shares["upsampling.1.weight"].gap < -0.005
    shared, each = Reader(stream).layout()
    framing = len(stream) - sum(share.coded_bytes for share in shares.values() if share.name != "framing")
    assert framing == pytest.approx(shares["framing"].coded_bytes)
    assert framing < 40 * (6 + 4 + 4) + 40  # a mesh: size, checksum, and what fills its last word
    assert shared < 0.99 * len(stream)
    assert max(each) < 1000


def test_the_report_tells_what_the_other_coder_takes(contents):
    reports = {coder: Reader(write(contents, coder)).report() for coder in CODERS}
    for mine, other in zip(reports["range"], reports["huffman"], strict=True):
        assert mine.name == other.name
        assert mine.symbols == other.symbols
        assert mine.entropy_bytes == pytest.approx(other.entropy_bytes)
        if mine.name != "framing":
            assert mine.other_bytes == pytest.approx(other.coded_bytes)
            assert mine.coded_bytes == pytest.approx(other.other_bytes)
    for coder in CODERS:
        assert sum(share.coded_bytes for share in reports[coder]) == pytest.approx(len(write(contents, coder)))


# --- One mesh without the others -----------------------------------------------------------------------------------


def test_a_mesh_is_read_though_all_others_are_destroyed(contents, coder):
    stream = write(contents, coder)
    shared, each = Reader(stream).layout()
    broken = bytearray(stream)
    at = shared
    for i, size in enumerate(each):
        if i != 2:
            broken[at + size - 20 : at + size] = bytes(20)
        at += size
    reader = Reader(bytes(broken))
    np.testing.assert_array_equal(reader.features(2), contents.features[2])
    for i in (0, 1, 3, 4):
        with pytest.raises(BitstreamError, match=f"mesh {i}"):
            reader.features(i)
        with pytest.raises(BitstreamError, match=f"mesh {i}"):
            reader.placement(i)


@pytest.mark.parametrize("i", [-1, 5])
def test_there_is_no_such_mesh(contents, i):
    reader = Reader(write(contents))
    with pytest.raises(IndexError):
        reader.features(i)
    with pytest.raises(IndexError):
        reader.placement(i)


# --- Growth --------------------------------------------------------------------------------------------------------


def test_append_keeps_decoder_and_old_blocks(contents, coder):
    stream = write(contents, coder)
    rng = np.random.default_rng(1)
    new = rng.integers(257, size=(130, *TINY.feature_shape)).astype(np.int16)  # not at all as the old ones
    new[0], new[1] = 0, 256
    longer = append(stream, new)
    old_reader, reader = Reader(stream), Reader(longer)
    assert reader.header_bytes == old_reader.header_bytes + 1  # the number of meshes takes two bytes now
    rest = stream[old_reader.header_bytes :]
    assert longer[reader.header_bytes : reader.header_bytes + len(rest)] == rest
    assert_holds(longer, replace(contents, features=np.concatenate([contents.features, new])))


def test_append_in_turns_is_append_at_once(contents, coder):
    first = write(replace(contents, features=contents.features[:1]), coder)
    in_turns = first
    for features in contents.features[1:]:
        in_turns = append(in_turns, features[None])
    assert in_turns == append(first, contents.features[1:])


def test_placed_and_unplaced_meshes_in_one_stream(contents):
    stream = append(write(contents), contents.features[:2], np.float32([[1, 2, 3, 4], [5, 6, 7, 8]]))
    reader = Reader(append(stream, contents.features[:1]))
    places = [reader.placement(i) for i in range(8)]
    assert [place is None for place in places] == [True] * 5 + [False] * 2 + [True]
    assert places[6].tolist() == [5, 6, 7, 8]
    assert len(stream) - len(append(write(contents), contents.features[:2])) == 32


# --- What a reader refuses -----------------------------------------------------------------------------------------


def sealed(header):
    return header + struct.pack("<I", zlib.crc32(header))


def test_every_flipped_bit_is_noticed(contents, coder):
    stream = write(replace(contents, features=contents.features[:2]), coder)

    def read(data):
        reader = Reader(data)
        return [reader.features(i) for i in range(reader.mesh_count)]

    assert len(read(stream)) == 2
    for bit in range(0, 8 * len(stream), 5):
        broken = bytearray(stream)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            read(bytes(broken))


def test_every_truncation_is_noticed(contents):
    stream = write(contents)
    for length in range(len(stream)):
        with pytest.raises(BitstreamError):
            Reader(stream[:length])


def test_swapped_blocks_and_blocks_of_another_set_are_noticed(contents):
    stream = write(contents)
    shared, each = Reader(stream).layout()
    first, second = stream[shared : shared + each[0]], stream[shared + each[0] : shared + each[0] + each[1]]
    rest = stream[shared + each[0] + each[1] :]
    with pytest.raises(BitstreamError, match="mesh 0"):
        Reader(stream[:shared] + second + first + rest).features(0)
    foreign = write(replace(contents, parameters={**contents.parameters, "last.bias": np.zeros(4, np.int16)}))
    foreign_shared, _ = Reader(foreign).layout()
    with pytest.raises(BitstreamError, match="mesh 0"):
        Reader(stream[:shared] + foreign[foreign_shared:]).features(0)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"OBJ file", "no NeCGS"),
        (b"", "no NeCGS"),
        (b"NCGS", "cut short"),
        (b"NCGS\x02\x00\x52\x08\x02", "version 2"),
        (b"NCGS\x01\x04\x52\x08\x02", "flags"),
        (sealed(b"NCGS\x01\x02\x92\x08\x02" + b"\x01\x00" * 7 + b"\x01\x01"), "no decoder"),  # K = 512
        (sealed(b"NCGS\x01\x02\x25\x08\x02\x01\x01"), "no decoder"),  # K' above K
        (sealed(b"NCGS\x01\x02\x52\x0d\x02" + b"\x01\x00" * 3 + b"\x01\x01"), "no decoder"),  # 13 bits
        (sealed(b"NCGS\x01\x02\x52\x08\x02" + b"\x00\x00" * 3 + b"\x01\x01"), "no decoder"),  # width 0
        (sealed(b"NCGS\x01\x02\x52\x08\xff" + b"\x00\x02" * 3 + b"\x01\x01"), f"at most {MAX_PARAMETERS}"),
        (sealed(b"NCGS\x01\x02\x52\x08\x02" + b"\x01\x00" * 3 + b"\x00\x01"), "no mesh"),
        (sealed(b"NCGS\x01\x02\x52\x08\x02" + b"\x01\x00" * 3 + b"\xff\xff\xff\xff\x7f\x01"), "too many"),
        (sealed(b"NCGS\x01\x02\x52\x08\x02" + b"\x01\x00" * 3 + b"\xff\xff\xff\xff\xff\x01\x01"), "out of bounds"),
        (sealed(b"NCGS\x01\x02\x52\x08\x02" + b"\x01\x00" * 3 + b"\x81\x00\x01"), "shortest"),
        (sealed(b"NCGS\x01\x02\x52\x08\x02" + b"\x01\x00" * 3 + b"\x01\x7f") + bytes(99), "cut short"),
    ],
)
def test_headers_that_cannot_be(header, words):
    with pytest.raises(BitstreamError, match=words):
        Reader(header)


def test_bytes_behind_the_last_mesh_are_refused(contents):
    with pytest.raises(BitstreamError, match="2 bytes follow"):
        Reader(write(contents) + b"\0\0")


@pytest.mark.parametrize("place", [(0, 0, 0, 0), (0, 0, 0, -1), (float("nan"), 0, 0, 1), (0, 0, 0, float("inf"))])
def test_placements_that_cannot_be(contents, place):
    with pytest.raises(ValueError, match="placement"):
        append(write(contents), contents.features[:1], np.float32([place]))
    reader = Reader(write(contents))
    forged = struct.pack("<4f", *place)
    checksum = zlib.crc32(forged, zlib.crc32(struct.pack("<I", 0), reader.decoder_checksum))
    shared, _ = reader.layout()
    header = replace(reader.header, mesh_count=1).pack()
    decoder = write(contents)[reader.header_bytes : shared]
    with pytest.raises(BitstreamError, match="placed at"):
        Reader(header + decoder + b"\x01" + struct.pack("<I", checksum) + forged).placement(0)


# --- What a writer refuses -----------------------------------------------------------------------------------------


def test_contents_that_do_not_fit(contents, coder):
    features = contents.features
    bad = [
        replace(contents, features=features[:0]),
        replace(contents, features=features[:, :2]),
        replace(contents, features=features.astype(np.int32)),
        replace(contents, features=features + np.int16(200)),
        replace(contents, features=-features),
        replace(contents, parameters={}),
        replace(contents, parameters=dict(reversed(contents.parameters.items()))),
        replace(contents, parameters={**contents.parameters, "last.bias": np.zeros(3, np.int16)}),
        replace(contents, parameters={**contents.parameters, "last.bias": np.full(4, 257, np.int16)}),
        replace(contents, placements=np.ones((4, 4), np.float32)),
    ]
    for wrong in bad:
        with pytest.raises(ValueError, match=r"parameters|features|mesh|last.bias|placement"):
            write(wrong, coder)
    with pytest.raises(ValueError, match="mesh"):
        append(write(contents, coder), features[:0])
    with pytest.raises(ValueError, match="features"):
        append(write(contents, coder), features[:, :1])
