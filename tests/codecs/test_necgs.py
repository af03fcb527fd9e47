from __future__ import annotations

import re
from operator import attrgetter

import numpy as np
import pytest
import trimesh
from common import check_golden

from gcbench.codecs import CODECS, Context, Rate, SetCodec
from gcbench.codecs.base import EFFORTS
from gcbench.codecs.necgs import Necgs
from gcbench.errors import BitstreamError, CodecTimeout, UsageError
from gcbench.training import loop

TINY = Rate("tiny", {"width": 8, "effort": "quick"})


@pytest.fixture(scope="module")
def meshes() -> list[trimesh.Trimesh]:
    sphere = trimesh.creation.icosphere(3)
    torus = trimesh.creation.torus(0.7, 0.3)
    return [trimesh.Trimesh(mesh.vertices, mesh.faces, process=False) for mesh in (sphere, torus)]


@pytest.fixture(scope="module")
def stream(meshes, tmp_path_factory) -> bytes:
    (stream,) = Necgs(epochs=120, objective="none").encode(
        meshes, TINY, Context(scratch=tmp_path_factory.mktemp("scratch"))
    )
    return stream


def test_it_is_a_set_codec_of_the_registry():
    codec = CODECS.create("necgs")
    assert isinstance(codec, SetCodec)
    assert codec.kind == "set"
    assert codec.decoder_bytes == 0  # the decoder is in the stream
    assert re.match(r"\d+\+[0-9a-f]{8}\+torch-", codec.version())
    assert codec.availability().ok


def test_labels_say_resolution_and_width_and_are_unique():
    codec = Necgs()
    labels = [rate.label for effort in EFFORTS for rate in codec.rates(effort)]
    assert len(set(labels)) == len(labels)
    assert [rate.label for rate in codec.rates("paper")] == ["k128w16", "k128w24", "k128w32", "k128w48", "k128w64"]
    assert [Necgs(k=64).rates(effort)[0].label for effort in EFFORTS] == ["k64w16q", "k64w16", "k64w16p"]
    assert [Necgs(k=32).rates(effort)[0].label for effort in EFFORTS] == ["k32w16", "k32w16s", "k32w16p"]


def test_the_published_settings():
    codec = Necgs()
    plan = codec.plan(codec.rates("paper")[-1])
    assert plan.design.widths == (64, 48, 32, 24, 16)
    assert plan.design.resolution == 128
    assert plan.design.parameter_count() == 1_468_548
    assert plan.training.epochs == 400
    assert (plan.training.mask_weight, plan.training.ssim_weight) == (5, 10)
    assert plan.training.objective == "render"


@pytest.mark.parametrize(
    ("address", "name", "value"),
    [
        ("necgs[representation=tsdf]", "design.deformation", False),
        ("necgs[representation=tsdf]", "training.objective", "none"),
        ("necgs[objective=render]", "training.objective", "render"),
        ("necgs[encoder=autoencoder]", "training.encoder", "autoencoder"),
        ("necgs[ssim=0]", "training.ssim_weight", 0),
        ("necgs[epochs=7]", "training.epochs", 7),
        ("necgs[k=128]", "design.resolution", 128),
        ("necgs[coder=huffman]", "coder", "huffman"),
        ("necgs[design=latent_mlp]", "design.width", 64),
        ("necgs[design=sparse]", "design.deformation", False),
        ("necgs[design=sparse,representation=tsdf-def]", "design.deformation", True),
        ("necgs[representation=tsdf-def]", "design.deformation", True),
        ("quantdeepsdf[latent=16]", "design.latent", 16),
        ("quantdeepsdf[encoding=fourier]", "design.octaves", 4),
    ],
)
def test_an_address_changes_one_thing(address, name, value):
    codec = CODECS.create(address)
    assert attrgetter(name)(codec.plan(codec.rates("standard")[0])) == value


def test_golden_streams():
    check_golden("necgs", distance=1e-4)


@pytest.mark.parametrize(
    "address",
    [
        "necgs[k=65]",
        "necgs[representation=sdf]",
        "necgs[encoder=x]",
        "necgs[ssim=-1]",
        "necgs[coder=zip]",
        "necgs[design=x]",
        "necgs[design=latent_mlp,ssim=0]",
        "necgs[design=latent_mlp,representation=tsdf]",
    ],
)
def test_impossible_parameters_are_refused(address):
    with pytest.raises(UsageError, match="necgs"):
        CODECS.create(address)


def test_a_set_round_trips_through_a_fresh_codec(stream, meshes, ctx):
    decoded = CODECS.create("necgs").decode(stream, ctx)
    assert len(decoded) == 2
    for mesh, original in zip(decoded, meshes, strict=True):
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(original.volume, rel=0.1)
        assert np.abs(mesh.bounds - original.bounds).max() < 0.1


def test_one_mesh_alone_is_that_of_the_set(stream, ctx, monkeypatch):
    codec = Necgs()
    decoded = codec.decode_set(stream, ctx)
    monkeypatch.setattr(codec, "decode_set", None)  # it is not how one mesh is decoded
    assert codec.random_access
    for i, mesh in enumerate(decoded):
        alone = codec.decode_one(stream, i, ctx)
        np.testing.assert_array_equal(alone.vertices, mesh.vertices)
        np.testing.assert_array_equal(alone.faces, mesh.faces)
    for missing in (-1, 2):
        with pytest.raises(BitstreamError, match=f"no mesh {missing}"):
            codec.decode_one(stream, missing, ctx)


class _Killed(Exception):
    """The end of a process, as far as a codec can tell."""


def test_stopped_work_goes_on_to_the_same_bytes(meshes, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.0)
    codec, reports = Necgs(epochs=5, objective="none"), []
    stream = codec.encode_set(meshes, TINY, Context())

    def counted(limit):
        reports.append(0)

        def progress(_done, message):
            if message.startswith("loss"):
                reports[-1] += 1
                if reports[-1] == limit:
                    raise _Killed

        return progress

    def encode(limit=10**9):
        return codec.encode_set(meshes, TINY, Context(work=tmp_path, progress=counted(limit)))

    with pytest.raises(_Killed):
        encode(4)
    assert encode() == stream
    assert encode() == stream
    whole = 10  # two meshes, one a step, 5 epochs
    assert reports == [4, whole - 4, 0]
    (checkpoint,) = tmp_path.glob("training*")
    for bad in (b"", checkpoint.read_bytes()[:-1000]):
        checkpoint.write_bytes(bad)
        caplog.clear()
        assert encode() == stream
        assert reports[-1] == whole
        assert "training starts anew" in caplog.text


def test_layout_adds_up(stream):
    layout = Necgs().layout(stream)
    assert len(layout.mesh_bytes) == 2
    assert layout.shared_bytes + sum(layout.mesh_bytes) == len(stream)
    assert layout.shared_bytes > 10 * max(layout.mesh_bytes)


def test_a_deadline_stops_the_training(meshes, ctx):
    ctx.deadline = 0.0
    with pytest.raises(CodecTimeout):
        Necgs(objective="none").encode(meshes, TINY, ctx)


def test_foreign_streams_are_refused(stream, ctx):
    codec = Necgs()
    for bad in (b"", b"\0", bytes(1000), stream[:-1], stream[::-1], stream + b"\0"):
        with pytest.raises(BitstreamError):
            codec.decode(bad, ctx)
        with pytest.raises(BitstreamError):
            codec.layout(bad)
