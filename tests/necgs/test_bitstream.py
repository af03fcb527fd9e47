"""The stream of NeCGS: golden bytes, round trips, access to one mesh, growth, and what a reader refuses."""

import hashlib
import os
import struct
import subprocess
import sys
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.entropy import blocks
from gcbench.entropy.container import Writer
from gcbench.errors import BitstreamError
from gcbench.necgs import designs
from gcbench.necgs.bitstream import CONTAINER, Contents, Reader, append, write
from gcbench.necgs.designs.base import Parameters
from gcbench.necgs.designs.convolution import Convolution
from gcbench.necgs.designs.latent_mlp import LatentMlp

CODERS = ["range", "huffman"]

TINY = Convolution(resolution=32, widths=(2, 2, 2), feature_channels=3)
TWELVE_BITS = Convolution(
    resolution=32, widths=(1, 2, 1, 2, 1), feature_resolution=1, feature_channels=20, bits=12, deformation=False
)
MLP = LatentMlp(resolution=32, width=5, latent=3)


def noise(name, shape, unit=1.0):
    """Sums of four bytes of a hash, about Gaussian: mean 0, standard deviation 147 units; the same for ever."""
    data = hashlib.shake_128(name.encode()).digest(4 * prod(shape))
    return (np.frombuffer(data, np.uint8).reshape(*shape, 4).astype(np.int64).sum(axis=-1) - 510) * unit


