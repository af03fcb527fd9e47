"""V-DMC: its command lines, single meshes and sequences, and what a wrong program or answer becomes."""

from __future__ import annotations

import re
import struct
import time

import numpy as np
import pytest
import trimesh

from gcbench.codecs import CODECS, Rate, SetCodec
from gcbench.codecs.base import EFFORTS
from gcbench.codecs.mpeg import vdmc
from gcbench.codecs.mpeg.vdmc import Vdmc
from gcbench.entropy.container import HEADER_BYTES, resealed
from gcbench.errors import BitstreamError, CodecFailed, CodecTimeout, CodecUnavailable, UsageError

BANNER = "MPEG VMESH version vmesh+v14.0-0-g2955b38"
# A stream is the meshes as they came; the decoder writes a binary PLY of doubles, as the real one does.
ENCODER = """
count = int(option("frameCount"))
assert Path("in_%04d.obj" % (count - 1)).exists() and not Path("in_%04d.obj" % count).exists()
meshes = [Path(option("srcMesh") % i).read_bytes() for i in range(count)]
Path(option("compressed")).write_bytes(b"".join(b"%d\\n" % len(m) for m in meshes) + b"\\n" + b"".join(meshes))
"""
DECODER = """
import struct
sizes, meshes = Path(option("compressed")).read_bytes().split(b"\\n\\n", 1)
for i, size in enumerate(map(int, sizes.split())):
    lines, meshes = meshes[:size].decode().splitlines(), meshes[size:]
    points = [tuple(map(float, line.split()[1:])) for line in lines if line.startswith("v ")]
    faces = [[int(n.split("/")[0]) - 1 for n in line.split()[1:]] for line in lines if line.startswith("f ")]
    numbers = [line for line in lines if line.startswith("vt ")]
    assert len(points) + len(numbers) + len(faces) == len(lines) and len(numbers) in (0, len(points))
    assert all(0 <= x <= 4095 and x == int(x) for point in points for x in point)
    head = "ply\\nformat binary_little_endian 1.0\\ncomment TextureFile\\nelement vertex %d\\n" % len(points)
    head += "".join("property double %s\\n" % n for n in "xyz") + "element face %d\\n" % len(faces)
    head += "property list uchar int vertex_indices\\nend_header\\n"
    body = b"".join(struct.pack("<3d", *p) for p in points) + b"".join(struct.pack("<B3i", 3, *f) for f in faces)
    Path(option("decMesh") % i).write_bytes(head.encode() + body)
"""
PLY = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty double x\nproperty double y\nproperty double z\n"
    "element face {faces}\nproperty list uchar int vertex_indices\nend_header\n{points}\n{corners}\n"
)


@pytest.fixture
def vmesh(stand_ins, monkeypatch):
    """Put stand-ins for both programs."""

    def put(encoder: str = ENCODER, decoder: str = DECODER, banner: str = BANNER):
        stand_ins.put("encode", encoder, banner=banner)
        stand_ins.put("decode", decoder, banner=banner)
        monkeypatch.setenv("GCBENCH_VMESH", str(stand_ins.root))
        return stand_ins

    return put


