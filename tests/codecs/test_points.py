"""The two conversions around a codec of points that does next to nothing: voxels in zlib."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import trimesh

from gcbench.codecs.base import Context, Rate
from gcbench.codecs.points import PointCodec
from gcbench.entropy.container import Container
from gcbench.errors import BitstreamError, CodecFailed


class Raw(PointCodec):
    """Voxels as they are, in zlib."""

    name = "raw-points"
    container = Container(b"RAW", 1, name)

    def version(self) -> str:
        return "1"

    def rates(self, effort):
        return [Rate("b06", {"bits": 6}), Rate("b07", {"bits": 7})]

    def encode_points(self, voxels, bits, rate, ctx):
        assert voxels.dtype == np.int32
        assert bits == rate.params.get("bits", 10)
        return zlib.compress(voxels.astype("<i2").tobytes())

    def decode_points(self, stream, bits, ctx):
        try:
            values = np.frombuffer(zlib.decompress(stream), "<i2")
        except zlib.error as error:
            raise BitstreamError(str(error)) from error
        return values.reshape(-1, 3) + 0.5


@pytest.mark.parametrize("rate", Raw().rates("quick"), ids=lambda rate: rate.label)
def test_a_mesh_comes_back_through_its_voxels(rate, torus, tmp_path):
    codec, bits = Raw(), int(rate.params["bits"])
    encoding, decoding = Context(scratch=tmp_path), Context(scratch=tmp_path)
    (stream,) = codec.encode([torus], rate, encoding)
    assert stream[:4] + stream[8:9] == b"RAW" + bytes([1, bits])
    (decoded,) = codec.decode(stream, decoding)
    assert decoded.euler_number == 0
    assert np.allclose(decoded.bounds, torus.bounds, atol=2.0 ** (1 - bits))
    assert decoded.volume == pytest.approx(torus.volume, rel=0.02)
    assert list(encoding.stage_s) == ["sampling", "coding"]
    assert list(decoding.stage_s) == ["coding", "normals", "surface"]


def test_points_alone_are_voxel_centres(torus):
    codec = Raw()
    stream = codec.encode_mesh(torus, Rate("b06", {"bits": 6}), Context())
    points, bits = codec.decode_cloud(stream, Context())
    assert bits == 6
    assert (points % 1 == 0.5).all()
    assert np.ptp(points, axis=0).tolist() == [63, 63, 19]  # 2, 2 and 0.6 long: 19.2 voxels, over 20 of them


@pytest.mark.parametrize("bits", [3, 13])
def test_bits_out_of_range_are_refused(bits, torus):
    with pytest.raises(CodecFailed, match=f"bits={bits}"):
        Raw().encode_mesh(torus, Rate("r", {"bits": bits}), Context())


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"RAW\x01",
        Container(b"RAX", 1, "other-points").pack(b"\x06" + zlib.compress(bytes(6))),
        Container(b"RAW", 2, "raw-points").pack(b"\x06" + zlib.compress(bytes(6))),
        Raw.container.pack(b""),
        Raw.container.pack(b"\x0d" + zlib.compress(bytes(6))),
        Raw().wrap(zlib.compress(bytes(6)), 6)[:-1],
        Raw().wrap(b"junk", 6),
        Raw().wrap(zlib.compress(b""), 6),
    ],
)
def test_a_foreign_or_empty_stream_is_refused(stream):
    with pytest.raises(BitstreamError):
        Raw().decode_mesh(stream, Context())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_has_no_place_on_the_grid_is_refused(value, torus):
    vertices = np.array(torus.vertices)
    vertices[5, 2] = value
    with pytest.raises(CodecFailed, match="not finite"):
        Raw().encode_mesh(trimesh.Trimesh(vertices, torus.faces, process=False), Rate("r", {"bits": 6}), Context())
    with pytest.raises(CodecFailed, match="no faces"):
        Raw().encode_mesh(trimesh.Trimesh(torus.vertices, process=False), Rate("r", {"bits": 6}), Context())


def test_one_triangle_survives():
    mesh = trimesh.Trimesh([[-1, -0.5, 0], [1, -0.5, 0], [0, 0.5, 0]], [[0, 1, 2]], process=False)
    codec = Raw()
    decoded = codec.decode_mesh(codec.encode_mesh(mesh, Rate("b06", {"bits": 6}), Context()), Context())
    assert decoded.area == pytest.approx(1, rel=0.1)


def test_prepare_and_availability():
    Raw().prepare()
    assert Raw().availability().ok
