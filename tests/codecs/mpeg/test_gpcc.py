"""G-PCC: its command lines and ladders, where points are decoded to, and the real tmc3 where it is."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from gcbench.codecs import CODECS, Rate
from gcbench.codecs.base import EFFORTS
from gcbench.codecs.mpeg import gpcc
from gcbench.codecs.mpeg.gpcc import GpccOctree, GpccTrisoup, centres
from gcbench.entropy.container import HEADER_BYTES
from gcbench.errors import BitstreamError, CodecFailed, CodecUnavailable, UsageError

# What tmc3 does with an octree, as far as points go: x → round(x S) / S without duplicates, as float64.
TMC3 = """
import array, struct
def read(path):
    head, body = Path(path).read_bytes().split(b"end_header\\n", 1)
    assert head == ("ply\\nformat binary_little_endian 1.0\\nelement vertex %d\\n" % (len(body) // 12)
        + "".join("property float %s\\n" % n for n in "xyz")).encode(), head
    return list(struct.iter_unpack("<fff", body))
if option("mode") == "0":
    scale = float(option("positionQuantizationScale"))
    points = sorted({tuple(int(x * scale + 0.5) / scale for x in p) for p in read(option("uncompressedDataPath"))})
    stream = struct.pack("<I", len(points)) + b"".join(struct.pack("<ddd", *p) for p in points)
    Path(option("compressedStreamPath")).write_bytes(stream)
else:
    stream = Path(option("compressedStreamPath")).read_bytes()
    count, = struct.unpack_from("<I", stream)
    if len(stream) != 4 + 24 * count: os.kill(os.getpid(), signal.SIGSEGV)
    head = "ply\\nformat binary_little_endian 1.0\\nelement vertex %d\\n" % count
    head += "".join("property float64 %s\\n" % n for n in "xyz")
    head += "element face 0\\nproperty list uint8 int32 vertex_index\\nend_header\\n"
    Path(option("reconstructedDataPath")).write_bytes(head.encode() + stream[4:])
"""
ENCODE = ["--mode=0", "--uncompressedDataPath=in.ply", "--compressedStreamPath=out.bin"]
DECODE = ["--mode=1", "--compressedStreamPath=in.bin", "--reconstructedDataPath=out.ply", "--outputBinaryPly=1"]


@pytest.fixture
def tmc3(stand_ins, monkeypatch):
    """Put a stand-in for tmc3."""

    def put(body: str = TMC3):
        monkeypatch.setenv("GCBENCH_TMC3", str(stand_ins.put("tmc3", body)))
        return stand_ins

    return put


@pytest.fixture(params=[GpccOctree, GpccTrisoup], ids=lambda cls: cls.name)
def codec(request):
    return request.param()


def voxels(rng, count=200, bits=10) -> np.ndarray:
    return np.unique(rng.integers(0, 2**bits, (count, 3), dtype=np.int32), axis=0)


# Command lines


OCTREE = (
    "--trisoupNodeSizeLog2=0 --mergeDuplicatedPoints=1 --neighbourAvailBoundaryLog2=8 "
    "--intra_pred_max_node_size_log2=6 --maxNumQtBtBeforeOt=4 --minQtbtSizeLog2=0 --planarEnabled=0 "
    "--planarModeIdcmUse=0 --positionQuantizationScale={}"
)
TRISOUP = (
    "--sliceMaxPointsTrisoup=1100000 --sliceMaxPoints=1000000 --sliceMinPoints=449000 --neighbourAvailBoundaryLog2=8 "
    "--intra_pred_max_node_size_log2=6 --inferredDirectCodingMode=0 --planarEnabled=0 --planarModeIdcmUse=0 "
    "--positionQuantizationScale={} --trisoupNodeSizeLog2={} --trisoupQuantizationBits=2 "
    "--trisoupCentroidResidualEnabled={} --trisoupFaceVertexEnabled={} --trisoupFineRayTracingEnabled=0 "
    "--trisoupImprovedEncoderEnabled=1"
)
CTC_SCALES = {
    10: "0.125 0.25 0.5 0.75 0.875 0.9375",
    11: "0.0625 0.125 0.25 0.5 0.75 0.875",
    12: "0.03125 0.0625 0.125 0.25 0.5 0.75",
}


@pytest.mark.parametrize("bits", CTC_SCALES)
def test_octree_command_lines(bits, tmc3, rng, ctx):
    calls = tmc3()
    codec = GpccOctree(bits=bits)
    for rate, scale in zip(codec.rates("paper"), CTC_SCALES[bits].split(), strict=True):
        codec.decode_points(codec.encode_points(voxels(rng), bits, rate, ctx), bits, ctx)
        encode, decode = calls.called()[-2:]
        assert encode[:3] == ENCODE
        assert sorted(encode[3:]) == sorted(OCTREE.format(scale).split())
        assert decode == DECODE
    grid = "" if bits == 10 else f"b{bits}"
    assert [rate.label for rate in codec.rates("paper")] == [f"{grid}r{i:02d}" for i in range(1, 7)]


@pytest.mark.parametrize(
    ("label", "scale", "node", "centroids"),
    [
        ("n6", "1", 6, 1),
        ("n5s0.5", "0.5", 5, 1),
        ("n4s0.5", "0.5", 4, 1),
        ("r01", "1", 5, 1),
        ("n3s0.5", "0.5", 3, 1),
        ("r02", "1", 4, 1),
        ("r03", "1", 3, 1),
        ("r04", "1", 2, 0),
    ],
)
def test_trisoup_command_lines(label, scale, node, centroids, tmc3, rng, ctx):
    calls = tmc3()
    codec = GpccTrisoup()
    (rate,) = [rate for rate in codec.rates("paper") if rate.label == label]
    codec.encode_points(voxels(rng), 10, rate, ctx)
    assert calls.called()[0][:3] == ENCODE
    assert sorted(calls.called()[0][3:]) == sorted(TRISOUP.format(scale, node, centroids, centroids).split())


def test_lossless_command_line(tmc3, rng, ctx):
    calls = tmc3()
    points = voxels(rng)
    decoded = gpcc.decode_points(gpcc.encode_lossless(points, ctx), ctx)
    np.testing.assert_array_equal(decoded, points)
    options = OCTREE.format(1).replace("mergeDuplicatedPoints=1", "mergeDuplicatedPoints=0").split()
    assert sorted(calls.called()[0][3:]) == sorted([*options, "--inferredDirectCodingMode=1"])


# Ladders and facts


def test_ladders(codec):
    ladders = {effort: list(codec.rates(effort)) for effort in EFFORTS}
    assert all(rate in ladders["paper"] for effort in EFFORTS for rate in ladders[effort])
    assert [rate.label for rate in ladders["quick"]] == ["r01", "r02", "r03", "r04"]
    assert ladders["standard"] == ladders["paper"]
    for rate in ladders["paper"]:
        assert rate.params["bits"] == 10
        assert (32 * rate.params["scale"]).is_integer(), "it goes into one byte"


@pytest.mark.parametrize("cls", [GpccOctree, GpccTrisoup])
def test_bits_are_a_parameter(cls):
    assert {rate.params["bits"] for rate in cls(bits=12).rates("paper")} == {12}
    with pytest.raises(UsageError, match=r"gpcc-\w+\[bits=9\]: possible are 10, 11, 12"):
        cls(bits=9)
    first = CODECS.create(f"{cls.name}[bits=11]").rates("quick")[0]
    assert (first.label, first.params["bits"]) == ("b11r01", 11)


@pytest.mark.long
def test_version_has_that_of_tmc3_and_its_hash(codec, tmc3):
    tmc3()
    assert codec.availability().ok
    installed = gpcc.TMC3.find()
    tmc3_version = f"tmc3-release-v23.0-rc2-0-ga3d15c5-{installed.sha256[:12]}"
    assert re.fullmatch(rf"2\+[0-9a-f]{{8}}(\+\w+-[\d.]+){{2}}\+{re.escape(tmc3_version)}", codec.version())
    codec.prepare()


def test_without_tmc3(codec, monkeypatch, ctx):
    monkeypatch.setenv("PATH", "")
    assert codec.version().endswith("+tmc3-missing")
    assert codec.availability().reason == "tmc3 is not on PATH and GCBENCH_TMC3 is not set"
    with pytest.raises(CodecUnavailable):
        codec.prepare()
    with pytest.raises(CodecUnavailable):
        codec.encode_points(np.ones((1, 3), np.int32), 10, codec.rates("quick")[0], ctx)


# Where points are decoded to


def test_centres_in_closed_form():
    assert centres(np.arange(4.0), 1.0).tolist() == [0.5, 1.5, 2.5, 3.5]
    assert centres(np.arange(3.0) * 8, 0.125).tolist() == [0.0, 8.0, 16.0]  # −4 … 3, 4 … 11, 12 … 19
    assert centres(np.arange(4) / 0.75, 0.75).tolist() == [0.5, 1.5, 3.0, 4.5]  # 0; 1; 2 and 3; 4


@pytest.mark.parametrize("scale", sorted({float(s) for line in CTC_SCALES.values() for s in line.split()}))
def test_decoded_points_are_the_centres_of_the_voxels_that_became_them(scale, tmc3, ctx):
    tmc3()
    # The voxels of the first and the last position may be there in part: the decoder knows positions, not voxels.
    x = np.arange(64, 192, dtype=np.int32)
    points = np.stack([x, np.full_like(x, 100), x[::-1]], axis=1)
    decoded = GpccOctree().decode_points(
        GpccOctree().encode_points(points, 10, Rate("r", {"scale": scale}), ctx), 10, ctx
    )
    every = np.arange(0, 256)
    coded = np.floor(every * scale + 0.5)
    centre = {int(k): np.mean(every[coded == k] + 0.5) for k in np.unique(coded)}
    expected = [centre[int(k)] for k in np.unique(np.floor(x * scale + 0.5))]
    np.testing.assert_allclose(np.unique(np.round(decoded[:, 0], 9)), expected, atol=1e-9)


def test_triangle_soup_is_offset_like_the_octree(tmc3, ctx):
    tmc3()
    codec = GpccTrisoup()
    points = np.array([[0, 2, 1022]], np.int32)
    for rate in codec.rates("paper"):
        decoded = codec.decode_points(codec.encode_points(points, 10, rate, ctx), 10, ctx)
        np.testing.assert_array_equal(decoded, points + {1.0: 0.5, 0.5: 0.0}[rate.params["scale"]])


# Failures


@pytest.mark.parametrize("points", [np.zeros((0, 3), np.int32), np.array([[0, 0, -1]], np.int32)])
def test_clouds_that_tmc3_mishandles_are_not_given_to_it(codec, points, tmc3, ctx):
    calls = tmc3()
    with pytest.raises(CodecFailed):
        codec.encode_points(points, 10, codec.rates("quick")[0], ctx)
    assert calls.called() == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('missing coordinates!'); Path('out.bin').touch(); sys.exit(255)", "exit code 255: missing coordinates"),
        ("Path('out.bin').touch()", "wrote an empty out.bin"),
        ("pass", "wrote no out.bin"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "tmc3 died of SIGSEGV"),
    ],
)
def test_failures_of_the_encoder(codec, body, message, tmc3, ctx):
    tmc3(body)
    with pytest.raises(CodecFailed, match=message):
        codec.encode_points(np.ones((1, 3), np.int32), 10, codec.rates("quick")[0], ctx)
    assert list(ctx.scratch.glob("program-*")) == []


def _ply(points) -> str:
    rows = b"".join(np.array(p, "<f8").tobytes() for p in points)
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    head += "".join(f"property float64 {n}\n" for n in "xyz") + "end_header\n"
    return f"Path('out.ply').write_bytes({head.encode() + rows!r})"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "tmc3 died of SIGSEGV"),
        ("pass", r"tmc3 wrote no out\.ply"),
        ("Path('out.ply').write_text('hello')", "not a PLY"),
        (_ply([(0, 0, 2000.0)]), "outside of the cube"),
        (_ply([(-200.0, 0, 0), (1, 1, 1)]), "outside of the cube"),
        (_ply([(0, 0, float("nan"))]), "not finite"),
        (_ply([]), "no points"),
    ],
)
def test_failures_of_the_decoder_are_the_streams(codec, body, message, tmc3, ctx):
    tmc3(body)
    stream = codec.wrap(b"\x20stream", 10)
    with pytest.raises(BitstreamError, match=message):
        codec.decode(stream, ctx)
    assert list(ctx.scratch.glob("program-*")) == []


@pytest.mark.parametrize(
    "stream",
    [b"", b"\x20", b"\0abc", b"\x21abc", b"\x20abc"],
)
def test_headers_that_cannot_be(codec, stream, tmc3, ctx):
    tmc3()
    with pytest.raises(BitstreamError):
        codec.decode_points(stream, 10, ctx)


def test_streams_of_the_other_are_foreign(tmc3, ctx):
    tmc3()
    octree, trisoup = GpccOctree(), GpccTrisoup()
    stream = octree.wrap(octree.encode_points(np.ones((1, 3), np.int32), 10, octree.rates("quick")[0], ctx), 10)
    assert len(octree.decode_cloud(stream, ctx)[0]) == 1
    with pytest.raises(BitstreamError, match="not a stream of gpcc-trisoup"):
        trisoup.decode(stream, ctx)


# The real one


@pytest.fixture
def sphere() -> np.ndarray:
    """Voxels that a sphere passes through at 2^7, in the middle of 2^10."""
    grid = np.indices((128, 128, 128)).reshape(3, -1).T
    radius = np.linalg.norm(grid - 63.5, axis=1)
    return (grid[np.abs(radius - 50) < 0.5] + 400).astype(np.int32)


@pytest.mark.needs_tmc3
def test_lossless_is(sphere, ctx):
    decoded = gpcc.decode_points(gpcc.encode_lossless(sphere, ctx), ctx)
    order = np.lexsort(decoded.T[::-1])
    np.testing.assert_array_equal(decoded[order], sphere)


@pytest.mark.needs_tmc3
def test_octree_decodes_centres_of_rounded_positions(sphere, ctx):
    codec = GpccOctree()
    for rate in codec.rates("paper"):
        scale = rate.params["scale"]
        decoded = codec.decode_points(codec.encode_points(sphere, 10, rate, ctx), 10, ctx)
        expected = np.unique(centres(np.floor(sphere * scale + 0.5) / scale, scale), axis=0)
        np.testing.assert_allclose(decoded[np.lexsort(decoded.T[::-1])], expected, atol=1e-9)


@pytest.mark.needs_tmc3
def test_triangle_soup_is_near_the_sphere(sphere, ctx):
    codec = GpccTrisoup()
    sizes, errors = [], []
    for rate in codec.rates("paper"):
        stream = codec.encode_points(sphere, 10, rate, ctx)
        radius = np.linalg.norm(codec.decode_points(stream, 10, ctx) - 464, axis=1)
        sizes.append(len(stream))
        errors.append(np.abs(radius - 50).mean())
    assert errors[3] < 2.5  # r01
    assert errors[-1] < 0.5  # r04
    assert sizes[-1] > 4 * sizes[3]


@pytest.mark.needs_tmc3
def test_real_bad_streams(codec, sphere, rng, ctx):
    """Damage shows in the checksum; what is made up to pass it is tmc3's to crash on."""
    contents = codec.encode_points(sphere, 10, codec.rates("quick")[1], ctx)
    stream = codec.wrap(contents, 10)
    for _ in range(30):
        at = int(rng.integers(HEADER_BYTES, len(stream)))
        damaged = stream[:at] + bytes([stream[at] ^ 1 << rng.integers(8)]) + stream[at + 1 :]
        with pytest.raises(BitstreamError, match="checksum"):
            codec.decode_cloud(damaged, ctx)
    for bad in (contents[1:7], contents[1 : len(contents) // 2], b"nonsense" * 9):
        with pytest.raises(BitstreamError, match="tmc3 died of SIG"):
            codec.decode_points(contents[:1] + bad, 10, ctx)


@pytest.mark.needs_tmc3
@pytest.mark.parametrize("points", [[[0, 0, 0]], [[1023, 1023, 1023], [0, 0, 0]]])
def test_few_points(points, ctx):
    octree, trisoup = GpccOctree(), GpccTrisoup()
    stream = octree.encode_points(np.array(points, np.int32), 10, octree.rates("paper")[2], ctx)
    np.testing.assert_allclose(
        sorted(octree.decode_points(stream, 10, ctx).tolist()), np.round(sorted(points), -1), atol=5
    )
    stream = trisoup.encode_points(np.array(points, np.int32), 10, trisoup.rates("paper")[-1], ctx)
    with pytest.raises(BitstreamError, match="no points"):  # they have no triangles, and tmc3 says nothing
        trisoup.decode_points(stream, 10, ctx)


REFERENCE = Path(__file__).parent / "reference_sizes.csv"


def reference_sizes(prefix: str) -> list[tuple[str, str, int]]:
    with REFERENCE.open(newline="") as file:
        return [(r["mesh"], r["rate"], int(r["bytes"])) for r in csv.DictReader(file) if r["codec"] == prefix]


@pytest.mark.needs_tmc3
@pytest.mark.slow
def test_sizes_are_those_of_the_reference_measurements(codec, reference_frames, ctx):
    """Samples are random: voxel counts differ by 0.3 %, and so do sizes."""
    rates = {rate.label: rate for rate in codec.rates("paper")}
    for mesh, label, size in reference_sizes(codec.name):
        points, bits = codec.sample(reference_frames[mesh], rates[label], ctx)
        stream = codec.encode_points(points, bits, rates[label], ctx)
        assert len(stream) - 1 == pytest.approx(size, rel=0.006, abs=6), (mesh, label)