@pytest.fixture
def tetrahedron() -> trimesh.Trimesh:
    vertices = np.array([[-1.0, -1, -1], [1, 0.25, -0.5], [0, 1, 0], [0.3, 0, 1]])
    return trimesh.Trimesh(vertices, [[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], process=False)


def rate(codec: Vdmc, label: str = "r3") -> Rate:
    return next(one for one in codec.rates("paper") if one.label == label)


def writes(text: str, name: str = "out_0000.ply") -> str:
    """A decoder that writes one file."""
    return f"Path({name!r}).write_text({text!r})"


# Command lines


@pytest.mark.parametrize(("mode", "of_mode"), [
    ("intra", ["--analyzeGof=0"]), ("inter", ["--analyzeGof=1", "--adaptiveScale=160,160,160"]),
])  # fmt: skip
def test_command_lines(mode, of_mode, vmesh, ctx, tetrahedron):
    calls = vmesh()
    codec = Vdmc(mode=mode)
    (stream,) = codec.encode([tetrahedron], rate(codec), ctx)
    codec.decode(stream, ctx)
    encode, decode = calls.called()
    assert encode[-12 - len(of_mode) :] == [
        "--reconstructNormals=0",
        "--checksum=0",
        *of_mode,
        "--srcMesh=in_%04d.obj",
        "--startFrameIndex=0",
        "--frameCount=1",
        "--positionBitDepth=12",
        "--minPosition=0,0,0",
        "--maxPosition=4095,4095,4095",
        "--target=0.06",
        "--baseMeshPositionBitDepth=11",
        "--liftingQP=22,34,34",
        "--compressed=out.vmesh",
    ]
    for option in ("encodeDisplacements=1", "encodeTextureVideo=0", "videoAttributeCount=0", "gofMaxSize=32"):
        assert f"--{option}" in encode
    names = [argument.partition("=")[0] for argument in encode]
    assert len(set(names)) == len(names)
    assert decode == [
        "--compressed=in.vmesh",
        "--decMesh=out_%04d.ply",
        "--decTex=out_%04d.png",
        "--startFrameIndex=0",
        "--dequantizeUV=0",
        "--reconstructNormals=0",
        "--checksum=0",
    ]


# Ladder and facts


def test_ladder():
    codec = Vdmc()
    assert [one.label for one in codec.rates("paper")] == ["r1", "r2", "r3", "r4", "r5"]
    assert [one.label for one in codec.rates("quick")] == ["r1", "r2", "r3", "r5"]
    assert all(one in codec.rates("paper") for effort in EFFORTS for one in codec.rates(effort))
    assert rate(codec, "r1").params == {"target": 0.03, "base_bits": 10, "lifting_qp": 32}


def test_the_mode_decides_the_kind():
    assert CODECS.get("vdmc") is Vdmc
    assert CODECS.create("vdmc").kind == "model"
    assert CODECS.create("vdmc[mode=inter]").kind == "set"
    assert isinstance(Vdmc(), SetCodec)
    with pytest.raises(UsageError, match=r"vdmc\[mode=ai\]: possible are intra, inter"):
        Vdmc(mode="ai")


def test_version_has_both_programs(vmesh):
    calls = vmesh()
    codec = Vdmc()
    assert codec.availability().ok
    codec.prepare()
    first = codec.version()
    assert re.fullmatch(
        r"1\+[0-9a-f]{8}\+numba-[\d.]+"
        r"\+vmesh-encode-v14\.0-0-g2955b38-[0-9a-f]{12}\+vmesh-decode-v14\.0-0-g2955b38-[0-9a-f]{12}",
        first,
    )
    assert set(codec.programs()) == {"vmesh-encode", "vmesh-decode"}
    path = calls.root / "bin" / "decode"
    path.write_text(path.read_text() + "# another build\n")
    second = codec.version()
    assert second != first
    assert second.rpartition("+")[0] == first.rpartition("+")[0]


def test_what_is_missing(vmesh, stand_ins, monkeypatch, ctx, tetrahedron):
    """A program called `encode` on PATH is never run."""
    codec = Vdmc()
    monkeypatch.delenv("GCBENCH_VMESH", raising=False)
    stand_ins.put("encode", ENCODER, banner=BANNER)
    monkeypatch.setenv("PATH", f"{stand_ins.root}/bin:/usr/bin:/bin")
    assert codec.availability().reason == "GCBENCH_VMESH is not set"
    assert codec.version().endswith("+vmesh-missing")
    assert stand_ins.calls.exists() is False
    with pytest.raises(CodecUnavailable):
        codec.encode_mesh(tetrahedron, rate(codec), ctx)
    calls = vmesh()
    (calls.root / "bin" / "decode").unlink()
    assert "bin/decode, which is not a program" in codec.availability().reason
    vmesh(banner="MPEG VMESH version v4.0-1-gabc")
    assert "is version v4.0-1-gabc, not 14.0 or later" in codec.availability().reason
    vmesh(banner="encode 3.1")
    assert "does not say that it is vmesh-encode" in codec.availability().reason


# Coding


def test_vertices_come_back_rounded_to_twelve_bits(vmesh, ctx, tetrahedron):
    vmesh()
    codec = Vdmc()
    stream = codec.encode_mesh(tetrahedron, rate(codec), ctx)
    assert stream[:3] == b"VDM"
    mesh = codec.decode_mesh(stream, ctx)
    np.testing.assert_array_equal(mesh.faces, tetrahedron.faces)
    np.testing.assert_array_equal(mesh.vertices, np.rint((tetrahedron.vertices + 1) * 2047.5) / 4095 * 2 - 1)
    assert np.abs(mesh.vertices - tetrahedron.vertices).max() <= 1 / 4095
    assert list(ctx.scratch.glob("program-*")) == []


def test_a_stream_for_each_sequence_and_each_other_mesh(vmesh, ctx, tetrahedron):
    calls = vmesh()
    meshes = [trimesh.Trimesh(tetrahedron.vertices * size, tetrahedron.faces) for size in (1, 0.5, 0.25, 0.125)]
    codec = Vdmc(mode="inter")
    ctx.sequences = (range(1, 4),)
    (stream,) = codec.encode(meshes, rate(codec), ctx)
    assert [next(a for a in call if a.startswith("--frameCount")) for call in calls.called()] == [
        "--frameCount=1", "--frameCount=3",
    ]  # fmt: skip
    ctx.sequences = ()
    decoded = Vdmc().decode(stream, ctx)
    assert [len(mesh.vertices) for mesh in decoded] == [4] * 4
    for mesh, original in zip(decoded, meshes, strict=True):
        assert np.abs(mesh.vertices - original.vertices).max() <= 1 / 4095
    layout = codec.layout(stream)
    assert len(layout.mesh_bytes) == 4
    assert layout.shared_bytes + sum(layout.mesh_bytes) == len(stream)
    assert layout.shared_bytes == HEADER_BYTES + 5  # two videos, frames and size (two bytes) of the first, frames
    with pytest.raises(BitstreamError, match="more than one mesh"):
        codec.decode_mesh(stream, ctx)
    assert len(codec.encode(meshes, rate(codec), ctx)) == 1
    assert len(Vdmc().encode(meshes, rate(codec), ctx)) == 4


def test_frames_have_numbered_vertices_and_single_meshes_have_not(tetrahedron):
    """The encoder reads a texture coordinate of each corner where it looks for frames of equal connectivity."""
    plain, numbered = (vdmc._obj(tetrahedron, numbered=yes).decode().splitlines() for yes in (False, True))
    assert plain[:5] == ["v 0 0 0", "v 4095 2559 1024", "v 2048 4095 2048", "v 2662 2048 4095", "f 1 2 3"]
    assert numbered == [*plain[:4], "vt 0 0", "vt 0.25 0", "vt 0.5 0", "vt 0.75 0",
                        "f 1/1 2/2 3/3", "f 1/1 4/4 2/2", "f 1/1 3/3 4/4", "f 2/2 4/4 3/3"]  # fmt: skip


# Failures


@pytest.mark.parametrize(("change", "why"), [
    (lambda v, f: (v, f[:0]), "no faces"),
    (lambda v, f: (v * np.nan, f), "not finite"),
    (lambda v, f: (v * 1.1, f), r"outside of \[-1, 1\]"),
    (lambda v, f: (v, f + 9), "not among the 4"),
])  # fmt: skip
def test_meshes_that_are_not_given_to_the_encoder(change, why, vmesh, ctx, tetrahedron):
    calls = vmesh()
    codec = Vdmc()
    mesh = trimesh.Trimesh(*change(tetrahedron.vertices, np.asarray(tetrahedron.faces)), process=False, validate=False)
    with pytest.raises(CodecFailed, match=why):
        codec.encode_mesh(mesh, rate(codec), ctx)
    with pytest.raises(CodecFailed, match="1 to 65535 meshes, not 0"):
        codec.encode_set([], rate(codec), ctx)
    assert calls.called() == []


@pytest.mark.parametrize(("body", "why"), [
    ("os.kill(os.getpid(), signal.SIGSEGV)", "vmesh-encode died of SIGSEGV"),
    ("sys.stderr.write(\"Error: can't compress mesh sequence!\"); sys.exit(1)", "exit code 1: Error: can't compress"),
    ("pass", r"wrote no out\.vmesh"),
    ("Path('out.vmesh').touch()", r"wrote an empty out\.vmesh"),
])  # fmt: skip
def test_failures_of_the_encoder(body, why, vmesh, ctx, tetrahedron):
    vmesh(encoder=body)
    codec = Vdmc()
    with pytest.raises(CodecFailed, match=why):
        codec.encode_mesh(tetrahedron, rate(codec), ctx)
    assert list(ctx.scratch.glob("program-*")) == []


def test_a_program_that_does_not_end(vmesh, ctx, tetrahedron):
    vmesh(encoder="time.sleep(60)")
    codec = Vdmc()
    ctx.deadline = time.monotonic() + 2
    with pytest.raises(CodecTimeout, match="vmesh-encode was killed at the deadline"):
        codec.encode_mesh(tetrahedron, rate(codec), ctx)


GOOD = {"faces": 1, "points": "0 0 0\n4095 0 0\n0 4095 0", "corners": "3 0 1 2"}


@pytest.mark.parametrize(("body", "why"), [
    ("os.kill(os.getpid(), signal.SIGABRT)", "vmesh-decode died of SIGABRT"),
    ("sys.exit(1)", "vmesh-decode ended with exit code 1"),
    ("pass", r"wrote no out_0000\.ply"),
    (writes("no mesh at all"), "cannot be read"),
    (writes(PLY.format(**GOOD | {"faces": 2})), "cannot be read"),
    (writes(PLY.format(**GOOD | {"faces": 0, "corners": ""})), "cannot be read|no faces"),
    (writes(PLY.format(**GOOD | {"corners": "3 0 1 9"})), "cannot be read|not among the 3"),
    (writes(PLY.format(**GOOD | {"corners": "4 0 1 2 0"})), "cannot be read"),
    (writes(PLY.format(**GOOD | {"points": "0 0 0\nnan 0 0\n0 1 0"})), "cannot be read|not finite"),
    (writes(PLY.format(**GOOD | {"points": "0 0 0\n6000 0 0\n0 1 0"})), "outside of the cube"),
    (writes(PLY.format(**GOOD)) + ";" + writes("x", "out_0001.ply"), "more than the 1 meshes that it declares"),
])  # fmt: skip
def test_what_a_decoder_may_do_wrong(body, why, vmesh, ctx, tetrahedron):
    vmesh(decoder=body)
    codec = Vdmc()
    stream = codec.encode_mesh(tetrahedron, rate(codec), ctx)
    with pytest.raises(BitstreamError, match=why):
        codec.decode(stream, ctx)
    assert list(ctx.scratch.glob("program-*")) == []


def test_damaged_streams_do_not_reach_the_decoder(vmesh, ctx, tetrahedron):
    calls = vmesh()
    codec = Vdmc()
    stream = codec.encode_mesh(tetrahedron, rate(codec), ctx)
    before = len(calls.called())
    for end in (0, 1, HEADER_BYTES, len(stream) - 1):
        with pytest.raises(BitstreamError):
            codec.decode(stream[:end], ctx)
    with pytest.raises(BitstreamError):
        codec.decode(stream[:-1] + bytes([stream[-1] ^ 1]), ctx)
    no_frames = resealed(stream[:HEADER_BYTES] + b"\1\0" + stream[HEADER_BYTES + 2 :])
    with pytest.raises(BitstreamError, match="number of frames is 0"):
        codec.decode(no_frames, ctx)
    assert len(calls.called()) == before
    more = resealed(stream[:HEADER_BYTES] + b"\1\2" + stream[HEADER_BYTES + 2 :])
    with pytest.raises(BitstreamError, match=r"wrote no out_0001\.ply"):
        codec.decode(more, ctx)


def test_the_decoder_is_bounded_in_file_size(vmesh, ctx, tetrahedron, monkeypatch):
    monkeypatch.setattr("gcbench.codecs.mpeg.vdmc._MOST_FILE_BYTES", 1 << 20)
    vmesh(decoder="signal.signal(signal.SIGXFSZ, signal.SIG_DFL); Path('out_0000.ply').write_bytes(bytes(2 << 20))")
    codec = Vdmc()
    with pytest.raises(BitstreamError, match="died of SIGXFSZ"):
        codec.decode(codec.encode_mesh(tetrahedron, rate(codec), ctx), ctx)


# The real ones


@pytest.mark.needs_vmesh
@pytest.mark.slow
def test_a_real_mesh(ctx):
    sphere = trimesh.creation.icosphere(4)
    codec = Vdmc()
    sizes = []
    for label in ("r1", "r5"):
        stream = codec.encode_mesh(sphere, rate(codec, label), ctx)
        mesh = codec.decode_mesh(stream, ctx)
        assert np.abs(np.linalg.norm(mesh.triangles_center, axis=1) - 1).mean() < 0.01
        sizes.append(len(stream))
    assert sizes[0] < sizes[1]
    body = stream[HEADER_BYTES:]
    for bad in (body[: len(body) // 2], body[:2] + b"nonsense" * 40, body[:200] + struct.pack("<q", -1) + body[208:]):
        ctx.deadline = time.monotonic() + 60
        with pytest.raises((BitstreamError, CodecTimeout)):
            codec.decode(codec.container.pack(bad), ctx)


@pytest.mark.needs_vmesh
@pytest.mark.slow
def test_a_real_sequence_costs_less_than_its_frames(ctx):
    sphere = trimesh.creation.icosphere(3)
    frames = [trimesh.Trimesh(sphere.vertices * [1, 1, 1 - i / 20], sphere.faces, process=False) for i in range(4)]
    intra, inter = Vdmc(), Vdmc(mode="inter")
    ctx.sequences = (range(4),)
    alone = sum(len(intra.encode_mesh(frame, rate(intra), ctx)) for frame in frames)
    (together,) = inter.encode(frames, rate(inter), ctx)
    assert len(together) < alone
    for mesh, frame in zip(inter.decode(together, ctx), frames, strict=True):
        assert np.abs(mesh.vertices.max(axis=0) - frame.vertices.max(axis=0)).max() < 0.02
