from __future__ import annotations

import re

import numpy as np
import pytest
import trimesh

from gcbench.codecs import CODECS, Context, Rate, SetCodec
from gcbench.codecs.base import EFFORTS
from gcbench.codecs.necgs import Necgs
from gcbench.errors import BitstreamError, CodecTimeout, UsageError

TINY = Rate("tiny", {"top": 8, "effort": "quick"})


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
    assert re.match(r"\d+\+torch-", codec.version())
    assert codec.availability().ok


def test_labels_say_resolution_and_width_and_are_unique():
    codec = Necgs()
    labels = [rate.label for effort in EFFORTS for rate in codec.rates(effort)]
    assert len(set(labels)) == len(labels)
    assert [rate.label for rate in codec.rates("paper")] == ["k128w16", "k128w24", "k128w32", "k128w48", "k128w64"]
    assert Necgs(k=64).rates("quick")[0].label == "k64w16"


def test_the_published_settings():
    codec = Necgs()
    settings = codec.settings(codec.rates("paper")[-1])
    assert settings.architecture.widths == (64, 48, 32, 24, 16)
    assert settings.architecture.resolution == 128
    assert settings.architecture.parameter_count() == 1_468_548
    assert settings.training.epochs == 400
    assert (settings.training.mask_weight, settings.training.ssim_weight) == (5, 10)


@pytest.mark.parametrize(
    ("address", "part", "name", "value"),
    [
        ("necgs[representation=tsdf]", "architecture", "deformation", False),
        ("necgs[representation=tsdf]", "fitting", "objective", "none"),
        ("necgs[objective=render]", "fitting", "objective", "render"),
        ("necgs[encoder=autoencoder]", "training", "encoder", "autoencoder"),
        ("necgs[ssim=0]", "training", "ssim_weight", 0),
        ("necgs[epochs=7]", "training", "epochs", 7),
        ("necgs[k=128]", "architecture", "resolution", 128),
    ],
)
def test_an_address_changes_one_thing(address, part, name, value):
    codec = CODECS.create(address)
    assert getattr(getattr(codec.settings(codec.rates("standard")[0]), part), name) == value


def test_the_coder_is_a_parameter():
    codec = CODECS.create("necgs[coder=huffman]")
    assert codec.settings(codec.rates("quick")[0]).coder == "huffman"


@pytest.mark.parametrize(
    "address", ["necgs[k=65]", "necgs[representation=sdf]", "necgs[encoder=x]", "necgs[ssim=-1]", "necgs[coder=zip]"]
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