def golden_set(design, meshes, *, placed):
    def symbols(values, kind):
        return np.clip(np.floor(values) + kind.levels // 2, 0, kind.levels - 1).astype(np.int16)

    tensors = {}
    for i, (name, kind) in enumerate(design.tensors().items()):
        middle = kind.levels // 2
        values = noise(name, kind.shape, middle / 4096)
        if i == 0:  # the scale of a row is a power of two: a bell with factors
            values = values * (2.0 ** (np.arange(kind.shape[0]) % 4)).reshape(-1, *[1] * (len(kind.shape) - 1)) / 2
        if i == 2:  # two values: a histogram
            values = np.where(values > 0, middle, -middle // 2)
        if i == 3:  # one value
            values = values * 0
        tensors[name] = symbols(values, kind)
    kind = design.features()
    features = symbols(noise("features", (meshes, *kind.shape), kind.levels // 2 / 512), kind)
    parameters = Parameters(tensors, 2.0 ** np.arange(design.scale_count, dtype=np.float32) / 128)
    if not placed:
        return Contents(design, parameters, features)
    placements = noise("placements", (meshes, 4), 0.5).astype(np.float32)
    placements[:, 3] = np.abs(placements[:, 3]) + 1
    return Contents(design, parameters, features, placements)


# What `write(*GOLDEN_SETS[name])` gave once: length and SHA-256. They change with the format's version alone.
GOLDEN_SETS = {
    "range": (golden_set(TINY, 3, placed=True), "range"),
    "huffman": (golden_set(TINY, 3, placed=True), "huffman"),
    "range-12-bits": (golden_set(TWELVE_BITS, 2, placed=False), "range"),
    "huffman-12-bits": (golden_set(TWELVE_BITS, 2, placed=False), "huffman"),
    "latent_mlp": (golden_set(MLP, 4, placed=False), "range"),
    "latent_mlp-huffman": (golden_set(MLP, 4, placed=True), "huffman"),
}
GOLDEN = {
    "range": (2162, "0e4411f5ccc61472"),
    "huffman": (2375, "3c01958129d3d8c6"),
    "range-12-bits": (6371, "a1aabb7385fa8d41"),
    "huffman-12-bits": (8706, "a9b75ec76ec4c17f"),
    "latent_mlp": (346, "9c8da0fbc47d17cf"),
    "latent_mlp-huffman": (508, "7fef006f7b0ac44c"),
}


def assert_holds(stream, contents):
    reader = Reader(stream)
    assert reader.design == contents.design
    parameters = reader.parameters()
    assert list(parameters.tensors) == list(contents.design.tensors())
    for name, symbols in contents.parameters.tensors.items():
        assert parameters.tensors[name].dtype == np.int16
        np.testing.assert_array_equal(parameters.tensors[name], symbols)
    np.testing.assert_array_equal(parameters.scales, contents.parameters.scales)
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


@pytest.fixture(scope="module", params=[TINY, MLP], ids=["convolution", "latent_mlp"])
def contents(request):
    return golden_set(request.param, 5, placed=False)


@pytest.fixture(params=CODERS)
def coder(request):
    return request.param


# --- Golden streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN_SETS)
def test_golden_streams_are_written_again_byte_for_byte(name):
    stream = write(*GOLDEN_SETS[name])
    assert (len(stream), hashlib.sha256(stream).hexdigest()[:16]) == GOLDEN[name]
    assert Reader(stream).coder == GOLDEN_SETS[name][1]
    assert_holds(stream, GOLDEN_SETS[name][0])


def test_the_head_by_hand():
    """Coder, design's tag, then of the convolution: K, K', C - 1, N, deformation, widths; of the MLP also the steps."""
    stream = write(*GOLDEN_SETS["huffman"])
    assert stream[:4] == b"NCG\x01"
    assert bytes(blocks.Blocks(CONTAINER, stream).head().raw("", 10)) == bytes([1, 1, 0, 2, 2, 8, 1, 2, 2, 2])
    stream = write(*GOLDEN_SETS["latent_mlp"])
    head = blocks.Blocks(CONTAINER, stream).head()
    assert bytes(head.raw("", 7)) == bytes([0, 2, 0, 5, 3, 0, 8])
    np.testing.assert_array_equal(head.floats("", 16), 2.0 ** np.arange(16) / 128)


def test_another_process_reads_it_without_torch(tmp_path):
    (tmp_path / "stream").write_bytes(write(*GOLDEN_SETS["range"]))
    code = (
        "import sys; from gcbench.necgs.bitstream import Reader; r = Reader(open(sys.argv[1], 'rb').read());"
        "assert r.parameters() and r.features(2).shape == (3, 4, 4, 4); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "stream"], check=True, env=os.environ)


# --- Round trips ---------------------------------------------------------------------------------------------------


@st.composite
def any_design(draw):
    if draw(st.booleans()):
        numbers = [draw(st.integers(*bounds)) for bounds in ((1, 6), (1, 5), (0, 3), (4, 12))]
        return LatentMlp(draw(st.sampled_from([32, 256])), *numbers)
    side = draw(st.sampled_from([1, 2, 4, 8, 16]))
    doublings = {1: 5, 2: 4, 4: 3, 8: 2, 16: 1}[side]
    return Convolution(
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


@settings(max_examples=12, deadline=None)
@given(any_design(), st.integers(1, 4), st.booleans(), st.sampled_from(CODERS), st.integers(0, 2**32 - 1))
def test_round_trip(design, meshes, placed, coder, seed):
    rng = np.random.default_rng(seed)
    tensors = {name: draw_symbols(rng, kind.shape, kind.levels) for name, kind in design.tensors().items()}
    kind = design.features()
    contents = Contents(
        design,
        Parameters(tensors, rng.normal(size=design.scale_count).astype(np.float32)),
        draw_symbols(rng, (meshes, *kind.shape), kind.levels),
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
    design = Convolution(resolution=64, widths=(32, 24, 16, 12))
    rng = np.random.default_rng(0)
    tensors = {}
    for name, kind in design.tensors().items():
        scales = np.exp2(rng.normal(2, 0.3, (kind.shape[0], *[1] * (len(kind.shape) - 1))))
        tensors[name] = np.clip(np.rint(rng.normal(128, scales, kind.shape)), 0, 256).astype(np.int16)
    features = np.clip(np.rint(rng.normal(128, 128 / 3, (meshes, *design.feature_shape))), 0, 256)
    return Contents(design, Parameters(tensors), features.astype(np.int16))


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
    assert framing < 40 * (7 + 4 + 4) + 40  # a mesh: size, checksum, flag, and what fills its last word
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
            broken[at + size - 4 : at + size] = bytes(4)
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


def test_append_keeps_head_and_old_blocks(contents, coder):
    stream = write(contents, coder)
    rng = np.random.default_rng(1)
    new = rng.integers(257, size=(130, *contents.features.shape[1:])).astype(np.int16)  # not at all as the old ones
    new[0], new[1] = 0, 256
    longer = append(stream, new)
    shared, each = Reader(stream).layout()
    longer_shared, longer_each = Reader(longer).layout()
    assert longer_shared == shared + 1  # the number of meshes takes two bytes now
    assert longer_each[:5] == each
    assert longer[: shared - 1] == stream[: shared - 1]
    assert longer[longer_shared : longer_shared + sum(each)] == stream[shared:]
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


def sealed(head, *bodies):
    return blocks.pack(CONTAINER, head, bodies or [b""])


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
    name, symbols = next(iter(contents.parameters.tensors.items()))
    tensors = {**contents.parameters.tensors, name: np.zeros_like(symbols)}
    foreign = write(replace(contents, parameters=replace(contents.parameters, tensors=tensors)))
    foreign_shared, _ = Reader(foreign).layout()
    with pytest.raises(BitstreamError, match="mesh 0"):
        Reader(stream[:shared] + foreign[foreign_shared:]).features(0)


CONVOLUTION = bytes([0, 1, 0, 2, 2, 8, 1, 2, 2, 2])


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"", "too short"),
        (b"OBJ file, long enough", "not a stream of necgs"),
        (b"NCG\x02" + bytes(20), "version 2"),
        (sealed(b""), "entropy coder"),
        (sealed(b"\x02" + CONVOLUTION[1:]), "entropy coder"),
        (sealed(b"\x00\x09" + CONVOLUTION[2:]), "tag 9"),
        (sealed(b"\x00\x01\x04" + CONVOLUTION[3:]), "resolution"),
        (sealed(b"\x00\x01\x00\x05" + CONVOLUTION[4:]), "feature resolution"),
        (sealed(CONVOLUTION[:5] + b"\x0d" + CONVOLUTION[6:]), "bits"),
        (sealed(CONVOLUTION[:6] + b"\x02" + CONVOLUTION[7:]), "deformation"),
        (sealed(CONVOLUTION[:9] + b"\x00"), "width"),
        (sealed(CONVOLUTION[:9] + b"\x81\x04"), "width"),
        (sealed(CONVOLUTION[:9] + b"\x80\x00"), "shortest"),
        (sealed(CONVOLUTION[:9]), "ends in its width"),
        (sealed(b"\x00\x01\x00\x02\xff\x08\x01\x80\x04\x80\x04\x80\x04"), "parameters; the limit"),
        (sealed(b"\x00\x02\x00\x05\x03\x00\x08" + bytes(63)), "scales"),
        (sealed(b"\x00\x02\x00\x05\x03\x00\x08" + struct.pack("<16f", *[float("nan")] * 16)), "not finite"),
        (sealed(b"\x00\x02\x00\x05\x03\x00\x08" + struct.pack("<16f", *[-2e6] * 16)), "scale of the parameters"),
        (sealed(b"\x00\x02\x00\x00\x03\x00\x08"), "width is 0"),
        (sealed(b"\x00\x02\x00\x05\x81\x02\x00\x08"), "latent is 257"),
        (sealed(b"\x00\x02\x00\x05\x03\x09\x08"), "octaves is 9"),
        (sealed(b"\x00\x02\x00\x05\x03\x00\x03"), "bits is 3"),
    ],
)
def test_heads_that_cannot_be(stream, words):
    with pytest.raises(BitstreamError, match=words):
        Reader(stream)


def test_more_feature_symbols_than_the_bytes_justify():
    head = bytes([0, 1, 0, 4, 255, 8, 1, 1])  # a feature of 256 × 16³ symbols
    Reader(sealed(head, b""))
    with pytest.raises(BitstreamError, match="2097152 feature symbols; the limit"):
        Reader(sealed(head, b"", b""))
    Reader(sealed(head, bytes(2048), bytes(2048)))


def test_bytes_behind_the_last_mesh_are_refused(contents):
    with pytest.raises(BitstreamError, match="2 bytes follow"):
        Reader(write(contents) + b"\0\0")


@pytest.mark.parametrize("place", [(0, 0, 0, 0), (0, 0, 0, -1), (float("nan"), 0, 0, 1), (0, 0, 0, float("inf"))])
def test_placements_that_cannot_be(contents, place):
    stream = write(contents)
    with pytest.raises(ValueError, match="placement"):
        append(stream, contents.features[:1], np.float32([place]))
    forged = Reader(stream).blocks.with_added([Writer().byte(1).floats(place).data()])
    with pytest.raises(BitstreamError, match=r"placed at|not finite"):
        Reader(forged).placement(5)


def test_a_flag_that_cannot_be(contents):
    forged = Reader(write(contents)).blocks.with_added([b"\x02"])
    with pytest.raises(BitstreamError, match="flag of mesh 5"):
        Reader(forged).features(5)


def test_designs_have_tags_of_their_own():
    tags = {design.tag for design in designs.DESIGNS.values()}
    assert tags == {1, 2, 3}, "a tag stands for its design for ever"


# --- What a writer refuses -----------------------------------------------------------------------------------------


def test_contents_that_do_not_fit(contents, coder):
    features, parameters = contents.features, contents.parameters
    tensors = parameters.tensors
    last, symbols = list(tensors.items())[-1]

    def changed(**changes):
        return replace(contents, parameters=replace(parameters, **changes))

    bad = [
        replace(contents, features=features[:0]),
        replace(contents, features=features[:, :2]),
        replace(contents, features=features.astype(np.int32)),
        replace(contents, features=features + np.int16(200)),
        replace(contents, features=-features),
        changed(tensors={}),
        changed(tensors=dict(reversed(tensors.items()))),
        changed(tensors={**tensors, last: symbols[:0]}),
        changed(tensors={**tensors, last: np.full_like(symbols, 257)}),
        changed(scales=np.ones(5, np.float32)),
        replace(contents, placements=np.ones((4, 4), np.float32)),
    ]
    if len(parameters.scales):
        bad.append(changed(scales=parameters.scales * np.float32(np.nan)))
    for wrong in bad:
        with pytest.raises(ValueError, match=r"parameters|features|mesh|bias|placement|scales"):
            write(wrong, coder)
    with pytest.raises(ValueError, match="mesh"):
        append(write(contents, coder), features[:0])
    with pytest.raises(ValueError, match="features"):
        append(write(contents, coder), features[:, :1])
